"""kafka_clients.py: the clients of a chaos run that are librdkafka, by way of Debian's python3-confluent-kafka."""
import os
import time

import confluent_kafka
from confluent_kafka import KafkaError, TopicPartition

from client import Client, Pace, main, place_name, place_of
from clients import record_of
from history import digest, now, seen

QUICK = {"reconnect.backoff.ms": 50, "reconnect.backoff.max.ms": 500, "topic.metadata.refresh.interval.ms": 2000, "socket.timeout.ms": 10_000}
UNFINISHED_MAX = 1000  # records that wait for an answer: no more are sent meanwhile
POLL_RECORDS_MAX = 300
TOO_LARGE_BYTES = 400_000  # more than the topics' max.message.bytes, less than what librdkafka itself refuses


class Producer(Client):
    """Idempotent. Records go to a partition, by their key, or anywhere."""

    kind, ordered = "librdkafka", True
    settings = {"enable.idempotence": True, "linger.ms": 5, "message.timeout.ms": 120_000}

    def open(self):
        self.fatal = None
        self.unfinished = {}
        self.pace = Pace(self.config.get("rate", 60))
        codec = self.chance.choice(("none", "lz4", "zstd", "gzip", "snappy"))
        self.producer = confluent_kafka.Producer({"bootstrap.servers": self.config["bootstrap"], "compression.type": codec,
                                                  "retry.backoff.ms": 50, "error_cb": self.note_error, **QUICK, **self.settings})

    def note_error(self, error):
        if error.fatal():
            self.fatal = error

    def work(self):
        if self.fatal:
            raise confluent_kafka.KafkaException(self.fatal)
        self.pace.wait(self.producer.poll)
        self.producer.poll(0)
        if len(self.unfinished) < UNFINISHED_MAX:
            self.send(*self.chance.choice(self.places))

    def send(self, topic, partition):
        how = self.chance.randrange(3)
        record = self.maker.next(key=f"k{self.chance.randrange(50)}".encode() if how else None, size=self.size())
        wanted = partition if how < 2 else -1
        number, started_ns = self.maker.number, now()
        self.unfinished[number] = (topic, wanted, record, started_ns)
        try:
            self.producer.produce(topic, record.value, record.key, wanted, on_delivery=lambda error, message: self.delivered(number, error, message),
                                  timestamp=record.timestamp, headers=list(record.headers))
        except BufferError:  # it was not taken: nobody can have it
            del self.unfinished[number]

    def size(self):
        return None

    def delivered(self, number, error, message):
        if number not in self.unfinished:
            return
        topic, partition, record, started_ns = self.unfinished.pop(number)
        if error is None:
            self.write(record, started_ns, "ok", place_name(message.topic(), message.partition()), message.offset())
            self.progress.succeed(acknowledged=1)
        else:
            place = place_name(topic, partition) if partition >= 0 else None
            self.write(record, started_ns, self.outcome_of(error, record), place, None, error=error.name())

    def outcome_of(self, error, record):
        """A batch that is refused as too large may hold records whose first try, in another batch, was committed and never answered."""
        refused = error.code() == KafkaError.MSG_SIZE_TOO_LARGE and len(record.value) >= TOO_LARGE_BYTES
        return "fail" if refused else "unknown"

    def write(self, record, started_ns, outcome, place, offset, **more):
        _offset, value, made = seen(offset, record)
        self.journal.write("send", started_ns, outcome, records=[[place, offset, value, made]], ordered=self.ordered,
                           session=self.session, **more)

    def finish(self):
        self.producer.flush(self.config.get("flush_s", 60))

    def close(self):
        """What has no answer yet never gets one: what the client still does with it, nobody will know."""
        self.producer.purge()
        self.producer.flush(1)
        for number in list(self.unfinished):
            topic, partition, record, started_ns = self.unfinished.pop(number)
            self.write(record, started_ns, "unknown", place_name(topic, partition) if partition >= 0 else None, None)


class PlainProducer(Producer):
    """Without idempotence, and soon out of patience: what it is not told of may be there, once or twice, in any order. Now and then it
    sends what has to be refused."""

    kind, ordered = "librdkafka plain", False
    settings = {"enable.idempotence": False, "acks": "all", "linger.ms": 1, "message.send.max.retries": 3, "message.timeout.ms": 8000,
                "message.max.bytes": 1_000_000, "compression.type": "none"}

    def size(self):
        return TOO_LARGE_BYTES if self.chance.random() < 0.005 else None


class Reader(Client):
    """What followers and members have in common."""

    kind, mode = "librdkafka", "manual"

    def consumer(self, **settings):
        return confluent_kafka.Consumer({"bootstrap.servers": self.config["bootstrap"], "enable.auto.commit": False, "fetch.wait.max.ms": 200,
                                         "queued.max.messages.kbytes": 4096, "group.id": "nobody", **QUICK, **settings})

    def gather(self, wait_s=0.2):
        """Some records: one by one, since what librdkafka gives in bunches may span a change of assignment."""
        self.started_ns, self.reads = now(), {}
        deadline = time.monotonic() + wait_s
        for _ in range(POLL_RECORDS_MAX):
            message = self.kafka.poll(max(0, deadline - time.monotonic()))
            if message is None:
                break
            if message.error() is None:
                self.reads.setdefault(place_name(message.topic(), message.partition()), []).append(seen(message.offset(), record_of(message)))
            else:
                self.complain(message)

    def complain(self, message):
        """An offset that the reader was given by the log itself is never out of range."""
        error = message.error()
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            self.journal.write("poll", now(), "fail", error=str(error), mode=self.mode, reads={})
            raise confluent_kafka.KafkaException(error)

    def write_reads(self, **more):
        """Writes down what was gathered, and gives it: {place: the offset after}."""
        reads, self.reads = self.reads, {}
        if reads:
            self.journal.write("poll", self.started_ns, reads=reads, mode=self.mode, **more)
            self.progress.succeed(read=sum(map(len, reads.values())))
        after = {place: records[-1][0] + 1 for place, records in reads.items()}
        self.progress.positions.update(after)
        return after


class Follower(Reader):
    """Reads all partitions from their beginning, and now and then goes back to something older in one of them."""

    def __init__(self, config):
        super().__init__(config)
        self.next = {place_name(*place): 0 for place in self.places}

    def open(self):
        self.reads = {}
        self.kafka = self.consumer(**{"auto.offset.reset": "error"})
        self.assign(self.next)
        self.kafka.assign([TopicPartition(*place_of(place), offset) for place, offset in self.next.items()])

    def assign(self, at):
        self.journal.write("assign", now(), mode="manual", added=sorted(at), removed=[], at=dict(at))

    def work(self):
        self.gather()
        self.next.update(self.write_reads())
        if self.chance.random() < 0.002:
            self.look_back()

    def look_back(self):
        place = self.chance.choice(sorted(self.next))
        older = max(0, self.next[place] - self.chance.randrange(1, 2000))
        self.next[place] = older
        self.kafka.close()
        self.open()

    def close(self):
        self.kafka.close()


class Relay(Follower):
    """Reads, and then sends, and waits for the answer: whoever reads what it sent can only have what it had read before."""

    kind = "librdkafka relay"

    def open(self):
        super().open()
        self.sender = Producer.__new__(Producer)
        self.sender.__dict__.update({name: getattr(self, name) for name in ("config", "journal", "progress", "maker", "places", "chance", "session")})
        self.sender.kind = self.kind
        Producer.open(self.sender)

    def work(self):
        self.gather()
        self.next.update(self.write_reads())
        self.sender.send(*self.chance.choice(self.places))
        deadline = time.monotonic() + 20
        while self.sender.unfinished and not self.stopping and time.monotonic() < deadline:
            self.sender.producer.poll(0.05)
        if self.sender.unfinished:
            raise TimeoutError("no answer to what was sent")

    def close(self):
        self.sender.close()
        super().close()


class Member(Reader):
    """A member of a group, which commits what it has written down, and now and then leaves and comes again."""

    mode = "group"

    def open(self):
        self.reads, self.held = {}, set()
        self.group, cooperative = self.config["group"], self.config["assignor"] == "cooperative-sticky"
        self.leave_at_s = time.monotonic() + self.chance.uniform(20, 60)
        self.kafka = self.consumer(**{"group.id": self.group, "auto.offset.reset": "earliest", "session.timeout.ms": 10_000,
                                      "heartbeat.interval.ms": 1000, "partition.assignment.strategy": self.config["assignor"]})
        self.incremental = cooperative
        self.kafka.subscribe(sorted(self.topics), on_assign=self.assigned, on_revoke=self.revoked, on_lost=self.lost)

    def write_assignment(self, added=(), removed=()):
        names = [sorted(place_name(place.topic, place.partition) for place in places) for places in (added, removed)]
        self.held = self.held.union(names[0]).difference(names[1])
        self.journal.write("assign", now(), mode="group", group=self.group, added=names[0], removed=names[1])

    def assigned(self, consumer, places):
        self.write_reads(group=self.group)
        self.write_assignment(added=places)
        (consumer.incremental_assign if self.incremental else consumer.assign)(places)

    def revoked(self, consumer, places):
        self.settle()
        self.write_assignment(removed=places)
        self.give_up(consumer, places)

    def lost(self, consumer, places):
        self.write_reads(group=self.group)
        self.write_assignment(removed=places)
        self.give_up(consumer, places)

    def give_up(self, consumer, places):
        if self.incremental:
            consumer.incremental_unassign(places)
        else:
            consumer.unassign()

    def settle(self):
        """Commits what was gathered, once it is written down."""
        after = self.write_reads(group=self.group)
        if not after:
            return
        started_ns = now()
        try:
            done = self.kafka.commit(offsets=[TopicPartition(*place_of(place), offset) for place, offset in after.items()], asynchronous=False)
            failed = [place for place in done if place.error]
            outcome = "unknown" if failed else "ok"
        except confluent_kafka.KafkaException:
            outcome = "unknown"
        self.journal.write("commit", started_ns, outcome, group=self.group, offsets=after)

    def work(self):
        self.gather()
        self.settle()
        if time.monotonic() > self.leave_at_s:
            self.close()
            time.sleep(self.chance.uniform(0, 2))
            self.open()

    def close(self):
        self.kafka.close()


class Observer(Client):
    """Asks for the groups' offsets, over and over."""

    kind = "librdkafka observer"

    def open(self):
        self.consumers = {group: confluent_kafka.Consumer({"bootstrap.servers": self.config["bootstrap"], "group.id": group, **QUICK})
                          for group in self.config["groups"]}

    def work(self):
        for group, consumer in self.consumers.items():
            started_ns = now()
            found = consumer.committed([TopicPartition(*place) for place in self.places], timeout=10)
            offsets = {place_name(place.topic, place.partition): max(place.offset, -1) for place in found if not place.error}
            self.journal.write("committed", started_ns, group=group, offsets=offsets)
            self.progress.succeed()
            self.progress.positions[group] = offsets
        time.sleep(1)

    def close(self):
        for consumer in self.consumers.values():
            consumer.close()


class Drain(Client):
    """Reads everything from beginning to end through one agent's door, and is done. It starts again when it fails."""

    kind = "librdkafka drain"

    def work(self):
        self.door = f"librdkafka at {self.config['bootstrap'].split(',')[0]}, try {self.session}"
        consumer = confluent_kafka.Consumer({"bootstrap.servers": self.config["bootstrap"], "group.id": "nobody", "enable.auto.commit": False,
                                             "auto.offset.reset": "error", "enable.partition.eof": True, "fetch.wait.max.ms": 50,
                                             "queued.max.messages.kbytes": 8192, **QUICK})
        try:
            ends = {}
            for place in self.places:
                ends[place_name(*place)] = self.read(consumer, place)
            self.journal.write("drain", now(), door=self.door, done=True, ends=ends, reads={})
            self.stopping = True
        finally:
            consumer.close()

    def read(self, consumer, place):
        consumer.assign([TopicPartition(*place, 0)])
        position, deadline = 0, time.monotonic() + 60
        while time.monotonic() < deadline:
            started_ns, records, ended = now(), [], False
            for message in consumer.consume(2000, 0.05):
                if message.error() is None:
                    records.append(seen(message.offset(), record_of(message)))
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    ended = True
                else:
                    raise confluent_kafka.KafkaException(message.error())
            if records:
                position = records[-1][0] + 1
                deadline = time.monotonic() + 60
                self.progress.succeed(read=len(records))
                self.journal.write("drain", started_ns, door=self.door, reads={place_name(*place): records})
            self.progress.tell()
            if ended:
                return position
        raise TimeoutError(f"no end of {place_name(*place)}")


ROLES = {"producer": Producer, "plain": PlainProducer, "follower": Follower, "relay": Relay, "member": Member, "observer": Observer, "drain": Drain}

if __name__ == "__main__":
    os.nice(5)
    main(ROLES)
