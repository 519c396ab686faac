"""Offsets: the first, the last, and by time."""
import random

import kafka as kafka_python
import pytest
from confluent_kafka import TopicPartition

from clients import CONFLUENT, open_consumer
from records import BASE_TIMESTAMP, Record


def place(topic, partition=0):
    return kafka_python.TopicPartition(topic, partition)


@pytest.fixture
def asking(stack):
    consumer = kafka_python.KafkaConsumer(bootstrap_servers=stack.kafka, group_id=None)
    yield consumer
    consumer.close()


def oracle(timestamps, wanted):
    """Kafka's rule: the first record whose timestamp is the wanted one or later; its offset and its own timestamp."""
    for offset, stamp in enumerate(timestamps):
        if stamp >= wanted:
            return offset, stamp
    return None


def send_with_timestamps(stack, topic, timestamps, **config):
    CONFLUENT.send(stack.kafka, topic, 0, [Record(b"k", b"%d" % stamp, (), stamp) for stamp in timestamps], **config)


def test_an_empty_partition_begins_and_ends_at_zero(topic, asking):
    assert asking.beginning_offsets([place(topic)]) == {place(topic): 0}
    assert asking.end_offsets([place(topic)]) == {place(topic): 0}
    assert asking.offsets_for_times({place(topic): BASE_TIMESTAMP}) == {place(topic): None}


def test_beginning_and_end_of_every_partition(stack, topic, asking):
    for partition in range(3):
        CONFLUENT.send(stack.kafka, topic, partition, [Record(b"k", b"v")] * (partition * 100 + 1))
    places = [place(topic, partition) for partition in range(3)]
    assert asking.beginning_offsets(places) == {there: 0 for there in places}
    assert asking.end_offsets(places) == {place(topic, 0): 1, place(topic, 1): 101, place(topic, 2): 201}


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_offsets_by_time_in_rising_order(stack, topic, asking, codec):
    timestamps = [BASE_TIMESTAMP + 10 * number for number in range(300)]
    for start in range(0, 300, 100):
        send_with_timestamps(stack, topic, timestamps[start:start + 100], codec=codec)
    for wanted in (0, BASE_TIMESTAMP, BASE_TIMESTAMP + 1, BASE_TIMESTAMP + 995, BASE_TIMESTAMP + 1000, BASE_TIMESTAMP + 2990):
        found = asking.offsets_for_times({place(topic): wanted})[place(topic)]
        assert (found.offset, found.timestamp) == oracle(timestamps, wanted), f"looking for {wanted}"
    assert asking.offsets_for_times({place(topic): BASE_TIMESTAMP + 2991})[place(topic)] is None


def test_offsets_by_time_when_time_jumps_about(stack, topic, asking):
    chance = random.Random(7)
    timestamps = [BASE_TIMESTAMP + chance.randrange(10_000) for _ in range(200)]
    for start in range(0, 200, 20):
        send_with_timestamps(stack, topic, timestamps[start:start + 20])
    for wanted in [BASE_TIMESTAMP + chance.randrange(10_100) for _ in range(40)]:
        found = asking.offsets_for_times({place(topic): wanted})[place(topic)]
        assert (found and (found.offset, found.timestamp)) == oracle(timestamps, wanted), f"looking for {wanted}"


def test_librdkafka_finds_offsets_by_time_too(stack, topic):
    timestamps = [BASE_TIMESTAMP + 10 * number for number in range(100)]
    send_with_timestamps(stack, topic, timestamps)
    consumer = open_consumer(stack.kafka)
    wanted = [TopicPartition(topic, 0, BASE_TIMESTAMP + 505), TopicPartition(topic, 1, BASE_TIMESTAMP)]
    first, second = consumer.offsets_for_times(wanted, timeout=30)
    consumer.close()
    assert first.offset == 51
    assert second.offset == -1  # librdkafka's OFFSET_END: partition 1 is empty


def test_an_offset_past_the_end_is_out_of_range(stack, topic):
    CONFLUENT.send(stack.kafka, topic, 0, [Record(b"k", b"v")] * 10)
    consumer = open_consumer(stack.kafka, **{"auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(topic, 0, 999)])
    message = consumer.poll(30)
    consumer.close()
    assert message is not None and message.error() is None and message.offset() == 0, "the consumer was not sent back to the start"
