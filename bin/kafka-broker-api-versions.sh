#!/bin/bash
# Prints which requests each broker knows, in which versions.
here=${BASH_SOURCE[0]%/*}; [ -d "$here" ] || here=.
. "$here/lib.sh"
exec_tool kafka-broker-api-versions "$@"
