#!/usr/bin/env bash
# Two Java console consumers share a topic; when one leaves, the other takes its partitions.
set -e
. "${BASH_SOURCE[0]%/*}/lib.sh"
new_broker
kafka_tool kafka-topics --bootstrap-server "$bootstrap" --create --topic shared --partitions 4

consumer() {
  java_class kafka.tools.ConsoleConsumer --bootstrap-server "$bootstrap" --topic shared --group sharers \
    --from-beginning --consumer-property session.timeout.ms=6000 >"$work/$1.out" 2>"$work/$1.log" &
}
# partitions_per_member N...: what each member has, sorted.
partitions_per_member() {
  local found
  found=$(kafka_tool kafka-consumer-groups --bootstrap-server "$bootstrap" --describe --group sharers --members 2>/dev/null |
    awk '$1 == "sharers" { print $5 }' | sort | xargs)
  [ "$found" = "$*" ]
}
consumer first; first=$!; pids+=("$first")
eventually 60 partitions_per_member 4
consumer second; second=$!; pids+=("$second")
eventually 60 partitions_per_member 2 2

seq 1 200 | kafka_tool kafka-console-producer --bootstrap-server "$bootstrap" --topic shared \
  --producer-property partitioner.class=org.apache.kafka.clients.producer.RoundRobinPartitioner
all_read() { [ "$(cat "$work"/first.out "$work"/second.out | sort -nu | wc -l)" = "$1" ]; }
eventually 60 all_read 200
[ -s "$work/first.out" ] && [ -s "$work/second.out" ] || fail "one consumer read everything"

kill -TERM "$first"
wait "$first" || true
eventually 60 partitions_per_member 4
seq 201 300 | kafka_tool kafka-console-producer --bootstrap-server "$bootstrap" --topic shared
eventually 60 all_read 300
