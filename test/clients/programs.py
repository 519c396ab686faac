"""programs.py: clients in other languages and runtimes as programs that tests start, feed by lines and read by lines."""
import base64
import os
import subprocess
from pathlib import Path

import line
from members import PATIENCE_S, Program

HERE = Path(__file__).resolve().parent
# "java VERSION" is the Java client of that Apache Kafka release.
JAVA = ["java 3.9.1", "java 4.2.0"]
NAMES = ["confluent-kafka", "kafka-python", "aiokafka", "javascript", *JAVA, "go"]
PYTHON = {"confluent-kafka": "confluent_client.py", "kafka-python": "kafka_python_client.py", "aiokafka": "aiokafka_client.py"}
JVM_OPTIONS = ["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"]

def is_java(name):
    return name.startswith("java ")


def java_command(folder, main, log_level="off"):
    log = [f"-Dorg.slf4j.simpleLogger.defaultLogLevel={log_level}", "-Dorg.slf4j.simpleLogger.showDateTime=true"]
    return ["java", *JVM_OPTIONS, *log, "-cp", f"{folder}/lib/*:{folder}/classes", main]


class Client:
    """A client's programs, fetched and built."""

    def __init__(self, name, folder):
        self.name, self.folder, self.environment = name, folder, dict(os.environ)
        if name == "javascript":
            self.environment["NODE_PATH"] = str(folder / "node_modules")

    def command(self, verb, *arguments):
        if self.name in PYTHON:
            program = [self.folder / "bin/python", HERE / "python" / PYTHON[self.name], verb]
        elif self.name == "javascript":
            program = ["node", HERE / "javascript/client.js", verb]
        elif self.name == "go":
            program = [self.folder / "client", verb]
        elif verb == "member":
            program = java_command(self.folder, "Member")
        else:
            program = [*java_command(self.folder, "Client"), verb]
        return [str(word) for word in (*program, *arguments)]

    def run(self, verb, *arguments, lines=()):
        done = subprocess.run(self.command(verb, *arguments), input="".join(f"{text}\n" for text in lines), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, env=self.environment, timeout=2 * PATIENCE_S)
        assert done.returncode == 0, f"{self.name}:\n{done.stderr[-3000:]}"
        return done.stdout.splitlines()

    def send(self, kafka, topic, partition, records, codec):
        self.run("produce", kafka, topic, partition, codec, lines=[line.encode(record) for record in records])

    def receive(self, kafka, topic, partition, count):
        found = self.run("consume", kafka, topic, partition, count)
        return [line.decode(text) for text in found if not text.startswith("end ")]


class Member(Program):
    """A member of a consumer group, in a program that prints

        assigned 0,2                 what it holds, whenever that changes
        record PARTITION OFFSET =BASE64
        closed                       when it has left

    and commits every record that it printed. It leaves when its standard input ends."""

    def __init__(self, client, kafka, topic, group, protocol, *instance):
        self.name = f"{client.name} ({protocol})"
        super().__init__(client.command("member", kafka, topic, group, protocol, *instance), client.environment)

    def held(self):
        said = [text for text in list(self.lines) if text.startswith("assigned ")]
        return {int(word) for word in said[-1].split(" ")[1].split(",") if word} if said else set()

    def received(self):
        """[(partition, offset, value)] in the order of arrival."""
        words = [text.split(" ") for text in list(self.lines) if text.startswith("record ")]
        return [(int(partition), int(offset), base64.b64decode(value[1:])) for _, partition, offset, value in words]

    def leave(self):
        self.process.stdin.close()
        assert self.wait() == 0, "\n".join(self.complaints[-20:])
        assert self.lines[-1] == "closed"

    def __repr__(self):
        return f"{self.name} holds {sorted(self.held())}, received {len(self.received())}, says {self.complaints[-3:]}"


class Flow(Program):
    """Kafka's own producer and consumer at work, until they are told to finish; see Flow.java. What they log is in complaints."""

    def __init__(self, client, kafka, topic, partitions, rate, protocol):
        command = java_command(client.folder, "Flow", "warn")
        super().__init__([*command, kafka, topic, partitions, rate, protocol], client.environment)

    def said(self, word):
        """The words after that one, of all lines that begin with it."""
        return [text.split(" ", 4)[1:] for text in list(self.lines) if text.startswith(word + " ")]

    def finish(self):
        self.process.stdin.close()
        assert self.wait(120) == 0, "\n".join(self.complaints[-20:])


class Tools:
    """Kafka's command-line tools of one release, in one JVM."""

    def __init__(self, folder, version):
        self.version = version
        self.process = subprocess.Popen([str(word) for word in java_command(folder, "Tools")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        core = "kafka.admin." if version.startswith("3.") else "org.apache.kafka.tools."
        self.classes = {
            "kafka-topics": "org.apache.kafka.tools.TopicCommand",
            "kafka-configs": "kafka.admin.ConfigCommand",
            "kafka-consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
            "kafka-get-offsets": "org.apache.kafka.tools.GetOffsetShell",
            "kafka-delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
            "kafka-log-dirs": "org.apache.kafka.tools.LogDirsCommand",
            "kafka-leader-election": "org.apache.kafka.tools.LeaderElectionCommand",
            "kafka-cluster": "org.apache.kafka.tools.ClusterTool",
            "kafka-groups": "org.apache.kafka.tools.GroupsCommand",
            "kafka-broker-api-versions": core + "BrokerApiVersionsCommand",
            "kafka-producer-perf-test": "org.apache.kafka.tools.ProducerPerformance",
            "kafka-consumer-perf-test": "org.apache.kafka.tools.ConsumerPerformance",
        }

    def run(self, tool, *arguments, status=0):
        """What the tool printed; it has to end with this status."""
        words = ["=" + base64.b64encode(str(argument).encode()).decode() for argument in arguments]
        self.process.stdin.write(" ".join([self.classes[tool], *words]) + "\n")
        self.process.stdin.flush()
        ended, printed = self.process.stdout.readline().split()
        text = base64.b64decode(printed[1:]).decode()
        assert int(ended) == status, f"{tool} {' '.join(map(str, arguments))} ended with {ended}:\n{text[-3000:]}"
        return text

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def table(text):
    """The rows of what a tool printed in columns, as dicts: the first line with GROUP or TOPIC as its first word is the header.
    Columns are parted by blanks; no value in our tests has one."""
    lines = [text.split() for text in text.splitlines() if text.strip()]
    start = next((number for number, words in enumerate(lines) if words[0] in ("GROUP", "TOPIC") and len(words) > 1), None)
    if start is None:
        return []
    header = lines[start]
    return [dict(zip(header, words)) for words in lines[start + 1:] if words[0] != header[0]]
