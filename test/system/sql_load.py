"""sql_load.py: those who write to and read from topics in SQL, and note in a History what they were told.

Each is a thread with a session of its own, does one thing after the other until it is stopped, and connects again when it
was cut off. Partitions are (topic, number) here, since a transaction may write to several topics.
"""
import threading

from one_log import Outcome
from sql_session import Lost, connect

# What may become of a statement that others get in the way of: cancelled, deadlock, lock timeout, and what follows from it.
EXPECTED_STATES = {"57014", "40P01", "55P03", "25P02"}

SCHEMA = """
CREATE TABLE transactions (name text PRIMARY KEY, by text NOT NULL);
CREATE TABLE changes (transaction text NOT NULL, topic text NOT NULL, partition int, value text PRIMARY KEY);
CREATE TABLE sink (topic text NOT NULL, partition int NOT NULL, "offset" int8 NOT NULL, value text NOT NULL, by text NOT NULL);
CREATE FUNCTION publish_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM sh_enqueue(new.topic, new.value, partition => new.partition);
    RETURN NULL;
END $$;
CREATE TRIGGER publish AFTER INSERT ON changes FOR EACH ROW EXECUTE FUNCTION publish_change();
"""


class SqlThread(threading.Thread):
    """What writers and readers have in common."""

    def __init__(self, postgres, name, topics, partitions, chance):
        super().__init__(name=name, daemon=True)
        self.postgres, self.topics, self.partitions, self.chance = postgres, topics, partitions, chance
        self.stopping = threading.Event()
        self.session = None
        self.done = 0  # operations that were answered
        self.cut_off = 0
        self.errors = []

    def run(self):
        try:
            while not self.stopping.is_set():
                self.session = connect(self.postgres, self.stopping)
                self.work_until_lost()
        except Exception as error:  # a thread's own exceptions would be seen by nobody
            self.errors.append(repr(error))

    def work_until_lost(self):
        try:
            while not self.stopping.is_set():
                self.work(self.session)
                self.done += 1
                self.stopping.wait(self.chance.random() * 0.02)
        except Lost:
            self.cut_off += 1
        finally:
            if self.session:
                self.session.close()

    def check_state(self, answer, *others):
        if answer.sqlstate is not None and answer.sqlstate not in EXPECTED_STATES | set(others):
            self.errors.append(f"{self.name}: {answer.sqlstate} {self.session.last_complaint()}")

    def stop(self):
        self.stopping.set()
        self.join()


class SqlWriter(SqlThread):
    """Makes values and notes what became of them."""

    def __init__(self, history, *arguments):
        super().__init__(*arguments)
        self.history, self.number = history, 0

    def next_number(self):
        self.number += 1
        return self.number

    def place(self):
        return self.chance.choice(self.topics), self.chance.randrange(self.partitions)

    def send(self, transaction=None):
        """By this session: what the one before it was cut off from may come later still."""
        value = f"{self.name}/{self.next_number()}/{'x' * self.chance.randrange(300)}"
        return self.history.send(f"{self.name}, session {self.cut_off}", value.encode(), transaction)

    def timeout(self):
        """Now and then one that strikes in the middle."""
        return f"SET statement_timeout = {self.chance.randrange(1, 6) if self.chance.random() < 0.03 else 0};"

    def text(self, record):
        return record.value.decode()

    def produce_sql(self, record, topic, partition):
        """sh_produce() in one of its forms; its row says to whom it belongs."""
        how = self.chance.choice((f"partition => {partition}", f"key => 'k{partition}'", "key => NULL"))
        return (f"SELECT chr(1) || '{topic}', partition, \"offset\", '{self.text(record)}' "
                f"FROM sh_produce('{topic}', '{self.text(record)}'::text, {how});")


def acknowledge_rows(records, rows):
    """Rows are (topic, partition, offset, value)."""
    told = {value: ((topic, int(partition)), int(offset)) for topic, partition, offset, value in rows}
    for record in records:
        if record.outcome == Outcome.UNKNOWN:
            record.acknowledge(*told[record.value.decode()])


class AutocommitProducer(SqlWriter):
    """sh_produce(), a transaction each."""

    def work(self, session):
        record = self.send()
        answer = session.run(self.timeout() + "\n" + self.produce_sql(record, *self.place()))
        self.check_state(answer)
        if answer.sqlstate is None:
            acknowledge_rows([record], answer.rows())
        else:
            record.fail()


class BatchProducer(SqlWriter):
    """sh_produce_batch(): the records of a partition follow each other."""

    def work(self, session):
        topic, partition = self.place()
        records = [self.send() for _ in range(self.chance.randrange(1, 30))]
        values = ", ".join(f"'{self.text(record)}'" for record in records)
        answer = session.run(f"""{self.timeout()}
            SELECT chr(1) || first_offset, records FROM sh_produce_batch('{topic}', ARRAY[{values}]::text[], partition => {partition});""")
        self.check_state(answer)
        rows = answer.rows()
        if answer.sqlstate is None and rows and int(rows[0][1]) == len(records):
            for number, record in enumerate(records):
                record.acknowledge((topic, partition), int(rows[0][0]) + number)
        elif answer.sqlstate is not None:
            for record in records:
                record.fail()
        else:
            self.errors.append(f"{self.name}: {len(records)} records were answered with {rows}")


class TransactionWriter(SqlWriter):
    """A transaction of several records, with a row of the user's own; some are rolled back."""

    def work(self, session):
        transaction = f"{self.name}/{self.next_number()}"
        kept, doomed = [], []
        statements = list(self.statements(transaction, kept, doomed))
        isolation = self.chance.choice(("READ COMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"))
        end = "ROLLBACK" if self.chance.random() < 0.15 else "COMMIT"
        for record in doomed + (kept if end == "ROLLBACK" else []):
            record.fail()
        answer = session.run("\n".join((f"BEGIN ISOLATION LEVEL {isolation};", self.timeout().replace("SET", "SET LOCAL"),
                                        f"INSERT INTO transactions VALUES ('{transaction}', '{self.name}');", *statements, f"{end};")))
        self.check_state(answer, "40001")
        if answer.committed:
            self.acknowledge(kept, answer)
        else:
            for record in kept:
                record.fail()

    def acknowledge(self, kept, _answer):
        for record in kept:
            record.acknowledge()


class TransactionProducer(TransactionWriter):
    """sh_produce(): tells offsets before they are committed."""

    def statements(self, transaction, kept, _doomed):
        for topic, partition in sorted(self.place() for _ in range(self.chance.randrange(1, 5))):
            kept.append(self.send(transaction))
            yield self.produce_sql(kept[-1], topic, partition)

    def acknowledge(self, kept, answer):
        acknowledge_rows(kept, answer.rows())


class Outbox(TransactionWriter):
    """sh_enqueue() between savepoints, some of which are rolled back to."""

    def enqueue(self, record):
        topic, partition = self.place()
        where = self.chance.choice((f"partition => {partition}", f"key => 'k{partition}'", "key => NULL"))
        return f"SELECT sh_enqueue('{topic}', '{self.text(record)}'::text, {where});"

    def statements(self, transaction, kept, doomed):
        for _ in range(self.chance.randrange(1, 5)):
            kept.append(self.send(transaction))
            yield self.enqueue(kept[-1])
            if self.chance.random() < 0.5:
                yield from self.savepoint(transaction, kept, doomed)

    def savepoint(self, transaction, kept, doomed):
        keeps = self.chance.random() < 0.5
        name = f"s{self.next_number()}"  # of its own: a ROLLBACK TO an earlier one would mend a transaction that has failed since
        yield f"SAVEPOINT {name};"
        for _ in range(self.chance.randrange(1, 4)):
            (kept if keeps else doomed).append(self.send(transaction))
            yield self.enqueue((kept if keeps else doomed)[-1])
        if not keeps and self.chance.random() < 0.5:  # with the partition's lock taken inside
            doomed.append(self.send(transaction))
            yield self.produce_sql(doomed[-1], *self.place()).replace("chr(1) ||", "")
        yield f"{'RELEASE' if keeps else 'ROLLBACK TO'} {name};"


class ChangeCapture(TransactionWriter):
    """Rows of a table that a trigger publishes."""

    def statements(self, transaction, kept, _doomed):
        for _ in range(self.chance.randrange(1, 4)):
            topic, partition = self.place()
            some = [self.send(transaction) for _ in range(self.chance.randrange(1, 6))]
            kept += some
            values = ", ".join(f"('{transaction}', '{topic}', {partition}, '{self.text(record)}')" for record in some)
            yield f"INSERT INTO changes VALUES {values};"


class SqlReader(SqlThread):
    """Follows all partitions with sh_fetch()."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.read = []  # (partition, offset, value)
        self.next = {(topic, number): 0 for topic in self.topics for number in range(self.partitions)}

    def work(self, session):
        place = self.chance.choice(sorted(self.next))
        wait = self.chance.choice(("0", "0", "50ms"))
        found = fetch(session, place, self.next[place], 500, wait, self.check_state)
        self.read += [(place, offset, value) for offset, value in found]
        if found:
            self.next[place] = found[-1][0] + 1


class Sink(SqlThread):
    """A member of a consumer group that puts what it polls into a table, with the group's offsets in the same transaction."""

    GROUP = "sinks"
    NOT_A_MEMBER = {"SH025", "SH110"}

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.joined = None  # the session that did

    def insert(self):
        return f"""INSERT INTO sink SELECT topic, partition, "offset", convert_from(value, 'UTF8'), '{self.name}'
                   FROM sh_poll('{self.GROUP}', max_records => {self.chance.randrange(1, 500)},
                                wait => '{self.chance.choice((0, 30))} ms');"""

    def work(self, session):
        if self.joined is not session:
            topics = ", ".join(f"'{topic}'" for topic in self.topics)
            answer = session.run(f"SELECT sh_join('{self.GROUP}', ARRAY[{topics}]);")
            self.joined = session if answer.sqlstate is None else None
        elif self.chance.random() < 0.02:
            answer = session.run(f"SELECT sh_leave('{self.GROUP}');")
            self.joined = None
        elif self.chance.random() < 0.5:
            answer = session.run(self.insert())
        else:
            isolation = self.chance.choice(("READ COMMITTED", "REPEATABLE READ"))
            end = "ROLLBACK" if self.chance.random() < 0.1 else "COMMIT"
            undone = f"SAVEPOINT a;\n{self.insert()}\nROLLBACK TO a;\n" if self.chance.random() < 0.2 else ""
            answer = session.run(f"BEGIN ISOLATION LEVEL {isolation};\n{undone}{self.insert()}\n{end};")
        self.check_state(answer, "40001", *self.NOT_A_MEMBER)
        if answer.sqlstate in self.NOT_A_MEMBER:
            self.joined = None


def fetch(session, place, start, count, wait="0", check=None):
    """Records of a partition as [(offset, value), …]."""
    topic, number = place
    answer = session.run(f"""SELECT chr(1) || "offset", convert_from(value, 'UTF8')
                             FROM sh_fetch('{topic}', {number}, {start}, {count}, 16000000, wait => '{wait}');""")
    if check:
        check(answer)
    assert check or answer.sqlstate is None, session.last_complaint()
    return [(int(offset), value.encode()) for offset, value in answer.rows()]


def read_all(session, topic):
    """A topic's whole log by sh_read()."""
    answer = session.run(f"""SELECT chr(1) || partition, "offset", convert_from(value, 'UTF8') FROM sh_read('{topic}');""")
    assert answer.sqlstate is None, session.last_complaint()
    log = {}
    for partition, offset, value in answer.rows():
        log.setdefault((topic, int(partition)), []).append((int(offset), value.encode()))
    return log


def fetch_all(session, place):
    """A partition's whole log by sh_fetch()."""
    log = []
    while True:
        some = fetch(session, place, log[-1][0] + 1 if log else 0, 5000)
        log += some
        if not some:
            return log


