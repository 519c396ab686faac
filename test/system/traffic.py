"""traffic.py: clients that never stop and are never to notice anything: an idempotent producer at a steady pace, and a consumer in a
group of its own, both of librdkafka. What they did is timed, and compared with the log in the end.
"""
import statistics
import threading
import time

import confluent_kafka
from confluent_kafka import Consumer, Producer

import one_log
from clients import CONFLUENT

RECORDS_PER_S = 600
TICK_S = 0.01
GIVE_UP_MS = 300_000
# That a broker closes a connection that nobody uses is no error; librdkafka can be told that.
CALM = {"log.connection.close": False, "socket.timeout.ms": 10_000, "reconnect.backoff.ms": 50, "reconnect.backoff.max.ms": 500,
        "topic.metadata.refresh.interval.ms": 1000}


class Errors:
    """What a client complained of, with the time."""

    def __init__(self, client):
        self.client, self.heard = client, []

    def note(self, error):
        self.heard.append((time.monotonic(), str(error)))

    def since(self, began):
        return [f"{self.client}, after {when - began:.3f} s: {text}" for when, text in self.heard if when >= began]


class Writer:
    """Numbered records to all partitions in turn, at a steady pace."""

    def __init__(self, kafka, topic, partitions):
        self.topic, self.partitions = topic, partitions
        self.errors, self.failed = Errors("the writer"), []
        self.history = one_log.History()
        self.acks = []  # (partition, when it was sent, when that was acknowledged)
        self.stopping = threading.Event()
        self.producer = Producer({
            "bootstrap.servers": kafka, "enable.idempotence": True, "linger.ms": 2, "message.timeout.ms": GIVE_UP_MS,
            "retry.backoff.ms": 50, "error_cb": self.errors.note, **CALM})
        self.thread = threading.Thread(target=self.run, daemon=True)

    def send(self, number):
        partition = number % self.partitions
        record = self.history.send("writer", b"%d:%d" % (partition, number))
        began = time.monotonic()

        def delivered(error, message):
            if error:
                record.fail()
                self.failed.append(str(error))
            else:
                record.acknowledge(message.partition(), message.offset())
                self.acks.append((partition, began, time.monotonic()))
        self.producer.produce(self.topic, record.value, partition=partition, on_delivery=delivered)

    def run(self):
        began, number = time.monotonic(), 0
        while not self.stopping.is_set():
            for number in range(number, int((time.monotonic() - began) * RECORDS_PER_S)):
                self.send(number)
                number += 1
            self.producer.poll(TICK_S)

    def finish(self, timeout):
        self.stopping.set()
        self.thread.join()
        assert self.producer.flush(timeout) == 0, f"{len(self.producer)} records were not acknowledged within {timeout} s"

    def count(self):
        return len(self.acks)


class Reader:
    """One member of a group, from the beginning on; what it got, in that order."""

    def __init__(self, kafka, topic):
        self.topic = topic
        self.errors, self.got = Errors("the reader"), []  # (partition, offset, value)
        self.stopping = threading.Event()
        self.consumer = Consumer({
            "bootstrap.servers": kafka, "group.id": f"readers of {topic}", "auto.offset.reset": "earliest", "fetch.wait.max.ms": 500,
            "auto.commit.interval.ms": 500, "error_cb": self.errors.note, **CALM})
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        self.consumer.subscribe([self.topic])
        while not self.stopping.is_set():
            for message in self.consumer.consume(500, 0.1):
                if message.error():
                    self.errors.note(message.error())
                else:
                    self.got.append((message.partition(), message.offset(), message.value()))
        self.consumer.close()

    def partitions(self):
        """Those that it has had something from."""
        return {partition for partition, _, _ in list(self.got)}

    def finish(self, count, timeout):
        deadline = time.monotonic() + timeout
        while len(self.got) < count and time.monotonic() < deadline:
            time.sleep(0.05)
        self.stopping.set()
        self.thread.join()


class Traffic:
    """Writer and reader of one topic, from the beginning of a `with` to finish()."""

    def __init__(self, kafka, topic, partitions):
        self.kafka, self.topic, self.partitions = kafka, topic, partitions
        self.writer, self.reader = Writer(kafka, topic, partitions), Reader(kafka, topic)

    def __enter__(self):
        self.reader.thread.start()
        self.writer.thread.start()
        return self

    def __exit__(self, *_error):
        for client in (self.writer, self.reader):
            client.stopping.set()
            client.thread.join(20)

    def settle(self, timeout=20):
        """Returns when every partition has had an acknowledgement of a record sent from now on."""
        began, deadline = time.monotonic(), time.monotonic() + timeout
        while len({partition for partition, sent, _ in list(self.writer.acks) if sent >= began}) < self.partitions:
            assert time.monotonic() < deadline, f"not all partitions take records: {self.errors(0)[-3:]}"
            time.sleep(0.02)
        return time.monotonic()

    def errors(self, began):
        """What the clients were told since then: error callbacks, and records that failed."""
        return [*self.writer.errors.since(began), *self.reader.errors.since(began), *self.writer.failed]

    def latencies(self, began, ended, partitions=None):
        """Seconds from send to acknowledgement, of what was sent between the two times."""
        return [acked - sent for partition, sent, acked in list(self.writer.acks)
                if began <= sent < ended and (partitions is None or partition in partitions)]

    def p99(self, began, ended, partitions=None, window_s=1.0):
        """The median over windows of each one's 99th percentile: a machine that is busy with something else spoils a window, not
        the measurement."""
        each = []
        while began + window_s <= ended:
            found = sorted(self.latencies(began, began + window_s, partitions))
            if found:
                each.append(found[min(len(found) - 1, len(found) * 99 // 100)])
            began += window_s
        return statistics.median(each)

    def silence(self, began, partitions):
        """The longest time from then on in which one of the partitions acknowledged nothing."""
        longest = 0
        for partition in partitions:
            times = [began, *sorted(acked for where, _, acked in list(self.writer.acks) if where == partition and acked >= began)]
            longest = max(longest, *(after - before for before, after in zip(times, [*times[1:], time.monotonic()])))
        return longest

    def finish(self, timeout=60):
        """Stops, reads the whole log, and says everything that is wrong with it."""
        self.writer.finish(timeout)
        log = {partition: [(offset, record.value) for offset, record in CONFLUENT.receive(self.kafka, self.topic, partition)]
               for partition in range(self.partitions)}
        self.reader.finish(sum(len(records) for records in log.values()), timeout)
        return [*one_log.violations(self.writer.history, log), *one_log.reader_strays(self.reader.got, log, whole=True)]


def version():
    return f"librdkafka {confluent_kafka.libversion()[0]}"
