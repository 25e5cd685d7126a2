# HDFS: one NameNode and one DataNode of Hadoop 3.4.2, straight from the Maven jars.

HDFS_CONF=$STATE/hdfs/conf
# With our heap sizes the two daemons take about 430 MB together.
hdfs_java() { printf '%s\n' java "${JAVA_OPENS[@]}" -Xmx256m -XX:+UseSerialGC -Dmaru.state="$STATE" -cp "$HDFS_CONF:$SOFTWARE/hdfs/*"; }

hdfs_install() { maven_jars hdfs; }

hdfs_configure() {
  local web
  mkdir -p "$HDFS_CONF" "$STATE/hdfs/data"
  # The jars leave the web applications out; the daemons only ask that their folders exist.
  for web in hdfs datanode; do
    mkdir -p "$HDFS_CONF/webapps/$web/WEB-INF"
    echo '<web-app/>' >"$HDFS_CONF/webapps/$web/WEB-INF/web.xml"
  done
  hadoop_xml fs.defaultFS "hdfs://127.0.0.1:$HDFS_PORT" hadoop.tmp.dir "$STATE/hdfs/tmp" \
    "hadoop.proxyuser.$(id -un).hosts" '*' "hadoop.proxyuser.$(id -un).groups" '*' >"$HDFS_CONF/core-site.xml"
  # Small blocks, so that small test files have several; every second port is any free one.
  hadoop_xml dfs.replication 1 dfs.namenode.fs-limits.min-block-size 1048576 \
    dfs.namenode.name.dir "file://$STATE/hdfs/data/name" dfs.datanode.data.dir "file://$STATE/hdfs/data/blocks" \
    dfs.namenode.rpc-address "127.0.0.1:$HDFS_PORT" dfs.namenode.http-address "127.0.0.1:$HDFS_WEB_PORT" \
    dfs.namenode.safemode.extension 0 dfs.namenode.secondary.http-address 127.0.0.1:0 dfs.datanode.address 127.0.0.1:0 \
    dfs.datanode.ipc.address 127.0.0.1:0 dfs.datanode.http.address 127.0.0.1:0 dfs.datanode.hostname 127.0.0.1 \
    dfs.namenode.datanode.registration.ip-hostname-check false >"$HDFS_CONF/hdfs-site.xml"
  log4j_quiet >"$HDFS_CONF/log4j.properties"
}

hdfs_start() {
  local java
  mapfile -t java < <(hdfs_java)
  need_free_port hdfs "$HDFS_PORT" MARU_TEST_HDFS_PORT
  need_free_port hdfs "$HDFS_WEB_PORT" MARU_TEST_HDFS_WEB_PORT
  hdfs_configure
  if [ ! -d "$STATE/hdfs/data/name/current" ]; then
    rm -rf "$STATE/hdfs/data"
    mkdir -p "$STATE/hdfs/data"
    "${java[@]}" org.apache.hadoop.hdfs.server.namenode.NameNode -format -nonInteractive >"$STATE/hdfs/format.log" 2>&1 ||
      { tail -20 "$STATE/hdfs/format.log" >&2; die "hdfs: formatting failed"; }
  fi
  daemon namenode "${java[@]}" org.apache.hadoop.hdfs.server.namenode.NameNode
  daemon datanode "${java[@]}" org.apache.hadoop.hdfs.server.datanode.DataNode
  wait_until namenode 90 hdfs_ready
}

# One live DataNode, and safe mode is over: before that every write is refused.
hdfs_ready() {
  local jmx
  jmx=$(curl -sf "http://127.0.0.1:$HDFS_WEB_PORT/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState" 2>/dev/null) &&
    grep -q '"NumLiveDataNodes" : 1' <<<"$jmx" && grep -q '"FSState" : "Operational"' <<<"$jmx"
}

hdfs_running() { alive namenode "maru.state=$STATE" && alive datanode "maru.state=$STATE" && hdfs_ready; }
hdfs_stop() {
  end datanode "maru.state=$STATE"
  end namenode "maru.state=$STATE"
}
hdfs_wipe() { rm -rf "$STATE/hdfs"; }
hdfs_env() {
  echo "export MARU_TEST_HDFS=hdfs://127.0.0.1:$HDFS_PORT"
  echo "export MARU_TEST_HDFS_WEB=http://127.0.0.1:$HDFS_WEB_PORT"
}
