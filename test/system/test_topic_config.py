"""Topic configs are obeyed or refused, whichever door a record comes through: Kafka's or SQL's."""
import struct
import time

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

import wire
from clients import CONFLUENT
from fetch_wire import Session
from records import CODECS, plain
from stack import wait_until

TYPES = ["uncompressed", "gzip", "snappy", "lz4", "zstd"]


def batches(stack, topic):
    """Headers of the stored batches: (codec, append time?, producer id, epoch, sequence, records, base timestamp, max timestamp)."""
    with wire.Wire(stack.kafka) as connection:
        error, _, _, data = connection.fetch(topic, 0, 0, wait_ms=2000)
    assert error == wire.NONE
    found = []
    while data:
        size = 12 + struct.unpack_from(">i", data, 8)[0]
        attributes, _, base, greatest, producer, epoch, sequence, count = struct.unpack_from(">hiqqqhii", data, 21)
        found.append((attributes & 7, bool(attributes & 8), producer, epoch, sequence, count, base, greatest))
        data = data[size:]
    return found


@pytest.mark.parametrize("wanted", TYPES)
def test_batches_get_their_topics_codec(stack, topic_name, wanted):
    topic = stack.create_topic(topic_name, compression_type=wanted)
    sent = []
    for number, codec in enumerate(CODECS):
        records = plain(200, seed=number)
        CONFLUENT.send(stack.kafka, topic, 0, records, codec)
        sent += records
    stack.postgres.run("SELECT sh_produce(:'topic', repeat('by sql ', 100), partition => 0);", topic=topic)
    assert {header[0] for header in batches(stack, topic)} == {TYPES.index(wanted)}
    received = [record for _, record in CONFLUENT.receive(stack.kafka, topic, 0)]
    assert received[:-1] == sent and received[-1].value == b"by sql " * 100


def test_a_producers_own_codec_stays_by_default(stack, topic):
    for codec in CODECS:
        CONFLUENT.send(stack.kafka, topic, 0, plain(50), codec)
    assert {header[0] for header in batches(stack, topic)} == set(range(5))


def test_what_is_compressed_anew_keeps_its_producer_and_order(stack, topic_name):
    topic = stack.create_topic(topic_name, compression_type="zstd", compression_zstd_level=19)
    with wire.Wire(stack.kafka) as connection:
        producer, epoch = connection.init_producer()
        sizes = [10, 200_000, 10, 90_000, 10]  # those that take long between those that do not
        for sequence, size in enumerate(sizes):
            connection.send_produce(topic, 0, wire.batch([b"x" * size], producer_id=producer, producer_epoch=epoch, sequence=sequence))
        assert [connection.receive_produced() for _ in sizes] == [(wire.NONE, offset) for offset in range(len(sizes))]
        assert connection.produce(topic, 0, wire.batch([b"x" * sizes[-1]], producer_id=producer, producer_epoch=epoch, sequence=4)) == (wire.NONE, 4)
    assert [(header[0], *header[2:5]) for header in batches(stack, topic)] == [(4, producer, epoch, sequence) for sequence in range(5)]


def test_a_batch_that_its_topics_codec_makes_too_large_is_refused(stack, topic_name):
    topic = stack.create_topic(topic_name, compression_type="uncompressed", max_message_bytes=50_000)
    producer = Producer({"bootstrap.servers": stack.kafka, "compression.type": "zstd", "message.timeout.ms": 10_000})
    outcome = []
    producer.produce(topic, b"x" * 100_000, partition=0, on_delivery=lambda error, _: outcome.append(error))
    producer.flush(20)
    assert outcome[0].code() == KafkaError.MSG_SIZE_TOO_LARGE


@pytest.mark.parametrize("wanted", ["producer", "gzip"])
def test_append_time_is_ours_through_both_doors(stack, topic_name, wanted):
    topic = stack.create_topic(topic_name, message_timestamp_type="LogAppendTime", compression_type=wanted)
    before = int(time.time() * 1000)
    with wire.Wire(stack.kafka) as connection:
        assert connection.produce(topic, 0, wire.batch([b"long ago"] * 3))[0] == wire.NONE
    stack.postgres.run("SELECT sh_produce(:'topic', 'long ago', ts => '2001-01-01', partition => 0);", topic=topic)
    after = int(time.time() * 1000)
    headers = batches(stack, topic)
    assert all(header[1] and before - 5 <= header[7] <= after + 5 for header in headers)
    assert all(before - 5 <= record.timestamp <= after + 5 for _, record in CONFLUENT.receive(stack.kafka, topic, 0))


def refusal(stack, topic, **fields):
    with wire.Wire(stack.kafka) as connection:
        return connection.produce(topic, 0, wire.batch([b"x"], **fields))[0]


def test_times_too_far_from_now_are_refused_through_both_doors(stack, topic_name):
    topic = stack.create_topic(topic_name, message_timestamp_before_max_ms=60_000, message_timestamp_after_max_ms=60_000)
    now = int(time.time() * 1000)
    assert refusal(stack, topic, timestamp=now - 50_000) == refusal(stack, topic, timestamp=now + 50_000) == wire.NONE
    assert refusal(stack, topic, timestamp=now - 70_000) == refusal(stack, topic, timestamp=now + 90_000) == 32
    for shift in "-70 s", "90 s":
        with pytest.raises(RuntimeError, match="timestamp|time"):
            stack.postgres.run("SELECT sh_produce(:'topic', 'x', ts => now() + :'shift'::interval);", topic=topic, shift=shift)


def test_records_of_a_compacted_topic_need_keys_through_both_doors(stack, topic_name):
    topic = stack.create_topic(topic_name, cleanup_policy="compact")
    assert refusal(stack, topic) == wire.INVALID_RECORD
    with pytest.raises(RuntimeError, match="key"):
        stack.postgres.run("SELECT sh_produce(:'topic', 'x');", topic=topic)


def create(stack, name, **config):
    """None, or the error code."""
    config = {key.replace("_", "."): str(value) for key, value in config.items()}
    admin = AdminClient({"bootstrap.servers": stack.kafka})
    [done] = admin.create_topics([NewTopic(name, 1, 1, config=config)]).values()
    try:
        return done.result(20)
    except KafkaException as refused:
        return refused.args[0].code()


def test_what_is_true_here_anyway_may_be_asked_for(stack, topic_name):
    assert create(stack, topic_name, min_insync_replicas=2, unclean_leader_election_enable="true", flush_messages=1,
                  remote_storage_enable="true", segment_bytes=10_485_760, cleanup_policy="compact,delete", min_compaction_lag_ms=1000,
                  delete_retention_ms=1000) is None


@pytest.mark.parametrize("config", [{"max_compaction_lag_ms": 1000}])
def test_what_cannot_be_promised_is_refused(stack, topic_name, config):
    assert create(stack, topic_name, **config) == KafkaError.INVALID_CONFIG
    with pytest.raises(RuntimeError, match="compaction"):
        stack.postgres.run("SELECT sh_create_topic(:'topic', 1, '{\"max.compaction.lag.ms\": 1000}');", topic=topic_name)


def test_old_records_go_and_readers_are_told(own_stack, topic_name):
    agent = own_stack.start_agent(retention_interval_ms=100)
    topic = own_stack.create_topic(topic_name)
    now = int(time.time() * 1000)
    with wire.Wire(agent.kafka) as connection:
        session = Session(connection, 12)
        session.fetch({topic: {0: 0}})
        for age_days in 9, 8, 1:
            assert connection.produce(topic, 0, wire.batch([b"x"], timestamp=now - age_days * 86_400_000))[0] == wire.NONE
        session.fetch({topic: {0: 3}})
        told = wait_until(lambda: [part for part in session.fetch({}, wait_ms=200).partitions.values() if part.log_start_offset > 0],
                          what="the log's new beginning")
        wait_until(lambda: connection.fetch(topic, 0, 2)[2] == 2, what="the second record's end")
        assert told[0].error == wire.NONE
        assert connection.fetch(topic, 0, 1)[0] == wire.OFFSET_OUT_OF_RANGE
        assert connection.list_offset(topic, 0, -2)[2] == 2
