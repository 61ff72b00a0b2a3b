#!/bin/bash
# Ends the brokers of this machine, by SIGTERM or the signal named in SIGNAL.
here=${BASH_SOURCE[0]%/*}; [ -d "$here" ] || here=.
. "$here/lib.sh"
matches() {
  [[ ${1##*/} == ottla && ($2 == kafka.Kafka || $2 == kafka-server-start) ]]
}
find_processes
if [ ${#pids[@]} -eq 0 ]; then
  echo "No kafka server to stop"
  exit 1
fi
kill -s "${SIGNAL:-TERM}" "${pids[@]}"
