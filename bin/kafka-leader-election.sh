#!/bin/bash
# Has leaders elected.
here=${BASH_SOURCE[0]%/*}; [ -d "$here" ] || here=.
. "$here/lib.sh"
exec_tool kafka-leader-election "$@"
