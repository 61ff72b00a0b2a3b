#!/bin/bash
# Ends the ZooKeeper servers of this machine, by SIGTERM or the signal named in SIGNAL.
here=${BASH_SOURCE[0]%/*}; [ -d "$here" ] || here=.
. "$here/lib.sh"
matches() {
  [[ ${1##*/} == java && $3 == *org.apache.zookeeper.server.quorum.QuorumPeerMain* ]]
}
find_processes
if [ ${#pids[@]} -eq 0 ]; then
  echo "No zookeeper server to stop"
  exit 1
fi
kill -s "${SIGNAL:-TERM}" "${pids[@]}"
