"""report.py: what a chaos run says of itself, while it goes on and at its end."""
import collections
import json
import time
from pathlib import Path

GRACE_NS = 2_000_000_000
SHOWN = 12


def sum_of(progress, name):
    value = progress.get(name, 0)
    return sum(value.values()) if isinstance(value, dict) else value


def stalled(progress, longer_than_s):
    """Clients without success for so long, with their seconds."""
    idle = progress.get("idle_s", {})
    return [f"{name} ({seconds:.0f} s)" for name, seconds in sorted(idle.items()) if seconds > longer_than_s]


class Progress:
    """A line every few seconds."""

    def __init__(self, workload, nemesis):
        self.workload, self.nemesis = workload, nemesis
        self.before, self.at = 0, time.monotonic()

    def line(self):
        progress, now = self.workload.progress(), time.monotonic()
        acknowledged = sum_of(progress, "acknowledged")
        rate = (acknowledged - self.before) / max(now - self.at, 0.001)
        self.before, self.at = acknowledged, now
        longest = max(progress.get("idle_s", {"": 0}).items(), key=lambda item: item[1], default=("", 0))
        current = ", ".join(step.describe() for step in list(self.nemesis.active.values())) or "calm"
        return (f"{sum_of(progress, 'operations')} operations, {acknowledged} acknowledged ({rate:.0f}/s), {sum_of(progress, 'read')} read, "
                f"longest stall {longest[1]:.1f} s ({longest[0]}) | {current}")


def lines_of(path):
    with open(path, encoding="utf-8") as file:
        for line in file:
            try:
                yield json.loads(line)
            except ValueError:
                continue  # the process died while it wrote


def gaps(directory):
    """Of every client that writes: (name, from, to) between two of its acknowledged operations."""
    for path in sorted(Path(directory).glob("*.jsonl")):
        ends = sorted(line["end_ns"] for line in lines_of(path) if line.get("op") == "send" and line.get("outcome") == "ok")
        for before, after in zip(ends, ends[1:]):
            yield path.stem, before, after


def unavailability(directory, done):
    """Seconds that the unluckiest client went without an acknowledgement: in calm, and by kind of fault that was at work meanwhile."""
    calm, by_kind = (0, ""), collections.defaultdict(lambda: (0, ""))
    for name, before, after in gaps(directory):
        gap = (after - before, name)
        touched = {step.kind for step, started, ended, outcome, _ in done if outcome != "skipped" and before < ended + GRACE_NS and after > started}
        for kind in touched:
            by_kind[kind] = max(by_kind[kind], gap)
        if not touched:
            calm = max(calm, gap)
    return calm, by_kind


def table(directory, nemesis, verdict):
    calm, by_kind = unavailability(directory, nemesis.done)
    carried_out = collections.Counter(step.kind for step, _, _, outcome, _ in nemesis.done if outcome != "skipped")
    skipped = collections.Counter(step.kind for step, _, _, outcome, _ in nemesis.done if outcome == "skipped")
    lines = ["", f"{'fault':34} {'times':>5} {'skipped':>7} {'longest wait of a writer':>26}"]
    for kind in sorted(set(carried_out) | set(skipped)):
        longest, who = by_kind.get(kind, (0, ""))
        lines.append(f"{kind:34} {carried_out[kind]:5d} {skipped[kind]:7d} {longest / 1e9:10.1f} s {who}")
    lines.append(f"{'(calm)':34} {'':5} {'':7} {calm[0] / 1e9:10.1f} s {calm[1]}")
    lines += ["", "  ".join(f"{name} {count}" for name, count in sorted(verdict.counts.items()))]
    return "\n".join(lines)


def last_line(verdict, nemesis, violations, trouble):
    faults = sum(outcome != "skipped" for _, _, _, outcome, _ in nemesis.done)
    tail = f"in {verdict.operations} operations, {faults} faults"
    if violations:
        return f"verdict: {len(violations)} violations {tail}"
    if trouble:
        return f"verdict: no violation but no recovery {tail}: {trouble[0]}"
    return f"verdict: no violation {tail}"
