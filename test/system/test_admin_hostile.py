"""Kafka's admin APIs, asked by who means no good: bodies that are none, thousands of names of any kind."""
import pytest

from schema_wire import APIS, SchemaWire
from test_admin_api import NONE, TOPIC, UNKNOWN_TOPIC, kafka, nothing_is_left, versions  # noqa: F401 (the fixtures, too)
from wire import Wire

pytestmark = [pytest.mark.any_store, pytest.mark.sql]

HOSTILE = ["AlterConfigs", "IncrementalAlterConfigs", "DescribeConfigs", "ListConfigResources", "DescribeTopicPartitions", "DescribeCluster", "DescribeLogDirs",
           "DescribeProducers", "ElectLeaders", "AlterPartitionReassignments", "ListPartitionReassignments", "DeleteRecords", "CreateTopics", "DeleteTopics",
           "CreatePartitions"]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("body", [b"", b"\xff" * 40, b"\x7f\xff\xff\xff" * 10, b"\x00" * 3, b"\xff\xff\xff\xff\x0f" * 8, b"\x01" * 64], ids=repr)
def test_a_body_that_is_none_closes_its_connection_and_nothing_else(stack, name, body):
    for version in versions(name):
        with Wire(stack.kafka) as hand:
            hand.send(APIS[name].key, version, body)
            hand.socket.settimeout(20)
            hand.is_closed()  # or it is answered: a few of these are bodies of some version
    with SchemaWire(stack.kafka) as kafka:
        assert kafka.ask("DescribeCluster", 0)["error_code"] == NONE


def test_thousands_of_resources_and_names_of_any_kind_are_answered_one_by_one(kafka, topic):
    resources = [{"resource_type": TOPIC, "resource_name": name, "configs": []} for name in ["x" * 30_000, "", "a\tb", "'; DROP TABLE x; --", topic]]
    answers = kafka.ask("IncrementalAlterConfigs", 1, resources=resources)["responses"]
    assert [answer["error_code"] for answer in answers] == [UNKNOWN_TOPIC] * 4 + [NONE]
    partitions = [{"partition_index": number, "offset": -1} for number in range(-5, 3000)]
    (answer,) = kafka.ask("DeleteRecords", 2, topics=[{"name": topic, "partitions": partitions}])["topics"]
    assert sum(partition["error_code"] == NONE for partition in answer["partitions"]) == 3
