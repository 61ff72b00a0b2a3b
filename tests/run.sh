#!/usr/bin/env bash
# Runs the tests, after setting up what they need on a Debian or Ubuntu machine that has Rust and a C compiler.
#
#   tests/run.sh          all: cargo's tests, then real clients and a real Kafka 3.7.2 (Java, Python, Node)
#   tests/run.sh fast     cargo's tests only; of Java they need no more than ZooKeeper
#   tests/run.sh interop [NAME...]   the others only, or those of that name
#
# Ends with `N passed, N failed`; fails unless all passed. Downloads are kept in tests/.cache, logs in tests/.cache/logs.
# OTTLA_TEST_BROKER=kafka runs the same tests against a real Kafka, to see whether a test asks for what is so.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=$root/tests/.cache
logs=$cache/logs
passed=0
failed=0

say() { printf '== %s\n' "$*"; }

# package NAME FILE_OR_COMMAND: installs a Debian package unless what it brings is there.
package() {
  if [ -e "$2" ] || type -P "$2" >/dev/null; then return; fi
  local sudo=()
  [ "$(id -u)" = 0 ] || sudo=(sudo)
  say "installing $1"
  if [ -z "${updated:-}" ]; then
    "${sudo[@]}" apt-get -qq update
    updated=1
  fi
  if ! "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y install "$1" >"$logs/apt.log" 2>&1; then
    tail -n 20 "$logs/apt.log"
    say "cannot install $1"
    exit 1
  fi
}

# fetch WHAT MARKER COMMAND...: runs a command once, until it has succeeded.
fetch() {
  local what=$1 marker=$cache/.$2
  shift 2
  [ -e "$marker" ] && return
  say "fetching $what"
  if ! "$@" >"$logs/fetch.log" 2>&1; then
    tail -n 20 "$logs/fetch.log"
    say "cannot fetch $what"
    exit 1
  fi
  touch "$marker"
}

venv() {
  local name=$1
  shift
  python3 -m venv "$cache/$name" && "$cache/$name/bin/pip" install --disable-pip-version-check "$@"
}

node_packages() {
  mkdir -p "$cache/node" && cp "$root/tests/interop/package.json" "$cache/node/" && cd "$cache/node" && npm install --no-audit --no-fund
}

set_up_fast() {
  package default-jre-headless java
  package zookeeper /usr/share/java/zookeeper.jar
  package make make # for librdkafka
  package iproute2 ip
}

set_up_interop() {
  package python3 python3
  package maven mvn
  package nodejs node
  package npm npm
  python3 -c 'import ensurepip, venv' 2>/dev/null || package python3-venv no-such-command
  fetch "Kafka 3.7.2 from Maven Central" kafka-3.7.2 mvn -q -B -f "$root/tests/interop/pom.xml" \
    org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies -DoutputDirectory="$cache/kafka-3.7.2/libs"
  # The vendored six of this version does not work with Python 3.12 and later.
  fetch "kafka-python 2.0.2" venv-old venv venv-old kafka-python==2.0.2 six
  fetch "the newest kafka-python and confluent-kafka" venv-new venv venv-new kafka-python confluent-kafka
  fetch "kafkajs" node node_packages
}

# Counts what cargo printed, and shows the last lines of each test that failed.
count_cargo() {
  local log=$1 ok bad
  ok=$(grep -aEc '^test .* \.\.\. ok$' "$log")
  bad=$(grep -aE '^test .* \.\.\. FAILED$' "$log" | sed 's/^test \(.*\) \.\.\. FAILED$/\1/')
  passed=$((passed + ok))
  local name
  while read -r name; do
    [ -n "$name" ] || continue
    failed=$((failed + 1))
    echo "not ok $name"
    awk -v start="---- $name stdout ----" '$0 == start { on = 1; next } on && /^(---- .* stdout ----|failures:)$/ { exit } on' "$log" |
      grep -avE '^ +[0-9]+: |^ +at |\] INFO |^stack backtrace|RUST_BACKTRACE|^$' | tail -n 40 | sed 's/^/    /'
  done <<<"$bad"
}

run_cargo() {
  cd "$root" || exit 1
  say "building (the first time takes some minutes)"
  # One profile for the binary and all tests: what is built for one serves the other.
  if ! cargo build --tests --bins >"$logs/build.log" 2>&1; then
    grep -aE '^error' -A 12 "$logs/build.log" | head -n 80
    echo "not ok build"
    failed=$((failed + 1))
    return 1
  fi
  say "cargo test"
  # Most of them wait for processes most of the time.
  RUST_TEST_THREADS=${RUST_TEST_THREADS:-4} cargo test --no-fail-fast -- --show-output >"$logs/cargo.log" 2>&1
  local status=$? before=$failed
  # Some tests count something that is worth to be seen.
  grep -aE '^(     Running|   Doc-tests|test result|(wire|znodes|kills|bystander|fault|simulation): )' "$logs/cargo.log" | sed 's/^ *//'
  count_cargo "$logs/cargo.log"
  if [ $status -ne 0 ] && [ "$failed" = "$before" ]; then
    echo "not ok cargo test (a test binary ended by itself)"
    tail -n 30 "$logs/cargo.log"
    failed=$((failed + 1))
  fi
}

only=()

# interop NAME SCRIPT ARGUMENTS...
interop() {
  local name=$1 script=$2 start=$SECONDS
  shift 2
  if [ ${#only[@]} -gt 0 ] && [[ " ${only[*]} " != *" $name "* ]]; then return; fi
  if timeout --kill-after=10 "${limit:-180}" "$root/tests/interop/$script.sh" "$@" >"$logs/$name.log" 2>&1 </dev/null; then
    echo "ok $name ($((SECONDS - start)) s)"
    passed=$((passed + 1))
  else
    echo "not ok $name ($((SECONDS - start)) s)"
    tail -n 40 "$logs/$name.log" | sed 's/^/    /'
    failed=$((failed + 1))
  fi
}

run_interop() {
  say "real clients"
  interop kafka-python-2.0.2 python_client venv-old
  interop kafka-python-newest python_client venv-new
  interop confluent-kafka confluent
  interop kafkajs kafkajs
  interop java-console java_console
  interop java-group java_group
  interop java-verifiable java_verifiable
  interop roundtrip-clean roundtrip TERM
  interop roundtrip-killed roundtrip KILL
  limit=300 interop one-kafka with_kafka cluster one_real_kafka_and_two_of_ours_make_one_cluster
  limit=300 interop two-kafkas with_kafka cluster two_real_kafkas_and_one_of_ours_make_one_cluster
  limit=300 interop old-protocols with_kafka protocol_versions a_real_kafka_and_ours_share_the_old_protocol
  limit=300 interop kafka-throttles with_kafka reassign a_throttled_move_by_kafkas_tool
  limit=300 interop kafka-cancels with_kafka reassign a_move_is_taken_back_by_kafkas_tool
  limit=300 interop move-from-kafka with_kafka reassign a_throttled_move_from_a_real_kafka_to_ours
  limit=300 interop move-to-kafka with_kafka reassign a_throttled_move_from_ours_to_a_real_kafka
  limit=300 interop swap with_kafka swap kafka_brokers_are_swapped_for_ours_and_back
  limit=300 interop swap-killed with_kafka swap killed_kafka_brokers_are_swapped_for_ours_and_back
}

mkdir -p "$logs"
case ${1:-all} in
  all) set_up_fast; set_up_interop; run_cargo && run_interop ;;
  fast) set_up_fast; run_cargo ;;
  interop) shift; only=("$@"); set_up_fast; set_up_interop; (cd "$root" && cargo build --bins) && run_interop ;;
  *) sed -n '2,10p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//'; exit 2 ;;
esac
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
