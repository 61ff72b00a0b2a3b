# Sourced by the scripts beside it: finds the ottla binary and Apache ZooKeeper. Builtins only, so that a tool
# starts at once.

home=$here/..
LOG_DIR=${LOG_DIR:-$home/logs}

# Sets `ottla`, or says how to build it.
find_ottla() {
  local candidate
  for candidate in "${OTTLA_BINARY:-}" "${CARGO_TARGET_DIR:-$home/target}/release/ottla" "$here/ottla" "$home/ottla"; do
    if [ -x "$candidate" ] && [ ! -d "$candidate" ]; then
      ottla=$candidate
      return
    fi
  done
  ottla=$(type -P ottla) && return
  echo "ottla is not built yet: run 'cargo build --release' in the checkout, or bin/quickstart.sh" >&2
  exit 1
}

# Runs a tool of ours in place of this shell.
exec_tool() {
  find_ottla
  exec "$ottla" "$@"
}

# Sets `java_command`, `classpath` and `log_options` to run ZooKeeper's classes; `$1` is the least level logged.
find_zookeeper() {
  local level=$1 jars=/usr/share/java
  log_options=()
  if [ -n "${ZOOKEEPER_CLASSPATH:-}" ]; then
    classpath=$ZOOKEEPER_CLASSPATH
    [ -d "$classpath" ] && classpath="$classpath/*"
  elif [ -n "${ZOOKEEPER_HOME:-}" ]; then
    classpath="$ZOOKEEPER_HOME/conf:$ZOOKEEPER_HOME/lib/*:$ZOOKEEPER_HOME/*"
  elif [ -f $jars/zookeeper.jar ]; then
    # Debian's jar names those it needs, but no logger.
    if [ "$level" = info ]; then
      classpath=$jars/zookeeper.jar:$jars/slf4j-jdk14.jar
      log_options=('-Djava.util.logging.SimpleFormatter.format=[%1$tF %1$tT,%1$tL] %4$s %5$s (%3$s)%6$s%n')
    else
      classpath=$jars/zookeeper.jar:$jars/slf4j-simple.jar
      # ServiceUtils logs the end of the process, a good one too, as an error.
      log_options=("-Dorg.slf4j.simpleLogger.defaultLogLevel=$level"
        -Dorg.slf4j.simpleLogger.log.org.apache.zookeeper.util.ServiceUtils=off)
    fi
  else
    echo "Apache ZooKeeper is not installed: 'apt-get install zookeeper default-jre-headless', or set" \
      "ZOOKEEPER_HOME to its folder, or ZOOKEEPER_CLASSPATH to a folder of its jars" >&2
    exit 1
  fi
  java_command=${JAVA_HOME:+$JAVA_HOME/bin/java}
  java_command=${java_command:-java}
  if ! type -P "$java_command" >/dev/null; then
    echo "Apache ZooKeeper needs Java: 'apt-get install default-jre-headless', or set JAVA_HOME" >&2
    exit 1
  fi
}

# Sets `pids` to the processes for which `matches PROGRAM FIRST_ARGUMENT ALL_WORDS` is true.
find_processes() {
  local file words
  pids=()
  for file in /proc/[0-9]*/cmdline; do
    words=()
    { mapfile -d '' -t words <"$file"; } 2>/dev/null
    if matches "${words[0]:-}" "${words[1]:-}" "${words[*]:-}"; then
      file=${file#/proc/}
      pids+=("${file%/cmdline}")
    fi
  done
}

# Leaves a command running in the background: `background LOG COMMAND...`, its output in that file of LOG_DIR.
background() {
  local log=$LOG_DIR/$1
  shift
  [ -d "$LOG_DIR" ] || mkdir -p "$LOG_DIR"
  nohup "$@" >>"$log" 2>&1 </dev/null &
}
