#!/usr/bin/python3
"""tally.py LOG: counts the tests in a log, as "passed failed skipped".

Understands TAP (our unit tests, stages and system tests, and pg_regress since PostgreSQL 16) and pg_regress before that.
"""
import re
import sys

TAP = re.compile(r"^(not )?ok\b(?P<rest>.*)")
REGRESS = re.compile(r"^(test |     )\S.*? \.\.\. (?P<verdict>ok|FAILED|failed)\b")


def verdict_of(line):
    tap = TAP.match(line)
    if tap:
        if re.search(r"# skip", tap["rest"], re.IGNORECASE):
            return "skipped"
        return "failed" if tap[1] else "passed"
    regress = REGRESS.match(line)
    if regress:
        return "passed" if regress["verdict"] == "ok" else "failed"
    return None


def main():
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    with open(sys.argv[1], encoding="utf-8", errors="replace") as log:
        for line in log:
            verdict = verdict_of(line)
            if verdict:
                counts[verdict] += 1
    print(counts["passed"], counts["failed"], counts["skipped"])


if __name__ == "__main__":
    main()
