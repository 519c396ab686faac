"""Single requests that ask for more than any client would: they are answered, and hold up nobody else."""
import re
import struct
import threading
import time

import pytest

import wire
from stack import wait_until
from wire import Wire, array, string

INVALID_REQUEST, INVALID_REPLICATION_FACTOR, LEADER_NOT_AVAILABLE = 42, 38, 5


def new_topic(name, replication=-1, configs=()):
    settings = array([string(key) + string(value) for key, value in configs])
    return string(name) + struct.pack(">ih", 1, replication) + array([]) + settings


def create_topics(connection, topics, timeout_ms=10_000):
    """The error codes, in order."""
    reply = connection.ask(wire.CREATE_TOPICS, 2, array(topics) + struct.pack(">ib", timeout_ms, 0))
    reply.take("i")
    codes = []
    for _ in range(reply.take("i")):
        reply.string()
        codes.append(reply.take("h"))
        reply.string()
    return codes


def topic_error(reply):
    """The error code of the one topic of a Metadata reply of version 4."""
    reply.take("i")
    for _ in range(reply.take("i")):
        reply.take("i"), reply.string(), reply.take("i"), reply.string()
    reply.string(), reply.take("i")
    assert reply.take("i") == 1
    return reply.take("h")


class SlowestAnswer:
    """Asks for the versions again and again, and keeps the longest time that an answer took."""

    def __init__(self, kafka):
        self.kafka, self.seconds, self.ends = kafka, 0.0, False
        self.thread = threading.Thread(target=self.run)

    def run(self):
        with Wire(self.kafka, 120) as connection:
            while not self.ends:
                started = time.monotonic()
                connection.ask(wire.API_VERSIONS, 0, b"")
                self.seconds = max(self.seconds, time.monotonic() - started)
                time.sleep(0.01)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_error):
        self.ends = True
        self.thread.join()


def test_a_request_that_names_sixty_thousand_topics_holds_nobody_up(stack):
    with SlowestAnswer(stack.kafka) as slowest, Wire(stack.kafka, 120) as connection:
        codes = create_topics(connection, [new_topic(f"{number}", replication=0) for number in range(60_000)])
    assert set(codes) == {INVALID_REPLICATION_FACTOR}
    assert slowest.seconds < 2


def test_topics_named_twice_are_refused_and_the_others_are_not(stack, topic_name):
    with Wire(stack.kafka) as connection:
        codes = create_topics(connection, [new_topic(name) for name in (f"{topic_name}-a", "twice", f"{topic_name}-b", "twice")])
    assert codes == [0, INVALID_REQUEST, 0, INVALID_REQUEST]


def test_a_config_without_a_value_is_refused_whatever_follows_it(stack, topic_name):
    configs = [("retention.ms", None), ("retention.bytes", "1000"), ("segment.ms", "1000")]
    with Wire(stack.kafka) as connection:
        assert create_topics(connection, [new_topic(topic_name, configs=configs)]) == [40]


@pytest.mark.sql
@pytest.mark.any_store
def test_heartbeats_wait_for_one_topic_not_for_all_of_a_request(own_stack, topic_name):
    agent = own_stack.start_agent()
    codes = []

    def create():
        with Wire(own_stack.kafka, 120) as connection:
            codes.extend(create_topics(connection, [new_topic(f"{topic_name}-{number}") for number in range(300)]))

    creator = threading.Thread(target=create)
    creator.start()
    most = 0
    while creator.is_alive():
        pending = re.search(r'^streamhouse_brain_queries_pending\{line="control"\} (\d+)', agent.http("/metrics")[1], re.MULTILINE)
        most = max(most, int(pending[1]))
        time.sleep(0.02)
    assert codes == [0] * 300
    assert most <= 4


def test_metadata_asked_without_a_name_is_answered(stack):
    """Version 10 may ask by id, and its answer must have a name."""
    topic = bytes(15) + b"\x09" + b"\0" + b"\0"
    with Wire(stack.kafka) as connection:
        connection.send(wire.METADATA, 10, b"\0" + b"\2" + topic + b"\0\0\0" + b"\0")
        reply = connection.receive()
    assert struct.pack(">hB", INVALID_REQUEST, 1) in reply.data


def test_a_fetch_that_wants_more_than_it_takes_does_not_wait(stack, topic):
    with Wire(stack.kafka) as connection:
        connection.produce(topic, 0, wire.batch([bytes(5000)]))
        place = struct.pack(">iiqqi", 0, -1, 0, -1, 1_000_000)
        limits = struct.pack(">iiiibii", -1, 10_000, 1_000_000, 1_000, 0, 0, -1)
        started = time.monotonic()
        connection.ask(wire.FETCH, 10, limits + array([string(topic) + array([place])]) + array([]))
    assert time.monotonic() - started < 3


@pytest.mark.sql
def test_without_postgres_an_unknown_topic_is_not_said_to_be_missing(own_stack):
    agent = own_stack.start_agent(database_timeout_ms="1s")
    own_stack.postgres.stop("immediate")
    wait_until(lambda: agent.http("/ready")[0] == 503, what="the agent noticing")
    with Wire(own_stack.kafka) as connection:
        assert topic_error(connection.ask(wire.METADATA, 4, array([string("anything")]) + b"\0")) == LEADER_NOT_AVAILABLE


@pytest.mark.sql
@pytest.mark.parametrize("client", ["waits", "is gone"])
def test_an_agent_ends_in_order_while_requests_wait_for_postgres(own_stack, client):
    agent = own_stack.start_agent(drain_timeout_ms="1s")
    own_stack.postgres.stop("immediate")
    wait_until(lambda: agent.http("/ready")[0] == 503, what="the agent noticing")
    with Wire(own_stack.kafka) as connection:
        connection.send(wire.METADATA, 4, array([string("anything")]) + b"\0")
        time.sleep(0.5)
        if client == "is gone":
            connection.socket.close()
        assert agent.stop() == 1, "it says that it could not give its leases back, and does not crash"
    assert "runtime error" not in agent.log() and "Sanitizer" not in agent.log()
    assert "exiting without it" in agent.log()
