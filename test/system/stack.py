"""stack.py: everything a system test runs on: a private PostgreSQL, a store, agents. Real processes, each ended by its own pid.

    with Stack(FolderStore()) as stack:
        agent = stack.start_agent()
        stack.create_topic("orders", partitions=3)
"""
import atexit
import contextlib
import fcntl
import functools
import itertools
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import process
import wire

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
AGENT = Path(os.environ.get("STREAMHOUSE_TEST_AGENT", ROOT / "build/release/streamhouse-agent"))
S3_KEYS = {"AWS_ACCESS_KEY_ID": "STREAMHOUSE", "AWS_SECRET_ACCESS_KEY": "streamhouse-secret", "AWS_REGION": "us-east-1"}


def wait_until(condition, timeout=30.0, what="what was waited for"):
    """Polls until the condition is true, and returns its value. The longer it takes, the less often it looks: most conditions start a
    psql, and a few that wait like that would keep a processor busy. It is late by a tenth at most."""
    began = time.monotonic()
    while True:
        value = condition()
        if value:
            return value
        waited = time.monotonic() - began
        if waited > timeout:
            raise AssertionError(f"{what} did not happen within {timeout:g} s")
        time.sleep(min(max(0.02, waited / 10), 0.2))


RESERVED = []


def free_port():
    """A port that nobody listens on and no other test run is given while this one lasts: an agent keeps its port through its death,
    and tests run beside each other. Below the ports that the kernel gives to outgoing connections; the reservation is a name among
    abstract sockets, which goes with this process."""
    while True:
        port = random.randrange(10_000, 32_768)
        name = socket.socket(socket.AF_UNIX)
        try:
            name.bind(f"\0streamhouse-test-port-{port}")
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
        except OSError:
            name.close()
            continue
        RESERVED.append(name)
        return port


SHARED = "STREAMHOUSE_TEST_SHARED"
DISK, MEMORY = "/tmp", "/dev/shm"
MEMORY_BYTES_MIN = 8 << 30


@functools.lru_cache(maxsize=None)
def clusters_home():
    """Where clusters are made: a run makes and removes some hundred of a thousand files each, which costs a disk's file system more
    processor time than most tests take. In memory, then, where there is plenty of it."""
    try:
        space, limit = os.statvfs(MEMORY), re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text())
    except OSError:
        return DISK
    plenty = limit and min(int(limit[1]) << 10, space.f_bavail * space.f_frsize) >= MEMORY_BYTES_MIN
    return MEMORY if plenty and os.access(MEMORY, os.W_OK) else DISK


def scratch_folder(name, home=None):
    """A new folder that every user may pass through: PostgreSQL does not run as root."""
    folder = Path(tempfile.mkdtemp(prefix=f"streamhouse-{name}-", dir=home or clusters_home()))
    folder.chmod(0o711)
    return folder


def shared_folder():
    """A folder for what the processes of a test run share. The first of them makes it, and removes it."""
    if SHARED not in os.environ:
        os.environ[SHARED] = str(scratch_folder("shared"))
        atexit.register(shutil.rmtree, os.environ[SHARED], ignore_errors=True)
    return Path(os.environ[SHARED])


@contextlib.contextmanager
def made_once(name):
    """For one process of a test run at a time: the path of what they share, which may be there already."""
    path = shared_folder() / name
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield path


@functools.lru_cache(maxsize=None)
def template(prepared):
    """The data folder of a stopped cluster, of which every test's is a copy; prepared, it has the extension already."""
    with made_once("prepared" if prepared else "bare") as folder:
        if not folder.exists():
            making = folder.with_name(f"{folder.name}.{os.getpid()}")
            making.mkdir(0o711)
            Template(making, prepared)
            making.rename(folder)
    return folder / "data"


class Postgres:
    """A private cluster behind scripts/postgres.sh, with the extension in database streamhouse and a role for agents; or, not prepared,
    as initdb leaves it. It runs without fsync: here processes are killed, and what those have written the kernel still has. Only a
    machine that loses its power would forget it."""

    database = "streamhouse"

    def __init__(self, folder, preload=True, prepared=True, **settings):
        self.folder = folder
        self.port = free_port()
        settings = {"port": self.port, "fsync": "off", "shared_preload_libraries": "streamhouse" if preload else "", **settings}
        self.script("create", *[f"{name}={value}" for name, value in settings.items()], POSTGRES_TEMPLATE=str(template(prepared)))

    def script(self, verb, *arguments, **environment):
        command = [str(ROOT / "scripts/postgres.sh"), verb, str(self.folder), *arguments]
        done = subprocess.run(command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, f"{command} failed:\n{done.stdout}\n{self.log()[-2000:]}"

    def log(self):
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self):
        self.script("start")

    def prepare(self):
        self.script("prepare")

    def stop(self, mode="fast"):
        self.script("stop", mode)

    def kill(self):
        """kill -9 of the postmaster and of every process below it, as when the machine dies."""
        postmaster = int((self.folder / "data/postmaster.pid").read_text().split()[0])
        process.kill_tree(postmaster)
        # Where nobody reaps orphans (a container), the dead postmaster still looks alive to these files' readers.
        (self.folder / "data/postmaster.pid").unlink()
        (self.folder / f"socket/.s.PGSQL.{self.port}.lock").unlink(missing_ok=True)

    def conninfo(self, user="agent"):
        return f"host={self.folder / 'socket'} port={self.port} dbname={self.database} user={user}"

    def run(self, sql, user="streamhouse", **values):
        """Runs SQL with psql; :'name' stands for a value. Returns its lines."""
        command = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", self.conninfo(user)]
        for name, value in values.items():
            command += ["-v", f"{name}={value}"]
        done = subprocess.run(command, input=sql, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())
        return done.stdout.splitlines()

    def rows(self, sql, **values):
        """The rows of a query, as dicts."""
        return [json.loads(line) for line in self.run(f"SELECT row_to_json(answer) FROM ({sql}) AS answer;", **values)]

    def value(self, sql, **values):
        row = self.rows(sql, **values)[0]
        return next(iter(row.values()))


class Template(Postgres):
    """What the others are copies of."""

    def __init__(self, folder, prepared):
        self.folder = folder
        self.script("create", f"port={free_port()}", "fsync=off", "shared_preload_libraries=streamhouse")
        if prepared:
            self.start()
            self.prepare()
            self.stop()


class Copy(Postgres):
    """A copy of a running cluster, in a folder of its own: a base backup."""

    def __init__(self, original, folder):
        self.folder = folder
        self.port = free_port()
        self.script("copy", str(original.folder), f"port={self.port}")


class Standby(Postgres):
    """A physical standby of a running cluster, in a folder of its own."""

    def __init__(self, primary, folder):
        self.folder = folder
        self.port = free_port()
        self.script("standby", str(primary.folder), f"port={self.port}")

    def promote(self):
        self.script("promote")

    def catch_up(self, primary):
        """Returns when it has replayed what the primary has written by now."""
        position = primary.value("SELECT pg_current_wal_lsn()::text")
        wait_until(lambda: self.value("SELECT pg_last_wal_replay_lsn() >= :'position'::pg_lsn", position=position), what="replication")


class FolderStore:
    """Objects as files below a folder."""

    kind = "folder"

    def __init__(self):
        self.folder = scratch_folder("store", DISK)
        self.url = f"file://{self.folder}/objects"
        (self.folder / "objects").mkdir()
        if os.geteuid() == 0:  # what agents write there is PostgreSQL's to read, which does not run as root
            shutil.chown(self.folder / "objects", group="postgres")
            (self.folder / "objects").chmod(0o2750)
        self.environment = {}
        self.flags = []

    def keys(self):
        """The objects in the store, asked behind the agent's back; writes that were cut off lie apart, in .part/."""
        return {key for key in self.all_keys() if not key.startswith("owner/")}

    def all_keys(self):
        """With the owner markers."""
        root = self.folder / "objects"
        return {path.relative_to(root).as_posix() for path in root.rglob("*")
                if path.is_file() and path.relative_to(root).parts[0] != ".part"}

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)


BUCKETS = itertools.count(1)


class S3Server:
    """Ceph's S3 gateway on loopback, for tests that each take a bucket of their own."""

    def __init__(self):
        self.folder = scratch_folder("rgw", DISK) / "ceph"
        started = subprocess.run([str(HERE / "rgw-up"), str(self.folder)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True, timeout=180)
        assert started.returncode == 0, f"rgw-up failed: {started.stdout}{started.stderr}"
        self.endpoint = started.stdout.strip()

    def client(self):
        import boto3
        from botocore.config import Config
        return boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1",
                            aws_access_key_id=S3_KEYS["AWS_ACCESS_KEY_ID"],
                            aws_secret_access_key=S3_KEYS["AWS_SECRET_ACCESS_KEY"],
                            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 10}))

    def new_bucket(self):
        name = f"test-{os.getpid()}-{next(BUCKETS)}"
        client = self.client()
        client.create_bucket(Bucket=name)
        client.put_object(Bucket=name, Key="warm", Body=b"")  # the first PUT to a bucket takes two seconds
        client.delete_object(Bucket=name, Key="warm")
        return name

    def kill(self):
        """kill -9 of the gateway; what it acknowledged is in the store below it."""
        process.kill_tree(int((self.folder / "rgw.pid").read_text()))

    def start(self):
        subprocess.run(["bash", str(self.folder / "rgw.command")], check=True, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self.answers, 60, "the S3 server's answer")

    def answers(self):
        try:
            urllib.request.urlopen(self.endpoint, timeout=5)
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def close(self):
        subprocess.run([str(HERE / "rgw-down"), str(self.folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        shutil.rmtree(self.folder.parent, ignore_errors=True)


class SharedS3Server(S3Server):
    """The one that all processes of a test run use, who leave it alive."""

    def __init__(self):
        with made_once("s3") as path:
            if not path.exists():
                super().__init__()
                path.write_text(f"{self.folder}\n{self.endpoint}\n")
            self.attach(path)

    def attach(self, path):
        folder, self.endpoint = path.read_text().splitlines()
        self.folder = Path(folder)

    @classmethod
    def end(cls):
        """Called once, when the run has ended."""
        path = shared_folder() / "s3"
        if path.exists():
            server = cls.__new__(cls)
            server.attach(path)
            server.close()
            path.unlink()


class S3Store:
    """Objects in a bucket of their own, below a prefix."""

    kind = "s3"

    def __init__(self, server):
        self.server = server
        self.bucket = server.new_bucket()
        self.url = f"s3://{self.bucket}/some/prefix"
        self.environment = dict(S3_KEYS)
        self.flags = [f"--s3-endpoint={server.endpoint}"]

    def keys(self):
        return {key for key in self.all_keys() if not key.startswith("owner/")}

    def all_keys(self):
        pages = self.server.client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        found = [item["Key"] for page in pages for item in page.get("Contents", [])]
        assert all(key.startswith("some/prefix/") for key in found), "an object lies outside the prefix"
        return {key[len("some/prefix/"):] for key in found}

    def close(self):
        pass


class Agent:
    """One agent process. It keeps its name and ports through kill, stop and start."""

    def __init__(self, stack, name, settings):
        self.stack, self.name, self.settings = stack, name, settings
        self.kafka_port, self.http_port = free_port(), free_port()
        self.log_path = stack.folder / f"{name}.log"
        self.process = None

    @property
    def kafka(self):
        return f"127.0.0.1:{self.kafka_port}"

    def command(self):
        settings = {
            "database": self.stack.postgres.conninfo(), "store": self.stack.store.url, "agent_name": self.name,
            "kafka_port": self.kafka_port, "http_port": self.http_port,
            "retention_interval_ms": "24h",  # many tests' records are years old
            **self.settings,
        }
        return [str(AGENT), *[f"--{name.replace('_', '-')}={value}" for name, value in settings.items()],
                *self.stack.store.flags]

    def start(self, ready=True):
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith(("STREAMHOUSE_", "AWS_", "PG"))}
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env={**environment, **self.stack.store.environment})
        if ready:
            self.wait_ready()
        return self

    def http(self, path, timeout=5):
        """(status, body) of a GET; (0, reason) when nothing answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=timeout) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def wait_ready(self, timeout=60):
        def ready():
            assert self.is_running(), f"agent {self.name} ended with {self.process.returncode}:\n{self.log()[-3000:]}"
            return self.http("/ready")[0] == 200
        wait_until(ready, timeout, f"agent {self.name} being ready ({self.http('/ready')})")

    def metric(self, name):
        """The sum of a metric over its labels; None when there is no such metric."""
        found = re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", self.http("/metrics")[1], re.MULTILINE)
        return sum(float(value) for value in found) if found else None

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def kill(self):
        """kill -9."""
        if self.is_running():
            self.process.kill()
        self.process.wait()

    def stop(self, timeout=60):
        """SIGTERM, which drains; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)


class Stack:
    """PostgreSQL, one store and any number of agents. postgres: another class to make it from, such as PostgresHA."""

    def __init__(self, store, preload=True, postgres=Postgres, **postgres_settings):
        self.store = store
        self.folder = scratch_folder("stack")
        self.postgres = postgres(self.folder, preload, **postgres_settings)
        self.agents = []

    def __enter__(self):
        self.postgres.start()
        return self

    def __exit__(self, *_error):
        for agent in self.agents:
            if agent.is_running():
                agent.resume()
                agent.kill()
        self.postgres.stop("immediate")
        self.store.close()
        keep = os.environ.get("STREAMHOUSE_TEST_KEEP")
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def add_agent(self, name=None, **settings):
        agent = Agent(self, name or f"agent-{len(self.agents) + 1}", settings)
        self.agents.append(agent)
        return agent

    def start_agent(self, name=None, **settings):
        return self.add_agent(name, **settings).start()

    @property
    def kafka(self):
        """What a client bootstraps from."""
        return ",".join(agent.kafka for agent in self.agents)

    def create_topic(self, name, partitions=1, **config):
        """Created in SQL; returns once the running agents lead it."""
        config = {key.replace("_", "."): str(value) for key, value in config.items()}
        self.postgres.run("SELECT sh_create_topic(:'name', :'partitions'::int, :'config'::jsonb);", name=name,
                          partitions=partitions, config=json.dumps(config))
        running = ",".join(agent.kafka for agent in self.agents if agent.is_running())
        if running:
            wait_until(lambda: wire.is_led(running, name, partitions), what=f"a leader for {name}")
        return name

    def leaders(self, topic):
        """The name of the agent that leads each partition."""
        return [row["name"] for row in self.postgres.rows(
            """SELECT agent.name FROM streamhouse.topic AS topic
               JOIN streamhouse.lease AS lease USING (topic_id) JOIN streamhouse.agent AS agent USING (agent_id)
               WHERE topic.name = :'topic' AND topic.deleted_at IS NULL ORDER BY lease.partition""", topic=topic)]

    def logs(self):
        return "\n".join(f"==== {agent.name}\n{agent.log()[-4000:]}" for agent in self.agents)
