#!/usr/bin/env bash
# Kafka's own verifiable producer and consumer.
set -e
. "${BASH_SOURCE[0]%/*}/lib.sh"
new_broker
kafka_tool kafka-topics --bootstrap-server "$bootstrap" --create --topic verified --partitions 3
count=20000
kafka_tool kafka-verifiable-producer --bootstrap-server "$bootstrap" --topic verified --max-messages $count --acks -1 \
  >"$work/producer.out" 2>"$work/producer.log"
[ "$(grep -c '"name":"producer_send_success"' "$work/producer.out")" = $count ] || fail "not everything was acknowledged"
! grep -q producer_send_error "$work/producer.out" || fail "errors"
kafka_tool kafka-verifiable-consumer --bootstrap-server "$bootstrap" --topic verified --group-id verifier \
  --max-messages $count --reset-policy earliest --verbose >"$work/consumer.out" 2>"$work/consumer.log"
python3 - "$work/producer.out" "$work/consumer.out" <<'CHECK'
import json, sys
def events(path, name):
    return [e for e in map(json.loads, open(path)) if e.get("name") == name]
sent = [e["value"] for e in events(sys.argv[1], "producer_send_success")]
read = events(sys.argv[2], "record_data")
assert sorted(sent, key=int) == sorted((e["value"] for e in read), key=int), "other records"
for partition in {e["partition"] for e in read}:
    values = [int(e["value"]) for e in read if e["partition"] == partition]
    offsets = [e["offset"] for e in read if e["partition"] == partition]
    assert values == sorted(values) and offsets == list(range(len(offsets))), partition
commits = events(sys.argv[2], "offsets_committed")
assert commits and all(c["success"] for c in commits), "commits"
CHECK
