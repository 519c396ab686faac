"""Consumer groups in SQL, with many sessions: a sink that has every record once whatever dies, rolls back or rests; dead
sessions' partitions go to the living; waiting holds nothing and wakes at once."""
import queue
import random
import subprocess
import threading
import time

import pytest

from stack import FolderStore, Stack, wait_until

pytestmark = [pytest.mark.sql, pytest.mark.timeout(240)]

PARTITIONS = 6
CONSUMERS = 4
CHAOS_S = 15


class SqlError(Exception):
    """What the server said."""


class Session:
    """A psql that stays: one session of PostgreSQL."""

    END = "-- done --"

    def __init__(self, postgres, user="streamhouse"):
        self.process = subprocess.Popen(["psql", "-XAtq", "-d", postgres.conninfo(user)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1)
        self.lines = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()
        self.pid = int(self.run("SELECT pg_backend_pid();")[0])

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def send(self, sql):
        """Does not wait for the answer."""
        self.process.stdin.write(f"{sql}\n\\echo {self.END}\n")
        self.process.stdin.flush()

    def answer(self, timeout=60):
        lines = []
        while True:
            line = self.lines.get(timeout=timeout)
            if line is None:
                raise SqlError("the session ended: " + " ".join(lines))
            if line == self.END:
                break
            lines.append(line)
        if any(line.startswith(("ERROR:", "FATAL:")) for line in lines):
            raise SqlError("\n".join(lines))
        return lines

    def run(self, sql, timeout=60):
        self.send(sql)
        return self.answer(timeout)

    def kill(self):
        """kill -9 of the client; its backend notices that it is alone."""
        self.process.kill()
        self.process.wait()

    def close(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait(30)


@pytest.fixture(scope="module")
def brain():
    """PostgreSQL with the extension, and no agent: sessions look after their groups themselves."""
    with Stack(FolderStore()) as alone:
        yield alone


@pytest.fixture
def sessions(brain):
    opened = []

    def open_session():
        opened.append(Session(brain.postgres))
        return opened[-1]
    yield open_session
    for session in opened:
        session.kill()


def produce(brain, topic, records, partitions):
    brain.postgres.run("SELECT count(sh_produce(:'topic', 'v' || n, partition => (n % :'partitions'::int)::int)) FROM generate_series(1, :'records'::int) AS n;",
                       topic=topic, records=records, partitions=partitions)


def polled(session, group, arguments=""):
    """(partition, offset) of what a poll gives."""
    return [tuple(map(int, line.split("|"))) for line in session.run(f"SELECT partition, \"offset\" FROM sh_poll('{group}'{arguments});")]


def test_a_dead_sessions_partitions_go_to_the_living(brain, sessions):
    brain.create_topic("dead", 4)
    one, two = sessions(), sessions()
    assert polled(one, "dead", ", '{dead}'") == polled(two, "dead", ", '{dead}'") == []
    produce(brain, "dead", 8, 4)
    one.run("BEGIN;")
    assert len(polled(one, "dead")) == 4
    one.kill()
    rows = polled(two, "dead")
    deadline = time.monotonic() + 20
    while len(rows) < 8 and time.monotonic() < deadline:
        rows += polled(two, "dead", ", wait => '200 ms'")
    assert sorted(rows) == [(partition, offset) for partition in range(4) for offset in range(2)]


def test_a_resting_transaction_keeps_nobody_from_anything(brain, sessions):
    brain.create_topic("lunch", 4)
    produce(brain, "lunch", 8, 4)
    eater, other, third = sessions(), sessions(), sessions()
    eater.run("SELECT sh_join('lunch', '{lunch}');")
    eater.run("BEGIN;")
    assert len(polled(eater, "lunch")) == 8
    for session in (other, third):
        session.run("SET statement_timeout = '5 s';")
    other.run("SELECT sh_join('lunch', '{lunch}');")
    assert polled(third, "lunch", ", '{lunch}'") == []
    third.run("SELECT sh_group_tick();")
    third.run("SELECT * FROM sh_group_heartbeat('lunch', 'kafka', 0, rebalance_timeout_ms => 1000, subscribed_topics => '{lunch}',"
              " owned_topic_ids => '{}', owned_partitions => '{}');")
    third.run("SELECT * FROM sh_group_heartbeat('lunch', 'kafka', -1);")
    third.run("SELECT sh_leave('lunch');")
    produce(brain, "lunch", 4, 4)
    eater.run("COMMIT;")
    assert sorted(polled(other, "lunch") + polled(eater, "lunch")) == [(partition, 2) for partition in range(4)]


def test_a_waiting_poll_holds_nothing_and_wakes_at_once(brain, sessions):
    brain.create_topic("wait", 2)
    session, watcher = sessions(), sessions()
    assert polled(session, "wait", ", '{wait}'") == []
    session.send("SELECT partition FROM sh_poll('wait', wait => '1 min');")
    held = f"SELECT backend_xmin IS NULL AND backend_xid IS NULL FROM pg_stat_activity WHERE pid = {session.pid} AND wait_event_type = 'Extension';"
    wait_until(lambda: watcher.run(held) == ["t"], what="waiting without a snapshot")
    assert watcher.run(f"SELECT count(*) FROM pg_locks WHERE pid = {session.pid} AND locktype IN ('transactionid', 'tuple');") == ["0"]
    took = []
    for _ in range(10):
        began = time.monotonic()
        watcher.run("SELECT sh_produce('wait', 'x', partition => 1);")
        assert session.answer() == ["1"]
        took.append(time.monotonic() - began)
        session.send("SELECT partition FROM sh_poll('wait', wait => '1 min');")
        time.sleep(0.05)
    assert sorted(took)[len(took) // 2] < 0.5, "far from a second, after which it would look by itself"


def test_a_waiting_client_that_dies_is_noticed(brain, sessions):
    brain.create_topic("lost", 1)
    session = sessions()
    assert polled(session, "lost", ", '{lost}'") == []
    session.send("SELECT count(*) FROM sh_poll('lost', wait => '1 h');")
    time.sleep(0.2)
    session.kill()
    gone = f"SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = {session.pid};"
    wait_until(lambda: brain.postgres.run(gone) == ["t"], 20, "the end of the session")


def test_a_waiting_poll_sees_partitions_that_become_its_own(brain, sessions):
    brain.create_topic("gain", 2)
    one, two = sessions(), sessions()
    assert polled(one, "gain", ", '{gain}'") == polled(two, "gain", ", '{gain}'") == []
    one.send("SELECT partition, count(*) FROM sh_poll('gain', wait => '1 min') GROUP BY 1;")
    time.sleep(0.1)
    two.run("SELECT sh_leave('gain');")
    taken = int(brain.postgres.value("SELECT count(*) FROM sh_describe_group('gain') WHERE cardinality(assigned) = 2"))
    assert taken == 1
    time.sleep(1.2)
    produce(brain, "gain", 2, 2)
    assert len(one.answer(20)) >= 1
    time.sleep(0.1)
    assert int(brain.postgres.value("SELECT sum(lag) FROM sh_group_lag('gain')")) == 0 or polled(one, "gain", ", wait => '5 s'")


class Consumer(threading.Thread):
    """Reads into a table in transactions of which some are rolled back, rest, lose their client, or leave the group."""

    def __init__(self, brain, seed, stop):
        super().__init__()
        self.postgres, self.chance, self.stop = brain.postgres, random.Random(seed), stop
        self.errors, self.commits, self.rollbacks, self.deaths = [], 0, 0, 0
        self.session = None

    def isolation(self):
        return self.chance.choice(["READ COMMITTED", "READ COMMITTED", "REPEATABLE READ"])

    def turn(self):
        if self.session is None:
            self.session = Session(self.postgres)
            self.session.run("SELECT sh_join('chaos', '{chaos}', assignor => CASE WHEN random() < 0.3 THEN 'range' END);")
        self.session.run(f"BEGIN ISOLATION LEVEL {self.isolation()};")
        for _ in range(self.chance.randrange(1, 4)):
            self.session.run("INSERT INTO sink SELECT partition, \"offset\", convert_from(value, 'UTF8'), pg_backend_pid() "
                             f"FROM sh_poll('chaos', max_records => {self.chance.randrange(1, 30)});")
        time.sleep(self.chance.choice([0, 0, 0, 0.01, 0.1]))
        self.end_turn(self.chance.random())

    def end_turn(self, kind):
        if kind < 0.05:
            self.session.kill()
            self.session = None
            self.deaths += 1
        elif kind < 0.2:
            self.session.run("ROLLBACK;")
            self.rollbacks += 1
        else:
            self.session.run("COMMIT;")
            self.commits += 1
            if kind > 0.95:
                self.session.run("SELECT sh_leave('chaos');")
                self.session.run("SELECT sh_join('chaos', '{chaos}');")

    def run(self):
        while not self.stop.is_set():
            try:
                self.turn()
            except SqlError as error:
                if "no longer a member" not in str(error) and "could not serialize" not in str(error):
                    self.errors.append(str(error))
                if self.session:
                    self.session.close()
                self.session = None
        if self.session:
            self.session.close()


def chaos_produce(brain, stop):
    produced = 0
    session = Session(brain.postgres)
    while not stop.is_set():
        session.run(f"SELECT count(sh_produce('chaos', 'v' || n, partition => n % {PARTITIONS})) FROM generate_series({produced}, {produced + 23}) AS n;")
        produced += 24
        time.sleep(0.01)
    session.close()
    return produced


def watch_offsets(brain, stop, falls):
    """Committed offsets must not go back."""
    session, before = Session(brain.postgres), {}
    while not stop.is_set():
        for line in session.run("SELECT partition, coalesce(committed_offset, 0) FROM sh_group_lag('chaos');"):
            partition, offset = map(int, line.split("|"))
            if offset < before.get(partition, 0):
                falls.append((partition, before[partition], offset))
            before[partition] = offset
        time.sleep(0.02)
    session.close()


def test_a_sink_has_every_record_once(brain):
    seed = random.SystemRandom().randrange(2**31)
    print(f"# seed {seed}")
    brain.create_topic("chaos", PARTITIONS)
    brain.postgres.run("CREATE TABLE sink (partition int, \"offset\" int8, value text, pid int, PRIMARY KEY (partition, \"offset\"));"
                       "SELECT count(*) FROM sh_reset_offsets('chaos', 'chaos', 'earliest');")
    stop, stop_watching, falls = threading.Event(), threading.Event(), []
    consumers = [Consumer(brain, seed + n, stop) for n in range(CONSUMERS)]
    watcher = threading.Thread(target=watch_offsets, args=(brain, stop_watching, falls))
    for thread in (*consumers, watcher):
        thread.start()
    timer = threading.Timer(CHAOS_S, stop.set)
    timer.start()
    produced = chaos_produce(brain, stop)
    for consumer in consumers:
        consumer.join()
    last = Session(brain.postgres)
    last.run("SELECT sh_join('chaos', '{chaos}');")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and int(last.run("SELECT count(*) FROM sink;")[0]) < produced:
        last.run("INSERT INTO sink SELECT partition, \"offset\", convert_from(value, 'UTF8'), pg_backend_pid() FROM sh_poll('chaos', wait => '100 ms');")
    last.close()
    stop_watching.set()
    watcher.join()
    print(f"# {produced} records, {sum(c.commits for c in consumers)} commits, {sum(c.rollbacks for c in consumers)} rollbacks, "
          f"{sum(c.deaths for c in consumers)} deaths")
    assert [error for consumer in consumers for error in consumer.errors] == []
    assert falls == []
    assert brain.postgres.run("SELECT count(*), count(DISTINCT value) FROM sink;") == [f"{produced}|{produced}"]
    assert all(consumer.commits > 3 for consumer in consumers)


def test_groups_survive_a_crash_of_the_server(brain, sessions):
    brain.create_topic("crash", 2)
    produce(brain, "crash", 4, 2)
    brain.postgres.run("SELECT count(*) FROM sh_poll('crash', '{crash}', 1);")
    before = brain.postgres.run("SELECT partition, committed_offset FROM sh_group_lag('crash');")
    holder = Session(brain.postgres)
    holder.run("SELECT sh_join('crash', '{crash}');")
    holder.run("BEGIN;")
    holder.run("SELECT count(*) FROM sh_poll('crash');")
    brain.postgres.kill()
    brain.postgres.start()
    assert brain.postgres.run("SELECT partition, committed_offset FROM sh_group_lag('crash');") == before
    assert len(polled(sessions(), "crash", ", '{crash}'")) == 3
