"""members.py: members of consumer groups, made to look alike whatever client they are, and what a group owes its members together:
every record once, in order, and all partitions with somebody.

A member has held() (the partitions it has now), received() ([(partition, offset, value)] in the order of arrival) and leave(); it
commits what it has received.
"""
import re
import signal
import subprocess
import threading
import time

import confluent_kafka
import kafka as kafka_python

import sql_session
from clients import open_consumer
from stack import wait_until

PATIENCE_S = 60
# Members hear of a rebalance by their heartbeats, which by default are three seconds apart: that much is only waited.
HEARTBEAT_MS = 500


class Program:
    """A running program; what it prints is kept by line."""

    def __init__(self, command, environment=None):
        self.lines, self.complaints = [], []
        self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, env=environment)
        self.readers = [threading.Thread(target=self.gather, args=pair, daemon=True)
                        for pair in ((self.process.stdout, self.lines), (self.process.stderr, self.complaints))]
        for reader in self.readers:
            reader.start()

    @staticmethod
    def gather(stream, lines):
        for text in stream:
            lines.append(text.rstrip("\n"))

    def wait(self, timeout=PATIENCE_S):
        """Its exit status, once all that it printed is in."""
        status = self.process.wait(timeout)
        for reader in self.readers:
            reader.join(5)
        return status

    def kill(self):
        """kill -9."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class KcatMember(Program):
    """kcat -G, which tells on standard error what it was assigned, and leaves at SIGTERM."""

    name = "kcat"

    def __init__(self, kafka, topic, group, **config):
        settings = {"auto.offset.reset": "earliest", "auto.commit.interval.ms": 200, "heartbeat.interval.ms": HEARTBEAT_MS, **config}
        super().__init__(["kcat", "-b", kafka, *(word for pair in settings.items() for word in ("-X", "{}={}".format(*pair))),
                          "-u", "-f", "%p %o %s\n", "-G", group, topic])

    def held(self):
        said = [text for text in list(self.complaints) if " rebalanced " in text]
        return {int(number) for number in re.findall(r"\[(\d+)\]", said[-1])} if said and "assigned: " in said[-1] else set()

    def received(self):
        words = [text.split(" ") for text in list(self.lines)]
        return [(int(partition), int(offset), value.encode()) for partition, offset, value in words]

    def leave(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.wait() == 0, self.complaints[-5:]

    def __repr__(self):
        return f"kcat holds {sorted(self.held())}, received {len(self.received())}, says {self.complaints[-2:]}"


class ThreadMember:
    """A client of this Python in a thread of its own, which is the only one to touch its consumer."""

    def __init__(self, kafka, topic, group, **config):
        self.partitions, self.records, self.failure = set(), [], None
        self.leaving = threading.Event()
        self.thread = threading.Thread(target=self.live, args=(kafka, topic, group, config), daemon=True)
        self.thread.start()

    def live(self, *arguments):
        try:
            self.consume(*arguments)
        except Exception as failure:  # told by leave(), in the test's own thread
            self.failure = failure
            raise

    def held(self):
        return set(self.partitions)

    def received(self):
        return list(self.records)

    def leave(self):
        self.kill()
        assert self.failure is None, self.failure

    def kill(self):
        """A thread cannot be killed; it leaves."""
        self.leaving.set()
        self.thread.join(PATIENCE_S)

    def __repr__(self):
        return f"{self.name} holds {sorted(self.partitions)}, received {len(self.records)}, {self.failure}"


class ConfluentMember(ThreadMember):
    name = "confluent-kafka"

    def consume(self, kafka, topic, group, config):
        consumer = open_consumer(kafka, **{"group.id": group, "auto.offset.reset": "earliest", "heartbeat.interval.ms": HEARTBEAT_MS, **config})

        def assigned(_consumer, places):
            self.partitions = self.partitions | {place.partition for place in places}

        def revoked(_consumer, places):
            self.partitions = self.partitions - {place.partition for place in places}

        consumer.subscribe([topic], on_assign=assigned, on_revoke=revoked, on_lost=revoked)
        while not self.leaving.is_set():
            message = consumer.poll(0.1)
            if message is None or message.error():
                continue
            self.records.append((message.partition(), message.offset(), message.value()))
            consumer.commit(message, asynchronous=False)
        consumer.close()


class KafkaPythonMember(ThreadMember):
    name = "kafka-python"

    def consume(self, kafka, topic, group, config):
        consumer = kafka_python.KafkaConsumer(topic, bootstrap_servers=kafka, group_id=group, enable_auto_commit=False,
                                              auto_offset_reset="earliest", heartbeat_interval_ms=HEARTBEAT_MS, **config)
        while not self.leaving.is_set():
            found = consumer.poll(100)
            self.partitions = {place.partition for place in consumer.assignment()}
            for messages in found.values():
                self.records += [(message.partition, message.offset, message.value) for message in messages]
            if found:
                consumer.commit()
        consumer.close()


class SqlMember(ThreadMember):
    """A session of psql that polls, each time in a statement of its own."""

    name = "sh_poll"

    def __init__(self, postgres, topic, group):
        super().__init__(postgres, topic, group)

    def consume(self, postgres, topic, group, _config):
        polled = f"""SELECT E'\\x01' || partition, "offset", encode(value, 'escape')
                     FROM sh_poll('{group}', ARRAY['{topic}'], wait => '100 ms', auto_offset_reset => 'earliest');"""
        holds = f"""SELECT E'\\x01' || substring(place from '\\d+$') FROM sh_describe_group('{group}') AS d, unnest(d.assigned) AS place
                    WHERE d.backend_pid = pg_backend_pid();"""
        session = sql_session.Session(postgres)
        try:
            while not self.leaving.is_set():
                answer = session.run(polled)
                assert answer.sqlstate is None, session.last_complaint()
                self.records += [(int(partition), int(offset), value.encode()) for partition, offset, value in answer.rows()]
                self.partitions = {int(partition) for partition, in session.run(holds).rows()}
            session.run(f"SELECT sh_leave('{group}');")
        finally:
            session.close()


class Feed:
    """Sends values that are all different, round the topic's partitions, and knows what has to come out."""

    def __init__(self, kafka, topic, partitions):
        self.kafka, self.topic, self.partitions, self.sent = kafka, topic, partitions, 0

    def send(self, count=60):
        producer, failures = confluent_kafka.Producer({"bootstrap.servers": self.kafka, "enable.idempotence": True}), []
        for number in range(self.sent, self.sent + count):
            producer.produce(self.topic, b"%d" % number, partition=number % self.partitions,
                             on_delivery=lambda error, _message: error and failures.append(error))
        assert producer.flush(PATIENCE_S) == 0 and not failures, failures
        self.sent += count

    def expected(self):
        return {(number % self.partitions, number // self.partitions, b"%d" % number) for number in range(self.sent)}

    def ends(self):
        return [len(range(partition, self.sent, self.partitions)) for partition in range(self.partitions)]


def await_shares(members, partitions, timeout=PATIENCE_S):
    """Returns when the members hold all partitions together, each some and none two of them."""
    def shared():
        held = [member.held() for member in members]
        return all(held) and sum(map(len, held)) == partitions and set().union(*held) == set(range(partitions))
    try:
        wait_until(shared, timeout)
    except AssertionError:
        raise AssertionError(f"{partitions} partitions are not shared: {members}") from None


def gathered(members):
    return [record for member in members for record in member.received()]


def assert_read_once(members, feed):
    """Every record has come to some member, none twice, and to each member in the order of its partition."""
    try:
        wait_until(lambda: len(gathered(members)) >= feed.sent, PATIENCE_S)
    except AssertionError:
        raise AssertionError(f"{len(gathered(members))} of {feed.sent} records came: {members}") from None
    found = gathered(members)
    assert len(found) == len(set(found)), "a record came twice"
    assert set(found) == feed.expected()
    for member in members:
        last = {}
        for partition, offset, _ in member.received():
            assert last.get(partition, -1) < offset, f"{member.name} got partition {partition} out of order"
            last[partition] = offset


def committed(kafka, group, topic, partitions):
    """The group's offsets, as Debian's librdkafka sees them; -1001 where there is none."""
    consumer = open_consumer(kafka, **{"group.id": group})
    try:
        places = [confluent_kafka.TopicPartition(topic, partition) for partition in range(partitions)]
        return [place.offset for place in consumer.committed(places, timeout=30)]
    finally:
        consumer.close()


def await_committed(kafka, group, feed):
    """Returns when the group has committed all that was sent: kcat commits by the clock."""
    deadline = time.monotonic() + PATIENCE_S
    while (found := committed(kafka, group, feed.topic, feed.partitions)) != feed.ends():
        assert time.monotonic() < deadline, f"committed {found} of {feed.ends()}"
        time.sleep(0.2)
