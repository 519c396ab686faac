"""SQL and Kafka write to the same topics, and SQL and Kafka read them, while agents, backends, psqls, PostgreSQL and the S3 server
are killed.

Producers in SQL: sh_produce() by itself and with rows of the user's own, sh_produce_batch(), sh_enqueue() with savepoints and
rollbacks, a trigger. A consumer group in SQL fills a table, with its offsets in the same transactions. Beside them Kafka
producers with and without idempotence, on topics that are written inline, to objects, and as the agent likes, while the inline
ring turns fast. Afterwards every door has to show one and the same log, and that log has to agree with what everybody was told:
see one_log.py. STREAMHOUSE_SEED repeats a run, as far as that is possible; STREAMHOUSE_ROUNDS says how many faults.
"""
import collections
import os
import random
import re
import signal
import threading
import time

import confluent_kafka
import pytest
from confluent_kafka import TopicPartition

import one_log
import process
import sql_load
from clients import CONFLUENT, open_consumer
from conftest import STORES
from load import Load
from one_log import History, Outcome
from sql_session import connect
from stack import Stack, wait_until

# Each of them needs a processor of its own: never two at a time.
pytestmark = [pytest.mark.sql, pytest.mark.long, pytest.mark.timeout(600), pytest.mark.xdist_group("sql_crash")]

SEED = int(os.environ.get("STREAMHOUSE_SEED", random.SystemRandom().randrange(2**31)))
ROUNDS = int(os.environ.get("STREAMHOUSE_ROUNDS", "12"))
PARTITIONS = 3
LEASE_TTL_S = 3
PATHS = ["inline", "auto", "object"]
RING_TURNS = {"streamhouse.inline_move_age": "0", "streamhouse.inline_slot_age": "1s", "streamhouse.inline_grace": "0"}
KAFKA_RECORDS_PER_S = 300
NO_MORE_INLINE = "SELECT NOT EXISTS (SELECT FROM streamhouse.segment WHERE slot > 0)"


class PlainProducer(threading.Thread):
    """A Kafka producer without idempotence and without retries, whose records nobody else may double. Their order is not promised:
    what an agent has not read yet when it loses a lease, it may commit when it has the lease again."""

    def __init__(self, kafka, history, topics):
        super().__init__(name="plain", daemon=True)
        self.history, self.topics = history, topics
        self.stopping, self.errors, self.done = threading.Event(), [], 0
        self.refused = collections.Counter()
        self.producer = confluent_kafka.Producer({
            "bootstrap.servers": kafka, "enable.idempotence": False, "message.send.max.retries": 0, "acks": "all", "linger.ms": 1,
            "max.in.flight.requests.per.connection": 1, "reconnect.backoff.max.ms": 500, "message.timeout.ms": 10_000,
            "topic.metadata.refresh.interval.ms": 1000})

    def run(self):
        number = 0
        while not self.stopping.is_set():
            number += 1
            topic, partition = self.topics[number % len(self.topics)], number // len(self.topics) % PARTITIONS
            record = self.history.send(f"plain {number}", f"plain/{number}".encode())
            self.producer.produce(topic, record.value, partition=partition, on_delivery=self.note(record))
            self.producer.poll(0.01)
        self.producer.flush(30)

    def note(self, record):
        def delivered(error, message):
            if error:
                self.refused[error.name()] += 1
            else:
                record.acknowledge((message.topic(), message.partition()), message.offset())
                self.done += 1
        return delivered

    def stop(self):
        self.stopping.set()
        self.join()


class KafkaReader(threading.Thread):
    """Follows a topic's partitions from their beginning with a Kafka consumer."""

    def __init__(self, kafka, topic):
        super().__init__(name=f"kafka {topic}", daemon=True)
        self.stopping, self.read, self.errors = threading.Event(), [], []
        self.consumer = open_consumer(kafka, **{"reconnect.backoff.max.ms": 500, "fetch.wait.max.ms": 100})
        self.consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])

    def run(self):
        while not self.stopping.is_set():
            for message in self.consumer.consume(500, 0.1):
                if message.error() is None:
                    self.read.append(((message.topic(), message.partition()), message.offset(), message.value()))
                elif message.error().code() == confluent_kafka.KafkaError._AUTO_OFFSET_RESET:
                    self.errors.append(str(message.error()))
        self.consumer.close()

    def stop(self):
        self.stopping.set()
        self.join()


class World:
    """Everybody who writes and reads, and what they wrote."""

    def __init__(self, stack, topics, chance):
        self.stack, self.topics, self.chance = stack, topics, chance
        self.history = History()
        kinds = [sql_load.AutocommitProducer, sql_load.AutocommitProducer, sql_load.BatchProducer, sql_load.TransactionProducer,
                 sql_load.TransactionProducer, sql_load.Outbox, sql_load.Outbox, sql_load.ChangeCapture]
        self.writers = [kind(self.history, stack.postgres, f"{kind.__name__}-{number}", topics, PARTITIONS, self.fork())
                        for number, kind in enumerate(kinds)]
        self.loads = [Load(stack.kafka, topic, PARTITIONS, KAFKA_RECORDS_PER_S, prefix=f"kafka/{topic}/".encode()) for topic in topics]
        self.sql_readers = [sql_load.SqlReader(stack.postgres, "reader", topics, PARTITIONS, self.fork())]
        self.plain = PlainProducer(stack.kafka, self.history, topics)
        self.sinks = [sql_load.Sink(stack.postgres, f"sink-{number}", topics, PARTITIONS, self.fork()) for number in range(2)]
        self.kafka_readers = [KafkaReader(stack.kafka, topic) for topic in topics]

    def fork(self):
        return random.Random(self.chance.random())

    @property
    def sql(self):
        return [*self.writers, *self.sql_readers, *self.sinks]

    def start(self):
        for thread in [*self.sql, self.plain, *self.kafka_readers]:
            thread.start()
        for load in self.loads:
            load.thread.start()

    def errors(self):
        return [error for one in [*self.sql, self.plain, *self.loads, *self.kafka_readers] for error in one.errors]

    def progress(self):
        return [one.done for one in [*self.sql, self.plain]] + [load.acknowledged_count() for load in self.loads]

    def wait_for_everybody(self, timeout=60):
        """Returns when everybody has done something more."""
        before = self.progress()

        def all_moved():
            assert not self.errors(), self.errors()[:3]
            return all(now > then for now, then in zip(self.progress(), before))

        try:
            wait_until(all_moved, timeout, "that everybody goes on")
        except AssertionError as error:
            names = [one.name for one in [*self.sql, self.plain]] + [load.topic for load in self.loads]
            stuck = [name for name, now, then in zip(names, self.progress(), before) if now == then]
            raise AssertionError(f"{error}; these do not: {stuck}; plain was told {self.plain.refused}") from error

    def finish(self):
        for writer in [*self.writers, self.plain]:
            writer.stop()
        for load in self.loads:
            load.finish()
            self.note_kafka(load)

    def note_kafka(self, load):
        for partition, values in load.sent.items():
            offsets = {value: offset for offset, value in load.acknowledged[partition].items()}
            for value in values:
                self.history.send(f"kafka {load.topic}", value).acknowledge((load.topic, partition), offsets[value])

    def log_by_kafka(self):
        return {(topic, number): [(offset, record.value) for offset, record in CONFLUENT.receive(self.stack.kafka, topic, number)]
                for topic in self.topics for number in range(PARTITIONS)}

    def log_by_sql(self):
        session = connect(self.stack.postgres)
        try:
            return {(topic, number): sql_load.fetch_all(session, (topic, number))
                    for topic in self.topics for number in range(PARTITIONS)}
        finally:
            session.close()

    def log_by_read(self):
        session = connect(self.stack.postgres)
        try:
            found = [sql_load.read_all(session, topic) for topic in self.topics]
            return {place: records for log in found for place, records in log.items()}
        finally:
            session.close()

    def sink_rows(self):
        rows = self.stack.postgres.rows('SELECT topic, partition, "offset", value FROM sink')
        return [((row["topic"], row["partition"]), row["offset"], row["value"].encode()) for row in rows]

    def stop_readers(self, log):
        """Once they have had time to come to the end."""
        total = sum(len(records) for records in log.values())
        wait_until(lambda: self.stack.postgres.value("SELECT count(*) FROM sink") >= total or self.errors(),
                   what="that the consumer group comes to the end")
        wait_until(lambda: len(self.sql_readers[0].read) >= total or self.errors(), what="that the SQL reader comes to the end")
        wait_until(lambda: sum(len(reader.read) for reader in self.kafka_readers) >= total or self.errors(),
                   what="that the Kafka readers come to the end")
        for reader in [*self.sql_readers, *self.sinks, *self.kafka_readers]:
            reader.stop()


def kill_agent(world):
    agent = world.chance.choice(world.stack.agents)
    agent.kill()
    time.sleep(world.chance.random() * 0.3)
    agent.start()


def pause_agent(world):
    """For longer than its leases last: it comes back as somebody who does not know that others lead now."""
    agent = world.chance.choice(world.stack.agents)
    agent.pause()
    time.sleep(LEASE_TTL_S + world.chance.random())
    agent.resume()


def kill_backend(world):
    """Of a writer: PostgreSQL restarts as a whole, since shared memory may be broken."""
    session = world.chance.choice(world.writers).session
    if session:
        process.send(session.backend, signal.SIGKILL)


def kill_postgres(world):
    world.stack.postgres.kill()
    time.sleep(world.chance.random() * 0.5)
    world.stack.postgres.start()


def kill_psql(world):
    for _ in range(3):
        session = world.chance.choice(world.sql).session
        if session:
            session.kill()


def signal_backends(world, function):
    """Some sessions at some moments, so that it hits calls, commits and waits for locks."""
    with_session = [one.session.backend for one in world.sql if one.session]
    chosen = world.chance.sample(with_session, min(4, len(with_session)))
    for backend in chosen:
        world.stack.postgres.run(f"SELECT {function}({backend});")
        time.sleep(world.chance.random() * 0.02)


def terminate_backends(world):
    signal_backends(world, "pg_terminate_backend")


def cancel_backends(world):
    for _ in range(3):
        signal_backends(world, "pg_cancel_backend")


def kill_s3(world):
    world.stack.store.server.kill()
    time.sleep(world.chance.random() * 0.5)
    world.stack.store.server.start()


FAULTS = [kill_agent, terminate_backends, kill_postgres, cancel_backends, kill_backend, kill_psql]


def fault_rounds(world, faults):
    for number in range(ROUNDS):
        fault = faults[number % len(faults)]
        time.sleep(world.chance.random() * 0.3)
        began = time.monotonic()
        fault(world)
        world.wait_for_everybody()
        print(f"# round {number + 1}: {fault.__name__}, everybody back after {time.monotonic() - began:.1f} s, "
              f"{len(world.history.sent)} records in SQL, {sum(load.acknowledged_count() for load in world.loads)} by Kafka")


def complain(sentences):
    assert not sentences, f"{len(sentences)} violations:\n" + "\n".join(sentences[:12])


def check(world):
    """All doors show one log, which is the one that everybody was told of; before and after it has moved to objects."""
    log = world.log_by_kafka()
    complain(list(one_log.doors_disagree({"Kafka": log, "sh_fetch": world.log_by_sql(), "sh_read": world.log_by_read()})))
    transactions = set(world.stack.postgres.run("SELECT name FROM transactions;"))
    complain(one_log.violations(world.history, log, transactions))
    world.stop_readers(log)
    complain(world.errors())
    for reader in [*world.sql_readers]:
        complain(list(one_log.reader_strays(reader.read, log, whole=True)))
    for reader in world.kafka_readers:
        mine = {place: records for place, records in log.items() if place[0] == reader.read[0][0][0]}
        complain(list(one_log.reader_strays(reader.read, mine, whole=True)))
    complain(list(one_log.sink_strays(world.sink_rows(), log)))
    wait_until(lambda: world.stack.postgres.value(NO_MORE_INLINE), 60, "the last inline segment's move")
    complain(list(one_log.doors_disagree({"Kafka": log, "Kafka, moved": world.log_by_kafka(), "sh_fetch, moved": world.log_by_sql(),
                                           "sh_read, moved": world.log_by_read()})))


def flushes(stack, path):
    """How often the agents, as they run now, have written to PostgreSQL (inline) or to the store (object)."""
    found = [re.findall(rf'^streamhouse_log_flushes_total{{path="{path}"}} (\S+)$', agent.http("/metrics")[1], re.MULTILINE)
             for agent in stack.agents]
    return sum(float(value) for values in found for value in values)


def run_world(stack, name, agents, faults):
    print(f"# STREAMHOUSE_SEED={SEED}")
    for _ in range(agents):
        stack.start_agent(lease_ttl_ms=f"{LEASE_TTL_S}s", heartbeat_ms="500ms", mover_interval_ms="50ms")
    stack.postgres.run(sql_load.SCHEMA)
    topics = [stack.create_topic(f"{name}-{path}", PARTITIONS, **{"streamhouse_write_path": path}) for path in PATHS]
    world = World(stack, topics, random.Random(SEED))
    world.start()
    fault_rounds(world, faults)
    world.finish()
    assert flushes(stack, "inline") > 0 and flushes(stack, "object") > 0
    check(world)
    outcomes = {outcome.value: world.history.count(outcome) for outcome in Outcome}
    print(f"# {ROUNDS} faults, {sum(writer.cut_off for writer in world.writers)} sessions cut off, records: {outcomes}")
    assert outcomes["acknowledged"] > ROUNDS and outcomes["failed"] > 0


@pytest.fixture(params=[kind for kind in ("folder", "s3") if kind in STORES])
def turning_stack(request, new_store, monkeypatch):
    """A store that PostgreSQL may read, and a ring that turns all the time."""
    store = new_store(request.param, mortal=True)
    settings = {"streamhouse.store": store.url, **RING_TURNS}
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    for flag in store.flags:
        name, value = flag.lstrip("-").split("=", 1)
        settings[f"streamhouse.{name.replace('-', '_')}"] = value
    with Stack(store, **settings) as mine:
        yield mine


def test_sql_and_kafka_share_one_log(turning_stack):
    if turning_stack.store.kind == "s3":
        run_world(turning_stack, "s3", agents=2, faults=[kill_s3, pause_agent, *FAULTS])
    else:
        run_world(turning_stack, "folder", agents=1, faults=FAULTS)
