"""A commit waits for the synchronous standby. Whoever is cut off meanwhile, or whose wait PostgreSQL cuts short, asks again, and is
answered only once the standby has it. The standby's receiver is stopped (SIGSTOP): that replay is paused would not do, since it
receives and confirms even then.
"""
import shutil
import signal
import threading
import time

import pytest
from confluent_kafka import Producer

import process
from clients import CONFLUENT
from stack import FolderStore, Stack, Standby, scratch_folder, wait_until

pytestmark = [pytest.mark.sql, pytest.mark.any_store, pytest.mark.anywhere]

CUTS = ["pg_terminate_backend", "pg_cancel_backend"]
AGENT = "sh_agent_heartbeat('one', md5('one')::uuid, 'h', 1, NULL, NULL, NULL, NULL, 600000, 0)"


@pytest.fixture
def pair():
    """A stack, and a standby that commits wait for."""
    folder = scratch_folder("standby")
    with Stack(FolderStore()) as stack:
        standby = Standby(stack.postgres, folder)
        standby.start()
        try:
            stack.postgres.run("ALTER SYSTEM SET synchronous_standby_names = '*';\nSELECT pg_reload_conf();")
            wait_until(lambda: stack.postgres.run("SHOW synchronous_standby_names;") == ["*"], what="the setting")
            yield stack, standby
        finally:
            standby.stop("immediate")
            shutil.rmtree(folder, ignore_errors=True)


class Silence:
    """While it lasts, the standby confirms nothing."""

    def __init__(self, standby):
        self.receiver = wait_until(lambda: standby.run("SELECT pid FROM pg_stat_wal_receiver;"), what="the standby's receiver")[0]

    def __enter__(self):
        process.send(int(self.receiver), signal.SIGSTOP)
        return self

    def __exit__(self, *_error):
        process.send(int(self.receiver), signal.SIGCONT)


class Call(threading.Thread):
    """A statement that may wait for long: what it gave, or the complaint."""

    def __init__(self, postgres, sql):
        super().__init__(daemon=True)
        self.postgres, self.sql, self.lines, self.error = postgres, sql, None, None
        self.start()

    def run(self):
        try:
            self.lines = self.postgres.run(self.sql)
        except RuntimeError as error:
            self.error = str(error)

    def result(self):
        self.join(60)
        assert not self.is_alive(), f"no answer: {self.sql}"
        return self.lines


def waiting(postgres, count, program="psql"):
    """The backends of that program that wait for the standby, once there are so many."""
    def backends():
        found = postgres.run("SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name LIKE :'program';", program=program)
        return found if len(found) == count else None
    return wait_until(backends, 20, f"{count} commits that wait for the standby")


def commit_sql(call_id, producer_id=7, sequence=0):
    """A batch of one record to partition 0 of topic 1; its bytes are nobody's concern here."""
    return (f"SET synchronous_commit = off;\nSELECT status, base_offset FROM sh_commit_inline(1, {call_id}, '\\x00', streamhouse.pack_commit_row(1, 0, 1, byte_length => 1, "
            f"base_timestamp => 1, max_timestamp => 1, producer_id => {producer_id}, producer_epoch => 0, first_sequence => {sequence}));")


def segments(postgres):
    return postgres.value("SELECT count(*) FROM streamhouse.segment")


@pytest.mark.parametrize("cut", CUTS)
def test_a_commit_whose_wait_was_cut_short_is_answered_again_once_the_standby_has_it(pair, cut):
    stack, standby = pair
    postgres = stack.postgres
    postgres.run(f"SELECT FROM sh_create_topic('orders', 1);\nSELECT FROM {AGENT};")
    call = int(postgres.run("SELECT sh_reserve_inline();")[0])
    with Silence(standby):
        first = Call(postgres, commit_sql(call))
        backend = waiting(postgres, 1)[0]
        assert segments(postgres) == 0, "it can be read before the standby has it"
        postgres.run(f"SET synchronous_commit = local;\nSELECT {cut}({backend});")
        first.result()
        assert (first.error is None) == (cut == "pg_cancel_backend"), "PostgreSQL calls a commit whose wait was cancelled a success"
        assert segments(postgres) == 1, "the primary has it for itself"
        again = Call(postgres, commit_sql(call))
        sent_twice = Call(postgres, commit_sql(call + 1))
        waiting(postgres, 1)  # the other one waits for that one's lock, or asks again
        time.sleep(1.5)
        assert again.is_alive() or again.lines == ["locked|-1"]
        assert sent_twice.is_alive() or sent_twice.lines == ["locked|-1"]
        assert segments(standby) == 0
    settled = [sorted(Call(postgres, commit_sql(number)).result()) for number in (call, call + 1)]
    assert settled == [["committed|0"], ["duplicate|0"]]
    assert {line for asked in (again, sent_twice) for line in asked.result()} <= {"committed|0", "duplicate|0", "locked|-1"}
    standby.catch_up(postgres)
    assert segments(standby) == 1


def test_a_duplicate_is_answered_only_once_the_standby_has_the_first(pair):
    stack, standby = pair
    postgres = stack.postgres
    postgres.run(f"SELECT FROM sh_create_topic('orders', 1);\nSELECT FROM {AGENT};")
    call = int(postgres.run("SELECT sh_reserve_inline();")[0])
    with Silence(standby):
        first = Call(postgres, commit_sql(call))
        postgres.run(f"SET synchronous_commit = local;\nSELECT pg_terminate_backend({waiting(postgres, 1)[0]});")
        first.result()
        duplicate = Call(postgres, commit_sql(call + 1))
        waiting(postgres, 1)
        time.sleep(1.5)
        assert duplicate.is_alive(), "it was told of a record that no standby has"
    assert duplicate.result() == ["duplicate|0"]


class OneRecord:
    """A producer of one record, and what it was told."""

    def __init__(self, kafka, topic):
        self.told = []
        self.producer = Producer({"bootstrap.servers": kafka, "enable.idempotence": True, "message.timeout.ms": 120_000, "retry.backoff.ms": 100,
                                  "socket.timeout.ms": 10_000, "request.timeout.ms": 5_000, "reconnect.backoff.max.ms": 500})
        self.producer.produce(topic, b"precious", partition=0, on_delivery=lambda error, message: self.told.append(error or message.offset()))

    def settle(self, seconds):
        self.producer.flush(seconds)
        return self.told


def hang_up(postgres):
    """PostgreSQL ends what waits."""
    backend = waiting(postgres, 1, "streamhouse-agent commit")[0]
    postgres.run(f"SET synchronous_commit = local;\nSELECT pg_terminate_backend({backend});")


def run_out_of_time(postgres):
    """The agent's own time runs out; what waits in PostgreSQL does not learn of it, and keeps its lock."""
    waiting(postgres, 1, "streamhouse-agent commit")
    time.sleep(3)


@pytest.mark.parametrize("cut", [hang_up, run_out_of_time])
def test_an_agent_that_was_cut_off_asks_again_and_acknowledges_once_the_standby_has_it(pair, cut):
    stack, standby = pair
    postgres = stack.postgres
    agent = stack.start_agent(database_timeout_ms="2s", lease_ttl_ms="5s")
    stack.create_topic("orders", 1)
    with Silence(standby):
        record = OneRecord(stack.kafka, "orders")
        cut(postgres)
        wait_until(lambda: "a commit has to be asked for again" in agent.log(), 20, "the agent asking again")
        assert record.settle(3) == [], "it was acknowledged, and the standby has not got it"
        assert segments(standby) == 0
    wait_until(lambda: record.settle(0.1), 60, "the acknowledgement")
    assert record.settle(1) == [0]
    standby.catch_up(postgres)
    assert [value.value for _, value in CONFLUENT.receive(stack.kafka, "orders", 0)] == [b"precious"]
    assert segments(standby) == 1
