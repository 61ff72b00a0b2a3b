#!/usr/bin/env bash
# kafka-python, by the version in the venv: futures, callbacks, errbacks, and a group of two.
set -e
. "${BASH_SOURCE[0]%/*}/lib.sh"
new_broker auto.create.topics.enable=true
"$cache/$1/bin/python" "$root/tests/interop/kafka_python.py" "$bootstrap"
