"""A short chaos run, with whatever faults this machine permits: no invariant is violated, and everything recovers.

STREAMHOUSE_SEED repeats a run; without it every day has its own. Longer ones: test/chaos/run --minutes 30.
"""
import datetime
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
SEED = os.environ.get("STREAMHOUSE_SEED", datetime.date.today().strftime("%Y%m%d"))
MINUTES = os.environ.get("STREAMHOUSE_CHAOS_MINUTES", "1.2")

sys.path[:0] = [str(HERE)]

import faults  # noqa: E402
import nemesis  # noqa: E402

pytestmark = pytest.mark.long
SHAPE = faults.Shape(agents=3, store="s3", partitions=True, clocks=True)


@pytest.mark.timeout(900)
def test_what_clients_are_told_stays_true_under_faults():
    done = subprocess.run([str(HERE / "run"), "--minutes", MINUTES, "--seed", SEED, "--calm", "4"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    lines = done.stdout.strip().split("\n")
    print(f"# seed {SEED}: {lines[-1]}")
    assert done.returncode == 0, "\n".join(lines[-80:])


def test_a_seed_makes_the_same_schedule_again():
    assert nemesis.draw(7, 600, SHAPE) == nemesis.draw(7, 600, SHAPE)
    assert nemesis.draw(7, 600, SHAPE) != nemesis.draw(8, 600, SHAPE)


def test_an_hour_has_every_fault_and_no_two_that_want_the_same():
    steps = nemesis.draw(1, 3600, SHAPE)
    assert {step.kind for step in steps} == set(faults.KINDS)
    for number, step in enumerate(steps):
        for other in steps[number + 1:]:
            if other.at_s < step.at_s + step.lasts_s:
                assert not step.resources & other.resources, (step, other)


def test_only_what_is_wanted_and_possible_is_drawn():
    bare = faults.Shape(agents=3, store="folder", partitions=False, clocks=False)
    assert {faults.KINDS[name].family for name in nemesis.kinds_for(bare)} == {"agents", "postgres"}
    assert set(nemesis.kinds_for(SHAPE, ["clock", "failover"])) > {"failover", "agent_wall_clock_jumps"}
    with pytest.raises(ValueError, match="no such fault"):
        nemesis.kinds_for(SHAPE, ["earthquake"])
    with pytest.raises(ValueError, match="none of these"):
        nemesis.kinds_for(bare, ["network"])
