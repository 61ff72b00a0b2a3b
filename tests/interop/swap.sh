#!/usr/bin/env bash
# Brokers of a real Kafka cluster are swapped for ours and back, under load: tests/swap. `swap.sh TEST`.
set -euo pipefail
root=$(cd "${BASH_SOURCE[0]%/*}/../.." && pwd)
cd "$root"
OTTLA_TEST_KAFKA_LIBS=${OTTLA_TEST_KAFKA_LIBS:-$root/tests/.cache/kafka-3.7.2/libs} \
  cargo test --test swap -- --ignored --nocapture --exact "$1"
