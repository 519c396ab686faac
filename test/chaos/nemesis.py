"""nemesis.py: draws a schedule of faults from a seed, and carries it out. The same seed, length and shape make the same schedule:
episodes of one to three faults that overlap, with calm between. What is done, and when, goes into the history.
"""
import json
import random
import threading
import time
from typing import NamedTuple

from faults import KINDS, Skipped

FIRST_CALM_S = 8
CALM_S = (8, 15)
SPREAD_S = 5
TOGETHER = (1, 1, 2, 2, 3)


class Step(NamedTuple):
    number: int
    at_s: float
    lasts_s: float
    kind: str
    parameters: dict
    resources: frozenset

    def describe(self):
        shown = ", ".join(f"{name} {value}" for name, value in self.parameters.items() if name != "rules")
        rules = "; ".join(" ".join(f"{name}={value}" for name, value in rule.items()) for rule in self.parameters.get("rules", []))
        return f"{self.kind} ({shown or rules})" if shown or rules else self.kind


def kinds_for(shape, wanted=None):
    """The kinds that this cluster can have, of the families and names that are wanted."""
    names = [name for name, kind in KINDS.items() if kind.needs(shape) and (not wanted or name in wanted or kind.family in wanted)]
    unknown = set(wanted or []) - set(KINDS) - {kind.family for kind in KINDS.values()}
    if unknown:
        raise ValueError(f"no such fault: {', '.join(sorted(unknown))}")
    if not names:
        raise ValueError("none of these faults can be had on this cluster")
    return names


class Deck:
    """Deals all kinds in a random order before any comes again."""

    def __init__(self, chance, names):
        self.chance, self.names, self.left = chance, names, []

    def deal(self):
        if not self.left:
            self.left = self.chance.sample(self.names, len(self.names))
        return self.left.pop()


def draw_episode(chance, deck, shape, began, number):
    """Some steps that overlap, none of which wants what another has."""
    steps, taken = [], set()
    for _ in range(chance.choice(TOGETHER)):
        name = deck.deal()
        kind = KINDS[name]
        parameters, resources = kind.plan(chance, shape)
        at, lasts = began + chance.uniform(0, SPREAD_S), chance.uniform(*kind.lasts_s)
        if not resources & taken:
            taken |= resources
            steps.append(Step(number + len(steps), round(at, 1), round(lasts, 1), name, parameters, frozenset(resources)))
        else:
            deck.left.append(name)
    return steps


def draw(seed, length_s, shape, wanted=None, calm_s=CALM_S):
    """The schedule of a run; calm_s bounds the calm between episodes."""
    chance = random.Random(f"{seed} {length_s} {shape} {sorted(wanted or [])}")
    deck, steps, now = Deck(chance, kinds_for(shape, wanted)), [], min(FIRST_CALM_S, calm_s[1])
    while now + SPREAD_S < length_s:
        episode = draw_episode(chance, deck, shape, now, len(steps) + 1)
        steps += episode
        now = max(step.at_s + step.lasts_s for step in episode) + chance.uniform(*calm_s)
    return sorted(steps, key=lambda step: step.at_s)


def table(steps):
    lines = [f"{'#':>4} {'at':>8} {'lasts':>7}  fault"]
    lines += [f"{step.number:4d} {step.at_s:7.1f}s {step.lasts_s:6.1f}s  {step.describe()}" for step in steps]
    return "\n".join(lines)


class Nemesis:
    """Every step has a thread: it waits for its time and for what it ill-treats, begins, waits, heals."""

    def __init__(self, cluster, steps, directory, say):
        self.cluster, self.steps, self.say = cluster, steps, say
        self.file = open(directory / "nemesis.jsonl", "a", encoding="utf-8", buffering=1)
        self.mutex = threading.Lock()
        self.locks = {resource: threading.Lock() for step in steps for resource in step.resources}
        self.active, self.done = {}, []
        self.began = None
        self.threads = [threading.Thread(target=self.run, args=(step,), daemon=True) for step in steps]

    def start(self):
        self.began = time.monotonic()
        for thread in self.threads:
            thread.start()

    def write(self, op, start_ns, end_ns, outcome, **more):
        line = {"process": "nemesis", "client": "nemesis", "op": op, "start_ns": start_ns, "end_ns": end_ns, "outcome": outcome, **more}
        with self.mutex:
            self.file.write(json.dumps(line, default=sorted) + "\n")

    def run(self, step):
        if self.cluster.stopping.wait(max(0, self.began + step.at_s - time.monotonic())):
            return
        locks = [self.locks[resource] for resource in sorted(step.resources)]
        for lock in locks:
            lock.acquire()
        try:
            if not self.cluster.stopping.is_set():
                self.carry_out(step)
        finally:
            for lock in locks:
                lock.release()

    def carry_out(self, step):
        kind, started, parameters = KINDS[step.kind], time.monotonic_ns(), dict(step.parameters)
        self.active[step.number] = step
        self.write("fault_begins", started, started, "ok", kind=step.kind, step=step.number, parameters=parameters)
        outcome, reason = "ok", None
        with self.roles(step):
            try:
                try:
                    kind.begin(self.cluster, parameters)
                    self.cluster.stopping.wait(max(0, step.lasts_s - (time.monotonic_ns() - started) / 1e9))
                finally:
                    kind.heal(self.cluster, parameters)
            except Skipped as skipped:
                outcome, reason = "skipped", str(skipped)
            except Exception as error:  # whatever it is belongs into the report, and the run goes on
                outcome, reason = "fail", f"{error!r}"[:1000]
        ended = time.monotonic_ns()
        self.write("fault", started, ended, outcome, kind=step.kind, step=step.number, parameters=parameters, reason=reason)
        self.active.pop(step.number)
        self.done.append((step, started, ended, outcome, reason))
        if outcome != "ok":
            self.say(f"fault {step.number}, {step.kind}: {outcome}: {reason}")

    def roles(self, step):
        """Who ill-treats PostgreSQL keeps its manager from looking, where roles change."""
        return self.cluster.pair.mutex if step.kind.startswith(("failover", "switchover")) else threading.Lock()

    def finish(self):
        """Returns when all that has begun is healed."""
        self.cluster.stopping.set()
        for thread in self.threads:
            if thread.ident is not None:
                thread.join(200)
        for at_ns, text in self.cluster.pair.events:
            self.write("note", at_ns, at_ns, "ok", text=text)
        now = time.monotonic_ns()
        self.write("end", now, now, "ok")
        self.file.close()
