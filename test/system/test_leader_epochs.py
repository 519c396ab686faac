"""Leader epochs, as clients see them: who leads under which epoch, what those hear who know less or more, and where they are sent
(KIP-320, KIP-951), in every version of the protocol."""
import pytest

import wire
from schema_wire import SchemaWire
from stack import wait_until

pytestmark = pytest.mark.any_store
CURRENT_LEADER, ENDPOINTS = 12, 16


@pytest.fixture
def moved(own_stack, topic_name):
    """A topic whose only partition has just moved: (topic, topic id, the agent that led it, the one that does, its epoch)."""
    own_stack.start_agent()
    own_stack.start_agent()
    topic = own_stack.create_topic(topic_name)
    sql = own_stack.postgres
    [first] = own_stack.leaders(topic)
    [lease] = sql.rows("SELECT topic_id, agent_id, epoch FROM streamhouse.lease JOIN streamhouse.topic USING (topic_id) WHERE name = :'topic'", topic=topic)
    other = sql.value("SELECT agent_id FROM streamhouse.agent WHERE name <> :'name'", name=first)
    sql.run(f"SELECT streamhouse.lease_move(ARRAY[{lease['topic_id']}], ARRAY[0], ARRAY[{lease['agent_id']}], ARRAY[{other}]);")
    old, new = sorted(own_stack.agents, key=lambda agent: agent.name != first)
    for agent in own_stack.agents:
        with wire.Wire(agent.kafka) as connection:
            wait_until(lambda: connection.fetch(topic, 0, 0, epoch=lease["epoch"])[0] == wire.FENCED_LEADER_EPOCH, what="news of the move")
    uuid = sql.value("SELECT topic_uuid FROM streamhouse.topic WHERE name = :'topic'", topic=topic)
    return topic, uuid, old, new, other, lease["epoch"] + 1


def only(answer):
    [topic] = answer["responses"]
    [partition] = topic.get("partitions") or topic["partition_responses"]
    return partition


def places(answer):
    return [(node["node_id"], node["host"], node["port"]) for node in answer.get("node_endpoints", [])]


def test_metadata_names_the_lease_s_epoch(moved):
    topic, _, old, new, leader, epoch = moved
    for agent in old, new:
        with SchemaWire(agent.kafka) as connection:
            for version in range(7, 14):
                [answered] = connection.ask("Metadata", version, topics=[{"name": topic}])["topics"]
                [partition] = answered["partitions"]
                assert (partition["leader_id"], partition["leader_epoch"]) == (leader, epoch)


def test_who_produces_to_another_is_sent_to_the_leader(moved):
    topic, uuid, old, new, leader, epoch = moved
    with SchemaWire(old.kafka) as connection:
        for version in range(3, 14):
            named = {"topic_id": uuid} if version >= 13 else {"name": topic}
            answer = connection.ask("Produce", version, acks=-1, timeout_ms=5000, topic_data=[
                {**named, "partition_data": [{"index": 0, "records": wire.batch([b"x"])}]}])
            assert only(answer)["error_code"] == wire.NOT_LEADER
            if version >= 10:
                assert only(answer)["current_leader"] == {"leader_id": leader, "leader_epoch": epoch}
                assert (leader, "127.0.0.1", new.kafka_port) in places(answer)
    with wire.Wire(new.kafka) as connection:
        assert connection.produce(topic, 0, wire.batch([b"x"])) == (wire.NONE, 0)


def fetch(connection, version, topic, uuid, epoch):
    named = {"topic_id": uuid} if version >= 13 else {"topic": topic}
    return connection.ask("Fetch", version, max_wait_ms=10, min_bytes=1, max_bytes=1000, session_epoch=-1, topics=[
        {**named, "partitions": [{"partition": 0, "current_leader_epoch": epoch, "fetch_offset": 0, "partition_max_bytes": 1000}]}])


def test_who_fetches_under_an_older_epoch_is_told_of_the_leader_and_under_a_newer_one_to_wait(moved):
    topic, uuid, old, new, leader, epoch = moved
    for agent in old, new:
        with SchemaWire(agent.kafka) as connection:
            for version in range(9, 19):
                fenced = fetch(connection, version, topic, uuid, epoch - 1)
                assert only(fenced)["error_code"] == wire.FENCED_LEADER_EPOCH
                assert only(fetch(connection, version, topic, uuid, epoch + 1))["error_code"] == wire.UNKNOWN_LEADER_EPOCH
                fine = fetch(connection, version, topic, uuid, epoch)
                assert only(fine)["error_code"] == only(fetch(connection, version, topic, uuid, -1))["error_code"] == wire.NONE
                if version >= CURRENT_LEADER:
                    assert only(fenced)["current_leader"] == {"leader_id": leader, "leader_epoch": epoch}
                    assert "current_leader" not in only(fine)
                if version >= ENDPOINTS:
                    assert places(fenced) == [(leader, "127.0.0.1", new.kafka_port)], "the leader, and nobody else"
                    assert places(fine) == []


def test_offsets_are_told_under_the_right_epoch_only(moved):
    topic, _, old, new, _, epoch = moved
    for agent in old, new:
        with wire.Wire(agent.kafka) as connection:
            for asked, error in (epoch - 1, wire.FENCED_LEADER_EPOCH), (epoch, wire.NONE), (epoch + 1, wire.UNKNOWN_LEADER_EPOCH):
                assert connection.list_offset(topic, 0, -1, epoch=asked)[0] == error
                assert connection.end_of_epoch(topic, 0, epoch, current=asked)[0] == error
