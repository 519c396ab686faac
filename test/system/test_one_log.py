"""The checker of one_log.py is itself checked: each thing that can go wrong with a log is seen, and nothing else is."""
import copy

import pytest

import one_log
from one_log import History, Outcome

LOG = {0: [(0, b"a1"), (1, b"k1"), (2, b"a2"), (4, b"t1")], 1: [(0, b"t2"), (7, b"a3")]}
ROWS = {"t"}


def history():
    """Two writers and a transaction; one record failed, one was rolled back to a savepoint, of one nobody knows."""
    mine = History()
    mine.send("a", b"a1").acknowledge(0, 0)
    mine.send("a", b"a2").acknowledge(0, 2)
    mine.send("k", b"k1").acknowledge(0, 1)
    mine.send("a", b"lost on the way")
    mine.send("a", b"refused").fail()
    mine.send("a", b"a3")
    for value in (b"t1", b"t2"):
        mine.send("t", value, "t").acknowledge()
    mine.send("t", b"rolled back", "t").fail()
    for value in (b"u1", b"u2"):
        mine.send("t", value, "unknown")
    return mine


def changed(change, rows=ROWS):
    log, sent = copy.deepcopy(LOG), history()
    change(log, sent)
    return one_log.violations(sent, log, rows)


def test_a_good_log_has_no_violations():
    assert one_log.violations(history(), LOG, ROWS) == []


@pytest.mark.parametrize("what, change", [
    ("follows offset", lambda log, sent: log[0].insert(3, (2, b"lost on the way"))),
    ("follows offset", lambda log, sent: log[0].append((3, b"lost on the way"))),
    ("is there 2 times", lambda log, sent: log[1].append((8, b"a2"))),
    ("is there 2 times", lambda log, sent: log[0].append((5, b"a1"))),
    ("was never sent", lambda log, sent: log[0].append((5, b"zz"))),
    ("is lost", lambda log, sent: log[0].pop(1)),
    ("is lost", lambda log, sent: log.pop(1)),
    ("was acknowledged at (0, 1)", lambda log, sent: log[0].__setitem__(slice(1, 4), [(2, b"k1"), (3, b"a2"), (4, b"t1")])),
    ("refused' failed", lambda log, sent: log[0].append((5, b"refused"))),
    ("rolled back' failed", lambda log, sent: log[0].append((5, b"rolled back"))),
    ("was sent after", lambda log, sent: (log[1].insert(0, (-1, b"a3")), log[1].pop(), log[1].append((9, b"lost on the way")))),
    ("transaction t is torn", lambda log, sent: (log[0].pop(), sent.sent.__setitem__(6, one_log.Sent("t", b"t1", "t")))),
    ("transaction unknown is torn", lambda log, sent: log[0].append((5, b"u1"))),
    ("transaction unknown: its records are there", lambda log, sent: log[0].extend([(5, b"u1"), (6, b"u2")])),
])
def test_a_violation_is_seen(what, change):
    found = changed(change)
    assert any(what in sentence for sentence in found), found


@pytest.mark.parametrize("what, rows", [
    ("transaction t: its records are there", set()),
    ("transaction unknown: its records are not there", {"t", "unknown"}),
    ("nobody wrote it", {"t", "stranger"}),
])
def test_a_row_without_its_records_is_seen(what, rows):
    found = changed(lambda log, sent: None, rows)
    assert len(found) == 1 and what in found[0], found


def test_what_is_unknown_may_be_there_or_not():
    assert changed(lambda log, sent: log[1].insert(1, (3, b"lost on the way"))) == []
    assert changed(lambda log, sent: log[1].pop()) == []
    assert changed(lambda log, sent: log[0].extend([(5, b"u1"), (6, b"u2")]), {"t", "unknown"}) == []


def test_a_transaction_that_failed_leaves_no_row():
    mine = history()
    mine.send("t", b"v", "v").fail()
    assert one_log.violations(mine, LOG, ROWS) == []
    assert "transaction v failed" in one_log.violations(mine, LOG, {"t", "v"})[0]


@pytest.mark.parametrize("other", [
    {0: LOG[0]}, {**LOG, 1: LOG[1][:1]}, {**LOG, 1: [(0, b"t2"), (8, b"a3")]}, {**LOG, 2: [(0, b"x")]},
    {**LOG, 0: [LOG[0][1], LOG[0][0], *LOG[0][2:]]},
])
def test_doors_that_disagree_are_seen(other):
    assert list(one_log.doors_disagree({"kafka": LOG, "sql": copy.deepcopy(LOG)})) == []
    assert len(list(one_log.doors_disagree({"kafka": LOG, "sql": copy.deepcopy(LOG), "other": other}))) == 1


def reading(*numbers, partition=0):
    return [(partition, *LOG[partition][number]) for number in numbers]


def test_a_reader_that_follows_the_log_is_in_order():
    everything = reading(0, 1, 2, 3) + reading(0, 1, partition=1)
    assert list(one_log.reader_strays([], LOG)) == []
    assert list(one_log.reader_strays(reading(1, 2), LOG)) == []
    assert list(one_log.reader_strays(everything, LOG, whole=True)) == []
    assert list(one_log.sink_strays(list(reversed(everything)), LOG)) == []


@pytest.mark.parametrize("numbers", [(0, 2), (0, 1, 1), (1, 2, 1), (0, 1, 3), (3, 0)])
def test_a_reader_that_skips_or_goes_back_is_seen(numbers):
    assert len(list(one_log.reader_strays(reading(*numbers), LOG))) == 1


def test_a_reader_that_sees_another_value_is_seen():
    assert len(list(one_log.reader_strays([*reading(0), (0, 1, b"other")], LOG))) == 1


@pytest.mark.parametrize("sink", [reading(0, 1, 2, 3), reading(0, 1, 2, 3) + reading(1, partition=1), []])
def test_a_sink_that_misses_a_record_is_seen(sink):
    assert list(one_log.sink_strays(sink, LOG)) != []


def test_a_sink_that_has_a_record_twice_is_seen():
    twice = reading(0, 1, 2, 3) + reading(0, 1, partition=1) + reading(2)
    assert any("twice" in sentence for sentence in one_log.sink_strays(twice, LOG))


def test_outcomes_are_counted():
    assert [history().count(outcome) for outcome in Outcome] == [4, 5, 2]
