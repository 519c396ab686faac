"""stacks.py: the two systems that are compared, each started from nothing in a folder of its own and taken down again.

A stack has `brokers` (host:port), `parts` (name → pid of the process, or of the head of the process tree) and `version`.
"""
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import database
import gauge
from programs import ROOT, await_start, end, free_port, run

KAFKA_VERSION = os.environ.get("KAFKA_VERSION", "4.2.0")
# What Kafka's own start script gives the JVM.
JVM_OPTIONS = ("-Xmx1g -Xms1g -server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 "
               "-XX:+ExplicitGCInvokesConcurrent -Djava.awt.headless=true").split()
# Kafka's shipped server.properties; what is not named there has its default.
KAFKA_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
socket.request.max.bytes=104857600
log.dirs={folder}/data
num.partitions=1
num.recovery.threads.per.data.dir=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
log.retention.hours=168
log.segment.bytes=1073741824
log.retention.check.interval.ms=300000
log.segment.delete.delay.ms=1000
"""


class Kafka:
    """Apache Kafka, one broker in KRaft mode."""
    name = "kafka"

    def __init__(self, folder):
        self.folder = Path(folder)
        self.jars = ROOT / ".deps" / f"kafka-{KAFKA_VERSION}"
        self.version = f"Apache Kafka {KAFKA_VERSION}"
        self.process = None
        self.brokers = None
        self.parts = {}

    def fetch(self):
        if not list(self.jars.glob(f"kafka_*-{KAFKA_VERSION}.jar")):
            run("mvn", "-q", "-B", "-f", ROOT / "bench/kafka/pom.xml", f"-Dkafka.version={KAFKA_VERSION}",
                "dependency:copy-dependencies", f"-DoutputDirectory={self.jars}")

    def java(self, *arguments):
        return ["java", *JVM_OPTIONS, f"-Dkafka.logs.dir={self.folder}",
                f"-Dlog4j2.configurationFile={ROOT}/bench/kafka/log4j2.properties", "-cp", f"{self.jars}/*",
                *[str(argument) for argument in arguments]]

    def start(self):
        self.fetch()
        self.folder.mkdir(parents=True)
        port = free_port()
        properties = self.folder / "server.properties"
        properties.write_text(KAFKA_PROPERTIES.format(port=port, controller=free_port(), folder=self.folder))
        run(*self.java("kafka.tools.StorageTool", "format", "-t", "c3RyZWFtaG91c2UtYmVuYw", "-c", properties))
        with open(self.folder / "stdout.log", "wb") as log:
            self.process = subprocess.Popen(self.java("kafka.Kafka", properties), stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL)
        self.brokers = f"127.0.0.1:{port}"
        self.parts = {"kafka": self.process.pid}
        await_start(self.process, self.folder / "server.log", self.is_ready)

    def is_ready(self):
        log = self.folder / "server.log"
        return log.exists() and "Kafka Server started" in log.read_text(errors="replace")

    def memory_mib(self):
        return {"kafka": gauge.memory_peak_mib(self.process.pid)}

    def stop(self):
        end(self.process)
        shutil.rmtree(self.folder, ignore_errors=True)


class Agent:
    """One agent of a stack, ready to serve."""

    def __init__(self, stack, name, *settings):
        self.name, self.log = name, stack.folder / f"{name}.log"
        port, http = free_port(), free_port()
        self.brokers, self.http = f"127.0.0.1:{port}", f"http://127.0.0.1:{http}"
        with open(self.log, "wb") as output:
            self.process = subprocess.Popen(
                [stack.agent_binary, f"--database={stack.postgres.conninfo('agent')}", f"--kafka-port={port}", f"--http-port={http}",
                 f"--store={stack.store}", f"--agent-name={name}", *settings],
                stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        await_start(self.process, self.log, self.is_ready)

    def is_ready(self):
        try:
            with urllib.request.urlopen(self.http + "/ready", timeout=2):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def metric(self, name):
        """The sum of a metric over its labels."""
        with urllib.request.urlopen(self.http + "/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith((name + " ", name + "{")))

    def stop(self):
        end(self.process)


class StreamHouse:
    """StreamHouse: a private PostgreSQL with the extension, and an agent whose objects go to a folder on the same disk."""
    name = "streamhouse"
    settings = (*database.FSYNC, "shared_buffers=256MB", "max_wal_size=2GB")

    def __init__(self, folder, *settings, agent=()):
        self.folder = Path(folder)
        self.agent_binary = Path(os.environ.get("AGENT_BINARY", ROOT / "build/release/streamhouse-agent"))
        self.agent_settings = agent
        self.store = f"file://{self.folder}/store"
        self.postgres = database.Postgres(self.folder / "database", *self.settings, f"streamhouse.store={self.store}", *settings)
        self.process = None
        self.brokers = None
        self.parts = {}
        self.http = None
        self.version = None

    def make_store(self):
        """sh_fetch() reads it as PostgreSQL's user, which is not the agent's when that is root."""
        store = self.folder / "store"
        store.mkdir(parents=True)
        if os.geteuid() == 0:
            shutil.chown(store, group="postgres")
            store.chmod(0o2750)

    def start(self):
        self.make_store()
        self.version = f"StreamHouse {run(self.agent_binary, '--version').split()[-1]} on PostgreSQL {self.postgres.version}"
        self.postgres.start()
        self.start_agent()
        self.parts = {"agent": self.process.pid, "postgres": self.postgres.pid}
        self.shares = []

    def start_agent(self):
        agent = Agent(self, "bench", *self.agent_settings)
        self.brokers, self.http, self.process = agent.brokers, agent.http, agent.process

    def memory_mib(self):
        """The agent's own peak; of PostgreSQL the largest share seen whenever this was asked."""
        self.shares.append(gauge.memory_share_mib(self.parts["postgres"]))
        return {"agent": gauge.memory_peak_mib(self.process.pid), "postgres": max(self.shares)}

    def stop(self):
        end(self.process)
        self.postgres.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


STACKS = {"ours": StreamHouse, "kafka": Kafka}
