"""group_wire.py: members of classic consumer groups by hand: what clients do, one step at a time.

    member = Member(stack.kafka, "orders")
    member.send_join(); member.receive_join()
    member.send_sync(assign([member], 3)); member.receive_sync()
"""
import json
import socket
import struct
import time

import wire
from wire import Wire, array, sized, string

HEARTBEAT, LEAVE_GROUP, SYNC_GROUP = 12, 13, 14
NOT_COORDINATOR, ILLEGAL_GENERATION, INCONSISTENT_PROTOCOL, INVALID_GROUP_ID, UNKNOWN_MEMBER = 16, 22, 23, 24, 25
INVALID_SESSION_TIMEOUT, REBALANCE_IN_PROGRESS, MEMBER_ID_REQUIRED, GROUP_FULL, FENCED_INSTANCE = 26, 27, 79, 81, 82
COORDINATOR_GONE = (wire.COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR)


def find_coordinator(kafka, group):
    """(error code, node id, host:port), as any of these agents says."""
    for agent in kafka.split(","):
        try:
            with Wire(agent, timeout=5) as connection:
                reply = connection.ask(wire.FIND_COORDINATOR, 1, string(group) + struct.pack(">b", 0))
                _throttle, error = reply.take("ih")
                reply.string()
                node = reply.take("i")
                return error, node, f"{reply.string()}:{reply.take('i')}"
        except OSError:
            continue
    return wire.COORDINATOR_NOT_AVAILABLE, -1, ""


class Member:
    """One member. Requests of it that wait are sent and received apart, so that one thread plays a whole group."""

    def __init__(self, kafka, group, *, instance=None, session_ms=10_000, rebalance_ms=10_000, kind="consumer", protocols=(("range", b"all"),)):
        self.kafka, self.group, self.instance = kafka, group, instance
        self.session_ms, self.rebalance_ms, self.kind, self.protocols = session_ms, rebalance_ms, kind, protocols
        self.member_id, self.generation, self.leader, self.protocol = "", -1, "", None
        self.members, self.assignment, self.connection = [], None, None

    def connect(self, timeout=30):
        """To the coordinator, as soon as there is one."""
        deadline = time.monotonic() + timeout
        while self.connection is None:
            error, _node, address = find_coordinator(self.kafka, self.group)
            if error == wire.NONE:
                try:
                    self.connection = Wire(address)
                    break
                except OSError:
                    pass
            assert time.monotonic() < deadline, f"no coordinator within {timeout} s: {error}"
            time.sleep(0.05)
        return self.connection

    def disconnect(self):
        if self.connection is not None:
            self.connection.socket.close()
        self.connection = None

    @property
    def is_leader(self):
        return self.leader == self.member_id

    def join_body(self):
        protocols = [string(name) + sized(metadata) for name, metadata in self.protocols]
        return (string(self.group) + struct.pack(">ii", self.session_ms, self.rebalance_ms) + string(self.member_id)
                + string(self.instance) + string(self.kind) + array(protocols))

    def send_join(self):
        """Asks for its member id first, if it has none and needs one."""
        self.connect().send(wire.JOIN_GROUP, 5, self.join_body())
        if self.member_id == "" and self.instance is None:
            error = self.receive_join()
            if error == MEMBER_ID_REQUIRED:
                self.connection.send(wire.JOIN_GROUP, 5, self.join_body())
                return error
            return error
        return wire.NONE

    def receive_join(self):
        reply = self.connection.receive()
        _throttle, error, generation = reply.take("ihi")
        protocol, leader, member_id = reply.string(), reply.string(), reply.string()
        members = [(reply.string(), reply.string(), reply.sized()) for _ in range(reply.take("i"))]
        assert reply.at_end()
        if error in (wire.NONE, MEMBER_ID_REQUIRED):
            self.member_id = member_id
        if error == wire.NONE:
            self.generation, self.protocol, self.leader, self.members = generation, protocol, leader, members
        return error

    def send_sync(self, assignments=()):
        entries = [string(member_id) + sized(data) for member_id, data in assignments]
        self.connect().send(SYNC_GROUP, 3, string(self.group) + struct.pack(">i", self.generation) + string(self.member_id)
                            + string(self.instance) + array(entries))

    def receive_sync(self):
        reply = self.connection.receive()
        _throttle, error = reply.take("ih")
        assignment = reply.sized()
        if error == wire.NONE:
            self.assignment = json.loads(assignment) if assignment else []
        return error

    def heartbeat(self, generation=None):
        generation = self.generation if generation is None else generation
        reply = self.connect().ask(HEARTBEAT, 3, string(self.group) + struct.pack(">i", generation) + string(self.member_id) + string(self.instance))
        return reply.take("ih")[1]

    def leave(self, identities=None):
        """(error code, [error code of each])."""
        identities = [(self.member_id, self.instance)] if identities is None else identities
        body = string(self.group) + array([string(member_id) + string(instance) for member_id, instance in identities])
        reply = self.connect().ask(LEAVE_GROUP, 3, body)
        _throttle, error = reply.take("ih")
        errors = []
        for _ in range(reply.take("i")):
            reply.string(), reply.string()
            errors.append(reply.take("h"))
        return error, errors

    def beat_until(self, wanted, timeout=20):
        """Heartbeats until they are answered so, across coordinators; returns the last answer."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                error = self.heartbeat()
            except (ConnectionError, socket.timeout, OSError):
                error = None
            if error in wanted:
                return error
            if error is None or error in COORDINATOR_GONE:
                self.disconnect()
            assert time.monotonic() < deadline, f"heartbeats are answered {error}, not {wanted}"
            time.sleep(0.05)


def share(members, partitions):
    """What a leader makes of it: (member id, partitions as JSON)."""
    ids = sorted(member_id for member_id, _instance, _metadata in members)
    return [(member_id, json.dumps(list(range(place, partitions, len(ids)))).encode()) for place, member_id in enumerate(ids)]


def receive_generation(members, partitions=6):
    """The rest of a rebalance, once all have sent their JoinGroup. Checks what must hold of every generation."""
    assert [member.receive_join() for member in members] == [wire.NONE] * len(members)
    assert len({member.generation for member in members}) == 1, "one generation"
    assert len({member.leader for member in members}) == 1, "one leader"
    assert len({member.protocol for member in members}) == 1, "one protocol"
    leader = next(member for member in members if member.is_leader)
    for member in members:
        member.send_sync(share(leader.members, partitions) if member is leader else ())
    assert [member.receive_sync() for member in members] == [wire.NONE] * len(members)
    owned = [number for member in members for number in member.assignment]
    assert sorted(owned) == list(range(partitions)), "each partition has one owner"
    return leader


def rebalance(members, partitions=6):
    for member in members:
        member.send_join()
    return receive_generation(members, partitions)
