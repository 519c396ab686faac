"""universe.py: a tiny log in memory with clients that use it in a random order, and the history that they would have written down, which
is valid by construction: to find the checker wrong when it complains, and to be spoilt on purpose when it does not."""
import json

from story import made

PLACES = ("t/0", "t/1", "u/0")
STEPS = 700


class Universe:
    """lines: {process: [operation, …]}, in the form of history.py."""

    def __init__(self, chance):
        self.chance, self.clock, self.lines = chance, 1000, {}
        self.log = {place: [] for place in PLACES}  # [(offset, id), …]
        self.rows, self.sink, self.committed = [], {}, {"g": {}, "s": {}}
        self.actors = [*(Producer(self, f"p{number}") for number in range(3)), Producer(self, "plain", ordered=False), Transactions(self, "x"),
                       Follower(self, "f"), Follower(self, "sql", fresh=True), Group(self), Sink(self, "s1"), Sink(self, "s2")]

    def tick(self):
        self.clock += self.chance.randrange(1, 5)
        return self.clock

    def tell(self, process, op, start, outcome="ok", **more):
        line = {"process": process, "client": process, "op": op, "start_ns": start, "end_ns": self.tick(), "outcome": outcome, **more}
        self.lines.setdefault(process, []).append(line)

    def append(self, place, value):
        after = self.log[place][-1][0] if self.log[place] else -1
        offset = after + (1 if self.chance.random() < 0.9 else self.chance.randrange(2, 5))
        self.log[place].append((offset, value))
        return offset

    def some(self, place, start, count):
        return [(offset, value) for offset, value in self.log[place] if offset >= start][:count]

    def live(self):
        for _ in range(STEPS):
            self.tick()
            self.chance.choice(self.actors).step()
        for actor in self.actors:
            actor.end()
        for door in ("kafka", "sql door"):
            self.drain(door)
        start = self.tick()
        self.tell("drain sql door", "rows", start, table="transactions", names=list(self.rows))
        self.tell("drain sql door", "rows", start, table="sink", group="s", reads=as_lists(self.sink))
        self.tell("workload", "expect", start, doors=["kafka", "sql door"], groups=["g", "s"])
        return self

    def drain(self, door):
        for place, records in self.log.items():
            for number in range(0, len(records), 50):
                self.tell(f"drain {door}", "drain", self.tick(), door=door, reads=as_lists({place: records[number:number + 50]}))
        ends = {place: records[-1][0] + 1 if records else 0 for place, records in self.log.items()}
        self.tell(f"drain {door}", "drain", self.tick(), door=door, done=True, reads={}, ends=ends)

    def write(self, folder):
        for process, lines in self.lines.items():
            end = {**lines[-1], "op": "end", "outcome": "ok"}
            (folder / f"{process}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [*lines, end]))


def as_lists(reads):
    return {place: [[offset, value, made(value)] for offset, value in records] for place, records in reads.items()}


class Actor:
    def __init__(self, world, name):
        self.world, self.name, self.number = world, name, 0

    @property
    def chance(self):
        return self.world.chance

    def next_value(self):
        self.number += 1
        return f"{self.name}:{self.number}"

    def end(self):
        """The run is over: what is open is closed."""


class Producer(Actor):
    """Up to three records under way, appended in order; one without order may append them later, or twice."""

    def __init__(self, world, name, ordered=True):
        super().__init__(world, name)
        self.ordered, self.under_way = ordered, []

    def step(self):
        if len(self.under_way) < 3 and self.chance.random() < 0.5:
            self.under_way.append([self.chance.choice(PLACES), self.next_value(), self.world.tick()])
        elif self.under_way:
            at = 0 if self.ordered else self.chance.randrange(len(self.under_way))
            self.complete(*self.under_way.pop(at))

    def complete(self, place, value, start):
        fate, offset = self.chance.random(), None
        if fate < 0.9:
            offset = self.world.append(place, value)
        if not self.ordered and fate < 0.2:
            self.world.append(place, value)
        outcome = "ok" if fate < 0.8 else "unknown" if fate < 0.95 else "fail"
        known = place if outcome == "ok" or self.chance.random() < 0.5 else None
        self.world.tell(self.name, "send", start, outcome, records=[[known, offset if outcome == "ok" else None, value, made(value)]],
                        ordered=self.ordered, session=1)

    def end(self):
        while self.under_way:
            self.complete(*self.under_way.pop(0))


class Transactions(Actor):
    """All at once, or not at all."""

    def step(self):
        start, name = self.world.tick(), f"{self.name}/{self.number}"
        kept = [(self.chance.choice(PLACES), self.next_value()) for _ in range(self.chance.randrange(1, 4))]
        undone = [(self.chance.choice(PLACES), self.next_value()) for _ in range(self.chance.randrange(2))]
        fate = self.chance.random()
        if fate < 0.7:
            self.world.rows.append(name)
            for place, value in kept:
                self.world.append(place, value)
        outcome = "ok" if fate < 0.6 else "unknown" if fate < 0.8 else "fail"
        records, gone = ([[place, None, value, made(value)] for place, value in some] for some in (kept, undone))
        self.world.tell(self.name, "send", start, outcome, records=records, undone=gone, transaction=name, ordered=True, session=1)


class Follower(Actor):
    """Reads one place or all, from where it is; now and then it goes back, and says so."""

    def __init__(self, world, name, fresh=False):
        super().__init__(world, name)
        self.fresh, self.next = fresh, dict.fromkeys(PLACES, 0)
        self.assign()

    def assign(self):
        self.world.tell(self.name, "assign", self.world.tick(), mode="manual", added=list(PLACES), removed=[], at=dict(self.next))

    def step(self):
        if not self.fresh and self.chance.random() < 0.05:
            self.next[self.chance.choice(PLACES)] = 0
            self.assign()
            return
        reads = {place: self.world.some(place, self.next[place], 9) for place in self.chance.sample(PLACES, self.chance.randrange(1, 4))}
        self.next.update({place: records[-1][0] + 1 for place, records in reads.items() if records})
        fresh = {place: self.next[place] for place, records in reads.items() if self.fresh and len(records) < 9}
        self.world.tell(self.name, "poll", self.world.tick(), mode="manual", reads=as_lists(reads), fresh=fresh)


class Group(Actor):
    """Two members that share the places, and an observer."""

    def __init__(self, world):
        super().__init__(world, "g")
        self.owned, self.next = {}, {}

    @property
    def committed(self):
        return self.world.committed["g"]

    def step(self):
        fate = self.chance.random()
        if fate < 0.15 or not self.owned:
            self.rebalance()
        elif fate < 0.3:
            self.world.tell("observer", "committed", self.world.tick(), group="g", offsets={place: self.committed.get(place, -1) for place in PLACES})
        else:
            self.poll(self.chance.choice(sorted(self.owned)))

    def rebalance(self):
        for place, member in list(self.owned.items()):
            self.world.tell(member, "assign", self.world.tick(), mode="group", group="g", added=[], removed=[place])
        for place in PLACES:
            self.owned[place] = self.chance.choice(("g1", "g2"))
            self.next[place] = self.committed.get(place, 0)
            self.world.tell(self.owned[place], "assign", self.world.tick(), mode="group", group="g", added=[place], removed=[])

    def poll(self, place, sure=False):
        member, records = self.owned[place], self.world.some(place, self.next[place], 9)
        if not records:
            return False
        self.world.tell(member, "poll", self.world.tick(), mode="group", group="g", reads=as_lists({place: records}))
        self.next[place] = records[-1][0] + 1
        fate, start = 0 if sure else self.chance.random(), self.world.tick()
        if fate < 0.8:
            self.committed[place] = self.next[place]
        if fate < 0.9:
            self.world.tell(member, "commit", start, "ok" if fate < 0.7 else "unknown", group="g", offsets={place: self.next[place]})
        return True

    def end(self):
        self.rebalance()
        for place in PLACES:
            while self.poll(place, sure=True):
                pass


class Sink(Actor):
    """A session that moves the group's offset and fills a table at once."""

    def step(self):
        self.poll(self.chance.choice(PLACES), self.chance.random() < 0.8)

    def poll(self, place, commits):
        next_of = self.world.committed["s"]
        records = self.world.some(place, next_of.get(place, 0), 9)
        if not records:
            return False
        if commits:
            next_of[place] = records[-1][0] + 1
            self.world.sink.setdefault(place, []).extend(records)
        self.world.tell(self.name, "poll", self.world.tick(), "ok" if commits else "fail", mode="sink", group="s", reads=as_lists({place: records}))
        return True

    def end(self):
        for place in PLACES:
            while self.poll(place, True):
                pass
