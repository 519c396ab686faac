"""sql_clients.py: the clients of a chaos run that speak SQL, each by way of a psql of its own. A COMMIT whose answer was lost is unknown;
an error that PostgreSQL reported is a rollback. No statement_timeout: one that strikes while a commit waits for its standby would have
psql report a success that is none."""
import json
import os
import time

from client import Client, Pace, main, place_name
from history import Record, digest, identity, now, seen
from sql_session import Lost, Session

SCHEMA = """
CREATE TABLE IF NOT EXISTS chaos_transaction (name text PRIMARY KEY);
CREATE TABLE IF NOT EXISTS chaos_sink ("group" text NOT NULL, topic text NOT NULL, partition int NOT NULL, "offset" int8 NOT NULL, id text NOT NULL);
"""
COLUMNS = """topic, partition, "offset", coalesce(round(extract(epoch FROM "timestamp") * 1000)::int8, -1),
    coalesce('x' || encode(key, 'hex'), '-'), coalesce('x' || encode(value, 'hex'), '-'), coalesce(headers::text, '{}')"""
FETCH_RECORDS, FETCH_BYTES = 500, 8_000_000
ANSWER_S = 60
UNREPLICATED = b"canceling wait for synchronous replication"  # a warning: the COMMIT that it interrupts is answered as if it were safe


class Database:
    """Where sql_session's sessions go."""

    def __init__(self, conninfo):
        self.text = conninfo

    def conninfo(self, _user):
        return self.text


class Connection:
    """A session of psql; who does not answer is as good as gone."""

    def __init__(self, conninfo):
        self.complained = 0
        try:
            self.session = Session(Database(conninfo))
        except AssertionError as error:
            raise Lost from error

    def run(self, sql, timeout=ANSWER_S):
        try:
            answer = self.session.run(sql, timeout)
        except AssertionError as error:
            raise Lost from error
        if UNREPLICATED in self.new_complaints():
            raise Lost
        return answer

    def new_complaints(self):
        """What psql has said on standard error since this was asked last. Its position in the file is ours too: it stays where it is."""
        text = os.pread(self.session.complaints.fileno(), 1 << 16, self.complained)
        self.complained += len(text)
        return text

    def rows(self, sql):
        """Rows of a query that has to work."""
        answer = self.run(sql)
        if answer.sqlstate is not None:
            raise RuntimeError(f"{answer.sqlstate} {self.session.last_complaint()}")
        return answer.rows()

    def close(self):
        self.session.close()


def decode(word):
    return None if word == "-" else bytes.fromhex(word[1:])


def decode_headers(text):
    return tuple((name, None if value is None else value.encode()) for name, value in json.loads(text).items())


def reads_of(rows):
    """{place: [record, …]} of rows of COLUMNS."""
    reads = {}
    for topic, partition, offset, timestamp, key, value, headers in rows:
        record = Record(decode(key), decode(value), decode_headers(headers), int(timestamp))
        reads.setdefault(place_name(topic, partition), []).append(seen(int(offset), record))
    return reads


def arguments(topic, record, partition):
    """Of sh_produce() and sh_enqueue()."""
    key = "NULL" if record.key is None else f"'{record.key.decode()}'"
    headers = json.dumps({name: None if value is None else value.decode() for name, value in record.headers}, ensure_ascii=False)
    return (f"'{topic}', '{record.value.decode()}'::text, key => {key}, headers => {f'{chr(39)}{headers}{chr(39)}' if record.headers else 'NULL'}, "
            f"ts => to_timestamp({record.timestamp} / 1000.0), partition => {'NULL' if partition is None else partition}")


class SqlClient(Client):
    kind = "sql"

    def open(self):
        self.connection = None
        self.connection = Connection(self.config["conninfo"])
        self.connection.run("SET lock_timeout = '10s';")

    def close(self):
        if self.connection:
            self.connection.close()

    def choose(self, key=None):
        """(topic, partition or None, record)."""
        topic, partition = self.chance.choice(self.places)
        how = self.chance.randrange(3)
        record = self.maker.next(key=f"k{self.chance.randrange(50)}".encode() if how else None)
        return topic, partition if how < 2 else None, record

    def line(self, chosen, offset=None, place=None):
        topic, partition, record = chosen
        known = place or (None if partition is None else place_name(topic, partition))
        return [known, offset, identity(record.value), digest(record)]

    def write_sent(self, started_ns, outcome, lines, **more):
        self.journal.write("send", started_ns, outcome, records=lines, ordered=True, session=self.session, **more)
        if outcome == "ok":
            self.progress.succeed(acknowledged=len(lines))


class Producer(SqlClient):
    """sh_produce() by itself, and sh_produce_batch()."""

    kind = "sql producer"

    def open(self):
        super().open()
        self.pace = Pace(self.config.get("rate", 20))

    def work(self):
        self.pace.wait()
        (self.one if self.chance.random() < 0.8 else self.batch)()

    def ask(self, sql, lines):
        """The answer's rows, or None when there are none and that is written down."""
        started_ns = now()
        try:
            answer = self.connection.run(sql)
        except Lost:
            self.write_sent(started_ns, "unknown", lines)
            raise
        if answer.sqlstate is not None:
            self.write_sent(started_ns, "fail", lines, error=answer.sqlstate)
            return started_ns, None
        return started_ns, answer.rows()

    def one(self):
        chosen = self.choose()
        started_ns, rows = self.ask(f"SELECT chr(1) || partition, \"offset\" FROM sh_produce({arguments(chosen[0], chosen[2], chosen[1])});", [self.line(chosen)])
        if rows is not None:
            partition, offset = rows[0]
            self.write_sent(started_ns, "ok", [self.line(chosen, int(offset), place_name(chosen[0], partition))])

    def batch(self):
        topic, partition = self.chance.choice(self.places)
        chosen = [(topic, partition, self.maker.next()) for _ in range(self.chance.randrange(1, 15))]
        texts = ", ".join(f"'{record.value.decode()}'" for _, _, record in chosen)
        headers = ", ".join("'" + json.dumps({name: None if value is None else value.decode() for name, value in record.headers}, ensure_ascii=False) + "'"
                            if record.headers else "NULL" for _, _, record in chosen)
        times = ", ".join(f"to_timestamp({record.timestamp} / 1000.0)" for _, _, record in chosen)
        started_ns, rows = self.ask(
            f"""SELECT chr(1) || first_offset, records FROM sh_produce_batch('{topic}', ARRAY[{texts}]::text[], partition => {partition},
                headers => ARRAY[{headers}]::jsonb[], ts => ARRAY[{times}]);""", [self.line(one) for one in chosen])
        if rows is not None:
            first = int(rows[0][0])
            self.write_sent(started_ns, "ok", [self.line(one, first + number) for number, one in enumerate(chosen)])


class Transactions(SqlClient):
    """Transactions of several records with a row of the user's own: committed, rolled back, or left by a session that dies."""

    kind = "sql transactions"

    def open(self):
        super().open()
        self.pace = Pace(self.config.get("rate", 5))

    def work(self):
        self.pace.wait()
        name = f"{self.process}/{self.progress.operations}"
        self.kept, self.undone = [], []
        statements = list(self.statements())
        isolation = self.chance.choice(("READ COMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"))
        end = self.chance.choices(("COMMIT;", "ROLLBACK;", ""), (80, 15, 5))[0]
        row = f"INSERT INTO chaos_transaction VALUES ('{name}');"
        self.perform(name, "\n".join((f"BEGIN ISOLATION LEVEL {isolation};", row, *statements, end)), end)

    def perform(self, name, sql, end):
        started_ns = now()
        try:
            committed = self.connection.run(sql).committed
        except Lost:
            self.write(started_ns, "unknown" if end == "COMMIT;" else "fail", name)
            raise
        if end != "COMMIT;":
            self.write(started_ns, "fail", name)
        else:
            self.write(started_ns, "ok" if committed else "fail", name)
        if not end:
            raise Lost  # with the transaction open

    def write(self, started_ns, outcome, name):
        self.write_sent(started_ns, outcome, [self.line(one) for one in self.kept], transaction=name, undone=[self.line(one) for one in self.undone])

    def statements(self):
        """sh_produce() in an order of partitions that all agree on; sh_enqueue() in any, with savepoints."""
        if self.chance.random() < 0.3:
            some = sorted((self.choose() for _ in range(self.chance.randrange(1, 5))), key=lambda one: one[:2] if one[1] is not None else (one[0], -1))
            for topic, partition, record in self.in_order(some):
                yield f"SELECT sh_produce({arguments(topic, record, partition)});"
            return
        for _ in range(self.chance.randrange(1, 5)):
            yield self.enqueue(self.kept)
        if self.chance.random() < 0.4:
            yield "SAVEPOINT a;"
            for _ in range(self.chance.randrange(1, 4)):
                yield self.enqueue(self.undone)
            yield "ROLLBACK TO a;"
            yield self.enqueue(self.kept)

    def in_order(self, some):
        """Numbers rise in the order of sending: values are made anew once the order is known."""
        for topic, partition, old in some:
            record = self.maker.next(key=old.key)
            self.kept.append((topic, partition, record))
            yield topic, partition, record

    def enqueue(self, where):
        topic, partition, record = self.choose()
        where.append((topic, partition, record))
        return f"SELECT sh_enqueue({arguments(topic, record, partition)});"


class Follower(SqlClient):
    """sh_fetch() of one partition after the other. What it gives is all that had been acknowledged before."""

    kind = "sql follower"

    def __init__(self, config):
        super().__init__(config)
        self.next = {place_name(*place): 0 for place in self.places}

    def open(self):
        super().open()
        self.journal.write("assign", now(), mode="manual", added=sorted(self.next), removed=[], at=dict(self.next))

    def work(self):
        topic, partition = self.chance.choice(self.places)
        place = place_name(topic, partition)
        wait = self.chance.choice(("0", "0", "50 ms"))
        started_ns = now()
        reads = reads_of(self.connection.rows(f"""SELECT chr(1) || {COLUMNS} FROM sh_fetch('{topic}', {partition}, {self.next[place]}, {FETCH_RECORDS},
                                                  {FETCH_BYTES}, wait => '{wait}');"""))
        found = reads.get(place, [])
        if found:
            self.next[place] = found[-1][0] + 1
        # A record is at most some 60 kB: fewer records than asked for are all that there were, unless the bytes were too many.
        fresh = {place: self.next[place]} if len(found) < 100 else {}
        self.journal.write("poll", started_ns, reads=reads, mode="manual", fresh=fresh)
        self.progress.succeed(read=len(found))
        self.progress.positions[place] = self.next[place]
        time.sleep(self.chance.uniform(0, 2 * self.config.get("pause_s", 0.05)))


class Sink(SqlClient):
    """A member of a group that puts what it polls into a table, with the group's offsets in the same transaction."""

    kind = "sql sink"
    NOT_A_MEMBER = {"SH025", "SH110"}

    def open(self):
        super().open()
        self.joined = False

    def work(self):
        if not self.joined:
            topics = ", ".join(f"'{topic}'" for topic in sorted(self.topics))
            self.joined = self.connection.run(f"SELECT sh_join('{self.config['group']}', ARRAY[{topics}], auto_offset_reset => 'earliest');").sqlstate is None
        elif self.chance.random() < 0.01:
            self.connection.run(f"SELECT sh_leave('{self.config['group']}');")
            self.joined = False
        else:
            self.poll("ROLLBACK" if self.chance.random() < 0.1 else "COMMIT")
        time.sleep(self.chance.uniform(0, 2 * self.config.get("pause_s", 0.1)))

    def poll(self, end):
        group, isolation = self.config["group"], self.chance.choice(("READ COMMITTED", "REPEATABLE READ"))
        sql = f"""BEGIN ISOLATION LEVEL {isolation};
            WITH polled AS MATERIALIZED (SELECT * FROM sh_poll('{group}', max_records => {self.chance.randrange(1, 500)}, wait => '{self.chance.choice((0, 30))} ms')),
                 put AS (INSERT INTO chaos_sink SELECT '{group}', topic, partition, "offset", substring(convert_from(value, 'UTF8') FROM '^[^:]*:[^:]*') FROM polled)
            SELECT chr(1) || {COLUMNS} FROM polled;
            {end};"""
        started_ns = now()
        answer = self.connection.run(sql)  # Lost: nothing was read that anybody knows of, and the table tells the rest
        reads = reads_of(answer.rows())
        outcome = "ok" if answer.committed else "fail"
        if reads:
            self.journal.write("poll", started_ns, outcome, reads=reads, mode="sink", group=group)
        if outcome == "ok":
            self.progress.succeed(read=sum(map(len, reads.values())))
        if answer.sqlstate in self.NOT_A_MEMBER or (end == "COMMIT" and not answer.committed):
            self.joined = False


class Observer(SqlClient):
    """Asks for the groups' offsets, over and over."""

    kind = "sql observer"

    def work(self):
        for group in self.config["groups"]:
            started_ns = now()
            answer = self.connection.run(f"SELECT chr(1) || topic, partition, coalesce(committed_offset, -1) FROM sh_group_lag('{group}');")
            if answer.sqlstate is None:
                offsets = {place_name(topic, partition): int(offset) for topic, partition, offset in answer.rows()}
                self.journal.write("committed", started_ns, group=group, offsets=offsets)
                self.progress.succeed()
                self.progress.positions[group] = offsets
        time.sleep(1)


class Drain(SqlClient):
    """Reads everything by sh_fetch() and what the tables hold, and is done. It starts again when it fails."""

    kind = "sql drain"

    def work(self):
        door, ends = f"sh_fetch, try {self.session}", {}
        for topic, partition in self.places:
            ends[place_name(topic, partition)] = self.read(door, topic, partition)
        self.journal.write("drain", now(), door=door, done=True, ends=ends, reads={})
        started_ns = now()
        names = [name for name, in self.connection.rows("SELECT chr(1) || name FROM chaos_transaction;")]
        self.journal.write("rows", started_ns, table="transactions", names=names)
        self.sink()
        self.stopping = True

    def read(self, door, topic, partition):
        position = 0
        while True:
            started_ns = now()
            reads = reads_of(self.connection.rows(f"SELECT chr(1) || {COLUMNS} FROM sh_fetch('{topic}', {partition}, {position}, 5000, {FETCH_BYTES});"))
            if not reads:
                return position
            self.journal.write("drain", started_ns, door=door, reads=reads)
            (records,) = reads.values()
            position = records[-1][0] + 1
            self.progress.succeed(read=len(records))
            self.progress.tell()

    def sink(self):
        started_ns, groups = now(), {}
        for group, topic, partition, offset, value in self.connection.rows('SELECT chr(1) || "group", topic, partition, "offset", id FROM chaos_sink;'):
            groups.setdefault(group, {}).setdefault(place_name(topic, partition), []).append([int(offset), value, None])
        for group, reads in groups.items():
            self.journal.write("rows", started_ns, table="sink", group=group, reads=reads)


ROLES = {"producer": Producer, "transactions": Transactions, "follower": Follower, "sink": Sink, "observer": Observer, "drain": Drain}

if __name__ == "__main__":
    os.nice(5)
    main(ROLES)
