# Hive metastores: 3.1.3 (what most clusters run) and 4.0.1 (the new protocol: calls such as get_table are gone). Each
# is the stand-alone metastore on an embedded Derby database; both keep their warehouse on the one HDFS. And 2.3.9, of
# clusters of old, which comes with Spark; it is started only where it is named, by the tests that want it.

hms_port() { local port=${1^^}_PORT; echo "${!port}"; }
hms_variable() { echo "MARU_TEST_${1^^}_PORT"; }

# Versions 2, 3 and 4 read different names of the same setting: all are given.
hms_configure() {
  local dir=$STATE/$1 port warehouse=hdfs://127.0.0.1:$HDFS_PORT/user/hive managed prefix settings=()
  port=$(hms_port "$1")
  # Version 4 refuses an external table below its folder of managed ones; both versions show the same files.
  managed=warehouse
  [ "$1" != hms4 ] || managed=managed
  mkdir -p "$dir/conf"
  for prefix in metastore hive.metastore; do
    settings+=("$prefix.uris" "thrift://127.0.0.1:$port" "$prefix.thrift.uris" "thrift://127.0.0.1:$port"
      "$prefix.warehouse.dir" "$warehouse/$managed" "$prefix.schema.verification" false)
  done
  settings+=(fs.defaultFS "hdfs://127.0.0.1:$HDFS_PORT"
    metastore.warehouse.external.dir "$warehouse/external"
    metastore.thrift.port "$port" metastore.thrift.bind.host 127.0.0.1
    javax.jdo.option.ConnectionURL "jdbc:derby:;databaseName=$dir/derby;create=true"
    javax.jdo.option.ConnectionDriverName org.apache.derby.jdbc.EmbeddedDriver
    datanucleus.schema.autoCreateAll true
    metastore.event.db.notification.api.auth false hive.async.log.enabled false
    # The defaults of these two name classes of Hive proper, which is not here.
    metastore.task.threads.always org.apache.hadoop.hive.metastore.RuntimeStatsCleanerTask
    metastore.expression.proxy org.apache.hadoop.hive.metastore.DefaultPartitionExpressionProxy
    "hadoop.proxyuser.$(id -un).hosts" '*' "hadoop.proxyuser.$(id -un).groups" '*')
  hadoop_xml "${settings[@]}" | tee "$dir/conf/metastore-site.xml" "$dir/conf/hive-site.xml" >"$dir/conf/core-site.xml"
}

hms_start() {
  local port dir=$STATE/$1
  port=$(hms_port "$1")
  need_free_port "$1" "$port" "$(hms_variable "$1")"
  hdfs_ready || die "$1 needs hdfs: start it first"
  # A start that failed leaves a half-made database behind, on which the next one fails too.
  [ -f "$dir/.made" ] || rm -rf "$dir/derby"
  hms_configure "$1"
  daemon "$1" sh -c 'cd "$0" && exec "$@"' "$dir" java "${JAVA_OPENS[@]}" -Xmx384m -XX:+UseSerialGC -Dmaru.state="$STATE" \
    -Dlog4j2.level=WARN -Dderby.stream.error.file="$dir/derby.log" -cp "$dir/conf:$SOFTWARE/$1/ours:$(hms_jars "$1")/*" \
    org.apache.hadoop.hive.metastore.HiveMetaStore -p "$port"
  wait_until "$1" 120 port_open "$port"
  touch "$dir/.made"
}

hms_jars() { if [ "$1" = hms2 ]; then echo "$(spark_venv)"/lib/python3*/site-packages/pyspark/jars; else echo "$SOFTWARE/$1"; fi; }

# Versions 2 and 3 listen on every address; one class of ours, found before their own, keeps them on 127.0.0.1.
hms_ours() {
  local ours=$SOFTWARE/$1/ours
  [ ! -d "$ours" ] || return 0
  need_packages javac=openjdk-17-jdk-headless
  rm -rf "$ours.new"
  mkdir -p "$ours.new"
  javac -d "$ours.new" -cp "$(hms_jars "$1")/*" $(find "$HERE/java" -name '*.java')
  mv "$ours.new" "$ours"
}

hms2_install() {
  "$HERE/spark" -c pass
  hms_ours hms2
}
hms2_start() { hms_start hms2; }
hms2_running() { alive hms2 "$STATE/hms2" && port_open "$HMS2_PORT"; }
hms2_stop() { end hms2 "$STATE/hms2"; }
hms2_wipe() { rm -rf "$STATE/hms2"; }
hms2_env() { echo "export MARU_TEST_HMS2=thrift://127.0.0.1:$HMS2_PORT"; }

hms3_install() {
  maven_jars hms3
  hms_ours hms3
}
hms3_start() { hms_start hms3; }
hms3_running() { alive hms3 "$STATE/hms3" && port_open "$HMS3_PORT"; }
hms3_stop() { end hms3 "$STATE/hms3"; }
hms3_wipe() { rm -rf "$STATE/hms3"; }
hms3_env() { echo "export MARU_TEST_HMS3=thrift://127.0.0.1:$HMS3_PORT"; }

hms4_install() { maven_jars hms4; }
hms4_start() { hms_start hms4; }
hms4_running() { alive hms4 "$STATE/hms4" && port_open "$HMS4_PORT"; }
hms4_stop() { end hms4 "$STATE/hms4"; }
hms4_wipe() { rm -rf "$STATE/hms4"; }
hms4_env() { echo "export MARU_TEST_HMS4=thrift://127.0.0.1:$HMS4_PORT"; }
