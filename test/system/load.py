"""load.py: an idempotent producer that never stops, and the check of what became of its records.

The check is Jepsen's for a log: every value is unique, so whatever was lost, doubled or moved can be named.
"""
import logging
import threading
import time

from confluent_kafka import Producer

from clients import CONFLUENT

GIVE_UP_MS = 300_000
BURST = 50


class Renumberings(logging.Handler):
    """What librdkafka says when it takes a sequence for broken: it gives all that waits new numbers, under a new producer epoch,
    and what is in doubt at that time is stored twice. Agents are not to give it a reason."""

    def __init__(self):
        super().__init__()
        self.lines = []
        self.logger = logging.Logger("librdkafka")
        self.logger.addHandler(self)

    def emit(self, record):
        if record.getMessage().startswith("ERRSEQ"):
            self.lines.append(record.getMessage())


class Load:
    """Writes numbered records to every partition of a topic until it is stopped; notes what was acknowledged, and where."""

    def __init__(self, kafka, topic, partitions, records_per_s=2000, value_bytes=200, prefix=b"", **config):
        self.kafka, self.topic, self.partitions = kafka, topic, partitions
        self.pause_s, self.value_bytes, self.prefix = BURST / records_per_s, value_bytes, prefix
        self.sent = {number: [] for number in range(partitions)}  # values, in order
        self.acknowledged = {number: {} for number in range(partitions)}  # offset -> value
        self.errors = []
        self.renumberings = Renumberings()
        self.stopping = threading.Event()
        self.producer = Producer({
            "bootstrap.servers": kafka, "enable.idempotence": True, "linger.ms": 2, "message.timeout.ms": GIVE_UP_MS,
            "reconnect.backoff.ms": 50, "reconnect.backoff.max.ms": 500, "retry.backoff.ms": 50,
            "topic.metadata.refresh.interval.ms": 1000, "socket.timeout.ms": 10_000,
            "error_cb": self.note_error, "debug": "eos", "logger": self.renumberings.logger, **config})
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_error):
        self.stop()

    def note_error(self, error):
        if error.fatal():
            self.errors.append(error)

    def note_delivery(self, error, message):
        if error:
            self.errors.append(error)
        elif message.offset() in self.acknowledged[message.partition()]:
            self.errors.append(f"offset {message.offset()} of partition {message.partition()} was acknowledged twice")
        else:
            self.acknowledged[message.partition()][message.offset()] = message.value()

    def run(self):
        number = 0
        while not self.stopping.is_set() and not self.errors:
            for _ in range(BURST):
                self.send(number)
                number += 1
            self.producer.poll(0)
            self.stopping.wait(self.pause_s)

    def send(self, number):
        partition = number % self.partitions
        value = self.prefix + b"%d:%d:" % (partition, number)
        value += b"x" * (number * 7919 % self.value_bytes)
        try:
            self.producer.produce(self.topic, value, b"key", partition, on_delivery=self.note_delivery)
            self.sent[partition].append(value)
        except BufferError:  # everything is down and the queue is full
            self.producer.poll(0.1)

    def stop(self):
        self.stopping.set()
        self.thread.join()

    def acknowledged_count(self):
        return sum(len(offsets) for offsets in self.acknowledged.values())

    def wait_for_more(self, count=1, timeout=60):
        """Returns when so many further records were acknowledged."""
        goal, deadline = self.acknowledged_count() + count, time.monotonic() + timeout
        while self.acknowledged_count() < goal:
            assert not self.errors, self.errors[:3]
            assert time.monotonic() < deadline, f"nothing is acknowledged any more; {len(self.producer)} records wait"
            time.sleep(0.02)

    def finish(self, timeout=120):
        """Stops, and waits until everything that was sent is acknowledged."""
        self.stop()
        left = self.producer.flush(timeout)
        assert not self.errors, self.errors[:3]
        assert left == 0, f"{left} records were not acknowledged within {timeout} s"

    def check(self, kafka=None):
        """Every record is there once, in the order it was sent, at the offset that was acknowledged."""
        total = 0
        for partition in range(self.partitions):
            read = CONFLUENT.receive(kafka or self.kafka, self.topic, partition)
            self.check_partition(partition, {offset: record.value for offset, record in read}, [offset for offset, _ in read])
            total += len(read)
        return total

    def check_partition(self, partition, stored, offsets):
        assert offsets == sorted(set(offsets)), f"partition {partition}: offsets repeat or go back"
        values = [stored[offset] for offset in offsets]
        there, sent = set(values), self.sent[partition]
        lost = [offset for offset, value in self.acknowledged[partition].items() if stored.get(offset) != value]
        assert not lost, f"partition {partition}: {len(lost)} acknowledged records are not where they were, first at {min(lost)}"
        doubled = len(values) - len(there)
        assert doubled == 0, f"partition {partition}: {doubled} records are there twice"
        invented = there - set(sent)
        assert not invented, f"partition {partition}: {len(invented)} records were never sent, like {next(iter(invented))[:40]}"
        assert values == [value for value in sent if value in there], f"partition {partition}: out of order"
        assert len(self.acknowledged[partition]) == len(values), f"partition {partition}: records are there that failed"
