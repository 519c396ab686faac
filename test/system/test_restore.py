"""A point-in-time restore under live clients: no offset is ever given to two records, and a group misses nothing that comes after it."""
import os
import shutil
import threading
import time

import confluent_kafka
import pytest

from clients import CONFLUENT
from stack import Copy, Stack, scratch_folder, wait_until

pytestmark = pytest.mark.sql

ERA = 1 << 40
PARTITIONS = 2


class LiveProducer:
    """An idempotent librdkafka producer that sends by itself, survives everything, and remembers what was acknowledged."""

    def __init__(self, kafka, topic):
        self.kafka, self.topic = kafka, topic
        self.acknowledged = {}  # (partition, offset): value
        self.phase, self.count, self.failures = "A", 0, []
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def open(self):
        return confluent_kafka.Producer({"bootstrap.servers": self.kafka, "enable.idempotence": True, "linger.ms": 5, "message.timeout.ms": 5000,
                                         "reconnect.backoff.max.ms": 500, "topic.metadata.refresh.interval.ms": 1000})

    def delivered(self, error, message):
        if error is None:
            place = message.partition(), message.offset()
            assert self.acknowledged.setdefault(place, message.value()) == message.value(), f"{place} was given twice"
        else:
            self.failures.append(str(error))

    def run(self):
        producer, fatal = self.open(), []
        while not self.stopped.is_set():
            value = b"%s-%d" % (self.phase.encode(), self.count)
            self.count += 1
            try:
                producer.produce(self.topic, value, partition=self.count % PARTITIONS, on_delivery=self.delivered)
                producer.poll(0.005)
            except (BufferError, confluent_kafka.KafkaException) as error:
                fatal.append(error)
                producer = self.open()  # Kafka's contract: a producer that lost its place is made anew
        producer.flush(20)

    def sent_in(self, phase):
        # The producer's thread goes on meanwhile: a copy is made in one step, a list of items is not.
        return {place: value for place, value in self.acknowledged.copy().items() if value.startswith(phase.encode())}

    def stop(self):
        self.stopped.set()
        self.thread.join()


class LiveConsumer:
    """A member of a group that reads by itself, commits, survives everything, and remembers what it saw."""

    def __init__(self, kafka, topic):
        self.kafka, self.topic = kafka, topic
        self.seen = {}  # (partition, offset): value
        self.errors = []
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def open(self):
        """With an offset for every partition from the beginning, so that any reset is an error."""
        consumer = confluent_kafka.Consumer({"bootstrap.servers": self.kafka, "group.id": "readers", "enable.auto.commit": True,
                                             "auto.commit.interval.ms": 200, "auto.offset.reset": "error", "session.timeout.ms": 6000,
                                             "reconnect.backoff.max.ms": 500, "topic.metadata.refresh.interval.ms": 1000})
        consumer.commit(offsets=[confluent_kafka.TopicPartition(self.topic, partition, 0) for partition in range(PARTITIONS)], asynchronous=False)
        return consumer

    def run(self):
        consumer = self.open()
        consumer.subscribe([self.topic])
        while not self.stopped.is_set():
            for message in consumer.consume(500, 0.1):
                if message.error():
                    self.errors.append(message.error().name())
                    continue
                place = message.partition(), message.offset()
                assert self.seen.setdefault(place, message.value()) == message.value(), f"{place} has two values"
        consumer.close()

    def stop(self):
        self.stopped.set()
        self.thread.join()


class Archive:
    """Where a cluster's WAL goes, and its base backup."""

    def __init__(self):
        self.folder = scratch_folder("archive")
        (self.folder / "wal").mkdir()
        if os.geteuid() == 0:
            shutil.chown(self.folder / "wal", "postgres")

    def settings(self):
        return {"archive_mode": "on", "archive_command": f"cp %p {self.folder}/wal/%f"}

    def restore(self, postgres, backup, target_time):
        """Puts the backup in the place of the cluster, which is dead, and lets it recover to a moment."""
        shutil.rmtree(postgres.folder / "data")
        shutil.move(backup.folder / "data", postgres.folder / "data")
        conf = postgres.folder / "data/postgresql.conf"
        with open(conf, "a") as out:
            out.write(f"port = '{postgres.port}'\nunix_socket_directories = '{postgres.folder / 'socket'}'\n"
                      f"restore_command = 'cp {self.folder}/wal/%f %p'\nrecovery_target_time = '{target_time}'\n"
                      "recovery_target_action = 'promote'\n")
        (postgres.folder / "data/recovery.signal").touch()
        postgres.start()
        wait_until(lambda: not postgres.value("SELECT pg_is_in_recovery()"), 60, "the end of the recovery")

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)


class Supervisor:
    """Starts agents again that ended, as systemd does."""

    def __init__(self, agents):
        self.agents, self.restarts = agents, 0
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.stopped.wait(0.2):
            for agent in self.agents:
                if not agent.is_running():
                    agent.start(ready=False)
                    self.restarts += 1

    def stop(self):
        self.stopped.set()
        self.thread.join()


@pytest.fixture
def archive():
    archive = Archive()
    yield archive
    archive.close()


@pytest.fixture
def archived_stack(request, new_store, archive, store_kind):
    with Stack(new_store(store_kind), **archive.settings(), **{"streamhouse.marker_interval": "1s"}) as stack:
        yield stack


@pytest.fixture
def store_kind(request):
    from conftest import STORES
    return STORES[-1]


def everything(stack, topic):
    """All that can be read: {(partition, offset): value}."""
    return {(partition, offset): record.value for partition in range(PARTITIONS)
            for offset, record in CONFLUENT.receive(stack.kafka, topic, partition)}


def merged(*logs):
    whole = {}
    for log in logs:
        for place, value in log.items():
            assert whole.setdefault(place, value) == value, f"{place} has two values: {whole[place]} and {value}"
    return whole


def test_a_point_in_time_restore_under_live_clients(archived_stack, archive):
    stack, postgres = archived_stack, archived_stack.postgres
    agents = [stack.start_agent(name, lease_ttl_ms=3000) for name in ("one", "two")]
    stack.create_topic("orders", PARTITIONS)
    backup = Copy(postgres, archive.folder / "base")
    producer, consumer = LiveProducer(stack.kafka, "orders"), LiveConsumer(stack.kafka, "orders")
    supervisor = Supervisor(agents)
    try:
        wait_until(lambda: len(producer.sent_in("A")) > 500, what="records A")
        # B is acknowledged, read, and its offsets are committed; then all of it is restored away
        a = producer.sent_in("A")
        restore_to = postgres.value("SELECT clock_timestamp()::text")
        time.sleep(0.2)
        producer.phase = "B"
        wait_until(lambda: len(producer.sent_in("B")) > 500, what="records B")
        wait_until(lambda: len([value for value in list(consumer.seen.values()) if value.startswith(b"B")]) > 400, what="the consumer having read B")
        a_end = max(offset for _, offset in producer.sent_in("A"))
        wait_until(lambda: postgres.value("SELECT max(committed_offset) FROM streamhouse.lag") > a_end, what="the group's having committed offsets of B")
        marked = postgres.value("SELECT number FROM streamhouse.ownership")
        wait_until(lambda: postgres.value("SELECT number FROM streamhouse.ownership") > marked + 2, what="more markers")
        postgres.run("SELECT pg_switch_wal();")
        before = everything(stack, "orders")
        postgres.kill()
        b = producer.sent_in("B")
        b_end = max(offset for _, offset in b)
        archive.restore(postgres, backup, restore_to)

        # refused until somebody says so, and nothing is acknowledged meanwhile
        wait_until(lambda: any("sh_adopt()" in agent.http("/ready")[1] for agent in agents), 60, "the agents' saying why they refuse")
        assert postgres.value("SELECT state::text FROM streamhouse.ownership") == "lost"
        acknowledged = len(producer.acknowledged)
        keys = stack.store.keys()
        time.sleep(2)
        assert len(producer.acknowledged) == acknowledged
        with pytest.raises(RuntimeError, match="not known to be the owner"):
            postgres.run("SELECT sh_produce('orders', 'x');")

        producer.phase = "C"
        assert postgres.value("SELECT first_offset FROM sh_adopt()") == 2 * ERA
        wait_until(lambda: len(producer.sent_in("C")) > 500, 90, "records C")
        producer.stop()
        c = producer.sent_in("C")
        assert min(offset for _, offset in c) >= 2 * ERA > b_end

        # the group goes on, and misses nothing of C
        wait_until(lambda: c.items() <= dict(consumer.seen).items(), 60, "the group's having read all of C")
        assert not {"OFFSET_OUT_OF_RANGE", "_AUTO_OFFSET_RESET"} & set(consumer.errors), set(consumer.errors)

        # over all that anybody ever saw, no place has two values
        after = everything(stack, "orders")
        merged(before, producer.acknowledged, consumer.seen, after)
        assert c.items() <= after.items()
        assert not b.keys() & after.keys(), "B was restored away"
        assert a.items() <= after.items()
        assert keys <= stack.store.keys(), "an object was deleted"
        assert supervisor.restarts >= 2, "an agent went on with what it remembered of another history"
    finally:
        supervisor.stop()
        producer.stop()
        consumer.stop()
