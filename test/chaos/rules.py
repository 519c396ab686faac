"""rules.py: what must hold of a log, whatever happened: each rule is a generator that gives what breaks it, as Findings. Their names are
the kinds of violations, and their first sentences say what is promised."""
from itertools import chain
from typing import List, NamedTuple

from ledger import AFTER_ALL, BEFORE_ALL, OK


class Finding(NamedTuple):
    """What is wrong, and the operations that show it: (line, the ids or offsets in it that matter)."""

    text: str
    lines: List


def at(ledger, place, offset):
    return f"{ledger.names[place]} offset {offset}"


def one_value_per_offset(ledger):
    """Nobody sees another record at an offset than anybody else."""
    for place, offset in ledger.ask("SELECT place, offset FROM seen GROUP BY place, offset HAVING count(DISTINCT id) > 1"):
        who = ledger.ask("SELECT id, min(line) FROM seen WHERE place = ? AND offset = ? GROUP BY id", place, offset).fetchall()
        yield Finding(f"{at(ledger, place, offset)} is {' and '.join(sorted(value for value, _ in who))}", [(line, value) for value, line in who])


def one_acknowledgement_per_offset(ledger):
    """Nobody is told an offset that somebody else was told."""
    for place, offset in ledger.ask("""SELECT place, offset FROM sent WHERE offset IS NOT NULL GROUP BY place, offset HAVING count(*) > 1"""):
        who = ledger.ask("SELECT id, line FROM sent WHERE place = ? AND offset = ?", place, offset).fetchall()
        yield Finding(f"{at(ledger, place, offset)} was acknowledged for {' and '.join(sorted(value for value, _ in who))}", [(line, value) for value, line in who])


def one_offset_per_value(ledger):
    """A record of a producer that promises it is in the log once."""
    for value, line in ledger.ask("""SELECT id, sent.line FROM sent JOIN (SELECT id FROM there WHERE ordered GROUP BY id HAVING count(*) > 1) USING (id)"""):
        where = ledger.ask("SELECT place, offset, min(line) FROM seen WHERE id = ? GROUP BY place, offset", value).fetchall()
        yield Finding(f"{value} is there {len(where)} times: {', '.join(at(ledger, *one[:2]) for one in where[:5])}",
                      [(line, value), *((one[2], value) for one in where[:5])])


def acknowledged_where_it_is(ledger):
    """A record is at the offset that its sender was told."""
    for value, line, place, offset in ledger.ask(
            """SELECT id, line, place, offset FROM sent WHERE offset IS NOT NULL AND EXISTS (SELECT 1 FROM seen WHERE seen.id = sent.id)
               AND NOT EXISTS (SELECT 1 FROM seen WHERE seen.place = sent.place AND seen.offset = sent.offset AND seen.id = sent.id)"""):
        where = ledger.ask("SELECT place, offset, line FROM seen WHERE id = ? LIMIT 1", value).fetchone()
        yield Finding(f"{value} was acknowledged at {at(ledger, place, offset)} and is at {at(ledger, *where[:2])}", [(line, value), (where[2], value)])


def lost_write(ledger):
    """What was acknowledged at or below the highest offset that was read has been read by somebody."""
    for value, line, place, offset, highest in ledger.ask(
            """SELECT id, line, sent.place, offset, highest FROM sent JOIN (SELECT place, max(offset) AS highest FROM seen GROUP BY place) AS top
               ON top.place = sent.place AND sent.offset <= top.highest WHERE NOT EXISTS (SELECT 1 FROM seen WHERE seen.id = sent.id)"""):
        yield Finding(f"{value} was acknowledged at {at(ledger, place, offset)}, and nobody read it, though offset {highest} was read", [(line, value)])


def undrained(ledger):
    """Once everything was read through some door, every acknowledged record has been."""
    if not ledger.value("SELECT count(*) FROM drained"):
        return
    for value, line in ledger.ask("""SELECT id, line FROM sent WHERE outcome = 0 AND NOT EXISTS (SELECT 1 FROM seen WHERE seen.id = sent.id)"""):
        yield Finding(f"{value} was acknowledged, and is nowhere at the end", [(line, value)])


def read_of_failed(ledger):
    """What certainly failed or was rolled back is read by nobody."""
    for value, line, undone, reader in ledger.ask("SELECT sent.id, sent.line, undone, seen.line FROM sent JOIN seen USING (id) WHERE outcome = 1"):
        yield Finding(f"{value} {'was rolled back' if undone else 'failed'}, and was read", [(line, value), (reader, value)])


def invented(ledger):
    """What is read was sent by somebody. (Of a process that died, the last lines may be missing.)"""
    for value, line in ledger.ask(
            """SELECT seen.id, seen.line FROM seen LEFT JOIN sent USING (id) WHERE sent.id IS NULL
               AND NOT EXISTS (SELECT 1 FROM process WHERE ended = 0 AND name = substr(seen.id, 1, instr(seen.id, ':') - 1))"""):
        yield Finding(f"{value} was read, and nobody sent it", [(line, value)])


def altered(ledger):
    """Key, value, headers and timestamp come back as they were sent, to everybody."""
    parts = ("the key", "the value", "a header", "the timestamp")
    for value, line, was, reader, became in ledger.ask(
            "SELECT sent.id, sent.line, sent.sum, seen.line, seen.sum FROM sent JOIN seen USING (id) WHERE sent.sum <> seen.sum"):
        pairs = zip(parts, was.split("."), became.split("."))
        different = [part for part, one, other in pairs if one != other]
        yield Finding(f"of {value}, {' and '.join(different) or 'something'} came back as another: {was} became {became}", [(line, value), (reader, value)])


def torn_transaction(ledger):
    """Records of one SQL transaction are there all, with its row, or none, without."""
    for name, line, outcome, kept, there in ledger.ask(
            """SELECT transaction_name, min(line), max(outcome), count(*), sum(EXISTS (SELECT 1 FROM seen WHERE seen.id = sent.id))
               FROM sent WHERE transaction_name IS NOT NULL AND NOT undone GROUP BY transaction_name HAVING count(*) > 1"""):
        if there not in (0, kept) and ledger.value("SELECT count(*) FROM drained"):
            yield Finding(f"of the {kept} records of transaction {name} {there} are there", [(line, name)])


def transaction_without_row(ledger):
    """The row that a SQL transaction wrote is there if and only if its records are."""
    if not ledger.value("SELECT count(*) FROM expected WHERE what = 'rows'"):
        return
    for name, line, outcome, kept, there, row in ledger.ask(
            """SELECT transaction_name, line, outcome, kept, there, EXISTS (SELECT 1 FROM transaction_row WHERE name = transaction_name)
               FROM (SELECT transaction_name, min(line) AS line, min(outcome) AS outcome, count(*) AS kept,
                            sum(EXISTS (SELECT 1 FROM seen WHERE seen.id = sent.id)) AS there
                     FROM sent WHERE transaction_name IS NOT NULL AND NOT undone GROUP BY transaction_name)"""):
        if (row and not there) or (there and not row) or (row and outcome == 1) or (not row and outcome == OK):
            yield Finding(f"transaction {name} ended as {('ok', 'fail', 'unknown')[outcome]}: {there} of its {kept} records are there, and its row is {'' if row else 'not '}there", [(line, name)])
    for name, in ledger.ask("SELECT name FROM transaction_row WHERE NOT EXISTS (SELECT 1 FROM sent WHERE transaction_name = name) AND NOT EXISTS (SELECT 1 FROM process WHERE NOT ended)"):
        yield Finding(f"the row of transaction {name} is there, and nobody wrote it", [])


def went_back(ledger):
    """A reader's offsets rise, within a poll and from one to the next of one assignment."""
    for text, line, place, offset in ledger.ask("SELECT text, line, place, offset FROM wrong WHERE kind = 'went_back'"):
        yield Finding(text.replace("{place}", ledger.names[place]), [(line, offset)])


def out_of_range(ledger):
    """An offset that a reader was given by the log is never refused: nothing is deleted in these topics."""
    for text, line in ledger.ask("SELECT text, line FROM wrong WHERE kind = 'out_of_range'"):
        yield Finding(text, [(line, None)])


def skipped(ledger):
    """A reader is given every record that there is between two that it got."""
    yield from unexplained(ledger, "door IS NULL")


def door_misses(ledger):
    """Every door shows the same log: whoever reads everything reads all that anybody has read, or was told of, before that."""
    yield from unexplained(ledger, "door IS NOT NULL")


def unexplained(ledger, which):
    """Gaps with a record in them. A gap to the log's end is explained by records that came after the reading began."""
    for line, place, after, before, door, value, offset, where in ledger.ask(
            f"""SELECT gap.line, gap.place, after, before, door, there.id, there.offset, there.line FROM gap JOIN there
                ON there.place = gap.place AND there.offset > gap.after AND there.offset < gap.before
                WHERE {which} AND (since IS NULL OR there.end < since) AND (door IS NULL OR EXISTS (SELECT 1 FROM drained WHERE drained.door = gap.door) OR before < {AFTER_ALL})"""):
        until = "the end" if before == AFTER_ALL else f"offset {before}"
        begin = "the beginning" if after == BEFORE_ALL else f"offset {after}"
        yield Finding(f"{door or 'a reader'} went from {begin} of {ledger.names[place]} to {until}, over {value} at {offset}", [(where, value), (line, before)])


def producer_order(ledger):
    """What one session of a producer sends to a partition is there in the order in which it was sent."""
    for value, line, place, offset, before, earlier, earlier_line in ledger.ask(
            """SELECT * FROM (SELECT id, line, place, offset, lag(offset) OVER sending AS before, lag(id) OVER sending, lag(line) OVER sending FROM there WHERE ordered AND copy = 1
                              WINDOW sending AS (PARTITION BY process, session, place ORDER BY number)) WHERE offset < before"""):
        yield Finding(f"{value} at {at(ledger, place, offset)} was sent after {earlier}, which is at offset {before}", [(earlier_line, earlier), (line, value)])


def highest_before(ended, begun):
    """For each of begun, (start, …) by start, the highest of ended, (end, offset, …) by end, that ended before it started."""
    highest, ended = None, iter(ended)
    pending = next(ended, None)
    for one in begun:
        while pending is not None and pending[0] < one[0]:
            if highest is None or pending[1] > highest[1]:
                highest = pending
            pending = next(ended, None)
        if highest is not None:
            yield highest, one


KNOWN = """SELECT end, offset, id, line FROM there WHERE place = ? AND copy = 1
    UNION ALL SELECT end, offset, id, line FROM unread WHERE place = ? ORDER BY end"""


def real_time_order(ledger):
    """What was acknowledged, or read, before another send began has the lower offset of the two."""
    for place in ledger.names:
        ended = ledger.ask(KNOWN, place, place)
        begun = ledger.ask("SELECT start, offset, id, line FROM there WHERE place = ? ORDER BY start", place)
        for (_end, before, earlier, earlier_line), (_start, offset, value, line) in highest_before(ended, begun):
            if offset < before:
                yield Finding(f"{value} at {at(ledger, place, offset)} was sent after {earlier} was there, which is at offset {before}",
                              [(earlier_line, earlier), (line, value)])


def stale_read(ledger):
    """Who reads a partition to its end in SQL is given everything that was there when the reading began."""
    for place in ledger.names:
        ended = ledger.ask(KNOWN, place, place)
        begun = ledger.ask("SELECT start, upto, line FROM fresh WHERE place = ? ORDER BY start", place)
        for (_end, offset, value, line), (_start, upto, reader) in highest_before(ended, begun):
            if offset >= upto:
                yield Finding(f"{value} at {at(ledger, place, offset)} was there before a read that came to the end at {upto}", [(line, value), (reader, upto)])


def read_before_sent(ledger):
    """Nothing is read before it is sent."""
    for value, line, reader in ledger.ask("SELECT sent.id, sent.line, seen.line FROM seen JOIN sent USING (id) WHERE seen.read_end < sent.start"):
        yield Finding(f"{value} was read before it was sent", [(reader, value), (line, value)])


def commit_went_back(ledger):
    """A group's offset in a partition never goes back: not by a commit, not in the eyes of who asks for it."""
    for group, place in ledger.ask("SELECT DISTINCT grp, place FROM committed").fetchall():
        ended = ledger.ask("SELECT end, offset, line, observed FROM committed WHERE grp = ? AND place = ? AND outcome = 0 ORDER BY end", group, place)
        begun = ledger.ask("SELECT start, offset, line, observed FROM committed WHERE grp = ? AND place = ? AND outcome = 0 ORDER BY start", group, place)
        for (_end, before, earlier, was_seen), (_start, offset, line, is_seen) in highest_before(ended, begun):
            if offset < before:
                yield Finding(f"group {group} was {'seen' if was_seen else 'committed'} at {at(ledger, place, before)} and then "
                              f"{'seen' if is_seen else 'committed'} at {offset}", [(earlier, before), (line, offset)])


def commit_forgotten(ledger):
    """A member begins where the group had committed when it was given the partition, or later."""
    for group, place in ledger.ask("SELECT DISTINCT grp, place FROM began").fetchall():
        ended = ledger.ask("SELECT end, offset, line FROM committed WHERE grp = ? AND place = ? AND outcome = 0 ORDER BY end", group, place)
        begun = ledger.ask("SELECT assigned, offset, line FROM began WHERE grp = ? AND place = ? ORDER BY assigned", group, place)
        for (_end, before, earlier), (_start, offset, line) in highest_before(ended, begun):
            if offset < before:
                yield Finding(f"group {group} had committed {at(ledger, place, before)}, and its next member began at {offset}", [(earlier, before), (line, offset)])


def commit_invented(ledger):
    """A group is not seen further than anybody has tried to commit. (Of SQL's own groups and of processes that died not all tries are known.)"""
    if ledger.value("SELECT count(*) FROM process WHERE NOT ended"):
        return
    for group, place in ledger.ask("SELECT DISTINCT grp, place FROM committed WHERE grp IN (SELECT grp FROM run)").fetchall():
        tried = ledger.ask("SELECT start, offset FROM committed WHERE grp = ? AND place = ? AND NOT observed ORDER BY start", group, place)
        observed = ledger.ask("SELECT end, offset, line FROM committed WHERE grp = ? AND place = ? AND observed AND offset > 0 ORDER BY end", group, place)
        for (_start, highest), (_end, offset, line) in highest_before(chain([(-1, -1)], tried), observed):
            if offset > highest:
                yield Finding(f"group {group} was seen at {at(ledger, place, offset)}, which nobody had committed", [(line, offset)])


def holes(rows):
    """Between what was covered by rows of (first, last), by first: (after, before), the last to the end."""
    reach = BEFORE_ALL
    for first, last in rows:
        if first > reach + 1:
            yield reach, first
        reach = max(reach, last)
    yield reach, AFTER_ALL


def group_skipped(ledger):
    """A group's members together read every record, and come to the end."""
    for group, in ledger.ask("SELECT DISTINCT grp FROM run").fetchall():
        waited_for = ledger.value("SELECT count(*) FROM expected WHERE what = 'groups' AND name = ?", group)
        for place in ledger.names:
            runs = ledger.ask("SELECT first, last FROM run WHERE grp = ? AND place = ? ORDER BY first", group, place).fetchall()
            for after, before in holes(runs):
                if before == AFTER_ALL and not waited_for:
                    continue
                which = "AND outcome = 0" if before == AFTER_ALL else ""
                for value, line, offset in ledger.ask(f"SELECT id, line, offset FROM there WHERE place = ? AND offset > ? AND offset < ? {which} ORDER BY offset", place, after, before):
                    yield Finding(f"no member of group {group} has read {value} at {at(ledger, place, offset)}", [(line, value)])


def sink_twice(ledger):
    """A consumer in SQL that writes what it polls in the transaction that moves its offset has every record once."""
    for group, place, offset, value in ledger.ask("SELECT grp, place, offset, min(id) FROM sink GROUP BY grp, place, offset HAVING count(*) > 1"):
        yield Finding(f"the sink of group {group} has {value} at {at(ledger, place, offset)} more than once", reads_of(ledger, value))


def sink_misses(ledger):
    """And it has no record less: none below its last, and at the end none that was acknowledged."""
    for group, in ledger.ask("SELECT name FROM expected WHERE what = 'sink'").fetchall():
        waited_for = ledger.value("SELECT count(*) FROM expected WHERE what = 'groups' AND name = ?", group)
        for value, line, place, offset in ledger.ask(
                """SELECT id, line, there.place, offset FROM there LEFT JOIN (SELECT place, max(offset) AS last FROM sink WHERE grp = ? GROUP BY place) AS top USING (place)
                   WHERE (offset < coalesce(last, -1) OR (? AND outcome = 0)) AND NOT EXISTS (SELECT 1 FROM sink WHERE sink.grp = ? AND sink.place = there.place AND sink.offset = there.offset)""",
                group, waited_for, group):
            yield Finding(f"the sink of group {group} lacks {value} at {at(ledger, place, offset)}", [(line, value)])


def sink_differs(ledger):
    """And what it has is what is there."""
    for group, place, offset, value, real, line in ledger.ask(
            "SELECT grp, sink.place, sink.offset, sink.id, seen.id, seen.line FROM sink JOIN seen ON seen.place = sink.place AND seen.offset = sink.offset AND seen.id <> sink.id"):
        yield Finding(f"the sink of group {group} has {value} at {at(ledger, place, offset)}, where {real} is", [(line, real)])


def reads_of(ledger, value):
    return [(line, value) for line, in ledger.ask("SELECT line FROM seen WHERE id = ? LIMIT 5", value)]


def unfinished(ledger):
    """The run ended as it should: everything was read at the end, through every door."""
    for door, in ledger.ask("SELECT name FROM expected WHERE what = 'doors'").fetchall():
        if not ledger.value("SELECT count(*) FROM drained WHERE door LIKE ? || '%'", door):
            yield Finding(f"nobody read everything through the door {door}", [])


RULES = [one_value_per_offset, one_acknowledgement_per_offset, one_offset_per_value, acknowledged_where_it_is, lost_write, undrained, read_of_failed, invented,
         altered, torn_transaction, transaction_without_row, went_back, skipped, out_of_range, door_misses, producer_order, real_time_order, stale_read,
         read_before_sent, commit_went_back, commit_forgotten, commit_invented, group_skipped, sink_twice, sink_misses, sink_differs, unfinished]
