#!/usr/bin/env bash
# A data directory that our broker wrote, cleanly stopped or killed, opens in a real Kafka 3.7.2 and reads the same; then ours
# opens what Kafka left. `roundtrip.sh TERM` or `roundtrip.sh KILL`.
set -e
. "${BASH_SOURCE[0]%/*}/lib.sh"
how=$1
start_zookeeper
configure_broker log.segment.bytes=100000 log.retention.ms=-1
start_broker ottla

kafka_tool kafka-topics --bootstrap-server "$bootstrap" --create --topic t --partitions 2
produce() {
  local codec
  for codec in none gzip snappy lz4 zstd; do
    seq -f "$1 $codec %05g and some more to fill the segments" 1 1000 |
      kafka_tool kafka-console-producer --bootstrap-server "$bootstrap" --topic t --compression-codec $codec \
        --producer-property linger.ms=5 2>>"$work/producer.log"
  done
}
# Of group g: topic, partition, committed offset, log end offset, lag.
group_offsets() {
  kafka_tool kafka-consumer-groups --bootstrap-server "$bootstrap" --describe --group g 2>/dev/null |
    awk '$1 == "g" { print $2, $3, $4, $5, $6 }' | sort
}
# All records of both partitions, with all that the consumer can print of them.
consume() {
  local topic partition committed end lag
  while read -r topic partition committed end lag; do
    kafka_tool kafka-console-consumer --bootstrap-server "$bootstrap" --topic "$topic" --partition "$partition" \
      --offset earliest --max-messages "$end" --timeout-ms 60000 --property print.timestamp=true \
      --property print.key=true --property print.offset=true --property print.partition=true \
      --property print.headers=true 2>>"$work/consumer.log" </dev/null
  done < <(group_offsets) >"$work/$1"
  [ "$(wc -l <"$work/$1")" = "$2" ] || fail "$1: $(wc -l <"$work/$1") records, not $2"
}

# change_to BROKER: the znode of a killed one must be gone before Kafka starts.
change_to() {
  stop_broker "$how"
  wait_for_expiry
  start_broker "$1"
}
not_registered() { echo "ls /interop/brokers/ids" | java -cp /usr/share/java/zookeeper.jar org.apache.zookeeper.ZooKeeperMain -server "127.0.0.1:$zookeeper_port" 2>/dev/null | grep -q '^\[\]'; }
wait_for_expiry() { eventually 60 not_registered; }

produce ours
kafka_tool kafka-console-consumer --bootstrap-server "$bootstrap" --topic t --group g --from-beginning --max-messages 5000 >/dev/null 2>"$work/group.log"
consume ours.txt 5000
group_offsets >"$work/ours.group"
change_to kafka
consume kafka.txt 5000
diff "$work/ours.txt" "$work/kafka.txt" >&2 || fail "Kafka reads something else"
group_offsets >"$work/kafka.group"
diff "$work/ours.group" "$work/kafka.group" || fail "Kafka has other group offsets"
if [ "$how" = TERM ]; then
  ! grep -qE 'Recovering unflushed segment|Found invalid|WARN.*(corrupt|index)' "$work/broker.log" || fail "Kafka had to repair it"
fi

produce theirs
consume kafka2.txt 10000
change_to ottla
consume ours2.txt 10000
diff "$work/kafka2.txt" "$work/ours2.txt" >&2 || fail "we read something else than Kafka"
group_offsets >"$work/ours2.group"
# Kafka wrote more, so only the committed offsets stay the same.
diff <(awk '{ print $2, $3 }' "$work/kafka.group") <(awk '{ print $2, $3 }' "$work/ours2.group") || fail "we have other group offsets"
