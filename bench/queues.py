"""queues.py: the two queues that bench/sql compares: topics of StreamHouse and queues of pgmq, each behind the same calls.

Every call is one transaction and gives the seconds it took. All get the same messages, which are JSON. pgmq's have the type
jsonb; a topic's values may have that, and may be text or bytes, which is what they are kept as.
"""
import json
import random
import struct

import database
import programs

PARTITIONS = 4
POLL_RECORDS = 500
# Of types: the oid, and what comes before each value in binary.
KINDS = {"text": (25, b""), "jsonb": (3802, b"\x01")}
WORDS = ("order", "customer", "amount", "currency", "shipped", "warehouse", "pending", "invoice", "region", "quantity", "product",
         "price", "status", "created", "updated", "account", "delivery", "address", "country", "payment", "method", "discount")


def message(noise, size):
    """JSON of that many bytes as jsonb writes it: half words, half noise."""
    fixed = {"id": noise.randrange(10**8, 10**9), "text": "", "token": ""}
    left = size - len(json.dumps(fixed))
    text = " ".join(noise.choices(WORDS, k=left // 8 + 1))[:left // 2]
    return json.dumps({**fixed, "text": text, "token": noise.randbytes(left)[:(left - len(text) + 1) // 2].hex()[:left - len(text)]})


def messages(count, size):
    noise = random.Random(1)
    return [message(noise, size) for _ in range(count)]


def array(kind, values):
    """An array as a driver sends it: in binary. PostgreSQL would need longer to read its text than for all the rest."""
    head, elements = KINDS[kind]
    body = b"".join(struct.pack(">i", len(elements) + len(value)) + elements + value.encode() for value in values)
    return struct.pack(">iiiii", 1, 0, head, len(values), 1) + body


class Queue:
    """What they share: statements that are prepared when they are first used, on one connection."""
    slowness = 1  # what many records are divided by

    def __init__(self, connection):
        self.connection = connection
        self.prepared = {}

    def statement(self, name):
        if name not in self.prepared:
            self.prepared[name] = f"{self.kind}_{name}_{id(self)}"
            self.connection.prepare(self.prepared[name], self.statements[name])
        return self.prepared[name]

    def count(self, name, queue, parameter=None, form=database.TEXT):
        """Gives the seconds that a call took, and how many rows came."""
        values = [queue.encode()] + ([parameter] if parameter is not None else [])
        return self.connection.count(self.statement(name), values, form)

    def send(self, queue, message_text):
        return self.count("send", queue, message_text)[0]

    def send_batch(self, queue, messages_array):
        return self.count("send_batch", queue, messages_array, database.BINARY)[0]


class StreamHouse(Queue):
    """Topics: produced to with sh_produce() and its kin, read by a group with sh_poll(). Values are text."""
    name = "StreamHouse"
    kind = "text"
    statements = {
        "send": "SELECT * FROM sh_produce($1, $2::text)",
        "send_batch": "SELECT * FROM sh_produce_batch($1, $2::text[])",
        "poll": f"SELECT * FROM sh_poll($1, ARRAY[$1], {POLL_RECORDS})",
    }
    many = "PERFORM sh_enqueue('{queue}', p.message) FROM payload AS p, generate_series(1, {times})"

    def create(self, queue, partitions=PARTITIONS):
        self.connection.query(f"SELECT sh_create_topic('{queue}', {partitions})")

    def join(self, queue):
        """Becomes a member of the group that has the topic's name, and gets its partitions."""
        self.poll(queue)

    def poll(self, queue):
        return self.count("poll", queue)

    def drop(self, queue):
        self.connection.query(f"SELECT sh_delete_topic('{queue}')")

    def bytes(self, _queue):
        return self.connection.value(
            "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class AS c WHERE c.relkind = 'r' AND c.relnamespace = 'streamhouse'::regnamespace")


class StreamHouseJson(StreamHouse):
    """The same with values of jsonb, which PostgreSQL parses and StreamHouse writes as text again."""
    name = "jsonb values"
    kind = "jsonb"
    statements = {
        "send": "SELECT * FROM sh_produce($1, $2::jsonb)",
        "send_batch": "SELECT * FROM sh_produce_batch($1, $2::jsonb[])",
    }


class Pgmq(Queue):
    """Queues of pgmq: a message is read, which hides it for a while, and then deleted."""
    name = "pgmq"
    kind = "jsonb"
    slowness = 5
    statements = {
        "send": "SELECT * FROM pgmq.send($1, $2::jsonb)",
        "send_batch": "SELECT * FROM pgmq.send_batch($1, $2::jsonb[])",
        "read": f"SELECT * FROM pgmq.read($1, 30, {POLL_RECORDS})",
        "delete": "SELECT * FROM pgmq.delete($1, $2::bigint[])",
    }
    many = ("PERFORM pgmq.send_batch('{queue}', b.messages) FROM (SELECT array_agg(p.message) AS messages FROM payload AS p) AS b, "
            "generate_series(1, {times})")

    def create(self, queue):
        self.connection.query(f"SELECT pgmq.create('{queue}')")

    def join(self, queue):
        """Nothing to join."""

    def poll(self, queue):
        took, rows = self.connection.execute(self.statement("read"), [queue.encode()], database.TEXT)
        if not rows:
            return took, 0
        ids = "{" + ",".join(str(struct.unpack(">q", row[0])[0]) for row in rows) + "}"
        delete_took, deleted = self.count("delete", queue, ids.encode())
        if deleted != len(rows):
            raise programs.StackError(f"pgmq deleted {deleted} messages of {len(rows)}")
        return took + delete_took, deleted

    def drop(self, queue):
        self.connection.query(f"SELECT pgmq.drop_queue('{queue}')")

    def bytes(self, queue):
        return self.connection.value(f"SELECT pg_total_relation_size('pgmq.q_{queue}')")
