"""wire_clients.py: a reader of Kafka's protocol by hand, which asks the agent it is told to, whoever leads: what every agent serves from
its own memory and caches has to be the same log."""
import os
import struct
import zlib

import lz4.frame
import snappy
import zstandard

from client import Client, main, place_name  # first: it says where wire is
import wire
from history import Record, now, seen

HEADER = struct.Struct(">qiibIhiqqqhii")
BEFORE_LENGTH = 12
LOG_APPEND_TIME, CONTROL = 0x08, 0x20
XERIAL = b"\x82SNAPPY\x00"


def unsnap(data):
    """Java's Snappy comes in chunks behind a header; librdkafka's does not."""
    if not data.startswith(XERIAL):
        return snappy.decompress(data)
    at, out = 16, b""
    while at < len(data):
        (size,) = struct.unpack_from(">i", data, at)
        out += snappy.decompress(data[at + 4:at + 4 + size])
        at += 4 + size
    return out


DECOMPRESS = {0: bytes, 1: lambda data: zlib.decompress(data, 31), 2: unsnap, 3: lz4.frame.decompress,
              4: lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data)}


class Fields(wire.Reply):
    def varint(self):
        number = self.uvarint()
        return (number >> 1) ^ -(number & 1)

    def bytes(self):
        size = self.varint()
        return None if size < 0 else self.raw(size)


def batches(data):
    """[(offset, Record), …] of whole batches; what was cut off at the end comes with the next fetch."""
    at = 0
    while at + HEADER.size <= len(data):
        base, length, _epoch, magic, _crc, attributes, _last, base_time, max_time, _producer, _producer_epoch, _sequence, count = HEADER.unpack_from(data, at)
        end = at + BEFORE_LENGTH + length
        if end > len(data):
            return
        assert magic == 2, f"a batch of format {magic}"
        if not attributes & CONTROL:
            fields = Fields(DECOMPRESS[attributes & 7](data[at + HEADER.size:end]))
            for _ in range(count):
                offset, record = take_record(fields, base_time)
                yield base + offset, record._replace(timestamp=max_time) if attributes & LOG_APPEND_TIME else record
        at = end


def take_record(fields, base_time):
    _size, _attributes = fields.varint(), fields.take("b")
    timestamp, offset = base_time + fields.varint(), fields.varint()
    key, value = fields.bytes(), fields.bytes()
    headers = tuple((fields.bytes().decode(), fields.bytes()) for _ in range(fields.varint()))
    return offset, Record(key, value, headers, timestamp)


class Drain(Client):
    """Reads everything from beginning to end from one agent, and is done. It starts again when it fails."""

    kind = "by hand, drain"

    def work(self):
        door, ends = f"agent {self.config['bootstrap']}, try {self.session}", {}
        with wire.Wire(self.config["bootstrap"]) as connection:
            for place in self.places:
                ends[place_name(*place)] = self.read(connection, door, place)
        self.journal.write("drain", now(), door=door, done=True, ends=ends, reads={})
        self.stopping = True

    def read(self, connection, door, place):
        position, high = 0, 1
        while position < high:
            started_ns = now()
            error, high, _start, data = connection.fetch(*place, position)
            assert error == wire.NONE, f"{place_name(*place)} at {position}: error {error}"
            records = [(offset, record) for offset, record in batches(data) if offset >= position]
            if not records:
                assert position >= high, f"nothing of {place_name(*place)} at {position}, below {high}"
                return position
            self.journal.write("drain", started_ns, door=door, reads={place_name(*place): [seen(*one) for one in records]})
            position = records[-1][0] + 1
            self.progress.succeed(read=len(records))
            self.progress.tell()
        return position


if __name__ == "__main__":
    os.nice(5)
    main({"drain": Drain})
