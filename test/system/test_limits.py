"""The largest record that fits, the smallest that does not, and both kinds of timestamps."""
import time

import pytest
from confluent_kafka import KafkaError, KafkaException

from clients import CLIENTS, CONFLUENT, KAFKA_PYTHON
from records import CODECS, Record, noise, plain

MAX_MESSAGE_BYTES = 1_048_588  # Kafka's default for max.message.bytes: 1 MiB and a log entry's 12 bytes
BATCH_HEADER = 61
RECORD_AROUND_LARGE_VALUE = 11  # lengths and marks of one keyless record without headers, for values of 8 KiB to 1 MiB


def record_filling(batch_bytes):
    """A record that, alone and uncompressed, makes a batch of exactly so many bytes."""
    return Record(None, noise(batch_bytes - BATCH_HEADER - RECORD_AROUND_LARGE_VALUE, 1))


@pytest.mark.parametrize("limit", [MAX_MESSAGE_BYTES, 100_000])
def test_a_batch_as_large_as_allowed_is_taken_and_one_byte_more_is_not(stack, topic_name, limit):
    config = {} if limit == MAX_MESSAGE_BYTES else {"max_message_bytes": limit}
    topic = stack.create_topic(topic_name, **config)
    fits = record_filling(limit)
    CONFLUENT.send(stack.kafka, topic, 0, [fits])
    with pytest.raises(KafkaException) as refused:
        CONFLUENT.send(stack.kafka, topic, 0, [record_filling(limit + 1)])
    assert refused.value.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE
    for consumer in CLIENTS:
        assert [record.value for _, record in consumer.receive(stack.kafka, topic, 0)] == [fits.value]


@pytest.mark.parametrize("codec", CODECS[1:])
def test_the_limit_counts_compressed_bytes(stack, topic, codec):
    sent = [Record(b"large", b"stream house " * 400_000)]
    CONFLUENT.send(stack.kafka, topic, 0, sent, codec)
    assert [record for _, record in CONFLUENT.receive(stack.kafka, topic, 0)] == sent


def test_a_refused_record_does_no_harm_to_its_neighbours(stack, topic):
    before, after = plain(100, seed=1), plain(100, seed=2)
    CONFLUENT.send(stack.kafka, topic, 0, before)
    with pytest.raises(KafkaException):
        CONFLUENT.send(stack.kafka, topic, 0, [record_filling(MAX_MESSAGE_BYTES + 1)])
    CONFLUENT.send(stack.kafka, topic, 0, after)
    assert [record for _, record in CONFLUENT.receive(stack.kafka, topic, 0)] == before + after


@pytest.mark.parametrize("codec", CODECS)
def test_log_append_time_replaces_the_producers_time(stack, topic_name, codec):
    topic = stack.create_topic(topic_name, message_timestamp_type="LogAppendTime")
    sent = plain(100)
    earliest = int(time.time() * 1000)
    CONFLUENT.send(stack.kafka, topic, 0, sent, codec)
    latest = int(time.time() * 1000)
    for consumer in CLIENTS:
        received = [record for _, record in consumer.receive(stack.kafka, topic, 0)]
        assert [record.value for record in received] == [record.value for record in sent]
        assert all(earliest - 5 <= record.timestamp <= latest + 5 for record in received)


def test_timestamps_long_past_and_unordered_survive(stack, topic_name):
    topic = stack.create_topic(topic_name, message_timestamp_before_max_ms=2**63 - 1, retention_ms=-1)
    now = int(time.time() * 1000)
    sent = [Record(b"k", b"%d" % stamp, (), stamp) for stamp in (now, 1, now - 10, 86_400_000, now + 1000, 2)]
    CONFLUENT.send(stack.kafka, topic, 0, sent)
    for consumer in CLIENTS:
        assert [record for _, record in consumer.receive(stack.kafka, topic, 0)] == sent


@pytest.mark.parametrize("fetch_bytes", [1, 5000, 1_000_000])
def test_a_record_larger_than_the_fetch_still_arrives(stack, topic, fetch_bytes):
    import kafka

    sent = [Record(b"%d" % number, noise(300_000, number)) for number in range(4)]
    KAFKA_PYTHON.send(stack.kafka, topic, 0, sent, batch_size=0)
    consumer = kafka.KafkaConsumer(bootstrap_servers=stack.kafka, group_id=None, max_partition_fetch_bytes=fetch_bytes,
                                   fetch_max_bytes=fetch_bytes, fetch_max_wait_ms=100, consumer_timeout_ms=20_000)
    place = kafka.TopicPartition(topic, 0)
    consumer.assign([place])
    consumer.seek_to_beginning(place)
    received = [next(consumer) for _ in sent]
    consumer.close()
    assert [(message.key, message.value) for message in received] == [(record.key, record.value) for record in sent]
