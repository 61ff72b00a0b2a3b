#!/bin/bash
# Starts Apache ZooKeeper; with -daemon in the background, its log in $LOG_DIR/zookeeper.out.
here=${BASH_SOURCE[0]%/*}; [ -d "$here" ] || here=.
if [ $# -lt 1 ]; then
  echo "USAGE: $0 [-daemon] zookeeper.properties"
  exit 1
fi
export KAFKA_HEAP_OPTS=${KAFKA_HEAP_OPTS:--Xmx512M}
if [ "$1" = -daemon ]; then
  shift
  set -- -daemon -name zookeeper org.apache.zookeeper.server.quorum.QuorumPeerMain "$@"
else
  set -- org.apache.zookeeper.server.quorum.QuorumPeerMain "$@"
fi
exec "$here/kafka-run-class.sh" "$@"
