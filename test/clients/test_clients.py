"""Clients that people use today, from PyPI, npm, Maven and Go: each sends and reads, and each reads what the others sent."""
import pytest

from clients import CONFLUENT
from programs import JAVA, NAMES
from records import CODECS, oddities, plain, sizes

WITH_CODEC = [(name, codec) for name in NAMES for codec in CODECS if name != "javascript" or codec in ("none", "gzip", "snappy")]


def carried_by(client, records):
    """What the client can send at all. kafkajs keeps headers in an object: no order between same names and others, and no nulls.
    kafka-python and aiokafka refuse a record with neither key nor value, and the former headers of null."""
    if client.name in ("kafka-python", "aiokafka"):
        records = [record for record in records if record.key is not None or record.value is not None]
    if client.name == "kafka-python":
        return [record for record in records if all(value is not None for _, value in record.headers)]
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


@pytest.mark.parametrize("client", JAVA, indirect=True)
def test_a_topics_life_through_javas_admin_client(stack, topic_name, client):
    seen = dict(text.split(" ", 1) for text in client.run("admin", stack.kafka, topic_name))
    assert seen["partitions"] == "5"
    assert seen["retention"] == "123456789"
    assert seen["latest"] == "0"
    assert seen["nodes"] == "1"
    assert seen["cluster"] not in ("", "null")
    assert seen["listed"] == "false"


@pytest.mark.parametrize("client", JAVA, indirect=True)
def test_java_knows_where_a_partition_ends(stack, topic, client):
    CONFLUENT.send(stack.kafka, topic, 0, plain(42))
    assert client.run("consume", stack.kafka, topic, 0, 42)[-1] == "end 42"
