"""fetch_wire.py: Fetch by hand in versions 7 to 18, with sessions: what clients say to keep one, and all the wrong things."""
import struct
import uuid

import wire
from wire import uvarint

FETCH_SESSION_ID_NOT_FOUND, INVALID_FETCH_SESSION_EPOCH, UNKNOWN_TOPIC_ID, FETCH_SESSION_TOPIC_ID_ERROR = 70, 71, 100, 106
FLEXIBLE, BY_ID = 12, 13


class Fields:
    """Takes fields off a reply's front, in the form of its version."""

    def __init__(self, reply, flexible):
        self.reply, self.flexible = reply, flexible

    def take(self, form):
        return self.reply.take(form)

    def count(self):
        return self.reply.uvarint() - 1 if self.flexible else self.reply.take("i")

    def string(self):
        return self.reply.raw(self.reply.uvarint() - 1).decode() if self.flexible else self.reply.string()

    def records(self):
        size = self.count()
        return self.reply.raw(size) if size > 0 else b""

    def tags(self):
        """{tag: bytes}"""
        found = {}
        for _ in range(self.reply.uvarint() if self.flexible else 0):
            tag = self.reply.uvarint()
            found[tag] = self.reply.raw(self.reply.uvarint())
        return found


class Answer:
    """error, session_id, and partitions: {(topic, index): Part}, in the order of the reply."""

    def __init__(self, reply, version):
        fields = Fields(reply, version >= FLEXIBLE)
        if version >= FLEXIBLE:
            fields.tags()
        _throttle, self.error, self.session_id = fields.take("ihi")
        self.partitions = {}
        for _ in range(fields.count()):
            topic = str(uuid.UUID(bytes=reply.raw(16))) if version >= BY_ID else fields.string()
            for _ in range(fields.count()):
                part = Part(fields, version)
                self.partitions[(topic, part.index)] = part
            fields.tags()
        fields.tags()
        assert reply.at_end()


class Part:
    def __init__(self, fields, version):
        self.index, self.error, self.high_watermark, _stable, self.log_start_offset = fields.take("ihqqq")
        for _ in range(max(fields.count(), 0)):
            fields.take("qq")
            fields.tags()
        self.preferred = fields.take("i") if version >= 11 else -1
        self.records = fields.records()
        self.tags = fields.tags()


class Session:
    """A client's side of a fetch session over one connection. topic: a name, or from version 13 on a uuid as text."""

    def __init__(self, connection, version=13, rack=""):
        self.connection, self.version, self.rack = connection, version, rack
        self.session_id, self.epoch = 0, 0

    def string(self, text):
        return uvarint(len(text.encode()) + 1) + text.encode() if self.version >= FLEXIBLE else wire.string(text)

    def array(self, items):
        return uvarint(len(items) + 1) + b"".join(items) if self.version >= FLEXIBLE else wire.array(items)

    def topic(self, topic):
        return uuid.UUID(topic).bytes if self.version >= BY_ID else self.string(topic)

    @property
    def tags(self):
        return b"\0" if self.version >= FLEXIBLE else b""

    def partition(self, index, offset, epoch=-1, max_bytes=1_000_000):
        body = struct.pack(">i", index)
        if self.version >= 9:
            body += struct.pack(">i", epoch)
        body += struct.pack(">q", offset)
        if self.version >= FLEXIBLE:
            body += struct.pack(">i", -1)
        return body + struct.pack(">qi", -1, max_bytes) + self.tags

    def body(self, wanted, forgotten, session_id, epoch, *, wait_ms=100, min_bytes=1, max_bytes=50_000_000, **options):
        """wanted: {topic: {index: offset}}; forgotten: {topic: [index, …]}."""
        body = struct.pack(">i", -1) if self.version < 15 else b""
        body += struct.pack(">iiibii", wait_ms, min_bytes, max_bytes, 0, session_id, epoch)
        body += self.array([self.topic(topic) + self.array([self.partition(index, offset, **options) for index, offset in places.items()])
                            + self.tags for topic, places in wanted.items()])
        body += self.array([self.topic(topic) + self.array([struct.pack(">i", index) for index in places]) + self.tags
                            for topic, places in (forgotten or {}).items()])
        if self.version >= 11:
            body += self.string(self.rack)
        return body + self.tags

    def send(self, wanted, forgotten=None, *, session_id=None, epoch=None, **options):
        body = self.body(wanted, forgotten, self.session_id if session_id is None else session_id,
                         self.epoch if epoch is None else epoch, **options)
        return self.connection.send(wire.FETCH, self.version, self.tags + body)

    def receive(self):
        answer = Answer(self.connection.receive(), self.version)
        if answer.error == wire.NONE:
            self.session_id = answer.session_id
            self.epoch = 0 if answer.session_id == 0 else 1 if self.epoch == 0x7FFFFFFF else self.epoch + 1
        return answer

    def fetch(self, wanted, forgotten=None, **options):
        self.send(wanted, forgotten, **options)
        return self.receive()
