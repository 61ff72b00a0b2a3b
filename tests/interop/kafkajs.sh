#!/usr/bin/env bash
# kafkajs: a group of two that share a topic.
. "$root/tests/interop/lib.sh"
new_broker
NODE_PATH=$cache/node/node_modules node "$root/tests/interop/kafkajs_group.js" "$bootstrap"
