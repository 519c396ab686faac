"""Classic consumer groups, played by hand: members come, go, die and come back; so do coordinators and PostgreSQL."""
import struct
import time

import pytest

import group_wire
import wire
from group_wire import Member, find_coordinator, rebalance, receive_generation
from stack import wait_until
from wire import Wire, array, string

pytestmark = [pytest.mark.any_store, pytest.mark.sql]

QUICK = {"lease_ttl_ms": "1500ms", "heartbeat_ms": "200ms", "group_initial_delay_ms": "300ms", "group_session_min_ms": "500ms"}


@pytest.fixture
def one(own_stack):
    own_stack.start_agent("a", **QUICK)
    return own_stack


@pytest.fixture
def pair(own_stack):
    own_stack.start_agent("a", **QUICK)
    own_stack.start_agent("b", **QUICK)
    return own_stack


def stored(stack, group):
    return stack.postgres.rows("""
        SELECT g.group_type, g.group_epoch, g.protocol_type, g.protocol_name, g.leader_member, g.coordinator_id, g.coordinator_epoch,
               g.emptied_at IS NOT NULL AS is_empty,
               (SELECT coalesce(jsonb_object_agg(m.member_id, convert_from(m.assignment, 'UTF8')), '{}')
                FROM streamhouse.classic_member AS m WHERE m.group_id = g.group_id) AS members
        FROM streamhouse.consumer_group AS g WHERE g.name = :'group'""", group=group)[0]


def coordinator(stack, group):
    """The agent that FindCoordinator names, and the other one."""
    address = find_coordinator(stack.kafka, group)[2]
    return sorted(stack.agents, key=lambda agent: agent.kafka != address)


def test_members_share_a_generation_that_is_stored_before_they_hear_of_it(one):
    members = [Member(one.kafka, "g") for _ in range(3)]
    leader = rebalance(members)
    row = stored(one, "g")
    assert (row["group_type"], row["group_epoch"], row["protocol_name"]) == ("classic", leader.generation, "range")
    assert row["leader_member"] == leader.member_id and not row["is_empty"]
    assert {member.member_id: str(member.assignment) for member in members} == row["members"]
    assert [member.heartbeat() for member in members] == [wire.NONE] * 3


def test_a_member_that_leaves_starts_the_next_generation_and_the_last_one_empties_the_group(one):
    first, second = Member(one.kafka, "g"), Member(one.kafka, "g")
    rebalance([first, second])
    assert first.leave() == (wire.NONE, [wire.NONE])
    assert second.heartbeat() == group_wire.REBALANCE_IN_PROGRESS
    generation = second.generation
    rebalance([second])
    assert second.generation == generation + 1 and second.assignment == list(range(6))
    assert second.leave() == (wire.NONE, [wire.NONE])
    wait_until(lambda: stored(one, "g")["is_empty"], what="an empty group")
    assert stored(one, "g")["group_epoch"] == generation + 2 and stored(one, "g")["members"] == {}
    assert second.heartbeat() == group_wire.UNKNOWN_MEMBER


def test_a_member_that_dies_is_missed_and_the_others_go_on(one):
    dead, alive = Member(one.kafka, "g", session_ms=1000), Member(one.kafka, "g")
    rebalance([dead, alive])
    dead.disconnect()
    alive.beat_until([group_wire.REBALANCE_IN_PROGRESS])
    rebalance([alive])
    assert alive.assignment == list(range(6))
    assert one.agents[0].metric("streamhouse_group_members_expired_total") == 1
    assert dead.heartbeat() == group_wire.UNKNOWN_MEMBER


def test_a_static_member_comes_back_without_a_rebalance_and_its_double_is_fenced(one):
    other, still = Member(one.kafka, "g", instance="i1"), Member(one.kafka, "g")
    rebalance([other, still])
    again = Member(one.kafka, "g", instance="i1")
    again.send_join()
    assert again.receive_join() == wire.NONE
    assert again.generation == other.generation and again.member_id != other.member_id
    assert again.member_id in stored(one, "g")["members"], "the brain knows the new id before the member does"
    again.send_sync()
    assert again.receive_sync() == wire.NONE
    assert again.assignment == other.assignment
    assert still.heartbeat() == wire.NONE
    assert other.heartbeat() == group_wire.FENCED_INSTANCE
    assert other.leave() == (wire.NONE, [group_wire.FENCED_INSTANCE])


def test_a_zombies_generation_is_refused(one):
    zombie, other = Member(one.kafka, "g"), Member(one.kafka, "g")
    rebalance([zombie, other])
    old = zombie.generation
    newcomer = Member(one.kafka, "g")
    newcomer.send_join()
    rebalance_with = [zombie, other]
    for member in rebalance_with:
        member.send_join()
    receive_generation([newcomer, zombie, other])
    assert zombie.heartbeat(generation=old) == group_wire.ILLEGAL_GENERATION
    zombie.generation, new = old, zombie.generation
    zombie.send_sync()
    assert zombie.receive_sync() == group_wire.ILLEGAL_GENERATION
    zombie.generation = new
    assert zombie.heartbeat() == wire.NONE


def test_what_no_group_takes_is_refused(one):
    with Wire(one.kafka) as connection:
        def join(group="g", session=10_000, kind="consumer", protocols=(("range", b""),), member="", version=5):
            body = string(group) + struct.pack(">ii", session, 1000) + string(member) + string(None) + string(kind)
            reply = connection.ask(wire.JOIN_GROUP, version, body + array([string(name) + wire.sized(data) for name, data in protocols]))
            return reply.take("ih")[1]
        assert join(group="") == group_wire.INVALID_GROUP_ID
        assert join(session=10) == group_wire.INVALID_SESSION_TIMEOUT
        assert join(session=40_000_000) == group_wire.INVALID_SESSION_TIMEOUT
        assert join(protocols=()) == group_wire.INCONSISTENT_PROTOCOL
        assert join(kind="") == group_wire.INCONSISTENT_PROTOCOL
        assert join(member="nobody") == group_wire.UNKNOWN_MEMBER
        assert join() == group_wire.MEMBER_ID_REQUIRED
    member = Member(one.kafka, "connectors", kind="connect", protocols=(("sessioned", b"1"),))
    rebalance([member])
    stranger = Member(one.kafka, "connectors", kind="consumer")
    assert stranger.send_join() == group_wire.INCONSISTENT_PROTOCOL
    assert stored(one, "connectors")["protocol_type"] == "connect"
    assert Member(one.kafka, "connectors").leave([("nobody", None), ("", "none")]) == (wire.NONE, [group_wire.UNKNOWN_MEMBER] * 2)
    assert Member(one.kafka, "never").heartbeat() == group_wire.UNKNOWN_MEMBER
    assert one.postgres.value("SELECT count(*) FROM streamhouse.consumer_group WHERE name = 'never'") == 0


def test_a_group_outlives_its_coordinator_without_a_rebalance(pair):
    members = [Member(pair.kafka, "g") for _ in range(2)]
    rebalance(members)
    before = stored(pair, "g")
    dying, other = coordinator(pair, "g")
    dying.kill()
    for member in members:
        member.disconnect()
        assert member.beat_until([wire.NONE, group_wire.REBALANCE_IN_PROGRESS, group_wire.UNKNOWN_MEMBER]) == wire.NONE
    after = stored(pair, "g")
    assert after["coordinator_epoch"] > before["coordinator_epoch"] and after["coordinator_id"] != before["coordinator_id"]
    assert (after["group_epoch"], after["members"]) == (before["group_epoch"], before["members"])
    newcomer = Member(other.kafka, "g")
    newcomer.send_join()
    for member in members:
        assert member.beat_until([group_wire.REBALANCE_IN_PROGRESS])
        member.send_join()
    receive_generation([newcomer, *members])
    assert newcomer.generation == before["group_epoch"] + 1


def test_a_coordinator_that_dies_during_a_rebalance_loses_no_member_for_ever(pair):
    first, second = Member(pair.kafka, "g"), Member(pair.kafka, "g")
    rebalance([first, second])
    dying, _other = coordinator(pair, "g")
    newcomer = Member(pair.kafka, "g")
    newcomer.send_join()
    first.send_join()
    dying.kill()
    for member in (first, second, newcomer):
        member.disconnect()
    newcomer.member_id = ""
    assert second.beat_until([wire.NONE]) == wire.NONE, "the stored generation still stands"
    newcomer.send_join()
    for member in (first, second):
        assert member.beat_until([group_wire.REBALANCE_IN_PROGRESS])
        member.send_join()
    receive_generation([newcomer, first, second])


def test_members_that_vanish_with_their_coordinator_expire(pair):
    rebalance([Member(pair.kafka, "g", session_ms=800)])
    dying, other = coordinator(pair, "g")
    dying.kill()
    wait_until(lambda: stored(pair, "g")["is_empty"], 20, "the group being emptied by nobody's request")
    assert other.metric("streamhouse_group_members_expired_total") == 1


def test_members_that_vanish_while_their_coordinator_restarts_expire(one):
    rebalance([Member(one.kafka, "g", session_ms=800)])
    agent = one.agents[0]
    agent.kill()
    agent.start()
    wait_until(lambda: stored(one, "g")["is_empty"], 20, "the group being emptied by nobody's request")


def test_an_agent_that_leaves_hands_its_groups_over_at_once(pair):
    members = [Member(pair.kafka, "g") for _ in range(2)]
    rebalance(members)
    leaving, other = coordinator(pair, "g")
    waiting = Member(pair.kafka, "g", session_ms=8000)
    waiting.send_join()
    began = time.monotonic()
    leaving.stop()
    assert waiting.receive_join() == group_wire.NOT_COORDINATOR
    for member in members:
        member.disconnect()
        assert member.beat_until([wire.NONE, group_wire.REBALANCE_IN_PROGRESS, group_wire.UNKNOWN_MEMBER]) == wire.NONE
    assert time.monotonic() - began < 5
    assert find_coordinator(pair.kafka, "g")[2] == other.kafka


def test_a_coordinator_that_slept_through_its_lease_does_not_answer_from_memory(pair):
    member = Member(pair.kafka, "g", session_ms=20_000)
    rebalance([member])
    sleeper, other = coordinator(pair, "g")
    sleeper.pause()
    stale = member.connection
    stale.send(group_wire.HEARTBEAT, 3, string("g") + struct.pack(">i", member.generation) + string(member.member_id) + string(None))
    member.connection = None
    member.kafka = other.kafka
    wait_until(lambda: find_coordinator(other.kafka, "g")[2] == other.kafka, what="another coordinator")
    assert member.beat_until([wire.NONE]) == wire.NONE
    sleeper.resume()
    assert stale.receive().take("ih")[1] in group_wire.COORDINATOR_GONE
    assert member.heartbeat() == wire.NONE


def test_a_restart_of_postgresql_during_a_join_costs_no_more_than_time(one):
    members = [Member(one.kafka, "g") for _ in range(2)]
    for member in members:
        member.send_join()
    one.postgres.stop("immediate")
    one.postgres.start()
    one.agents[0].wait_ready()
    try:
        receive_generation(members)
    except (AssertionError, OSError):  # told to come again: then they do, and all is well
        for member in members:
            member.disconnect()
            member.member_id = ""
        rebalance(members)
    row = stored(one, "g")
    assert row["group_epoch"] == members[0].generation and len(row["members"]) >= 2
    assert [member.heartbeat() for member in members] == [wire.NONE] * 2


def test_the_state_is_what_was_stored_when_postgresql_was_away_for_longer_than_a_lease(one):
    members = [Member(one.kafka, "g", session_ms=30_000) for _ in range(2)]
    rebalance(members)
    one.postgres.stop("fast")
    for member in members:
        assert member.beat_until([wire.COORDINATOR_NOT_AVAILABLE, group_wire.NOT_COORDINATOR]) in group_wire.COORDINATOR_GONE
    one.postgres.start()
    for member in members:
        member.disconnect()
        assert member.beat_until([wire.NONE, group_wire.UNKNOWN_MEMBER]) == wire.NONE
    assert stored(one, "g")["group_epoch"] == members[0].generation


def test_only_groups_have_coordinators(one):
    with Wire(one.kafka) as connection:
        def find(key, kind):
            reply = connection.ask(wire.FIND_COORDINATOR, 2, string(key) + struct.pack(">b", kind))
            _throttle, error = reply.take("ih")
            return error, reply.string()
        assert find("g", 0) == (wire.NONE, None)
        assert find("t", 1)[0] == wire.COORDINATOR_NOT_AVAILABLE and "transactions" in find("t", 1)[1]
        assert find("s", 2)[0] == 42
        assert find("", 0)[0] == group_wire.INVALID_GROUP_ID
