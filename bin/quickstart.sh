#!/bin/bash
# From a fresh checkout to records through a broker: installs ZooKeeper and Java where they are missing (Debian,
# Ubuntu), builds, starts both servers, and creates, fills and reads a topic. `quickstart.sh stop` ends the servers.
set -euo pipefail
here=${BASH_SOURCE[0]%/*}; [ -d "$here" ] || here=.
cd "$here/.."
state=$PWD/logs/quickstart
mkdir -p "$state"

say() { printf '\n%s\n' "$*"; }
fail() { printf '\n%s\n' "$*" >&2; exit 1; }
# Prints a command as one would type it, then runs it.
run() { printf '\n$'; printf ' %q' "$@"; printf '\n'; "$@"; }

# The process of ours that `start` began, if it still runs: its number, else nothing.
ours() {
  local pid=
  [ -f "$state/$1.pid" ] && read -r pid <"$state/$1.pid"
  [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null && [[ $(tr '\0' ' ' <"/proc/$pid/cmdline") == *"$2"* ]] && echo "$pid"
  return 0
}

listens() { (exec 3<>"/dev/tcp/localhost/$1") 2>/dev/null; }

# Who listens on a port: name and number, as far as we may see it.
listener() {
  local hex inode pid
  hex=$(printf ':%04X' "$1")
  inode=$(awk -v port="$hex" '$2 ~ port"$" && $4 == "0A" {print $10; exit}' /proc/net/tcp /proc/net/tcp6 2>/dev/null)
  pid=$(find /proc/[0-9]*/fd -lname "socket:\[$inode\]" -printf '%h\n' 2>/dev/null | head -n 1)
  pid=${pid#/proc/}; pid=${pid%/fd}
  if [ -n "$pid" ]; then
    echo "process $pid: $(tr '\0' ' ' <"/proc/$pid/cmdline" | cut -c 1-120)"
  else
    echo "a process of another user"
  fi
}

# Waits until a port answers; gives up when the process ends or the time is over.
await() { # name, port, seconds, log
  local name=$1 port=$2 deadline=$((SECONDS + $3)) log=$4 pid
  read -r pid <"$state/$name.pid"
  printf 'waiting for %s on port %s ' "$name" "$port"
  until listens "$port"; do
    if ! kill -0 "$pid" 2>/dev/null; then
      echo; tail -n 20 "$log" >&2
      fail "$name ended; the lines above are the last of $log"
    fi
    [ $SECONDS -lt $deadline ] || { echo; fail "$name does not answer on port $port; see $log"; }
    printf '.'
    sleep 0.2
  done
  echo ' ready'
}

stop() { # name, mark
  local pid
  pid=$(ours "$1" "$2")
  if [ -z "$pid" ]; then
    echo "$1 is not running"
  else
    printf 'stopping %s (process %s) ' "$1" "$pid"
    kill "$pid"
    for _ in {1..150}; do kill -0 "$pid" 2>/dev/null || break; printf '.'; sleep 0.2; done
    kill -0 "$pid" 2>/dev/null && kill -9 "$pid"
    echo ' done'
  fi
  rm -f "$state/$1.pid"
}

if [ "${1:-}" = stop ]; then
  stop broker kafka.Kafka
  stop zookeeper QuorumPeerMain
  exit
fi
[ $# -eq 0 ] || fail "USAGE: $0 [stop]"

# ---- what is missing ----
packages=()
if [ -z "${ZOOKEEPER_HOME:-}${ZOOKEEPER_CLASSPATH:-}" ] && [ ! -f /usr/share/java/zookeeper.jar ]; then
  packages+=(zookeeper)
fi
type -P "${JAVA_HOME:+$JAVA_HOME/bin/}java" >/dev/null || packages+=(default-jre-headless)
if [ ${#packages[@]} -gt 0 ]; then
  type -P apt-get >/dev/null || fail "Please install Apache ZooKeeper and Java, and set ZOOKEEPER_HOME; there is no apt-get here"
  sudo=()
  if [ "$(id -u)" -ne 0 ]; then
    type -P sudo >/dev/null || fail "Please run as root: apt-get install ${packages[*]}"
    sudo=(sudo)
  fi
  say "Installing ${packages[*]} (a minute or two)"
  run "${sudo[@]}" apt-get update -q
  run "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${packages[@]}"
fi
[ -d "$HOME/.cargo/bin" ] && PATH=$PATH:$HOME/.cargo/bin
type -P cargo >/dev/null || fail "Rust is missing: see https://rustup.rs"

# ---- ports ----
zookeeper=$(ours zookeeper QuorumPeerMain)
broker=$(ours broker kafka.Kafka)
if [ -z "$zookeeper" ] && listens 2181; then
  fail "Port 2181, ZooKeeper's, is taken by $(listener 2181)"
fi
if [ -z "$broker" ] && listens 9092; then
  fail "Port 9092, the broker's, is taken by $(listener 9092)"
fi

# ---- build ----
say "Building (some minutes the first time)"
run cargo build --release --locked
export OTTLA_BINARY=${CARGO_TARGET_DIR:-$PWD/target}/release/ottla

# ---- servers ----
start() { # name, log, port, seconds, command...
  local name=$1 log=$2 port=$3 seconds=$4
  shift 4
  printf '\n$'; printf ' %q' "$@"; printf ' > %s &\n' "$log"
  nohup "$@" >>"$log" 2>&1 </dev/null &
  echo $! >"$state/$name.pid"
  await "$name" "$port" "$seconds" "$log"
}
if [ -n "$zookeeper" ]; then
  say "ZooKeeper runs already (process $zookeeper)"
else
  start zookeeper logs/zookeeper.out 2181 60 bin/zookeeper-server-start.sh config/zookeeper.properties
fi
if [ -n "$broker" ]; then
  say "The broker runs already (process $broker)"
else
  start broker logs/server.log 9092 60 bin/kafka-server-start.sh config/server.properties
fi

# ---- a topic ----
run bin/kafka-topics.sh --create --if-not-exists --topic MyFirstTopic --partitions 1 --replication-factor 1 \
  --bootstrap-server localhost:9092
printf '\n$ printf "one\\ntwo\\nthree\\n" | bin/kafka-console-producer.sh --topic MyFirstTopic --bootstrap-server localhost:9092\n'
printf 'one\ntwo\nthree\n' | bin/kafka-console-producer.sh --topic MyFirstTopic --bootstrap-server localhost:9092
run bin/kafka-console-consumer.sh --topic MyFirstTopic --from-beginning --max-messages 3 --timeout-ms 20000 \
  --bootstrap-server localhost:9092

cat <<'END'

It works. To go on, in two terminals:
  bin/kafka-console-producer.sh --topic MyFirstTopic --bootstrap-server localhost:9092
  bin/kafka-console-consumer.sh --topic MyFirstTopic --from-beginning --bootstrap-server localhost:9092
What there is:
  bin/kafka-topics.sh --list --bootstrap-server localhost:9092
  bin/kafka-topics.sh --describe --topic MyFirstTopic --bootstrap-server localhost:9092
The logs are in logs/. To stop both servers:
  bin/quickstart.sh stop
END
