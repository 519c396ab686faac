"""test_verdict.py: what the checker says of a history beside which rules it breaks."""
import pytest

import checker
import cycles
import test_checker as stories
from story import Story


def test_a_violation_names_its_operations(tmp_path):
    story = Story(tmp_path)
    stories.an_acknowledged_record_is_lost(story)
    text = story.check().text()
    assert "lost_write: p:2 was acknowledged at t/0 offset 1" in text
    assert "p send ok session=1 t/0@1 p:2" in text
    assert "NOT VALID: 2 violations" in text


def test_many_violations_are_counted_and_some_shown(tmp_path):
    story = Story(tmp_path)
    story.log(*(f"p:{number}" for number in range(100)))
    story.drain({"t/0": [(99, "p:99")]})
    verdict = story.check()
    assert verdict.broken["undrained"] == 99
    assert sum(violation.kind == "undrained" for violation in verdict.violations) == checker.SHOWN_MAX


def test_a_line_that_was_cut_off_is_left_out(tmp_path):
    story = Story(tmp_path)
    stories.what_was_sent_is_read(story)
    story.write(died=["p"])
    with open(tmp_path / "p.jsonl", "a", encoding="utf-8") as file:
        file.write('{"process": "p", "op": "se')
    verdict = checker.check(tmp_path)
    assert verdict.valid and "p did not end by itself" in verdict.text()


def test_operations_are_counted_by_client(tmp_path):
    story = Story(tmp_path)
    stories.what_is_unknown_is_there_or_not(story)
    counts = story.check().clients["made up"]
    assert counts == {"operations": 5, "acknowledged": 1, "unknown": 2, "read": 2}


def test_a_cycle_is_found_across_windows(tmp_path):
    story = Story(tmp_path)
    stories.a_long_transaction_is_both_before_and_after(story)
    for number in range(40):
        story.send(f"z:{number}", number, "z/0")
    story.write()
    ledger = checker.Ledger(tmp_path)
    assert len(list(cycles.causal_cycle(ledger, size=8))) == 1


def test_no_history_is_no_verdict(tmp_path):
    with pytest.raises(FileNotFoundError):
        checker.check(tmp_path)
