"""consumer_wire.py: KIP-848's messages by hand: ConsumerGroupHeartbeat and ConsumerGroupDescribe, which are flexible from version 0 on."""
import struct
import uuid
from dataclasses import dataclass, field

import wire
from wire import uvarint

HEARTBEAT, DESCRIBE = 68, 69
LOAD_IN_PROGRESS, NOT_AVAILABLE, UNKNOWN_MEMBER, INVALID_REQUEST, GROUP_NOT_FOUND, FENCED_INSTANCE = 14, 15, 25, 42, 69, 82
FENCED_EPOCH, UNRELEASED_INSTANCE, UNSUPPORTED_ASSIGNOR, INVALID_REGEX = 110, 111, 112, 128
JOIN, LEAVE, LEAVE_STATIC = 0, -1, -2
TAGS = b"\0"


def text(value):
    return b"\0" if value is None else uvarint(len(value.encode()) + 1) + value.encode()


def items(values):
    return b"\0" if values is None else uvarint(len(values) + 1) + b"".join(values)


def take_text(reply):
    size = reply.uvarint()
    return None if size == 0 else reply.raw(size - 1).decode()


def take_items(reply, one):
    count = reply.uvarint()
    return None if count == 0 else [one(reply) for _ in range(count - 1)]


def take_topic(reply):
    topic = uuid.UUID(bytes=reply.raw(16))
    partitions = take_items(reply, lambda r: r.take("i"))
    reply.raw(1)
    return topic, partitions


def take_assignment(reply):
    """{(topic id, partition)}, None when it is as before."""
    if reply.take("b") < 0:
        return None
    topics = take_items(reply, take_topic)
    reply.raw(1)
    return {(topic, partition) for topic, partitions in topics for partition in partitions}


@dataclass
class Beat:
    """An answer to a heartbeat."""
    error: int
    message: str
    member_id: str
    epoch: int
    interval_ms: int
    assignment: set


def heartbeat_body(group, member, epoch, *, instance=None, rack=None, rebalance_ms=-1, topics=None, regex=None, assignor=None, owned=None, version=1):
    by_topic = {}
    for topic, partition in sorted(owned or ()):
        by_topic.setdefault(topic, []).append(struct.pack(">i", partition))
    listed = None if owned is None else [topic.bytes + items(partitions) + TAGS for topic, partitions in by_topic.items()]
    names = None if topics is None else [text(name) for name in topics]
    return (TAGS + text(group) + text(member) + struct.pack(">i", epoch) + text(instance) + text(rack) + struct.pack(">i", rebalance_ms)
            + items(names) + (text(regex) if version > 0 else b"") + text(assignor) + items(listed) + TAGS)


def heartbeat_answer(reply):
    reply.raw(1)  # the header's tags
    _throttle, error = reply.take("ih")
    message, member_id = take_text(reply), take_text(reply)
    epoch, interval_ms = reply.take("ii")
    answer = Beat(error, message, member_id, epoch, interval_ms, take_assignment(reply))
    reply.raw(1)
    assert reply.at_end()
    return answer


def take_named_topic(reply):
    topic, name = uuid.UUID(bytes=reply.raw(16)), take_text(reply)
    partitions = take_items(reply, lambda r: r.take("i"))
    reply.raw(1)
    return {(name, partition) for partition in partitions}, topic


def take_described_assignment(reply):
    topics = take_items(reply, take_named_topic)
    reply.raw(1)
    return set().union(*[partitions for partitions, _topic in topics])


def take_member(reply, version):
    member = {name: take_text(reply) for name in ("id", "instance", "rack")}
    member["epoch"] = reply.take("i")
    member.update({name: take_text(reply) for name in ("client", "host")})
    member["topics"] = take_items(reply, take_text)
    member["regex"] = take_text(reply)
    member["assigned"], member["target"] = take_described_assignment(reply), take_described_assignment(reply)
    member["type"] = reply.take("b") if version > 0 else None
    reply.raw(1)
    return member


def take_group(reply, version):
    group = {"error": reply.take("h"), "message": take_text(reply), "id": take_text(reply), "state": take_text(reply)}
    group["epoch"], group["target_epoch"] = reply.take("ii")
    group["assignor"] = take_text(reply)
    group["members"] = take_items(reply, lambda r: take_member(r, version))
    group["operations"] = reply.take("i")
    reply.raw(1)
    return group


def describe(connection, groups, version=1, operations=False):
    reply = connection.ask(DESCRIBE, version, TAGS + items([text(group) for group in groups]) + bytes([operations]) + TAGS)
    reply.raw(1)
    reply.take("i")
    described = take_items(reply, lambda r: take_group(r, version))
    reply.raw(1)
    assert reply.at_end()
    return described


@dataclass
class Member:
    """A well-behaved member: it beats, takes what it is given, lets go of what it is not, and says so."""
    kafka: str
    group: str
    id: str
    topics: list = None
    regex: str = None
    instance: str = None
    epoch: int = 0
    owned: set = field(default_factory=set)
    unsaid: bool = False  # it owns something else since its last heartbeat
    connection: wire.Wire = None

    def ask(self, epoch, version=1, **said):
        if self.connection is None:
            self.connection = wire.Wire(self.kafka)
        body = heartbeat_body(self.group, self.id, epoch, instance=self.instance, version=version, **said)
        return heartbeat_answer(self.connection.ask(HEARTBEAT, version, body))

    def join(self, **said):
        self.owned = set()
        return self.take(self.ask(JOIN, **{"rebalance_ms": 60_000, "topics": self.topics, "regex": self.regex, "owned": set(), **said}))

    def beat(self, **said):
        if self.unsaid and "owned" not in said:
            said["owned"] = self.owned
        return self.take(self.ask(self.epoch, **said))

    def take(self, answer):
        if answer.error == wire.NONE:
            self.unsaid = answer.assignment is not None and answer.assignment != self.owned
            self.epoch = answer.epoch
            self.owned = self.owned if answer.assignment is None else answer.assignment
        return answer

    def leave(self, epoch=LEAVE):
        answer = self.ask(epoch)
        self.owned = set()
        return answer

    def close(self):
        if self.connection is not None:
            self.connection.socket.close()
            self.connection = None


def settle(members, rounds=40):
    """Beats until nobody's epoch or partitions change any more."""
    still = 0
    for _ in range(rounds):
        before = [(member.epoch, member.owned) for member in members]
        for member in members:
            answer = member.beat()
            assert answer.error == wire.NONE, answer
        still = still + 1 if before == [(member.epoch, member.owned) for member in members] and not any(m.unsaid for m in members) else 0
        if still == 2:
            return
    raise AssertionError("the group does not settle")
