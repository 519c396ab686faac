"""DROP EXTENSION while it is in use: agents and sessions are told, nothing crashes, and a new extension starts from nothing."""
import threading
import time

import pytest
from confluent_kafka import Producer

import wire
from clients import CONFLUENT
from records import plain
from stack import FolderStore, Stack, wait_until

pytestmark = [pytest.mark.sql, pytest.mark.anywhere]

TTL_MS = 3000


@pytest.fixture(params=[True, False], ids=["preloaded", "not-preloaded"])
def stack(request):
    with Stack(FolderStore(), preload=request.param) as mine:
        yield mine


def drop(postgres):
    postgres.run("SET lock_timeout = '10s'; DROP EXTENSION streamhouse;")


def errors_logged(postgres):
    return postgres.log().count("ERROR:")


def produce(kafka, topic, value, timeout_ms):
    """The error that a producer gets within a time; None when the record is acknowledged."""
    outcome = []
    producer = Producer({"bootstrap.servers": kafka, "message.timeout.ms": timeout_ms, "linger.ms": 0})
    producer.produce(topic, value, partition=0, on_delivery=lambda error, _message: outcome.append(error))
    producer.flush(timeout_ms / 1000 + 5)
    return outcome[0]


def test_an_agent_neither_crashes_nor_hammers_nor_acknowledges(stack):
    agent = stack.start_agent("one", lease_ttl_ms=TTL_MS)
    stack.create_topic("orders", 1)
    CONFLUENT.send(stack.kafka, "orders", 0, plain(10))
    drop(stack.postgres)
    wait_until(lambda: agent.http("/ready")[0] == 503, 30, "the agent saying that it is not ready")
    assert "sh_agent_heartbeat" in agent.log(), "nothing says why"
    before = errors_logged(stack.postgres)
    assert produce(agent.kafka, "orders", b"lost", 5000) is not None, "a record was acknowledged that nobody keeps"
    assert errors_logged(stack.postgres) - before < 100, "the agent hammers PostgreSQL"
    assert agent.is_running()
    assert agent.stop() == 0


def test_an_agent_that_remembers_an_old_extension_ends_and_starts_afresh(stack):
    agent = stack.start_agent("one", lease_ttl_ms=TTL_MS)
    stack.create_topic("orders", 1)
    CONFLUENT.send(stack.kafka, "orders", 0, plain(50, seed=1))
    assert len(CONFLUENT.receive(stack.kafka, "orders", 0)) == 50  # the agent has seen and kept them
    drop(stack.postgres)
    # the topic has the number of the old one, its partition the old one's, and nothing else of it
    stack.postgres.run("CREATE EXTENSION streamhouse; SELECT sh_create_topic('orders');")
    assert stack.postgres.value("SELECT topic_id FROM streamhouse.topic") == 1
    assert agent.process.wait(20) == 1
    assert "Start the agent again" in agent.log()
    agent.start()
    wait_until(lambda: wire.is_led(agent.kafka, "orders", 1), what="a leader for the new topic")
    new = plain(20, seed=2)
    assert CONFLUENT.send(stack.kafka, "orders", 0, new) == list(range(20))
    assert [record for _, record in CONFLUENT.receive(stack.kafka, "orders", 0)] == new


def test_a_waiting_watcher_holds_up_nobody_and_survives(stack):
    heard = []

    def watch():
        try:
            heard.append(stack.postgres.run("CALL sh_watch(0, 0) \\gset\nCALL sh_watch(:cursor, 8000) \\gset\nSELECT 'over';"))
        except RuntimeError as error:
            heard.append(str(error))

    stack.postgres.run("SELECT sh_create_topic('orders');")
    watcher = threading.Thread(target=watch)
    watcher.start()
    time.sleep(1)
    dropped = time.monotonic()
    drop(stack.postgres)
    assert time.monotonic() - dropped < 5, "the waiting session held a lock"
    stack.postgres.run("CREATE EXTENSION streamhouse;")
    watcher.join(30)
    assert heard[0] == ["over"] or "streamhouse" in heard[0], heard
    assert stack.postgres.value("SELECT count(*) FROM pg_stat_activity WHERE backend_type ILIKE '%streamhouse%'") == 0
    assert "terminated by signal" not in stack.postgres.log()
