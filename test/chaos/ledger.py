"""ledger.py: a run's history in tables, for the rules to ask. The files are read once, line by line, into a temporary SQLite database,
which keeps CACHE_KIB in memory and the rest on disk, so that a run of hours is checked in as much memory as one of minutes; besides
there is only what a reader's stream needs to be followed: a few numbers for each process and partition."""
import json
import sqlite3

import history

CACHE_KIB = 128 * 1024
BATCH_LINES = 2000
OK, FAIL, UNKNOWN = 0, 1, 2
OUTCOMES = {"ok": OK, "fail": FAIL, "unknown": UNKNOWN}
BEFORE_ALL, AFTER_ALL = -1, 1 << 62

SCHEMA = """
CREATE TABLE process (process INTEGER PRIMARY KEY, name TEXT, client TEXT, file TEXT, ended INT DEFAULT 0);
CREATE TABLE place (place INTEGER PRIMARY KEY, name TEXT);
-- every operation, and where it is written
CREATE TABLE line (line INTEGER PRIMARY KEY, process INT, position INT, op TEXT, start INT, end INT, outcome INT);
-- every record somebody sent; place and offset as the sender was told
CREATE TABLE sent (id TEXT PRIMARY KEY, line INT, process INT, session INT, number INT, place INT, offset INT, sum TEXT, outcome INT,
                   ordered INT, transaction_name TEXT, undone INT, start INT, end INT) WITHOUT ROWID;
-- every record somebody read, once for each form in which it was seen; line: who saw it first, at read_end
CREATE TABLE seen (place INT, offset INT, id TEXT, sum TEXT, line INT, read_end INT, PRIMARY KEY (place, offset, id, sum)) WITHOUT ROWID;
-- places where a reader went over offsets (after, before), and what of it has to be explained
CREATE TABLE gap (line INT, place INT, after INT, before INT, door TEXT, since INT);
-- the highest offset of each read, for the graph of who knew what
CREATE TABLE knew (line INT, place INT, offset INT);
CREATE TABLE fresh (line INT, place INT, upto INT, start INT);
-- what a group's members read without a break, and where they began after an assignment
CREATE TABLE run (grp TEXT, place INT, first INT, last INT, line INT);
CREATE TABLE began (grp TEXT, place INT, offset INT, assigned INT, line INT);
CREATE TABLE committed (grp TEXT, place INT, offset INT, start INT, end INT, outcome INT, observed INT, line INT);
CREATE TABLE sink (grp TEXT, place INT, offset INT, id TEXT);
CREATE TABLE transaction_row (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE drained (door TEXT PRIMARY KEY, line INT);
-- what was wrong in itself: offsets that go back, offsets out of range
CREATE TABLE wrong (kind TEXT, text TEXT, line INT, place INT, offset INT);
CREATE TABLE expected (what TEXT, name TEXT);
CREATE TABLE count (process INT, what TEXT, n INT, PRIMARY KEY (process, what));
"""
INDEXES = """
CREATE INDEX seen_id ON seen (id);
CREATE INDEX sent_transaction ON sent (transaction_name) WHERE transaction_name IS NOT NULL;
CREATE INDEX committed_start ON committed (grp, place, start);
CREATE INDEX sink_place ON sink (grp, place, offset);
-- where each record really is, and by when it certainly was there; copy: 1 but for those that are doubled
CREATE TABLE there AS
    SELECT s.place, s.offset, s.id, t.line, t.process, t.session, t.number, t.ordered, t.outcome, t.transaction_name, t.start,
           min(CASE WHEN t.outcome = 0 THEN t.end ELSE s.read_end END, s.read_end) AS end,
           row_number() OVER (PARTITION BY id ORDER BY s.place, s.offset) AS copy
    FROM (SELECT place, offset, id, min(read_end) AS read_end FROM seen GROUP BY place, offset, id) AS s JOIN sent AS t USING (id);
CREATE INDEX there_start ON there (place, start);
CREATE INDEX there_end ON there (place, end);
CREATE INDEX there_line ON there (line);
CREATE INDEX there_id ON there (id);
-- what was acknowledged at an offset and read by nobody
CREATE TABLE unread AS SELECT place, offset, id, line, end FROM sent WHERE offset IS NOT NULL AND NOT EXISTS (SELECT 1 FROM seen WHERE seen.id = sent.id);
"""


class Ledger:
    """The tables, and the way back from an operation's number to its line."""

    def __init__(self, folder):
        self.db = sqlite3.connect("")  # a temporary file, on disk once it is larger than the cache
        self.db.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -{CACHE_KIB}; PRAGMA temp_store = FILE;")
        self.db.executescript(SCHEMA)
        self.places, self.next_line, self.first_ns = {}, 1, None
        self.rows = {}
        for number, path in enumerate(history.files(folder), 1):
            Reader(self, number, path).read()
        self.flush()
        self.db.executemany("INSERT INTO place VALUES (?, ?)", [(number, name) for name, number in self.places.items()])
        self.db.executescript(INDEXES)
        self.names = {number: name for name, number in self.places.items()}

    def place(self, name):
        return self.places.setdefault(name, len(self.places) + 1)

    def add(self, table, *row):
        self.rows.setdefault(table, []).append(row)

    def flush(self):
        for table, rows in self.rows.items():
            if not rows:
                continue
            marks = ", ".join("?" * len(rows[0]))
            self.db.executemany(INSERTS.get(table, f"INSERT INTO {table} VALUES ({marks})"), rows)
            rows.clear()

    def ask(self, sql, *values):
        return self.db.execute(sql, values)

    def value(self, sql, *values):
        return self.ask(sql, *values).fetchone()[0]

    def operation(self, line):
        """The line itself, as it was read."""
        path, position = self.ask("SELECT file, position FROM line JOIN process USING (process) WHERE line = ?", line).fetchone()
        with open(path, "rb") as file:
            file.seek(position)
            return json.loads(file.readline())


INSERTS = {
    "seen": """INSERT INTO seen VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET line = CASE WHEN excluded.read_end < read_end THEN excluded.line ELSE line END,
               read_end = min(read_end, excluded.read_end)""",
    "sent": "INSERT OR ABORT INTO sent VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "transaction_row": "INSERT OR IGNORE INTO transaction_row VALUES (?)",
    "count": "INSERT INTO count VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n",
    "ended": "UPDATE process SET ended = 1 WHERE process = ?",
}


class Stream:
    """Where a reader is in a place: the last offset it had, or where it begins."""

    def __init__(self, last=None, assigned=None, first=None):
        self.last, self.assigned, self.first, self.line = last, assigned, first, None
        self.committed, self.kept = None, False  # the offset that the reader committed last; kept through a rebalance just now


class Reader:
    """Reads one process's file. Its operations are in the order in which it did them."""

    def __init__(self, ledger, process, path):
        self.ledger, self.process, self.path = ledger, process, path
        self.streams = {}  # place or (door, place) -> Stream
        self.drain_starts = {}
        self.group = None

    def read(self):
        client, position = None, 0
        with open(self.path, "rb") as file:
            for count, text in enumerate(file):
                line = json.loads(text) if text.endswith(b"\n") else {}  # else the process died while it wrote
                if line.get("op") in history.OPERATIONS:  # a nemesis keeps its file there, too
                    if client is None:
                        client = line["client"]
                        self.ledger.add("process", self.process, self.path.stem, client, str(self.path), 0)
                    self.take(line, position)
                position += len(text)
                if count % BATCH_LINES == 0:
                    self.ledger.flush()
        self.ledger.flush()
        self.close_streams()

    def take(self, line, position):
        number, ledger = self.ledger.next_line, self.ledger
        ledger.next_line += 1
        ledger.first_ns = min(ledger.first_ns or line["start_ns"], line["start_ns"])
        outcome = OUTCOMES[line["outcome"]]
        ledger.add("line", number, self.process, position, line["op"], line["start_ns"], line["end_ns"], outcome)
        handler = getattr(self, "take_" + line["op"], None)
        if line["op"] not in ("note", "end", "expect"):
            self.count("operations")
        if handler:
            handler(number, line, outcome)

    def count(self, what, n=1):
        if n:
            self.ledger.add("count", self.process, what, n)

    def take_send(self, number, line, outcome):
        for undone, records in ((0, line["records"]), (1, line.get("undone", []))):
            told = FAIL if undone else outcome
            self.count(("acknowledged", "failed", "unknown")[told], len(records))
            for place, offset, value, made in records:
                place = None if place is None else self.ledger.place(place)
                order = int(value.rpartition(":")[2]) if value.rpartition(":")[2].isdigit() else 0
                self.ledger.add("sent", value, number, self.process, line.get("session", 0), order, place, offset if told == OK else None, made, told,
                                int(line.get("ordered", True)), line.get("transaction"), undone, line["start_ns"], line["end_ns"])

    def take_assign(self, number, line, _outcome):
        for name in [*line["removed"], *line["added"]]:
            self.end_run(self.ledger.place(name), self.streams.pop(self.ledger.place(name), None))
        self.group = line.get("group", self.group)
        for stream in self.streams.values():
            stream.kept = line["mode"] == "group"
        for name in line["added"]:
            start = line.get("at", {}).get(name)
            place = self.ledger.place(name)
            self.streams[place] = Stream(last=None if start is None else start - 1, assigned=line["start_ns"])

    def take_poll(self, number, line, outcome):
        if line.get("error"):
            self.ledger.add("wrong", "out_of_range", f"a reader was told: {line['error']}", number, None, None)
        for name, records in line["reads"].items():
            place = self.ledger.place(name)
            self.see(number, line, place, records)
            self.count("read", len(records))
            (self.follow_sink if line["mode"] == "sink" else self.follow)(number, line, place, records, outcome)
        for name, upto in line.get("fresh", {}).items():
            self.ledger.add("fresh", number, self.ledger.place(name), upto, line["start_ns"])

    def see(self, number, line, place, records):
        for offset, value, made in records:
            self.ledger.add("seen", place, offset, value, made, number, line["end_ns"])
        if records:
            self.ledger.add("knew", number, place, max(record[0] for record in records))

    def go_back(self, number, place, last, offset):
        self.ledger.add("wrong", "went_back", f"a reader of {{place}} that had offset {last} got {offset} next", number, place, offset)

    def walk(self, number, place, stream, records, door=None):
        """Goes through records in the order in which they came. What a member keeps through a rebalance is paused meanwhile, and when it
        goes on librdkafka may give it again what it has had and not committed."""
        for offset, *_ in records:
            again = stream.kept and stream.last is not None and (stream.committed or 0) <= offset <= stream.last
            stream.kept = False
            if stream.last is not None and not again:
                if offset <= stream.last:
                    self.go_back(number, place, stream.last, offset)
                elif offset > stream.last + 1:
                    self.ledger.add("gap", number, place, stream.last, offset, door, None)
            stream.last = offset

    def follow(self, number, line, place, records, _outcome):
        stream = self.streams.setdefault(place, Stream())
        if stream.first is None and records:
            stream.first, stream.line = records[0][0], number
            if line["mode"] == "group" and stream.assigned is not None:
                self.ledger.add("began", line["group"], place, stream.first, stream.assigned, number)
        self.group = line.get("group", self.group)
        self.walk(number, place, stream, records)

    def follow_sink(self, number, line, place, records, outcome):
        """A session's polls that were committed only rise, whatever others did between them; within a poll nothing is skipped."""
        stream = self.streams.get(place, Stream())
        if stream.last is not None and records and records[0][0] <= stream.last:
            self.go_back(number, place, stream.last, records[0][0])
        within = Stream()
        self.walk(number, place, within, records)
        if outcome == OK and records:
            self.streams[place] = Stream(last=within.last)
            self.ledger.add("committed", line["group"], place, within.last + 1, line["start_ns"], line["end_ns"], OK, 0, number)

    def end_run(self, place, stream):
        if stream and stream.first is not None and self.group is not None:
            self.ledger.add("run", self.group, place, stream.first, stream.last, stream.line)

    def close_streams(self):
        if self.group is not None:
            for place, stream in self.streams.items():
                self.end_run(place, stream)
        self.streams = {}

    def take_commit(self, number, line, outcome):
        for name, offset in line["offsets"].items():
            stream = self.streams.get(self.ledger.place(name))
            if stream and outcome == OK:
                stream.committed = offset
            self.ledger.add("committed", line["group"], self.ledger.place(name), offset, line["start_ns"], line["end_ns"], outcome, 0, number)

    def take_committed(self, number, line, outcome):
        for name, offset in line["offsets"].items():
            if outcome == OK:
                self.ledger.add("committed", line["group"], self.ledger.place(name), offset, line["start_ns"], line["end_ns"], OK, 1, number)

    def take_drain(self, number, line, _outcome):
        door = line["door"]
        self.drain_starts.setdefault(door, line["start_ns"])
        for name, records in line["reads"].items():
            place = self.ledger.place(name)
            self.see(number, line, place, records)
            self.count("read", len(records))
            stream = self.streams.setdefault((door, place), Stream(last=BEFORE_ALL))
            stream.assigned = line["start_ns"]
            self.walk(number, place, stream, records, door)
        if line.get("done"):
            self.ledger.add("drained", door, number)
            for name, end in line["ends"].items():
                place = self.ledger.place(name)
                stream = self.streams.get((door, place), Stream(last=BEFORE_ALL, assigned=self.drain_starts[door]))
                self.ledger.add("gap", number, place, stream.last, AFTER_ALL, door, stream.assigned)

    def take_rows(self, number, line, _outcome):
        if line["table"] == "transactions":
            self.ledger.add("expected", "rows", "transactions")
            for name in line["names"]:
                self.ledger.add("transaction_row", name)
            return
        self.ledger.add("expected", "sink", line["group"])
        for name, records in line["reads"].items():
            for offset, value, _made in records:
                self.ledger.add("sink", line["group"], self.ledger.place(name), offset, value)

    def take_expect(self, number, line, _outcome):
        for what in ("doors", "groups"):
            for name in line[what]:
                self.ledger.add("expected", what, name)

    def take_end(self, _number, _line, _outcome):
        self.ledger.add("ended", self.process)
