"""workload.py: the clients of a chaos run, each a process of its own: librdkafka, Apache Kafka's own for Java, and SQL. They write to and
read from topics of theirs through every fault, and write down what they are told; see history.py for the form.

    workload = Workload(["127.0.0.1:9092"], "host=… dbname=…", Path("history"), seed=1)
    workload.start(); …; workload.progress(); …; folder = workload.finish(120)
"""
import atexit
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "system"))

from history import Journal, now  # noqa: E402
from sql_clients import SCHEMA, Connection  # noqa: E402
from sql_session import Lost  # noqa: E402

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TOPICS = {"chaos-auto": "auto", "chaos-inline": "inline", "chaos-object": "object"}
PARTITIONS = 3
MESSAGE_BYTES_MAX = 200_000
START_S = 60
JVM_OPTIONS = ["-Xmx96m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"]

# name: (program, role, how many, what it is told besides). A group's members are one row.
CLIENTS = {
    "rd-producer": ("kafka_clients.py", "producer", 2, {"rate": 60}),
    "rd-plain": ("kafka_clients.py", "plain", 1, {"rate": 20}),
    "rd-relay": ("kafka_clients.py", "relay", 2, {}),
    "rd-follower": ("kafka_clients.py", "follower", 1, {}),
    "rd-eager": ("kafka_clients.py", "member", 2, {"group": "chaos-eager", "assignor": "range"}),
    "rd-cooperative": ("kafka_clients.py", "member", 2, {"group": "chaos-cooperative", "assignor": "cooperative-sticky"}),
    "rd-observer": ("kafka_clients.py", "observer", 1, {}),
    "java-producer": ("ChaosClient", "producer", 1, {"rate": 60}),
    "java-member": ("ChaosClient", "member", 2, {"group": "chaos-java", "protocol": "consumer"}),
    "sql-producer": ("sql_clients.py", "producer", 1, {"rate": 15}),
    "sql-transactions": ("sql_clients.py", "transactions", 2, {"rate": 5}),
    "sql-follower": ("sql_clients.py", "follower", 1, {}),
    "sql-sink": ("sql_clients.py", "sink", 2, {"group": "chaos-sink"}),
    "sql-observer": ("sql_clients.py", "observer", 1, {}),
}
WRITERS = {"producer", "plain", "relay", "transactions"}
DRAINS = {"librdkafka": ("kafka_clients.py", "drain"), "sh_fetch": ("sql_clients.py", "drain"), "java": ("ChaosClient", "drain")}


def java_home():
    """Where test/clients has put Apache Kafka's client, the newest of them; None where it has not."""
    found = sorted((ROOT / ".deps").glob("java-*/lib/kafka-clients-*.jar"))
    return found[-1].parent if found and shutil.which("javac") else None


class Process:
    """A client process, and its successors should it die."""

    def __init__(self, workload, name, program, role, told):
        self.workload, self.name, self.program, self.role, self.told = workload, name, program, role, told
        self.deaths, self.process = 0, None

    @property
    def current(self):
        """A successor is somebody else: its numbers begin anew."""
        return f"{self.name}x{self.deaths}" if self.deaths else self.name

    def command(self):
        config = {"folder": str(self.workload.directory), "process": self.current, "bootstrap": ",".join(self.workload.bootstrap),
                  "topics": self.workload.topics, "seed": self.workload.seed, **self.told}
        if self.program != "ChaosClient":
            config = {**config, "conninfo": self.workload.conninfo, "groups": self.workload.groups}
            return ["/usr/bin/python3", str(HERE / self.program), self.role, json.dumps(config)]
        config["topics"] = ",".join(f"{topic}/{count}" for topic, count in self.workload.topics.items())
        config["seed"] = random.Random(f"{self.workload.seed}/{self.current}").randrange(1 << 31)
        words = [f"{name}={value}" for name, value in config.items()]
        return ["java", *JVM_OPTIONS, "-cp", f"{java_home()}/*:{self.workload.directory}/classes", "ChaosClient", self.role, *words]

    def start(self):
        with open(self.workload.directory / f"{self.current}.log", "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.workload.environment)

    def revive(self):
        if self.process.poll() is not None:
            self.workload.journal.note(f"{self.current} died with {self.process.returncode}")
            self.deaths += 1
            self.start()

    def is_running(self):
        return self.process.poll() is None

    def stop(self):
        if self.is_running():
            self.process.send_signal(signal.SIGTERM)

    def kill(self):
        if self.is_running():
            self.process.kill()
        self.process.wait()

    def progress(self):
        try:
            return json.loads((self.workload.directory / f"{self.current}.progress").read_text())
        except (OSError, ValueError):
            return {"operations": 0, "acknowledged": 0, "read": 0, "succeeded_ns": self.workload.started_ns, "positions": {}}


class Workload:
    """clients: {name: how many, or {"count": …, "rate": …}} in place of those in CLIENTS, {} for all of them as they are."""

    def __init__(self, bootstrap, conninfo, directory, seed, clients=None, java=None):
        self.bootstrap, self.conninfo, self.directory, self.seed = bootstrap, conninfo, Path(directory).resolve(), seed
        self.java = java_home() is not None if java is None else java
        assert not self.java or java_home(), "there is no Java client in .deps/: ./check clients brings it"
        self.topics = dict.fromkeys(TOPICS, PARTITIONS)
        self.environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self.processes = list(self.plan(clients or {}))
        self.groups = sorted({process.told["group"] for process in self.processes if "group" in process.told})
        self.drains = []
        self.started_ns, self.finishing = now(), False

    def plan(self, clients):
        assert set(clients) <= set(CLIENTS), f"no such clients: {set(clients) - set(CLIENTS)}"
        for name, (program, role, count, told) in CLIENTS.items():
            if program == "ChaosClient" and not self.java:
                continue
            wanted = clients.get(name, {})
            wanted = dict(wanted) if isinstance(wanted, dict) else {"count": wanted}
            for number in range(wanted.pop("count", count)):
                yield Process(self, f"{name}-{number + 1}", program, role, {**told, **wanted})

    def start(self):
        self.directory.mkdir(parents=True, exist_ok=True)
        self.journal = Journal(self.directory, "workload", "workload")
        if self.java:
            self.compile()
        self.prepare()
        self.started_ns = now()
        atexit.register(self.abandon)
        for process in self.processes:
            process.start()
        threading.Thread(target=self.watch, daemon=True).start()
        self.await_everybody(time.monotonic() + START_S)

    def compile(self):
        sources = [str(path) for path in sorted((HERE / "java").glob("*.java"))]
        subprocess.run(["javac", "-cp", f"{java_home()}/*", "-d", str(self.directory / "classes"), *sources], check=True, stdin=subprocess.DEVNULL)

    def ask(self, sql, timeout_s=120):
        """Rows of a query, as soon as somebody answers it."""
        deadline = time.monotonic() + timeout_s
        while True:
            connection = None
            try:
                connection = Connection(self.conninfo)
                return connection.rows(sql)
            except (Lost, RuntimeError) as error:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"no answer to {sql!r}: {error}") from error
                time.sleep(0.3)
            finally:
                if connection:
                    connection.close()

    def prepare(self):
        """Topics and tables; a topic that is there by now is one whose creation was not answered."""
        for statement in filter(str.strip, SCHEMA.split(";")):
            self.ask(statement + ";")
        for topic, path in TOPICS.items():
            config = json.dumps({"streamhouse.write.path": path, "max.message.bytes": str(MESSAGE_BYTES_MAX)})
            self.ask(f"""SELECT CASE WHEN NOT EXISTS (SELECT FROM streamhouse.topics WHERE topic = '{topic}')
                         THEN sh_create_topic('{topic}', {PARTITIONS}, '{config}')::text END;""")

    def watch(self):
        while not self.finishing:
            for process in self.processes:
                if not self.finishing:
                    process.revive()
            time.sleep(1)

    def await_everybody(self, deadline):
        """Returns when everybody has succeeded once: a JVM takes its time. Who has not by then is no reason not to begin."""
        def waiting():
            return [process.name for process in self.processes if process.progress()["acknowledged"] + process.progress()["read"] == 0
                    and process.role != "observer"]
        while waiting() and time.monotonic() < deadline:
            time.sleep(0.2)
        if waiting():
            self.journal.note(f"these begin late: {waiting()}")

    def progress(self):
        """operations, acknowledged and read so far, and for each client the seconds since it last succeeded."""
        told = {process.name: process.progress() for process in self.processes}
        sums = {name: sum(one[name] for one in told.values()) for name in ("operations", "acknowledged", "read")}
        idle_s = {name: (now() - max(one["succeeded_ns"], self.started_ns)) / 1e9 for name, one in told.items()}
        return {**sums, "idle_s": idle_s, "deaths": sum(process.deaths for process in self.processes)}

    def finish(self, timeout_s=300):
        """Stops who writes, lets the groups come to the end, stops who reads, and reads everything through every door."""
        deadline = time.monotonic() + timeout_s
        self.finishing = True
        self.stop([process for process in self.processes if process.role in WRITERS], time.monotonic() + timeout_s * 0.4)
        self.await_groups(time.monotonic() + timeout_s * 0.25)
        self.stop([process for process in self.processes if process.role not in WRITERS], time.monotonic() + 30)
        doors = [door for door in DRAINS if door != "java" or self.java] + [f"agent {address}" for address in self.bootstrap]
        self.drain(doors, deadline)
        self.journal.write("expect", now(), doors=doors, groups=self.groups)
        self.journal.close()
        return self.directory

    def stop(self, processes, deadline):
        for process in processes:
            process.stop()
        for process in processes:
            try:
                process.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.journal.note(f"{process.current} does not stop")
                process.kill()

    def ends(self):
        rows = [row for topic in self.topics for row in
                self.ask(f"SELECT chr(1) || '{topic}/' || partition, high_watermark FROM sh_describe_topic('{topic}');")]
        return {place: int(end) for place, end in rows if int(end) > 0}

    def behind(self, ends):
        """The groups that have not committed all there is, as the observers have seen it."""
        found = {}
        for process in self.processes:
            if process.role == "observer":
                for group, offsets in process.progress()["positions"].items():
                    for place, offset in offsets.items():
                        found[group, place] = max(offset, found.get((group, place), 0))
        return [group for group in self.groups if any(found.get((group, place), 0) < end for place, end in ends.items())]

    def await_groups(self, deadline):
        try:
            ends = self.ends()
        except TimeoutError as error:
            self.journal.note(str(error))
            return
        while self.behind(ends) and time.monotonic() < deadline:
            time.sleep(0.3)
        if self.behind(ends):
            self.journal.note(f"groups that do not come to the end: {self.behind(ends)}")

    def drain(self, doors, deadline):
        self.drains = [Process(self, f"drain-{door}", *DRAINS[door], {}) for door in doors if door in DRAINS]
        self.drains += [Process(self, f"drain-agent-{number}", "wire_clients.py", "drain", {"bootstrap": address})
                        for number, address in enumerate(self.bootstrap, 1)]
        for process in self.drains:
            process.start()
        for process in self.drains:
            try:
                process.process.wait(max(1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.journal.note(f"{process.name} does not come to the end")
                process.kill()

    def abandon(self):
        """kill -9 of whoever is left: nobody wants the history."""
        self.finishing = True
        for process in [*self.processes, *self.drains]:
            if process.process:
                process.kill()
