"""Topics through ordinary admin clients, and the same topics in SQL."""
import time

import kafka as kafka_python
import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic
from kafka.admin import ConfigResource as PythonConfigResource
from kafka.admin import ConfigResourceType

from clients import CONFLUENT, KCAT
from records import plain
from stack import wait_until

pytestmark = pytest.mark.any_store

@pytest.fixture
def admin(stack):
    return AdminClient({"bootstrap.servers": stack.kafka})


def outcome(futures):
    (future,) = futures.values()
    return future.result(30)


def error_of(futures):
    with pytest.raises(KafkaException) as raised:
        outcome(futures)
    return raised.value.args[0].code()


def partitions_of(admin, topic):
    """How many partitions clients are told of; None when there is no such topic."""
    found = admin.list_topics(timeout=30).topics.get(topic)
    return len(found.partitions) if found and not found.error else None


def configs_of(admin, topic):
    described = outcome(admin.describe_configs([ConfigResource("topic", topic)]))
    return {name: entry for name, entry in described.items()}


def test_a_created_topic_can_be_used_at_once(stack, admin, topic_name):
    outcome(admin.create_topics([NewTopic(topic_name, 5, 1)]))
    assert partitions_of(admin, topic_name) == 5
    sent = plain(10)
    CONFLUENT.send(stack.kafka, topic_name, 4, sent)
    assert [record for _, record in CONFLUENT.receive(stack.kafka, topic_name, 4)] == sent


def test_every_partition_has_a_leader_that_is_listed(admin, topic):
    metadata = admin.list_topics(timeout=30)
    assert metadata.brokers
    for partition in metadata.topics[topic].partitions.values():
        assert partition.leader in metadata.brokers
        assert partition.error is None


@pytest.mark.parametrize("name, code", [
    ("no spaces", KafkaError.TOPIC_EXCEPTION), ("", KafkaError.TOPIC_EXCEPTION), (".", KafkaError.TOPIC_EXCEPTION),
    ("..", KafkaError.TOPIC_EXCEPTION), ("x" * 250, KafkaError.TOPIC_EXCEPTION), ("ünicode", KafkaError.TOPIC_EXCEPTION)])
def test_a_name_that_is_none_is_refused(stack, name, code):
    admin = kafka_python.KafkaAdminClient(bootstrap_servers=stack.kafka)
    with pytest.raises(kafka_python.errors.InvalidTopicError):
        admin.create_topics([kafka_python.admin.NewTopic(name, 1, 1)])
    admin.close()


def test_a_topic_that_exists_is_not_created_again(admin, topic):
    assert error_of(admin.create_topics([NewTopic(topic, 1, 1)])) == KafkaError.TOPIC_ALREADY_EXISTS
    assert partitions_of(admin, topic) == 3


def test_a_config_that_is_unknown_or_out_of_range_is_refused(admin, topic_name):
    for config in ({"no.such.config": "1"}, {"retention.ms": "soon"}, {"cleanup.policy": "burn"}):
        assert error_of(admin.create_topics([NewTopic(topic_name, 1, 1, config=config)])) == KafkaError.INVALID_CONFIG
    assert partitions_of(admin, topic_name) is None


def test_no_partitions_are_refused(stack, topic_name):
    admin = kafka_python.KafkaAdminClient(bootstrap_servers=stack.kafka)
    with pytest.raises(kafka_python.errors.InvalidPartitionsError):
        admin.create_topics([kafka_python.admin.NewTopic(topic_name, 0, 1)])
    admin.close()


def test_validate_only_creates_nothing(admin, topic_name):
    outcome(admin.create_topics([NewTopic(topic_name, 2, 1)], validate_only=True))
    assert partitions_of(admin, topic_name) is None


def test_a_deleted_topic_is_gone_and_its_name_is_free(stack, admin, topic):
    CONFLUENT.send(stack.kafka, topic, 0, plain(100))
    outcome(admin.delete_topics([topic]))
    wait_until(lambda: partitions_of(admin, topic) is None, what="the topic's disappearance")
    time.sleep(1.5)  # Kafka itself refuses the name for a moment
    outcome(admin.create_topics([NewTopic(topic, 2, 1)]))
    assert partitions_of(admin, topic) == 2
    sent = plain(3, seed=2)
    CONFLUENT.send(stack.kafka, topic, 0, sent)
    assert CONFLUENT.receive(stack.kafka, topic, 0) == list(enumerate(sent)), "the new topic begins with the old one's records"


def test_a_topic_that_is_not_there_cannot_be_deleted(admin, topic_name):
    assert error_of(admin.delete_topics([topic_name])) == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_partitions_are_added_and_the_old_ones_keep_their_records(stack, admin, topic):
    sent = plain(50)
    CONFLUENT.send(stack.kafka, topic, 2, sent)
    outcome(admin.create_partitions([NewPartitions(topic, 7)]))
    wait_until(lambda: partitions_of(admin, topic) == 7, what="seven partitions")
    CONFLUENT.send(stack.kafka, topic, 6, sent)
    for partition in (2, 6):
        assert [record for _, record in CONFLUENT.receive(stack.kafka, topic, partition)] == sent


def test_partitions_cannot_be_taken_away(admin, topic):
    assert error_of(admin.create_partitions([NewPartitions(topic, 2)])) == KafkaError.INVALID_PARTITIONS
    assert partitions_of(admin, topic) == 3


def test_configs_are_described_with_their_defaults(stack, admin, topic_name):
    stack.create_topic(topic_name, retention_ms=12345678)
    configs = configs_of(admin, topic_name)
    assert configs["retention.ms"].value == "12345678" and not configs["retention.ms"].is_default
    assert configs["max.message.bytes"].value == "1048588" and configs["max.message.bytes"].is_default
    assert configs["cleanup.policy"].value == "delete" and configs["cleanup.policy"].is_default
    assert configs["message.timestamp.type"].value == "CreateTime"
    assert len(configs) >= 20


def test_one_config_can_be_asked_for(stack, topic):
    admin = kafka_python.KafkaAdminClient(bootstrap_servers=stack.kafka)
    wanted = PythonConfigResource(ConfigResourceType.TOPIC, topic, configs={"retention.ms": None})
    (response,) = admin.describe_configs([wanted])
    admin.close()
    (resource,) = response.resources
    assert resource[0] == 0 and [entry[0] for entry in resource[4]] == ["retention.ms"]


def test_configs_of_an_unknown_topic_are_an_error(admin, topic_name):
    assert error_of(admin.describe_configs([ConfigResource("topic", topic_name)])) == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_an_unknown_topic_is_created_for_a_producer(stack, topic_name):
    KCAT.run(["-P", "-b", stack.kafka, "-t", topic_name], b"hello\n")
    assert [record.value for _, record in CONFLUENT.receive(stack.kafka, topic_name, 0)] == [b"hello"]


@pytest.mark.sql
def test_an_unknown_topic_is_an_error_when_creation_is_off(own_stack, topic_name):
    agent = own_stack.start_agent(auto_create_topics="off")
    errors = []
    producer = Producer({"bootstrap.servers": agent.kafka, "topic.metadata.propagation.max.ms": 100, "message.timeout.ms": 10_000})
    producer.produce(topic_name, b"nobody will read this", on_delivery=lambda error, _message: errors.append(error))
    producer.flush(20)
    assert errors[0].code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC)
    assert own_stack.postgres.value("SELECT count(*) FROM streamhouse.topic") == 0


def test_the_cluster_describes_itself(stack):
    admin = kafka_python.KafkaAdminClient(bootstrap_servers=stack.kafka)
    cluster = admin.describe_cluster()
    admin.close()
    assert cluster["cluster_id"] and cluster["brokers"]
    assert cluster["controller_id"] in [broker["node_id"] for broker in cluster["brokers"]]


@pytest.mark.sql
def test_what_admin_clients_make_sql_shows_and_the_other_way_round(stack, admin, topic_name):
    outcome(admin.create_topics([NewTopic(topic_name, 4, 1, config={"retention.ms": "1000000"})]))
    (described,) = stack.postgres.rows(
        "SELECT partitions, config->>'retention.ms' AS retention FROM streamhouse.topic WHERE name = :'topic'", topic=topic_name)
    assert described["partitions"] == 4 and str(described["retention"]) == "1000000"

    stack.postgres.run("SELECT sh_add_partitions(:'topic', 6);", topic=topic_name)
    wait_until(lambda: partitions_of(admin, topic_name) == 6, what="clients seeing six partitions")
    stack.postgres.run("""SELECT sh_alter_topic(:'topic', '{"max.message.bytes": "2000"}');""", topic=topic_name)
    wait_until(lambda: configs_of(admin, topic_name)["max.message.bytes"].value == "2000", what="clients seeing the config")
    stack.postgres.run("SELECT sh_delete_topic(:'topic');", topic=topic_name)
    wait_until(lambda: partitions_of(admin, topic_name) is None, what="clients seeing it gone")


@pytest.mark.sql
def test_views_show_watermarks_sizes_and_leaders(stack, topic):
    CONFLUENT.send(stack.kafka, topic, 1, plain(123))
    rows = stack.postgres.rows("SELECT * FROM streamhouse.partitions WHERE topic = :'topic' ORDER BY partition", topic=topic)
    assert len(rows) == 3
    marks = [[value for name, value in row.items() if "high_watermark" in name or name == "high"] for row in rows]
    assert marks == [[0], [123], [0]]
    (agent,) = stack.postgres.rows("SELECT * FROM streamhouse.agents")
    assert stack.agents[0].name in agent.values()
    assert stack.postgres.rows("SELECT * FROM streamhouse.objects LIMIT 1")
    assert stack.postgres.rows("SELECT * FROM sh_describe_topic(:'topic')", topic=topic)
