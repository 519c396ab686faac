"""Three agents share the partitions: evenly, by hand-overs that clients do not notice."""
import time

import pytest

from load import Load
from stack import wait_until

pytestmark = pytest.mark.any_store

PARTITIONS = 12
GAP_MAX_S = 2.0  # a promise of 50 ms, measured beside other loads: the number itself is printed


def shares(stack, topic):
    leaders = stack.leaders(topic)
    return {name: leaders.count(name) for name in set(leaders)}


def wait_for_shares(stack, topic, *expected, timeout=60):
    wait_until(lambda: sorted(shares(stack, topic).values()) == sorted(expected), timeout, f"shares of {expected}")


class TimedLoad(Load):
    """Notes when each record was acknowledged: the longest pause of each partition is what a move costs."""

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        self.last, self.pauses = {}, {}

    def note_delivery(self, error, message):
        super().note_delivery(error, message)
        now, partition = time.monotonic(), message.partition()
        self.pauses[partition] = max(self.pauses.get(partition, 0), now - self.last.get(partition, now))
        self.last[partition] = now

    def forget(self):
        self.last, self.pauses = {}, {}

    def longest(self):
        return max(self.pauses.values())


def test_partitions_come_out_even_as_agents_come_and_writers_do_not_notice(own_stack, topic_name, capsys):
    own_stack.start_agent("a")
    topic = own_stack.create_topic(topic_name, partitions=PARTITIONS)
    assert shares(own_stack, topic) == {"a": PARTITIONS}
    with TimedLoad(own_stack.kafka, topic, PARTITIONS, records_per_s=500) as load:
        load.wait_for_more(200)
        calm = load.longest()
        load.forget()
        own_stack.start_agent("b")
        wait_for_shares(own_stack, topic, 6, 6)
        own_stack.start_agent("c")
        wait_for_shares(own_stack, topic, 4, 4, 4)
        load.wait_for_more(200)
        moved = load.longest()
        load.finish()
    assert load.check() >= 600
    handed = [agent.metric("streamhouse_hand_overs_total") for agent in own_stack.agents]
    assert sum(handed) == 10, "six to the second, two from each of them to the third: nothing moves twice"
    assert all(agent.metric("streamhouse_hand_over_parked_batches") == 0 for agent in own_stack.agents)
    with capsys.disabled():
        print(f"# longest pause of a partition: {1000 * calm:.0f} ms before, {1000 * moved:.0f} ms with its move")
    assert moved < calm + GAP_MAX_S


def test_an_agent_that_is_told_to_stop_gives_its_partitions_away_first(own_stack, topic_name):
    a, b, _ = (own_stack.start_agent(name) for name in "abc")
    topic = own_stack.create_topic(topic_name, partitions=PARTITIONS)
    wait_for_shares(own_stack, topic, 4, 4, 4)
    with TimedLoad(own_stack.kafka, topic, PARTITIONS, records_per_s=500) as load:
        load.wait_for_more(200)
        held = shares(own_stack, topic)["a"]
        assert a.stop() == 0
        assert f"handed {held} partitions over" in a.log()
        assert sorted(shares(own_stack, topic)) == ["b", "c"]
        load.wait_for_more(200)
        load.finish()
    assert load.check() >= 400
    assert b.is_running() and load.longest() < GAP_MAX_S


def test_an_agent_that_was_paused_writes_nothing_of_what_others_lead_by_then(own_stack, topic_name):
    quick = {"lease_ttl_ms": "1500ms", "heartbeat_ms": "200ms"}
    a, _, _ = (own_stack.start_agent(name, **quick) for name in "abc")
    topic = own_stack.create_topic(topic_name, partitions=PARTITIONS)
    with Load(own_stack.kafka, topic, PARTITIONS, records_per_s=500) as load:
        load.wait_for_more(200)
        a.pause()
        wait_until(lambda: sorted(shares(own_stack, topic)) == ["b", "c"], 30, "the others leading all")
        a.resume()
        load.wait_for_more(200)
        wait_for_shares(own_stack, topic, 4, 4, 4)
        load.wait_for_more(200)
        load.finish()
    assert load.check() >= 600
