#!/bin/bash
# Starts a broker; with -daemon in the background, its log in $LOG_DIR/server.log.
here=${BASH_SOURCE[0]%/*}; [ -d "$here" ] || here=.
if [ $# -lt 1 ]; then
  echo "USAGE: $0 [-daemon] server.properties [--override property=value]*"
  exit 1
fi
. "$here/lib.sh"
if [ "$1" = -daemon ]; then
  shift
  find_ottla
  background server.log "$ottla" kafka.Kafka "$@"
else
  exec_tool kafka.Kafka "$@"
fi
