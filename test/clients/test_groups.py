"""Consumer groups of today's clients, by both protocols: members share a topic, come and go, and read every record once; clients of
different makers, and SQL, share one group."""
import confluent_kafka
import pytest

from clients import open_consumer
from programs import JAVA, NAMES, await_shares
from stack import wait_until

PARTITIONS = 6
PROTOCOLS = {"confluent-kafka": ["range", "cooperative-sticky", "consumer"], "kafka-python": ["range", "cooperative-sticky"],
             "aiokafka": ["range"], "javascript": ["roundrobin"], "java 3.9.1": ["range", "consumer"],
             "java 4.2.0": ["range", "cooperative-sticky", "consumer"], "go": ["range", "cooperative-sticky"]}
MEMBERS = [(name, protocol) for name in NAMES for protocol in PROTOCOLS[name]]
STATIC = [("confluent-kafka", "range"), ("confluent-kafka", "consumer"), ("java 4.2.0", "range"), ("java 4.2.0", "consumer")]


class Feed:
    """Sends values that are all different, and knows what has to come out."""

    def __init__(self, kafka, topic):
        self.kafka, self.topic, self.sent = kafka, topic, 0

    def send(self, count=60):
        producer, failures = confluent_kafka.Producer({"bootstrap.servers": self.kafka, "enable.idempotence": True}), []
        for number in range(self.sent, self.sent + count):
            producer.produce(self.topic, b"%d" % number, partition=number % PARTITIONS,
                             on_delivery=lambda error, _message: error and failures.append(error))
        assert producer.flush(60) == 0 and not failures, failures
        self.sent += count

    def expected(self):
        """Partition and offset of each value: they go round the partitions."""
        return {(number % PARTITIONS, number // PARTITIONS, b"%d" % number) for number in range(self.sent)}


def gathered(members):
    return [record for member in members for record in member.received()]


def assert_read_once(members, feed):
    """Every record has come to some member, none twice, and to each member in the order of its partition."""
    try:
        wait_until(lambda: len(gathered(members)) >= feed.sent, 60)
    except AssertionError:
        raise AssertionError(f"{len(gathered(members))} of {feed.sent} records came: {members}") from None
    found = gathered(members)
    assert len(found) == len(set(found)), "a record came twice"
    assert set(found) == feed.expected()
    for member in members:
        for partition in range(PARTITIONS):
            offsets = [offset for number, offset, _ in member.received() if number == partition]
            assert offsets == sorted(offsets)


def committed(kafka, group, topic):
    """The group's offsets, as Debian's librdkafka sees them."""
    consumer = open_consumer(kafka, **{"group.id": group})
    try:
        places = [confluent_kafka.TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        return [place.offset for place in consumer.committed(places, timeout=30)]
    finally:
        consumer.close()


@pytest.fixture
def wide(stack, topic_name):
    return stack.create_topic(topic_name, partitions=PARTITIONS)


@pytest.mark.parametrize("name, protocol", MEMBERS)
def test_members_come_and_go_and_read_every_record_once(stack, wide, join, name, protocol):
    feed = Feed(stack.kafka, wide)
    first = join(name, stack.kafka, wide, wide, protocol)
    await_shares([first], PARTITIONS)
    feed.send()
    assert_read_once([first], feed)
    second = join(name, stack.kafka, wide, wide, protocol)
    await_shares([first, second], PARTITIONS)
    feed.send()
    assert_read_once([first, second], feed)
    assert len(second.received()) > 0
    first.leave()
    await_shares([second], PARTITIONS)
    feed.send()
    assert_read_once([first, second], feed)
    second.leave()
    assert committed(stack.kafka, wide, wide) == [feed.sent // PARTITIONS] * PARTITIONS


@pytest.mark.parametrize("name, protocol", STATIC)
def test_a_static_member_that_comes_back_moves_nobody(stack, wide, join, name, protocol):
    feed = Feed(stack.kafka, wide)
    one = join(name, stack.kafka, wide, wide, protocol, "one")
    two = join(name, stack.kafka, wide, wide, protocol, "two")
    await_shares([one, two], PARTITIONS)
    feed.send()
    assert_read_once([one, two], feed)
    had, changes = one.held(), len([text for text in two.lines if text.startswith("assigned")])
    one.leave()
    feed.send()
    again = join(name, stack.kafka, wide, wide, protocol, "one")
    await_shares([again, two], PARTITIONS)
    assert again.held() == had
    assert_read_once([one, two, again], feed)
    assert len([text for text in two.lines if text.startswith("assigned")]) == changes


def test_clients_of_five_makers_share_a_classic_group(stack, wide, join):
    feed = Feed(stack.kafka, wide)
    names = ["confluent-kafka", "kafka-python", "aiokafka", "java 4.2.0", "go"]
    members = [join(name, stack.kafka, wide, wide, "range") for name in names]
    await_shares(members, PARTITIONS)
    feed.send(600)
    assert_read_once(members, feed)
    assert all(member.received() for member in members)
    for member in members:
        member.leave()
    assert committed(stack.kafka, wide, wide) == [feed.sent // PARTITIONS] * PARTITIONS


def test_java_and_librdkafka_share_a_group_of_the_new_protocol(stack, wide, join):
    feed = Feed(stack.kafka, wide)
    members = [join(name, stack.kafka, wide, wide, "consumer") for name in ("confluent-kafka", *JAVA)]
    await_shares(members, PARTITIONS)
    feed.send(600)
    assert_read_once(members, feed)
    assert all(member.received() for member in members)


@pytest.mark.parametrize("name", ["confluent-kafka", "java 4.2.0"])
def test_a_group_moves_to_the_new_protocol_and_back_while_it_reads(stack, wide, join, name):
    feed = Feed(stack.kafka, wide)
    old = join(name, stack.kafka, wide, wide, "cooperative-sticky")
    await_shares([old], PARTITIONS)
    feed.send()
    assert_read_once([old], feed)
    new = join(name, stack.kafka, wide, wide, "consumer")
    await_shares([old, new], PARTITIONS)
    feed.send()
    assert_read_once([old, new], feed)
    old.leave()
    await_shares([new], PARTITIONS)
    back = join(name, stack.kafka, wide, wide, "cooperative-sticky")
    await_shares([new, back], PARTITIONS)
    feed.send()
    assert_read_once([old, new, back], feed)
    new.leave()
    await_shares([back], PARTITIONS)
    feed.send()
    assert_read_once([old, new, back], feed)
