"""docs/compatibility.md: the table of APIs is what an agent says, and names every version that Kafka has and we have not."""
import re

import pytest

import wire
from stack import ROOT

pytestmark = pytest.mark.sql  # a plain Kafka broker is not what the document is about


def served(kafka):
    """{API key: (oldest, newest)} of ApiVersions."""
    with wire.Wire(kafka) as hand:
        reply = hand.ask(wire.API_VERSIONS, 0, b"")
        assert reply.take("h") == wire.NONE
        triples = [reply.take("hhh") for _ in range(reply.take("i"))]
    return {key: (oldest, newest) for key, oldest, newest in triples}


def versions(cell):
    """(oldest, newest) of a cell like "2–10" or "0"; None of "–"."""
    numbers = [int(number) for number in re.findall(r"\d+", cell)]
    return (numbers[0], numbers[-1]) if numbers else None


def documented():
    """{API key: (name, Kafka's versions, ours, why)}"""
    text = (ROOT / "docs/compatibility.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (\w+) \| ([^|]*) \| ([^|]*) \| ([^|]*) \|$", text, re.MULTILINE)
    return {int(key): (name, versions(kafka), versions(ours), why.strip()) for key, name, kafka, ours, why in rows}


def test_the_table_of_apis_is_what_an_agent_serves(stack):
    assert {key: ours for key, (_, _, ours, _) in documented().items() if ours} == served(stack.kafka)


def test_a_difference_from_kafka_has_its_reason():
    table = documented()
    assert len(table) > 70
    for name, kafka, ours, why in table.values():
        assert ours == kafka or why, f"{name}: {ours} is not Kafka's {kafka}, and the table does not say why"
