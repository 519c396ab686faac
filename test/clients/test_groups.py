"""Consumer groups of today's clients, by both protocols: members share a topic, come and go, and read every record once; clients of
different makers, and SQL, share one group."""
import pytest

from members import Feed, SqlMember, assert_read_once, await_shares, committed
from programs import JAVA, NAMES

PARTITIONS = 6
PROTOCOLS = {"confluent-kafka": ["range", "cooperative-sticky", "consumer"], "kafka-python": ["range", "cooperative-sticky"],
             "aiokafka": ["range"], "javascript": ["roundrobin"], "java 3.9.1": ["range", "consumer"],
             "java 4.2.0": ["range", "cooperative-sticky", "consumer"], "go": ["range", "cooperative-sticky"]}
MEMBERS = [(name, protocol) for name in NAMES for protocol in PROTOCOLS[name]]
STATIC = [("confluent-kafka", "range"), ("confluent-kafka", "consumer"), ("java 4.2.0", "range"), ("java 4.2.0", "consumer")]


@pytest.fixture
def wide(stack, topic_name):
    return stack.create_topic(topic_name, partitions=PARTITIONS)


@pytest.mark.parametrize("name, protocol", MEMBERS)
def test_members_come_and_go_and_read_every_record_once(stack, wide, join, name, protocol):
    feed = Feed(stack.kafka, wide, PARTITIONS)
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
    assert committed(stack.kafka, wide, wide, PARTITIONS) == feed.ends()


@pytest.mark.parametrize("name, protocol", STATIC)
def test_a_static_member_that_comes_back_moves_nobody(stack, wide, join, name, protocol):
    feed = Feed(stack.kafka, wide, PARTITIONS)
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
    feed = Feed(stack.kafka, wide, PARTITIONS)
    names = ["confluent-kafka", "kafka-python", "aiokafka", "java 4.2.0", "go"]
    members = [join(name, stack.kafka, wide, wide, "range") for name in names]
    await_shares(members, PARTITIONS)
    feed.send(600)
    assert_read_once(members, feed)
    assert all(member.received() for member in members)
    for member in members:
        member.leave()
    assert committed(stack.kafka, wide, wide, PARTITIONS) == feed.ends()


def test_java_and_librdkafka_share_a_group_of_the_new_protocol(stack, wide, join):
    feed = Feed(stack.kafka, wide, PARTITIONS)
    members = [join(name, stack.kafka, wide, wide, "consumer") for name in ("confluent-kafka", *JAVA)]
    await_shares(members, PARTITIONS)
    feed.send(600)
    assert_read_once(members, feed)
    assert all(member.received() for member in members)


@pytest.mark.sql
def test_java_librdkafka_and_sql_share_a_group(stack, wide, join):
    feed = Feed(stack.kafka, wide, PARTITIONS)
    members = [join(name, stack.kafka, wide, wide, "consumer") for name in ("confluent-kafka", "java 4.2.0")]
    await_shares(members, PARTITIONS)
    session = SqlMember(stack.postgres, wide, wide)
    try:
        members.append(session)
        await_shares(members, PARTITIONS)
        feed.send(600)
        assert_read_once(members, feed)
        assert all(member.received() for member in members)
        for member in members[:2]:
            member.leave()
        await_shares([session], PARTITIONS)
        feed.send()
        assert_read_once(members, feed)
        session.leave()
        assert committed(stack.kafka, wide, wide, PARTITIONS) == feed.ends()
    finally:
        session.kill()


@pytest.mark.parametrize("name", ["confluent-kafka", "java 4.2.0"])
def test_a_group_moves_to_the_new_protocol_and_back_while_it_reads(stack, wide, join, name):
    feed = Feed(stack.kafka, wide, PARTITIONS)
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
