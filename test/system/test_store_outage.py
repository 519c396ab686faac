"""S3 refuses, is slow, says SlowDown or hangs with one object: topics that leave the path open go on being written, consumers of
the tail go on, memory stays bounded, and afterwards everything drains. Faults last seconds here; STREAMHOUSE_OUTAGE_SECONDS makes
them longer."""
import os
import threading
import time

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from faulty_store import FaultyStore
from load import Load
from stack import Stack, wait_until

pytestmark = [pytest.mark.sql, pytest.mark.anywhere, pytest.mark.timeout(600)]
if "s3" not in os.environ.get("STREAMHOUSE_TEST_STORES", "s3"):
    pytest.skip("a folder has no outages", allow_module_level=True)

SECONDS = float(os.environ.get("STREAMHOUSE_OUTAGE_SECONDS", "20"))  # of an outage; the other faults last a third of it
SLOW_S = 2           # store_slow_ms
RSS_MAX = 320 << 20  # produce_bytes_max 64 MiB, tail 16 MiB, cache 16 MiB, and what the process needs
DRAIN_S = 30
PATH = "streamhouse.write.path"


@pytest.fixture
def faulty(s3_server):
    with Stack(FaultyStore(s3_server)) as stack:
        stack.start_agent(produce_bytes_max="64MiB", frame_bytes_max="16MiB", tail_bytes_max="16MiB", cache_bytes_max="16MiB",
                          s3_attempt_timeout_ms="3s", put_timeout_ms="15s")
        yield stack


class Probe:
    """Sends a record now and then and waits for its acknowledgement; notes how long that took and when a reader of the tail
    had it."""

    def __init__(self, kafka, topic, value_bytes):
        self.topic, self.value_bytes = topic, value_bytes
        self.acknowledged, self.seen, self.sent = [], [], {}
        self.producer = Producer({"bootstrap.servers": kafka, "linger.ms": 0, "enable.idempotence": True,
                                  "message.timeout.ms": 120_000})
        self.consumer = Consumer({"bootstrap.servers": kafka, "group.id": "tail", "fetch.wait.max.ms": 100,
                                  "auto.offset.reset": "earliest"})
        self.consumer.assign([TopicPartition(topic, 0, 0)])
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=work, daemon=True) for work in (self.send, self.read)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_error):
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        self.consumer.close()

    def send(self):
        number = 0
        while not self.stopping.is_set():
            began = time.monotonic()
            self.sent[number] = began
            value = (b"%d:" % number).ljust(self.value_bytes, b"x")
            self.producer.produce(self.topic, value, partition=0,
                                  on_delivery=lambda error, _, began=began: self.note(error, began))
            self.producer.flush(120)
            number += 1
            self.stopping.wait(0.02)

    def note(self, error, began):
        assert error is None, error
        self.acknowledged.append((time.monotonic(), time.monotonic() - began))

    def read(self):
        while not self.stopping.is_set():
            message = self.consumer.poll(0.1)
            if message is not None and message.error() is None:
                number = int(message.value().split(b":")[0])
                self.seen.append((time.monotonic(), time.monotonic() - self.sent[number]))

    def latencies(self, what, since, until=None):
        return sorted(took for when, took in what if when >= since and (until is None or when < until))


def quantile(sorted_values, part):
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * part))] if sorted_values else float("nan")


def show(name, values):
    print(f"# {name}: n {len(values)}, p50 {quantile(values, .5) * 1000:.0f} ms, p99 {quantile(values, .99) * 1000:.0f} ms, "
          f"most {values[-1] * 1000 if values else float('nan'):.0f} ms")


def rss_bytes(agent):
    status = open(f"/proc/{agent.process.pid}/status", encoding="ascii").read()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def waiting_bytes(stack):
    return stack.postgres.value("SELECT count(*) FROM streamhouse.segment WHERE slot > 0")


def move_at_once(stack):
    stack.postgres.run("ALTER SYSTEM SET streamhouse.inline_move_age = '1s'; SELECT pg_reload_conf();")


FAULTS = {
    "it refuses": lambda store: store.down(),
    "it says SlowDown": lambda store: store.harm({"fault": "status", "status": 503, "code": "SlowDown"}),
    "it takes 5 s": lambda store: store.harm({"fault": "delay", "seconds": 5}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_store_fails_and_topics_that_leave_the_path_open_go_on(faulty, topic_name, fault):
    agent, store = faulty.agents[0], faulty.store
    seconds = SECONDS if fault == "it refuses" else SECONDS / 3
    move_at_once(faulty)
    small = faulty.create_topic(topic_name + "-small", **{PATH: "auto"})
    large = faulty.create_topic(topic_name + "-large", partitions=2, **{PATH: "auto"})
    pinned = faulty.create_topic(topic_name + "-object", **{PATH: "object"})
    with Load(agent.kafka, large, 2, records_per_s=500, value_bytes=20_000) as load, \
            Load(agent.kafka, pinned, 1, records_per_s=100) as objects, Probe(agent.kafka, small, 100) as probe:
        load.wait_for_more(1000)
        began = time.monotonic()
        time.sleep(2)
        show("calm: acknowledged", probe.latencies(probe.acknowledged, began))
        before = load.acknowledged_count()
        harmed = time.monotonic()
        FAULTS[fault](store)
        wait_until(lambda: agent.metric("streamhouse_log_store_ill") == 1, SLOW_S + 5, "the agent noticing")
        print(f"# noticed after {time.monotonic() - harmed:.1f} s")
        status, body = agent.http("/ready")
        assert status == 200 and '"degraded":true' in body and "inline" in body, "it serves, and says what is wrong"
        assert '"degraded":true' in agent.http("/health")[1]
        time.sleep(1)
        settled, count = time.monotonic(), load.acknowledged_count()
        time.sleep(max(1, harmed + seconds - time.monotonic()))
        goes_on = load.acknowledged_count() - count
        healed = time.monotonic()
        acknowledged = probe.latencies(probe.acknowledged, harmed)
        tail = probe.latencies(probe.seen, harmed)
        show(f"while {fault}: acknowledged", acknowledged)
        show(f"while {fault}: in the tail reader's hands", tail)
        print(f"# while {fault}: {goes_on / (healed - settled):.0f} large-topic records/s; before {before}")
        store.heal()
        store.up()
        wait_until(lambda: agent.metric("streamhouse_log_store_ill") == 0, DRAIN_S, "the agent noticing that it is well")
        print(f"# well again after {time.monotonic() - healed:.1f} s")
        load.finish()
        objects.finish()
        print(f"# object topic acknowledged everything {time.monotonic() - healed:.1f} s after")
    assert goes_on > 100 * (healed - settled), "batches of any size go inline"
    assert quantile(acknowledged, .99) < SLOW_S + 1, "small batches never wait for an object"
    assert quantile(tail, .99) < SLOW_S + 1
    assert agent.metric("streamhouse_log_store_outages_total") >= 1
    assert load.check() > 0 and objects.check() > 0
    wait_until(lambda: waiting_bytes(faulty) == 0, DRAIN_S, "everything having moved to objects")
    print(f"# drained {time.monotonic() - healed:.1f} s after, rss {rss_bytes(agent) >> 20} MiB, rerouted "
          f"{agent.metric('streamhouse_log_rerouted_bytes_total'):.0f} bytes, hedged {agent.metric('streamhouse_log_hedged_puts_total'):.0f}")
    assert agent.metric("streamhouse_log_batches_waiting") == 0
    assert rss_bytes(agent) < RSS_MAX
    assert '"degraded":false' in agent.http("/ready")[1]


def test_one_slow_object_is_written_a_second_time(faulty, topic_name):
    agent, store = faulty.agents[0], faulty.store
    topic = faulty.create_topic(topic_name, **{PATH: "object"})
    with Probe(agent.kafka, topic, 1000) as probe:
        wait_until(lambda: len(probe.acknowledged) > 15, what="objects being written")
        harmed = time.monotonic()
        store.harm({"fault": "stall_request", "method": "PUT", "bytes": 100, "seconds": 20, "count": 1})
        wait_until(lambda: agent.metric("streamhouse_log_hedges_won_total") == 1, 10, "the hedge")
        wait_until(lambda: len(probe.latencies(probe.acknowledged, harmed)) > 5, 10, "writes going on")
        took = probe.latencies(probe.acknowledged, harmed)
    show("one slow object: acknowledged", took)
    assert took[-1] < SLOW_S + 1
    assert agent.metric("streamhouse_log_store_outages_total") == 0
