"""Groups change online between the classic protocol and KIP-848's: members of both, and sessions of PostgreSQL, in one group."""
import threading
import time

import pytest

import group_wire
import wire
from group_members import ClassicMember, ConsumerMember, Recorder
from group_wire import Member
from sql_session import Session
from stack import wait_until

pytestmark = [pytest.mark.any_store, pytest.mark.sql]

QUICK = {"lease_ttl_ms": "1500ms", "heartbeat_ms": "200ms", "group_initial_delay_ms": "300ms", "group_session_min_ms": "500ms"}
PARTITIONS = 6


class Crowd:
    """Members of one group of the test's own, that read a topic while records come."""

    def __init__(self, stack, group, topic):
        self.stack, self.group, self.topic, self.recorder, self.members = stack, group, topic, Recorder(), []
        self.produced = 0

    def add(self, kind, **settings):
        if kind is ConsumerMember:
            settings.setdefault("name", f"{self.group}-{len(self.members)}")
        member = kind(self.stack, self.group, self.topic, PARTITIONS, self.recorder, **settings)
        self.members.append(member)
        member.start()
        return member

    def share(self, members, timeout=20):
        """Waits until these have all partitions, each one of them, and nobody is told to rebalance."""
        def shared():
            sets = [set(member.owned) for member in members]
            return sum(map(len, sets)) == PARTITIONS and set().union(*sets) == set(range(PARTITIONS)) and all(sets) or self.failed()
        try:
            wait_until(shared, timeout, f"{len(members)} members sharing")
        except AssertionError as error:
            raise AssertionError(f"{error}: {[(m.member_id, m.epoch, m.owned, m.heard[-5:]) for m in members]} {self.row()}") from error
        time.sleep(0.5)
        assert shared(), "and it stays so"
        self.check()

    def failed(self):
        return any(member.failure for member in self.members)

    def produce(self, count=10):
        self.stack.postgres.run("SELECT count(sh_produce(:'topic', n::text, partition => n % 6)) FROM generate_series(1, :count * 6) AS n;",
                                topic=self.topic, count=count)
        self.produced += count

    def all_read(self):
        wanted = {(partition, offset) for partition in range(PARTITIONS) for offset in range(self.produced)}
        wait_until(lambda: self.recorder.read >= wanted, 30, "every record being read")

    def committed(self):
        return [row["o"] for row in self.stack.postgres.rows("""
            SELECT o.committed_offset AS o FROM streamhouse.group_offset AS o JOIN streamhouse.consumer_group AS g USING (group_id)
            WHERE g.name = :'group' ORDER BY o.partition""", group=self.group)]

    def row(self):
        return self.stack.postgres.rows("SELECT * FROM streamhouse.consumer_group WHERE name = :'group'", group=self.group)[0]

    def check(self):
        for member in self.members:
            if member.failure:
                raise member.failure
        self.recorder.check()


def new_crowd(stack, name):
    made = Crowd(stack, name, stack.create_topic(name, partitions=PARTITIONS))
    return made


@pytest.fixture(scope="module")
def shared_stack(new_store):
    from stack import Stack
    with Stack(new_store("folder")) as mine:
        mine.start_agent("a", **QUICK)
        yield mine


@pytest.fixture
def crowd(shared_stack, topic_name):
    made = new_crowd(shared_stack, topic_name)
    yield made
    finish(made)


def finish(crowd):
    for member in crowd.members:
        member.finish()
    crowd.check()


@pytest.mark.parametrize("protocols", [("range",), ("cooperative-sticky", "range")], ids=["eager", "cooperative"])
def test_a_member_of_the_new_protocol_joins_a_classic_group_and_leaves_it(crowd, protocols):
    first, second = crowd.add(ClassicMember, protocols=protocols), crowd.add(ClassicMember, protocols=protocols)
    crowd.share([first, second])
    crowd.produce()
    crowd.all_read()
    wait_until(lambda: crowd.committed() == [10] * PARTITIONS, what="commits by generation")
    generation = crowd.row()["group_epoch"]
    joins = first.joins

    new = crowd.add(ConsumerMember)
    crowd.share([first, second, new])
    assert crowd.row()["group_type"] == "consumer"
    assert first.joins > joins and group_wire.REBALANCE_IN_PROGRESS in first.heard
    assert crowd.committed() == [10] * PARTITIONS, "offsets stay"
    assert first.epoch > generation and first.epoch == second.epoch == new.epoch
    crowd.produce()
    crowd.all_read()
    wait_until(lambda: crowd.committed() == [20] * PARTITIONS, what="commits of both protocols")
    assert set(first.committed + second.committed + new.committed) == {wire.NONE}

    new.finish()
    crowd.share([first, second])
    row = crowd.row()
    assert row["group_type"] == "classic" and row["leader_member"] in (first.member_id, second.member_id)
    assert first.epoch == second.epoch == row["group_epoch"] > new.epoch
    crowd.produce()
    crowd.all_read()
    wait_until(lambda: crowd.committed() == [30] * PARTITIONS, what="commits after all")
    assert set(first.committed + second.committed) == {wire.NONE}
    assert not {group_wire.UNKNOWN_MEMBER, group_wire.ILLEGAL_GENERATION} & set(first.heard + second.heard), "nobody was sent away"


def test_who_was_sent_back_to_the_classic_protocol_commits_in_its_generation_until_it_joins_again(crowd):
    classic = crowd.add(ClassicMember)
    new = crowd.add(ConsumerMember)
    crowd.share([classic, new])
    crowd.produce()
    crowd.all_read()
    classic.held.clear()
    time.sleep(0.3)
    new.finish()
    wait_until(lambda: crowd.row()["group_type"] == "classic", what="the downgrade")
    assert classic.commit(epoch=classic.epoch - 1) == group_wire.ILLEGAL_GENERATION
    assert classic.commit() == wire.NONE
    classic.held.set()
    crowd.share([classic])
    classic.committed.remove(group_wire.ILLEGAL_GENERATION)
    assert set(classic.committed) == {wire.NONE}


def test_classic_members_of_different_tastes_are_told_one_protocol(crowd):
    first = crowd.add(ClassicMember, protocols=("cooperative-sticky", "range"))
    second = crowd.add(ClassicMember, protocols=("range",))
    new = crowd.add(ConsumerMember)
    crowd.share([first, second, new])


def test_a_session_of_postgresql_joins_a_classic_group(crowd, shared_stack):
    member = crowd.add(ClassicMember)
    crowd.share([member])
    crowd.produce()
    crowd.all_read()
    session = Session(shared_stack.postgres)
    try:
        poll = f"""SELECT E'\\x01' || partition, "offset" FROM sh_poll('{crowd.group}', ARRAY['{crowd.topic}']);"""
        session.run(poll)
        wait_until(lambda: session.run(poll) and len(member.owned) == PARTITIONS // 2, what="half for each")
        crowd.produce()

        def read():
            got = {(int(partition), int(offset)) for partition, offset in session.run(poll).rows()}
            assert all(offset >= 10 for _partition, offset in got), "it goes on where the classic member was"
            crowd.recorder.read |= got
            return len(crowd.recorder.read) == 20 * PARTITIONS
        wait_until(read, what="every record being read")
        session.run(f"SELECT sh_leave('{crowd.group}');")
    finally:
        session.close()
    crowd.share([member])
    assert crowd.row()["group_type"] == "classic"
    assert set(member.committed) == {wire.NONE}


def lose(crowd, member):
    """SQL that ends a member's session, for whoever looks next, under the group's lock."""
    return f"""SELECT FROM streamhouse.consumer_group WHERE name = '{crowd.group}' FOR UPDATE;
        UPDATE streamhouse.group_member SET last_seen = 'epoch', session_timeout_ms = 1 WHERE member_id = '{member.member_id}';"""


@pytest.mark.parametrize("how", ["ends", "falls silent"])
def test_a_member_that_vanishes_leaves_a_classic_group(crowd, shared_stack, how):
    member = crowd.add(ClassicMember)
    if how == "ends":
        session = Session(shared_stack.postgres)
        session.run(f"SELECT sh_join('{crowd.group}', ARRAY['{crowd.topic}']);")
        wait_until(lambda: len(member.owned) == PARTITIONS // 2, what="half for each")
        session.kill()
        session.close()
    else:
        new = crowd.add(ConsumerMember)
        crowd.share([member, new])
        new.vanish()
        shared_stack.postgres.run(lose(crowd, new))
    crowd.share([member])
    crowd.share([member, crowd.add(ClassicMember)])
    assert crowd.row()["group_type"] == "classic"
    assert shared_stack.postgres.value("SELECT count(*) FROM streamhouse.group_member AS m JOIN streamhouse.consumer_group AS g USING (group_id) WHERE g.name = :'group'",
                                       group=crowd.group) == 0


@pytest.mark.parametrize("joiner", [ClassicMember, ConsumerMember, "session"], ids=["classic", "consumer", "session"])
def test_who_joins_finds_that_the_last_member_of_the_new_protocol_is_lost(crowd, shared_stack, joiner):
    member, new = crowd.add(ClassicMember), crowd.add(ConsumerMember)
    crowd.share([member, new])
    new.vanish()
    session = Session(shared_stack.postgres)
    try:
        session.run(f"BEGIN; {lose(crowd, new)}")  # who joins waits for this to end; the brain's clock does not
        if joiner == "session":
            session.run(f"COMMIT; SELECT sh_join('{crowd.group}', ARRAY['{crowd.topic}']);")
            wait_until(lambda: len(member.owned) == PARTITIONS // 2, what="half for each")
            assert crowd.row()["group_type"] == "consumer"
            session.run(f"SELECT sh_leave('{crowd.group}');")
            crowd.share([member])
        else:
            other = crowd.add(joiner)
            wait_until(lambda: other.heard, what="its waiting for the group's lock")
            session.run("COMMIT;")
            crowd.share([member, other])
            assert crowd.row()["group_type"] == ("classic" if joiner is ClassicMember else "consumer")
    finally:
        session.close()


def test_a_classic_static_member_in_a_group_of_both(crowd):
    static, new = crowd.add(ClassicMember, instance="static"), crowd.add(ConsumerMember)
    crowd.share([static, new])
    static.vanish()
    had = set(static.owned)
    again = crowd.add(ClassicMember, instance="static")
    crowd.share([again, new])
    assert again.owned == had and again.member_id != static.member_id
    assert static.commit(dict.fromkeys(had, 0)) == group_wire.FENCED_INSTANCE
    static.disconnect()


def test_a_static_member_comes_back_with_the_new_protocol_and_takes_its_place_at_once(crowd):
    static, other = crowd.add(ClassicMember, instance="static"), crowd.add(ClassicMember)
    crowd.share([static, other])
    static.vanish()
    new = crowd.add(ConsumerMember, instance="static")
    crowd.share([new, other])
    assert static.commit(dict.fromkeys(static.owned, 0)) == group_wire.FENCED_INSTANCE
    static.disconnect()
    new.finish()  # for a while: it stays a member
    back = crowd.add(ClassicMember, instance="static")
    crowd.share([back, other])
    assert crowd.row()["group_type"] == "classic", "whose last member of the new protocol was replaced"


def test_a_group_whose_members_are_no_consumers_is_left_alone(shared_stack, topic_name):
    member = Member(shared_stack.kafka, topic_name, kind="connect", protocols=(("sessioned", b"1"),))
    group_wire.rebalance([member])
    crowd = new_crowd(shared_stack, topic_name)
    new = crowd.add(ConsumerMember)
    wait_until(lambda: new.heard, what="an answer")
    new.vanish()
    assert set(new.heard) == {69}
    assert member.heartbeat() == wire.NONE
    assert crowd.row()["group_type"] == "classic"


def test_a_member_of_the_new_protocol_joins_in_the_middle_of_a_classic_rebalance(crowd):
    first = crowd.add(ClassicMember)
    crowd.share([first])
    first.held.clear()
    second = crowd.add(ClassicMember)  # waits for the first to join
    time.sleep(0.5)
    new = crowd.add(ConsumerMember)
    time.sleep(0.5)
    first.held.set()
    crowd.share([first, second, new])
    assert crowd.row()["group_type"] == "consumer"
    crowd.produce()
    crowd.all_read()


def test_members_of_the_new_protocol_and_classic_ones_begin_a_group_at_once(crowd):
    members = [crowd.add(kind) for kind in (ClassicMember, ConsumerMember, ClassicMember, ConsumerMember)]
    crowd.share(members)
    members[1].finish()
    members[3].finish()
    crowd.share([members[0], members[2]])
    assert crowd.row()["group_type"] == "classic"


def test_the_agent_of_a_group_of_both_is_killed(own_stack, topic_name):
    own_stack.start_agent("a", **QUICK)
    own_stack.start_agent("b", **QUICK)
    crowd = new_crowd(own_stack, topic_name)
    try:
        members = [crowd.add(ClassicMember, session_ms=10_000), crowd.add(ClassicMember, session_ms=10_000), crowd.add(ConsumerMember)]
        crowd.share(members)
        crowd.produce()
        crowd.all_read()
        address = members[0].connection.socket.getpeername()[1]
        next(agent for agent in own_stack.agents if agent.kafka_port == address).kill()
        joining = crowd.add(ConsumerMember)
        crowd.share(members + [joining])
        crowd.produce()
        crowd.all_read()
        joining.finish()
        members[2].finish()
        crowd.share(members[:2])
        assert crowd.row()["group_type"] == "classic"
    finally:
        finish(crowd)


def test_classic_members_that_vanish_with_the_last_one_of_the_new_protocol_expire(crowd):
    member, new = crowd.add(ClassicMember, session_ms=1000), crowd.add(ConsumerMember)
    crowd.share([member, new])
    member.vanish()
    new.finish()
    wait_until(lambda: crowd.row()["emptied_at"] is not None, 20, "the group being emptied by nobody's request")
