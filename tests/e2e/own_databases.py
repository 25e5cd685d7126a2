"""Databases that a test may stop and kill, and that speak TLS: their own folders, ports and processes."""

import glob
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

import pymysql

from certificates import server_keys


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Own:
    """A folder, and the user that the database runs as, since it would not run as root."""

    def __init__(self, kind, user):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"maru-{kind}-", dir="/tmp"))
        self.port = free_port()
        self.keys = server_keys(pathlib.Path(tempfile.mkdtemp(prefix="maru-keys-", dir="/tmp")))
        self.user = user if os.getuid() == 0 else None
        self.as_user = ["runuser", "-u", user, "--"] if self.user else []
        self.give(self.folder)

    def give(self, path):
        if self.user:
            shutil.chown(path, self.user)

    def run(self, *command, **options):
        return subprocess.run([*self.as_user, *command], check=True, capture_output=True, cwd="/", **options)

    def put_keys(self, certificate, key):
        for name, path in [("server.crt", certificate), ("server.key", key)]:
            shutil.copy(self.keys / name, path)
            self.give(path)
            os.chmod(path, 0o600)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.keys, ignore_errors=True)


class OwnPostgres(Own):
    """Whoever comes from 127.0.0.1 is let in."""

    def __init__(self):
        super().__init__("pg", "postgres")
        self.binaries = pathlib.Path(sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1])
        self.data = self.folder / "data"
        self.run(self.binaries / "initdb", "-D", self.data, "-U", "tester", "-E", "UTF8", "--locale=C.UTF-8", "--auth=trust", "--no-sync")
        self.put_keys(self.data / "server.crt", self.data / "server.key")
        self.start()

    def start(self, patience=0):
        command = [*self.as_user, self.binaries / "pg_ctl", "-D", self.data, "-l", self.folder / "log", "-w", "-o",
                   f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c ssl=on -c fsync=off -c shared_buffers=16MB", "start"]
        deadline = time.monotonic() + patience
        # After a kill, memory of processes that are just ending may still be in use.
        while subprocess.run(command, check=False, capture_output=True, cwd="/").returncode != 0:
            assert time.monotonic() < deadline, (self.folder / "log").read_text()[-2000:]
            time.sleep(0.5)

    def stop(self, how="immediate"):
        subprocess.run([*self.as_user, self.binaries / "pg_ctl", "-D", self.data, "-m", how, "-w", "stop"], check=False, capture_output=True, cwd="/")


class OwnMariadb(Own):
    """Its user is tester with the password secret."""

    def __init__(self):
        super().__init__("my", "nobody")
        folder = self.folder
        self.run("mariadb-install-db", "--no-defaults", f"--datadir={folder}/data", "--auth-root-authentication-method=normal", "--skip-test-db")
        self.put_keys(folder / "cert.pem", folder / "key.pem")
        self.run("tee", folder / "init.sql",
                 input=b"create user tester@'127.0.0.1' identified by 'secret';\ngrant all on *.* to tester@'127.0.0.1';\n"
                       b"create user tester@'localhost' identified by 'secret';\ngrant all on *.* to tester@'localhost';\n")
        self.process = subprocess.Popen(
            [*self.as_user, "mariadbd", "--no-defaults", f"--datadir={folder}/data", "--bind-address=127.0.0.1", f"--port={self.port}",
             f"--socket={folder}/sock", f"--init-file={folder}/init.sql", f"--ssl-key={folder}/key.pem", f"--ssl-cert={folder}/cert.pem"],
            cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while True:
            try:
                self.connect().close()
                return
            except pymysql.Error:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    self.__exit__()
                    raise AssertionError("MariaDB did not start") from None
                time.sleep(0.2)

    def connect(self):
        return pymysql.connect(host="127.0.0.1", port=self.port, user="tester", password="secret", autocommit=True, ssl={"check_hostname": False})

    def stop(self):
        self.process.terminate()
        self.process.wait(60)
