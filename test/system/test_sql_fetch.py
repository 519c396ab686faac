"""SQL as consumer: what Kafka clients sent, psql reads, from a folder and from S3; waiting holds back no vacuum; a store that
fails or hangs is an error in time."""
import base64
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from clients import CONFLUENT
from conftest import STORES
from records import CODECS, oddities, plain, sizes
from stack import HERE, S3_KEYS, FolderStore, Stack, free_port, scratch_folder, wait_until

pytestmark = pytest.mark.sql

LOOK = """SELECT "offset", encode(key, 'base64') AS key, encode(value, 'base64') AS value, headers,
                 (extract(epoch FROM "timestamp") * 1000)::int8 AS timestamp"""


CREDENTIALS = f"""[default]
aws_access_key_id = {S3_KEYS["AWS_ACCESS_KEY_ID"]}
aws_secret_access_key = {S3_KEYS["AWS_SECRET_ACCESS_KEY"]}
[wrong]
aws_access_key_id = {S3_KEYS["AWS_ACCESS_KEY_ID"]}
aws_secret_access_key = not-the-secret-key
"""


def share(store):
    """Lets PostgreSQL's user, which is not the agents' when root runs the tests, read what they write to a folder."""
    if store.kind == "folder" and os.geteuid() == 0:
        shutil.chown(store.folder / "objects", group="postgres")
        (store.folder / "objects").chmod(0o2750)
    return store


def settle(stack):
    """Tells the server where the objects are."""
    settings = {"store": stack.store.url}
    for flag in stack.store.flags:
        name, value = flag.lstrip("-").split("=", 1)
        settings[name.replace("-", "_")] = value
    for name, value in settings.items():
        stack.postgres.run(f"LOAD 'streamhouse'; ALTER SYSTEM SET streamhouse.{name} = '{value}';")
    stack.postgres.run("SELECT pg_reload_conf();")
    wait_until(lambda: stack.postgres.run("LOAD 'streamhouse'; SHOW streamhouse.store;") == [stack.store.url], what="the server reading its settings")


@pytest.fixture(scope="module", params=STORES)
def sql_stack(request, new_store):
    """One agent that writes to a store, and a PostgreSQL that may read it: its environment names a file with credentials."""
    if request.param == "external":
        pytest.skip("a plain Kafka broker has no SQL")
    store = share(new_store(request.param))
    before = dict(os.environ)
    profiles = scratch_folder("aws")
    if store.kind == "s3":
        (profiles / "credentials").write_text(CREDENTIALS)
        os.environ.update({"AWS_SHARED_CREDENTIALS_FILE": str(profiles / "credentials"), "AWS_REGION": "us-east-1"})
    try:
        stack = Stack(store)
        stack.postgres.start()
    finally:
        os.environ.clear()
        os.environ.update(before)
    try:
        stack.start_agent()
        settle(stack)
        yield stack
    finally:
        stack.__exit__()
        shutil.rmtree(profiles)


@pytest.fixture
def sql_topic(sql_stack, topic_name):
    """A topic of one partition whose records go to objects."""
    return sql_stack.create_topic(topic_name, partitions=3, streamhouse_write_path="object")


def psql(stack, sql, user="streamhouse"):
    """(lines, messages, seconds) of a session."""
    began = time.monotonic()
    done = subprocess.run(["psql", "-XAtq", "-d", stack.postgres.conninfo(user)], input=sql, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=120)
    return done.stdout.splitlines(), done.stderr, time.monotonic() - began


def as_json(value):
    """A header's value as the manual describes it."""
    if value is None:
        return None
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = None
    if text is None or "\0" in text:
        return {"base64": base64.b64encode(value).decode()}
    return text


def headers_as_json(headers):
    found = {}
    for name, value in headers:
        found.setdefault(name, []).append(as_json(value))
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()} or None


def as_bytes(text):
    return None if text is None else base64.b64decode(text)


def assert_same(sent, rows):
    assert [row["offset"] for row in rows] == list(range(len(sent)))
    for record, row in zip(sent, rows):
        assert as_bytes(row["key"]) == record.key
        assert as_bytes(row["value"]) == record.value
        assert row["headers"] == headers_as_json(record.headers)
        assert row["timestamp"] == record.timestamp


@pytest.mark.parametrize("codec", CODECS)
def test_sql_reads_what_kafka_clients_sent(sql_stack, sql_topic, codec):
    batches = [oddities(), sizes(), plain(3000)]
    for partition, records in enumerate(batches):
        CONFLUENT.send(sql_stack.kafka, sql_topic, partition, records, codec)
    for partition, records in enumerate(batches):
        rows = sql_stack.postgres.rows(f"{LOOK} FROM sh_fetch(:'topic', {partition}, 0, 100000, 100000000)", topic=sql_topic)
        assert_same(records, rows)
    assert sql_stack.postgres.value("SELECT count(*) FROM sh_read(:'topic')", topic=sql_topic) == sum(map(len, batches))


def test_fetching_bit_by_bit_gives_every_record_once(sql_stack, sql_topic):
    records = plain(2000)
    CONFLUENT.send(sql_stack.kafka, sql_topic, 0, records[:700], "lz4")
    CONFLUENT.send(sql_stack.kafka, sql_topic, 0, records[700:], "zstd")
    found = sql_stack.postgres.run(f"""
        CREATE TEMP TABLE found (place int8, value bytea);
        DO $$
        DECLARE
            place int8 := 0;
            given int8 := 1;
        BEGIN
            WHILE given > 0 LOOP
                INSERT INTO found SELECT f."offset", f.value FROM sh_fetch('{sql_topic}', 0, place, 1 + (place % 37)::int, 3000) AS f;
                GET DIAGNOSTICS given = ROW_COUNT;
                place := (SELECT coalesce(max(f.place) + 1, 0) FROM found AS f);
            END LOOP;
        END $$;
        SELECT encode(value, 'hex') FROM found ORDER BY place;""")
    assert [bytes.fromhex(line) for line in found] == [record.value for record in records]


def test_what_is_read_again_comes_from_the_cache(sql_stack, sql_topic):
    CONFLUENT.send(sql_stack.kafka, sql_topic, 0, plain(20000, size=200))
    read = f"SELECT count(*) FROM sh_fetch('{sql_topic}', 0, 0, 100000, 100000000);"
    stats = "SELECT row_to_json(s) FROM sh_fetch_stats() AS s;"
    lines, messages, _ = psql(sql_stack, read + stats + read + stats)
    assert not messages
    count, first, again, second = map(json.loads, lines)
    assert count == again == 20000
    assert first["requests"] > 0 and first["bytes_read"] > 4_000_000 and first["bytes_held"] > 4_000_000
    assert second["requests"] == first["requests"] and second["hits"] > first["hits"]
    # A cache that is too small makes room, and gives the same.
    lines, _, _ = psql(sql_stack, "SET streamhouse.fetch_cache_bytes = '1MB';" + read + stats)
    small = json.loads(lines[1])
    assert lines[0] == "20000" and small["evictions"] > 0 and small["bytes_held"] <= 1024 * 1024


def test_a_long_read_says_how_far_it_is(sql_stack, sql_topic):
    CONFLUENT.send(sql_stack.kafka, sql_topic, 0, plain(20000))
    _, messages, _ = psql(sql_stack, f"SET streamhouse.progress_interval = 1; SELECT count(*) FROM sh_read('{sql_topic}');")
    assert re.search(r"NOTICE:  read [\d,]+ of about 20,000 records \(\d+ %\), [\d.]+ MB/s, about \d+ s left", messages), messages
    _, messages, _ = psql(sql_stack, f"SET streamhouse.progress_interval = 0; SELECT count(*) FROM sh_read('{sql_topic}');")
    assert not messages


def test_a_server_that_does_not_know_the_store_says_what_to_set(sql_stack, sql_topic):
    CONFLUENT.send(sql_stack.kafka, sql_topic, 0, plain(10))
    _, messages, _ = psql(sql_stack, f"SET streamhouse.store = ''; SELECT count(*) FROM sh_fetch('{sql_topic}', 0);")
    assert "does not know which that is" in messages and "ALTER SYSTEM SET streamhouse.store" in messages
    _, messages, _ = psql(sql_stack, f"SET streamhouse.store = 'file:///no/such/folder'; SELECT count(*) FROM sh_fetch('{sql_topic}', 0);")
    assert "/no/such/folder cannot be read by this server" in messages


class Waiter:
    """A psql that waits for a record."""

    def __init__(self, stack, sql):
        self.stack = stack
        self.process = subprocess.Popen(["psql", "-XAtq", "-d", stack.postgres.conninfo("streamhouse"), "-c",
                                         "SET application_name = 'waiter'", "-c", sql],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def activity(self):
        """What others see of it once it sleeps."""
        def sleeping():
            rows = self.stack.postgres.rows("""SELECT pid, backend_xmin::text AS xmin FROM pg_stat_activity
                                              WHERE application_name = 'waiter' AND state = 'active' AND wait_event = 'Extension'""")
            return rows and rows[0]
        return wait_until(sleeping, what="the waiter sleeping")

    def finish(self):
        lines, messages = self.process.communicate(timeout=60)
        return lines.splitlines(), messages


FETCH_WAITING = """SELECT extract(epoch FROM clock_timestamp()), count(*), (SELECT count(*) FROM pg_class WHERE false)
                   FROM sh_fetch('%s', 0, 0, wait => '30 s')"""
ONLY_FETCH = "SELECT extract(epoch FROM clock_timestamp()), f.\"offset\" FROM sh_fetch('%s', 0, 0, wait => '30 s') AS f"


def test_waiting_holds_back_no_vacuum_and_wakes_at_once(sql_stack, sql_topic):
    waiter = Waiter(sql_stack, ONLY_FETCH % sql_topic)
    assert waiter.activity()["xmin"] is None, "a waiting sh_fetch() holds a snapshot"
    sql_stack.postgres.run("CREATE TABLE IF NOT EXISTS unrelated (); DROP TABLE unrelated;")
    CONFLUENT.send(sql_stack.kafka, sql_topic, 1, plain(1))
    assert waiter.activity()["xmin"] is None, "a commit to another partition is not for it"
    CONFLUENT.send(sql_stack.kafka, sql_topic, 0, plain(1))
    acknowledged = time.time()
    lines, messages = waiter.finish()
    woken, offset = lines[0].split("|")
    assert offset == "0" and not messages
    assert float(woken) < acknowledged + 0.5


def test_waiting_keeps_the_snapshot_where_others_depend_on_it(sql_stack, sql_topic):
    for sql in [FETCH_WAITING % sql_topic,
                f"SELECT count(*) FROM pg_class AS c, LATERAL (SELECT 1) AS one, sh_fetch('{sql_topic}', 0, 0, wait => '30 s')",
                f"BEGIN; SELECT count(*) FROM sh_fetch('{sql_topic}', 0, 0, wait => '30 s'); COMMIT",
                f"DO $$ BEGIN PERFORM count(*) FROM sh_fetch('{sql_topic}', 0, 0, wait => '30 s'); END $$"]:
        waiter = Waiter(sql_stack, sql)
        seen = waiter.activity()
        sql_stack.postgres.run(f"SELECT pg_cancel_backend({seen['pid']});")
        _, messages = waiter.finish()
        assert "canceling statement due to user request" in messages
        assert seen["xmin"] is not None, sql


def test_a_transaction_gets_what_it_waited_for_and_sees_else_what_it_saw(sql_stack, sql_topic):
    segments = f"SELECT count(*) FROM streamhouse.segment AS s JOIN streamhouse.topic AS t USING (topic_id) WHERE t.name = '{sql_topic}';"
    waiter = Waiter(sql_stack, f"""BEGIN ISOLATION LEVEL REPEATABLE READ; {segments}
        SELECT f."offset" FROM sh_fetch('{sql_topic}', 0, 0, wait => '30 s') AS f; {segments} COMMIT; {segments}""")
    waiter.activity()
    CONFLUENT.send(sql_stack.kafka, sql_topic, 0, plain(1))
    lines, messages = waiter.finish()
    assert lines == ["0", "0", "0", "1"] and not messages


def test_after_waiting_a_statement_sees_what_is_there_now(sql_stack, sql_topic):
    waiter = Waiter(sql_stack, f"""SELECT f."offset", (SELECT count(*) FROM sh_read('{sql_topic}'))
        FROM sh_fetch('{sql_topic}', 0, 0, wait => '30 s') AS f""")
    assert waiter.activity()["xmin"] is None
    CONFLUENT.send(sql_stack.kafka, sql_topic, 0, plain(1))
    lines, messages = waiter.finish()
    assert lines == ["0|1"] and not messages


def test_a_waiter_can_be_cancelled_and_its_session_goes_on(sql_stack, sql_topic):
    lines, messages, seconds = psql(sql_stack, f"""
        SET statement_timeout = '200ms';
        SELECT count(*) FROM sh_fetch('{sql_topic}', 0, 0, wait => '30 s');
        RESET statement_timeout;
        SELECT count(*) FROM sh_fetch('{sql_topic}', 0, 0, wait => '20 ms');
        SELECT 'alive', count(*) > 0 FROM pg_class;""")
    assert "canceling statement due to statement timeout" in messages
    assert lines == ["0", "alive|t"] and seconds < 5


def test_without_preloading_a_waiter_polls(topic_name):
    with Stack(share(FolderStore()), preload=False) as stack:
        stack.start_agent()
        topic = stack.create_topic(topic_name, streamhouse_write_path="object")
        settle(stack)
        waiter = Waiter(stack, ONLY_FETCH % topic)
        assert waiter.activity()["xmin"] is None
        began = time.time()
        CONFLUENT.send(stack.kafka, topic, 0, plain(1))
        sent = time.time()
        lines, messages = waiter.finish()
        assert not messages and began < float(lines[0].split("|")[0]) < sent + 1


# ---- S3 alone ----

only_s3 = pytest.mark.parametrize("sql_stack", [store for store in STORES if store == "s3"], indirect=True)


@only_s3
def test_a_store_that_says_nothing_is_given_up_in_time(sql_stack, sql_topic):
    CONFLUENT.send(sql_stack.kafka, sql_topic, 0, plain(10))
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(16)
        endpoint = f"SET streamhouse.s3_endpoint = 'http://127.0.0.1:{deaf.getsockname()[1]}';"
        fetch = f"SELECT count(*) FROM sh_fetch('{sql_topic}', 0);"
        lines, messages, seconds = psql(sql_stack, endpoint + "SET statement_timeout = '300ms';" + fetch +
                                        "RESET statement_timeout; RESET streamhouse.s3_endpoint;" + fetch)
        assert "canceling statement due to statement timeout" in messages and seconds < 5
        assert lines == ["10"], "the session reads on, from a store that answers"
        _, messages, seconds = psql(sql_stack, endpoint + "SET streamhouse.fetch_timeout = '500ms';" + fetch)
        assert "no answer from 127.0.0.1" in messages and 0.4 < seconds < 5


@only_s3
def test_wrong_credentials_are_an_error_without_a_secret(sql_stack, sql_topic):
    CONFLUENT.send(sql_stack.kafka, sql_topic, 0, plain(10))
    fetch = f"SELECT count(*) FROM sh_fetch('{sql_topic}', 0);"
    for profile in ["wrong", "missing"]:
        lines, messages, _ = psql(sql_stack, f"SET streamhouse.s3_profile = '{profile}';" + fetch)
        assert not lines and "ERROR" in messages and "credentials" in messages
        assert S3_KEYS["AWS_SECRET_ACCESS_KEY"] not in messages and "not-the-secret-key" not in messages
    assert psql(sql_stack, "SET streamhouse.s3_profile = 'wrong';" + fetch + "RESET streamhouse.s3_profile;" + fetch)[0] == ["10"]


class Proxy:
    """fault_proxy.py in front of the S3 server."""

    def __init__(self, server):
        upstream = re.sub("^http://", "", server.endpoint)
        self.process = subprocess.Popen([sys.executable, str(HERE / "fault_proxy.py"), "--upstream", upstream, "--listen",
                                         str(free_port())], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        ports = json.loads(self.process.stdout.readline())
        self.endpoint, self.control = (f"http://127.0.0.1:{ports[name]}" for name in ("listen", "control"))

    def rules(self, *rules):
        request = urllib.request.Request(f"{self.control}/rules", json.dumps(rules).encode(), method="PUT")
        urllib.request.urlopen(request, timeout=10).close()

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.process.terminate()
        self.process.wait()


@only_s3
@pytest.mark.parametrize("rule", [
    {"fault": "status", "status": 503, "code": "SlowDown", "count": 2},
    {"fault": "status", "status": 500, "code": "InternalError", "count": 3},
    {"fault": "reset_response", "bytes": 1000, "count": 2},
    {"fault": "status", "status": 403, "code": "ExpiredToken", "count": 1},
], ids=["slow-down", "internal-error", "cut", "expired"])
def test_what_may_pass_is_tried_again(sql_stack, sql_topic, rule):
    records = plain(500)
    CONFLUENT.send(sql_stack.kafka, sql_topic, 0, records)
    with Proxy(sql_stack.store.server) as proxy:
        proxy.rules({"method": "GET", **rule})
        lines, messages, _ = psql(sql_stack, f"""SET streamhouse.s3_endpoint = '{proxy.endpoint}';
            SELECT count(*) FROM sh_fetch('{sql_topic}', 0, 0, 1000, 10000000);""")
        assert not messages and lines == ["500"]
