#!/bin/bash
# Moves replicas between brokers.
here=${BASH_SOURCE[0]%/*}; [ -d "$here" ] || here=.
. "$here/lib.sh"
exec_tool kafka-reassign-partitions "$@"
