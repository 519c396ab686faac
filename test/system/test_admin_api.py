"""Kafka's admin APIs, every version of each, as no client library asks them: configs, records that are deleted, leaders, sizes."""
import struct
import time

import pytest

import wire
from clients import CONFLUENT
from schema_wire import APIS, SchemaWire
from records import plain
from sql_session import Session
from stack import wait_until
from wire import Wire

pytestmark = [pytest.mark.any_store, pytest.mark.sql]

NONE, OUT_OF_RANGE, UNKNOWN_TOPIC, TIMED_OUT, CLUSTER_DENIED = 0, 1, 3, 7, 31
TOPIC_EXISTS, INVALID_PARTITIONS, INVALID_FACTOR, INVALID_ASSIGNMENT, INVALID_CONFIG = 36, 37, 38, 39, 40
INVALID_REQUEST, POLICY_VIOLATION, ELECTION_NOT_NEEDED, NO_REASSIGNMENT, UNKNOWN_ID = 42, 44, 84, 85, 100
TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS = 2, 4, 8, 16
SET, DELETE, APPEND, SUBTRACT = 0, 1, 2, 3
FROM_TOPIC, FROM_BROKER, FROM_CLUSTER, FROM_STATIC, FROM_DEFAULT = 1, 2, 3, 4, 5
QUICK = {"lease_ttl_ms": "1500ms", "heartbeat_ms": "200ms"}


@pytest.fixture
def kafka(stack):
    with SchemaWire(stack.kafka) as connection:
        yield connection


@pytest.fixture(autouse=True)
def nothing_is_left(request):
    """The whole cluster's configs are as they were for the next test."""
    yield
    if "stack" in request.fixturenames:
        postgres = request.getfixturevalue("stack").postgres
        postgres.run("SELECT sh_alter_broker_config(jsonb_object_agg(name, NULL), agent_id) FROM streamhouse.broker_config GROUP BY agent_id;")


def versions(name):
    first, last = APIS[name].offered
    return range(first, last + 1)


def every_version(*names):
    return pytest.mark.parametrize("name, version", [(name, version) for name in names for version in versions(name)])


def broker_id(kafka):
    return str(kafka.ask("DescribeCluster", 0)["controller_id"])


def describe(kafka, resource_type, name, version=4, keys=None, **flags):
    """(error code, configs by name)."""
    flags = {"include_synonyms": True, **flags}
    if version >= 3:
        flags.setdefault("include_documentation", True)
    (result,) = kafka.ask("DescribeConfigs", version, resources=[
        {"resource_type": resource_type, "resource_name": name, "configuration_keys": keys}], **flags)["results"]
    return result["error_code"], {config["name"]: config for config in result["configs"]}


def alter(kafka, resource_type, name, *changes, version=1, validate_only=False):
    """The answer to one resource's changes, each (config, operation, value)."""
    configs = [{"name": config, "config_operation": operation, "value": value} for config, operation, value in changes]
    (response,) = kafka.ask("IncrementalAlterConfigs", version, validate_only=validate_only, resources=[
        {"resource_type": resource_type, "resource_name": name, "configs": configs}])["responses"]
    return response["error_code"], response["error_message"]


def value_of(kafka, topic, config):
    return describe(kafka, TOPIC, topic)[1][config]["value"]


def log_start(connection, topic, partition=0):
    return connection.list_offset(topic, partition, -2)[2]


# ---- Configs

@every_version("IncrementalAlterConfigs")
def test_configs_are_set_deleted_appended_and_subtracted(kafka, topic, name, version):
    def change(*changes):
        return alter(kafka, TOPIC, topic, *changes, version=version)[0]
    assert change(("retention.ms", SET, "1000"), ("cleanup.policy", APPEND, "compact")) == NONE
    assert (value_of(kafka, topic, "retention.ms"), value_of(kafka, topic, "cleanup.policy")) == ("1000", "delete,compact")
    assert change(("retention.ms", DELETE, None), ("cleanup.policy", SUBTRACT, "delete")) == NONE
    assert (value_of(kafka, topic, "retention.ms"), value_of(kafka, topic, "cleanup.policy")) == ("604800000", "compact")


@every_version("AlterConfigs")
def test_the_old_request_replaces_all_that_was_set(kafka, topic, name, version):
    alter(kafka, TOPIC, topic, ("retention.ms", SET, "1000"), ("max.message.bytes", SET, "5000"))
    (response,) = kafka.ask(name, version, resources=[
        {"resource_type": TOPIC, "resource_name": topic, "configs": [{"name": "segment.ms", "value": "77"}]}])["responses"]
    assert (response["error_code"], response["error_message"]) == (NONE, None)
    assert [value_of(kafka, topic, config) for config in ("segment.ms", "retention.ms", "max.message.bytes")] == ["77", "604800000", "1048588"]


@pytest.mark.parametrize("change, code, words", [
    (("retention.ms", SET, "soon"), INVALID_CONFIG, "whole number"), (("no.such", SET, "1"), INVALID_CONFIG, "unknown topic config"),
    (("retention.ms", SET, None), INVALID_REQUEST, "no value"), (("retention.ms", APPEND, "1"), INVALID_CONFIG, "list"),
    (("cleanup.policy", APPEND, "burn"), INVALID_CONFIG, "delete, compact"), (("retention.ms", 4, "1"), INVALID_REQUEST, "operation"),
    (("retention.ms", -1, "1"), INVALID_REQUEST, "operation"), (("retention.ms", SET, "1\0"), INVALID_REQUEST, "UTF-8")], ids=str)
def test_a_change_that_makes_no_sense_is_refused_and_says_why(kafka, topic, change, code, words):
    error, message = alter(kafka, TOPIC, topic, ("max.message.bytes", SET, "4000"), change)
    assert error == code and words in message
    assert value_of(kafka, topic, "max.message.bytes") == "1048588", "part of what was refused was kept"


def test_what_is_named_twice_is_refused(kafka, topic):
    assert alter(kafka, TOPIC, topic, ("retention.ms", SET, "1"), ("retention.ms", SET, "2"))[0] == INVALID_REQUEST
    resource = {"resource_type": TOPIC, "resource_name": topic, "configs": [{"name": "retention.ms", "config_operation": SET, "value": "5"}]}
    answers = kafka.ask("IncrementalAlterConfigs", 1, resources=[resource, resource])["responses"]
    assert [answer["error_code"] for answer in answers] == [INVALID_REQUEST] * 2
    assert value_of(kafka, topic, "retention.ms") == "604800000"


@pytest.mark.parametrize("name", ["AlterConfigs", "IncrementalAlterConfigs"])
def test_validate_only_checks_and_changes_nothing(kafka, topic, name):
    for value, code in (("1000", NONE), ("x", INVALID_CONFIG)):
        (response,) = kafka.ask(name, 1, validate_only=True, resources=[
            {"resource_type": TOPIC, "resource_name": topic, "configs": [{"name": "retention.ms", "value": value}]}])["responses"]
        assert response["error_code"] == code
    assert value_of(kafka, topic, "retention.ms") == "604800000"


@pytest.mark.parametrize("resource_type, resource_name, code", [
    (TOPIC, "no-such-topic", UNKNOWN_TOPIC), (BROKER, "4711", INVALID_REQUEST), (BROKER, "x", INVALID_REQUEST), (BROKER_LOGGER, "1", INVALID_REQUEST),
    (CLIENT_METRICS, "m", INVALID_REQUEST), (0, "", INVALID_REQUEST), (127, "x", INVALID_REQUEST), (-1, "x", INVALID_REQUEST)])
def test_what_has_no_configs_is_refused(kafka, resource_type, resource_name, code):
    error, message = alter(kafka, resource_type, resource_name, ("num.partitions", SET, "2"))
    assert error == code and message
    if resource_type != CLIENT_METRICS:
        assert describe(kafka, resource_type, resource_name)[0] == code


@every_version("DescribeConfigs")
def test_every_topic_config_has_source_type_and_synonyms(kafka, topic, name, version):
    alter(kafka, TOPIC, topic, ("retention.ms", SET, "1000"))
    alter(kafka, BROKER, "", ("log.retention.hours", SET, "2"))
    error, configs = describe(kafka, TOPIC, topic, version)
    assert error == NONE and len(configs) >= 30
    retention = configs["retention.ms"]
    assert (retention["value"], retention["config_source"], retention["read_only"], retention["is_sensitive"]) == ("1000", FROM_TOPIC, False, False)
    assert [(synonym["name"], synonym["value"], synonym["source"]) for synonym in retention["synonyms"]] == [
        ("retention.ms", "1000", FROM_TOPIC), ("log.retention.hours", "2", FROM_CLUSTER), ("log.retention.hours", "168", FROM_DEFAULT)]
    assert all(config["config_source"] in (FROM_TOPIC, FROM_CLUSTER, FROM_DEFAULT) for config in configs.values())
    if version >= 3:
        assert all(config["documentation"] and config["config_type"] for config in configs.values())
        assert configs["cleanup.policy"]["config_type"] == 7 and configs["preallocate"]["config_type"] == 1
    _, configs = describe(kafka, TOPIC, topic, version, include_synonyms=False)
    assert configs["retention.ms"]["synonyms"] == []


def test_only_the_configs_that_are_asked_for_are_told(kafka, topic):
    assert list(describe(kafka, TOPIC, topic, keys=["retention.ms", "no.such"])[1]) == ["retention.ms"]
    assert describe(kafka, TOPIC, topic, keys=[])[1] == {}


def test_a_default_for_all_topics_is_obeyed_at_once(kafka, stack, topic):
    with Wire(stack.kafka) as hand:
        assert hand.produce(topic, 0, wire.batch([b"x" * 500]))[0] == wire.NONE
        assert alter(kafka, BROKER, "", ("message.max.bytes", SET, "300"))[0] == NONE
        assert hand.produce(topic, 0, wire.batch([b"x" * 500]))[0] == wire.MESSAGE_TOO_LARGE
        entry = describe(kafka, TOPIC, topic)[1]["max.message.bytes"]
        assert (entry["value"], entry["config_source"]) == ("300", FROM_CLUSTER)
        assert alter(kafka, BROKER, "", ("message.max.bytes", DELETE, None))[0] == NONE
        assert hand.produce(topic, 0, wire.batch([b"x" * 500]))[0] == wire.NONE


def test_a_broker_tells_its_configs_and_its_own_settings(kafka):
    own = broker_id(kafka)
    assert alter(kafka, BROKER, "", ("num.partitions", SET, "3"))[0] == NONE
    assert alter(kafka, BROKER, own, ("num.partitions", SET, "4"))[0] == NONE
    error, configs = describe(kafka, BROKER, own)
    assert error == NONE
    assert (configs["num.partitions"]["value"], configs["num.partitions"]["config_source"], configs["num.partitions"]["read_only"]) == ("4", FROM_BROKER, False)
    assert [synonym["source"] for synonym in configs["num.partitions"]["synonyms"]] == [FROM_BROKER, FROM_CLUSTER, FROM_DEFAULT]
    assert configs["kafka_port"]["read_only"] and configs["kafka_port"]["config_source"] == FROM_STATIC
    assert configs["database"]["is_sensitive"] and configs["database"]["value"] is None
    assert {name: (entry["value"], entry["config_source"]) for name, entry in describe(kafka, BROKER, "")[1].items()} == {"num.partitions": ("3", FROM_CLUSTER)}
    assert alter(kafka, BROKER, own, ("log.retention.ms", SET, "1"))[0] == INVALID_CONFIG, "a default of topics is not one broker's"


def test_num_partitions_and_auto_creation_take_effect_at_once(kafka, topic_name):
    def metadata(name):
        (topic,) = kafka.ask("Metadata", 9, topics=[{"name": name}], allow_auto_topic_creation=True)["topics"]
        return topic["error_code"], len(topic["partitions"])
    assert alter(kafka, BROKER, "", ("num.partitions", SET, "5"))[0] == NONE
    assert metadata(topic_name) == (NONE, 5)
    assert alter(kafka, BROKER, broker_id(kafka), ("auto.create.topics.enable", SET, "false"))[0] == NONE
    assert metadata(topic_name + "-no")[0] == UNKNOWN_TOPIC
    assert alter(kafka, BROKER, broker_id(kafka), ("auto.create.topics.enable", DELETE, None))[0] == NONE
    assert metadata(topic_name + "-yes") == (NONE, 5)


def test_every_config_that_one_agent_may_have_is_one_that_agents_obey(kafka, stack):
    """The brain's table and the agent's are two: each config is set, and the agent's setting follows, to the least and the most."""
    own = broker_id(kafka)
    for row in stack.postgres.rows("SELECT name, minimum, maximum FROM streamhouse.broker_config_definition WHERE per_agent AND type = 'int' ORDER BY name DESC"):
        for value in (row["maximum"], row["minimum"]):
            before = stack.agents[0].log().count("setting=")
            error, message = alter(kafka, BROKER, own, (row["name"], SET, str(value)))
            if error == INVALID_CONFIG and "session.timeout" in message:
                continue  # the least of the longest is below the shortest
            assert error == NONE, message
            assert stack.agents[0].log().count("setting=") == before + 1, f"{row['name']} = {value} is not obeyed"
        assert alter(kafka, BROKER, own, (row["name"], DELETE, None))[0] == NONE
    assert "nothing reloaded" not in stack.agents[0].log()


def test_every_agents_configs_change_and_one_agents_only_its_own(own_stack):
    a, b = own_stack.start_agent("a", default_partitions=2, **QUICK), own_stack.start_agent("b", **QUICK)
    with SchemaWire(a.kafka) as to_a, SchemaWire(b.kafka) as to_b:
        def created(connection, name):
            (topic,) = connection.ask("CreateTopics", 7, topics=[{"name": name, "num_partitions": -1, "replication_factor": -1}])["topics"]
            return topic["num_partitions"]
        assert (created(to_a, "t1"), created(to_b, "t2")) == (2, 1)
        static = describe(to_a, BROKER, broker_id(to_a))[1]["num.partitions"]
        assert (static["value"], static["config_source"]) == ("2", FROM_STATIC)
        assert alter(to_a, BROKER, "", ("num.partitions", SET, "4"))[0] == NONE
        assert created(to_a, "t3") == 4
        wait_until(lambda: b.http("/metrics") and describe(to_b, BROKER, broker_id(to_b))[1]["num.partitions"]["value"] == "4", 5, "B's config")
        wait_until(lambda: created(to_b, f"t4-{time.monotonic_ns()}") == 4, 5, "B's topics with the new number")
        assert alter(to_a, BROKER, broker_id(to_b), ("num.partitions", SET, "6"))[0] == NONE
        wait_until(lambda: created(to_b, f"t5-{time.monotonic_ns()}") == 6, 5, "B's own number")
        assert created(to_a, "t6") == 4
        sources = [synonym["source"] for synonym in describe(to_a, BROKER, broker_id(to_a))[1]["num.partitions"]["synonyms"]]
        assert sources == [FROM_CLUSTER, FROM_STATIC, FROM_DEFAULT]
        assert alter(to_a, BROKER, "", ("num.partitions", DELETE, None))[0] == NONE
        assert created(to_a, "t7") == 2, "what the agent was started with counts again"
    a.kill()
    a.start()
    with SchemaWire(a.kafka) as again:
        assert alter(again, BROKER, "", ("num.partitions", SET, "9"))[0] == NONE
    a.kill()
    a.start()
    with SchemaWire(a.kafka) as again:
        wait_until(lambda: created(again, f"t8-{time.monotonic_ns()}") == 9, 5, "the value after a restart")


@every_version("ListConfigResources")
def test_what_has_configs_is_listed(kafka, topic, name, version):
    if version == 0:
        assert kafka.ask(name, 0)["config_resources"] == []
        return
    def listed(*types):
        answer = kafka.ask(name, version, resource_types=list(types))
        assert answer["error_code"] == NONE
        return {(resource["resource_type"], resource["resource_name"]) for resource in answer["config_resources"]}
    assert (TOPIC, topic) in listed() and (BROKER, broker_id(kafka)) in listed()
    assert {kind for kind, _ in listed(BROKER)} == {BROKER}
    assert listed(CLIENT_METRICS) == set()
    assert kafka.ask(name, version, resource_types=[99])["error_code"] == 35


# ---- Topics

@every_version("CreateTopics")
def test_topics_are_created_with_what_the_version_can_tell(kafka, topic_name, name, version):
    wanted = {"name": topic_name, "num_partitions": 3, "replication_factor": 3, "configs": [{"name": "retention.ms", "value": "9000"}]}
    (checked,) = kafka.ask(name, version, topics=[wanted], validate_only=True)["topics"]
    assert checked["error_code"] == NONE
    (created,) = kafka.ask(name, version, topics=[wanted])["topics"]
    assert created["error_code"] == NONE, created
    if version >= 5:
        assert (created["num_partitions"], created["replication_factor"]) == (3, 1)
        configs = {config["name"]: (config["value"], config["config_source"]) for config in created["configs"]}
        assert configs["retention.ms"] == ("9000", FROM_TOPIC) and configs["cleanup.policy"] == ("delete", FROM_DEFAULT)
        assert checked["configs"] == created["configs"]
    if version >= 7:
        assert created["topic_id"] == kafka_topic_id(kafka, topic_name)
    (again,) = kafka.ask(name, version, topics=[wanted])["topics"]
    assert again["error_code"] == TOPIC_EXISTS and again["error_message"]


def kafka_topic_id(kafka, topic):
    (found,) = kafka.ask("Metadata", 12, topics=[{"name": topic}])["topics"]
    return found["topic_id"]


@pytest.mark.parametrize("assignments, code", [
    ([(0, [1]), (1, [1])], NONE), ([(1, [1]), (0, [1])], NONE), ([(0, [1]), (2, [1])], INVALID_ASSIGNMENT), ([(0, [1]), (0, [1])], INVALID_ASSIGNMENT),
    ([(0, [])], INVALID_ASSIGNMENT), ([(0, [1, 1])], INVALID_ASSIGNMENT), ([(0, [99])], INVALID_ASSIGNMENT), ([(-1, [1])], INVALID_ASSIGNMENT),
    ([(0, [1]), (1, [1, 2])], INVALID_ASSIGNMENT)], ids=str)
def test_replica_assignments_are_checked(kafka, topic_name, assignments, code):
    own = int(broker_id(kafka))
    asked = [{"partition_index": index, "broker_ids": [own if broker == 1 else broker for broker in brokers]} for index, brokers in assignments]
    (created,) = kafka.ask("CreateTopics", 7, topics=[{"name": topic_name, "num_partitions": -1, "replication_factor": -1, "assignments": asked}])["topics"]
    assert created["error_code"] == code
    if code == NONE:
        assert created["num_partitions"] == len(assignments)


@pytest.mark.parametrize("change, code", [
    ({"num_partitions": 0}, INVALID_PARTITIONS), ({"num_partitions": -2}, INVALID_PARTITIONS), ({"replication_factor": 0}, INVALID_FACTOR),
    ({"replication_factor": -2}, INVALID_FACTOR), ({"configs": [{"name": "x", "value": "1"}]}, INVALID_CONFIG),
    ({"configs": [{"name": "retention.ms", "value": None}]}, INVALID_CONFIG),
    ({"num_partitions": 1, "assignments": [{"partition_index": 0, "broker_ids": [1]}]}, INVALID_REQUEST)], ids=str)
def test_a_topic_that_cannot_be_is_not_created(kafka, topic_name, change, code):
    (created,) = kafka.ask("CreateTopics", 7, topics=[{"name": topic_name, "num_partitions": 1, "replication_factor": 1, **change}])["topics"]
    assert created["error_code"] == code and created["error_message"]


@every_version("DeleteTopics")
def test_topics_are_deleted_by_name_and_by_id(kafka, stack, topic_name, name, version):
    stack.create_topic(topic_name)
    if version < 6:
        (deleted, missing) = kafka.ask(name, version, topic_names=[topic_name, "no-such-topic"])["responses"]
        assert (deleted["error_code"], missing["error_code"]) == (NONE, UNKNOWN_TOPIC)
        return
    topic_id = kafka_topic_id(kafka, topic_name)
    both, unknown = kafka.ask(name, version, topics=[{"name": topic_name, "topic_id": topic_id},
                                                     {"name": None, "topic_id": "00000000-0000-4000-8000-000000000009"}])["responses"]
    assert (both["error_code"], unknown["error_code"]) == (INVALID_REQUEST, UNKNOWN_ID)
    (deleted,) = kafka.ask(name, version, topics=[{"name": None, "topic_id": topic_id}])["responses"]
    assert (deleted["error_code"], deleted["name"], deleted["topic_id"]) == (NONE, topic_name, topic_id)
    stack.create_topic(topic_name)
    (gone,) = kafka.ask(name, version, topics=[{"name": None, "topic_id": topic_id}])["responses"]
    assert gone["error_code"] == UNKNOWN_ID, "the new topic of the name was deleted by the old one's id"


@every_version("CreatePartitions")
def test_partitions_are_added_as_the_request_says(kafka, topic, name, version):
    own = int(broker_id(kafka))
    def ask(count, assignments=None, **more):
        (result,) = kafka.ask(name, version, topics=[{"name": topic, "count": count, "assignments": assignments}], **more)["results"]
        return result["error_code"]
    assert ask(5, validate_only=True) == NONE and ask(2, validate_only=True) == INVALID_PARTITIONS
    assert ask(5, [{"broker_ids": [own]}]) == INVALID_ASSIGNMENT, "two are added, one is assigned"
    assert ask(5, [{"broker_ids": [own]}, {"broker_ids": [999]}]) == INVALID_ASSIGNMENT
    assert ask(5, [{"broker_ids": [own]}] * 2) == NONE
    assert [ask(count) for count in (5, 4, 0, -1)] == [INVALID_PARTITIONS] * 4
    twice = {"name": topic, "count": 7, "assignments": None}
    assert [result["error_code"] for result in kafka.ask(name, version, topics=[twice, twice])["results"]] == [INVALID_REQUEST] * 2
    (described,) = kafka.ask("Metadata", 9, topics=[{"name": topic}])["topics"]
    assert len(described["partitions"]) == 5


@every_version("DescribeTopicPartitions")
def test_topics_are_described_a_page_at_a_time(kafka, stack, topic_name, name, version):
    topics = [stack.create_topic(f"{topic_name}-{letter}", partitions=3) for letter in "bac"]
    seen, pages, cursor = [], 0, None
    while True:
        answer = kafka.ask(name, version, topics=[{"name": topic} for topic in topics], response_partition_limit=4, cursor=cursor)
        count = sum(len(topic["partitions"]) for topic in answer["topics"])
        assert count <= 4
        seen += [(topic["name"], partition["partition_index"]) for topic in answer["topics"] for partition in topic["partitions"]]
        assert all(partition["leader_id"] in partition["isr_nodes"] for topic in answer["topics"] for partition in topic["partitions"])
        pages, cursor = pages + 1, answer["next_cursor"]
        if not cursor:
            break
    assert seen == [(topic, partition) for topic in sorted(topics) for partition in range(3)] and pages == 3
    unknown, invalid = kafka.ask(name, version, topics=[{"name": "no-such-topic"}, {"name": "no such"}])["topics"][::-1]
    assert (unknown["error_code"], invalid["error_code"]) == (UNKNOWN_TOPIC, 17)
    everything = kafka.ask(name, version, topics=[])["topics"]
    assert set(topics) <= {topic["name"] for topic in everything}
    (resumed,) = kafka.ask(name, version, topics=[{"name": topics[1]}], cursor={"topic_name": topics[1], "partition_index": 99})["topics"]
    assert resumed["partitions"] == []


@pytest.mark.parametrize("version", [8, 10, 13])
def test_metadata_tells_what_one_may_do_when_asked(kafka, topic, version):
    on_topic, on_cluster = sum(1 << bit for bit in (3, 4, 5, 6, 7, 8, 10, 11)), sum(1 << bit for bit in (5, 7, 8, 9, 10, 11, 12))
    unasked = kafka.ask("Metadata", version, topics=[{"name": topic}])
    assert unasked["topics"][0]["topic_authorized_operations"] == -2**31
    wishes = {"include_topic_authorized_operations": True, **({"include_cluster_authorized_operations": True} if version <= 10 else {})}
    answer = kafka.ask("Metadata", version, topics=[{"name": topic}], **wishes)
    assert answer["topics"][0]["topic_authorized_operations"] == on_topic
    if version <= 10:
        assert unasked["cluster_authorized_operations"] == -2**31
        assert answer["cluster_authorized_operations"] == on_cluster
    (described,) = kafka.ask("DescribeTopicPartitions", 0, topics=[{"name": topic}])["topics"]
    assert described["topic_authorized_operations"] == on_topic


@every_version("DescribeCluster")
def test_the_cluster_is_described(kafka, stack, name, version):
    answer = kafka.ask(name, version, include_cluster_authorized_operations=True)
    assert answer["error_code"] == NONE and answer["cluster_id"] and len(answer["brokers"]) == 1
    assert answer["cluster_authorized_operations"] > 0
    assert kafka.ask(name, version)["cluster_authorized_operations"] == -2**31
    if version >= 1:
        assert [kafka.ask(name, version, endpoint_type=kind)["error_code"] for kind in (1, 2, 0, 9)] == [NONE, 114, 115, 115]


# ---- Records

@every_version("DeleteRecords")
def test_records_below_an_offset_are_gone_for_every_reader(kafka, stack, topic, name, version):
    CONFLUENT.send(stack.kafka, topic, 0, plain(50))
    def delete(offset, partition=0, of=topic):
        (answer,) = kafka.ask(name, version, timeout_ms=5000, topics=[{"name": of, "partitions": [{"partition_index": partition, "offset": offset}]}])["topics"]
        return answer["partitions"][0]["error_code"], answer["partitions"][0]["low_watermark"]
    with Wire(stack.kafka) as hand:
        assert hand.fetch(topic, 0, 3)[0] == wire.NONE
        assert delete(20) == (NONE, 20)
        error, high, start, _ = hand.fetch(topic, 0, 19)
        assert (error, high, start) == (wire.OFFSET_OUT_OF_RANGE, 50, 20), "records in memory are still given"
        assert hand.fetch(topic, 0, 20)[0] == wire.NONE
        assert log_start(hand, topic) == 20 and hand.list_offset(topic, 0, -1)[2] == 50
        assert delete(10) == (NONE, 20), "deleted already"
        assert delete(51) == (OUT_OF_RANGE, -1) and delete(-2) == (OUT_OF_RANGE, -1)
        assert delete(0, partition=9)[0] == UNKNOWN_TOPIC and delete(0, of="no-such-topic")[0] == UNKNOWN_TOPIC
        assert delete(-1) == (NONE, 50)
        assert log_start(hand, topic) == 50 and hand.produce(topic, 0, wire.batch([b"next"])) == (wire.NONE, 50)
    with pytest.raises(RuntimeError, match="out of range"):
        stack.postgres.run("SELECT count(*) FROM sh_fetch(:'topic', 0, 3);", topic=topic)


def test_records_that_sql_deletes_are_gone_for_kafka_at_once(kafka, stack, topic):
    CONFLUENT.send(stack.kafka, topic, 1, plain(10))
    with Wire(stack.kafka) as hand:
        assert hand.fetch(topic, 1, 0)[0] == wire.NONE
        assert stack.postgres.value("SELECT sh_delete_records(:'topic', 1, 7)", topic=topic) == 7
        wait_until(lambda: hand.fetch(topic, 1, 6)[0] == wire.OFFSET_OUT_OF_RANGE, 2, "the notice")


def test_records_of_many_partitions_are_deleted_in_turns(kafka, stack, topic_name):
    topic = stack.create_topic(topic_name, partitions=120)
    CONFLUENT.send(stack.kafka, topic, 110, plain(10))
    CONFLUENT.send(stack.kafka, topic, 3, plain(10))
    wanted = {3: 2, 110: 4, 500: 0, 77: 1}
    (answer,) = kafka.ask("DeleteRecords", 2, topics=[{"name": topic, "partitions": [
        {"partition_index": index, "offset": wanted.get(index, 0)} for index in [*reversed(range(120)), 500]]}])["topics"]
    told = {part["partition_index"]: (part["error_code"], part["low_watermark"]) for part in answer["partitions"]}
    expected = {index: (wire.NONE, 0) for index in range(120)}
    assert told == expected | {3: (wire.NONE, 2), 110: (wire.NONE, 4), 500: (wire.UNKNOWN_TOPIC, -1), 77: (wire.OFFSET_OUT_OF_RANGE, told[77][1])}


def test_a_topic_that_is_only_compacted_keeps_its_records(kafka, stack, topic_name):
    stack.create_topic(topic_name, cleanup_policy="compact")
    (answer,) = kafka.ask("DeleteRecords", 2, topics=[{"name": topic_name, "partitions": [{"partition_index": 0, "offset": -1}]}])["topics"]
    assert answer["partitions"][0]["error_code"] == POLICY_VIOLATION


@pytest.mark.parametrize("preload", [True, False])
def test_every_agent_stops_giving_deleted_records_and_their_objects_go(new_store, topic_name, preload):
    """Caches and tails of both are warm; the one that was not asked learns it from the brain."""
    from stack import Stack
    with Stack(new_store("folder"), preload, **{"streamhouse.object_grace": "1s", "streamhouse.intent_ttl": "5s"}) as stack:
        a, b = (stack.start_agent(name, reap_interval_ms="200ms", **QUICK) for name in "ab")
        topic = stack.create_topic(topic_name, **{"streamhouse.write.path": "object"})
        CONFLUENT.send(stack.kafka, topic, 0, plain(2000))
        with Wire(a.kafka) as to_a, Wire(b.kafka) as to_b, SchemaWire(a.kafka) as kafka:
            assert to_a.fetch(topic, 0, 5)[0] == to_b.fetch(topic, 0, 5)[0] == wire.NONE
            keys = stack.store.keys()
            (answer,) = kafka.ask("DeleteRecords", 2, topics=[{"name": topic, "partitions": [{"partition_index": 0, "offset": -1}]}])["topics"]
            assert answer["partitions"][0]["low_watermark"] == 2000
            assert to_a.fetch(topic, 0, 5)[0] == wire.OFFSET_OUT_OF_RANGE
            wait_until(lambda: to_b.fetch(topic, 0, 5)[0] == wire.OFFSET_OUT_OF_RANGE, 5, "the notice at the other agent")
            assert log_start(to_b, topic) == 2000 and keys
        wait_until(lambda: stack.postgres.value("SELECT count(*) FROM streamhouse.segment") == 0, 20, "the segments' end")


def test_a_fetch_that_waits_below_is_woken_by_the_deletion(kafka, stack, topic):
    CONFLUENT.send(stack.kafka, topic, 2, plain(5))
    with Wire(stack.kafka) as hand:
        place = struct.pack(">iiqqi", 2, -1, 5, -1, 1000)
        hand.send(wire.FETCH, 10, struct.pack(">iiiibii", -1, 30_000, 1, 1000, 0, 0, -1) + wire.array([wire.string(topic) + wire.array([place])]) + wire.array([]))
        time.sleep(0.3)
        CONFLUENT.send(stack.kafka, topic, 2, plain(5))
        hand.receive()
    assert stack.postgres.value("SELECT sh_delete_records(:'topic', 2)", topic=topic) == 10


@every_version("ListOffsets")
def test_offsets_are_listed_in_all_their_forms(kafka, stack, topic, name, version):
    with Wire(stack.kafka) as hand:
        for value, timestamp in ((b"a", 1000), (b"b", 3000), (b"c", 2000)):
            hand.produce(topic, 0, wire.batch([value], timestamp=timestamp))
    kafka.ask("DeleteRecords", 2, topics=[{"name": topic, "partitions": [{"partition_index": 0, "offset": 1}]}])
    def ask(timestamp, isolation=0, **more):
        request = {"replica_id": -1, "topics": [{"name": topic, "partitions": [{"partition_index": 0, "timestamp": timestamp, **more}]}]}
        if version >= 2:
            request["isolation_level"] = isolation
        (answer,) = kafka.ask(name, version, **request)["topics"]
        (partition,) = answer["partitions"]
        return partition["error_code"], partition["offset"], partition["timestamp"]
    assert ask(-1) == ask(-1, isolation=1) == (NONE, 3, -1)
    assert ask(-2) == (NONE, 1, -1)
    if version >= 7:
        assert ask(-3) == (NONE, 1, 3000)
    assert ask(-4) == ((NONE, 1, -1) if version >= 8 else (35, -1, -1))
    assert ask(-5) == ((NONE, -1, -1) if version >= 9 else (35, -1, -1))
    assert ask(-6) == ((NONE, -1, -1) if version >= 11 else (35, -1, -1))
    assert ask(0) == (NONE, 1, 3000) and ask(3001) == (NONE, -1, -1)
    if version >= 4:
        assert ask(-1, current_leader_epoch=99)[0] == 75 and ask(-1, current_leader_epoch=0)[0] in (NONE, 74)


def test_offsets_of_thousands_of_partitions_take_one_query(kafka, stack, topic_name):
    stack.create_topic(topic_name, partitions=3000)
    queries = stack.agents[0].metric("streamhouse_brain_queries_total")
    partitions = [{"partition_index": number, "timestamp": timestamp} for timestamp in (-1, -2, 5) for number in range(3000)]
    (answer,) = kafka.ask("ListOffsets", 8, replica_id=-1, topics=[{"name": topic_name, "partitions": partitions}])["topics"]
    assert [partition["error_code"] for partition in answer["partitions"]] == [NONE] * 9000
    assert stack.agents[0].metric("streamhouse_brain_queries_total") - queries < 50


# ---- Leaders, sizes, producers

def test_the_ends_of_leader_epochs_are_told_for_thousands_of_partitions_at_once(kafka, stack, topic_name):
    stack.create_topic(topic_name, partitions=2000)
    CONFLUENT.send(stack.kafka, topic_name, 7, plain(5))
    (answer,) = kafka.ask("OffsetForLeaderEpoch", 4, topics=[{"topic": topic_name, "partitions": [
        {"partition": number, "leader_epoch": 0, "current_leader_epoch": -1} for number in range(2000)]}])["topics"]
    ends = {partition["partition"]: (partition["error_code"], partition["end_offset"]) for partition in answer["partitions"]}
    assert ends.pop(7) == (NONE, 5) and set(ends.values()) == {(NONE, 0)}


@every_version("ElectLeaders")
def test_an_election_that_is_not_needed_says_so(kafka, topic, name, version):
    answer = kafka.ask(name, version, topic_partitions=[{"topic": topic, "partitions": [0, 9]}, {"topic": "no-such-topic", "partitions": [0]}])
    (own, other) = answer["replica_election_results"]
    assert [result["error_code"] for result in own["partition_result"]] == [ELECTION_NOT_NEEDED, UNKNOWN_TOPIC]
    assert [result["error_code"] for result in other["partition_result"]] == [UNKNOWN_TOPIC]
    assert kafka.ask(name, version, topic_partitions=None)["replica_election_results"] == []
    if version >= 1:
        (refused,) = kafka.ask(name, version, election_type=1, topic_partitions=[{"topic": topic, "partitions": [0]}])["replica_election_results"]
        assert refused["partition_result"][0]["error_code"] == INVALID_REQUEST and "unclean" in refused["partition_result"][0]["error_message"]


def test_an_election_gives_a_leader_to_partitions_that_have_none(own_stack, topic_name):
    a, b = own_stack.start_agent("a", **QUICK), own_stack.start_agent("b", **QUICK)
    topic = own_stack.create_topic(topic_name, partitions=12)
    wait_until(lambda: set(own_stack.leaders(topic)) == {"a", "b"}, 20, "both leading")
    own_stack.postgres.run("""INSERT INTO streamhouse.job (name, agent_id, expires_at) VALUES ('leases', 1, now() + '1 min')
                              ON CONFLICT (name) DO UPDATE SET expires_at = excluded.expires_at; -- no heartbeat does it meanwhile
                              UPDATE streamhouse.lease SET agent_id = NULL WHERE partition % 3 = 0;""")
    with SchemaWire(b.kafka) as kafka:
        answer = kafka.ask("ElectLeaders", 2, election_type=0, topic_partitions=[{"topic": topic, "partitions": list(range(12))}])
    codes = [result["error_code"] for result in answer["replica_election_results"][0]["partition_result"]]
    assert codes == [NONE if number % 3 == 0 else ELECTION_NOT_NEEDED for number in range(12)]
    assert set(own_stack.leaders(topic)) == {"a", "b"}
    for number in range(12):
        CONFLUENT.send(own_stack.kafka, topic, number, plain(3, seed=number))


@every_version("DescribeLogDirs")
def test_there_is_one_log_directory_with_the_partitions_sizes(kafka, stack, topic, name, version):
    CONFLUENT.send(stack.kafka, topic, 1, plain(100))
    (result,) = kafka.ask(name, version, topics=None)["results"]
    assert result["error_code"] == NONE and stack.store.url.split("//")[1].split("/")[0] in result["log_dir"]
    sizes = {partition["partition_index"]: partition["partition_size"] for described in result["topics"] if described["name"] == topic
             for partition in described["partitions"]}
    assert sizes[0] == sizes[2] == 0 and sizes[1] == stack.postgres.value(
        "SELECT bytes FROM streamhouse.partitions WHERE topic = :'topic' AND partition = 1", topic=topic)
    (some,) = kafka.ask(name, version, topics=[{"topic": topic, "partitions": [1, 7]}, {"topic": "no-such-topic", "partitions": [0]}])["results"]
    assert [(described["name"], [partition["partition_index"] for partition in described["partitions"]]) for described in some["topics"]] == [(topic, [1])]


def test_the_producers_of_a_partition_are_described(kafka, stack, topic):
    with Wire(stack.kafka) as hand:
        producer, epoch = hand.init_producer()
        for sequence in (0, 1):
            assert hand.produce(topic, 0, wire.batch([b"x"], producer_id=producer, producer_epoch=epoch, sequence=sequence))[0] == wire.NONE
    (answer,) = kafka.ask("DescribeProducers", 0, topics=[{"name": topic, "partition_indexes": [0, 1, 9]}])["topics"]
    first, second, unknown = answer["partitions"]
    (active,) = first["active_producers"]
    assert (active["producer_id"], active["producer_epoch"], active["last_sequence"], active["current_txn_start_offset"]) == (producer, epoch, 1, -1)
    assert active["last_timestamp"] > 1_600_000_000_000
    assert (second["active_producers"], unknown["error_code"]) == ([], UNKNOWN_TOPIC)


@every_version("AlterPartitionReassignments")
def test_a_reassignment_is_refused_and_says_why(kafka, topic, name, version):
    (answer,) = kafka.ask(name, version, topics=[{"name": topic, "partitions": [
        {"partition_index": 0, "replicas": [1]}, {"partition_index": 1, "replicas": None}, {"partition_index": 9, "replicas": [1]}]}])["responses"]
    assert [partition["error_code"] for partition in answer["partitions"]] == [INVALID_ASSIGNMENT, NO_REASSIGNMENT, UNKNOWN_TOPIC]
    assert all(partition["error_message"] for partition in answer["partitions"])
    assert kafka.ask("ListPartitionReassignments", 0, topics=None)["topics"] == []


# ---- What others hold

def test_what_an_open_transaction_holds_is_not_waited_for(kafka, stack, topic):
    """Whoever asks is told to try again, in time; heartbeats, which share the line, go on."""
    holder = Session(stack.postgres)
    holder.run(f"BEGIN; SELECT sh_produce('{topic}', 'held', partition => 0); SELECT sh_alter_topic('{topic}', '{{}}'); SELECT sh_create_topic('{topic}-held');"
               " SELECT sh_alter_broker_config('{}');")
    try:
        began = time.monotonic()
        (deleted,) = kafka.ask("DeleteRecords", 2, topics=[{"name": topic, "partitions": [{"partition_index": number, "offset": -1} for number in (0, 1)]}])["topics"]
        assert [partition["error_code"] for partition in deleted["partitions"]] == [TIMED_OUT, NONE]
        assert alter(kafka, TOPIC, topic, ("retention.ms", SET, "5"))[0] == TIMED_OUT
        assert alter(kafka, BROKER, "", ("num.partitions", SET, "5"))[0] == TIMED_OUT
        wanted = [{"name": topic + suffix, "num_partitions": 1, "replication_factor": 1} for suffix in ("-held", "-late")]
        held, late = kafka.ask("CreateTopics", 7, timeout_ms=500, topics=wanted)["topics"]
        assert (held["error_code"], late["error_code"]) == (TIMED_OUT, TIMED_OUT) and "time was up" in late["error_message"]
        assert time.monotonic() - began < 12 and stack.agents[0].http("/ready")[0] == 200
    finally:
        holder.run("ROLLBACK;")
        holder.close()
    created = kafka.ask("CreateTopics", 7, timeout_ms=5000, topics=wanted)["topics"]
    assert [answer["error_code"] for answer in created] == [NONE, NONE]
