"""story.py: histories made up for the tests of the checker, told operation by operation; time goes on by itself."""
import json

import checker


class Story:
    """Each call is an operation that begins when the one before has ended, unless it says when: at=(start, end)."""

    def __init__(self, folder):
        self.folder, self.clock, self.lines = folder, 1000, {}

    def tell(self, process, op, outcome="ok", when=None, **more):
        start, end = when or (self.clock + 1, self.clock + 9)
        self.clock = max(self.clock, end) + 1
        line = {"process": process, "client": "made up", "op": op, "start_ns": start, "end_ns": end, "outcome": outcome, **more}
        self.lines.setdefault(process, []).append(line)
        return line

    def send(self, value, offset=None, place="t/0", outcome="ok", at=None, **more):
        process = value.partition(":")[0]
        record = [place, offset, value, made(value)]
        return self.tell(process, "send", outcome, at, records=[record], **{"ordered": True, "session": 1, **more})

    def transaction(self, name, records, outcome="ok", at=None, undone=(), process="p"):
        """records: [(value, place), …]"""
        as_records = [[[place, None, value, made(value)] for value, place in some] for some in (records, undone)]
        return self.tell(process, "send", outcome, at, records=as_records[0], undone=as_records[1], transaction=name, ordered=True, session=1)

    def log(self, *values, place="t/0", first=0):
        """Sends them one after the other, to offsets that follow each other."""
        for number, value in enumerate(values):
            self.send(value, first + number, place)

    def assign(self, process="r", added=(), removed=(), **more):
        more = {"mode": "group", "group": "g", **more} if "at_offsets" not in more else {"mode": "manual", "at": more.pop("at_offsets"), **more}
        return self.tell(process, "assign", added=list(added), removed=list(removed), **more)

    def poll(self, reads, process="r", outcome="ok", at=None, **more):
        return self.tell(process, "poll", outcome, at, reads=as_reads(reads), **{"mode": "manual", **more})

    def drain(self, reads, door="kafka", at=None, done=True, ends=None):
        line = self.tell(f"drain-{door}", "drain", "ok", at, door=door, reads=as_reads(reads))
        if done:
            ends = ends or {place: max(offset for offset, _ in records) + 1 for place, records in reads.items()}
            self.tell(f"drain-{door}", "drain", door=door, done=True, ends=ends, reads={})
        return line

    def commit(self, offset, place="t/0", process="r", outcome="ok", at=None, group="g"):
        return self.tell(process, "commit", outcome, at, group=group, offsets={place: offset})

    def committed(self, offset, place="t/0", process="o", at=None, group="g"):
        return self.tell(process, "committed", "ok", at, group=group, offsets={place: offset})

    def rows(self, names):
        return self.tell("drain-sql", "rows", table="transactions", names=list(names))

    def sink(self, reads, group="s"):
        return self.tell("drain-sql", "rows", table="sink", group=group, reads=as_reads(reads))

    def expect(self, doors=(), groups=()):
        return self.tell("workload", "expect", doors=list(doors), groups=list(groups))

    def check(self, died=()):
        self.write(died)
        return checker.check(self.folder)

    def write(self, died=()):
        for process, lines in self.lines.items():
            end = {**lines[-1], "op": "end", "outcome": "ok"}
            text = "".join(json.dumps(line) + "\n" for line in [*lines, *([] if process in died else [end])])
            (self.folder / f"{process}.jsonl").write_text(text)


def made(value):
    """The sum of a record, for which its id will do."""
    return f"-.{value}.0000.0000"


def as_reads(reads):
    return {place: [[offset, value, made(value)] for offset, value in records] for place, records in reads.items()}


def numbered(*values, first=0):
    """[(offset, value), …] of values that follow each other."""
    return [(first + number, value) for number, value in enumerate(values)]
