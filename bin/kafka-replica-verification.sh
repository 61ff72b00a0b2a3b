#!/bin/bash
# Compares the replicas of topics.
here=${BASH_SOURCE[0]%/*}; [ -d "$here" ] || here=.
. "$here/lib.sh"
exec_tool kafka-replica-verification "$@"
