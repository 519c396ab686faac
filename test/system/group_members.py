"""group_members.py: whole members of consumer groups, one thread each, written by hand so that one can see and hinder every step: they
join, share, read, commit and let go, as clients do, and tell a Recorder, which checks what must hold of every group.

    recorder = Recorder()
    with ClassicMember(stack, "g", "topic", 6, recorder) as member:
        wait_until(lambda: member.owned)
"""
import struct
import threading
import time

import consumer_wire
import group_wire
import wire
from consumer_wire import TAGS, items, take_items, take_text, text
from group_wire import ILLEGAL_GENERATION, REBALANCE_IN_PROGRESS, UNKNOWN_MEMBER, find_coordinator
from wire import Wire, array, sized, string

OFFSET_COMMIT, OFFSET_FETCH = 8, 9
# What sends a member away, to come back as a new one; and what makes it only ask again.
LOST = (UNKNOWN_MEMBER, ILLEGAL_GENERATION, consumer_wire.FENCED_EPOCH, 113)
LATER = (wire.COORDINATOR_NOT_AVAILABLE, group_wire.NOT_COORDINATOR, consumer_wire.LOAD_IN_PROGRESS)
GONE = (ConnectionError, OSError, AssertionError, struct.error)


class Recorder:
    """What members did, and the first thing that was wrong."""

    def __init__(self):
        self.lock = threading.Lock()
        self.owners = {}  # (epoch, partition): member id
        self.read = set()  # (partition, offset)
        self.wrong = []

    def complain(self, message):
        self.wrong.append(message)

    def owns(self, member, epoch, partitions):
        """No partition has two owners in one generation."""
        with self.lock:
            for partition in partitions:
                other = self.owners.setdefault((epoch, partition), member)
                if other != member:  # a static member is who comes under its instance id
                    self.complain(f"partition {partition} belongs to {other} and to {member} in generation {epoch}")

    def reads(self, partition, offsets):
        with self.lock:
            self.read.update((partition, offset) for offset in offsets)

    def check(self):
        assert not self.wrong, self.wrong[:5]


def subscription(topic, owned=()):
    """What a consumer says in JoinGroup beside the name of an assignor."""
    numbers = array([struct.pack(">i", number) for number in sorted(owned)])
    return struct.pack(">h", 1) + array([string(topic)]) + struct.pack(">i", -1) + array([string(topic) + numbers] if owned else [])


def subscription_owned(metadata):
    reply = wire.Reply(metadata)
    version = reply.take("h")
    for _ in range(reply.take("i")):
        reply.string()
    reply.sized()
    owned = set()
    for _ in range(reply.take("i") if version > 0 else 0):
        reply.string()
        owned |= {reply.take("i") for _ in range(reply.take("i"))}
    return owned


def assignment_bytes(topic, numbers):
    return (struct.pack(">h", 1) + array([string(topic) + array([struct.pack(">i", number) for number in sorted(numbers)])] if numbers else [])
            + struct.pack(">i", -1))


def assignment_numbers(data):
    if not data:
        return set()
    reply = wire.Reply(data)
    reply.take("h")
    numbers = set()
    for _ in range(reply.take("i")):
        reply.string()
        numbers |= {reply.take("i") for _ in range(reply.take("i"))}
    return numbers


def assign(members, partitions, cooperative):
    """A leader's work: (member id, partitions) for each. What moves is withheld until its owner has let go of it."""
    ids = sorted(member_id for member_id, _instance, _metadata in members)
    target = {member_id: set(range(place, partitions, len(ids))) for place, member_id in enumerate(ids)}
    owned = {member_id: subscription_owned(metadata) for member_id, _instance, metadata in members}
    if cooperative:
        return {member: target[member] - set().union(*(had for other, had in owned.items() if other != member)) for member in ids}
    return target


class Consuming(threading.Thread):
    """What members of both protocols do with the partitions they have."""

    def __init__(self, stack, group, topic, partitions, recorder, *, instance=None, session_ms=6000, poll=0.05):
        super().__init__(daemon=True)
        self.stack, self.group, self.topic, self.partitions, self.recorder, self.instance = stack, group, topic, partitions, recorder, instance
        self.session_ms, self.poll = session_ms, poll
        self.owned, self.positions, self.epoch, self.member_id = set(), {}, -1, ""
        self.connection, self.fetchers = None, {}
        self.stopping, self.heard, self.committed = threading.Event(), [], []
        self.leaves, self.failure, self.held, self.asleep = True, None, threading.Event(), threading.Event()
        self.held.set()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_error):
        self.finish()

    def run(self):
        try:
            while not self.stopping.is_set():
                if not self.held.is_set():
                    self.asleep.set()
                    self.held.wait(60)
                    self.asleep.clear()
                try:
                    self.step()
                    self.consume()
                except GONE as error:
                    self.heard.append(repr(error))
                    self.disconnect()
                time.sleep(self.poll)
            if self.leaves:
                self.depart()
        except Exception as error:  # noqa: BLE001 for the thread that waits
            self.failure = error
        finally:
            self.disconnect()

    def depart(self):
        try:
            self.leave()
        except GONE:
            pass

    def finish(self, leaves=True):
        """leaves=False: as if it were killed."""
        self.leaves = self.leaves and leaves
        self.held.set()
        self.stopping.set()
        if self.ident:
            self.join(60)
        if self.failure:
            raise self.failure

    def vanish(self):
        self.finish(leaves=False)

    def agents(self):
        return ",".join(agent.kafka for agent in self.stack.agents if agent.is_running())

    def connect(self):
        if self.connection is None:
            error, _node, address = find_coordinator(self.agents(), self.group)
            if error != wire.NONE:
                raise ConnectionError(f"no coordinator: {error}")
            self.connection = Wire(address, timeout=30)
        return self.connection

    def disconnect(self):
        for connection in (self.connection, *self.fetchers.values()):
            if connection is not None:
                connection.socket.close()
        self.connection, self.fetchers = None, {}

    def hears(self, error):
        """Notes an answer; true when all is well. A member that was sent away has nothing any more."""
        self.heard.append(error)
        if error in LATER:
            self.disconnect()
        elif error in LOST:
            self.forget()
        return error == wire.NONE

    def take(self, numbers):
        """Has these from now on; of those that are new it reads on from what is committed."""
        self.recorder.owns(self.instance or self.member_id, self.epoch, numbers)
        for partition in self.owned - numbers:
            self.positions.pop(partition, None)
        new = sorted(numbers - self.positions.keys())
        self.owned = set(numbers)
        if new:
            self.positions.update({partition: max(offset, 0) for partition, offset in self.fetch_offsets(new).items()})

    def fetch_offsets(self, numbers):
        body = string(self.group) + array([string(self.topic) + array([struct.pack(">i", number) for number in numbers])])
        reply = self.connect().ask(OFFSET_FETCH, 5, body)
        reply.take("i")
        offsets = {}
        for _ in range(reply.take("i")):
            reply.string()
            for _ in range(reply.take("i")):
                partition, offset, _leader_epoch = reply.take("iqi")
                reply.string()
                assert reply.take("h") == wire.NONE
                offsets[partition] = offset
        assert reply.take("h") == wire.NONE and set(offsets) == set(numbers)
        return offsets

    def commit(self, positions=None, epoch=None):
        """The error of an OffsetCommit."""
        positions = self.positions if positions is None else positions
        listed = [struct.pack(">iqi", partition, offset, -1) + text(None) + TAGS for partition, offset in positions.items()]
        body = (TAGS + text(self.group) + struct.pack(">i", self.epoch if epoch is None else epoch) + text(self.member_id) + text(self.instance)
                + items([text(self.topic) + items(listed) + TAGS]) + TAGS)
        reply = self.connect().ask(OFFSET_COMMIT, 9, body)
        reply.raw(1)
        reply.take("i")

        def take_partition(reply):
            answer = reply.take("ih")
            reply.raw(1)
            return answer

        def take_topic(reply):
            take_text(reply)
            answers = take_items(reply, take_partition)
            reply.raw(1)
            return answers
        errors = {error for answers in take_items(reply, take_topic) for _partition, error in answers}
        self.committed.append(max(errors))
        return max(errors)

    def fetch(self, partition):
        """(high watermark, batches) from the partition's leader."""
        for agent in self.agents().split(","):
            connection = self.fetchers.get(agent)
            if connection is None:
                connection = self.fetchers[agent] = Wire(agent, timeout=20)
            error, _high, _start, data = connection.fetch(self.topic, partition, self.positions[partition], wait_ms=1)
            if error == wire.NONE:
                return data
            assert error == wire.NOT_LEADER, f"a fetch at {self.positions[partition]} is answered {error}"
        return b""

    def consume(self):
        """Reads what there is of its partitions, and commits."""
        moved = {}
        for partition in sorted(self.owned & self.positions.keys()):
            data, at = self.fetch(partition), 0
            while at + 27 <= len(data):
                base, size = struct.unpack_from(">qi", data, at)
                if at + 12 + size > len(data):
                    break
                last = base + struct.unpack_from(">i", data, at + 23)[0]
                position = self.positions[partition]
                if base > position:
                    self.recorder.complain(f"{self.member_id} is at {position} of partition {partition} and gets {base}")
                self.recorder.reads(partition, range(position, last + 1))
                self.positions[partition] = moved[partition] = max(last + 1, position)
                at += 12 + size
        if moved:
            self.hears(self.commit(moved))


class ClassicMember(Consuming):
    """Speaks JoinGroup, SyncGroup, Heartbeat; cooperative or eager by its protocols."""

    def __init__(self, *arguments, protocols=("range",), rebalance_ms=20_000, **settings):
        super().__init__(*arguments, **settings)
        self.protocols, self.rebalance_ms = protocols, rebalance_ms
        self.joins = 0
        self.generations = []

    @property
    def cooperative(self):
        return self.protocols[0].startswith("cooperative")

    def forget(self):
        self.owned, self.positions, self.epoch = set(), {}, -1

    def step(self):
        if self.epoch < 0:
            self.rejoin()
            return
        reply = self.connect().ask(group_wire.HEARTBEAT, 3, string(self.group) + struct.pack(">i", self.epoch) + string(self.member_id) + string(self.instance))
        error = reply.take("ih")[1]
        if not self.hears(error):
            if error == UNKNOWN_MEMBER:
                self.member_id = ""
            if error == REBALANCE_IN_PROGRESS or error in LOST:
                self.rejoin()

    def ask_to_join(self):
        metadata = subscription(self.topic, self.owned if self.cooperative else ())
        body = (string(self.group) + struct.pack(">ii", self.session_ms, self.rebalance_ms) + string(self.member_id) + string(self.instance)
                + string("consumer") + array([string(name) + sized(metadata) for name in self.protocols]))
        reply = self.connect().ask(wire.JOIN_GROUP, 5, body)
        _throttle, error, generation = reply.take("ihi")
        protocol, leader, member_id = reply.string(), reply.string(), reply.string()
        members = [(reply.string(), reply.string(), reply.sized()) for _ in range(reply.take("i"))]
        assert reply.at_end()
        return error, generation, protocol, leader, member_id, members

    def rejoin(self):
        """One JoinGroup and what follows; the next step tries again what did not work."""
        if not self.cooperative:
            self.owned, self.positions = set(), {}
        self.joins += 1
        error, generation, protocol, leader, member_id, members = self.ask_to_join()
        if error == group_wire.MEMBER_ID_REQUIRED:
            self.member_id = member_id
            error, generation, protocol, leader, member_id, members = self.ask_to_join()
        if not self.hears(error):
            if error == UNKNOWN_MEMBER:
                self.member_id = ""
            if error not in LATER:
                self.epoch = -1
            return
        self.member_id, self.epoch = member_id, generation
        self.sync(protocol, leader, members)

    def sync(self, protocol, leader, members):
        given = []
        if leader == self.member_id:
            shares = assign(members, self.partitions, protocol.startswith("cooperative"))
            given = [string(member_id) + sized(assignment_bytes(self.topic, numbers)) for member_id, numbers in shares.items()]
        reply = self.connect().ask(group_wire.SYNC_GROUP, 5, self.sync_body(protocol, given))
        reply.raw(1)
        _throttle, error = reply.take("ih")
        said_type, said_protocol = take_text(reply), take_text(reply)
        data = reply.raw(reply.uvarint() - 1)
        if not self.hears(error):
            if error != wire.NONE:
                self.epoch = -1
            return
        if (said_type, said_protocol) != ("consumer", protocol):
            self.recorder.complain(f"JoinGroup said {protocol}, SyncGroup {said_protocol} of {said_type}")
        numbers = assignment_numbers(data)
        self.generations.append(self.epoch)
        lost = self.owned - numbers
        self.take(numbers)
        if lost and self.cooperative:  # to say that it has let go
            self.rejoin()

    def sync_body(self, protocol, given):
        # Version 5 is flexible; an assignment is the old bytes within.
        entries = []
        for entry in given:
            reply = wire.Reply(entry)
            member_id, data = reply.string(), reply.sized()
            entries.append(text(member_id) + consumer_wire.uvarint(len(data) + 1) + data + TAGS)
        return (TAGS + text(self.group) + struct.pack(">i", self.epoch) + text(self.member_id) + text(self.instance) + text("consumer")
                + text(protocol) + items(entries) + TAGS)

    def leave(self):
        if self.instance is None and self.member_id:
            self.connect().ask(group_wire.LEAVE_GROUP, 3, string(self.group) + array([string(self.member_id) + string(None)]))


class ConsumerMember(Consuming):
    """Speaks ConsumerGroupHeartbeat."""

    def __init__(self, *arguments, name, **settings):
        super().__init__(*arguments, **settings)
        self.member_id, self.epoch, self.unsaid = name, 0, False
        self.topic_id = None

    def forget(self):
        self.owned, self.positions, self.epoch = set(), {}, 0

    def step(self):
        said = {}
        if self.epoch == 0:
            said = {"topics": [self.topic], "rebalance_ms": 20_000, "owned": set()}
        elif self.unsaid:
            said = {"owned": {(self.topic_id, number) for number in self.owned}}
        answer = self.beat(self.epoch, **said)
        if self.hears(answer.error):
            self.epoch, self.unsaid = answer.epoch, False
            if answer.assignment is not None:
                numbers = {number for _topic, number in answer.assignment}
                self.topic_id = next((topic for topic, _number in answer.assignment), self.topic_id)
                self.unsaid = numbers != self.owned
                self.take(numbers)
            else:
                self.take(self.owned)

    def beat(self, epoch, **said):
        body = consumer_wire.heartbeat_body(self.group, self.member_id, epoch, instance=self.instance, **said)
        return consumer_wire.heartbeat_answer(self.connect().ask(consumer_wire.HEARTBEAT, 1, body))

    def leave(self):
        self.owned = set()
        self.beat(consumer_wire.LEAVE if self.instance is None else consumer_wire.LEAVE_STATIC)
