"""A partition that SQL writers keep locked: a Kafka producer of the same partition gets its turn, and nobody else waits for it."""
import subprocess
import threading
import time

import pytest
from confluent_kafka import Producer

from clients import CONFLUENT
from records import plain

pytestmark = [pytest.mark.sql, pytest.mark.alone, pytest.mark.timeout(300)]

WRITERS = 8
SECONDS = 5.0


class Writers:
    """psql sessions that do nothing but append to a partition, each a transaction at a time."""

    def __init__(self, stack, topic, count, hold=""):
        statement = f"BEGIN; SELECT count(sh_produce('{topic}', 'sql-%d-%d', partition => 0)); {hold} COMMIT;\n"
        self.stack, self.count = stack, count
        self.sessions = [subprocess.Popen(
            ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", stack.postgres.conninfo("streamhouse")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(count)]
        self.stopping = threading.Event()
        self.done = [0] * count
        self.failures = []
        self.threads = [threading.Thread(target=self.run, args=(number, statement)) for number in range(count)]

    def run(self, number, statement):
        session = self.sessions[number]
        while not self.stopping.is_set():
            session.stdin.write(statement % (number, self.done[number]))
            session.stdin.flush()
            answer = session.stdout.readline().strip()
            if answer != "1":
                self.failures.append(answer)
                return
            self.done[number] += 1

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_error):
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        for session in self.sessions:
            session.stdin.close()
            session.wait(30)


class Timed:
    """A Kafka producer that sends a record whenever the last one was acknowledged, and notes how long each took."""

    def __init__(self, kafka, topic, partition):
        self.topic, self.partition = topic, partition
        self.producer = Producer({"bootstrap.servers": kafka, "acks": "all", "linger.ms": 0, "enable.idempotence": True})
        self.took, self.errors, self.values = [], [], []

    def send(self):
        value = b"kafka-%d" % len(self.values)
        began = time.monotonic()
        self.values.append(value)
        self.producer.produce(self.topic, value, partition=self.partition,
                              on_delivery=lambda error, _: self.errors.append(error) if error else None)
        assert self.producer.flush(30) == 0, "a record was not acknowledged within 30 s"
        self.took.append(time.monotonic() - began)

    def run(self, seconds):
        self.send()  # metadata and the first connection are not what is measured
        self.took.clear()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.send()

    def quantile(self, part):
        return sorted(self.took)[int(len(self.took) * part)]


@pytest.mark.parametrize("path", ["auto", "object"])
@pytest.mark.parametrize("own_stack", ["folder"], indirect=True)
def test_eight_busy_sql_writers_do_not_starve_a_kafka_producer(own_stack, topic_name, path):
    own_stack.start_agent()
    topic = own_stack.create_topic(topic_name, partitions=2, **{"streamhouse.write.path": path})
    kafka, beside = Timed(own_stack.kafka, topic, 0), Timed(own_stack.kafka, topic, 1)
    with Writers(own_stack, topic, WRITERS) as writers:
        other = threading.Thread(target=beside.run, args=(SECONDS,))
        other.start()
        kafka.run(SECONDS)
        other.join()
    print(f"# {sum(writers.done)} SQL transactions, {len(kafka.took)} records of the producer, p50 {kafka.quantile(0.5) * 1000:.0f} ms, "
          f"p99 {kafka.quantile(0.99) * 1000:.0f} ms; beside it {len(beside.took)}, p99 {beside.quantile(0.99) * 1000:.0f} ms")
    assert not writers.failures and not kafka.errors and not beside.errors
    assert min(writers.done) > 10, "an SQL writer was starved"
    assert len(kafka.took) > 3 * SECONDS, "the Kafka producer was starved"
    assert kafka.quantile(0.99) < 2.0
    assert len(beside.took) > len(kafka.took) / 2, "the other partition waited for the contended one"
    read = [record.value for _, record in CONFLUENT.receive(own_stack.kafka, topic, 0)]
    assert [value for value in read if value.startswith(b"kafka-")] == kafka.values
    for number in range(WRITERS):
        mine = [value for value in read if value.startswith(b"sql-%d-" % number)]
        assert mine == [b"sql-%d-%d" % (number, i) for i in range(writers.done[number])]
    assert len(read) == sum(writers.done) + len(kafka.values)


@pytest.mark.parametrize("own_stack", ["folder"], indirect=True)
def test_an_agent_that_comes_back_is_given_a_partition_that_sql_keeps_busy(own_stack, topic_name):
    agent = own_stack.start_agent()
    topic = own_stack.create_topic(topic_name, partitions=2)
    kafka = Timed(own_stack.kafka, topic, 0)
    kafka.send()
    with Writers(own_stack, topic, WRITERS, hold="SELECT pg_sleep(0.02) \\g /dev/null\n") as writers:
        agent.kill()
        agent.start()
        began = time.monotonic()
        kafka.send()
        assert time.monotonic() - began < 10, "nobody led the partition for long"
        kafka.send()
    assert not writers.failures and not kafka.errors


@pytest.mark.parametrize("own_stack", ["folder"], indirect=True)
def test_a_lock_that_is_held_too_long_is_a_retriable_error_and_the_record_comes_once(own_stack, topic_name):
    own_stack.start_agent()
    topic = own_stack.create_topic(topic_name, partitions=2)
    holder = subprocess.Popen(["psql", "-XAtq", "-d", own_stack.postgres.conninfo("streamhouse")], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True)
    holder.stdin.write(f"BEGIN; SELECT count(sh_produce('{topic}', 'held', partition => 0));\n")
    holder.stdin.flush()
    assert holder.stdout.readline() == "1\n"
    producer = Producer({"bootstrap.servers": own_stack.kafka, "enable.idempotence": True, "linger.ms": 0,
                         "request.timeout.ms": 1000, "retry.backoff.ms": 100})
    errors = []
    producer.produce(topic, b"waits", partition=0, on_delivery=lambda error, _: errors.append(error))
    assert producer.flush(4) == 1, "it was acknowledged though somebody holds the partition"
    sent = plain(20)
    CONFLUENT.send(own_stack.kafka, topic, 1, sent)  # and nobody else waits
    holder.stdin.write("COMMIT;\n")
    holder.stdin.close()
    holder.wait(10)
    assert producer.flush(20) == 0 and errors == [None]
    assert [record.value for _, record in CONFLUENT.receive(own_stack.kafka, topic, 0)] == [b"held", b"waits"]
