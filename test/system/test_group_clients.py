"""Consumers of real clients in groups, each in a process that can be killed: all is read, and no committed offset is lost."""
import subprocess
import sys
from pathlib import Path

import pytest

from clients import CONFLUENT
from records import Record
from stack import wait_until

pytestmark = [pytest.mark.any_store, pytest.mark.sql]

SCRIPT = Path(__file__).with_name("group_consumer.py")
QUICK = {"lease_ttl_ms": "1500ms", "heartbeat_ms": "200ms", "group_initial_delay_ms": "500ms", "group_session_min_ms": "500ms"}
PARTITIONS = 4
SESSION_MS = 3000


class Consumer:
    """One process of group_consumer.py and what it has said so far."""

    def __init__(self, stack, client, group, topic, name, instance=None):
        self.path = stack.folder / f"{name}.out"
        command = [sys.executable, str(SCRIPT), client, stack.kafka, group, topic, str(SESSION_MS)]
        with open(self.path, "wb") as out, open(stack.folder / f"{name}.err", "wb") as errors:
            self.process = subprocess.Popen(command + ([instance] if instance else []), stdin=subprocess.DEVNULL, stdout=out, stderr=errors)

    def lines(self):
        """Whole ones: the last may be on its way."""
        return self.path.read_text().split("\n")[:-1]

    def said(self, word):
        return [line.split()[1:] for line in self.lines() if line.startswith(word + " ")]

    def assigned(self):
        """Partitions of its last assignment; None before the first."""
        said = [line.split(" ", 1)[1] for line in self.lines() if line.startswith("assigned ")]
        return {int(number) for number in said[-1].split(",") if number} if said else None

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def crowd():
    consumers = []
    yield consumers
    for consumer in consumers:
        consumer.kill()


def produce(stack, topic, first, count):
    for number in range(PARTITIONS):
        CONFLUENT.send(stack.kafka, topic, number, [Record(None, f"{number}-{value}".encode()) for value in range(first, first + count)])


def everything(count):
    return {f"{number}-{value}" for number in range(PARTITIONS) for value in range(count)}


def values(consumers):
    return {value for consumer in consumers for _partition, _offset, value in consumer.said("got")}


def shared(consumers):
    """Whether together they have each partition once."""
    sets = [consumer.assigned() for consumer in consumers]
    return all(sets) and sum(map(len, sets)) == PARTITIONS and set().union(*sets) == set(range(PARTITIONS))


def check_commits(before, after):
    """No partition is read again from before what had been committed when its next reader began."""
    committed = {}
    for consumer in before:
        for partition, offset in consumer.said("committed"):
            committed[partition] = max(committed.get(partition, 0), int(offset))
    for consumer in after:
        for partition, offset, _value in consumer.said("got"):
            assert int(offset) >= committed.get(partition, 0), f"partition {partition} went back to {offset}"


@pytest.mark.parametrize("client", ["confluent", "kafka-python"])
def test_two_consumers_share_a_topic_and_one_takes_over_when_the_other_dies(own_stack, crowd, topic_name, client):
    own_stack.start_agent("a", **QUICK)
    topic = own_stack.create_topic(topic_name, partitions=PARTITIONS)
    crowd += [Consumer(own_stack, client, "g", topic, name) for name in ("one", "two")]
    wait_until(lambda: shared(crowd), 40, "two consumers sharing the partitions")
    produce(own_stack, topic, 0, 20)
    wait_until(lambda: values(crowd) == everything(20), 30, "all being read")
    crowd[0].kill()
    wait_until(lambda: shared(crowd[1:]), 40, "the other one taking over")
    produce(own_stack, topic, 20, 20)
    wait_until(lambda: values(crowd) == everything(40), 30, "all being read by one")


@pytest.mark.parametrize("client", ["confluent", "kafka-python"])
def test_a_coordinator_that_is_killed_costs_no_committed_offset(own_stack, crowd, topic_name, client):
    own_stack.start_agent("a", **QUICK)
    own_stack.start_agent("b", **QUICK)
    topic = own_stack.create_topic(topic_name, partitions=PARTITIONS)
    crowd += [Consumer(own_stack, client, "g", topic, name) for name in ("one", "two")]
    wait_until(lambda: shared(crowd), 40, "two consumers sharing the partitions")
    produce(own_stack, topic, 0, 20)
    wait_until(lambda: values(crowd) == everything(20), 30, "all being read")
    generation = "SELECT group_epoch FROM streamhouse.consumer_group WHERE name = 'g'"
    before = own_stack.postgres.value(generation)
    name = own_stack.postgres.value("SELECT a.name FROM streamhouse.consumer_group AS g JOIN streamhouse.agent AS a ON a.agent_id = g.coordinator_id WHERE g.name = 'g'")
    next(agent for agent in own_stack.agents if agent.name == name).kill()
    produce(own_stack, topic, 20, 20)
    wait_until(lambda: values(crowd) == everything(40), 60, "all being read")
    assert own_stack.postgres.value(generation) >= before
    first = list(crowd)
    for consumer in first:
        consumer.kill()
    crowd.append(Consumer(own_stack, client, "g", topic, "three"))
    produce(own_stack, topic, 40, 1)
    wait_until(lambda: everything(41) - everything(40) <= values(crowd), 60, "the next consumer going on")
    check_commits(first, crowd[-1:])


def test_a_static_member_that_restarts_gets_its_partitions_back_without_a_rebalance(own_stack, crowd, topic_name):
    own_stack.start_agent("a", **QUICK)
    topic = own_stack.create_topic(topic_name, partitions=PARTITIONS)
    crowd += [Consumer(own_stack, "confluent", "g", topic, name, instance=name) for name in ("one", "two")]
    wait_until(lambda: shared(crowd), 40, "two consumers sharing the partitions")
    generation = "SELECT group_epoch FROM streamhouse.consumer_group WHERE name = 'g'"
    before = own_stack.postgres.value(generation)
    crowd[0].kill()
    crowd.append(Consumer(own_stack, "confluent", "g", topic, "again", instance="one"))
    wait_until(lambda: crowd[2].assigned() == crowd[0].assigned(), 30, "the same partitions")
    assert own_stack.postgres.value(generation) == before
    assert len(crowd[1].said("assigned")) == 1
