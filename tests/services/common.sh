# What every service script shares: where things lie, which ports they use, how a daemon is started and ended.
# Sourced by `ctl`, never run. A service script defines <name>_{install,start,stop,wipe,running,env}.

CACHE=${MARU_TEST_CACHE:-$HOME/.cache/maru}
SOFTWARE=$CACHE/services

PG_PORT=${MARU_TEST_PG_PORT:-55432}
MYSQL_PORT=${MARU_TEST_MYSQL_PORT:-53306}
S3_PORT=${MARU_TEST_S3_PORT:-57070}
HDFS_PORT=${MARU_TEST_HDFS_PORT:-9000}
HDFS_WEB_PORT=${MARU_TEST_HDFS_WEB_PORT:-9870}
HMS2_PORT=${MARU_TEST_HMS2_PORT:-9082}
HMS3_PORT=${MARU_TEST_HMS3_PORT:-9083}
HMS4_PORT=${MARU_TEST_HMS4_PORT:-9084}

# One login for both databases. It may create databases, so that tests need not share tables.
DB_USER=tester
DB_PASSWORD=tester-secret
DB_NAME=shop
S3_ACCESS_KEY=maru-test-access
S3_SECRET_KEY=maru-test-secret

say() { printf '%s\n' "services: $*" >&2; }
die() { say "$*"; exit 1; }
am_root() { [ "$(id -u)" = 0 ]; }

# as USER COMMAND…: a database refuses to run as root, so root steps down; anybody else stays who they are.
as() {
  local user=$1
  shift
  if am_root; then (cd / && runuser -u "$user" -- "$@"); else (cd / && "$@"); fi
}

# The data of running services. A database that runs as another user must be able to walk down to its folder, which it
# cannot under root's home (mode 0700).
state_folder() {
  if [ -n "${MARU_TEST_STATE:-}" ]; then
    echo "$MARU_TEST_STATE"
  elif am_root && ! walkable "$CACHE"; then
    echo /var/cache/maru-tests
  else
    echo "$CACHE/services/state"
  fi
}

# walkable DIR: may everybody pass through DIR and all its parents?
walkable() {
  local dir=$1 mode
  while [ "$dir" != / ]; do
    if [ -e "$dir" ]; then
      mode=$(stat -c %a "$dir")
      [ $((0$mode & 1)) = 1 ] || return 1
    fi
    dir=$(dirname "$dir")
  done
}

STATE=$(state_folder)

# The environment of Python that has Spark in it; `spark` makes it.
spark_venv() { echo "$SOFTWARE/pyspark-$(sha256sum "$HERE/requirements-spark.txt" | cut -c1-12)"; }

# folder_for USER DIR: makes DIR, private to USER.
folder_for() {
  install -d -m 711 "$STATE"
  install -d -m 700 "$2"
  if am_root; then chown "$1": "$2"; fi
}

port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# A port that somebody else holds would let the tests talk to a stranger's service.
need_free_port() {
  if port_open "$2"; then die "$1: port $2 of 127.0.0.1 is taken by another process; set $3 to a free one"; fi
}

# daemon NAME COMMAND…: starts it outside our process group, so that it outlives the terminal; its pid and log are
# $STATE/NAME.{pid,log}.
daemon() {
  local name=$1
  shift
  mkdir -p "$STATE"
  setsid nohup "$@" >"$STATE/$name.log" 2>&1 </dev/null &
  echo $! >"$STATE/$name.pid"
}

# alive NAME PATTERN: our pid lives and still is that program (pids are used again after a reboot).
alive() {
  local pid
  pid=$(cat "$STATE/$1.pid" 2>/dev/null) || return 1
  [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null && tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q -- "$2"
}

# end NAME PATTERN: asks politely, insists after 20 seconds.
end() {
  local pid
  if alive "$1" "$2"; then
    pid=$(cat "$STATE/$1.pid")
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 200); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null || true
  fi
  rm -f "$STATE/$1.pid"
}

# wait_until NAME SECONDS TEST…: until TEST succeeds; a daemon that died shows the end of its log.
wait_until() {
  local name=$1 seconds=$2
  shift 2
  for _ in $(seq $((seconds * 5))); do
    if "$@"; then return 0; fi
    if ! kill -0 "$(cat "$STATE/$name.pid")" 2>/dev/null; then
      tail -30 "$STATE/$name.log" >&2
      say "$name ended while starting; the end of its log is above"
      return 1
    fi
    sleep 0.2
  done
  tail -30 "$STATE/$name.log" >&2
  say "$name was not ready after $seconds seconds; the end of its log is above"
  return 1
}

# need_packages COMMAND=PACKAGE…: installs what is missing as root on Debian, else says what to install.
need_packages() {
  local pair missing=()
  for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null 2>&1 || [ -x "${pair%%=*}" ] || missing+=("${pair#*=}")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if am_root && command -v apt-get >/dev/null 2>&1; then
    say "installing ${missing[*]}"
    # Several services install at once; apt knows only one at a time.
    (
      flock 8
      # The package would otherwise make and start a database of its own.
      mkdir -p /etc/postgresql-common
      [ -f /etc/postgresql-common/createcluster.conf ] || echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
      apt_install "${missing[@]}" >"$SOFTWARE/apt.log" 2>&1 ||
        { apt-get update >>"$SOFTWARE/apt.log" 2>&1 && apt_install "${missing[@]}" >>"$SOFTWARE/apt.log" 2>&1; } ||
        { tail -20 "$SOFTWARE/apt.log" >&2; die "could not install ${missing[*]}"; }
    ) 8>"$SOFTWARE/apt.lock"
  else
    die "missing: ${missing[*]}. Install them, for example: sudo apt-get install --no-install-recommends ${missing[*]}"
  fi
}
apt_install() { DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; }

# maven_jars NAME: the jars of maven/NAME.xml in $SOFTWARE/NAME; made once for each text of that file.
maven_jars() {
  local name=$1 pom=$HERE/maven/$1.xml dir=$SOFTWARE/$1 stamp
  stamp=$(sha256sum "$pom" | cut -c1-16)
  [ "$(cat "$dir/.complete" 2>/dev/null)" != "$stamp" ] || return 0
  need_packages java=openjdk-17-jre-headless mvn=maven
  say "$name: fetching jars"
  rm -rf "$dir"
  mkdir -p "$dir"
  mvn -q -B -f "$pom" org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$dir" >"$SOFTWARE/$name.mvn.log" 2>&1 ||
    { tail -20 "$SOFTWARE/$name.mvn.log" >&2; die "$name: Maven failed"; }
  rm -rf "$HERE/maven/target"
  echo "$stamp" >"$dir/.complete"
}

# Hadoop of 2025 on Java 17 looks into these modules by reflection.
JAVA_OPENS=()
for module in java.base/java.lang java.base/java.util java.base/java.util.concurrent java.base/java.util.concurrent.atomic \
  java.base/java.net java.base/java.io java.base/java.nio java.sql/java.sql; do
  JAVA_OPENS+=("--add-opens=$module=ALL-UNNAMED")
done

# hadoop_xml NAME VALUE…: a Hadoop configuration file on standard output.
hadoop_xml() {
  echo '<configuration>'
  printf '<property><name>%s</name><value>%s</value></property>\n' "$@"
  echo '</configuration>'
}

log4j_quiet() {
  cat <<'P'
log4j.rootLogger=WARN,err
log4j.appender.err=org.apache.log4j.ConsoleAppender
log4j.appender.err.target=System.err
log4j.appender.err.layout=org.apache.log4j.PatternLayout
log4j.appender.err.layout.ConversionPattern=%d{ISO8601} %p %c{2}: %m%n
P
}
