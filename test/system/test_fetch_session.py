"""Fetch sessions (KIP-227): a client names its partitions once, then what changes, and hears only of what has news."""
import time

import pytest

import wire
from fetch_wire import (FETCH_SESSION_ID_NOT_FOUND, FETCH_SESSION_TOPIC_ID_ERROR, INVALID_FETCH_SESSION_EPOCH, UNKNOWN_TOPIC_ID,
                        Session)
from stack import wait_until

pytestmark = pytest.mark.any_store
BY_NAME, BY_ID = 12, 13
NOWHERE = "00000000-0000-4000-8000-000000000001"


def called(stack, topic, version):
    """The topic as that version calls it."""
    if version < BY_ID:
        return topic
    return stack.postgres.value("SELECT topic_uuid::text FROM streamhouse.topic WHERE name = :'topic' AND deleted_at IS NULL", topic=topic)


def produce(stack, topic, partition, count=1, size=10):
    with wire.Wire(stack.kafka) as connection:
        error, offset = connection.produce(topic, partition, wire.batch([b"x" * size] * count))
        assert error == wire.NONE
        return offset


@pytest.fixture(params=[7, 9, 11, 12, 13, 15, 16, 17, 18])
def version(request):
    return request.param


@pytest.fixture
def connection(stack):
    with wire.Wire(stack.kafka) as open_connection:
        yield open_connection


def test_an_incremental_fetch_hears_only_of_what_has_news(stack, topic, connection, version):
    name = called(stack, topic, version)
    session = Session(connection, version)
    first = session.fetch({name: {0: 0, 1: 0, 2: 0}})
    assert first.error == wire.NONE and first.session_id > 0
    assert [index for _, index in first.partitions] == [0, 1, 2], "a full fetch names every partition"
    assert all(part.error == wire.NONE and part.high_watermark == 0 for part in first.partitions.values())
    assert session.fetch({}).partitions == {}, "nothing has changed"
    produce(stack, topic, 1)
    news = session.fetch({}, wait_ms=5000)
    assert list(news.partitions) == [(name, 1)] and news.partitions[(name, 1)].high_watermark == 1
    assert news.partitions[(name, 1)].records and news.session_id == first.session_id
    assert list(session.fetch({}).partitions) == [(name, 1)], "it has not moved on, so it gets the records again"
    assert session.fetch({name: {1: 1}}).partitions == {}


def test_a_waiting_incremental_fetch_wakes_for_a_quiet_partition(stack, topic, connection):
    name = called(stack, topic, BY_ID)
    session = Session(connection)
    session.fetch({name: {0: 0, 1: 0, 2: 0}})
    session.fetch({})
    session.send({}, wait_ms=20_000)
    time.sleep(0.1)
    produce(stack, topic, 2)
    before = time.monotonic()
    assert list(session.receive().partitions) == [(name, 2)]
    assert time.monotonic() - before < 10


def test_what_comes_between_two_fetches_is_news(stack, topic, connection):
    name = called(stack, topic, BY_ID)
    session = Session(connection)
    session.fetch({name: {0: 0, 1: 0, 2: 0}})
    for _ in range(3):
        offset = produce(stack, topic, 0)
        produce(stack, topic, 2)
        answer = session.fetch({name: {0: offset, 2: offset}}, wait_ms=5000, min_bytes=80)
        wait_until(lambda: answer.partitions or session.fetch({}).partitions, what="news")
        answer = session.fetch({name: {0: offset + 1, 2: offset + 1}})
        assert answer.partitions == {}


def test_a_new_high_watermark_is_news_without_records(stack, topic, connection):
    name = called(stack, topic, BY_ID)
    session = Session(connection)
    produce(stack, topic, 0)
    session.fetch({name: {0: 1, 1: 0}})
    produce(stack, topic, 0)
    answer = session.fetch({name: {0: 2}}, wait_ms=2000, min_bytes=1)
    assert [(index, part.high_watermark, part.records) for (_, index), part in answer.partitions.items()] == [(0, 2, b"")]


def test_forgotten_partitions_have_no_news(stack, topic, connection, version):
    name = called(stack, topic, version)
    session = Session(connection, version)
    session.fetch({name: {0: 0, 1: 0, 2: 0}})
    produce(stack, topic, 0)
    produce(stack, topic, 1)
    wait_until(lambda: connection.fetch(topic, 1, 0)[1] == 1, what="the record")
    answer = session.fetch({}, {name: [0, 7], NOWHERE if version >= BY_ID else "no-such-topic": [0]}, wait_ms=5000)
    assert list(answer.partitions) == [(name, 1)]


def test_a_session_without_partitions_ends(stack, topic, connection):
    name = called(stack, topic, BY_ID)
    session = Session(connection)
    first = session.fetch({name: {0: 0}})
    assert session.fetch({}, {name: [0]}).session_id == 0
    assert session.fetch({}, session_id=first.session_id, epoch=2).error == FETCH_SESSION_ID_NOT_FOUND


def test_partitions_may_be_added_later(stack, topic, connection):
    name = called(stack, topic, BY_ID)
    session = Session(connection)
    produce(stack, topic, 2)
    session.fetch({name: {0: 0}})
    answer = session.fetch({name: {2: 0}})
    assert list(answer.partitions) == [(name, 2)] and answer.partitions[(name, 2)].records


def test_an_error_is_told_as_long_as_it_lasts(stack, topic, connection):
    name = called(stack, topic, BY_ID)
    session = Session(connection)
    session.fetch({name: {0: 0, 1: 0}})
    for _ in range(2):
        answer = session.fetch({name: {1: 100}})
        assert {index: part.error for (_, index), part in answer.partitions.items()} == {1: wire.OFFSET_OUT_OF_RANGE}
    answer = session.fetch({name: {1: 0}})
    assert {index: (part.error, part.high_watermark) for (_, index), part in answer.partitions.items()} == {1: (wire.NONE, 0)}
    assert session.fetch({}).partitions == {}


@pytest.mark.parametrize("version,nobody,error", [(BY_NAME, "no-such-topic", wire.UNKNOWN_TOPIC), (BY_ID, NOWHERE, UNKNOWN_TOPIC_ID)])
def test_unknown_topics_and_partitions_are_errors_of_theirs_alone(stack, topic, connection, version, nobody, error):
    name = called(stack, topic, version)
    produce(stack, topic, 0)
    session = Session(connection, version)
    for wanted in {name: {0: 0, 99: 0}, nobody: {0: 0}}, {}:
        answer = session.fetch(wanted)
        assert {key: part.error for key, part in answer.partitions.items()} == {
            (name, 0): wire.NONE, (name, 99): wire.UNKNOWN_TOPIC, (nobody, 0): error}


@pytest.mark.parametrize("version", [BY_NAME, BY_ID])
def test_a_topic_deleted_under_a_waiting_session_is_told(stack, topic, connection, version):
    name = called(stack, topic, version)
    session = Session(connection, version)
    session.fetch({name: {0: 0, 1: 0}})
    session.fetch({})
    session.send({}, wait_ms=20_000)
    time.sleep(0.1)
    stack.postgres.run("SELECT sh_delete_topic(:'topic');", topic=topic)
    assert all(part.error != wire.NONE for part in session.receive().partitions.values())
    answer = session.fetch({})
    expected = UNKNOWN_TOPIC_ID if version >= BY_ID else wire.UNKNOWN_TOPIC
    assert {index: part.error for (_, index), part in answer.partitions.items()} == {0: expected, 1: expected}
    if version < BY_ID:  # a name may stand for another topic by and by
        stack.create_topic(topic, partitions=3)
        assert {index: part.error for (_, index), part in session.fetch({}).partitions.items()} == {0: wire.NONE, 1: wire.NONE}


@pytest.mark.parametrize("version", [BY_NAME, BY_ID])
def test_a_topic_deleted_under_a_session_that_waits_for_more_of_it_is_told(stack, topic, connection, version):
    name = called(stack, topic, version)
    session = Session(connection, version)
    session.fetch({name: {0: 0, 1: 0, 2: 0}})
    session.fetch({})
    session.send({}, wait_ms=20_000, min_bytes=1_000_000)
    time.sleep(0.1)
    produce(stack, topic, 0)  # what the fetch has already looked at when the others turn out to be gone
    time.sleep(0.3)
    stack.postgres.run("SELECT sh_delete_topic(:'topic');", topic=topic)
    answer = session.receive()
    assert {index for _, index in answer.partitions} == {0, 1, 2}
    assert all(part.error != wire.NONE for part in answer.partitions.values())


def test_epochs_count_and_others_are_refused(stack, topic, connection):
    name = called(stack, topic, BY_ID)
    session = Session(connection)
    first = session.fetch({name: {0: 0}})
    for epoch in 2, 5, 0x7FFFFFFF, -2:
        answer = session.fetch({}, epoch=epoch)
        assert (answer.error, answer.session_id, answer.partitions) == (INVALID_FETCH_SESSION_EPOCH, 0, {})
    session.session_id, session.epoch = first.session_id, 1
    assert session.fetch({}).error == wire.NONE
    assert session.fetch({}, epoch=1).error == INVALID_FETCH_SESSION_EPOCH, "an epoch is good once"
    assert session.fetch({}, epoch=2).error == wire.NONE


def test_a_session_is_by_names_or_by_ids(stack, topic, connection):
    by_id = Session(connection, BY_ID)
    first = by_id.fetch({called(stack, topic, BY_ID): {0: 0}})
    by_name = Session(connection, BY_NAME)
    assert by_name.fetch({topic: {1: 0}}, session_id=first.session_id, epoch=1).error == FETCH_SESSION_TOPIC_ID_ERROR
    assert by_id.fetch({}).error == wire.NONE, "the refused request has changed nothing"


def test_a_full_fetch_ends_the_session_it_names(stack, topic, connection):
    name = called(stack, topic, BY_ID)
    session = Session(connection)
    first = session.fetch({name: {0: 0}})
    second = session.fetch({name: {1: 0}}, epoch=0)
    assert second.session_id not in (0, first.session_id)
    assert session.fetch({}, session_id=first.session_id, epoch=1).error == FETCH_SESSION_ID_NOT_FOUND
    last = Session(connection).fetch({name: {1: 0}}, session_id=second.session_id, epoch=-1)
    assert last.session_id == 0 and list(last.partitions) == [(name, 1)]
    assert session.fetch({}, session_id=second.session_id, epoch=1).error == FETCH_SESSION_ID_NOT_FOUND


def test_a_fetch_of_the_same_session_ends_the_one_that_waits(stack, topic, connection):
    name = called(stack, topic, BY_ID)
    session = Session(connection)
    session.fetch({name: {0: 0}})
    session.send({}, wait_ms=20_000)
    time.sleep(0.1)
    with wire.Wire(stack.kafka) as other:
        second = Session(other)
        second.session_id, second.epoch = session.session_id, 2
        assert second.fetch({}).error == wire.NONE
    assert session.receive().error == INVALID_FETCH_SESSION_EPOCH


def test_a_session_outlives_its_connection(stack, topic, connection):
    name = called(stack, topic, BY_ID)
    with wire.Wire(stack.kafka) as first:
        session = Session(first)
        session.fetch({name: {0: 0, 1: 0}})
        session.send({}, wait_ms=20_000)
        time.sleep(0.1)
    again = Session(connection)
    again.session_id, again.epoch = session.session_id, 2
    assert again.fetch({}).error == wire.NONE
    produce(stack, topic, 1)
    assert list(again.fetch({}, wait_ms=5000).partitions) == [(name, 1)]


def test_every_partition_gets_its_turn_when_replies_are_small(stack, topic, connection):
    name = called(stack, topic, BY_ID)
    for index in range(3):
        for _ in range(4):
            produce(stack, topic, index, size=1000)
    session = Session(connection)
    places = {0: 0, 1: 0, 2: 0}
    answer = session.fetch({name: places}, max_bytes=1000)
    order = []
    for _ in range(6):
        [served] = [index for (_, index), part in answer.partitions.items() if part.records]
        order.append(served)
        places[served] += 1
        answer = session.fetch({name: {served: places[served]}}, max_bytes=1000)
    assert order == [0, 1, 2, 0, 1, 2]


def test_partitions_with_another_leader_are_told(own_stack, topic_name):
    stays, leaves = own_stack.start_agent(), own_stack.start_agent()
    topic = own_stack.create_topic(topic_name, partitions=4)
    name = called(own_stack, topic, BY_ID)
    moving = [index for index, leader in enumerate(own_stack.leaders(topic)) if leader == leaves.name]
    assert moving, "rendezvous hashing gives some of four partitions to each of two agents"
    epochs = {row["partition"]: row["epoch"] for row in own_stack.postgres.rows(
        "SELECT partition, epoch FROM streamhouse.lease JOIN streamhouse.topic USING (topic_id) WHERE name = :'topic'", topic=topic)}
    with wire.Wire(stays.kafka) as connection:
        session = LeaderSession(connection, epochs)
        assert {part.error for part in session.fetch({name: {index: 0 for index in range(4)}}).partitions.values()} == {wire.NONE}
        assert session.fetch({}).partitions == {}
        session.send({}, wait_ms=20_000)
        leaves.stop()
        told = {index: part for (_, index), part in session.receive().partitions.items()}
        assert told and set(told) <= set(moving)
        assert all(part.error == wire.FENCED_LEADER_EPOCH and 1 in part.tags for part in told.values()), "with the leader's name"


class LeaderSession(Session):
    """A client that has seen the leaders' epochs."""

    def __init__(self, connection, epochs):
        super().__init__(connection)
        self.epochs = epochs

    def partition(self, index, offset, **options):
        return super().partition(index, offset, **{**options, "epoch": self.epochs[index]})


def test_there_are_only_so_many_sessions(own_stack, topic_name):
    agent = own_stack.start_agent(fetch_sessions_max=2)
    topic = own_stack.create_topic(topic_name, partitions=3)
    name = called(own_stack, topic, BY_ID)
    with wire.Wire(agent.kafka) as connection:
        assert [Session(connection).fetch({name: {0: 0}}).session_id > 0 for _ in range(4)] == [True, True, False, False]
        answer = Session(connection).fetch({name: {0: 0, 1: 0, 2: 0}})
        assert answer.session_id == 0 and len(answer.partitions) == 3, "it is served all the same"
    assert agent.metric("streamhouse_fetch_sessions") == 2
    assert agent.metric("streamhouse_fetch_sessions_refused_total") == 3


def test_memory_for_sessions_is_bounded(own_stack, topic_name):
    agent = own_stack.start_agent(fetch_session_bytes_max="64KiB")
    topic = own_stack.create_topic(topic_name, partitions=3)
    name = called(own_stack, topic, BY_ID)
    with wire.Wire(agent.kafka) as connection:
        session = Session(connection)
        session.fetch({name: {0: 0}})
        assert session.fetch({name: {index: 0 for index in range(3, 1000)}}).error == FETCH_SESSION_ID_NOT_FOUND
        assert session.fetch({name: {index: 0 for index in range(1000)}}, session_id=0, epoch=0).session_id == 0
    assert agent.metric("streamhouse_fetch_session_bytes") == 0


def test_restarts_of_postgresql_lose_no_news(own_stack, topic_name):
    agent = own_stack.start_agent()
    topic = own_stack.create_topic(topic_name, partitions=3)
    name = called(own_stack, topic, BY_ID)
    with wire.Wire(agent.kafka) as connection:
        session = Session(connection)
        session.fetch({name: {0: 0, 1: 0, 2: 0}})
        session.fetch({})
        own_stack.postgres.stop()
        own_stack.postgres.start()
        own_stack.postgres.run("SELECT sh_produce(:'topic', 'by sql', partition => 1);", topic=topic)
        wait_until(lambda: (name, 1) in session.fetch({}, wait_ms=500).partitions, what="the record")
