"""history.py: what the clients of a chaos run write down, and how: a folder of files, one a process, one operation a line.

A line is a JSON object. Every one has

    process   the process's name, which is the file's too
    client    what kind of client it is, librdkafka say
    op        what was done, see below
    start_ns  when it was begun, and
    end_ns    when it was answered or given up: CLOCK_MONOTONIC, which all processes of a machine share
    outcome   ok: it was acknowledged; fail: it certainly did not happen; unknown: nobody was told

A *place* is a partition, written topic/number. A *record* is a list [offset, id, sum], where sum says what it is made of (see
digest()), and id is the beginning of its value, PROCESS:NUMBER, that no other record of the run has; numbers of a process rise in the
order in which it sends. A null offset was not told. Operations are

    send    records: [[place, offset, id, sum], …] that were sent together; place is null when nobody said it. ordered: false for a
            client that promises neither order nor absence of duplicates. transaction: the name of a SQL transaction, whose records
            are there all or none, with a row of that name in a table. undone: those that it rolled back to a savepoint itself.
            session: order is promised within one only
    assign  a reader is given places. mode: manual (from its own start, given in at: {place: offset}), or group. added, removed:
            [place, …]. group: its name
    poll    reads: {place: [record, …]} in the order in which they came. mode as above, or sink: the reader does not learn of its
            assignments. group. fresh: places whose reads include all that was there when the operation began
    commit  offsets: {place: offset to go on from}, group
    committed  offsets of a group, as somebody asked for them; -1 is none
    drain   reads everything of a place, from its first to its last record: door (whose log this is), reads as in a poll; many lines
            make a drain, and the last has done: true, and ends: {place: the offset after the last}
    rows    what tables hold at the end. table: transactions, names: [the transactions that left their row]; or table: sink, group,
            reads as in a poll, in any order
    expect  what the run wanted at its end. doors: that should have been read; groups: that should have come to the end
    note    something to read: text
    end     the process stopped because it was asked to. Without it the process died, and what it sent last may not be in its file
"""
import json
import os
import time
import zlib
from pathlib import Path
from typing import NamedTuple, Optional, Tuple


OPERATIONS = ("send", "assign", "poll", "commit", "committed", "drain", "rows", "expect", "note", "end")


class Record(NamedTuple):
    """A record as it is sent or received; headers are (name, bytes or None)."""

    key: Optional[bytes]
    value: bytes
    headers: Tuple
    timestamp: int


def digest(record):
    """What a record is made of, in words that name what differs: key.value.headers.timestamp, each 16 bits of a CRC32."""
    headers = b"".join(name.encode() + (b"" if value is None else b"=" + value) + b"\n" for name, value in record.headers)
    return ".".join((checksum(record.key), checksum(record.value), checksum(headers), checksum(b"%d" % record.timestamp)))


def checksum(data):
    return "-" if data is None else f"{zlib.crc32(data) & 0xffff:04x}"


def identity(value):
    """The id at the beginning of a value; what is no value of ours is its own id."""
    words = value[:80].split(b":", 2) if value is not None else [b"null"]
    return b":".join(words[:2]).decode(errors="replace") if len(words) == 3 else f"?{words[0][:40]!r}"


def seen(offset, record):
    return [offset, identity(record.value), digest(record)]


class Maker:
    """Makes a process's records, none like another: with and without a key, headers and nulls, small and now and then large."""

    def __init__(self, process, chance, large=0.02, large_bytes=60_000):
        self.process, self.chance, self.large, self.large_bytes = process, chance, large, large_bytes
        self.number = 0

    def next(self, key=None, size=None):
        self.number += 1
        if size is None:
            size = self.chance.randrange(self.large_bytes) if self.chance.random() < self.large else self.chance.randrange(300)
        value = f"{self.process}:{self.number}:".encode() + self.padding(size)
        return Record(key, value, self.headers(), int(time.time() * 1000))

    def padding(self, size):
        """Letters and digits, which every door can carry, and which compress only so far."""
        some = self.chance.randbytes(min(size, 200) // 2 + 1).hex().encode()
        return (some * (size // len(some) + 1))[:size]

    def headers(self):
        kind = self.chance.randrange(4)
        return ((), (("a", b"%d" % self.number),), (("a", None),), (("a", b""), ("b", "wörld".encode())))[kind]


class Journal:
    """A process's file. Each line leaves at once, so that the death of a process costs no more than what it had under way."""

    def __init__(self, folder, process, client):
        self.process, self.client = process, client
        self.file = open(Path(folder) / f"{process}.jsonl", "a", encoding="utf-8", buffering=1 << 16)
        self.written = 0.0

    def write(self, op, start_ns, outcome="ok", end_ns=None, **more):
        line = {"process": self.process, "client": self.client, "op": op, "start_ns": start_ns, "end_ns": end_ns or now(), "outcome": outcome, **more}
        self.file.write(json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n")
        self.file.flush()

    def note(self, text):
        self.write("note", now(), text=text[:500])

    def close(self):
        self.write("end", now())
        self.file.close()


class Progress:
    """A few numbers in a file beside the history, for whoever watches the run: replaced, never half-written."""

    EVERY_NS = 500_000_000

    def __init__(self, folder, process):
        self.path = Path(folder) / f"{process}.progress"
        self.operations = self.acknowledged = self.read = 0
        self.succeeded_ns = self.told_ns = now()
        self.positions = {}

    def succeed(self, acknowledged=0, read=0):
        self.acknowledged += acknowledged
        self.read += read
        self.succeeded_ns = now()

    def tell(self, force=False):
        if not force and now() - self.told_ns < self.EVERY_NS:
            return
        self.told_ns = now()
        fields = {"operations": self.operations, "acknowledged": self.acknowledged, "read": self.read, "succeeded_ns": self.succeeded_ns,
                  "positions": self.positions}
        unfinished = self.path.with_suffix(".new")
        unfinished.write_text(json.dumps(fields))
        os.replace(unfinished, self.path)


def now():
    return time.monotonic_ns()


def files(folder):
    return sorted(Path(folder).glob("*.jsonl"))
