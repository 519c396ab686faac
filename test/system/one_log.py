"""one_log.py: what was sent to a topic by anybody, what became of it, and whether a log that somebody read agrees.

A log is {partition: [(offset, value), …]} in the order in which it was read. Every value is unique, so whatever was lost,
doubled, moved or torn can be named. Each check gives sentences about what is wrong, and none when all is well.
"""
import enum
from dataclasses import dataclass
from typing import Optional


class Outcome(enum.Enum):
    """What the one who sent a record was told."""

    UNKNOWN = "unknown"  # nothing, or that the connection is lost: it may be there or not
    ACKNOWLEDGED = "acknowledged"
    FAILED = "failed"  # rolled back, or refused: it must not be there


@dataclass
class Sent:
    """A record that somebody has sent."""

    writer: str
    value: bytes
    transaction: Optional[str] = None  # the row of the user's own table that was written with it
    outcome: Outcome = Outcome.UNKNOWN
    partition: Optional[int] = None  # where it is, as the writer was told
    offset: Optional[int] = None

    def acknowledge(self, partition=None, offset=None):
        self.outcome, self.partition, self.offset = Outcome.ACKNOWLEDGED, partition, offset

    def fail(self):
        self.outcome = Outcome.FAILED


class History:
    """Everything sent to one topic. Writers are threads; each of them sends one record after the other."""

    def __init__(self):
        self.sent = []

    def send(self, writer, value, transaction=None):
        self.sent.append(Sent(writer, value, transaction))
        return self.sent[-1]

    def count(self, outcome):
        return sum(record.outcome == outcome for record in list(self.sent))


def places(log):
    """Where each value is: {value: [(partition, offset), …]}."""
    found = {}
    for partition, records in log.items():
        for offset, value in records:
            found.setdefault(value, []).append((partition, offset))
    return found


def offsets_rise(log, **_):
    for partition, records in log.items():
        for (before, _), (offset, value) in zip(records, records[1:]):
            if offset <= before:
                yield f"partition {partition}: offset {offset} ({value[:40]}) follows offset {before}"


def a_value_is_there_once(log, **_):
    for value, at in places(log).items():
        if len(at) > 1:
            yield f"{value[:40]} is there {len(at)} times: {at[:5]}"


def nothing_is_invented(history, log, **_):
    known = {record.value for record in history.sent}
    for value, at in places(log).items():
        if value not in known:
            yield f"{value[:40]} at {at[0]} was never sent"


def what_was_acknowledged_is_there(history, log, **_):
    found = places(log)
    for record in history.sent:
        if record.outcome != Outcome.ACKNOWLEDGED:
            continue
        at = found.get(record.value, [])
        if not at:
            yield f"{record.writer}: {record.value[:40]} was acknowledged and is lost ({record.partition}, {record.offset})"
        elif record.offset is not None and (record.partition, record.offset) not in at:
            yield f"{record.writer}: {record.value[:40]} was acknowledged at {(record.partition, record.offset)} and is at {at[0]}"


def what_failed_is_not_there(history, log, **_):
    found = places(log)
    for record in history.sent:
        if record.outcome == Outcome.FAILED and record.value in found:
            yield f"{record.writer}: {record.value[:40]} failed and is at {found[record.value][0]}"


def a_writers_order_is_kept(history, log, **_):
    """What one writer has sent to a partition is there in that order, whatever it was told."""
    found, last = places(log), {}
    for record in history.sent:
        for partition, offset in found.get(record.value, [])[:1]:
            before = last.get((record.writer, partition))
            if before and offset < before[0]:
                yield f"{record.writer}: {record.value[:40]} at {(partition, offset)} was sent after {before[1][:40]} at {before[0]}"
            last[record.writer, partition] = (offset, record.value)


def transactions_are_whole(history, log, rows=None, **_):
    """A transaction's records are there with its row in the user's table, or neither is; what it rolled back itself apart."""
    if rows is None:
        return
    found, records_of = places(log), {}
    for record in history.sent:
        if record.transaction is not None:
            kept = records_of.setdefault(record.transaction, [])
            if record.outcome != Outcome.FAILED:
                kept.append(record)
    for transaction, kept in records_of.items():
        there = sum(record.value in found for record in kept)
        if there not in (0, len(kept)):
            yield f"transaction {transaction} is torn: {there} of its {len(kept)} records are there"
        elif kept and (there > 0) != (transaction in rows):
            yield f"transaction {transaction}: its records are {'there' if there else 'not there'}, but not so its row"
        elif not kept and transaction in rows:
            yield f"transaction {transaction} failed, and its row is there"
    for transaction in set(rows) - set(records_of):
        yield f"the row of transaction {transaction} is there, but nobody wrote it"


CHECKS = [offsets_rise, a_value_is_there_once, nothing_is_invented, what_was_acknowledged_is_there, what_failed_is_not_there,
          a_writers_order_is_kept, transactions_are_whole]


def violations(history, log, rows=None):
    """Everything that is wrong with a log. rows: the transactions in the user's own table."""
    return [sentence for check in CHECKS for sentence in check(history=history, log=log, rows=rows)]


def doors_disagree(logs):
    """Everything in which logs differ that were read through different doors: {door: log}."""
    doors = iter(logs.items())
    first_door, first = next(doors)
    for door, log in doors:
        for partition in sorted({*first, *log}):
            here, there = first.get(partition, []), log.get(partition, [])
            if here != there:
                at = next((n for n, (a, b) in enumerate(zip(here, there)) if a != b), min(len(here), len(there)))
                yield (f"partition {partition}: {first_door} has {len(here)} records and {door} {len(there)}; "
                       f"the first that differs: {here[at:at + 1]} and {there[at:at + 1]}")


def reader_strays(reading, log, whole=False):
    """What a consumer was given, [(partition, offset, value), …], must be the log from where it began, without a gap and never
    going back; whole: from the log's beginning to its end."""
    read = {}
    for partition, offset, value in reading:
        read.setdefault(partition, []).append((offset, value))
    for partition in sorted({*read, *log} if whole else read):
        mine, all_of_it = read.get(partition, []), log.get(partition, [])
        start = all_of_it.index(mine[0]) if mine and mine[0] in all_of_it else 0
        wanted = all_of_it if whole else all_of_it[start:start + len(mine)]
        if mine != wanted:
            at = next((n for n, (a, b) in enumerate(zip(mine, wanted)) if a != b), min(len(mine), len(wanted)))
            yield (f"partition {partition}: {len(mine)} records were read instead of {len(wanted)}; "
                   f"{mine[at:at + 1]} instead of {wanted[at:at + 1]}, after {mine[max(at - 1, 0):at]}")


def sink_strays(sink, log, whole=True):
    """Rows of a sink, [(partition, offset, value), …] in any order: each record exactly once; whole: all of them."""
    seen = set()
    for row in sink:
        if row[:2] in seen:
            yield f"{row[2][:40]} at {row[:2]} is in the sink twice"
        seen.add(row[:2])
    rows = sorted(set(sink))
    yield from reader_strays(rows, log, whole)
