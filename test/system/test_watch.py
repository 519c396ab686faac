"""Every agent watches every append. With many agents, appends gather before each is told, or PostgreSQL would do nothing else; and
none of them misses one."""
import threading
import time

import pytest

from sql_session import Session

pytestmark = [pytest.mark.sql, pytest.mark.any_store]

WATCHERS = 30
APPENDS = 150
PAUSE_S = 0.01
# Told of each append alone, they would be told 4,500 times; gathered by 15 to 45 ms each, some 1,600 times.
ANSWERS_MAX = 3000


class Watcher:
    """A session that does as an agent does: one call of sh_watch() after the other."""

    def __init__(self, postgres):
        self.session = Session(postgres)
        self.cursor, self.answers, self.end = self.call("0", 0)[0], 0, 0
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def call(self, cursor, timeout_ms):
        return self.session.run(f"CALL sh_watch({cursor}, {timeout_ms}, NULL, NULL, NULL);").lines[0].split("\t")

    def watch(self):
        while self.end < APPENDS:
            self.cursor, _, _, ends = self.call(self.cursor, 20_000)
            assert ends, "nothing was told for 20 s"
            self.end = int(ends.strip("{}"))
            self.answers += 1


@pytest.mark.alone
def test_many_watchers_are_told_of_many_appends_at_a_time_and_miss_none(own_stack):
    database = own_stack.postgres
    database.run("SELECT sh_create_topic('busy');")
    watchers = [Watcher(database) for _ in range(WATCHERS)]
    producer = Session(database)
    try:
        for watcher in watchers:
            watcher.thread.start()
        for number in range(APPENDS):
            producer.run(f"SELECT count(sh_produce('busy', '{number}'));")
            time.sleep(PAUSE_S)
        for watcher in watchers:
            watcher.thread.join(20)
        assert [watcher.end for watcher in watchers] == [APPENDS] * WATCHERS
    finally:
        for session in [producer, *[watcher.session for watcher in watchers]]:
            session.close()
    answers = sum(watcher.answers for watcher in watchers)
    print(f"# {answers} answers to {WATCHERS} watchers about {APPENDS} appends")
    assert answers < ANSWERS_MAX


def test_a_watcher_is_told_at_once_after_a_rest(own_stack):
    database = own_stack.postgres
    database.run("SELECT sh_create_topic('quiet');")
    watchers, producer = [Watcher(database) for _ in range(2)], Session(database)
    took = []
    try:
        for _ in range(20):
            time.sleep(0.05)
            producer.run("SELECT count(sh_produce('quiet', 'x'));")
            began = time.monotonic()
            for watcher in watchers:
                watcher.cursor, _, _, ends = watcher.call(watcher.cursor, 5000)
                assert ends
            took.append(time.monotonic() - began)
    finally:
        for session in [producer, *[watcher.session for watcher in watchers]]:
            session.close()
    assert sorted(took)[10] < 0.1
