#!/bin/bash
# Sends lines from standard input to a topic.
here=${BASH_SOURCE[0]%/*}; [ -d "$here" ] || here=.
. "$here/lib.sh"
exec_tool kafka-console-producer "$@"
