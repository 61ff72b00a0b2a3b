#!/usr/bin/env bash
# confluent-kafka for Python: a group of two that share a topic.
set -e
. "${BASH_SOURCE[0]%/*}/lib.sh"
new_broker
"$cache/venv-new/bin/python" "$root/tests/interop/confluent_group.py" "$bootstrap"
