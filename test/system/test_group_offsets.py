"""test_group_offsets.py: committed offsets and groups as administrators see them, in every version of every API, and what no client
would send."""
import struct
import time

import pytest

from conftest import OUTSIDER
from schema_wire import APIS, SchemaWire
from sql_session import Session
from wire import Wire, array, string

NONE, UNKNOWN_TOPIC, METADATA_TOO_LARGE, LOAD_IN_PROGRESS, NOT_COORDINATOR = 0, 3, 12, 14, 16
ILLEGAL_GENERATION, INVALID_GROUP_ID, UNKNOWN_MEMBER, REBALANCE_IN_PROGRESS, UNSUPPORTED_VERSION = 22, 24, 25, 27, 35
INVALID_REQUEST, NON_EMPTY_GROUP, GROUP_NOT_FOUND, FENCED_INSTANCE = 42, 68, 69, 82
SUBSCRIBED_TO_TOPIC, UNKNOWN_TOPIC_ID, STALE_EPOCH = 86, 100, 113

NO_TOPIC = "00000000-0000-0000-0000-0000000000ff"

pytestmark = [pytest.mark.any_store, pytest.mark.skipif(bool(OUTSIDER), reason="looks into the brain")]


def versions(name):
    first, last = APIS[name].offered
    return range(first, last + 1)


def each(*names):
    return pytest.mark.parametrize("name, version", [(name, version) for name in names for version in versions(name)])


@pytest.fixture
def kafka(stack):
    with SchemaWire(stack.kafka) as connection:
        yield connection


@pytest.fixture
def topic_id(stack, topic):
    return stack.postgres.value("SELECT topic_uuid::text FROM streamhouse.topic WHERE name = :'topic'", topic=topic)


@pytest.fixture
def group(topic_name):
    return f"group-of-{topic_name}"


def named(version, since, topic, topic_id):
    return {"topic_id": topic_id} if version >= since else {"name": topic}


def commit(kafka, version, group, topic, offsets, topic_id=None, metadata="", epoch=-1, member="", instance=None, leader_epoch=-1):
    """{partition: error} of an OffsetCommit of {partition: offset}."""
    partitions = [{"partition_index": partition, "committed_offset": offset, "committed_metadata": metadata,
                   **({"committed_leader_epoch": leader_epoch} if version >= 6 else {})} for partition, offset in offsets.items()]
    request = {"group_id": group, "generation_id_or_member_epoch": epoch, "member_id": member,
               "topics": [{**named(version, 10, topic, topic_id), "partitions": partitions}]}
    if version >= 7:
        request["group_instance_id"] = instance
    answer = kafka.ask("OffsetCommit", version, **request)
    assert len(answer["topics"]) == 1
    assert answer["topics"][0].get("name" if version < 10 else "topic_id") == (topic if version < 10 else topic_id)
    return {p["partition_index"]: p["error_code"] for p in answer["topics"][0]["partitions"]}


def fetch(kafka, version, group, topic=None, partitions=None, topic_id=None, member=None, epoch=-1):
    """(error of the group, {(topic, partition): (offset, leader epoch, metadata, error)}); topic None: all."""
    topics = None if topic is None else [{**named(version, 10, topic, topic_id), "partition_indexes": partitions}]
    if version < 8:
        answer = kafka.ask("OffsetFetch", version, group_id=group, topics=topics)
    else:
        asked = {"group_id": group, "topics": topics, **({"member_id": member, "member_epoch": epoch} if version >= 9 else {})}
        answer = kafka.ask("OffsetFetch", version, groups=[asked], require_stable=True)["groups"][0]
        assert answer["group_id"] == group
    return answer.get("error_code", NONE), {
        (t.get("topic_id", t.get("name")), p["partition_index"]): (p["committed_offset"], p.get("committed_leader_epoch"), p["metadata"], p["error_code"])
        for t in answer["topics"] for p in t["partitions"]}


def subscription(*topics):
    return struct.pack(">h", 0) + array([string(topic) for topic in topics]) + struct.pack(">i", -1)


def assignment(topic, *partitions):
    return struct.pack(">h", 1) + array([string(topic) + array([struct.pack(">i", p) for p in partitions])]) + struct.pack(">i", -1)


def make_classic(stack, group, topic, generation=5, protocol_type="consumer", instance=None, members=("one", "two")):
    """A classic group as its coordinator leaves it in the brain: in a generation that was assigned."""
    stack.postgres.run("""INSERT INTO streamhouse.consumer_group (name, group_type, protocol_type, protocol_name, leader_member, group_epoch, version, role, emptied_at)
                          VALUES (:'group', 'classic', :'type', 'range', :'leader', :generation, 1, 'agent', NULL)""",
                       group=group, type=protocol_type, leader=members[0], generation=generation)
    for number, member in enumerate(members):
        stack.postgres.run("""INSERT INTO streamhouse.classic_member
                              SELECT group_id, :'member', nullif(:'instance', ''), 'app', '/127.0.0.1', 10000, 60000, '{roundrobin,range}',
                                     ARRAY['\\x00'::bytea, decode(:'metadata', 'hex')], decode(:'assignment', 'hex')
                              FROM streamhouse.consumer_group WHERE name = :'group'""",
                           group=group, member=member, instance=instance if number == 0 and instance else "",
                           metadata=subscription(topic).hex(), assignment=assignment(topic, number).hex())


def join(stack, group, topic, member="kafka"):
    """A member of a KIP-848 group, and its epoch."""
    return stack.postgres.value("""SELECT member_epoch FROM sh_group_heartbeat(:'group', :'member', 0, rebalance_timeout_ms => 60000,
                                   subscribed_topics => ARRAY[:'topic'], owned_topic_ids => '{}', owned_partitions => '{}')""",
                                group=group, member=member, topic=topic)


@pytest.mark.parametrize("version", versions("OffsetCommit"))
def test_offsets_come_back_as_they_were_committed_in_every_version(kafka, topic, topic_id, group, version):
    committed = commit(kafka, version, group, topic, {0: 17, 2: 2**40, 3: 1, -1: 1}, topic_id, metadata="é ✓", leader_epoch=7)
    assert committed == {0: NONE, 2: NONE, 3: UNKNOWN_TOPIC, -1: UNKNOWN_TOPIC}
    epoch = 7 if version >= 6 else -1
    assert fetch(kafka, 10, group, topic, [0, 1, 2], topic_id) == (NONE, {
        (topic_id, 0): (17, epoch, "é ✓", NONE), (topic_id, 1): (-1, -1, "", NONE), (topic_id, 2): (2**40, epoch, "é ✓", NONE)})


@pytest.mark.parametrize("version", versions("OffsetFetch"))
def test_offsets_are_fetched_in_every_version(kafka, topic, topic_id, group, version):
    commit(kafka, 9, group, topic, {0: 17, 2: 4}, metadata="m", leader_epoch=3)
    key = topic_id if version >= 10 else topic
    epoch = 3 if version >= 5 else None
    none = -1 if version >= 5 else None
    assert fetch(kafka, version, group, topic, [2, 1, 77], topic_id) == (NONE, {
        (key, 2): (4, epoch, "m", NONE), (key, 1): (-1, none, "", NONE), (key, 77): (-1, none, "", NONE)})
    if version >= 2:
        assert fetch(kafka, version, group) == (NONE, {(key, 0): (17, epoch, "m", NONE), (key, 2): (4, epoch, "m", NONE)})
        assert fetch(kafka, version, group + "-none") == (NONE, {})
    assert fetch(kafka, version, group + "-none", topic, [0], topic_id) == (NONE, {(key, 0): (-1, none, "", NONE)})


def test_null_metadata_is_empty_metadata(kafka, topic, group):
    assert commit(kafka, 8, group, topic, {0: 1}, metadata=None) == {0: NONE}
    assert fetch(kafka, 8, group, topic, [0])[1][topic, 0][2] == ""


def test_several_groups_are_fetched_at_once(kafka, topic, group):
    for number in range(3):
        commit(kafka, 9, f"{group}-{number}", topic, {number: 100 + number})
    asked = [{"group_id": f"{group}-{number}", "topics": None if number == 1 else [{"name": topic, "partition_indexes": [0, 1, 2]}]} for number in range(4)]
    answer = kafka.ask("OffsetFetch", 8, groups=asked)["groups"]
    assert [g["group_id"] for g in answer] == [g["group_id"] for g in asked]
    offsets = [[p["committed_offset"] for t in g["topics"] for p in t["partitions"]] for g in answer]
    assert offsets == [[100, -1, -1], [101], [-1, -1, 102], [-1, -1, -1]]


def test_an_unknown_topic_is_said_by_name_and_by_id(kafka, topic, topic_id, group):
    assert commit(kafka, 9, group, topic + "-none", {0: 1}) == {0: UNKNOWN_TOPIC}
    assert commit(kafka, 10, group, topic, {0: 1}, NO_TOPIC) == {0: UNKNOWN_TOPIC_ID}
    assert fetch(kafka, 9, group, topic + "-none", [0])[1] == {(topic + "-none", 0): (-1, -1, "", NONE)}
    assert fetch(kafka, 10, group, topic, [0], NO_TOPIC)[1] == {(NO_TOPIC, 0): (-1, -1, "", UNKNOWN_TOPIC_ID)}


def test_a_topic_that_the_agent_has_not_heard_of_yet_is_looked_up(stack, kafka, topic_name, group):
    """By its id, which nobody has asked this agent for before."""
    topic_id = stack.postgres.value("SELECT (sh_create_topic(:'name', 1)).topic_uuid::text", name=topic_name)
    assert commit(kafka, 10, group, topic_name, {0: 5}, topic_id) == {0: NONE}


def test_too_much_metadata_is_refused_for_its_partition_alone(kafka, topic, group):
    answer = kafka.ask("OffsetCommit", 9, group_id=group, topics=[{"name": topic, "partitions": [
        {"partition_index": 0, "committed_offset": 1, "committed_metadata": "x" * 4097},
        {"partition_index": 1, "committed_offset": 1, "committed_metadata": "x" * 4096}]}])
    assert [p["error_code"] for p in answer["topics"][0]["partitions"]] == [METADATA_TOO_LARGE, NONE]
    assert fetch(kafka, 9, group)[1] == {(topic, 1): (1, -1, "x" * 4096, NONE)}


@pytest.mark.parametrize("version", versions("OffsetCommit"))
def test_a_generation_without_a_group_is_told_so_in_the_version_s_words(kafka, topic, topic_id, group, version):
    expected = GROUP_NOT_FOUND if version >= 9 else ILLEGAL_GENERATION
    assert commit(kafka, version, group, topic, {0: 1}, topic_id, epoch=3, member="one") == {0: expected}


@pytest.mark.parametrize("version", versions("OffsetCommit"))
def test_members_of_a_classic_group_commit_in_their_generation(stack, kafka, topic, topic_id, group, version):
    make_classic(stack, group, topic, generation=5, instance="static")
    def told(epoch, member, instance=None):
        return commit(kafka, version, group, topic, {0: 10 + epoch}, topic_id, epoch=epoch, member=member, instance=instance)[0]
    assert told(5, "two") == NONE
    assert told(4, "two") == ILLEGAL_GENERATION
    assert told(6, "two") == REBALANCE_IN_PROGRESS
    assert told(6, "not-stored-yet") == REBALANCE_IN_PROGRESS
    assert told(5, "three") == UNKNOWN_MEMBER
    assert told(-1, "") == UNKNOWN_MEMBER
    assert told(-1, "two") == ILLEGAL_GENERATION
    if version >= 7:
        assert told(5, "one", "static") == NONE
        assert told(5, "two", "static") == FENCED_INSTANCE
        assert told(5, "one", "other") == UNKNOWN_MEMBER
    assert fetch(kafka, 9, group)[1] == {(topic, 0): (15, -1, "", NONE)}


@pytest.mark.parametrize("version", versions("OffsetCommit"))
def test_members_of_a_consumer_group_commit_in_their_epoch(stack, kafka, topic, topic_id, group, version):
    epoch = join(stack, group, topic)
    def told(epoch, member):
        return commit(kafka, version, group, topic, {0: 9}, topic_id, epoch=epoch, member=member)[0]
    assert told(epoch, "kafka") == (NONE if version >= 9 else UNSUPPORTED_VERSION)
    assert told(epoch + 1, "kafka") == (STALE_EPOCH if version >= 9 else UNSUPPORTED_VERSION)
    assert told(epoch, "other") == UNKNOWN_MEMBER
    assert told(-1, "") == UNKNOWN_MEMBER
    assert fetch(kafka, 9, group, topic, [0], member="kafka", epoch=epoch)[0] == NONE
    assert fetch(kafka, 9, group, topic, [0], member="kafka", epoch=epoch + 1)[0] == STALE_EPOCH
    assert fetch(kafka, 9, group, topic, [0], member="other", epoch=epoch)[0] == UNKNOWN_MEMBER
    assert fetch(kafka, 8, group, topic, [0])[0] == NONE


def test_another_live_agent_s_group_is_sent_there(stack, kafka, topic, group):
    commit(kafka, 9, group, topic, {0: 1})
    stack.postgres.run("""INSERT INTO streamhouse.agent (name, incarnation, kafka_host, kafka_port, started_at, heartbeat_at, expires_at)
                          VALUES ('elsewhere', gen_random_uuid(), 'h', 1, now(), now(), now() + interval '1 hour');
                          UPDATE streamhouse.consumer_group SET coordinator_id = (SELECT agent_id FROM streamhouse.agent WHERE name = 'elsewhere')
                          WHERE name = :'group'""", group=group)
    try:
        assert commit(kafka, 9, group, topic, {0: 2}) == {0: NOT_COORDINATOR}
        for version in versions("OffsetFetch"):
            error, offsets = fetch(kafka, min(version, 9), group, topic, [0])
            assert (error, offsets) == (NOT_COORDINATOR, {}) if version >= 2 else offsets[topic, 0][3] == NOT_COORDINATOR
        assert kafka.ask("DescribeGroups", 5, groups=[group])["groups"][0]["error_code"] == NOT_COORDINATOR
        assert kafka.ask("DeleteGroups", 2, groups_names=[group])["results"][0]["error_code"] == NOT_COORDINATOR
        assert kafka.ask("OffsetDelete", 0, group_id=group, topics=[])["error_code"] == NOT_COORDINATOR
        assert group not in [g["group_id"] for g in kafka.ask("ListGroups", 5)["groups"]]
    finally:
        stack.postgres.run("DELETE FROM streamhouse.agent WHERE name = 'elsewhere'")
    assert commit(kafka, 9, group, topic, {0: 2}) == {0: NONE}, "whoever is dead coordinates nothing"
    assert group in [g["group_id"] for g in kafka.ask("ListGroups", 5)["groups"]]


@pytest.mark.parametrize("version", versions("DescribeGroups"))
def test_a_classic_group_is_described_with_what_its_members_said(stack, kafka, topic, group, version):
    make_classic(stack, group, topic, instance="static")
    described = kafka.ask("DescribeGroups", version, groups=[group], **({"include_authorized_operations": True} if version >= 3 else {}))["groups"]
    assert len(described) == 1
    members = described[0].pop("members")
    expected = {"error_code": NONE, "group_id": group, "group_state": "Stable", "protocol_type": "consumer", "protocol_data": "range"}
    if version >= 3:
        expected["authorized_operations"] = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11
    if version >= 6:
        expected["error_message"] = None
    assert described[0] == expected
    assert [m["member_id"] for m in members] == ["one", "two"]
    assert members[1] == {"member_id": "two", "client_id": "app", "client_host": "/127.0.0.1", "member_metadata": subscription(topic),
                          "member_assignment": assignment(topic, 1), **({"group_instance_id": None} if version >= 4 else {})}
    if version >= 4:
        assert members[0]["group_instance_id"] == "static"


@pytest.mark.parametrize("version", versions("DescribeGroups"))
def test_what_is_no_classic_group_is_dead_or_not_found(stack, kafka, topic, group, version):
    join(stack, group, topic)
    described = kafka.ask("DescribeGroups", version, groups=[group, group + "-none", "\0"])["groups"]
    error = GROUP_NOT_FOUND if version >= 6 else NONE
    assert [(g["group_id"], g["group_state"], g["error_code"]) for g in described] == [
        (group, "Dead", error), (group + "-none", "Dead", error), ("\0", "", INVALID_GROUP_ID)]
    if version >= 6:
        assert described[0]["error_message"] == f"Group {group} is not a classic group."
        assert described[1]["error_message"] == f"Group {group}-none not found."


def test_many_groups_are_described_in_one_request(kafka, topic, group):
    names = [f"{group}-{number}" for number in range(50)]
    for name in names[::2]:
        commit(kafka, 9, name, topic, {0: 1})
    described = kafka.ask("DescribeGroups", 5, groups=names)["groups"]
    assert [g["group_id"] for g in described] == names
    assert [g["group_state"] for g in described] == ["Empty", "Dead"] * 25


@pytest.mark.parametrize("version", versions("ListGroups"))
def test_groups_are_listed_by_state_and_type(stack, kafka, topic, group, version):
    simple, classic, modern = f"{group}-simple", f"{group}-classic", f"{group}-modern"
    commit(kafka, 9, simple, topic, {0: 1})
    make_classic(stack, classic, topic)
    join(stack, modern, topic)

    def listed(**filters):
        answer = kafka.ask("ListGroups", version, **filters)
        assert answer["error_code"] == NONE
        return {g["group_id"]: (g["protocol_type"], g.get("group_state"), g.get("group_type")) for g in answer["groups"] if g["group_id"].startswith(group)}

    def shown(protocol, state, kind):
        return protocol, state if version >= 4 else None, kind if version >= 5 else None

    assert listed() == {simple: shown("", "Empty", "classic"), classic: shown("consumer", "Stable", "classic"),
                        modern: shown("consumer", "Stable", "consumer")}
    if version >= 4:
        assert set(listed(states_filter=["empty", "Stable"])) >= {simple, classic}
        assert set(listed(states_filter=["EMPTY"])) == {simple}
        assert set(listed(states_filter=["nonsense"])) == set()
    if version >= 5:
        assert set(listed(types_filter=["Classic"])) == {simple, classic}
        assert set(listed(types_filter=["consumer"])) == {modern}
        assert set(listed(types_filter=["share", "\0"])) == set()
        assert set(listed(types_filter=["classic"], states_filter=["Stable"])) == {classic}


@pytest.mark.parametrize("version", versions("DeleteGroups"))
def test_only_groups_without_members_are_deleted(stack, kafka, topic, group, version):
    simple, classic, modern = f"{group}-simple", f"{group}-classic", f"{group}-modern"
    commit(kafka, 9, simple, topic, {0: 1, 1: 1})
    make_classic(stack, classic, topic)
    join(stack, modern, topic)
    asked = [simple, classic, modern, f"{group}-none", "", "\0"]
    answer = kafka.ask("DeleteGroups", version, groups_names=asked)["results"]
    assert [(r["group_id"], r["error_code"]) for r in answer] == list(zip(asked, [
        NONE, NON_EMPTY_GROUP, NON_EMPTY_GROUP, GROUP_NOT_FOUND, INVALID_GROUP_ID, INVALID_GROUP_ID]))
    assert fetch(kafka, 9, simple) == (NONE, {})
    assert [r["error_code"] for r in kafka.ask("DeleteGroups", version, groups_names=[simple])["results"]] == [GROUP_NOT_FOUND]


def delete_offsets(kafka, group, topic, *partitions):
    answer = kafka.ask("OffsetDelete", 0, group_id=group, topics=[{"name": topic, "partitions": [{"partition_index": p} for p in partitions]}])
    return answer["error_code"], {p["partition_index"]: p["error_code"] for t in answer["topics"] for p in t["partitions"]}


def test_offsets_are_deleted_unless_a_member_subscribes_to_their_topic(stack, kafka, topic, group, topic_name):
    other = stack.create_topic(topic_name + "-other", 2)
    make_classic(stack, group, topic)
    for name in (topic, other):
        assert commit(kafka, 9, group, name, {0: 1, 1: 1}, epoch=5, member="one") == {0: NONE, 1: NONE}
    assert delete_offsets(kafka, group, topic, 0) == (NONE, {0: SUBSCRIBED_TO_TOPIC})
    assert delete_offsets(kafka, group, other, 0, 7) == (NONE, {0: NONE, 7: UNKNOWN_TOPIC})
    assert delete_offsets(kafka, group, other + "-none", 0) == (NONE, {0: UNKNOWN_TOPIC})
    assert set(fetch(kafka, 9, group)[1]) == {(topic, 0), (topic, 1), (other, 1)}
    assert delete_offsets(kafka, group + "-none", topic, 0) == (GROUP_NOT_FOUND, {})
    make_classic(stack, group + "-connect", topic, protocol_type="connect")
    assert delete_offsets(kafka, group + "-connect", topic, 0) == (NON_EMPTY_GROUP, {})
    join(stack, group + "-modern", topic)
    assert delete_offsets(kafka, group + "-modern", topic, 0) == (NONE, {0: SUBSCRIBED_TO_TOPIC})
    commit(kafka, 9, group + "-simple", topic, {0: 1})
    assert delete_offsets(kafka, group + "-simple", topic, 0, 1) == (NONE, {0: NONE, 1: NONE})
    assert fetch(kafka, 9, group + "-simple") == (NONE, {})


def test_a_partition_that_is_named_twice_keeps_the_last_offset(kafka, topic, group):
    partitions = [{"partition_index": 0, "committed_offset": offset, "committed_metadata": ""} for offset in (5, 9, 7)]
    for _ in range(2):  # the partition's first commit, and one that follows
        answer = kafka.ask("OffsetCommit", 9, group_id=group, topics=[{"name": topic, "partitions": partitions}, {"name": topic, "partitions": partitions[:1]}])
        assert [p["error_code"] for t in answer["topics"] for p in t["partitions"]] == [NONE] * 4
        assert fetch(kafka, 9, group)[1][topic, 0][0] == 5
    answer = kafka.ask("OffsetFetch", 9, groups=[{"group_id": group, "topics": [{"name": topic, "partition_indexes": [0, 0]}]}])
    assert [p["error_code"] for p in answer["groups"][0]["topics"][0]["partitions"]] == [NONE, INVALID_REQUEST]


def test_names_that_postgresql_cannot_keep_are_refused(kafka, topic, group):
    for name in ("\0", "a\0b"):
        assert commit(kafka, 9, name, topic, {0: 1}) == {0: INVALID_GROUP_ID}
        assert fetch(kafka, 9, name, topic, [0])[0] == INVALID_GROUP_ID
        assert fetch(kafka, 1, name, topic, [0])[1] == {(topic, 0): (-1, None, "", INVALID_GROUP_ID)}
    assert commit(kafka, 9, "", topic, {0: 1}) == {0: INVALID_GROUP_ID}
    assert commit(kafka, 9, "x" * 1001, topic, {0: 1}) == {0: INVALID_GROUP_ID}
    assert commit(kafka, 9, group, topic, {0: 1}, epoch=1, member="\0") == {0: UNKNOWN_MEMBER}
    assert commit(kafka, 9, group, topic, {0: -2}) == {0: INVALID_REQUEST}
    assert commit(kafka, 9, group, topic, {0: 2**63 - 1}, metadata="\U0001F600") == {0: NONE}


def test_metadata_may_be_any_text_and_comes_back_as_it_was(kafka, topic, group):
    for metadata in ("a\0b", "\\x61", "\\xyz"):
        assert commit(kafka, 9, group, topic, {0: 1}, metadata=metadata) == {0: NONE}
        assert fetch(kafka, 9, group, topic, [0])[1] == {(topic, 0): (1, -1, metadata, NONE)}
    for metadata in (b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\x80", b"\0" * 4096):
        assert commit(kafka, 9, group, topic, {0: 1}, metadata=metadata) == {0: NONE}
    assert commit(kafka, 9, group, topic, {0: 1}, metadata=b"\0" * 4097) == {0: METADATA_TOO_LARGE}


def test_a_request_with_a_great_many_partitions_is_answered_or_refused(kafka, topic, group):
    many = {"name": topic, "partitions": [{"partition_index": number % 3, "committed_offset": number, "committed_metadata": ""} for number in range(50_000)]}
    answer = kafka.ask("OffsetCommit", 9, group_id=group, topics=[many])
    assert {p["error_code"] for p in answer["topics"][0]["partitions"]} == {NONE}
    assert fetch(kafka, 9, group, topic, [0, 1, 2])[1][topic, 1][0] == 49_999
    answer = kafka.ask("OffsetCommit", 9, group_id=group, topics=[many, many, many])
    assert {p["error_code"] for t in answer["topics"] for p in t["partitions"]} == {28}, "the offset commit is too large"
    groups = [{"group_id": group, "topics": None}] * 200
    answer = kafka.ask("OffsetFetch", 9, groups=groups)["groups"]
    assert [g["error_code"] for g in answer] == [NONE] + [INVALID_REQUEST] * 199, "nobody is told the same thing two hundred times"


@pytest.mark.parametrize("key, version, body", [
    (8, 2, string("g") + struct.pack(">i", -1) + string("") + struct.pack(">q", -1) + struct.pack(">i", -1)),
    (8, 2, string("g") + struct.pack(">i", -1) + string("") + struct.pack(">q", -1) + struct.pack(">i", 2**31 - 1)),
    (8, 2, string(None) + struct.pack(">i", -1) + string("") + struct.pack(">q", -1) + array([])),
    (9, 1, string("g") + struct.pack(">i", -1)),
    (9, 2, string("g") + array([string("t") + struct.pack(">i", 2**30)])),
    (15, 0, struct.pack(">i", -1)), (15, 0, array([string(None)])), (15, 0, struct.pack(">i", 2**31 - 1)),
    (42, 0, struct.pack(">i", -1)), (42, 0, array([string(None)])),
    (47, 0, string("g") + struct.pack(">i", -1)), (47, 0, string(None) + array([])),
    (47, 0, string("g") + array([string("t") + struct.pack(">i", -1)])),
], ids=str)
def test_what_contradicts_the_protocol_closes_its_connection_alone(stack, kafka, topic, group, key, version, body):
    with Wire(stack.kafka) as hostile:
        hostile.send(key, version, body)
        assert hostile.is_closed()
    assert commit(kafka, 9, group, topic, {0: 1}) == {0: NONE}


def test_a_locked_group_holds_up_nobody_else(stack, kafka, topic, group):
    """Its own clients are told to try again; the others' commits go on meanwhile."""
    commit(kafka, 9, group, topic, {0: 1})
    commit(kafka, 9, group + "-free", topic, {0: 1})
    holder = Session(stack.postgres)
    holder.run(f"BEGIN; SELECT FROM streamhouse.consumer_group WHERE name = '{group}' FOR UPDATE;")
    try:
        with SchemaWire(stack.kafka) as waiting:
            waiting.send_message("OffsetCommit", 9, group_id=group, topics=[{"name": topic, "partitions": [
                {"partition_index": 0, "committed_offset": 2, "committed_metadata": ""}]}])
            began = time.monotonic()
            for offset in range(20):
                assert commit(kafka, 9, group + "-free", topic, {0: offset}) == {0: NONE}
            assert time.monotonic() - began < 5
            answer = waiting.receive_message("OffsetCommit", 9)
            assert answer["topics"][0]["partitions"][0]["error_code"] == LOAD_IN_PROGRESS
            assert kafka.ask("DeleteGroups", 2, groups_names=[group])["results"][0]["error_code"] == LOAD_IN_PROGRESS
            assert kafka.ask("OffsetDelete", 0, group_id=group, topics=[])["error_code"] == LOAD_IN_PROGRESS
    finally:
        holder.close()
    assert commit(kafka, 9, group, topic, {0: 3}) == {0: NONE}


def test_commits_of_many_connections_share_calls_and_each_has_its_own_answer(stack, topic, group):
    agent = stack.agents[0]
    calls, commits = (agent.metric(f"streamhouse_offset_commit{name}_total") for name in ("_calls", "s"))
    connections = [SchemaWire(stack.kafka) for _ in range(60)]
    rounds = 10
    try:
        for number in range(rounds):
            for place, connection in enumerate(connections):
                unknown = place % 7 == 3
                connection.send_message("OffsetCommit", 9, group_id=f"{group}-{place}", topics=[{"name": topic + "-none" if unknown else topic, "partitions": [
                    {"partition_index": place % 3, "committed_offset": number * 100 + place, "committed_metadata": ""},
                    {"partition_index": 3, "committed_offset": 1, "committed_metadata": ""}]}])
            for place, connection in enumerate(connections):
                answer = connection.receive_message("OffsetCommit", 9)["topics"][0]["partitions"]
                assert [p["error_code"] for p in answer] == [UNKNOWN_TOPIC if place % 7 == 3 else NONE, UNKNOWN_TOPIC]
        committed = sum(place % 7 != 3 for place in range(60)) * rounds
        assert agent.metric("streamhouse_offset_commits_total") - commits == committed
        assert agent.metric("streamhouse_offset_commit_calls_total") - calls < committed / 3
        assert agent.metric("streamhouse_offset_commits_waiting") == agent.metric("streamhouse_offset_commits_waiting_bytes") == 0
        for place in range(60):
            if place % 7 != 3:
                assert fetch(connections[0], 9, f"{group}-{place}")[1] == {(topic, place % 3): ((rounds - 1) * 100 + place, -1, "", NONE)}
    finally:
        for connection in connections:
            connection.socket.close()


def test_without_postgresql_commits_fail_retriably_and_go_on_afterwards(own_stack, topic_name):
    own_stack.start_agent(database_timeout_ms=2000)
    own_stack.create_topic(topic_name)
    with SchemaWire(own_stack.kafka) as kafka:
        assert commit(kafka, 9, "g", topic_name, {0: 1}) == {0: NONE}
        own_stack.postgres.stop("immediate")
        assert commit(kafka, 9, "g", topic_name, {0: 2})[0] == 15, "COORDINATOR_NOT_AVAILABLE"
        assert fetch(kafka, 9, "g", topic_name, [0])[0] == NOT_COORDINATOR
        assert kafka.ask("ListGroups", 5)["error_code"] == 15
        assert kafka.ask("DescribeGroups", 5, groups=["g"])["groups"][0]["error_code"] == 15
        assert kafka.ask("DeleteGroups", 2, groups_names=["g"])["results"][0]["error_code"] == 15
        own_stack.postgres.start()
        own_stack.agents[0].wait_ready()
        assert commit(kafka, 9, "g", topic_name, {0: 3}) == {0: NONE}
        assert fetch(kafka, 9, "g", topic_name, [0])[1][topic_name, 0][0] == 3
    assert own_stack.agents[0].stop() == 0


def test_offsets_of_a_group_without_members_expire_and_the_group_with_them(own_stack, topic_name):
    own_stack.start_agent()
    own_stack.create_topic(topic_name)
    with SchemaWire(own_stack.kafka) as kafka:
        commit(kafka, 9, "leaves", topic_name, {0: 1})
        make_classic(own_stack, "stays", topic_name)
        commit(kafka, 9, "stays", topic_name, {0: 1}, epoch=5, member="one")
        own_stack.postgres.run("ALTER SYSTEM SET streamhouse.offsets_retention = '1s'; SELECT pg_reload_conf();")
        deadline = time.monotonic() + 30
        while "leaves" in [g["group_id"] for g in kafka.ask("ListGroups", 5)["groups"]]:
            assert time.monotonic() < deadline, "the group is still there"
            time.sleep(0.2)
        assert fetch(kafka, 9, "leaves") == (NONE, {})
        assert fetch(kafka, 9, "stays")[1] == {(topic_name, 0): (1, -1, "", NONE)}
