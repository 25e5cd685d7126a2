"""An HDFS with two NameNodes, of which one is active, and two DataNodes: for tests that switch, stop and kill them.

Its own folder, ports and processes, from the jars that `ctl install hdfs` fetched. No ZooKeeper: who is active is said by
hand, as an administrator would.
"""

import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

SERVICE = "maruha"
NODES = ["nn1", "nn2"]
CACHE = pathlib.Path(os.environ.get("MARU_TEST_CACHE") or pathlib.Path.home() / ".cache/maru")
# Hadoop on Java 17 looks into these by reflection.
OPENED = ["lang", "util", "util.concurrent", "util.concurrent.atomic", "net", "io", "nio"]
NAMENODE = "org.apache.hadoop.hdfs.server.namenode.NameNode"
DATANODE = "org.apache.hadoop.hdfs.server.datanode.DataNode"
ADMIN = "org.apache.hadoop.hdfs.tools.DFSHAAdmin"


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def xml(properties):
    lines = [f"<property><name>{name}</name><value>{value}</value></property>" for name, value in properties.items()]
    return "<configuration>\n" + "\n".join(lines) + "\n</configuration>\n"


class HaCluster:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.rpc = {node: free_port() for node in NODES}
        self.web = {node: free_port() for node in NODES}
        self.processes = {}
        self.configure()
        try:
            self.start()
        except BaseException:
            self.stop()
            raise

    @property
    def namenodes(self):
        """The value of option `namenodes`."""
        return ",".join(f"127.0.0.1:{self.rpc[node]}" for node in NODES)

    def configure(self):
        """`conf` is for clients and daemons alike; which daemon it is says a property of its JVM."""
        self.conf = self.folder / "conf"
        for web in ["hdfs", "datanode"]:
            # The jars leave the web applications out; the daemons only ask that their folders exist.
            (self.conf / "webapps" / web / "WEB-INF").mkdir(parents=True)
            (self.conf / "webapps" / web / "WEB-INF/web.xml").write_text("<web-app/>")
        (self.conf / "core-site.xml").write_text(xml({
            "fs.defaultFS": f"hdfs://{SERVICE}",
            "hadoop.tmp.dir": self.folder / "tmp",
        }))
        each = {}
        for node in NODES:
            each[f"dfs.namenode.rpc-address.{SERVICE}.{node}"] = f"127.0.0.1:{self.rpc[node]}"
            each[f"dfs.namenode.http-address.{SERVICE}.{node}"] = f"127.0.0.1:{self.web[node]}"
        (self.conf / "hdfs-site.xml").write_text(xml({
            "dfs.nameservices": SERVICE,
            f"dfs.ha.namenodes.{SERVICE}": ",".join(NODES),
            **each,
            f"dfs.client.failover.proxy.provider.{SERVICE}": "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider",
            "dfs.ha.fencing.methods": "shell(/bin/true)",
            "dfs.ha.namenode.id": "${maru.node}",
            "dfs.ha.tail-edits.period": 1,
            "dfs.namenode.shared.edits.dir": f"file://{self.folder}/edits",
            "dfs.namenode.name.dir": f"file://{self.folder}/" + "${maru.node}",
            "dfs.datanode.data.dir": f"file://{self.folder}/" + "${maru.node}",
            "dfs.datanode.address": "127.0.0.1:0",
            "dfs.datanode.ipc.address": "127.0.0.1:0",
            "dfs.datanode.http.address": "127.0.0.1:0",
            "dfs.datanode.hostname": "127.0.0.1",
            "dfs.namenode.datanode.registration.ip-hostname-check": "false",
            "dfs.namenode.fs-limits.min-block-size": 1 << 20,
            "dfs.blocksize": 4 << 20,
            "dfs.namenode.safemode.extension": 0,
            "dfs.heartbeat.interval": 1,
        }))
        (self.conf / "log4j.properties").write_text(
            "log4j.rootLogger=WARN,err\nlog4j.appender.err=org.apache.log4j.ConsoleAppender\nlog4j.appender.err.target=System.err\n"
            "log4j.appender.err.layout=org.apache.log4j.PatternLayout\nlog4j.appender.err.layout.ConversionPattern=%d{ISO8601} %p %c{2}: %m%n\n")

    def java(self, node, main, *arguments):
        opens = [f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in OPENED]
        return ["java", *opens, "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-Dmaru.node={node}",
                "-cp", f"{self.conf}:{CACHE}/services/hdfs/*", main, *arguments]

    def call(self, *command):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == 0, f"{command[-3:]}: {done.stderr[-3000:]}"
        return done.stdout

    def daemon(self, node, main):
        log = open(self.folder / f"{node}.log", "ab")
        self.processes[node] = subprocess.Popen(
            self.java(node, main), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        log.close()

    def start(self):
        self.call(*self.java("nn1", NAMENODE, "-format", "-nonInteractive"))
        # What a standby begins with is what the other one was formatted to.
        shutil.copytree(self.folder / "nn1", self.folder / "nn2")
        for node in NODES:
            self.daemon(node, NAMENODE)
        for node in ["dn1", "dn2"]:
            self.daemon(node, DATANODE)
        self.wait(lambda: all(listens(port) for port in self.rpc.values()), "no NameNode answers")
        self.admin("-transitionToActive", "nn1")
        live = '"NumLiveDataNodes" : 2'
        self.wait(lambda: all(live in self.bean(node, "FSNamesystemState") for node in NODES), "no DataNodes")

    def wait(self, test, what, seconds=180):
        deadline = time.monotonic() + seconds
        while not test():
            for node, process in self.processes.items():
                assert process.poll() is None, f"{node} ended: {(self.folder / f'{node}.log').read_text()[-3000:]}"
            assert time.monotonic() < deadline, what
            time.sleep(0.2)

    def bean(self, node, name):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.web[node]}/jmx?qry=Hadoop:service=NameNode,name={name}", timeout=5) as answer:
                return answer.read().decode()
        except OSError:
            return ""

    def admin(self, *arguments):
        return self.call(*self.java("admin", ADMIN, *arguments))

    def fail_over(self, away, to):
        """`away` need not live."""
        self.admin("-failover", away, to)

    def kill(self, node):
        process = self.processes.pop(node)
        process.kill()
        process.wait()

    def pause(self, *nodes):
        for node in nodes:
            self.processes[node].send_signal(signal.SIGSTOP)

    def go_on(self, *nodes):
        for node in nodes:
            self.processes[node].send_signal(signal.SIGCONT)

    def web_call(self, node, method, path, op, body=None, **query):
        query = urllib.parse.urlencode({"op": op, "user.name": self.user, **query})
        url = f"http://127.0.0.1:{self.web[node]}/webhdfs/v1{path}?{query}"
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=20) as answer:
            answer = answer.read()
        if body is None:
            return answer
        request = urllib.request.Request(json.loads(answer)["Location"], method=method, data=body)
        request.add_header("Content-Type", "application/octet-stream")
        with urllib.request.urlopen(request, timeout=60) as written:
            return written.read()

    def put(self, node, path, body, replication=1):
        self.web_call(node, "PUT", path, "CREATE", body, overwrite="true", noredirect="true", replication=replication)

    def stop(self):
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
        for process in self.processes.values():
            process.wait()
        self.processes.clear()
