"""What SQL producers write, read by a Kafka client's own decoder; and what is left of many of them at once, and of a crash."""
import subprocess
import time

import pytest
from kafka.record.memory_records import MemoryRecords

from records import CODECS
from stack import FolderStore, Stack

WRITERS = 6

# Four steps of a random kind, some of them undone, each noted in a table by the same transaction.
MIXED_PRODUCER = """
CREATE TABLE survivor (value text PRIMARY KEY, partition int NOT NULL, "offset" int8);
CREATE SEQUENCE produced;
CREATE FUNCTION produce_one(kind int, p int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v CONSTANT text := nextval('produced');
BEGIN
    CASE kind
    WHEN 0 THEN INSERT INTO survivor SELECT v, partition, "offset" FROM sh_produce('mixed', v, partition => p);
    WHEN 1 THEN INSERT INTO survivor VALUES (v, sh_enqueue('mixed', v, partition => p));
    ELSE INSERT INTO survivor SELECT v || '/' || n, partition, first_offset + n
         FROM sh_produce_batch('mixed', ARRAY[v || '/0', v || '/1'], partition => p), generate_series(0, 1) AS n;
    END CASE;
    IF random() < 0.3 THEN RAISE EXCEPTION 'undo this step'; END IF;
END $$;
CREATE FUNCTION produce_four() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    FOR step IN 1 .. 4 LOOP
        BEGIN
            PERFORM produce_one(floor(random() * 3)::int, floor(random() * 2)::int);
        EXCEPTION WHEN raise_exception OR deadlock_detected THEN NULL;
        END;
    END LOOP;
END $$;
"""


@pytest.fixture(scope="module")
def brain():
    """PostgreSQL with the extension, and no agent: SQL does without."""
    with Stack(FolderStore(), deadlock_timeout="5ms", **{"streamhouse.outbox_memory": "64kB"}) as alone:
        yield alone


def log(brain, topic, partition=0):
    """A partition's records, of batches that a Kafka client found whole, under the offsets they are stored with."""
    segments = brain.postgres.rows(
        "SELECT base_offset, end_offset, encode(r.bytes, 'hex') AS bytes FROM streamhouse.segment AS s JOIN streamhouse.topic USING (topic_id),"
        " sh_read_inline(ARRAY[object_id], ARRAY[slot], ARRAY[byte_start], ARRAY[byte_length]) AS r"
        " WHERE name = :'topic' AND partition = :'partition'::int ORDER BY end_offset", topic=topic, partition=partition)
    found, next_offset = [], 0
    for segment in segments:
        batches = MemoryRecords(bytes.fromhex(segment["bytes"]))
        assert segment["base_offset"] == next_offset
        while batches.has_next():
            batch = batches.next_batch()
            assert batch.validate_crc()
            for record in batch:
                assert record.offset == next_offset
                next_offset += 1
                found.append(record)
        assert segment["end_offset"] == next_offset
    return found


@pytest.mark.parametrize("codec", CODECS)
def test_batches_of_every_codec_are_a_kafka_clients(brain, codec):
    topic = f"codec-{codec}"
    brain.create_topic(topic, compression_type="uncompressed" if codec == "none" else codec)
    brain.postgres.run(
        "SELECT count(sh_enqueue(:'topic', 'value ' || n, CASE WHEN n % 3 > 0 THEN 'key ' || n END,"
        " headers => CASE WHEN n % 2 = 0 THEN jsonb_build_object('n', n::text, 'none', NULL) END, ts => to_timestamp(1700000000 + n)))"
        " FROM generate_series(0, 29999) AS n;", topic=topic)
    records = log(brain, topic)
    assert len(records) == 30000
    for n, record in enumerate(records):
        assert record.value == b"value %d" % n
        assert record.key == (b"key %d" % n if n % 3 else None)
        assert record.headers == ([("n", b"%d" % n), ("none", None)] if n % 2 == 0 else [])
        assert record.timestamp == (1700000000 + n) * 1000


def check_survivors(brain):
    produced = {record.value.decode(): (partition, record.offset) for partition in range(2) for record in log(brain, "mixed", partition)}
    noted = {row["value"]: row for row in brain.postgres.rows("TABLE survivor")}
    assert produced.keys() == noted.keys()
    for value, row in noted.items():
        partition, offset = produced[value]
        assert partition == row["partition"]
        assert row["offset"] in (None, offset)
    return len(noted)


def start_writers(brain, transactions):
    """Sessions that produce in transactions, every fifth of them rolled back."""
    writers = []
    script = ("BEGIN; SELECT produce_four(); COMMIT;\n" * 4 + "BEGIN; SELECT produce_four(); ROLLBACK;\n") * (transactions // 5)
    (brain.folder / "writer.sql").write_text(script)
    for _ in range(WRITERS):
        command = ["psql", "-XAtq", "-d", brain.postgres.conninfo("streamhouse"), "-f", str(brain.folder / "writer.sql")]
        writers.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True))
    return writers


def test_what_many_producers_commit_is_in_the_log_and_nothing_else(brain):
    brain.create_topic("mixed", partitions=2)
    brain.postgres.run(MIXED_PRODUCER)
    for writer in start_writers(brain, 150):
        _, complaints = writer.communicate(timeout=100)
        # A COMMIT that has to lock a partition for sh_enqueue() may meet one that holds it and waits for another.
        assert all("deadlock detected" in line for line in complaints.splitlines() if "ERROR" in line)
    assert check_survivors(brain) > 500

    # The same with a crash in the middle: what was under way leaves nothing, and the log goes on without a gap.
    writers = start_writers(brain, 100_000)
    time.sleep(2)
    brain.postgres.kill()
    for writer in writers:
        writer.communicate(timeout=100)
        assert writer.returncode != 0
    brain.postgres.start()
    survived = check_survivors(brain)
    brain.postgres.run("SELECT produce_four() FROM generate_series(1, 10);")
    assert check_survivors(brain) > survived
