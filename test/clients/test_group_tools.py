"""kafka-consumer-groups and kafka-groups, of an old and of the current release: every way to look at groups, to move their offsets
and to delete them."""
import re
from datetime import datetime, timezone

import confluent_kafka
import pytest

from clients import CONFLUENT, open_consumer
from members import await_shares
from programs import table
from records import BASE_TIMESTAMP, plain

VERSIONS = ["3.9.1", "4.2.0"]
RECORDS = 40


@pytest.fixture(params=VERSIONS)
def tools(request, tools_of):
    return tools_of(request.param)


@pytest.fixture
def groups(tools, stack):
    """kafka-consumer-groups; its complaints, at which it does not end with an error, are one here."""
    def run(*arguments, fails=False):
        told = tools.run("kafka-consumer-groups", "--bootstrap-server", stack.kafka, *arguments)
        assert fails == ("Error:" in told), told
        return told
    return run


def commit(kafka, group, topic, offsets):
    consumer = open_consumer(kafka, **{"group.id": group})
    consumer.commit(offsets=[confluent_kafka.TopicPartition(topic, partition, offset) for partition, offset in offsets.items()], asynchronous=False)
    consumer.close()


def committed(kafka, group, topic):
    consumer = open_consumer(kafka, **{"group.id": group})
    places = consumer.committed([confluent_kafka.TopicPartition(topic, partition) for partition in range(3)], timeout=30)
    consumer.close()
    return {place.partition: place.offset for place in places if place.offset >= 0}


@pytest.fixture
def group(stack, topic):
    """An empty group that has read some of the topic's records; the third partition has none."""
    for partition in (0, 1):
        CONFLUENT.send(stack.kafka, topic, partition, plain(RECORDS))
    commit(stack.kafka, topic, topic, {0: 10, 1: 20})
    return topic


def planned(told):
    """{partition: new offset} of GROUP TOPIC PARTITION NEW-OFFSET; 3.9 prints all of it in one line."""
    return {int(partition): int(offset) for partition, offset in re.findall(r"\S+\s+\S+\s+(\d+)\s+(\d+)(?:\s|$)", told)}


def iso(milliseconds):
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]


RESETS = {
    "to-earliest": (["--to-earliest"], {0: 0, 1: 0, 2: 0}),
    "to-latest": (["--to-latest"], {0: 40, 1: 40, 2: 0}),
    "to-datetime": (["--to-datetime", iso(BASE_TIMESTAMP + 25)], {0: 25, 1: 25, 2: 0}),
    "by-duration": (["--by-duration", "P20000D"], {0: 0, 1: 0, 2: 0}),
    "shift-by": (["--shift-by", "-5"], {0: 5, 1: 15, 2: 0}),
    "shift-by beyond the end": (["--shift-by", "1000"], {0: 40, 1: 40, 2: 0}),
    "to-offset": (["--to-offset", "17"], {0: 17, 1: 17, 2: 0}),
    "to-current": (["--to-current"], {0: 10, 1: 20, 2: 0}),
}


@pytest.mark.parametrize("reset", RESETS)
def test_offsets_are_reset(stack, groups, group, reset):
    arguments, expected = RESETS[reset]
    if reset.startswith("shift-by"):
        commit(stack.kafka, group, group, {2: 0})
    named = ["--group", group, "--reset-offsets", "--topic", group, *arguments]
    before = committed(stack.kafka, group, group)
    assert planned(groups(*named, "--dry-run")) == expected
    assert committed(stack.kafka, group, group) == before, "a dry run moved offsets"
    assert planned(groups(*named, "--execute")) == expected
    assert committed(stack.kafka, group, group) == expected


def test_an_exported_plan_is_executed_from_its_file(stack, groups, group, tmp_path):
    plan = tmp_path / "plan.csv"
    plan.write_text(groups("--group", group, "--reset-offsets", "--topic", f"{group}:0,1", "--shift-by", 3, "--export", "--dry-run").strip())
    assert sorted(plan.read_text().split()) == [f'"{group}",0,13', f'"{group}",1,23']
    assert committed(stack.kafka, group, group) == {0: 10, 1: 20}
    assert planned(groups("--group", group, "--reset-offsets", "--from-file", plan, "--execute")) == {0: 13, 1: 23}
    assert committed(stack.kafka, group, group) == {0: 13, 1: 23}


def test_offsets_of_all_topics_are_reset(stack, groups, group):
    assert planned(groups("--group", group, "--reset-offsets", "--all-topics", "--to-latest", "--execute")) == {0: 40, 1: 40}
    assert committed(stack.kafka, group, group) == {0: 40, 1: 40}


def test_an_empty_group_is_described_with_its_lag(groups, group):
    rows = {int(row["PARTITION"]): row for row in table(groups("--group", group, "--describe", "--offsets"))}
    assert {partition: (row["CURRENT-OFFSET"], row["LOG-END-OFFSET"], row["LAG"]) for partition, row in rows.items()} == {
        0: ("10", "40", "30"), 1: ("20", "40", "20")}
    assert all(row["CONSUMER-ID"] == "-" for row in rows.values())
    assert group in groups("--list").split()
    state = table(groups("--list", "--state"))
    assert [row["STATE"] for row in state if row["GROUP"] == group] == ["Empty"]
    assert group not in [row["GROUP"] for row in table(groups("--list", "--state", "Stable"))]


@pytest.mark.parametrize("name, protocol", [("confluent-kafka", "range"), ("java 4.2.0", "consumer")])
def test_a_living_group_is_described_and_defended(stack, tools, groups, group, join, name, protocol):
    member = join(name, stack.kafka, group, group, protocol)
    await_shares([member], 3)
    kind = "Consumer" if protocol == "consumer" else "Classic"
    (row,) = [row for row in table(groups("--list", "--state", "--type")) if row["GROUP"] == group]
    assert (row["TYPE"], row["STATE"]) == (kind, "Stable")
    rows = table(groups("--group", group, "--describe"))
    assert sorted(int(row["PARTITION"]) for row in rows) == [0, 1, 2]
    assert len({row["CONSUMER-ID"] for row in rows}) == 1 and rows[0]["HOST"].startswith("/127.0.0.1")
    (only,) = table(groups("--group", group, "--describe", "--members", "--verbose"))
    assert only["#PARTITIONS"] == "3" and only["CONSUMER-ID"] == rows[0]["CONSUMER-ID"]
    assert any(value.endswith(("(0,1,2)", ":0,1,2")) for value in only.values()), only
    state = " ".join(groups("--group", group, "--describe", "--state", "--verbose").split())
    assert " Stable " in state and state.split(" Stable ")[1].split()[-1] == "1"
    assert "Error" in groups("--group", group, "--delete", fails=True)
    assert "inactive" in groups("--group", group, "--reset-offsets", "--topic", group, "--to-earliest", "--execute", fails=True)
    assert "Error" in groups("--group", group, "--delete-offsets", "--topic", group, fails=True)
    member.leave()


def test_offsets_and_groups_are_deleted(stack, groups, group):
    told = groups("--group", group, "--delete-offsets", "--topic", f"{group}:0")
    assert "Request succeed" in told
    assert committed(stack.kafka, group, group) == {1: 20}
    assert "successful" in groups("--group", group, "--delete")
    assert group not in groups("--list").split()
    assert committed(stack.kafka, group, group) == {}
    assert "Error" in groups("--group", group, "--delete", fails=True)


@pytest.mark.parametrize("tools", ["4.2.0"], indirect=True)
def test_kafka_groups_lists_groups_of_every_type(tools, stack, group):
    rows = table(tools.run("kafka-groups", "--bootstrap-server", stack.kafka, "--list"))
    assert [row["TYPE"] for row in rows if row["GROUP"] == group] == ["Classic"]
