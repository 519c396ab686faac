"""Consumers that wait at the end: they get every record soon after it was acknowledged, and do not poll the server to death."""
import threading
import time

import kafka as kafka_python
import pytest
from confluent_kafka import OFFSET_END, Producer, TopicPartition

from clients import CONFLUENT, open_consumer, record_of
from records import plain

SOON_S = 3.0


def tail(kafka, topic, partitions):
    """A consumer that stands at the end of every partition already."""
    consumer = open_consumer(kafka, **{"fetch.wait.max.ms": 5000})
    ends = [consumer.get_watermark_offsets(TopicPartition(topic, number), 30)[1] for number in range(partitions)]
    consumer.assign([TopicPartition(topic, number, end) for number, end in enumerate(ends)])
    consumer.poll(0.2)
    return consumer


def next_records(consumer, count, within=20.0):
    found, deadline = [], time.monotonic() + within
    while len(found) < count and time.monotonic() < deadline:
        message = consumer.poll(0.1)
        if message is not None:
            assert message.error() is None, message.error()
            found.append((message.partition(), record_of(message)))
    return found


def test_a_waiting_consumer_gets_each_record_soon(stack, topic):
    consumer = tail(stack.kafka, topic, 3)
    # librdkafka's first Fetch may go out before all partitions are in it, and the others wait until it is answered.
    warm_up = plain(3, seed=1)
    for number, record in enumerate(warm_up):
        CONFLUENT.send(stack.kafka, topic, number, [record])
    assert sorted(next_records(consumer, 3)) == list(enumerate(warm_up))
    for number, record in enumerate(plain(10)):
        CONFLUENT.send(stack.kafka, topic, number % 3, [record])
        acknowledged = time.monotonic()
        assert next_records(consumer, 1) == [(number % 3, record)]
        assert time.monotonic() - acknowledged < SOON_S, "the waiting fetch was not woken"
    consumer.close()


def test_two_waiting_consumers_both_get_everything(stack, topic):
    consumers = [tail(stack.kafka, topic, 3) for _ in range(2)]
    sent = plain(500)
    CONFLUENT.send(stack.kafka, topic, 1, sent, "lz4")
    for consumer in consumers:
        assert next_records(consumer, len(sent)) == [(1, record) for record in sent]
        consumer.close()


def test_offset_end_skips_what_was_there(stack, topic):
    CONFLUENT.send(stack.kafka, topic, 0, plain(50, seed=1))
    consumer = open_consumer(stack.kafka)
    consumer.assign([TopicPartition(topic, 0, OFFSET_END)])
    assert next_records(consumer, 1, within=2) == []
    later = plain(5, seed=2)
    CONFLUENT.send(stack.kafka, topic, 0, later)
    assert next_records(consumer, len(later)) == [(0, record) for record in later]
    consumer.close()


@pytest.mark.any_store
def test_an_empty_fetch_waits_as_long_as_it_was_asked_to(stack, topic):
    consumer = kafka_python.KafkaConsumer(bootstrap_servers=stack.kafka, group_id=None, fetch_max_wait_ms=2000)
    place = kafka_python.TopicPartition(topic, 0)
    consumer.assign([place])
    consumer.seek_to_end(place)
    consumer.poll(500)
    rates = consumer.metrics()["consumer-fetch-manager-metrics"]
    consumer.poll(4000)
    assert consumer.metrics()["consumer-fetch-manager-metrics"]["fetch-rate"] < 5, f"fetches did not wait: {rates}"
    consumer.close()


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_reading_while_it_is_written_misses_and_repeats_nothing(stack, topic, codec):
    sent = plain(20_000)
    consumer = tail(stack.kafka, topic, 3)

    def write():
        producer = Producer({"bootstrap.servers": stack.kafka, "enable.idempotence": True, "linger.ms": 1, "compression.type": codec})
        for number, record in enumerate(sent):
            producer.produce(topic, record.value, record.key, number % 3, timestamp=record.timestamp)
            if number % 500 == 0:
                producer.flush(30)
        producer.flush(30)

    writer = threading.Thread(target=write)
    writer.start()
    received = next_records(consumer, len(sent), within=60)
    writer.join()
    for partition in range(3):
        assert [record for place, record in received if place == partition] == sent[partition::3]
    assert next_records(consumer, 1, within=0.5) == [], "a record came twice"
    consumer.close()
