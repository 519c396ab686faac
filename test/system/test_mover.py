"""The mover: what PostgreSQL holds becomes objects, and nothing is lost or doubled on the way, whenever an agent dies."""
import random

import pytest

import wire
from clients import CONFLUENT
from conftest import STORES
from stack import Stack, wait_until

pytestmark = pytest.mark.sql

MOVES_AT_ONCE = {"streamhouse.inline_move_age": "0", "streamhouse.inline_slot_age": "1s", "streamhouse.inline_grace": "0"}
NO_MORE_INLINE = "SELECT NOT EXISTS (SELECT FROM streamhouse.segment WHERE slot > 0)"
BYTES_LEFT = "SELECT " + " + ".join(f"(SELECT count(*) FROM streamhouse.inline_{slot})" for slot in range(1, 9))


@pytest.fixture(params=STORES)
def own_stack(request, new_store):
    """One whose mover moves everything at once."""
    with Stack(new_store(request.param), **MOVES_AT_ONCE) as mine:
        yield mine


def commit_inline(stack, topic, values):
    """Commits batches as an agent does: values is {partition: [value, …]}, a batch each."""
    batches = [(partition, wire.batch([value])) for partition, some in sorted(values.items()) for value in some]
    rows, at = [], 0
    for number, (partition, bytes_of) in enumerate(batches):
        rows.append(f"streamhouse.pack_commit_row(t.topic_id, {partition}, l.epoch, batch => {number}, byte_start => {at}, "
                    f"byte_length => {len(bytes_of)}, max_timestamp => 1700000000000)"
                    .replace("l.epoch", f"(SELECT epoch FROM streamhouse.lease AS l WHERE (l.topic_id, l.partition) = (t.topic_id, {partition}))"))
        at += len(bytes_of)
    everything = b"".join(bytes_of for _, bytes_of in batches).hex()
    statuses = stack.postgres.run(
        f"""SELECT c.status FROM streamhouse.topic AS t, streamhouse.lease AS led,
                   sh_commit_inline(led.agent_id, sh_reserve_inline(), '\\x{everything}', {" || ".join(rows)}) AS c
            WHERE t.name = '{topic}' AND (led.topic_id, led.partition) = (t.topic_id, {min(values)});""")
    assert len(set(statuses)) == 1, statuses
    return statuses[0] == "committed"


def values_read(stack, topic, partition):
    return [record.value for _, record in CONFLUENT.receive(stack.kafka, topic, partition)]


def test_inline_records_become_few_objects(own_stack):
    stack = own_stack
    agent = stack.start_agent(mover_interval_ms="1h")
    topic = stack.create_topic("moved", partitions=3)
    sent = {partition: [f"{partition}/{number}".encode() for number in range(40)] for partition in range(3)}
    for number in range(0, 40, 2):
        assert commit_inline(stack, topic, {partition: sent[partition][number:number + 2] for partition in range(3)})
    before = len(stack.store.keys())
    agent.stop()
    stack.agents.remove(agent)
    stack.start_agent(mover_interval_ms="20ms")
    wait_until(lambda: stack.postgres.value(NO_MORE_INLINE), what="the last inline segment's move")
    assert [values_read(stack, topic, partition) for partition in range(3)] == [sent[partition] for partition in range(3)]
    assert stack.postgres.value("SELECT count(*) FROM streamhouse.segment") == 3, "neighbours are one segment"
    assert len(stack.store.keys()) == before + 1
    wait_until(lambda: stack.postgres.value(BYTES_LEFT) == 0, what="the ring's emptying")


@pytest.mark.parametrize("own_stack", STORES[-1:], indirect=True)
def test_a_mover_that_is_killed_loses_and_doubles_nothing(own_stack):
    stack, chance = own_stack, random.Random(7)
    topic = None
    sent = {0: [], 1: []}
    for round_number in range(12):
        agent = stack.start_agent(f"mover-{round_number % 2}", mover_interval_ms="10ms", lease_ttl_ms="500ms", heartbeat_ms="100ms")
        topic = topic or stack.create_topic("killed", partitions=2)
        wait_until(lambda: wire.is_led(agent.kafka, topic, 2), what="a leader")
        for _ in range(5):
            for partition in sent:
                value = f"{partition}/{len(sent[partition])}".encode()
                wait_until(lambda: commit_inline(stack, topic, {partition: [value]}), what="a commit")  # it may be fenced first
                sent[partition].append(value)
        wait_until(lambda: chance.random() < 0.2, what="a moment to kill it")
        agent.kill()
        stack.agents.remove(agent)
    stack.start_agent("last", mover_interval_ms="20ms")
    wait_until(lambda: stack.postgres.value(NO_MORE_INLINE), what="the last inline segment's move", timeout=120)
    assert values_read(stack, topic, 0) == sent[0]
    assert values_read(stack, topic, 1) == sent[1]


@pytest.mark.any_store
def test_of_two_agents_one_moves(own_stack):
    stack = own_stack
    agents = [stack.start_agent(f"mover-{number}", mover_interval_ms="20ms") for number in range(2)]
    topic = stack.create_topic("shared", partitions=1)
    sent = []
    for number in range(30):
        sent.append(str(number).encode())
        assert commit_inline(stack, topic, {0: [sent[-1]]})
    wait_until(lambda: stack.postgres.value(NO_MORE_INLINE), what="the last inline segment's move")
    assert values_read(stack, topic, 0) == sent
    assert sorted(agent.metric("streamhouse_mover_segments_total") > 0 for agent in agents) == [False, True]
    assert all(agent.metric("streamhouse_mover_failures_total") == 0 for agent in agents)


def test_expired_answers_go_as_fast_as_they_came(new_store):
    """A call removes two rows, and says that there are more: one every few seconds would never be done."""
    with Stack(new_store("folder"), **{"streamhouse.answer_ttl": "1", "streamhouse.reap_rows_max": "2"}) as stack:
        stack.start_agent()
        topic = stack.create_topic("answered")
        for number in range(20):
            assert commit_inline(stack, topic, {0: [f"{number}".encode()]})
        wait_until(lambda: not stack.postgres.value("SELECT count(*) FROM streamhouse.commit_answer"), what="the last answer's end", timeout=20)
