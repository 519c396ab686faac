"""What any of Debian's Kafka clients sends, every one of them reads back: once, in order, byte for byte."""
import pytest

from clients import CLIENTS, CONFLUENT, KAFKA_PYTHON, KCAT
from records import CODECS, Record, oddities, plain, sizes, words

CONSUMERS = pytest.mark.parametrize("consumer", CLIENTS, ids=lambda client: client.name)
each_codec = pytest.mark.parametrize("codec", CODECS)


def assert_same(sent, received, look=lambda record: record):
    offsets = [offset for offset, _ in received]
    assert offsets == sorted(set(offsets)), "offsets do not rise"
    assert len(received) == len(sent)
    for number, (record, (_, back)) in enumerate(zip(sent, received)):
        assert look(back) == look(record), f"record {number} came back as another"


def without_headers(record):
    """kcat's output has no unambiguous place for headers."""
    return record._replace(headers=())


def bytes_only(record):
    return record.key, record.value


def kafka_python_sends(record):
    """It refuses a record without key and value, and a header without value; what others send it reads."""
    return (record.key, record.value) != (None, None) and all(value is not None for _, value in record.headers)


@each_codec
@pytest.mark.parametrize("producer", [CONFLUENT, KAFKA_PYTHON], ids=lambda client: client.name)
def test_records_come_back_as_they_were_sent(stack, topic, producer, codec):
    batches = [oddities(), sizes(), plain(3000)]
    if producer is KAFKA_PYTHON:
        batches[0] = [record for record in batches[0] if kafka_python_sends(record)]
    for partition, records in enumerate(batches):
        producer.send(stack.kafka, topic, partition, records, codec)
    for partition, records in enumerate(batches):
        for consumer in CLIENTS:
            look = without_headers if consumer is KCAT else lambda record: record
            assert_same(records, consumer.receive(stack.kafka, topic, partition), look)


@each_codec
def test_what_kcat_sends_everybody_reads(stack, topic, codec):
    headers = (("source", b"kcat"), ("number", b"7"))
    sent = [Record(b"k%d" % number, words(number * 37, number), headers) for number in range(200)]
    KCAT.send(stack.kafka, topic, 1, sent, codec)
    for consumer in CLIENTS:
        received = consumer.receive(stack.kafka, topic, 1)
        assert_same(sent, received, bytes_only)
        if consumer is not KCAT:
            assert all(record.headers == headers for _, record in received)


@pytest.mark.parametrize("size", [0, 1, 1000, 100_000, 1_000_000])
def test_the_same_size_many_times(stack, topic, size):
    sent = [Record(None, words(size, number)) for number in range(max(3, min(2000, 3_000_000 // max(size, 1))))]
    CONFLUENT.send(stack.kafka, topic, 0, sent, "none")
    assert_same(sent, CONFLUENT.receive(stack.kafka, topic, 0))
    assert_same(sent, KAFKA_PYTHON.receive(stack.kafka, topic, 0))


@CONSUMERS
def test_reading_from_the_middle_begins_at_that_record(stack, topic, consumer):
    sent = plain(500)
    CONFLUENT.send(stack.kafka, topic, 2, sent, "lz4")
    received = consumer.receive(stack.kafka, topic, 2, start=321)
    assert [offset for offset, _ in received] == list(range(321, 500))
    assert_same(sent[321:], received, bytes_only)


def test_partitions_do_not_mix(stack, topic_name):
    topic = stack.create_topic(topic_name, partitions=20)
    sent = {partition: plain(50, seed=partition) for partition in range(20)}
    for partition, records in sent.items():
        CONFLUENT.send(stack.kafka, topic, partition, records, "none")
    for partition, records in sent.items():
        assert_same(records, CONFLUENT.receive(stack.kafka, topic, partition))


def test_acknowledged_offsets_are_where_the_records_are(stack, topic):
    sent = plain(1000)
    offsets = CONFLUENT.send(stack.kafka, topic, 0, sent, "snappy")
    assert dict(zip(offsets, sent)) == dict(CONFLUENT.receive(stack.kafka, topic, 0))


@pytest.mark.sql
def test_records_survive_a_restart_of_everything(own_stack, topic_name):
    agent = own_stack.start_agent()
    topic = own_stack.create_topic(topic_name, partitions=3)
    sent = oddities() + plain(2000)
    CONFLUENT.send(own_stack.kafka, topic, 1, sent, "zstd")
    assert agent.stop() == 0
    own_stack.postgres.stop()
    own_stack.postgres.start()
    agent.start()
    assert_same(sent, CONFLUENT.receive(own_stack.kafka, topic, 1))
    assert_same(sent, KAFKA_PYTHON.receive(own_stack.kafka, topic, 1))
