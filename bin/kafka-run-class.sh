#!/bin/bash
# Runs what a class name of Kafka stands for: the broker, a tool, or a class of Apache ZooKeeper.
here=${BASH_SOURCE[0]%/*}; [ -d "$here" ] || here=.
if [ $# -lt 1 ]; then
  echo "USAGE: $0 [-daemon] [-name servicename] [-loggc] classname [opts]"
  exit 1
fi
. "$here/lib.sh"
daemon= name=
while [ $# -gt 0 ]; do
  case $1 in
    -name) name=$2; shift 2 ;;
    -daemon) daemon=1; shift ;;
    -loggc) shift ;; # there is no garbage, so no log of it
    *) break ;;
  esac
done
class=$1
shift
case $class in
  org.apache.zookeeper.*)
    # Kafka has the main class of its shell in a package of ZooKeeper.
    class=${class/ZooKeeperMainWithTlsSupportForKafka/ZooKeeperMain}
    level=warn
    [[ $class == *.server.* ]] && level=info
    find_zookeeper $level
    # KAFKA_OPTS and KAFKA_HEAP_OPTS are lists of words.
    command=("$java_command" ${KAFKA_HEAP_OPTS:--Xmx256M} -Djava.awt.headless=true "${log_options[@]}"
      -cp "$classpath" ${KAFKA_OPTS:-} "$class" "$@")
    ;;
  *)
    find_ottla
    command=("$ottla" "$class" "$@")
    ;;
esac
if [ -n "$daemon" ]; then
  [ "$class" = kafka.Kafka ] && name=server.log
  [ "$name" = server.log ] || name=${name:-${class##*.}}.out
  background "$name" "${command[@]}"
else
  exec "${command[@]}"
fi
