"""Two agents, one brain, one store. Whoever is stale is fenced: nothing is lost, nothing is stored twice."""
import time

import pytest

import wire
from clients import CONFLUENT, KAFKA_PYTHON
from load import Load
from records import plain
from stack import wait_until
from wire import Wire, batch

pytestmark = pytest.mark.sql

QUICK = {"lease_ttl_ms": "1500ms", "heartbeat_ms": "200ms"}
PARTITIONS = 6


@pytest.fixture
def pair(own_stack):
    """Agents A and B, quick to notice that the other is away."""
    return own_stack, own_stack.start_agent("a", **QUICK), own_stack.start_agent("b", **QUICK)


def wait_for_leader(stack, topic, name, timeout=30):
    wait_until(lambda: set(stack.leaders(topic)) == {name}, timeout, f"{name} leading all of {topic}")


def wait_for_both(stack, topic):
    wait_until(lambda: set(stack.leaders(topic)) == {"a", "b"}, 30, "both agents leading something")


def test_both_lead_and_a_client_that_knows_one_finds_the_other(pair, topic_name):
    stack, a, b = pair
    topic = stack.create_topic(topic_name, partitions=PARTITIONS * 2)
    wait_for_both(stack, topic)
    for number in range(PARTITIONS * 2):
        CONFLUENT.send(a.kafka, topic, number, plain(20, seed=number))
    for number in range(PARTITIONS * 2):
        assert [record for _, record in KAFKA_PYTHON.receive(b.kafka, topic, number)] == plain(20, seed=number)


def test_an_agent_that_leaves_hands_its_partitions_over_at_once(pair, topic_name):
    stack, a, b = pair
    topic = stack.create_topic(topic_name, partitions=PARTITIONS)
    with Load(stack.kafka, topic, PARTITIONS) as load:
        load.wait_for_more(300)
        assert a.stop() == 0
        wait_for_leader(stack, topic, "b", timeout=3)
        load.wait_for_more(300)
        a.start()
        wait_for_both(stack, topic)
        load.wait_for_more(300)
        load.finish()
    assert load.check() > 900


def test_an_agent_that_dies_is_replaced(pair, topic_name):
    stack, a, b = pair
    topic = stack.create_topic(topic_name, partitions=PARTITIONS)
    with Load(stack.kafka, topic, PARTITIONS) as load:
        load.wait_for_more(300)
        b.kill()
        wait_for_leader(stack, topic, "a")
        load.wait_for_more(300)
        load.finish()
    assert load.check(a.kafka) > 600


def test_leases_go_from_a_to_b_and_back_under_load(pair, topic_name):
    """The bounce that overwrote data elsewhere: each agent in turn sleeps through its own lease and wakes as a stale one."""
    stack, a, b = pair
    topic = stack.create_topic(topic_name, partitions=PARTITIONS)
    with Load(stack.kafka, topic, PARTITIONS) as load:
        for sleeper, other in ((a, b), (b, a), (a, b)):
            load.wait_for_more(200)
            sleeper.pause()
            wait_for_leader(stack, topic, other.name)
            load.wait_for_more(200)
            sleeper.resume()
            wait_for_both(stack, topic)
        load.finish()
    assert load.check() > 1000
    assert not load.renumberings.lines, load.renumberings.lines[0]
    epochs = stack.postgres.value("SELECT max(epoch) FROM streamhouse.partition_epoch")
    assert epochs >= 3, "the leases did not move"


def test_what_a_stale_agent_was_told_it_does_not_store(pair, topic_name):
    """A is stopped with a batch in its socket; B takes over and writes; A wakes up and may not store its batch late."""
    stack, a, b = pair
    topic = stack.create_topic(topic_name, partitions=1)
    first, second = (a, b) if stack.leaders(topic) == ["a"] else (b, a)
    with Wire(first.kafka) as to_first:
        assert to_first.produce(topic, 0, batch([b"before"])) == (wire.NONE, 0)
        first.pause()
        to_first.send_produce(topic, 0, batch([b"late"]))
        wait_for_leader(stack, topic, second.name)
        CONFLUENT.send(second.kafka, topic, 0, plain(3))
        first.resume()
        error, offset = to_first.receive_produced()
    values = [record.value for _, record in CONFLUENT.receive(stack.kafka, topic, 0)]
    expected = [b"before"] + [record.value for record in plain(3)]
    if error == wire.NONE:  # the lease came back to it first, and then it was a batch like any other
        assert (offset, values) == (4, expected + [b"late"])
    else:
        assert error == wire.NOT_LEADER
        assert values == expected


def test_a_stale_agents_epoch_ends_where_the_next_one_begins(pair, topic_name):
    stack, a, b = pair
    topic = stack.create_topic(topic_name, partitions=1)
    CONFLUENT.send(stack.kafka, topic, 0, plain(7))
    first = a if stack.leaders(topic) == ["a"] else b
    second = b if first is a else a
    with Wire(first.kafka) as connection:
        old_epoch = connection.list_offset(topic, 0, -1)[3]
    first.kill()
    wait_for_leader(stack, topic, second.name)
    CONFLUENT.send(second.kafka, topic, 0, plain(5))
    with Wire(second.kafka) as connection:
        new_epoch = connection.list_offset(topic, 0, -1)[3]
        assert new_epoch > old_epoch
        assert connection.end_of_epoch(topic, 0, old_epoch) == (wire.NONE, old_epoch, 7)
        assert connection.end_of_epoch(topic, 0, new_epoch) == (wire.NONE, new_epoch, 12)
        assert connection.fetch(topic, 0, 0, epoch=old_epoch)[0] == wire.FENCED_LEADER_EPOCH


def test_a_consumer_of_one_agent_is_woken_by_the_other(pair, topic_name):
    """Leases move while a consumer waits; it goes on at the new leader, in order."""
    stack, a, b = pair
    topic = stack.create_topic(topic_name, partitions=1)
    with Load(stack.kafka, topic, 1, records_per_s=500) as load:
        load.wait_for_more(100)
        leader = a if stack.leaders(topic) == ["a"] else b
        leader.kill()
        time.sleep(0.5)
        load.wait_for_more(100)
        load.finish()
    alive = b if leader is a else a
    assert load.check(alive.kafka) > 200
