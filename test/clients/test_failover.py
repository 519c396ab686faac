"""A rolling restart of three agents under load from Kafka's own Java clients: nothing fails, nothing is logged as an error, nothing is
missed and nothing comes twice."""
import time

import pytest

import one_log
from clients import CONFLUENT
from programs import Client, Flow
from stack import FolderStore, Stack, wait_until

PARTITIONS = 9
RATE = 300
PROTOCOLS = {"java 3.9.1": "classic", "java 4.2.0": "consumer"}
LATENCY_MS_MAX = 1000


@pytest.fixture(scope="module")
def trio():
    with Stack(FolderStore()) as mine:
        for name in "abc":
            mine.start_agent(name, group_initial_delay_ms="0")
        yield mine


@pytest.fixture
def flow(trio, topic_name, fetched, request):
    topic = trio.create_topic(topic_name, partitions=PARTITIONS)
    mine = Flow(Client(request.param, fetched(request.param)), trio.kafka, topic, PARTITIONS, RATE, PROTOCOLS[request.param])
    mine.topic = topic
    yield mine
    mine.kill()


def history_of(flow):
    history = one_log.History()
    for partition, offset, number, _ in sorted(flow.said("sent"), key=lambda words: int(words[2])):
        history.send("java", number.encode()).acknowledge(int(partition), int(offset))
    return history


@pytest.mark.parametrize("flow", list(PROTOCOLS), indirect=True)
def test_a_rolling_restart_goes_unnoticed(trio, flow):
    wait_until(lambda: len(flow.said("got")) > 2 * RATE, 60, "records flowing")
    before = len(flow.said("sent"))
    for agent in trio.agents:
        assert agent.stop() == 0
        agent.start()
        time.sleep(2)
    flow.finish()
    assert flow.said("failed") == []
    assert flow.said("broken") == []
    assert [text for text in flow.complaints if "ERROR" in text] == []
    log = {partition: [(offset, record.value) for offset, record in CONFLUENT.receive(trio.kafka, flow.topic, partition)]
           for partition in range(PARTITIONS)}
    reading = [(int(partition), int(offset), number.encode()) for partition, offset, number in flow.said("got")]
    assert one_log.violations(history_of(flow), log) == []
    assert list(one_log.reader_strays(reading, log, whole=True)) == []
    slowest = max(int(took) for _, _, _, took in flow.said("sent")[before:])
    print(f"# highest latency: {slowest} ms, of {len(reading)} records")
    assert slowest <= LATENCY_MS_MAX
