"""test_checker_random.py: the checker believes every history of a model of a log, and none that was spoilt."""
import random

import pytest

import checker
from story import made
from universe import PLACES, Universe

SEEDS = 25
SPOILS = []


def spoils(*kinds, seeds=4):
    """The checker has to name one of these kinds."""
    def mark(function):
        SPOILS.extend((function, kinds, seed) for seed in range(seeds))
        return function
    return mark


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_model_of_a_log_is_valid(tmp_path, seed):
    Universe(random.Random(seed)).live().write(tmp_path)
    verdict = checker.check(tmp_path)
    assert verdict.valid, verdict.text()
    assert verdict.counts["acknowledged"] > 100 and verdict.counts["unknown"] > 10 and verdict.counts["failed"] > 5


@pytest.mark.parametrize("spoil, kinds, seed", SPOILS, ids=[f"{spoil.__name__}-{seed}" for spoil, _, seed in SPOILS])
def test_a_spoilt_history_is_not(tmp_path, spoil, kinds, seed):
    chance = random.Random(f"{spoil.__name__}{seed}")
    world = Universe(random.Random(seed)).live()
    what = spoil(World(world, chance))
    world.write(tmp_path)
    verdict = checker.check(tmp_path)
    assert set(verdict.broken) & set(kinds), f"{spoil.__name__}: {what}\n{verdict.text()}"


class World:
    """A history to be spoilt, and what can be chosen in it."""

    def __init__(self, world, chance):
        self.lines, self.chance, self.log, self.rows = world.lines, chance, world.log, world.rows

    def operations(self, *ops):
        return [line for lines in self.lines.values() for line in lines if line["op"] in ops]

    def records_read(self):
        """All lists of records that somebody read, as [(line, place, records)]."""
        return [(line, place, records) for line in self.operations("poll", "drain", "rows") for place, records in line.get("reads", {}).items() if records]

    def drained(self, at_least=1):
        found = [one for one in self.records_read() if one[0]["op"] == "drain" and len(one[2]) >= at_least]
        return self.chance.choice(found)

    def polled(self, process, at_least=1):
        return self.chance.choice([one for one in self.records_read() if one[0]["process"] == process and one[0]["op"] == "poll" and len(one[2]) >= at_least])

    def sent(self, outcome="ok", there=True, ordered=True):
        """(line, record) of a send that is there."""
        values = {value for records in self.log.values() for _, value in records}
        return self.chance.choice([(line, record) for line in self.operations("send") if line["outcome"] == outcome and line["ordered"] == ordered
                                   for record in line["records"] if (record[2] in values) == there])

    def forget(self, value):
        for _line, _place, records in self.records_read():
            records[:] = [record for record in records if record[1] != value]

    def insert(self, place, offset, value):
        """Into everything that reads the log's end."""
        for line in self.operations("drain"):
            if line.get("done"):
                continue
            if place in line["reads"] and line["reads"][place][-1][0] == offset - 1:
                line["reads"][place].append([offset, value, made(value)])

    def end(self, place):
        return self.log[place][-1][0] + 1


@spoils("went_back", "skipped")
def two_records_of_a_drain_change_places(world):
    line, place, records = world.drained(2)
    at = world.chance.randrange(len(records) - 1)
    records[at], records[at + 1] = records[at + 1], records[at]
    return line["door"], place, at


@spoils("door_misses")
def a_record_is_dropped_from_one_drain(world):
    line, place, records = world.drained(3)
    return line["door"], place, records.pop(world.chance.randrange(len(records)))


@spoils("one_offset_per_value")
def a_record_is_doubled(world):
    _line, record = world.sent()
    place = world.chance.choice(PLACES)
    world.insert(place, world.end(place), record[2])
    return place, record


@spoils("invented")
def a_record_is_invented(world):
    place = world.chance.choice(PLACES)
    world.insert(place, world.end(place), "p1:999999")


@spoils("producer_order")
def two_records_of_a_producer_change_places_everywhere(world):
    place, first, second = world.chance.choice([
        (place, one[1], other[1]) for place, records in world.log.items() for number, one in enumerate(records) for other in records[number + 1:number + 6]
        if one[1].partition(":")[0] == other[1].partition(":")[0] != "plain"])
    renamed = {first: second, second: first}
    for _line, _place, records in world.records_read():
        for record in records:
            record[1] = renamed.get(record[1], record[1])
            record[2] = made(record[1])
    return place, first, second


@spoils("undrained")
def an_acknowledged_record_is_forgotten_by_all(world):
    _line, record = world.sent()
    world.forget(record[2])
    return record


@spoils("altered")
def a_record_is_altered_on_the_way(world):
    _line, place, records = world.chance.choice([one for one in world.records_read() if one[0]["op"] != "rows"])
    record = world.chance.choice(records)
    record[2] = record[2].replace("0000.0000", "0001.0000")
    return place, record


@spoils("read_of_failed")
def a_record_that_is_there_had_failed(world):
    line, record = world.sent(outcome=world.chance.choice(("ok", "unknown")))
    line["outcome"] = "fail"
    return record


@spoils("one_value_per_offset")
def a_reader_sees_another_record(world):
    line, place, records = world.chance.choice([one for one in world.records_read() if one[0]["op"] != "rows"])
    record, other = world.chance.choice(records), world.sent()[1][2]
    while other == record[1]:
        other = world.sent()[1][2]
    record[1], record[2] = other, made(other)
    return line["process"], place, record


@spoils("skipped")
def a_record_is_dropped_from_a_poll(world):
    line, place, records = world.polled(world.chance.choice(("f", "sql", "g1", "g2", "s1")), 3)
    return line["process"], place, records.pop(world.chance.randrange(1, len(records) - 1))


@spoils("went_back")
def a_poll_is_repeated(world):
    line, place, _records = world.polled(world.chance.choice(("f", "sql", "g1")))
    lines = world.lines[line["process"]]
    lines.insert(lines.index(line) + 1, line)
    return line["process"], place


@spoils("went_back", "sink_twice")
def a_sinks_poll_is_repeated(world):
    line, place, records = world.chance.choice([one for one in world.records_read() if one[0].get("mode") == "sink" and one[0]["outcome"] == "ok"])
    lines = world.lines[line["process"]]
    lines.insert(lines.index(line) + 1, line)
    return place, records


@spoils("torn_transaction")
def a_transaction_loses_a_record(world):
    kept = {value for records in world.log.values() for _, value in records}
    line = world.chance.choice([line for line in world.operations("send") if "transaction" in line and len(line["records"]) > 1 and line["records"][0][2] in kept])
    record = world.chance.choice(line["records"])
    world.forget(record[2])
    return record


@spoils("transaction_without_row")
def a_transactions_row_is_gone(world):
    (line,) = [line for line in world.operations("rows") if line["table"] == "transactions"]
    return line["names"].pop(world.chance.randrange(len(line["names"])))


@spoils("sink_twice")
def a_sink_has_a_row_twice(world):
    _line, _place, records = world.chance.choice([one for one in world.records_read() if one[0]["op"] == "rows"])
    records.append(world.chance.choice(records))


@spoils("sink_misses")
def a_sink_loses_a_row(world):
    _line, _place, records = world.chance.choice([one for one in world.records_read() if one[0]["op"] == "rows" and len(one[2]) > 1])
    return records.pop(world.chance.randrange(len(records) - 1))


@spoils("commit_went_back")
def a_committed_offset_goes_back(world):
    line = world.chance.choice([line for line in world.operations("commit") if line["outcome"] == "ok"])
    ((place, offset),) = line["offsets"].items()
    world.lines["observer"].append({**line, "process": "observer", "op": "committed", "offsets": {place: world.chance.randrange(-1, offset)},
                                    "start_ns": 1 << 50, "end_ns": 1 << 51})
    return place, offset


@spoils("read_before_sent")
def a_record_was_read_before_it_was_sent(world):
    line, record = world.sent()
    line["start_ns"] = line["end_ns"] = 1 << 50
    return record


@spoils("real_time_order", "producer_order")
def a_record_was_sent_later_than_its_place_allows(world):
    """After the drains began it cannot have been sent, but before it was read first."""
    place, records = world.chance.choice([(place, records) for place, records in world.log.items() if len(records) > 20])
    value = records[world.chance.randrange(len(records) // 2)][1]
    later = records[-1][1]
    end = max(line["end_ns"] for line in world.operations("send") if later in [record[2] for record in line["records"]])
    for line in world.operations("send"):
        if value in [record[2] for record in line["records"]]:
            line["start_ns"], line["end_ns"], line["outcome"] = end + 1, end + 2, "ok"
    for line in world.operations("poll"):
        for one in line["reads"].values():
            if value in [record[1] for record in one]:
                line["end_ns"] = max(line["end_ns"], end + 3)
    return place, value, later
