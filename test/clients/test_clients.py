"""Clients that people use today, from PyPI, npm, Maven and Go: each sends and reads, and each reads what the others sent."""
import os
import subprocess
from pathlib import Path

import pytest

import line
from clients import CONFLUENT
from records import oddities, plain, sizes

HERE = Path(__file__).resolve().parent
CODECS = {"python": ["none", "gzip", "snappy", "lz4", "zstd"], "javascript": ["none", "gzip", "snappy"],
          "java": ["none", "gzip", "snappy", "lz4", "zstd"], "go": ["none", "gzip", "snappy", "lz4", "zstd"]}
NAMES = ["python", "javascript", "java 3.9.1", "java 4.2.0", "go"]
WITH_CODEC = [(name, codec) for name in NAMES for codec in CODECS[name.split()[0]]]
JAVA_NAMES = [name for name in NAMES if name.startswith("java ")]


class Client:
    """A program in another language, fed and read by lines."""

    def __init__(self, name, folder):
        self.name, self.environment = name, dict(os.environ)
        if name == "python":
            self.command = [folder / "bin/python", HERE / "python/client.py"]
        elif name == "javascript":
            self.command = ["node", HERE / "javascript/client.js"]
            self.environment["NODE_PATH"] = str(folder / "node_modules")
        elif name == "go":
            self.command = [folder / "client"]
        else:
            self.command = ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", f"{folder}/lib/*:{folder}/classes", "Client"]

    def run(self, *arguments, lines=()):
        command = [str(word) for word in (*self.command, *arguments)]
        done = subprocess.run(command, input="".join(f"{text}\n" for text in lines), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, env=self.environment, timeout=120)
        assert done.returncode == 0, f"{self.name}:\n{done.stderr[-3000:]}"
        return done.stdout.splitlines()

    def send(self, kafka, topic, partition, records, codec):
        self.run("produce", kafka, topic, partition, codec, lines=[line.encode(record) for record in records])

    def receive(self, kafka, topic, partition, count):
        found = self.run("consume", kafka, topic, partition, count)
        return [line.decode(text) for text in found if not text.startswith("end ")]


@pytest.fixture
def client(request, fetched):
    return Client(request.param, fetched(request.param))


def carried_by(client, records):
    """kafkajs keeps headers in an object: no order between same names and others, and no nulls; it cannot send all of them."""
    if client.name != "javascript":
        return records
    return [record for record in records
            if all(value is not None for _, value in record.headers) and len({name for name, _ in record.headers}) == len(record.headers)]


def assert_same(sent, received):
    assert [offset for offset, _ in received] == list(range(len(sent)))
    for number, (record, (_, back)) in enumerate(zip(sent, received)):
        assert back == record, f"record {number} came back as another"


@pytest.mark.parametrize("client, codec", WITH_CODEC, indirect=["client"])
def test_it_reads_back_what_it_sent(stack, topic, client, codec):
    sent = carried_by(client, oddities() + sizes() + plain(1000))
    client.send(stack.kafka, topic, 1, sent, codec)
    assert_same(sent, client.receive(stack.kafka, topic, 1, len(sent)))
    assert_same(sent, CONFLUENT.receive(stack.kafka, topic, 1))


@pytest.mark.parametrize("client, codec", WITH_CODEC, indirect=["client"])
def test_it_reads_what_debians_client_sent(stack, topic, client, codec):
    sent = carried_by(client, oddities() + sizes() + plain(1000))
    CONFLUENT.send(stack.kafka, topic, 2, sent, codec)
    assert_same(sent, client.receive(stack.kafka, topic, 2, len(sent)))


@pytest.mark.parametrize("client", JAVA_NAMES, indirect=True)
def test_a_topics_life_through_javas_admin_client(stack, topic_name, client):
    seen = dict(text.split(" ", 1) for text in client.run("admin", stack.kafka, topic_name))
    assert seen["partitions"] == "5"
    assert seen["retention"] == "123456789"
    assert seen["latest"] == "0"
    assert seen["nodes"] == "1"
    assert seen["cluster"] not in ("", "null")
    assert seen["listed"] == "false"


@pytest.mark.parametrize("client", JAVA_NAMES, indirect=True)
def test_java_knows_where_a_partition_ends(stack, topic, client):
    CONFLUENT.send(stack.kafka, topic, 0, plain(42))
    assert client.run("consume", stack.kafka, topic, 0, 42)[-1] == "end 42"
