#!/usr/bin/env bash
# A test of cargo's that is ignored there, since it needs a real Kafka: `with_kafka.sh FILE TEST`.
set -euo pipefail
root=$(cd "${BASH_SOURCE[0]%/*}/../.." && pwd)
cd "$root"
OTTLA_TEST_KAFKA_LIBS=${OTTLA_TEST_KAFKA_LIBS:-$root/tests/.cache/kafka-3.7.2/libs} \
  cargo test --test "$1" -- --ignored --nocapture --exact "$2"
