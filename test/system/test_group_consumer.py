"""test_group_consumer.py: KIP-848 at the wire: members that join, leave, are fenced, static, by regular expression; with SQL members; through failures."""
import threading
import time
import uuid

import pytest

import consumer_wire
import wire
from consumer_wire import Member, settle
from stack import wait_until

pytestmark = [pytest.mark.any_store, pytest.mark.sql]


def topic_id(stack, topic):
    return uuid.UUID(stack.postgres.value("SELECT topic_uuid FROM streamhouse.topic WHERE name = :'topic' AND deleted_at IS NULL", topic=topic))


@pytest.fixture
def new_member(stack, topic, topic_name):
    """Makes members of a group of the test's own; those that are left leave at the end."""
    made = []

    def make(name=None, **settings):
        if "regex" not in settings:
            settings.setdefault("topics", [topic])
        member = Member(stack.kafka.split(",")[0], settings.pop("group", topic_name), f"member-{len(made)}" if name is None else name, **settings)
        made.append(member)
        return member
    yield make
    for member in made:
        member.leave()
        member.close()


def numbers(member):
    return {partition for _topic, partition in member.owned}


def test_the_first_member_has_all_and_a_second_gets_its_share_when_the_first_let_go(stack, topic, new_member):
    first, second = new_member(), new_member()
    answer = first.join()
    assert (answer.error, answer.epoch, answer.interval_ms, answer.member_id) == (0, 1, 5000, "member-0")
    assert answer.assignment == {(topic_id(stack, topic), number) for number in range(3)}
    assert first.beat().assignment is None
    answer = second.join()
    assert (answer.error, answer.epoch, answer.assignment) == (0, 2, set())
    answer = first.beat()
    assert (answer.epoch, len(answer.assignment)) == (1, 2)
    assert second.beat().assignment is None, "the first has not said yet that it let go"
    assert first.beat().epoch == 2
    assert len(second.beat().assignment) == 1
    settle([first, second])
    assert numbers(first) | numbers(second) == {0, 1, 2} and not numbers(first) & numbers(second)


def test_who_leaves_gives_its_partitions_to_the_others(new_member):
    first, second = new_member(), new_member()
    first.join()
    second.join()
    settle([first, second])
    answer = first.leave()
    assert (answer.error, answer.epoch) == (0, -1)
    settle([second])
    assert numbers(second) == {0, 1, 2}
    assert first.beat().error == consumer_wire.UNKNOWN_MEMBER


def test_a_server_names_members_of_version_0_and_no_later_ones(new_member):
    member = new_member("")
    answer = member.ask(0, version=0, rebalance_ms=1000, topics=member.topics, owned=set())
    assert answer.error == 0 and len(answer.member_id) == 22
    member.id = answer.member_id
    assert member.ask(answer.epoch, version=0).error == 0
    assert new_member("").ask(0, rebalance_ms=1000, topics=member.topics, owned=set()).error == consumer_wire.INVALID_REQUEST


def test_a_member_with_a_wrong_epoch_is_fenced_and_joins_again(new_member):
    member = new_member()
    member.join()
    assert member.beat().error == 0
    for epoch in (member.epoch + 1, member.epoch - 1 or 7):
        answer = member.ask(epoch)
        assert answer.error == consumer_wire.FENCED_EPOCH and "epoch" in answer.message
    assert member.beat().error == 0, "the others' mistakes are not this member's"
    assert member.join().error == 0
    assert numbers(member) == {0, 1, 2}


def test_a_member_that_missed_an_answer_may_come_with_the_epoch_before(new_member):
    first, second = new_member(), new_member()
    first.join()
    second.join()
    settle([first, second])
    second.leave()
    before = first.epoch
    assert first.ask(before).epoch == before + 1  # and this answer is lost
    assert first.ask(before).error == consumer_wire.FENCED_EPOCH, "it does not say what it owns"
    answer = first.ask(before, owned=first.owned)
    assert (answer.error, answer.epoch) == (0, before + 1)


def test_a_static_member_comes_back_to_what_it_had(new_member):
    first, other = new_member("first", instance="one"), new_member()
    first.join()
    other.join()
    settle([first, other])
    had, epoch = numbers(first), other.epoch
    rival = new_member("rival", instance="one")
    assert rival.join().error == consumer_wire.UNRELEASED_INSTANCE
    assert (first.leave(consumer_wire.LEAVE_STATIC).epoch, other.beat().assignment) == (-2, None)
    assert rival.join().error == 0
    settle([rival, other])
    assert (numbers(rival), other.epoch) == (had, epoch)
    assert first.beat().error == consumer_wire.FENCED_INSTANCE


def test_a_regular_expression_is_re2s_and_finds_later_topics(stack, topic_name, new_member):
    names = [f"{topic_name}.{word}" for word in ("one", "Two")]
    stack.create_topic(names[0])
    member = new_member(regex=f"^(?i:{topic_name.replace('-', chr(92) + '-')}){chr(92)}.{chr(92)}pL+?$")
    member.join()
    assert {topic for topic, _ in member.owned} == {topic_id(stack, names[0])}
    member.beat()
    stack.create_topic(names[1])

    def found():
        member.beat()
        return {topic for topic, _ in member.owned} == {topic_id(stack, name) for name in names}
    wait_until(found, 10, "the second topic")
    settle([member])


@pytest.mark.parametrize("said, error", [
    ({"regex": "(", "topics": None}, consumer_wire.INVALID_REGEX),
    ({"regex": "(a)\\1", "topics": None}, consumer_wire.INVALID_REGEX),
    ({"regex": ".?" * 500, "topics": None}, consumer_wire.INVALID_REGEX),
    ({"assignor": "sticky"}, consumer_wire.UNSUPPORTED_ASSIGNOR),
    ({"topics": None}, consumer_wire.INVALID_REQUEST),
    ({"topics": []}, consumer_wire.INVALID_REQUEST),
    ({"rebalance_ms": -1}, consumer_wire.INVALID_REQUEST),
    ({"owned": None}, consumer_wire.INVALID_REQUEST),
    ({"owned": {(uuid.uuid4(), 0)}}, consumer_wire.INVALID_REQUEST),
    ({"rack": ""}, consumer_wire.INVALID_REQUEST),
    ({"topics": ["bad\0name"]}, consumer_wire.INVALID_REQUEST),
])
def test_who_joins_wrongly_is_told_what_is_wrong(new_member, said, error):
    answer = new_member().join(**said)
    assert answer.error == error and answer.message


@pytest.mark.parametrize("group, epoch, error", [("", 0, 42), ("no such group", 1, 25), ("no such group", -1, 25)])
def test_a_group_that_is_not_there_is_said_so(new_member, group, epoch, error):
    member = new_member(group=group)
    assert (member.join() if epoch == 0 else member.ask(epoch)).error == error


def test_a_group_is_described_as_kafka_does(stack, topic, topic_name, new_member):
    member = new_member("member", instance="one")
    member.join(rack="here")
    with wire.Wire(stack.kafka) as connection:
        described, missing = consumer_wire.describe(connection, [topic_name, "no such group"], operations=True)
        old = consumer_wire.describe(connection, [topic_name], version=0)[0]
    assert (described["error"], described["state"], described["epoch"], described["target_epoch"], described["assignor"]) == (0, "Stable", 1, 1, "uniform")
    assert described["operations"] == 3400 and old["operations"] == -2**31
    everything = {(topic, number) for number in range(3)}
    assert described["members"] == [{"id": "member", "instance": "one", "rack": "here", "epoch": 1, "client": "by hand", "host": "/127.0.0.1",
                                     "topics": [topic], "regex": None, "assigned": everything, "target": everything, "type": 1}]
    assert (missing["error"], missing["state"], missing["members"]) == (consumer_wire.GROUP_NOT_FOUND, "Dead", [])


def test_heartbeats_without_news_are_answered_from_memory(stack, new_member):
    agent = stack.agents[0]
    member = new_member()
    member.join()
    member.beat()
    before = agent.metric("streamhouse_consumer_group_heartbeats_total")
    asked = stack.postgres.value("SELECT last_seen FROM streamhouse.group_member WHERE member_id = 'member-0' ORDER BY joined_at DESC LIMIT 1")
    for _ in range(200):
        assert member.beat().error == 0
    assert agent.metric("streamhouse_consumer_group_heartbeats_total") == before + 200
    text = agent.http("/metrics")[1]
    memory = float([line for line in text.splitlines() if line.startswith('streamhouse_consumer_group_heartbeats_total{answer="memory"}')][0].split()[1])
    assert memory >= 190
    assert asked == stack.postgres.value("SELECT last_seen FROM streamhouse.group_member WHERE member_id = 'member-0' ORDER BY joined_at DESC LIMIT 1")
    wait_until(lambda: agent.metric("streamhouse_consumer_group_members_bytes") > 100, what="the metric of members' memory")


def test_what_sql_does_to_a_group_is_heard_within_seconds(stack, topic_name, new_member):
    member = new_member()
    member.join()
    assert member.beat().error == 0
    stack.postgres.run("SELECT sh_alter_group_config(:'group', '{\"consumer.heartbeat.interval.ms\": \"7000\"}');", group=topic_name)
    wait_until(lambda: member.beat().interval_ms == 7000, 5, "the new interval")
    stack.postgres.run("DELETE FROM streamhouse.group_member AS m USING streamhouse.consumer_group AS g WHERE g.name = :'group' AND m.group_id = g.group_id;"
                       "UPDATE streamhouse.consumer_group SET version = version + 1 WHERE name = :'group';", group=topic_name)
    wait_until(lambda: member.beat().error == consumer_wire.UNKNOWN_MEMBER, 5, "the member being unknown")


class Reader(threading.Thread):
    """A wire member that fetches what it owns, from the committed offset on, and keeps what it read per partition."""

    def __init__(self, member, topic, stack):
        super().__init__(daemon=True)
        self.member, self.topic, self.stack = member, topic, stack
        self.read, self.ending, self.failure = [], threading.Event(), None
        self.positions = {}

    def run(self):
        try:
            self.member.join()
            with wire.Wire(self.member.kafka) as connection:
                while not self.ending.is_set():
                    self.fetch(connection)
                    self.commit()
                    assert self.member.beat().error == 0
        except Exception as error:  # noqa: BLE001 the test looks at it
            self.failure = error

    def offset(self, partition):
        rows = self.stack.postgres.rows("""SELECT "offset" FROM sh_offset_fetch(:'group') AS o JOIN streamhouse.topic AS t USING (topic_id)
            WHERE t.name = :'topic' AND o.partition = :p""", group=self.member.group, topic=self.topic, p=partition)
        return max(rows[0]["offset"], 0) if rows else 0

    def fetch(self, connection):
        owned = numbers(self.member)
        self.positions = {partition: self.positions.get(partition, None) for partition in owned}
        for partition in owned:
            if self.positions[partition] is None:
                self.positions[partition] = self.offset(partition)
            _error, high, _start, _batches = connection.fetch(self.topic, partition, self.positions[partition], wait_ms=10)
            self.read += [(partition, offset) for offset in range(self.positions[partition], high)]
            self.positions[partition] = max(high, self.positions[partition])

    def commit(self):
        for partition, position in self.positions.items():
            locked = 14  # the group at this moment: to be tried again
            wait_until(lambda: self.commit_one(partition, position) != locked, 10, "the group")

    def commit_one(self, partition, position):
        rows = self.stack.postgres.rows("""SELECT c.error_code FROM streamhouse.topic AS t, sh_offset_commit(:'group', :'member', :epoch,
            ARRAY[t.topic_id], ARRAY[:p], ARRAY[:position]) AS c WHERE t.name = :'topic' AND t.deleted_at IS NULL""",
            group=self.member.group, member=self.member.id, epoch=self.member.epoch, p=partition, position=position, topic=self.topic)
        assert rows[0]["error_code"] in (0, 14), rows
        return rows[0]["error_code"]

    def finish(self):
        self.ending.set()
        self.join_thread()

    def join_thread(self):
        threading.Thread.join(self, 30)
        if self.failure:
            raise self.failure


def test_a_sql_member_and_wire_members_read_every_record_once(stack, topic, topic_name, new_member):
    readers = [Reader(new_member(f"wire-{number}"), topic, stack) for number in range(2)]
    readers[0].start()
    stack.postgres.run("SELECT count(sh_produce(:'topic', n::text, partition => n % 3)) FROM generate_series(0, 149) AS n;", topic=topic)
    readers[1].start()
    wait_until(lambda: all(reader.member.owned for reader in readers) or any(reader.failure for reader in readers), what="both readers' share")
    polling = """
        SELECT sh_join(:'group', ARRAY[:'topic']) IS NOT NULL;
        DO $$ BEGIN FOR i IN 1..40 LOOP INSERT INTO got SELECT partition, "offset" FROM sh_poll('{group}'); COMMIT; PERFORM pg_sleep(0.1); END LOOP; END $$;
        SELECT sh_leave(:'group');"""
    stack.postgres.run("CREATE TABLE got (partition int, \"offset\" int8);")
    try:
        session = threading.Thread(target=lambda: stack.postgres.run(polling.replace("{group}", topic_name), group=topic_name, topic=topic))
        session.start()
        for first in range(150, 450, 50):
            stack.postgres.run("SELECT count(sh_produce(:'topic', n::text, partition => n % 3)) FROM generate_series(:first, :first + 49) AS n;",
                               topic=topic, first=first)
            time.sleep(0.3)
        session.join(60)
        seen = lambda: [(row["partition"], row["offset"]) for row in stack.postgres.rows("SELECT * FROM got")] + sum((reader.read for reader in readers), [])
        wait_until(lambda: len(seen()) >= 450 or any(reader.failure for reader in readers), 60, "every record")
        for reader in readers:
            reader.finish()
        assert sorted(seen()) == [(partition, offset) for partition in range(3) for offset in range(150)], "each record once"
        assert stack.postgres.value("SELECT count(*) FROM got") > 0, "the session had its share"
    finally:
        stack.postgres.run("DROP TABLE got;")


def test_members_go_on_at_the_next_agent_when_theirs_is_killed(own_stack):
    first, second = own_stack.start_agent(), own_stack.start_agent()
    topic = own_stack.create_topic("killed", partitions=4)
    members = [Member(first.kafka, "killed", f"m{number}", [topic]) for number in range(3)]
    for member in members[:2]:
        member.join()
    settle(members[:2])
    members[2].join()
    members[0].beat()  # in the middle of a rebalance
    epochs = [member.epoch for member in members]
    first.kill()
    for member in members:
        member.close()
        member.kafka = second.kafka
    answers = [member.beat() for member in members]
    assert [answer.error for answer in answers] == [0, 0, 0]
    settle(members)
    assert all(member.epoch >= epoch for member, epoch in zip(members, epochs))
    assert sorted(number for member in members for number in numbers(member)) == [0, 1, 2, 3]


def test_members_go_on_when_postgresql_was_restarted(own_stack):
    agent = own_stack.start_agent()
    topic = own_stack.create_topic("restarted", partitions=4)
    members = [Member(agent.kafka, "restarted", f"m{number}", [topic]) for number in range(2)]
    for member in members:
        member.join()
    settle(members)
    before = [(member.epoch, member.owned) for member in members]
    own_stack.postgres.stop("immediate")
    deadline = time.monotonic() + 4.5
    while time.monotonic() < deadline:  # from memory as long as that may be true, then nothing is promised
        answer = consumer_wire.Beat(0, "", "", 0, 0, None)
        if time.monotonic() < deadline - 3:
            answer = members[0].beat()
        assert answer.error in (0, consumer_wire.NOT_AVAILABLE, consumer_wire.LOAD_IN_PROGRESS)
        time.sleep(0.1)
    own_stack.postgres.start()

    def went_on():
        return all(member.ask(member.epoch).error == 0 for member in members)
    wait_until(went_on, 40, "heartbeats after the restart")
    settle(members)
    assert before == [(member.epoch, member.owned) for member in members], "nobody was sent away"


def test_a_member_that_falls_silent_is_removed_by_its_groups_timeout(own_stack):
    agent = own_stack.start_agent()
    topic = own_stack.create_topic("silent", partitions=2)
    own_stack.postgres.run("ALTER SYSTEM SET streamhouse.consumer_session_timeout_min = '1s';"
                           "ALTER SYSTEM SET streamhouse.consumer_heartbeat_interval_min = '100ms';")
    own_stack.postgres.run("SELECT pg_reload_conf();")
    wait_until(lambda: own_stack.postgres.value("SELECT current_setting('streamhouse.consumer_session_timeout_min')") == "1s", what="the setting")
    own_stack.postgres.run("SELECT sh_alter_group_config('silent', '{\"consumer.session.timeout.ms\": \"3000\", \"consumer.heartbeat.interval.ms\": \"500\"}');")
    silent, other = Member(agent.kafka, "silent", "silent", [topic]), Member(agent.kafka, "silent", "other", [topic])
    silent.join()
    assert other.join().interval_ms == 500
    settle([silent, other])
    started = time.monotonic()

    def has_all():
        assert other.beat().error == 0, "a member that beats is not removed, although the agent answers it from memory"
        time.sleep(0.1)
        return len(other.owned) == 2
    wait_until(has_all, 20, "the silent member's removal")
    assert time.monotonic() - started > 2
    deadline = time.monotonic() + 6
    while time.monotonic() < deadline:
        assert other.beat().error == 0
        time.sleep(0.2)
    assert silent.beat().error == consumer_wire.UNKNOWN_MEMBER


def test_a_group_that_somebody_keeps_locked_is_to_be_asked_again(stack, topic_name, new_member):
    member = new_member()
    member.join()
    locked = threading.Thread(target=lambda: stack.postgres.run(
        "BEGIN; SELECT FROM streamhouse.consumer_group WHERE name = :'group' FOR UPDATE; SELECT pg_sleep(2); COMMIT;", group=topic_name))
    locked.start()
    wait_until(lambda: new_member("second").join().error == consumer_wire.LOAD_IN_PROGRESS, 5, "a refusal")
    locked.join()
    assert new_member("third").join().error == 0
