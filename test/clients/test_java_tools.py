"""Kafka's own command-line tools, of an old and of the current release, on topics, configs and offsets; each test looks at what
happened, not only at how the tool ended. Consumer groups are in test_group_tools.py."""
import json
import re

import pytest

from clients import CONFLUENT
from members import Program
from programs import java_command
from records import BASE_TIMESTAMP, plain

VERSIONS = ["3.9.1", "4.2.0"]


@pytest.fixture(params=VERSIONS)
def tools(request, tools_of):
    return tools_of(request.param)


@pytest.fixture
def server(stack):
    return ["--bootstrap-server", stack.kafka]


def described(text):
    """What kafka-topics --describe says: {field: value} of the topic, and of each partition."""
    lines = [dict(pair.split(": ", 1) if ": " in pair else (pair.rstrip(":"), "") for pair in line.strip().split("\t"))
             for line in text.splitlines() if line.strip().startswith("Topic: ")]
    return lines[0], lines[1:]


def configs(text):
    """{name: (value, the best synonym's source)} of what kafka-configs --describe says."""
    found = re.findall(r"^\s+(\S+?)=(.*?) sensitive=\w+ synonyms=\{(?:(\w+):)?", text, re.MULTILINE)
    return {name: (value, source) for name, value, source in found}


def offsets(text):
    """{partition: offset} of what kafka-get-offsets says."""
    return {int(line.split(":")[1]): int(line.split(":")[2]) for line in text.split() if line.count(":") == 2}


def test_a_topics_life_with_kafka_topics(tools, server, topic_name):
    named = [*server, "--topic", topic_name]
    made = tools.run("kafka-topics", *named, "--create", "--partitions", 3, "--config", "retention.ms=123456", "--config", "cleanup.policy=compact")
    assert f"Created topic {topic_name}." in made
    assert topic_name in tools.run("kafka-topics", *server, "--list").split()
    topic, partitions = described(tools.run("kafka-topics", *named, "--describe"))
    assert topic["PartitionCount"] == "3"
    assert {"retention.ms=123456", "cleanup.policy=compact"} <= set(topic["Configs"].split(","))
    assert len(topic["TopicId"]) == 22
    assert [partition["Partition"] for partition in partitions] == ["0", "1", "2"]
    assert all(int(partition["Leader"]) >= 0 and partition["Isr"] == partition["Replicas"] for partition in partitions)
    tools.run("kafka-topics", *named, "--alter", "--partitions", 5)
    assert len(described(tools.run("kafka-topics", *named, "--describe"))[1]) == 5
    assert described(tools.run("kafka-topics", *server, "--describe", "--topic-id", topic["TopicId"]))[0]["Topic"] == topic_name
    assert tools.run("kafka-topics", *named, "--describe", "--unavailable-partitions").strip() == ""
    tools.run("kafka-topics", *named, "--delete")
    assert topic_name not in tools.run("kafka-topics", *server, "--list").split()


def test_kafka_topics_is_told_what_it_may_not_do(tools, server, topic, topic_name):
    assert "already exists" in tools.run("kafka-topics", *server, "--create", "--topic", topic, status=1)
    tools.run("kafka-topics", *server, "--create", "--topic", topic, "--if-not-exists")
    fewer = tools.run("kafka-topics", *server, "--alter", "--topic", topic, "--partitions", 2, status=1)
    assert re.search("(?i)partition", fewer)
    assert "nobody" in tools.run("kafka-topics", *server, "--describe", "--topic", "nobody", status=1)
    assert "retention.ms" in tools.run("kafka-topics", *server, "--create", "--topic", f"{topic_name}-2", "--config", "retention.ms=soon", status=1)
    assert f"{topic_name}-2" not in tools.run("kafka-topics", *server, "--list").split()


def test_configs_of_a_topic(tools, server, topic):
    named = [*server, "--entity-type", "topics", "--entity-name", topic]
    before = configs(tools.run("kafka-configs", *named, "--describe", "--all"))
    assert before["retention.ms"] == ("604800000", "DEFAULT_CONFIG") or before["retention.ms"][0] == "604800000"
    assert {"cleanup.policy", "compression.type", "max.message.bytes", "message.timestamp.type", "min.insync.replicas", "segment.bytes",
            "delete.retention.ms", "retention.bytes"} <= set(before)
    tools.run("kafka-configs", *named, "--alter", "--add-config", "retention.ms=1234567,cleanup.policy=[compact,delete]")
    own = configs(tools.run("kafka-configs", *named, "--describe"))
    assert own == {"retention.ms": ("1234567", "DYNAMIC_TOPIC_CONFIG"), "cleanup.policy": ("compact,delete", "DYNAMIC_TOPIC_CONFIG")}
    tools.run("kafka-configs", *named, "--alter", "--delete-config", "retention.ms")
    after = configs(tools.run("kafka-configs", *named, "--describe", "--all"))
    assert after["retention.ms"] == before["retention.ms"]
    assert after["cleanup.policy"][0] == "compact,delete"
    assert "retention.ms" in tools.run("kafka-configs", *named, "--alter", "--add-config", "retention.ms=soon", status=1)
    assert tools.run("kafka-configs", *named, "--alter", "--add-config", "no.such.config=1", status=1)


def test_configs_of_brokers(tools, server, stack):
    everywhere = [*server, "--entity-type", "brokers", "--entity-default"]
    tools.run("kafka-configs", *everywhere, "--alter", "--add-config", "log.retention.ms=345600000")
    assert configs(tools.run("kafka-configs", *everywhere, "--describe"))["log.retention.ms"] == ("345600000", "DYNAMIC_DEFAULT_BROKER_CONFIG")
    node = re.search(r"\(id: (\d+)", tools.run("kafka-broker-api-versions", *server)).group(1)
    seen = configs(tools.run("kafka-configs", *server, "--entity-type", "brokers", "--entity-name", node, "--describe", "--all"))
    assert seen["log.retention.ms"] == ("345600000", "DYNAMIC_DEFAULT_BROKER_CONFIG")
    assert {"num.partitions", "auto.create.topics.enable", "message.max.bytes", "offsets.retention.minutes"} <= set(seen)
    tools.run("kafka-configs", *everywhere, "--alter", "--delete-config", "log.retention.ms")
    assert "log.retention.ms" not in configs(tools.run("kafka-configs", *everywhere, "--describe"))


@pytest.mark.parametrize("tools", ["4.2.0"], indirect=True)  # 3.9's knows no groups
def test_configs_of_a_group(tools, server, topic_name):
    named = [*server, "--entity-type", "groups", "--entity-name", topic_name]
    tools.run("kafka-configs", *named, "--alter", "--add-config", "consumer.session.timeout.ms=50000")
    assert configs(tools.run("kafka-configs", *named, "--describe"))["consumer.session.timeout.ms"] == ("50000", "DYNAMIC_GROUP_CONFIG")
    assert "consumer.session.timeout.ms" in tools.run("kafka-configs", *named, "--alter", "--add-config", "consumer.session.timeout.ms=5", status=1)


def test_get_offsets_knows_ends_beginnings_and_times(tools, server, stack, topic):
    CONFLUENT.send(stack.kafka, topic, 0, plain(40))
    CONFLUENT.send(stack.kafka, topic, 2, plain(7))
    named = [*server, "--topic", topic]
    assert offsets(tools.run("kafka-get-offsets", *named)) == {0: 40, 1: 0, 2: 7}
    assert offsets(tools.run("kafka-get-offsets", *named, "--time", "earliest")) == {0: 0, 1: 0, 2: 0}
    assert offsets(tools.run("kafka-get-offsets", *named, "--time", BASE_TIMESTAMP + 5)) == {0: 5, 2: 5}
    assert offsets(tools.run("kafka-get-offsets", *named, "--time", BASE_TIMESTAMP + 10, "--partitions", "0,2")) == {0: 10}
    assert offsets(tools.run("kafka-get-offsets", *named, "--time", "max-timestamp")) == {0: 39, 2: 6}
    assert offsets(tools.run("kafka-get-offsets", *server, "--topic-partitions", f"{topic}:2")) == {2: 7}


def test_delete_records_moves_the_beginning(tools, server, stack, topic, tmp_path):
    CONFLUENT.send(stack.kafka, topic, 0, plain(40))
    CONFLUENT.send(stack.kafka, topic, 1, plain(5))
    plan = tmp_path / "delete.json"
    plan.write_text(json.dumps({"version": 1, "partitions": [{"topic": topic, "partition": 0, "offset": 15},
                                                             {"topic": topic, "partition": 1, "offset": -1}]}))
    told = tools.run("kafka-delete-records", *server, "--offset-json-file", plan)
    assert f"{topic}-0\tlow_watermark: 15" in told and f"{topic}-1\tlow_watermark: 5" in told
    assert offsets(tools.run("kafka-get-offsets", *server, "--topic", topic, "--time", "earliest")) == {0: 15, 1: 5, 2: 0}
    assert [offset for offset, _ in CONFLUENT.receive(stack.kafka, topic, 0, 15)] == list(range(15, 40))
    plan.write_text(json.dumps({"version": 1, "partitions": [{"topic": topic, "partition": 0, "offset": 41}]}))
    assert "OffsetOutOfRange" in tools.run("kafka-delete-records", *server, "--offset-json-file", plan)


def test_log_dirs_know_how_large_a_partition_is(tools, server, stack, topic):
    CONFLUENT.send(stack.kafka, topic, 1, plain(500, size=1000), codec="none")
    told = tools.run("kafka-log-dirs", *server, "--describe", "--topic-list", topic)
    answer = json.loads(told[told.index("{"):].splitlines()[0])
    sizes = {}
    for broker in answer["brokers"]:
        for folder in broker["logDirs"]:
            assert folder["error"] is None
            sizes.update({entry["partition"]: entry["size"] for entry in folder["partitions"]})
    assert sizes[f"{topic}-1"] > 500_000
    assert sizes[f"{topic}-0"] == sizes[f"{topic}-2"] == 0


def test_a_preferred_leader_is_no_news(tools, server, topic):
    told = tools.run("kafka-leader-election", *server, "--election-type", "preferred", "--topic", topic, "--partition", 0)
    assert re.search(rf"(Valid replica already elected for partitions.*|Successfully completed leader election.*){topic}-0", told)


def test_the_brokers_versions_and_the_cluster(tools, server):
    told = tools.run("kafka-broker-api-versions", *server)
    served = re.findall(r"^\s+(\w+)\((\d+)\): (\d+)(?: to (\d+))?", told, re.MULTILINE)
    assert {"Produce", "Fetch", "JoinGroup", "ConsumerGroupHeartbeat", "IncrementalAlterConfigs"} <= {name for name, *_ in served}
    assert re.search(r"Cluster ID: \S+", tools.run("kafka-cluster", "cluster-id", *server))


def test_producer_and_consumer_performance(tools, server, stack, topic):
    count = 20_000
    sent = tools.run("kafka-producer-perf-test", "--topic", topic, "--num-records", count, "--record-size", 200, "--throughput", -1,
                     "--producer-props", f"bootstrap.servers={stack.kafka}", "compression.type=lz4")
    assert f"{count} records sent" in sent.splitlines()[-1]
    assert sum(offsets(tools.run("kafka-get-offsets", *server, "--topic", topic)).values()) == count
    read = tools.run("kafka-consumer-perf-test", *server, "--topic", topic, "--messages", count, "--group", topic)
    header, values = [line.split(", ") for line in read.splitlines() if line.count(", ") > 5]
    assert dict(zip(header, values))["data.consumed.in.nMsg"] == str(count)


@pytest.mark.parametrize("version, protocol", [("3.9.1", "classic"), ("4.2.0", "classic"), ("4.2.0", "consumer")])
def test_what_the_verifiable_producer_sent_the_verifiable_consumer_reads(fetched, stack, topic, version, protocol):
    count, folder = 3000, fetched(f"java {version}")
    named = ["--bootstrap-server", stack.kafka, "--topic", topic, "--max-messages", count]
    producer = Program([*java_command(folder, "org.apache.kafka.tools.VerifiableProducer"), *named, "--acks", -1, "--value-prefix", 7])
    chosen = ["--group-protocol", protocol] if version == "4.2.0" else []
    consumer = Program([*java_command(folder, "org.apache.kafka.tools.VerifiableConsumer"), *named, "--group-id", topic, "--verbose", *chosen,
                        "--reset-policy", "earliest"])
    try:
        assert producer.wait() == 0 and consumer.wait() == 0, producer.complaints + consumer.complaints
    finally:
        producer.kill()
        consumer.kill()
    said = [json.loads(text) for text in producer.lines if text.startswith("{")]
    acknowledged = {(entry["partition"], entry["offset"], entry["value"]) for entry in said if entry["name"] == "producer_send_success"}
    heard = [json.loads(text) for text in consumer.lines if text.startswith("{")]
    read = [(entry["partition"], entry["offset"], entry["value"]) for entry in heard if entry["name"] == "record_data"]
    assert len(acknowledged) == count == len(read)
    assert set(read) == acknowledged
    assert sum(entry["count"] for entry in heard if entry["name"] == "records_consumed") == count
    assert all(entry["success"] for entry in heard if entry["name"] == "offsets_committed")
