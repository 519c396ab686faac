"""checker.py: reads the history of a chaos run and says whether what its clients saw can be true of one log.

    verdict = check(folder)
    verdict.violations, verdict.table(), verdict.text()
"""
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List

sys.path.insert(0, str(Path(__file__).resolve().parent))

from cycles import causal_cycle  # noqa: E402
from ledger import Ledger  # noqa: E402
from rules import RULES  # noqa: E402

SHOWN_MAX = 10  # of a kind: the rest is counted
RECORDS_SHOWN = 4
COLUMNS = ("operations", "acknowledged", "unknown", "failed", "read")


@dataclass
class Violation:
    """kind: the rule that is broken; operations: the lines of the history that show it, for people."""

    kind: str
    text: str
    operations: List[str]

    def __str__(self):
        return "\n".join([f"{self.kind}: {self.text}", *(f"    {operation}" for operation in self.operations)])


@dataclass
class Verdict:
    """violations has at most SHOWN_MAX of a kind; broken counts them all."""

    operations: int
    clients: Dict[str, Dict[str, int]]  # by kind of client: operations, acknowledged, unknown, failed, read
    violations: List[Violation] = field(default_factory=list)
    broken: Dict[str, int] = field(default_factory=dict)
    notes: List[str] = field(default_factory=list)

    @property
    def valid(self):
        return not self.broken

    def total(self, what):
        return sum(counts.get(what, 0) for counts in self.clients.values())

    @property
    def counts(self):
        """Of all clients together."""
        return {name: self.total(name) for name in COLUMNS}

    def table(self):
        lines = [f"{'client':24}" + "".join(f"{name:>14}" for name in COLUMNS)]
        for client, counts in sorted(self.clients.items()):
            lines.append(f"{client:24}" + "".join(f"{counts.get(name, 0):14,}" for name in COLUMNS))
        lines.append(f"{'all':24}" + "".join(f"{count:14,}" for count in self.counts.values()))
        return "\n".join(lines)

    def text(self):
        shown = [str(violation) for violation in self.violations]
        more = [f"{kind}: {count - SHOWN_MAX} more" for kind, count in self.broken.items() if count > SHOWN_MAX]
        return "\n".join([self.table(), "", *shown, *more, *self.notes, self.sentence()])

    def sentence(self):
        if self.valid:
            return f"valid: {self.operations:,} operations, {self.total('acknowledged'):,} records acknowledged, {self.total('read'):,} read, no violation"
        return f"NOT VALID: {sum(self.broken.values()):,} violations: {', '.join(f'{kind} {count:,}' for kind, count in self.broken.items())}"


def check(directory):
    """The verdict on a history."""
    if not list(Path(directory).glob("*.jsonl")):
        raise FileNotFoundError(f"there is no history in {directory}")
    ledger = Ledger(directory)
    verdict = Verdict(ledger.value("SELECT coalesce(sum(n), 0) FROM count WHERE what = 'operations'"), counts_of(ledger))
    for rule in [*RULES, causal_cycle]:
        for number, finding in enumerate(rule(ledger), 1):
            verdict.broken[rule.__name__] = number
            if number <= SHOWN_MAX:
                verdict.violations.append(Violation(rule.__name__, finding.text, [show(ledger, *one) for one in finding.lines]))
    for name, in ledger.ask("SELECT name FROM process WHERE NOT ended"):
        verdict.notes.append(f"note: {name} did not end by itself; what it did last may not be in its file")
    return verdict


def counts_of(ledger):
    counts = {}
    for client, what, number in ledger.ask("SELECT client, what, sum(n) FROM count JOIN process USING (process) GROUP BY 1, 2"):
        counts.setdefault(client, {})[what] = number
    return counts


def show(ledger, line, matters):
    """An operation in one line, with the records of it that matter: an id or an offset, or None for its first ones."""
    operation = ledger.operation(line)
    since, until = ((operation[name] - ledger.first_ns) / 1e9 for name in ("start_ns", "end_ns"))
    extra = {name: operation[name] for name in ("group", "transaction", "door", "session", "error", "mode") if name in operation}
    words = " ".join(f"{name}={value}" for name, value in extra.items())
    return f"{since:.4f}–{until:.4f} s {operation['process']} {operation['op']} {operation['outcome']} {words} {contents(operation, matters)}"


def contents(operation, matters):
    records = [f"{place or '?'}@{offset} {value}" for place, offset, value, _ in operation.get("records", []) + operation.get("undone", [])]
    for place, some in operation.get("reads", {}).items():
        chosen = around([record for record in some], matters)
        records += [f"{place}@{offset} {value}" for offset, value, *_ in chosen]
    if "offsets" in operation:
        records.append(json.dumps(operation["offsets"]))
    shown = [record for record in records if matters is None or str(matters) in record] or records
    return ", ".join(shown[:RECORDS_SHOWN]) + (f" and {len(shown) - RECORDS_SHOWN} more" if len(shown) > RECORDS_SHOWN else "")


def around(records, matters):
    for number, record in enumerate(records):
        if matters in (record[0], record[1]):
            return records[max(0, number - 1):number + 2]
    return records[:2] if matters is None else []
