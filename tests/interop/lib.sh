# Sourced by the interop tests: a ZooKeeper and brokers in a temporary folder, gone when the test ends.
# What run.sh fetched and built must be there.
set -euo pipefail

root=$(cd "${BASH_SOURCE[0]%/*}/../.." && pwd)
cache=$root/tests/.cache
ottla=${CARGO_TARGET_DIR:-$root/target}/debug/ottla

work=$(mktemp -d)
pids=()

cleanup() {
  local status=$?
  [ ${#pids[@]} -eq 0 ] || kill -9 "${pids[@]}" 2>/dev/null || true
  wait 2>/dev/null || true
  if [ $status -ne 0 ]; then
    for log in "$work"/*.log; do
      [ -s "$log" ] || continue
      echo "--- the last lines of ${log##*/}:"
      tail -n 25 "$log"
    done
  fi
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 143' TERM INT

fail() {
  echo "FAILED: $*"
  exit 1
}

# eventually SECONDS COMMAND...: until the command succeeds.
eventually() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $deadline ] || fail "not in time: $*"
    sleep 0.1
  done
}

free_port() {
  python3 -c 'import random, socket
while True:
    port = random.randrange(10000, 30000)
    with socket.socket() as s:
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            continue
    print(port)
    break'
}

start_zookeeper() {
  zookeeper_port=$(free_port)
  cat >"$work/zookeeper.properties" <<CONFIG
tickTime=500
dataDir=$work/zookeeper
clientPort=$zookeeper_port
clientPortAddress=127.0.0.1
maxClientCnxns=0
admin.enableServer=false
4lw.commands.whitelist=*
CONFIG
  java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp /usr/share/java/zookeeper.jar \
    org.apache.zookeeper.server.quorum.QuorumPeerMain "$work/zookeeper.properties" >"$work/zookeeper.log" 2>&1 &
  pids+=($!)
  eventually 60 zookeeper_answers
}

# A server that is still starting may take the connection and never answer.
zookeeper_answers() {
  [ "$(timeout 2 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" && echo -n ruok >&3 && cat <&3' - "$zookeeper_port" 2>/dev/null)" = imok ]
}

# Writes server.properties; further arguments are lines of it.
configure_broker() {
  broker_port=${broker_port:-$(free_port)}
  bootstrap=127.0.0.1:$broker_port
  cat >"$work/server.properties" <<CONFIG
broker.id=0
listeners=PLAINTEXT://127.0.0.1:$broker_port
log.dirs=$work/data
zookeeper.connect=127.0.0.1:$zookeeper_port/interop
zookeeper.session.timeout.ms=6000
offsets.topic.num.partitions=5
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=5
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=200
CONFIG
  printf '%s\n' "$@" >>"$work/server.properties"
}

# start_broker [ottla|kafka]: the one of $OTTLA_TEST_BROKER unless told; sets broker_pid.
start_broker() {
  broker=${1:-${OTTLA_TEST_BROKER:-ottla}}
  : >"$work/broker.log"
  if [ "$broker" = kafka ]; then
    level=INFO java_class -Xmx512m kafka.Kafka "$work/server.properties" >"$work/broker.log" 2>&1 &
  else
    "$ottla" kafka-server-start "$work/server.properties" >"$work/broker.log" 2>&1 &
  fi
  broker_pid=$!
  pids+=("$broker_pid")
  eventually 60 broker_started
}

broker_started() {
  kill -0 "$broker_pid" 2>/dev/null || fail "the broker has ended"
  grep -q 'started (kafka.server.KafkaServer)' "$work/broker.log"
}

# stop_broker [SIGNAL]
stop_broker() {
  kill "-${1:-TERM}" "$broker_pid"
  wait "$broker_pid" || true
}

java_class() {
  local options=(-Xmx256m)
  while [[ $1 == -X* ]]; do options+=("$1"); shift; done
  exec java "${options[@]}" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 "-Dlevel=${level:-WARN}" \
    "-Dlog4j.configuration=file:$root/tests/interop/log4j.properties" -cp "$cache/kafka-3.7.2/libs/*" "$@"
}

# A tool of the real Kafka, by its script name.
kafka_tool() {
  local tool=$1 class
  shift
  case $tool in
    kafka-topics) class=org.apache.kafka.tools.TopicCommand ;;
    kafka-console-producer) class=kafka.tools.ConsoleProducer ;;
    kafka-console-consumer) class=kafka.tools.ConsoleConsumer ;;
    kafka-consumer-groups) class=kafka.admin.ConsumerGroupCommand ;;
    kafka-verifiable-producer) class=org.apache.kafka.tools.VerifiableProducer ;;
    kafka-verifiable-consumer) class=org.apache.kafka.tools.VerifiableConsumer ;;
    kafka-broker-api-versions) class=kafka.admin.BrokerApiVersionsCommand ;;
    *) fail "unknown tool $tool" ;;
  esac
  (java_class "$class" "$@")
}

new_broker() {
  start_zookeeper
  configure_broker "$@"
  start_broker
}
