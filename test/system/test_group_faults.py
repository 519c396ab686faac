"""Groups of all kinds of members under load, while coordinators die, PostgreSQL restarts, members vanish, sleep too long and come twice.

STREAMHOUSE_TEST_ROUNDS=3     rounds of faults, a few seconds each
STREAMHOUSE_TEST_SEED=7       the mix of them; a run says which it had

What must hold, whatever happens: no committed offset goes back; no partition has two owners in one generation; every record is read by
somebody; who reads a partition reads it in order.
"""
import os
import random
import signal
import threading
import time

import pytest

import wire
from group_members import ClassicMember, ConsumerMember, Recorder
from group_wire import ILLEGAL_GENERATION, REBALANCE_IN_PROGRESS, UNKNOWN_MEMBER
from sql_session import Lost, Session
from stack import wait_until
from test_group_clients import Consumer

pytestmark = [pytest.mark.any_store, pytest.mark.sql]

QUICK = {"lease_ttl_ms": "1500ms", "heartbeat_ms": "200ms", "group_initial_delay_ms": "300ms", "group_session_min_ms": "500ms"}
PARTITIONS = 6
CLIENTS = ("confluent", "kafka-python")
ROUNDS = int(os.environ.get("STREAMHOUSE_TEST_ROUNDS", "3"))
SEED = int(os.environ.get("STREAMHOUSE_TEST_SEED", random.randrange(1 << 30)))

# Every change of an offset, in the order in which the row's lock lets them happen; one that goes back is kept.
WATCH = """
    CREATE TABLE went_back (topic_id int, partition int, before int8, after int8, member_id text);
    CREATE FUNCTION watch_offset() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        INSERT INTO public.went_back VALUES (new.topic_id, new.partition, old.committed_offset, new.committed_offset, new.member_id);
        RETURN NULL;
    END $$;
    CREATE TRIGGER watch_offset AFTER UPDATE ON streamhouse.group_offset FOR EACH ROW
        WHEN (new.committed_offset < old.committed_offset) EXECUTE FUNCTION watch_offset();"""

SHORT_SESSIONS = ("ALTER SYSTEM SET streamhouse.consumer_session_timeout_min = '1s';",
                  "ALTER SYSTEM SET streamhouse.consumer_heartbeat_interval_min = '100ms';", "SELECT pg_reload_conf();")


class SqlMember(threading.Thread):
    """A session that polls, until it is to leave or is cut off; then another one."""

    def __init__(self, scene):
        super().__init__(daemon=True)
        self.scene, self.stopping, self.failure, self.polls = scene, threading.Event(), None, 0
        self.session = None

    def run(self):
        try:
            while not self.stopping.is_set():
                try:
                    self.session = Session(self.scene.stack.postgres)
                    self.poll()
                except Lost:
                    time.sleep(0.2)
                finally:
                    if self.session:
                        self.session.close()
        except Exception as error:  # noqa: BLE001 for the thread that waits
            self.failure = error

    def poll(self):
        while not self.stopping.is_set():
            answer = self.session.run(f"""SELECT E'\\x01' || partition, "offset" FROM sh_poll('{self.scene.group}', ARRAY['{self.scene.topic}'], auto_commit => false);""")
            for partition, offset in answer.rows():
                self.scene.recorder.reads(int(partition), [int(offset)])
            self.session.run(f"SELECT sh_commit('{self.scene.group}');")  # not before: an answer that is cut off is nobody's
            self.polls += 1
            time.sleep(0.05)
        self.session.run(f"SELECT sh_leave('{self.scene.group}');")

    def finish(self):
        self.stopping.set()
        self.join(60)
        if self.failure:
            raise self.failure


class Scene:
    """A stack of two agents, a topic that is written to all the time, and the members of one group."""

    def __init__(self, stack, group, chance):
        self.stack, self.group, self.chance, self.recorder = stack, group, chance, Recorder()
        self.agents = [stack.start_agent(name, **QUICK) for name in ("a", "b")]
        self.topic = stack.create_topic(group, partitions=PARTITIONS)
        stack.postgres.run(WATCH)
        for setting in SHORT_SESSIONS:
            stack.postgres.run(setting)
        wait_until(lambda: stack.postgres.value("SELECT current_setting('streamhouse.consumer_session_timeout_min')") == "1s", what="the setting")
        stack.postgres.run("SELECT sh_alter_group_config(:'group', '{\"consumer.session.timeout.ms\": \"3000\", \"consumer.heartbeat.interval.ms\": \"500\"}');",
                           group=group)
        self.members, self.gone, self.programs, self.named = [], [], [], 0
        self.sql = SqlMember(self)
        self.written, self.ending = 0, threading.Event()
        self.writer = threading.Thread(target=self.write, daemon=True)

    def write(self):
        """Directly into the brain, which takes it or not; a restart may cut off the answer, and then the end of the log tells."""
        while not self.ending.is_set():
            try:
                self.stack.postgres.run("SELECT count(sh_produce(:'topic', n::text, partition => n % 6)) FROM generate_series(1, 12) AS n;", topic=self.topic)
            except RuntimeError:
                pass
            time.sleep(0.1)

    def add(self, kind=None, **settings):
        kind = kind or self.chance.choice([ClassicMember, ConsumerMember])
        self.named += 1
        if kind is ConsumerMember:
            settings.setdefault("name", f"{self.group}-{self.named}")
        else:
            settings.setdefault("session_ms", 3000)
        member = kind(self.stack, self.group, self.topic, PARTITIONS, self.recorder, **settings)
        self.members.append(member)
        member.start()
        return member

    def run_program(self, client):
        """A real consumer, in a process of its own."""
        self.named += 1
        self.programs.append(Consumer(self.stack, client, self.group, self.topic, f"{client}-{self.named}"))

    # Faults.

    def kill_coordinator_in_a_rebalance(self):
        self.add()
        time.sleep(self.chance.uniform(0, 0.4))
        row = self.stack.postgres.rows("""SELECT a.name FROM streamhouse.consumer_group AS g JOIN streamhouse.agent AS a ON a.agent_id = g.coordinator_id
                                          WHERE g.name = :'group'""", group=self.group)
        agent = next((agent for agent in self.agents if row and agent.name == row[0]["name"]), self.agents[0])
        agent.kill()
        time.sleep(self.chance.uniform(0.5, 3))
        agent.start()

    def restart_postgres_in_a_join(self):
        self.add()
        time.sleep(self.chance.uniform(0, 0.2))
        self.stack.postgres.stop(self.chance.choice(["fast", "immediate"]))
        self.stack.postgres.start()

    def let_one_vanish(self):
        member = self.members.pop(self.chance.randrange(len(self.members)))
        self.gone.append(member)
        member.vanish()
        self.add()

    def come_twice(self):
        first = self.add(ClassicMember, instance=f"twin-{self.named}")
        time.sleep(self.chance.uniform(0, 1))
        self.add(self.chance.choice([ClassicMember, ConsumerMember]), instance=first.instance)
        time.sleep(0.5)
        self.members.remove(first)
        self.gone.append(first)
        first.vanish()

    def sleep_too_long(self):
        """A zombie: it comes back after its session with what it had read, and commits that first."""
        member = self.chance.choice(self.members)
        member.held.clear()
        wait_until(member.asleep.is_set, 40, what="a member falling asleep")
        owned, epoch, was = dict(member.positions), member.epoch, member.member_id
        member.disconnect()
        self.wait_without(was)
        if owned and epoch > 0:
            error = member.commit(dict.fromkeys(owned, 0), epoch)
            if error not in (ILLEGAL_GENERATION, UNKNOWN_MEMBER, REBALANCE_IN_PROGRESS, 113, 82, 110):
                self.recorder.complain(f"a zombie's commit is answered {error}")
        member.held.set()

    def stop_a_program(self):
        """SIGSTOP for longer than its session, and SIGCONT: what it had read and not committed is somebody else's by then."""
        program = self.chance.choice(self.programs)
        program.process.send_signal(signal.SIGSTOP)
        time.sleep(5)
        program.process.send_signal(signal.SIGCONT)

    def kill_a_program(self):
        self.chance.choice(self.programs).kill()
        self.run_program(self.chance.choice(CLIENTS))

    def wait_without(self, member_id):
        """Until the brain has forgotten the member."""
        wait_until(lambda: self.stack.postgres.value("""SELECT NOT EXISTS (SELECT FROM streamhouse.group_member WHERE member_id = :'member')
            AND NOT EXISTS (SELECT FROM streamhouse.classic_member WHERE member_id = :'member')""", member=member_id), 20, "a sleeper being missed")

    def change_the_session(self):
        if self.sql.ident:
            self.sql.session.kill()
        else:
            self.sql.start()

    def round(self):
        faults = [self.kill_coordinator_in_a_rebalance, self.restart_postgres_in_a_join, self.let_one_vanish, self.come_twice,
                  self.sleep_too_long, self.change_the_session, self.stop_a_program, self.kill_a_program]
        for fault in self.chance.sample(faults, 3):
            print(f"# {fault.__name__}")
            fault()
            time.sleep(self.chance.uniform(0, 1))
            self.recorder.check()
        while len(self.members) > 4:
            self.members.pop(0).finish()

    def end(self):
        """All is read, once those who stay have settled; then every invariant."""
        self.ending.set()
        self.writer.join(30)
        try:
            wait_until(self.all_read, 60, "every record being read")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.missing[:5]} {[(m.member_id, m.epoch, m.owned, m.heard[-5:], m.failure) for m in self.members]}") from error
        for program in self.programs:
            program.kill()
        for member in self.members:
            member.finish()
        if self.sql.ident:
            self.sql.finish()
        self.recorder.check()
        assert self.stack.postgres.rows("SELECT * FROM went_back") == [], "a committed offset went back"

    def end_of(self, partition):
        for agent in self.agents:
            with wire.Wire(agent.kafka) as connection:
                error, _timestamp, offset, _epoch = connection.list_offset(self.topic, partition, -1)
                if error == wire.NONE:
                    return offset
        return 1 << 20

    def all_read(self):
        self.recorder.check()
        ends = {number: self.end_of(number) for number in range(PARTITIONS)}
        for program in self.programs:
            self.recorder.read |= {(int(partition), int(offset)) for partition, offset, _value in program.said("got")}
        self.missing = [(partition, offset) for partition, end in ends.items() for offset in range(min(end, 100_000)) if (partition, offset) not in self.recorder.read]
        return not self.missing


@pytest.mark.timeout(120 + 60 * ROUNDS)
def test_members_of_all_kinds_survive_what_may_happen_to_them(own_stack, topic_name):
    print(f"# STREAMHOUSE_TEST_SEED={SEED}")
    scene = Scene(own_stack, topic_name, random.Random(SEED))
    scene.add(ClassicMember)
    scene.add(ClassicMember)
    for client in CLIENTS:
        scene.run_program(client)
    scene.add(ConsumerMember)
    scene.writer.start()
    wait_until(lambda: scene.all_read() is None or len(scene.recorder.read) > 100, what="the first records being read")
    try:
        for _ in range(ROUNDS):
            scene.round()
        scene.end()
    finally:
        scene.ending.set()
        for program in scene.programs:
            program.kill()
