"""clients.py: the three Kafka clients of Debian, made to look alike.

send(kafka, topic, partition, records, codec, …) returns when all is acknowledged.
receive(kafka, topic, partition) reads from the beginning to the end: a list of (offset, Record).
"""
import ctypes
import subprocess
import time

import confluent_kafka
import kafka as kafka_python
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from records import Record

PATIENCE_S = 60
END_WAIT_MS = 20  # a reader to the end learns that it is there when its last fetch has waited in vain


class ConfluentClient:
    """librdkafka by way of python3-confluent-kafka."""

    name = "confluent-kafka"

    def send(self, kafka, topic, partition, records, codec="none", **config):
        failures, offsets = [], {}
        producer = Producer({"bootstrap.servers": kafka, "enable.idempotence": True, "compression.type": codec,
                             "linger.ms": 5, "message.max.bytes": 10_000_000, "message.timeout.ms": PATIENCE_S * 1000, **config})

        def delivered(index):
            def note(error, message):
                if error:
                    failures.append((index, error))
                else:
                    offsets[index] = message.offset()
            return note

        for index, record in enumerate(records):
            producer.produce(topic, record.value, record.key, partition, on_delivery=delivered(index),
                             timestamp=record.timestamp, headers=list(record.headers))
            producer.poll(0)
        assert producer.flush(PATIENCE_S) == 0, "records were not acknowledged in time"
        if failures:
            raise confluent_kafka.KafkaException(failures[0][1])
        return [offsets[index] for index in range(len(records))]

    def receive(self, kafka, topic, partition, start=0):
        consumer = open_consumer(kafka, **{"enable.partition.eof": True, "fetch.wait.max.ms": END_WAIT_MS})
        consumer.assign([TopicPartition(topic, partition, start)])
        found, deadline = [], time.monotonic() + PATIENCE_S
        try:
            while time.monotonic() < deadline:
                for message in consumer.consume(1000, 0.05):
                    if message.error() is None:
                        found.append((message.offset(), record_of(message)))
                    elif message.error().code() == KafkaError._PARTITION_EOF:
                        return found
                    else:
                        raise confluent_kafka.KafkaException(message.error())
        finally:
            consumer.close()
        raise AssertionError(f"no end of partition {partition} within {PATIENCE_S} s")


def open_consumer(kafka, **config):
    return Consumer({"bootstrap.servers": kafka, "group.id": "nobody", "enable.auto.commit": False,
                     "auto.offset.reset": "error", **config})


def record_of(message):
    """confluent-kafka 1.7 gives away a reference to None that is not its own with every null header; after some thousands
    Python aborts. We put each back."""
    headers = tuple(message.headers() or ())
    for _, value in headers:
        if value is None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(None))
    return Record(message.key(), message.value(), headers, message.timestamp()[1])


class KafkaPythonClient:
    """python3-kafka, which shares no code with librdkafka."""

    name = "kafka-python"

    def send(self, kafka, topic, partition, records, codec="none", **config):
        producer = kafka_python.KafkaProducer(bootstrap_servers=kafka, acks="all", linger_ms=5, max_request_size=10_000_000,
                                              compression_type=None if codec == "none" else codec, **config)
        try:
            futures = [producer.send(topic, record.value, record.key, list(record.headers), partition, record.timestamp)
                       for record in records]
            producer.flush(PATIENCE_S)
            return [future.get(PATIENCE_S).offset for future in futures]
        finally:
            producer.close(5)

    def receive(self, kafka, topic, partition, start=0):
        consumer = kafka_python.KafkaConsumer(bootstrap_servers=kafka, group_id=None, enable_auto_commit=False,
                                              max_partition_fetch_bytes=10_000_000, fetch_max_wait_ms=END_WAIT_MS)
        place = kafka_python.TopicPartition(topic, partition)
        try:
            end = consumer.end_offsets([place])[place]
            consumer.assign([place])
            consumer.seek(place, start)
            found, deadline = [], time.monotonic() + PATIENCE_S
            while consumer.position(place) < end:
                assert time.monotonic() < deadline, f"no end of partition {partition} within {PATIENCE_S} s"
                for message in consumer.poll(500).get(place, []):
                    found.append((message.offset, Record(message.key, message.value, tuple(message.headers), message.timestamp)))
            return found
        finally:
            consumer.close()


class KcatClient:
    """kcat, which people type. It sends no nulls and no timestamps, and delimits what it sends, but reads everything."""

    name = "kcat"

    def send(self, kafka, topic, partition, records, codec="none", **_config):
        separator, end = "\x1e\x1f", "\x1f\x1e"
        lines = b"".join(record.key + separator.encode() + record.value + end.encode() for record in records)
        headers = [word for name, value in records[0].headers for word in ("-H", f"{name}={value.decode()}")]
        self.run(["-P", "-b", kafka, "-t", topic, "-p", str(partition), "-K", separator, "-D", end, "-z", codec,
                  "-X", "enable.idempotence=true", *headers], lines)

    def receive(self, kafka, topic, partition, start=0):
        output = self.run(["-C", "-b", kafka, "-t", topic, "-p", str(partition), "-o", str(start), "-e", "-q",
                           "-X", "fetch.message.max.bytes=10000000", "-X", f"fetch.wait.max.ms={END_WAIT_MS}", "-f", "%o %T %K %S\n%k%s"], b"")
        return list(self.parse(output))

    @staticmethod
    def run(arguments, stdin):
        done = subprocess.run(["kcat", *arguments], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE_S)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    @staticmethod
    def parse(output):
        """Records as printed: a line with offset, timestamp and lengths (-1 is null), then the bytes."""
        at = 0
        while at < len(output):
            newline = output.index(b"\n", at)
            offset, timestamp, key_size, value_size = (int(word) for word in output[at:newline].split())
            at = newline + 1
            key = None if key_size < 0 else output[at:at + key_size]
            at += max(key_size, 0)
            value = None if value_size < 0 else output[at:at + value_size]
            at += max(value_size, 0)
            yield offset, Record(key, value, (), timestamp)


CONFLUENT, KAFKA_PYTHON, KCAT = ConfluentClient(), KafkaPythonClient(), KcatClient()
CLIENTS = [CONFLUENT, KAFKA_PYTHON, KCAT]
