"""PostgreSQL, the store or the agent go away and come back; nobody loses a record."""
import signal
import time

import pytest
from confluent_kafka import TopicPartition

import process
from clients import CONFLUENT, open_consumer
from load import Load
from records import plain
from stack import wait_until

pytestmark = pytest.mark.sql


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_postgres_stops_and_comes_back(own_stack, topic_name, mode):
    agent = own_stack.start_agent()
    topic = own_stack.create_topic(topic_name, partitions=4)
    with Load(own_stack.kafka, topic, 4) as load:
        load.wait_for_more(500)
        own_stack.postgres.stop(mode)
        wait_until(lambda: agent.http("/ready")[0] == 503, what="the agent saying that it is not ready")
        assert "postgres" in agent.http("/ready")[1].lower() or "database" in agent.http("/ready")[1].lower()
        assert agent.http("/live")[0] == 200, "an agent that waits for PostgreSQL need not be restarted"
        time.sleep(1)
        own_stack.postgres.start()
        load.wait_for_more(500)
        load.finish()
    assert load.check() >= 1000
    assert agent.is_running()


def test_postgres_dies_in_the_middle_of_everything(own_stack, topic_name):
    agent = own_stack.start_agent()
    topic = own_stack.create_topic(topic_name, partitions=4)
    with Load(own_stack.kafka, topic, 4) as load:
        for _ in range(3):
            load.wait_for_more(300)
            own_stack.postgres.kill()
            own_stack.postgres.start()
        load.wait_for_more(300)
        load.finish()
    assert load.check() >= 1000
    assert agent.is_running()


@pytest.mark.any_store
def test_a_waiting_consumer_survives_the_loss_of_postgres(own_stack, topic_name):
    own_stack.start_agent()
    topic = own_stack.create_topic(topic_name)
    consumer = open_consumer(own_stack.kafka, **{"fetch.wait.max.ms": 2000})
    consumer.assign([TopicPartition(topic, 0, 0)])
    consumer.poll(1)
    own_stack.postgres.kill()
    consumer.poll(1)
    own_stack.postgres.start()
    sent = plain(20)
    CONFLUENT.send(own_stack.kafka, topic, 0, sent)
    received = []
    deadline = time.monotonic() + 30
    while len(received) < len(sent) and time.monotonic() < deadline:
        message = consumer.poll(0.2)
        if message is not None and message.error() is None:
            received.append(message.value())
    consumer.close()
    assert received == [record.value for record in sent]


@pytest.mark.any_store
def test_an_agent_that_starts_before_postgres_waits_for_it(own_stack, topic_name):
    own_stack.postgres.stop()
    agent = own_stack.add_agent()
    agent.start(ready=False)
    wait_until(lambda: agent.http("/live")[0] == 200, what="the agent being alive")
    assert agent.http("/ready")[0] == 503
    own_stack.postgres.start()
    agent.wait_ready()
    topic = own_stack.create_topic(topic_name)
    CONFLUENT.send(agent.kafka, topic, 0, plain(5))


def test_sigterm_drains_under_load(own_stack, topic_name):
    agent = own_stack.start_agent()
    topic = own_stack.create_topic(topic_name, partitions=4)
    with Load(own_stack.kafka, topic, 4) as load:
        load.wait_for_more(1000)
        assert agent.stop(timeout=40) == 0, "a drained agent ends with status 0"
        assert own_stack.postgres.value("SELECT count(*) FROM streamhouse.agent WHERE expires_at > now()") == 0
        agent.start()
        load.wait_for_more(500)
        load.finish()
    assert load.check() >= 1500


@pytest.mark.any_store
def test_sigterm_when_idle_ends_it_at_once(own_stack):
    agent = own_stack.start_agent()
    began = time.monotonic()
    assert agent.stop(timeout=20) == 0
    assert time.monotonic() - began < 5


@pytest.mark.any_store
def test_sighup_keeps_it_running(own_stack, topic_name):
    agent = own_stack.start_agent()
    topic = own_stack.create_topic(topic_name)
    agent.process.send_signal(signal.SIGHUP)
    CONFLUENT.send(own_stack.kafka, topic, 0, plain(5))
    assert agent.is_running()


@pytest.mark.any_store
def test_a_killed_agent_starts_again_as_itself(own_stack, topic_name):
    agent = own_stack.start_agent()
    topic = own_stack.create_topic(topic_name, partitions=2)
    with Load(own_stack.kafka, topic, 2) as load:
        load.wait_for_more(300)
        agent.kill()
        agent.start()
        load.wait_for_more(300)
        load.finish()
    assert load.check() >= 500
    assert own_stack.postgres.value("SELECT count(*) FROM streamhouse.agent") == 1, "it keeps its id"


@pytest.mark.mortal_store
@pytest.mark.parametrize("own_stack", ["s3"], indirect=True)
def test_the_s3_server_stops_answering_for_a_while(own_stack, topic_name):
    agent = own_stack.start_agent(s3_attempt_timeout_ms="1s")
    topic = own_stack.create_topic(topic_name, partitions=4)
    gateway = int((own_stack.store.server.folder / "rgw.pid").read_text())
    with Load(own_stack.kafka, topic, 4) as load:
        load.wait_for_more(500)
        process.send(gateway, signal.SIGSTOP)
        time.sleep(4)
        process.send(gateway, signal.SIGCONT)
        load.wait_for_more(500)
        load.finish()
    assert load.check() >= 1000
    assert agent.is_running()
