#!/bin/bash
# Creates, deletes, describes and changes topics.
here=${BASH_SOURCE[0]%/*}; [ -d "$here" ] || here=.
. "$here/lib.sh"
exec_tool kafka-topics "$@"
