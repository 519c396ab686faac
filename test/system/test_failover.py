"""Agents are cattle: one of three is killed, drained, restarted or paused under load, and clients notice a moment's latency at most.
It measures time, so that nothing runs beside it.
"""
import threading
import time

import pytest

from stack import FolderStore, Stack, wait_until
from traffic import Traffic

pytestmark = [pytest.mark.sql, pytest.mark.alone, pytest.mark.any_store]

TTL_S = 5
PARTITIONS = 12
CALM_S = 4
# On a machine that does other things beside, a few milliseconds more are no sign of anything.
SLACK_S = 0.05
DRAINED_S_MAX = 1.0


@pytest.fixture(scope="module")
def trio():
    """Three agents with the timing that is the default, but for a new group's, which is only waited for."""
    with Stack(FolderStore()) as mine:
        for agent in [mine.add_agent(name, lease_ttl_ms=f"{TTL_S}s", group_initial_delay_ms="500ms") for name in "abc"]:
            agent.start()
        yield mine


@pytest.fixture
def traffic(trio, topic_name):
    """Under way on a topic of which every agent leads something."""
    for agent in trio.agents:
        if not agent.is_running():
            agent.start()
    wait_until(lambda: is_balanced(trio), 30, "leases at rest")
    topic = trio.create_topic(topic_name, partitions=PARTITIONS)
    with Traffic(trio.kafka, topic, PARTITIONS) as mine:
        mine.settle()
        wait_until(lambda: mine.reader.partitions() == set(range(PARTITIONS)), 30, "the group's only member reading all of it")
        time.sleep(1)
        yield mine


def is_balanced(stack):
    """All agents alive, and the last evening out was over all of them."""
    return stack.postgres.value("""SELECT (SELECT count(*) FROM streamhouse.live_agent) = :'count'::int
                                   AND NOT EXISTS (SELECT FROM streamhouse.lease WHERE agent_id IS NULL)""", count=len(stack.agents))


def led_by(stack, topic, agent):
    return {number for number, name in enumerate(stack.leaders(topic)) if name == agent.name}


def busiest(stack, topic):
    return max(stack.agents, key=lambda agent: len(led_by(stack, topic, agent)))


def report(what, seconds):
    print(f"# {what}: {seconds * 1000:.0f} ms")


def test_after_kill_9_of_one_of_three_its_partitions_are_back_within_the_lease_and_a_second(trio, traffic):
    time.sleep(CALM_S)
    victim = busiest(trio, traffic.topic)
    orphans = led_by(trio, traffic.topic, victim)
    others = set(range(PARTITIONS)) - orphans
    killed = time.monotonic()
    calm = traffic.p99(killed - CALM_S, killed, others)
    victim.kill()
    time.sleep(TTL_S + 3)
    silence, disturbed = traffic.silence(killed, orphans), traffic.p99(killed, killed + TTL_S + 2, others)
    report("its partitions were silent for", silence)
    report("p99 of the others' partitions, calm", calm)
    report("p99 of the others' partitions, meanwhile", disturbed)
    assert silence <= TTL_S + 1
    assert disturbed <= 2 * calm + SLACK_S
    assert traffic.finish() == []
    assert traffic.writer.failed == []


def test_sigterm_drains_with_no_error_and_no_second_of_latency(trio, traffic):
    leaver = busiest(trio, traffic.topic)
    began = time.monotonic()
    assert leaver.stop() == 0
    report("the drain took", time.monotonic() - began)
    time.sleep(2)
    ended = traffic.settle()
    report("highest latency", max(traffic.latencies(began - 1, ended)))
    assert max(traffic.latencies(began - 1, ended)) <= DRAINED_S_MAX
    assert traffic.errors(began) == []
    assert traffic.finish() == []


def test_a_rolling_restart_of_all_three_shows_clients_no_error(trio, traffic):
    began = time.monotonic()
    for agent in trio.agents:
        assert agent.stop() == 0
        stopped = time.monotonic()
        agent.start()
        print(f"# {agent.name} at {agent.kafka} was away from {stopped - began:.3f} to {time.monotonic() - began:.3f} s")
        time.sleep(1)
    ended = traffic.settle()
    report("three restarts took", ended - began)
    report("highest latency", max(traffic.latencies(began, ended)))
    assert traffic.errors(began) == []
    assert traffic.finish() == []


def test_an_agent_that_slept_through_its_leases_corrupts_nothing_and_leads_again(trio, traffic):
    sleeper = busiest(trio, traffic.topic)
    paused = time.monotonic()
    sleeper.pause()
    resume = threading.Timer(TTL_S + 3, sleeper.resume)
    resume.start()
    try:
        wait_until(lambda: not led_by(trio, traffic.topic, sleeper), TTL_S + 2, "its leases moving")
        traffic.settle()
        report("all partitions took records again after", time.monotonic() - paused)
    finally:
        resume.join()
    sleeper.wait_ready()
    wait_until(lambda: led_by(trio, traffic.topic, sleeper), 15, "its leading again")
    traffic.settle()
    assert traffic.finish() == []
    assert traffic.writer.failed == []
