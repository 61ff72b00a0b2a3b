#!/usr/bin/env bash
# Java's console producer and consumer, kafka-topics and kafka-consumer-groups, all of Kafka 3.7.2.
set -e
. "${BASH_SOURCE[0]%/*}/lib.sh"
new_broker

kafka_tool kafka-topics --bootstrap-server "$bootstrap" --create --topic MyFirstTopic --partitions 2 --replication-factor 1
kafka_tool kafka-topics --bootstrap-server "$bootstrap" --list | tee "$work/list.log" | grep -qx MyFirstTopic
kafka_tool kafka-topics --bootstrap-server "$bootstrap" --describe --topic MyFirstTopic >"$work/describe.log"
grep -q 'PartitionCount: 2' "$work/describe.log" || fail "describe"
[ "$(grep -c 'Leader: 0' "$work/describe.log")" = 2 ] || fail "leaders"

printf 'one\ntwo\nthree\n' | kafka_tool kafka-console-producer --bootstrap-server "$bootstrap" --topic MyFirstTopic
printf 'key:four\n' | kafka_tool kafka-console-producer --broker-list "$bootstrap" --topic MyFirstTopic \
  --property parse.key=true --property key.separator=: --compression-codec gzip
kafka_tool kafka-console-consumer --bootstrap-server "$bootstrap" --topic MyFirstTopic --from-beginning \
  --group console --max-messages 4 >"$work/consumed.log" 2>"$work/consumer.log"
diff <(sort "$work/consumed.log") <(printf 'four\none\nthree\ntwo\n') || fail "other records"

kafka_tool kafka-consumer-groups --bootstrap-server "$bootstrap" --list | grep -qx console || fail "no such group"
kafka_tool kafka-consumer-groups --bootstrap-server "$bootstrap" --describe --group console >"$work/group.log" 2>&1
# GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG ...
awk '$1 == "console" { current += $4; end += $5; lag += $6; n++ } END { exit !(n == 2 && current == 4 && end == 4 && lag == 0) }' \
  "$work/group.log" || fail "offsets: $(cat "$work/group.log")"

kafka_tool kafka-topics --bootstrap-server "$bootstrap" --alter --topic MyFirstTopic --partitions 4
kafka_tool kafka-topics --bootstrap-server "$bootstrap" --describe --topic MyFirstTopic | grep -q 'PartitionCount: 4' || fail "alter"
kafka_tool kafka-topics --bootstrap-server "$bootstrap" --delete --topic MyFirstTopic
gone() { ! kafka_tool kafka-topics --bootstrap-server "$bootstrap" --list | grep -qx MyFirstTopic; }
eventually 30 gone
