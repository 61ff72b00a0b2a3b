#!/bin/bash
# Looks into ZooKeeper, by the command line of Apache ZooKeeper itself.
here=${BASH_SOURCE[0]%/*}; [ -d "$here" ] || here=.
if [ $# -lt 1 ]; then
  echo "USAGE: $0 zookeeper_host:port[/path] [-zk-tls-config-file file] [args...]"
  exit 1
fi
exec "$here/kafka-run-class.sh" org.apache.zookeeper.ZooKeeperMain -server "$@"
