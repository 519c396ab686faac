"""Availability zones: a reader is sent to an agent of its own zone, and never in circles; and clients' telemetry, which nobody asks for."""
import struct
import uuid

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

import wire
from fetch_wire import Session
from schema_wire import SchemaWire
from stack import wait_until

pytestmark = pytest.mark.any_store
BY_NAME = 12


@pytest.fixture
def zones(own_stack):
    """Two agents, in zones a and b."""
    return own_stack.start_agent(zone="zone-a"), own_stack.start_agent(zone="zone-b")


def leader_and_other(own_stack, zones, topic):
    [leader] = own_stack.leaders(topic)
    return sorted(zones, key=lambda agent: agent.name != leader)


def broker_id(own_stack, agent):
    return own_stack.postgres.value("SELECT agent_id FROM streamhouse.agent WHERE name = :'name'", name=agent.name)


def test_the_leader_sends_a_reader_to_its_own_zone(own_stack, zones, topic_name):
    topic = own_stack.create_topic(topic_name)
    leader, other = leader_and_other(own_stack, zones, topic)
    with wire.Wire(leader.kafka) as connection:
        assert connection.produce(topic, 0, wire.batch([b"x"]))[0] == wire.NONE
        for rack, sent_to in ("", -1), (leader.settings["zone"], -1), ("zone-c", -1), (other.settings["zone"], broker_id(own_stack, other)):
            for epoch in 0, -1:
                part = Session(connection, BY_NAME, rack).fetch({topic: {0: 0}}, session_id=0, epoch=epoch).partitions[(topic, 0)]
                assert (part.error, part.preferred, bool(part.records)) == (wire.NONE, sent_to, sent_to == -1)
        part = Session(connection, BY_NAME, other.settings["zone"]).fetch({topic: {0: 99}}).partitions[(topic, 0)]
        assert (part.error, part.preferred) == (wire.OFFSET_OUT_OF_RANGE, -1), "or it would be sent back and forth for ever"
    with wire.Wire(other.kafka) as connection:
        for rack in "", leader.settings["zone"], other.settings["zone"]:
            part = Session(connection, BY_NAME, rack).fetch({topic: {0: 0}}, wait_ms=5000).partitions[(topic, 0)]
            assert part.preferred == -1 and part.records, "who does not lead sends nobody away"


def test_a_reader_that_is_sent_away_is_answered_at_once_in_a_session_too(own_stack, zones, topic_name):
    topic = own_stack.create_topic(topic_name)
    leader, other = leader_and_other(own_stack, zones, topic)
    with wire.Wire(leader.kafka) as connection:
        session = Session(connection, BY_NAME, other.settings["zone"])
        for wanted in {topic: {0: 0}}, {}:
            answer = session.fetch(wanted, wait_ms=20_000)
            assert answer.partitions[(topic, 0)].preferred == broker_id(own_stack, other)


def test_when_the_zones_agent_is_gone_the_leader_serves(own_stack, zones, topic_name):
    topic = own_stack.create_topic(topic_name)
    leader, other = leader_and_other(own_stack, zones, topic)
    other.stop()
    with wire.Wire(leader.kafka) as connection:
        assert connection.produce(topic, 0, wire.batch([b"x"]))[0] == wire.NONE
        wait_until(lambda: Session(connection, BY_NAME, other.settings["zone"]).fetch({topic: {0: 0}}).partitions[(topic, 0)].records, what="the record")


def test_metadata_names_the_readers_of_each_zone_as_replicas(own_stack, zones, topic_name):
    topic = own_stack.create_topic(topic_name, partitions=3)
    ids = {broker_id(own_stack, agent) for agent in zones}
    for partition in AdminClient({"bootstrap.servers": own_stack.kafka}).list_topics(topic, timeout=10).topics[topic].partitions.values():
        assert partition.replicas[0] == partition.leader
        assert set(partition.replicas) == ids and partition.replicas == partition.isrs


def test_a_consumer_reads_from_its_own_zone(own_stack, zones, topic_name):
    topic = own_stack.create_topic(topic_name)
    leader, other = leader_and_other(own_stack, zones, topic)
    producer = Producer({"bootstrap.servers": own_stack.kafka})
    for number in range(100):
        producer.produce(topic, str(number), partition=0)
    producer.flush(20)
    consumer = Consumer({"bootstrap.servers": own_stack.kafka, "group.id": "unused", "client.rack": other.settings["zone"]})
    from confluent_kafka import TopicPartition
    consumer.assign([TopicPartition(topic, 0, 0)])
    got = []
    wait_until(lambda: len(got) == 100 or got.extend(m.value() for m in consumer.consume(100, 0.5) if not m.error()), what="the records")
    consumer.close()
    assert got == [str(number).encode() for number in range(100)]
    assert other.metric("streamhouse_fetch_record_bytes_total") > 0
    assert leader.metric("streamhouse_fetch_record_bytes_total") == 0


@pytest.mark.parametrize("client", ["zone=zone-b", "billing;zone=zone-b", "zone=zone-b;billing;x=y"])
def test_a_client_may_say_its_zone_in_its_client_id(own_stack, topic_name, client):
    """Clients that cannot set client.rack: sent to their zone for reading, and told of its agents first."""
    own_stack.start_agent(zone="zone-a")
    near = own_stack.start_agent(zone="zone-b")
    topic = own_stack.create_topic(topic_name, streamhouse_leader_zone="zone-a")
    with SchemaWire(own_stack.agents[0].kafka) as connection:
        asked = {"max_wait_ms": 100, "min_bytes": 1, "max_bytes": 1000, "session_epoch": -1, "topics": [
            {"topic": topic, "partitions": [{"partition": 0, "fetch_offset": 0, "partition_max_bytes": 1000}]}]}

        def preferred(**more):
            return connection.ask("Fetch", 11, **asked, **more)["responses"][0]["partitions"][0]["preferred_read_replica"]

        assert preferred() == -1
        connection.client = client
        assert preferred() == broker_id(own_stack, near)
        assert preferred(rack_id="zone-a") == -1, "client.rack counts more"
        assert connection.ask("Metadata", 12, topics=[])["brokers"][0]["rack"] == "zone-b"
        connection.client = client.replace("zone-b", "zone-a")
        assert preferred() == -1
        assert connection.ask("Metadata", 12, topics=[])["brokers"][0]["rack"] == "zone-a"
        connection.client = "timezone=zone-b"
        assert preferred() == -1


def test_a_group_that_any_agent_coordinates_is_coordinated_in_the_clients_zone(own_stack, zones, topic_name):
    own_stack.create_topic(topic_name)
    own_stack.postgres.run("""SELECT sh_group_heartbeat(:'group', 'm', 0, rebalance_timeout_ms => 60000, subscribed_topics => ARRAY[:'group'],
                                                        owned_topic_ids => '{}', owned_partitions => '{}');""", group=topic_name)
    with SchemaWire(own_stack.agents[0].kafka) as connection:
        def coordinator(name):
            [found] = connection.ask("FindCoordinator", 4, key_type=0, coordinator_keys=[name])["coordinators"]
            return found["node_id"]
        for agent in zones:
            connection.client = f"zone={agent.settings['zone']}"
            assert coordinator(topic_name) == broker_id(own_stack, agent)
        found = set()
        for agent in zones:
            connection.client = f"zone={agent.settings['zone']}"
            found.add(coordinator("a group that is not there"))
        assert len(found) == 1, "it may become one that a single agent coordinates"


GET_TELEMETRY_SUBSCRIPTIONS, PUSH_TELEMETRY = 71, 72
INVALID_REQUEST, UNSUPPORTED_COMPRESSION_TYPE, UNKNOWN_SUBSCRIPTION_ID, TELEMETRY_TOO_LARGE = 42, 76, 117, 118


def subscriptions(connection, client):
    """(error, client id, subscription, push interval, count of metrics)"""
    reply = connection.ask(GET_TELEMETRY_SUBSCRIPTIONS, 0, b"\0" + client.bytes + b"\0")
    reply.take("b")
    _throttle, error = reply.take("ih")
    client = uuid.UUID(bytes=reply.raw(16))
    subscription = reply.take("i")
    assert list(reply.raw(reply.take("B") - 1)) == [4, 3, 1, 2]
    interval, _bytes, _delta, metrics, _tags = reply.take("iibBB")
    assert reply.at_end()
    return error, client, subscription, interval, metrics - 1


def push(connection, client, subscription, codec=0, metrics=b""):
    body = b"\0" + client.bytes + struct.pack(">ibb", subscription, 0, codec) + wire.uvarint(len(metrics) + 1) + metrics + b"\0"
    reply = connection.ask(PUSH_TELEMETRY, 0, body)
    reply.take("b")
    return reply.take("ih")[1]


def test_a_client_gets_an_id_and_is_asked_for_no_metrics(stack):
    with wire.Wire(stack.kafka) as connection:
        error, client, subscription, interval, metrics = subscriptions(connection, uuid.UUID(int=0))
        assert (error, client.version, interval, metrics) == (0, 4, 300_000, 0)
        assert subscriptions(connection, client) == (0, client, subscription, interval, 0)
        assert subscriptions(connection, uuid.UUID(int=1))[0] == INVALID_REQUEST


def test_telemetry_that_is_pushed_all_the_same_is_judged_as_in_kafka(stack):
    with wire.Wire(stack.kafka) as connection:
        _, client, subscription, _, _ = subscriptions(connection, uuid.UUID(int=0))
        assert push(connection, client, subscription) == 0
        assert push(connection, client, subscription, metrics=b"x" * 1000) == 0
        assert push(connection, client, subscription ^ 1) == UNKNOWN_SUBSCRIPTION_ID
        assert push(connection, client, subscription, codec=9) == UNSUPPORTED_COMPRESSION_TYPE
        assert push(connection, client, subscription, metrics=b"x" * (1 << 20 | 1)) == TELEMETRY_TOO_LARGE
        assert push(connection, uuid.UUID(int=0), 0) == INVALID_REQUEST
