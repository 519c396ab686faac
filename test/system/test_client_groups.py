"""Consumer groups of Debian's clients: kcat -G, confluent-kafka and kafka-python come and go, share partitions, die, and start again
where their group had committed."""
import pytest

from members import ConfluentMember, Feed, KafkaPythonMember, KcatMember, assert_read_once, await_committed, await_shares

pytestmark = [pytest.mark.any_store, pytest.mark.anywhere]

PARTITIONS = 4
SHORT_SESSION = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 1000}
CASES = {
    "kcat-range": (KcatMember, {"partition.assignment.strategy": "range"}),
    "kcat-roundrobin": (KcatMember, {"partition.assignment.strategy": "roundrobin"}),
    "confluent-kafka-range": (ConfluentMember, {"partition.assignment.strategy": "range"}),
    "confluent-kafka-cooperative-sticky": (ConfluentMember, {"partition.assignment.strategy": "cooperative-sticky"}),
    "kafka-python": (KafkaPythonMember, {}),
}


@pytest.fixture
def wide(stack, topic_name):
    return stack.create_topic(topic_name, partitions=PARTITIONS)


@pytest.fixture
def join(stack, wide):
    """Starts members of the group that is named as the topic, and ends those that are left over."""
    members = []

    def start(kind, **config):
        members.append(kind(stack.kafka, wide, wide, **config))
        return members[-1]
    yield start
    for member in members:
        member.kill()


@pytest.mark.parametrize("case", CASES)
def test_two_members_share_a_topic_and_one_goes_on_alone(stack, wide, join, case):
    kind, config = CASES[case]
    feed = Feed(stack.kafka, wide, PARTITIONS)
    first = join(kind, **config)
    await_shares([first], PARTITIONS)
    feed.send()
    assert_read_once([first], feed)
    await_committed(stack.kafka, wide, feed)
    second = join(kind, **config)
    await_shares([first, second], PARTITIONS)
    feed.send()
    assert_read_once([first, second], feed)
    await_committed(stack.kafka, wide, feed)
    first.leave()
    await_shares([second], PARTITIONS)
    feed.send()
    assert_read_once([first, second], feed)
    second.leave()
    await_committed(stack.kafka, wide, feed)


def test_a_group_starts_where_it_had_committed_with_another_client(stack, wide, join):
    feed = Feed(stack.kafka, wide, PARTITIONS)
    members = []
    for kind in (KcatMember, ConfluentMember, KafkaPythonMember):
        feed.send()
        members.append(join(kind))
        assert_read_once(members, feed)
        members[-1].leave()
        await_committed(stack.kafka, wide, feed)


def test_all_three_share_a_group(stack, wide, join):
    feed = Feed(stack.kafka, wide, PARTITIONS)
    members = [join(kind) for kind in (KcatMember, ConfluentMember, KafkaPythonMember)]
    await_shares(members, PARTITIONS)
    feed.send()
    assert_read_once(members, feed)
    assert all(member.received() for member in members)


def test_a_dead_members_partitions_go_to_the_living_when_its_session_ends(stack, wide, join):
    feed = Feed(stack.kafka, wide, PARTITIONS)
    mortal, survivor = join(KcatMember, **SHORT_SESSION), join(KcatMember, **SHORT_SESSION)
    await_shares([mortal, survivor], PARTITIONS)
    feed.send()
    assert_read_once([mortal, survivor], feed)
    await_committed(stack.kafka, wide, feed)
    mortal.kill()
    feed.send()
    await_shares([survivor], PARTITIONS, timeout=30)
    assert_read_once([mortal, survivor], feed)
