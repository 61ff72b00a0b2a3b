#!/usr/bin/env bash
# kafkajs: a group of two that share a topic.
set -e
. "${BASH_SOURCE[0]%/*}/lib.sh"
new_broker
NODE_PATH=$cache/node/node_modules node "$root/tests/interop/kafkajs_group.js" "$bootstrap"
