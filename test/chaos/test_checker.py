"""test_checker.py: the checker sees what is wrong in histories that are, and nothing in those that only look like it.

Each function below tells a story. breaks(KIND, …) says of which kinds exactly the checker has to complain; holds() that it must not.
"""
import pytest

import cycles
import rules
from story import Story, made, numbered

STORIES = []
ABC = ("p:1", "p:2", "p:3")


def breaks(*kinds):
    def mark(story):
        STORIES.append((story, set(kinds)))
        return story
    return mark


def holds(story):
    STORIES.append((story, set()))
    return story


@pytest.mark.parametrize("story, kinds", STORIES, ids=[story.__name__ for story, _ in STORIES])
def test_a_story_is_judged(tmp_path, story, kinds):
    mine = Story(tmp_path)
    died = story(mine) or ()
    verdict = mine.check(died)
    assert set(verdict.broken) == kinds, verdict.text()
    assert verdict.valid == (not kinds)


def test_every_rule_is_broken_by_some_story():
    names = {rule.__name__ for rule in [*rules.RULES, cycles.causal_cycle]}
    assert names == set().union(*(kinds for _, kinds in STORIES))


@holds
def what_was_sent_is_read(s):
    s.log(*ABC)
    s.poll({"t/0": numbered(*ABC)})
    s.drain({"t/0": numbered(*ABC)})


@breaks("one_value_per_offset", "undrained")
def two_readers_see_two_values_at_one_offset(s):
    s.log("p:1")
    s.send("q:1", None)
    s.poll({"t/0": [(0, "q:1")]})
    s.drain({"t/0": [(0, "p:1")]})
    s.send("q:2", 1)


@breaks("one_acknowledgement_per_offset", "lost_write", "undrained")
def one_offset_is_told_to_two_senders(s):
    s.send("p:1", 0)
    s.send("q:1", 0)
    s.drain({"t/0": [(0, "p:1")]})


@breaks("one_offset_per_value")
def a_retry_is_appended_a_second_time(s):
    s.log(*ABC)
    s.drain({"t/0": numbered(*ABC, "p:2")})


@holds
def a_plain_producers_retry_may_be(s):
    s.send("p:1", 0, ordered=False)
    s.send("p:2", None, outcome="unknown", ordered=False)
    s.send("q:1", 1)
    s.drain({"t/0": numbered("p:1", "q:1", "p:2", "p:1", "p:2")})


@breaks("acknowledged_where_it_is")
def a_record_is_not_where_its_sender_was_told(s):
    s.send("p:1", 5)
    s.send("q:1", None, outcome="unknown")
    s.drain({"t/0": [(0, "p:1"), (1, "q:1")]})


@breaks("lost_write", "undrained")
def an_acknowledged_record_is_lost(s):
    s.log(*ABC)
    s.drain({"t/0": [(0, "p:1"), (2, "p:3")]})


@breaks("lost_write")
def a_record_below_the_highest_that_was_read_is_lost_even_without_a_drain(s):
    s.log(*ABC)
    s.poll({"t/0": [(0, "p:1"), (2, "p:3")]})


@holds
def what_is_above_what_was_read_may_come_later(s):
    s.log(*ABC)
    s.poll({"t/0": [(0, "p:1")]})


@breaks("undrained")
def the_last_acknowledged_record_is_lost(s):
    s.log(*ABC)
    s.drain({"t/0": numbered("p:1", "p:2")})


@breaks("undrained")
def a_record_that_was_acknowledged_without_an_offset_is_lost(s):
    s.transaction("t", [("p:1", "t/0")])
    s.drain({"t/0": []}, ends={"t/0": 0})


@holds
def what_is_unknown_is_there_or_not(s):
    s.send("p:1", 0)
    s.send("p:2", None, outcome="unknown")
    s.send("p:3", None, outcome="unknown")
    s.drain({"t/0": numbered("p:1", "p:3")})


@breaks("read_of_failed")
def a_refused_record_is_read(s):
    s.send("p:1", None, outcome="fail")
    s.drain({"t/0": [(0, "p:1")]})


@breaks("read_of_failed", "torn_transaction")
def a_record_of_a_rolled_back_transaction_is_read(s):
    s.transaction("t", [("p:1", "t/0"), ("p:2", "t/0")], outcome="fail")
    s.drain({"t/0": [(0, "p:1")]})


@breaks("read_of_failed")
def a_record_of_a_rolled_back_savepoint_is_read(s):
    s.transaction("t", [("p:1", "t/0")], undone=[("p:2", "t/0")])
    s.drain({"t/0": numbered("p:1", "p:2")})


@breaks("invented")
def a_record_that_nobody_sent_is_read(s):
    s.log("p:1")
    s.drain({"t/0": numbered("p:1", "p:2")})


@holds
def a_process_that_died_may_have_sent_more_than_it_wrote_down(s):
    s.log("p:1")
    s.drain({"t/0": numbered("p:1", "p:2")})
    return ["p"]


@breaks("altered")
def a_record_comes_back_with_another_key(s):
    s.log("p:1")
    s.drain({"t/0": [(0, "p:1")]})["reads"]["t/0"][0][2] = made("p:1").replace("-", "beef", 1)


@breaks("torn_transaction", "undrained")
def a_transaction_is_there_in_part(s):
    s.transaction("t", [("p:1", "t/0"), ("p:2", "u/0")])
    s.drain({"t/0": [(0, "p:1")], "u/0": []}, ends={"t/0": 1, "u/0": 0})


@breaks("torn_transaction")
def a_transaction_in_doubt_is_there_in_part(s):
    s.transaction("t", [("p:1", "t/0"), ("p:2", "t/0")], outcome="unknown")
    s.drain({"t/0": [(0, "p:2")]})


@holds
def a_transaction_in_doubt_is_there_as_a_whole_or_not_at_all(s):
    s.transaction("t", [("p:1", "t/0"), ("p:2", "u/0")], outcome="unknown")
    s.transaction("u", [("p:3", "t/0"), ("p:4", "u/0")], outcome="unknown")
    s.transaction("v", [("p:5", "t/0")], outcome="fail")
    s.drain({"t/0": [(0, "p:1")], "u/0": [(0, "p:2")]})
    s.rows(["t"])


@breaks("transaction_without_row")
def a_transactions_records_are_there_without_its_row(s):
    s.transaction("t", [("p:1", "t/0")])
    s.drain({"t/0": [(0, "p:1")]})
    s.rows([])


@breaks("transaction_without_row")
def a_transactions_row_is_there_without_its_records(s):
    s.transaction("t", [("p:1", "t/0")], outcome="unknown")
    s.drain({"t/0": []}, ends={"t/0": 0})
    s.rows(["t"])


@breaks("transaction_without_row")
def a_row_was_written_by_nobody(s):
    s.log("p:1")
    s.drain({"t/0": [(0, "p:1")]})
    s.rows(["stranger"])


@breaks("went_back")
def a_poll_goes_back(s):
    s.log(*ABC)
    s.poll({"t/0": [(0, "p:1"), (1, "p:2"), (0, "p:1"), (1, "p:2"), (2, "p:3")]})


@holds
def a_member_has_again_what_it_had_not_committed_when_its_group_was_rebalanced(s):
    s.log(*ABC)
    s.assign("r", added=["t/0"])
    s.poll({"t/0": numbered("p:1", "p:2")}, "r", mode="group", group="g")
    s.commit(1, process="r")
    s.assign("r")
    s.poll({"t/0": [(1, "p:2"), (2, "p:3")]}, "r", mode="group", group="g")


@breaks("went_back")
def a_member_has_again_what_it_had_committed_when_its_group_was_rebalanced(s):
    s.log(*ABC)
    s.assign("r", added=["t/0"])
    s.poll({"t/0": numbered("p:1", "p:2")}, "r", mode="group", group="g")
    s.commit(2, process="r")
    s.assign("r")
    s.poll({"t/0": [(1, "p:2"), (2, "p:3")]}, "r", mode="group", group="g")


@breaks("went_back")
def a_member_goes_back_long_after_a_rebalance(s):
    s.log(*ABC)
    s.assign("r", added=["t/0"])
    s.assign("r")
    s.poll({"t/0": numbered("p:1", "p:2")}, "r", mode="group", group="g")
    s.poll({"t/0": [(1, "p:2"), (2, "p:3")]}, "r", mode="group", group="g")


@breaks("went_back")
def a_reader_goes_back_from_one_poll_to_the_next(s):
    s.log(*ABC)
    s.assign(added=["t/0"], at_offsets={"t/0": 0})
    s.poll({"t/0": numbered("p:1", "p:2")})
    s.poll({"t/0": [(1, "p:2")]})


@breaks("skipped")
def a_poll_skips_a_record(s):
    s.log(*ABC)
    s.poll({"t/0": [(0, "p:1"), (2, "p:3")]})
    s.drain({"t/0": numbered(*ABC)})


@breaks("skipped")
def a_reader_skips_a_record_from_one_poll_to_the_next(s):
    s.log(*ABC)
    s.assign(added=["t/0"], at_offsets={"t/0": 0})
    s.poll({"t/0": [(0, "p:1")]})
    s.poll({"t/0": [(2, "p:3")]})
    s.drain({"t/0": numbered(*ABC)})


@breaks("skipped")
def a_reader_begins_behind_where_it_was_told_to(s):
    s.log(*ABC)
    s.assign(added=["t/0"], at_offsets={"t/0": 0})
    s.poll({"t/0": [(1, "p:2"), (2, "p:3")]})
    s.drain({"t/0": numbered(*ABC)})


@holds
def offsets_may_have_gaps(s):
    s.send("p:1", 3)
    s.send("p:2", 9)
    s.assign(added=["t/0"], at_offsets={"t/0": 0})
    s.poll({"t/0": [(3, "p:1"), (9, "p:2")]})
    s.drain({"t/0": [(3, "p:1"), (9, "p:2")]})


@holds
def a_reader_may_look_back_when_it_says_so(s):
    s.log(*ABC)
    s.assign(added=["t/0"], at_offsets={"t/0": 0})
    s.poll({"t/0": numbered(*ABC)})
    s.assign(added=["t/0"], at_offsets={"t/0": 1})
    s.poll({"t/0": numbered("p:2", "p:3", first=1)})


@holds
def a_partition_may_be_read_again_by_its_next_owner(s):
    s.log(*ABC)
    s.assign("r", added=["t/0"])
    s.poll({"t/0": numbered("p:1", "p:2")}, "r", mode="group", group="g")
    s.commit(1, process="r")
    s.assign("r", removed=["t/0"])
    s.assign("q", added=["t/0"])
    s.poll({"t/0": numbered("p:2", "p:3", first=1)}, "q", mode="group", group="g")
    s.commit(3, process="q")
    s.committed(3)
    s.drain({"t/0": numbered(*ABC)})
    s.expect(groups=["g"])


@breaks("went_back")
def a_member_goes_back_within_an_assignment(s):
    s.log(*ABC)
    s.assign(added=["t/0"])
    s.poll({"t/0": numbered("p:1", "p:2")}, mode="group", group="g")
    s.poll({"t/0": numbered("p:1", "p:2")}, mode="group", group="g")


@breaks("out_of_range")
def an_offset_is_refused(s):
    s.log("p:1")
    s.poll({}, outcome="fail", error="OFFSET_OUT_OF_RANGE")


@breaks("door_misses")
def one_door_misses_the_first_record(s):
    s.log(*ABC)
    s.drain({"t/0": numbered(*ABC)})
    s.drain({"t/0": numbered("p:2", "p:3", first=1)}, door="sql")


@breaks("door_misses")
def one_door_misses_one_in_the_middle(s):
    s.log(*ABC)
    s.drain({"t/0": numbered(*ABC)})
    s.drain({"t/0": [(0, "p:1"), (2, "p:3")]}, door="sql")


@breaks("door_misses")
def one_door_misses_the_last_record(s):
    s.log(*ABC)
    s.drain({"t/0": numbered(*ABC)})
    s.drain({"t/0": numbered("p:1", "p:2")}, door="sql")


@breaks("door_misses")
def one_door_shows_an_empty_partition(s):
    s.log(*ABC)
    s.drain({"t/0": numbered(*ABC)})
    s.drain({}, door="sql", ends={"t/0": 0})


@holds
def what_came_while_a_door_was_read_it_need_not_have(s):
    s.log("p:1", "p:2")
    s.send("p:3", None, outcome="unknown")
    s.drain({"t/0": numbered("p:1", "p:2")})
    s.drain({"t/0": numbered(*ABC)}, door="sql")


@breaks("altered")
def one_door_shows_another_timestamp(s):
    s.log("p:1")
    s.drain({"t/0": [(0, "p:1")]})
    s.drain({"t/0": [(0, "p:1")]}, door="sql")["reads"]["t/0"][0][2] = made("p:1").replace("0000.0000", "0000.1234")


@breaks("producer_order")
def a_producers_records_change_places(s):
    s.send("p:1", 1, at=(10, 50))
    s.send("p:2", 0, at=(11, 51))
    s.drain({"t/0": [(0, "p:2"), (1, "p:1")]})


@breaks("producer_order")
def a_record_in_doubt_comes_after_the_one_behind_it(s):
    s.send("p:1", None, outcome="unknown", at=(10, 2000))
    s.send("p:2", 0, at=(11, 51))
    s.drain({"t/0": [(0, "p:2"), (1, "p:1")]})


@holds
def what_a_former_session_had_under_way_may_come_later(s):
    s.send("p:1", None, outcome="unknown", session=1, at=(10, 2000))
    s.send("p:2", 0, session=2, at=(11, 51))
    s.drain({"t/0": [(0, "p:2"), (1, "p:1")]})


@breaks("real_time_order", "causal_cycle")
def a_later_record_of_another_producer_comes_before(s):
    s.send("p:1", 1)
    s.send("q:1", 0)
    s.drain({"t/0": [(0, "q:1"), (1, "p:1")]})


@breaks("real_time_order", "causal_cycle")
def a_record_is_put_before_one_that_was_read_already(s):
    s.send("p:1", None, outcome="unknown", at=(10, 9000))
    s.poll({"t/0": [(1, "p:1")]}, at=(20, 30))
    s.send("q:1", 0, at=(40, 50))
    s.drain({"t/0": [(0, "q:1"), (1, "p:1")]})


@holds
def records_that_were_sent_at_once_come_in_any_order(s):
    s.send("p:1", 1, at=(10, 50))
    s.send("q:1", 0, at=(40, 60))
    s.drain({"t/0": [(0, "q:1"), (1, "p:1")]})


@breaks("stale_read")
def a_read_to_the_end_lacks_what_was_acknowledged(s):
    s.log("p:1", "p:2")
    s.assign(added=["t/0"], at_offsets={"t/0": 0})
    s.poll({"t/0": [(0, "p:1")]}, fresh={"t/0": 1})


@holds
def a_read_to_the_end_need_not_have_what_comes_meanwhile(s):
    s.send("p:1", 0, at=(10, 20))
    s.send("p:2", 1, at=(21, 50))
    s.poll({"t/0": [(0, "p:1")]}, at=(40, 60), fresh={"t/0": 1})


@breaks("read_before_sent", "causal_cycle")
def a_record_is_read_before_it_is_sent(s):
    s.poll({"t/0": [(0, "p:1")]})
    s.log("p:1")


@breaks("read_before_sent", "causal_cycle")
def two_relays_have_each_read_what_the_other_sent_afterwards(s):
    s.poll({"t/0": [(0, "b:1")]}, "a", at=(10, 20))
    s.send("a:1", 0, "u/0", at=(21, 40))
    s.poll({"u/0": [(0, "a:1")]}, "b", at=(10, 22))
    s.send("b:1", 0, "t/0", at=(23, 41))


@breaks("causal_cycle")
def a_long_transaction_is_both_before_and_after(s):
    """p:1 comes before the transaction in t/0, which comes before q:1 in u/0, which had ended when p:1 began."""
    s.transaction("t", [("x:1", "t/0"), ("x:2", "u/0")], process="x", at=(10, 500))
    s.send("q:1", 1, "u/0", at=(20, 30))
    s.send("p:1", 0, "t/0", at=(40, 50))
    s.drain({"t/0": [(0, "p:1"), (1, "x:1")], "u/0": [(0, "x:2"), (1, "q:1")]}, at=(600, 700))


@holds
def a_long_transaction_is_after_both(s):
    s.transaction("t", [("x:1", "t/0"), ("x:2", "u/0")], process="x", at=(10, 500))
    s.send("q:1", 0, "u/0", at=(20, 30))
    s.send("p:1", 0, "t/0", at=(40, 50))
    s.drain({"t/0": [(0, "p:1"), (1, "x:1")], "u/0": [(0, "q:1"), (1, "x:2")]}, at=(600, 700))


@breaks("commit_went_back")
def a_zombie_commits_over_its_successor(s):
    s.commit(5, process="r")
    s.commit(3, process="q")


@breaks("commit_went_back")
def a_committed_offset_is_forgotten(s):
    s.commit(5, process="r")
    s.committed(-1)


@breaks("commit_went_back")
def an_offset_in_doubt_is_seen_and_then_not(s):
    s.commit(5, process="r", outcome="unknown", at=(10, 20))
    s.committed(5)
    s.committed(3)


@holds
def a_commit_in_doubt_counts_or_not(s):
    s.commit(3)
    s.commit(5, outcome="unknown")
    s.committed(3)
    s.committed(5)
    s.commit(6)
    s.committed(6)


@holds
def commits_at_once_come_in_any_order(s):
    s.commit(5, process="r", at=(10, 30))
    s.committed(3, at=(20, 40))
    s.commit(3, process="q", at=(12, 45))


@breaks("commit_forgotten")
def a_member_begins_before_what_was_committed(s):
    s.log(*ABC)
    s.assign("r", added=["t/0"])
    s.poll({"t/0": numbered(*ABC)}, "r", mode="group", group="g")
    s.commit(3, process="r")
    s.assign("q", added=["t/0"])
    s.poll({"t/0": numbered(*ABC)}, "q", mode="group", group="g")


@breaks("commit_invented")
def a_group_is_seen_where_nobody_brought_it(s):
    s.log(*ABC)
    s.assign(added=["t/0"])
    s.poll({"t/0": numbered(*ABC)}, mode="group", group="g")
    s.commit(3)
    s.committed(4)


@breaks("group_skipped")
def no_member_of_a_group_reads_a_record(s):
    s.log(*ABC)
    s.assign("r", added=["t/0"])
    s.poll({"t/0": [(0, "p:1")]}, "r", mode="group", group="g")
    s.assign("r", removed=["t/0"])
    s.assign("q", added=["t/0"])
    s.poll({"t/0": [(2, "p:3")]}, "q", mode="group", group="g")
    s.drain({"t/0": numbered(*ABC)})


@breaks("group_skipped")
def a_group_does_not_come_to_the_end(s):
    s.log(*ABC)
    s.assign(added=["t/0"])
    s.poll({"t/0": numbered("p:1", "p:2")}, mode="group", group="g")
    s.drain({"t/0": numbered(*ABC)})
    s.expect(groups=["g"])


@holds
def two_groups_each_read_everything(s):
    s.log(*ABC)
    for group in ("g", "h"):
        s.assign(group, added=["t/0"], group=group)
        s.poll({"t/0": numbered(*ABC)}, group, mode="group", group=group)
        s.commit(3, process=group, group=group)
    s.drain({"t/0": numbered(*ABC)})
    s.expect(doors=["kafka"], groups=["g", "h"])


@breaks("sink_twice")
def a_sink_has_a_record_twice(s):
    s.log(*ABC)
    s.drain({"t/0": numbered(*ABC)})
    s.sink({"t/0": [*numbered(*ABC), (1, "p:2")]})


@breaks("sink_misses")
def a_sink_lacks_a_record(s):
    s.log(*ABC)
    s.drain({"t/0": numbered(*ABC)})
    s.sink({"t/0": [(2, "p:3"), (0, "p:1")]})


@breaks("sink_misses")
def a_sink_lacks_the_last_record_though_it_was_waited_for(s):
    s.log(*ABC)
    s.drain({"t/0": numbered(*ABC)})
    s.sink({"t/0": numbered("p:1", "p:2")})
    s.expect(groups=["s"])


@breaks("sink_differs")
def a_sink_has_another_record_than_the_log(s):
    s.log("p:1", "p:2")
    s.drain({"t/0": numbered("p:1", "p:2")})
    s.sink({"t/0": numbered("p:1", "p:9")})


@breaks("went_back")
def a_sinks_session_polls_what_it_had_committed(s):
    s.log(*ABC)
    s.poll({"t/0": numbered("p:1", "p:2")}, mode="sink", group="s")
    s.poll({"t/0": numbered("p:2", "p:3", first=1)}, mode="sink", group="s", outcome="fail")


@holds
def what_a_sink_rolled_back_comes_again(s):
    s.log(*ABC)
    s.poll({"t/0": numbered("p:1", "p:2")}, mode="sink", group="s", outcome="fail")
    s.poll({"t/0": numbered("p:1", "p:2")}, mode="sink", group="s")
    s.poll({"t/0": [(2, "p:3")]}, "q", mode="sink", group="s")
    s.drain({"t/0": numbered(*ABC)})
    s.sink({"t/0": list(reversed(numbered(*ABC)))})
    s.expect(groups=["s"])


@breaks("unfinished")
def a_door_was_never_read_to_the_end(s):
    s.log("p:1")
    s.drain({"t/0": [(0, "p:1")]})
    s.drain({"t/0": [(0, "p:1")]}, door="sql", done=False)
    s.expect(doors=["kafka", "sql"])
