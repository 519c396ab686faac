"""Records that PostgreSQL holds itself: whatever way they took and wherever they are by now, clients see no difference."""
import random
import struct
import time

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

import wire
from clients import CLIENTS, CONFLUENT, KCAT
from load import Load
from records import oddities, plain
from sql_session import Session
from stack import FolderStore, Stack, wait_until
from test_crash import kill_agent, kill_agent_and_postgres, kill_postgres
from test_round_trip import assert_same, without_headers
from wire import Wire

pytestmark = [pytest.mark.sql, pytest.mark.timeout(300)]
only_folder = pytest.mark.parametrize("own_stack", ["folder"], indirect=True)
PATHS = ["auto", "inline", "object"]
INLINE = pytest.param("inline", marks=pytest.mark.any_store)  # nothing comes near the store
PATH = "streamhouse.write.path"
# Nothing is kept in memory: every fetch asks for its records where they are.
FORGETFUL = {"tail_bytes_max": "0", "cache_bytes_max": "0"}


def places(stack, topic):
    """How many segments of the topic are inline, and how many are in objects."""
    rows = stack.postgres.rows("""SELECT count(*) FILTER (WHERE slot > 0) AS inline, count(*) FILTER (WHERE slot = 0) AS object
                                  FROM streamhouse.segment JOIN streamhouse.topic USING (topic_id) WHERE name = :'topic'""",
                               topic=topic)
    return rows[0]["inline"], rows[0]["object"]


def set_path(stack, topic, path):
    stack.postgres.run("SELECT sh_alter_topic(:'topic', jsonb_build_object('streamhouse.write.path', :'path'));", topic=topic,
                       path=path)


def send_one_by_one(kafka, topic, records):
    """Each is acknowledged before the next is sent: as many commits as records."""
    producer = Producer({"bootstrap.servers": kafka, "linger.ms": 0})
    failures = []
    for record in records:
        producer.produce(topic, record.value, record.key, 0, timestamp=record.timestamp,
                         on_delivery=lambda error, _: failures.append(error) if error else None)
        assert producer.flush(30) == 0 and not failures, failures


@pytest.mark.parametrize("path", ["auto", INLINE, "object"])
def test_records_come_back_from_the_tail_and_from_where_they_are_kept(own_stack, topic_name, path):
    agent = own_stack.start_agent()
    topic = own_stack.create_topic(topic_name, partitions=3, **{PATH: path})
    sent = [oddities(), plain(500, seed=1), plain(200, 2000, seed=2)]
    for partition, records in enumerate(sent):
        CONFLUENT.send(own_stack.kafka, topic, partition, records, "lz4")
    inline, in_objects = places(own_stack, topic)
    assert (inline > 0, in_objects > 0) == ((False, True) if path == "object" else (True, False))
    for restart in (False, True):
        if restart:
            assert agent.stop() == 0
            agent.start()
        for partition, records in enumerate(sent):
            for client in CLIENTS:
                look = without_headers if client is KCAT else lambda record: record
                assert_same(records, client.receive(own_stack.kafka, topic, partition), look)


def test_what_is_large_goes_to_an_object_and_is_counted_as_such(own_stack, topic_name):
    agent = own_stack.start_agent()
    topic = own_stack.create_topic(topic_name)
    small, large = plain(1), plain(3, 900_000, seed=1)
    CONFLUENT.send(own_stack.kafka, topic, 0, small)
    assert places(own_stack, topic) == (1, 0)
    CONFLUENT.send(own_stack.kafka, topic, 0, large)
    inline, in_objects = places(own_stack, topic)
    assert inline == 1 and in_objects > 0
    assert_same(small + large, CONFLUENT.receive(own_stack.kafka, topic, 0))
    metrics = agent.http("/metrics")[1]
    assert 'streamhouse_log_flushes_total{path="inline"} 1\n' in metrics
    assert 'streamhouse_log_path_choices_total{path="inline",reason="small"} 1\n' in metrics
    assert agent.metric("streamhouse_log_flushes_total") > 1
    assert agent.metric("streamhouse_log_inline_flush_limit_bytes") == 256 * 1024


def test_the_path_changes_under_load_and_order_stays(own_stack, topic_name):
    own_stack.start_agent(inline_flush_bytes="4KiB")
    topic = own_stack.create_topic(topic_name, partitions=3)
    with Load(own_stack.kafka, topic, 3, records_per_s=4000) as load:
        for number in range(12):
            load.wait_for_more(200)
            set_path(own_stack, topic, PATHS[number % len(PATHS)])
        load.finish()
    load.check()
    inline, in_objects = places(own_stack, topic)
    assert inline > 0 and in_objects > 0


def test_a_reader_far_behind_does_not_ask_for_each_small_segment(own_stack, topic_name):
    agent = own_stack.start_agent()
    topic = own_stack.create_topic(topic_name, **{PATH: "inline"})
    sent = plain(400)
    send_one_by_one(own_stack.kafka, topic, sent)
    inline, in_objects = places(own_stack, topic)
    assert inline == len(sent) and in_objects == 0
    agent.stop()
    agent.start()
    assert_same(sent, CONFLUENT.receive(own_stack.kafka, topic, 0))
    assert agent.metric("streamhouse_inline_read_segments_total") >= len(sent)
    assert agent.metric("streamhouse_inline_reads_total") <= len(sent) / 20


def move_to_object(stack, topic):
    """What the mover does: the topic's inline bytes into objects, its pointers there, the rows gone."""
    database = stack.postgres
    agent_id = database.value("SELECT agent_id FROM streamhouse.agent LIMIT 1")
    rows = database.rows("""SELECT DISTINCT slot, object_id FROM streamhouse.segment JOIN streamhouse.topic USING (topic_id)
                            WHERE name = :'topic' AND slot > 0""", topic=topic)
    reads = " UNION ALL ".join(f"SELECT encode(bytes, 'hex') AS hex FROM streamhouse.inline_{row['slot']} WHERE object_id = {row['object_id']}"
                               for row in rows)
    moves = []
    for row, bytes_there, intent in zip(rows, database.rows(reads), database.rows(f"SELECT * FROM sh_reserve_objects({agent_id}, {len(rows)})")):
        slot, moved, stored = row["slot"], row["object_id"], bytes.fromhex(bytes_there["hex"])
        path = stack.store.folder / "objects" / intent["key"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stored)
        moves.append(f"""
            UPDATE streamhouse.object SET state = 'live', bytes = {len(stored)} WHERE object_id = {intent["object_id"]};
            UPDATE streamhouse.segment SET slot = 0, object_id = {intent["object_id"]} WHERE slot = {slot} AND object_id = {moved};
            DELETE FROM streamhouse.inline_{slot} WHERE object_id = {moved};""")
    database.run(f"BEGIN; {''.join(moves)} COMMIT;")
    return len(rows)


@only_folder
def test_readers_do_not_notice_that_records_are_moved(own_stack, topic_name):
    agent = own_stack.start_agent(**FORGETFUL)
    topic = own_stack.create_topic(topic_name, **{PATH: "inline"})
    sent = plain(40, 300)
    send_one_by_one(own_stack.kafka, topic, sent)
    assert_same(sent, CONFLUENT.receive(own_stack.kafka, topic, 0))  # the agent knows where they are
    assert move_to_object(own_stack, topic) == len(sent)
    assert places(own_stack, topic) == (0, len(sent))
    assert_same(sent, CONFLUENT.receive(own_stack.kafka, topic, 0))
    assert agent.metric("streamhouse_fetch_moved_away_total") >= 1
    assert_same(sent[7:], CONFLUENT.receive(own_stack.kafka, topic, 0, start=7))


def read_on(connection, topic, offset):
    """The batches of a small fetch, as [(base offset, bytes), …]."""
    error, _, _, data = connection.fetch(topic, 0, offset, max_bytes=1000)
    assert error == wire.NONE
    found = []
    while data:
        base, length = struct.unpack_from(">qi", data)
        found.append((base, data[:12 + length]))
        data = data[12 + length:]
    return found


@only_folder
def test_a_reader_under_way_survives_moves(own_stack, topic_name):
    """A few records a fetch, by a client that fetches nothing ahead, so that pointers grow old between its fetches."""
    agent = own_stack.start_agent(**FORGETFUL, read_ahead_bytes="1000")
    topic = own_stack.create_topic(topic_name, **{PATH: "inline"})
    sent = plain(60, 300)
    send_one_by_one(own_stack.kafka, topic, sent)
    with Wire(own_stack.kafka) as connection:
        found = read_on(connection, topic, 0)
        assert 0 < len(found) < len(sent) / 2
        assert agent.metric("streamhouse_fetch_moved_away_total") == 0
        assert move_to_object(own_stack, topic) == len(sent)
        while len(found) < len(sent):
            more = read_on(connection, topic, len(found))
            assert more, "nothing came"
            found += more
    assert [base for base, _ in found] == list(range(len(sent)))
    assert all(record.value in batch for record, (_, batch) in zip(sent, found))
    assert agent.metric("streamhouse_fetch_moved_away_total") >= 1
    assert places(own_stack, topic) == (0, len(sent))


def test_offsets_are_found_by_time_inside_inline_segments(own_stack, topic_name):
    own_stack.start_agent()
    topic = own_stack.create_topic(topic_name, **{PATH: "inline"})
    sent = plain(100)
    CONFLUENT.send(own_stack.kafka, topic, 0, sent, "zstd")
    consumer = Consumer({"bootstrap.servers": own_stack.kafka, "group.id": "nobody"})
    for index in (0, 1, 50, 99):
        found = consumer.offsets_for_times([TopicPartition(topic, 0, sent[index].timestamp)], 30)
        assert found[0].offset == index
    consumer.close()


def fill_ring(stack, topic):
    """The ring may hold 1 MB; it is looked at once per MB that is written."""
    stack.postgres.run("ALTER SYSTEM SET streamhouse.inline_bytes_max = '1MB'; SELECT pg_reload_conf();")
    set_path(stack, topic, "inline")
    producer = Producer({"bootstrap.servers": stack.kafka, "message.timeout.ms": 3000, "linger.ms": 0})
    failures = []
    for number in range(60):
        producer.produce(topic, random.Random(number).randbytes(100_000),
                         on_delivery=lambda error, _: failures.append(error) if error else None)
        producer.poll(0.01)
    producer.flush(20)
    return failures


def test_a_full_ring_stops_what_must_be_inline_and_nothing_else(own_stack, topic_name):
    own_stack.start_agent()
    topic = own_stack.create_topic(topic_name)
    free = own_stack.create_topic(topic_name + "-free")
    assert fill_ring(own_stack, topic), "the ring has a limit and is never full"
    sent = plain(200)
    CONFLUENT.send(own_stack.kafka, free, 0, sent)
    assert_same(sent, CONFLUENT.receive(own_stack.kafka, free, 0))
    own_stack.postgres.run("ALTER SYSTEM RESET streamhouse.inline_bytes_max; SELECT pg_reload_conf();")
    before = places(own_stack, topic)[0]
    CONFLUENT.send(own_stack.kafka, topic, 0, sent)
    assert places(own_stack, topic)[0] > before


@pytest.mark.parametrize("path", [INLINE, "auto"])
def test_crashes_lose_nothing_and_double_nothing(own_stack, topic_name, path):
    chance = random.Random(topic_name)
    own_stack.start_agent(lease_ttl_ms="3s", heartbeat_ms="500ms")
    topic = own_stack.create_topic(topic_name, partitions=4, **{PATH: path})
    victims = [kill_agent, kill_postgres, kill_agent_and_postgres]
    with Load(own_stack.kafka, topic, 4, records_per_s=1000) as load:
        for number in range(6):
            load.wait_for_more(chance.randrange(1, 300))
            time.sleep(chance.random() * 0.05)
            began = time.monotonic()
            victims[number % len(victims)](own_stack, chance)
            load.wait_for_more(1, timeout=90)
            print(f"# round {number + 1}: {time.monotonic() - began:.1f} s, {load.acknowledged_count()} acknowledged")
        load.finish()
    load.check()
    assert places(own_stack, topic)[0] > 0


def test_the_choice_can_be_switched_off(own_stack, topic_name):
    agent = own_stack.start_agent(inline_flush_bytes="0")
    topic = own_stack.create_topic(topic_name)
    CONFLUENT.send(own_stack.kafka, topic, 0, plain(10))
    assert places(own_stack, topic)[0] == 0
    wait_until(lambda: agent.metric("streamhouse_log_flushes_total"), what="a flush")
    agent.stop()
    agent.settings["inline_flush_bytes"] = "64KiB"
    agent.start()
    CONFLUENT.send(own_stack.kafka, topic, 0, plain(10))
    assert places(own_stack, topic)[0] > 0


# 100 records of 1 KiB that no codec makes smaller.
RANDOM_VALUES = """(SELECT array_agg((SELECT decode(string_agg(md5(random()::text || i || j), ''), 'hex') FROM generate_series(1, 60) j))
                    FROM generate_series(1, 100) i)"""


def test_what_another_session_writes_to_a_page_that_one_has_reserved_stays_there():
    """A session that writes much reserves pages of the ring ahead. Another one puts a record on the last of them, which leaves
    shared buffers before the first one comes to it."""
    with Stack(FolderStore(), shared_buffers="4MB") as stack:
        run = stack.postgres.run
        run("""CREATE EXTENSION pg_prewarm; SELECT sh_create_topic('much', 1); SELECT sh_create_topic('little', 1);
               CREATE TABLE elsewhere AS SELECT repeat('x', 1000) AS filler FROM generate_series(1, 20000);""")
        session = Session(stack.postgres)
        write = f"SELECT count(*) FROM sh_produce_batch('much', {RANDOM_VALUES});"
        for _ in range(12):
            assert session.run(write).sqlstate is None
        for number in range(4):
            run(f"SELECT sh_produce('little', 'kept {number}');")
        run("CHECKPOINT; SELECT pg_prewarm('elsewhere'); SELECT pg_prewarm('elsewhere');")
        for _ in range(3):
            assert session.run(write).sqlstate is None
        assert run("SELECT convert_from(value, 'UTF8') FROM sh_fetch('little', 0, 0)") == [f"kept {number}" for number in range(4)]
        assert run("SELECT count(*) FROM sh_fetch('much', 0, 0, 100000, 100000000)") == ["1500"]
        session.close()
