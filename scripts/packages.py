#!/usr/bin/python3
"""packages.py: sends this machine's package index through StreamHouse with an ordinary Kafka client, reads it back and
compares every byte.

One record per package, keyed by its name, its fields as a JSON object, into topic `packages`. Records that are there already
are read and compared; only when they are not the index as it is now (a first run, or an `apt-get update` since) is the topic
made anew and filled.
"""
import argparse
import hashlib
import json
import os
import re
import struct
import subprocess
import sys
import time
import zlib

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

TOPIC = "packages"
STALLED_AFTER_S = 60
BATCH = 10_000
LOG_WARNINGS = 4  # syslog's level, which librdkafka takes
TERMINAL = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


def paint(code, text):
    return f"\033[{code}m{text}\033[0m" if TERMINAL else text


class Progress:
    """One line that keeps up with what happens: live on a terminal, once at the end elsewhere."""

    def __init__(self, what, total):
        self.what, self.total, self.shown_at = what, total, 0.0

    def show(self, done, end=""):
        if not TERMINAL and not end:
            return
        now = time.monotonic()
        if end or now - self.shown_at > 0.1:
            self.shown_at = now
            line = f"{paint(1, '•')} {self.what} … {done:,} of {self.total:,} records{end}"
            print(f"\r\033[K{line}" if TERMINAL else line, end="\n" if end else "", flush=True)

    def finish(self, done):
        self.show(done, end=" " + paint(32, "done"))


FIELD = re.compile(r"^([A-Za-z][A-Za-z0-9-]*): ?(.*(?:\n[ \t].*)*)", re.MULTILINE)


def read_index():
    """The package index as [(name, JSON object of its fields)], in apt's order."""
    text = subprocess.run(["apt-cache", "dumpavail"], stdout=subprocess.PIPE, check=True).stdout.decode(errors="replace")
    records = []
    for paragraph in text.split("\n\n"):
        fields = dict(FIELD.findall(paragraph))
        if "Package" in fields:
            records.append((fields["Package"].encode(), json.dumps(fields, ensure_ascii=False).encode()))
    return records


def partition_of(key, count):
    """The partition that librdkafka's clients choose for a key by default."""
    return zlib.crc32(key) % count


def by_partition(records, count):
    partitions = [[] for _ in range(count)]
    for key, value in records:
        partitions[partition_of(key, count)].append((key, value))
    return partitions


def digest(partitions):
    """SHA-256 over every partition's records in order, lengths included: equal only if every byte and every place is."""
    seen = hashlib.sha256()
    for number, records in enumerate(partitions):
        for key, value in records:
            seen.update(struct.pack(">iii", number, len(key), len(value)))
            seen.update(key)
            seen.update(value)
    return seen.hexdigest()


def produce(kafka, records):
    """Produces with an idempotent producer that waits for every acknowledgement; returns the seconds it took."""
    failures = []
    producer = Producer({
        "bootstrap.servers": kafka,
        "log_level": LOG_WARNINGS,
        "enable.idempotence": True,
        "linger.ms": 20,
        "queue.buffering.max.messages": 1_000_000,
        "queue.buffering.max.kbytes": 1_048_576,
        "delivery.report.only.error": True,
        "message.timeout.ms": STALLED_AFTER_S * 1000,
    })
    progress = Progress("producing", len(records))

    def delivered(error, _message):
        if error is not None:
            failures.append(error)

    started = time.monotonic()
    for number, (key, value) in enumerate(records):
        producer.produce(TOPIC, value, key, on_delivery=delivered)
        if number % BATCH == 0:
            producer.poll(0)
            progress.show(number - len(producer))
    while len(producer) > 0:
        producer.flush(0.1)
        progress.show(len(records) - len(producer))
    seconds = time.monotonic() - started
    if failures:
        raise SystemExit(f"{len(failures):,} records were not acknowledged; the first because: {failures[0]}")
    progress.finish(len(records))
    return seconds


def open_consumer(kafka):
    return Consumer({
        "bootstrap.servers": kafka,
        "log_level": LOG_WARNINGS,
        "group.id": "quickstart",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
        "queued.max.messages.kbytes": 262_144,
    })


def consume(kafka, count, total):
    """Reads all partitions from their beginning to their end; returns (records per partition, seconds)."""
    partitions, ended, next_offset = [[] for _ in range(count)], set(), [-1] * count
    progress = Progress("consuming", total)
    consumer = open_consumer(kafka)
    started = moved = time.monotonic()
    consumer.assign([TopicPartition(TOPIC, number, 0) for number in range(count)])
    seen = 0
    while len(ended) < count:
        for message in consumer.consume(BATCH, timeout=0.02):
            moved = time.monotonic()
            number, error = message.partition(), message.error()
            if error is None:
                if message.offset() < next_offset[number]:
                    raise SystemExit(f"partition {number} went back from offset {next_offset[number]} to {message.offset()}")
                next_offset[number] = message.offset() + 1
                partitions[number].append((message.key(), message.value()))
                seen += 1
            elif error.code() == KafkaError._PARTITION_EOF:
                ended.add(number)
            elif error.code() not in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT):
                raise KafkaException(error)
        progress.show(seen)
        if time.monotonic() - moved > STALLED_AFTER_S:
            raise SystemExit(f"consuming stalled after {seen:,} records")
    seconds = time.monotonic() - started
    consumer.close()
    progress.finish(seen)
    return partitions, seconds


def records_there(kafka, count):
    """How many records the topic holds; None when it does not exist, -1 when it has another number of partitions."""
    metadata = AdminClient({"bootstrap.servers": kafka, "log_level": LOG_WARNINGS}).list_topics(timeout=30)
    topic = metadata.topics.get(TOPIC)
    if topic is None:
        return None
    if len(topic.partitions) != count:
        return -1
    consumer = open_consumer(kafka)
    marks = [consumer.get_watermark_offsets(TopicPartition(TOPIC, number), timeout=30) for number in range(count)]
    consumer.close()
    return sum(high - low for low, high in marks)


def wait_for(future):
    for done in future.values():
        done.result()


def make_topic(kafka, count, exists):
    admin = AdminClient({"bootstrap.servers": kafka, "log_level": LOG_WARNINGS})
    if exists:
        wait_for(admin.delete_topics([TOPIC], operation_timeout=30))
    wait_for(admin.create_topics([NewTopic(TOPIC, num_partitions=count, replication_factor=1)], operation_timeout=30))


def fill(kafka, count, records, expected, there):
    """Brings the topic to what is expected; returns (records read, produce seconds or None, consume seconds)."""
    if there:
        if there > 0:
            found, seconds = consume(kafka, count, there)
            if digest(found) == expected:
                return found, None, seconds
        print("  the topic is not the package index as it is now: it is made anew")
    if there != 0:
        make_topic(kafka, count, exists=there is not None)
    produced_in = produce(kafka, records)
    found, seconds = consume(kafka, count, len(records))
    return found, produced_in, seconds


def earlier_rate(path):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)["produce_records_per_s"]
    except (OSError, ValueError, KeyError):
        return None


def tell(summary, megabytes, fresh):
    same = summary["sha256_in"] == summary["sha256_out"]
    count = summary["records_in"]

    def rate(records_per_s):
        return f"{records_per_s:>9,.0f} records/s  {records_per_s * megabytes / count:>6,.0f} MB/s"

    print()
    print(paint("1;32" if same else "1;31", "StreamHouse works." if same else "What came back is not what went in."))
    print()
    print(f"  {count:,} records, {megabytes:.1f} MB: every package that apt knows, in topic `{TOPIC}`, by name")
    if summary["produce_records_per_s"]:
        when = "" if fresh else "  when they were sent; they are still there"
        print(f"  produced    {rate(summary['produce_records_per_s'])}  {paint(2, 'idempotent, acks=all' + when)}")
    print(f"  consumed    {rate(summary['consume_records_per_s'])}")
    verdict = "every byte, in order" if same else paint(31, f"{summary['records_out']:,} records, and they differ")
    print(f"  came back   {verdict}  {paint(2, 'sha256 ' + summary['sha256_out'][:16] + '…')}")
    return same


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kafka", required=True, help="host:port of an agent")
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--summary", required=True, help="where to write the figures as JSON")
    options = parser.parse_args()

    records = read_index()
    if not records:
        raise SystemExit("apt knows no packages: run apt-get update first")
    megabytes = sum(len(key) + len(value) for key, value in records) / 1e6
    expected = digest(by_partition(records, options.partitions))
    there = records_there(options.kafka, options.partitions)
    found, produced_in, consumed_in = fill(options.kafka, options.partitions, records, expected, there)
    produced = len(records) / produced_in if produced_in else earlier_rate(options.summary)
    summary = {
        "records_in": len(records),
        "records_out": sum(len(part) for part in found),
        "bytes": int(megabytes * 1e6),
        "sha256_in": expected,
        "sha256_out": digest(found),
        "produce_records_per_s": round(produced) if produced else None,
        "consume_records_per_s": round(sum(len(part) for part in found) / consumed_in),
    }
    with open(options.summary, "w", encoding="utf-8") as file:
        json.dump(summary, file, indent=2)
        file.write("\n")
    same = tell(summary, megabytes, fresh=produced_in is not None)
    print()
    return 0 if same else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KafkaException as error:
        sys.exit(f"Kafka said: {error}")
