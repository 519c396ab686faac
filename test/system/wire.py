"""wire.py: Kafka's protocol by hand, for frames that no client would send. Old, non-flexible versions only: they are short."""
import socket
import struct

import crc32c_table

PRODUCE, FETCH, LIST_OFFSETS, METADATA, FIND_COORDINATOR, JOIN_GROUP = 0, 1, 2, 3, 10, 11
API_VERSIONS, CREATE_TOPICS, DELETE_TOPICS, INIT_PRODUCER_ID, LEADER_EPOCH, CREATE_PARTITIONS = 18, 19, 20, 22, 23, 37

NONE, OFFSET_OUT_OF_RANGE, CORRUPT_MESSAGE, UNKNOWN_TOPIC, NOT_LEADER, MESSAGE_TOO_LARGE = 0, 1, 2, 3, 6, 10
COORDINATOR_NOT_AVAILABLE, INVALID_TOPIC, INVALID_REQUIRED_ACKS, UNSUPPORTED_VERSION = 15, 17, 21, 35
OUT_OF_ORDER_SEQUENCE, INVALID_PRODUCER_EPOCH, FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH = 45, 47, 74, 75
UNSUPPORTED_FOR_FORMAT, INVALID_RECORD = 43, 87


def string(text):
    if text is None:
        return struct.pack(">h", -1)
    return struct.pack(">h", len(text.encode())) + text.encode()


def array(items):
    return struct.pack(">i", len(items)) + b"".join(items)


def sized(data):
    return struct.pack(">i", len(data)) + data


def uvarint(number):
    out = b""
    while number & ~0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def varint(number):
    return uvarint((number << 1) ^ (number >> 63))


def record(value, offset_delta=0, key=None):
    body = b"\0" + varint(0) + varint(offset_delta)
    for part in (key, value):
        body += varint(-1) if part is None else varint(len(part)) + part
    body += varint(0)
    return varint(len(body)) + body


def batch(values, *, producer_id=-1, producer_epoch=-1, sequence=-1, timestamp=1_700_000_000_000, attributes=0, magic=2, count=None,
          last_delta=None, leader_epoch=-1, crc_error=0):
    """A record batch, right unless told otherwise."""
    records = b"".join(record(value, number) for number, value in enumerate(values))
    checked = struct.pack(">hiqqqhii", attributes, len(values) - 1 if last_delta is None else last_delta, timestamp, timestamp,
                          producer_id, producer_epoch, sequence, len(values) if count is None else count) + records
    crc = crc32c_table.crc32c(checked) ^ crc_error
    after_length = struct.pack(">ibI", leader_epoch, magic, crc) + checked
    return struct.pack(">qi", 0, len(after_length)) + after_length


class Reply:
    """Takes a reply's fields off its front."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        values = struct.unpack_from(">" + form, self.data, self.at)
        self.at += struct.calcsize(">" + form)
        return values if len(values) > 1 else values[0]

    def string(self):
        size = self.take("h")
        if size < 0:
            return None
        return self.raw(size).decode()

    def raw(self, size):
        self.at += size
        return self.data[self.at - size:self.at]

    def uvarint(self):
        number = shift = 0
        while True:
            byte = self.take("B")
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    def sized(self):
        size = self.take("i")
        return None if size < 0 else self.raw(size)

    def at_end(self):
        return self.at == len(self.data)


class Wire:
    """One connection."""

    def __init__(self, kafka, timeout=20):
        host, port = kafka.split(",")[0].rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout)
        self.correlation = 0

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.socket.close()

    def send(self, key, version, body, client="by hand"):
        self.correlation += 1
        self.socket.sendall(sized(struct.pack(">hhi", key, version, self.correlation) + string(client) + body))
        return self.correlation

    def receive(self):
        reply = Reply(self.read(struct.unpack(">i", self.read(4))[0]))
        self.answered = reply.take("i")
        return reply

    def ask(self, key, version, body):
        correlation = self.send(key, version, body)
        reply = self.receive()
        assert self.answered == correlation, "replies are out of order"
        return reply

    def read(self, size):
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                raise ConnectionError("closed by the other side")
            data += more
        return data

    def is_closed(self):
        """Whether the other side hangs up rather than answers."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def produce(self, topic, partition, records, acks=-1, version=7, timeout_ms=10_000):
        """(error code, base offset)."""
        self.send_produce(topic, partition, records, acks, version, timeout_ms)
        return self.receive_produced()

    def send_produce(self, topic, partition, records, acks=-1, version=7, timeout_ms=10_000):
        data = array([struct.pack(">i", partition) + (sized(records) if records is not None else struct.pack(">i", -1))])
        self.send(PRODUCE, version, string(None) + struct.pack(">hi", acks, timeout_ms) + array([string(topic) + data]))

    def receive_produced(self):
        reply = self.receive()
        assert reply.take("i") == 1
        reply.string()
        assert reply.take("i") == 1
        _partition, error, base_offset = reply.take("ihq")
        return error, base_offset

    def fetch(self, topic, partition, offset, *, max_bytes=1_000_000, wait_ms=100, epoch=-1, version=10, isolation=0):
        """(error code, high watermark, log start offset, bytes of batches)."""
        place = struct.pack(">iiqqi", partition, epoch, offset, -1, max_bytes)
        body = struct.pack(">iiiibii", -1, wait_ms, 1, 50_000_000, isolation, 0, -1) + array([string(topic) + array([place])]) + array([])
        reply = self.ask(FETCH, version, body)
        _throttle, error, _session = reply.take("ihi")
        assert error == 0
        assert reply.take("i") == 1
        reply.string()
        assert reply.take("i") == 1
        _partition, error, high, stable, start = reply.take("ihqqq")
        assert stable == high, "nothing is undecided, so the last stable offset is the high watermark"
        for _ in range(max(reply.take("i"), 0)):
            reply.take("qq")
        return error, high, start, reply.sized() or b""

    def list_offset(self, topic, partition, timestamp, epoch=-1):
        """(error code, timestamp, offset, leader epoch)."""
        place = struct.pack(">iiq", partition, epoch, timestamp)
        reply = self.ask(LIST_OFFSETS, 4, struct.pack(">ib", -1, 0) + array([string(topic) + array([place])]))
        reply.take("i")
        assert reply.take("i") == 1
        reply.string()
        assert reply.take("i") == 1
        _partition, error, stamp, offset, leader_epoch = reply.take("ihqqi")
        return error, stamp, offset, leader_epoch

    def end_of_epoch(self, topic, partition, epoch, current=-1):
        """(error code, leader epoch, end offset)."""
        place = struct.pack(">iii", partition, current, epoch)
        reply = self.ask(LEADER_EPOCH, 3, struct.pack(">i", -1) + array([string(topic) + array([place])]))
        reply.take("i")
        assert reply.take("i") == 1
        reply.string()
        assert reply.take("i") == 1
        error, _partition, leader_epoch, end = reply.take("hiiq")
        return error, leader_epoch, end

    def init_producer(self):
        reply = self.ask(INIT_PRODUCER_ID, 1, string(None) + struct.pack(">i", 60_000))
        _throttle, error, producer_id, epoch = reply.take("ihqh")
        assert error == 0
        return producer_id, epoch


def is_led(kafka, topic, partitions):
    """Whether some of these agents (host:port,host:port) answers for every partition as its leader."""
    led = set()
    for agent in kafka.split(","):
        with Wire(agent) as connection:
            led |= {number for number in range(partitions) if connection.list_offset(topic, number, -1)[0] == NONE}
    return len(led) == partitions
