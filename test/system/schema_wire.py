"""schema_wire.py: Kafka's messages in any version, by the schema text: what a test asks and what it gets are plain dicts and lists.

    with SchemaWire(stack.kafka) as kafka:
        answer = kafka.ask("ListGroups", 5, states_filter=["Empty"])
"""
import struct
import sys
import uuid
from pathlib import Path

from wire import Wire, string, uvarint

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from kafka_schema import read_schema  # noqa: E402

FORMS = {"bool": "?", "int8": "b", "int16": "h", "uint16": "H", "int32": "i", "int64": "q", "float64": "d"}


APIS = {api.name: api for api in read_schema(sorted(str(path) for path in (ROOT / "agent/kafka/schema").glob("*.schema")))[0]}


def has(versions, version):
    return versions[0] <= version <= versions[1]


class Encoder:
    def __init__(self, message, version):
        self.version, self.flexible = version, version >= message.flexible

    def size(self, number, form):
        """A length or a count; None is null."""
        if self.flexible:
            return uvarint(0 if number is None else number + 1)
        return struct.pack(">" + form, -1 if number is None else number)

    def scalar(self, base, value):
        if base in FORMS:
            return struct.pack(">" + FORMS[base], value)
        if base == "uuid":
            return uuid.UUID(value).bytes
        data = value.encode() if isinstance(value, str) else value
        return self.size(None if data is None else len(data), "h" if base == "string" else "i") + (data or b"")

    def field(self, field, value):
        one = (lambda item: self.struct(field.struct, item)) if field.struct else (lambda item: self.scalar(field.base, item))
        if field.indirect:
            return b"\xff" if value is None else b"\x01" + one(value)
        if not field.array:
            return one(value)
        return self.size(None if value is None else len(value), "i") + b"".join(one(item) for item in value or [])

    def default(self, field):
        if field.default == "null":
            return None
        if field.array:
            return []
        if field.base in FORMS:
            number = {"true": 1, "false": 0}.get(field.default, field.default or 0)
            return float(number) if field.base == "float64" else int(number)
        return str(uuid.UUID(int=0)) if field.base == "uuid" else ""

    def struct(self, structure, values):
        unknown = set(values) - {field.name for field in structure.fields}
        assert not unknown, f"{structure.name} has no {unknown}"
        out = b""
        for field in structure.on_wire():
            if has(field.versions, self.version) and field.tag < 0:
                out += self.field(field, values.get(field.name, self.default(field)))
        return out + (b"\0" if self.flexible else b"")


class Decoder:
    def __init__(self, message, version, data):
        self.version, self.flexible = version, version >= message.flexible
        self.data, self.at = data, 0

    def raw(self, size):
        assert size <= len(self.data) - self.at, "the answer is too short"
        self.at += size
        return self.data[self.at - size:self.at]

    def number(self, form):
        return struct.unpack(">" + form, self.raw(struct.calcsize(">" + form)))[0]

    def uvarint(self):
        number = shift = 0
        while True:
            byte = self.raw(1)[0]
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    def size(self, form):
        return self.uvarint() - 1 if self.flexible else self.number(form)

    def scalar(self, base):
        if base in FORMS:
            return self.number(FORMS[base])
        if base == "uuid":
            return str(uuid.UUID(bytes=self.raw(16)))
        size = self.size("h" if base == "string" else "i")
        data = None if size < 0 else self.raw(size)
        return data.decode() if base == "string" and data is not None else data

    def field(self, field):
        one = (lambda: self.struct(field.struct)) if field.struct else (lambda: self.scalar(field.base))
        if field.indirect:
            return one() if self.number("b") >= 0 else None
        if not field.array:
            return one()
        count = self.size("i")
        return None if count < 0 else [one() for _ in range(count)]

    def struct(self, structure):
        values = {field.name: self.field(field) for field in structure.on_wire() if has(field.versions, self.version) and field.tag < 0}
        tagged = {field.tag: field for field in structure.fields if field.tag >= 0 and has(field.versions, self.version)}
        for _ in range(self.uvarint() if self.flexible else 0):
            tag, end = self.uvarint(), self.uvarint()
            end += self.at
            if tag in tagged:  # one that is not sent has no key
                values[tagged[tag].name] = self.field(tagged[tag])
                assert self.at == end, "a tagged field has another size than it says"
            self.raw(end - self.at)
        return values


class SchemaWire(Wire):
    """A connection that speaks every version of every API in the schema text."""

    client = "by hand"

    def ask(self, name, version, **request):
        self.send_message(name, version, **request)
        return self.receive_message(name, version)

    def send_message(self, name, version, **request):
        message = APIS[name].request
        encoder = Encoder(message, version)
        body = encoder.struct(message.root, request)
        self.correlation += 1
        header = struct.pack(">hhi", APIS[name].key, version, self.correlation) + string(self.client) + (b"\0" if encoder.flexible else b"")
        self.socket.sendall(struct.pack(">i", len(header) + len(body)) + header + body)

    def receive_message(self, name, version):
        message = APIS[name].response
        decoder = Decoder(message, version, self.read(struct.unpack(">i", self.read(4))[0]))
        assert decoder.number("i") == self.correlation, "replies are out of order"
        if decoder.flexible:
            assert decoder.uvarint() == 0, "a response header without tagged fields"
        answer = decoder.struct(message.root)
        assert decoder.at == len(decoder.data), f"{len(decoder.data) - decoder.at} bytes too many"
        return answer
