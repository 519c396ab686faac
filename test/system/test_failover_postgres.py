"""PostgreSQL fails over, for real: etcd, Patroni, a primary and a synchronous standby, from deploy/postgres-ha. The primary is
killed with kill -9, with its manager, then the next one frozen, under load from an idempotent producer and from SQL; agents follow
by themselves.

No acknowledged record is lost or there twice, order is kept, writes are back within ten seconds of the promotion. STREAMHOUSE_FAILOVERS
says how many: 1 as a rule, 2 is there and back.
"""
import os
import random
import time

import pytest

import one_log
from clients import CONFLUENT
from load import Load
from one_log import History, Outcome
from postgres_ha import PostgresHA
from sql_load import AutocommitProducer
from stack import FolderStore, Stack, wait_until

pytestmark = [pytest.mark.sql, pytest.mark.any_store, pytest.mark.alone, pytest.mark.timeout(900)]

ROUNDS = int(os.environ.get("STREAMHOUSE_FAILOVERS", "1"))
WRITES_BACK_S = 10
PARTITIONS = 4
SQL_PARTITIONS = 2


@pytest.fixture
def stack():
    with Stack(FolderStore(), postgres=PostgresHA) as mine:
        for name in ("one", "two"):
            mine.start_agent(name, lease_ttl_ms="5s")
        yield mine


class SqlLoad:
    """sh_produce() in two sessions, each a transaction of its own."""

    def __init__(self, postgres, topic):
        self.topic, self.history = topic, History()
        self.writers = [AutocommitProducer(self.history, postgres, f"sql{number}", [topic], SQL_PARTITIONS, random.Random(number))
                        for number in range(2)]

    def __enter__(self):
        for writer in self.writers:
            writer.start()
        return self

    def __exit__(self, *_error):
        for writer in self.writers:
            writer.stopping.set()
        for writer in self.writers:
            writer.join(60)

    def acknowledged_count(self):
        return self.history.count(Outcome.ACKNOWLEDGED)

    def check(self, kafka):
        # Until an agent has looked at the store, a promoted server gives no offsets, and says so.
        assert not [error for writer in self.writers for error in writer.errors if "not known to be the owner" not in error]
        log = {(self.topic, number): [(offset, record.value) for offset, record in CONFLUENT.receive(kafka, self.topic, number)]
               for number in range(SQL_PARTITIONS)}
        assert not one_log.violations(self.history, log)


def is_writable(postgres, node):
    try:
        return postgres.run_at(node, "SELECT NOT pg_is_in_recovery();") == ["t"]
    except RuntimeError:
        return False


def killed(postgres):
    """kill -9 of all that runs on the primary's machine."""
    return postgres.kill_primary()


def frozen(postgres):
    """It keeps every connection and answers none."""
    node = postgres.primary()
    postgres.freeze_node(node)
    return node


def thaw(postgres, node):
    postgres.thaw_node(node)


def restart(postgres, node):
    postgres.restart_node(node)


# How a primary is lost, who may be expected to write while it is away, and how it comes back. A session of psql waits for a frozen
# server as long as the operating system does.
LOSSES = [(killed, ["kafka", "sql"], restart), (frozen, ["kafka"], thaw)]


def lose_primary(stack, how, loads):
    """Returns when every load was acknowledged something by the new one: (lost node, seconds to the promotion, and from there to the
    last load's first acknowledged record)."""
    postgres = stack.postgres
    survivor = postgres.wait_for_standby()
    began = time.monotonic()
    lost = how(postgres)
    wait_until(lambda: is_writable(postgres, survivor), 60, "a promotion")
    promoted = time.monotonic()
    counts = [load.acknowledged_count() for load in loads]
    wait_until(lambda: all(load.acknowledged_count() > count for load, count in zip(loads, counts)), 60, "an acknowledged record")
    return lost, promoted - began, time.monotonic() - promoted


def fail_over(stack, loads, number):
    """One failover, and the lost node's return as a standby."""
    postgres = stack.postgres
    how, writers, bring_back = LOSSES[(number - 1) % len(LOSSES)]
    leaders = stack.leaders("kafka")
    lost, to_promotion, to_write = lose_primary(stack, how, [loads[name] for name in writers])
    print(f"# failover {number}: node {lost} {how.__name__}, promotion after {to_promotion:.1f} s, first writes {to_write:.1f} s after it")
    assert to_write <= WRITES_BACK_S
    for agent in stack.agents:
        wait_until(lambda: agent.metric("streamhouse_brain_failovers_total") == number, 20, "the metric of failovers")
        agent.wait_ready()
        assert "not ready: no PostgreSQL for" in agent.log(), "/ready has not said that PostgreSQL is away"
        assert agent.metric("streamhouse_brain_unavailable_seconds") == 0
        assert agent.metric("streamhouse_brain_unavailable_seconds_total") > 0
    assert stack.leaders("kafka") == leaders, "a lease has moved: that of an agent which lives has expired"
    began = time.monotonic()
    bring_back(postgres, lost)
    wait_until(lambda: postgres.standby() == lost, 90, "the lost node's return")
    print(f"# failover {number}: node {lost} is the synchronous standby after {time.monotonic() - began:.1f} s")


def epochs(postgres):
    return {row["partition"]: row["epoch"] for row in postgres.rows(
        "SELECT partition, epoch FROM streamhouse.lease JOIN streamhouse.topic USING (topic_id) WHERE name = 'kafka'")}


def test_failovers_there_and_back_lose_and_double_nothing(stack):
    stack.create_topic("kafka", PARTITIONS)
    stack.create_topic("sql", SQL_PARTITIONS)
    with Load(stack.kafka, "kafka", PARTITIONS, records_per_s=1000) as kafka, SqlLoad(stack.postgres, "sql") as sql:
        for number in range(1, ROUNDS + 1):
            kafka.wait_for_more(200)
            sql_before = sql.acknowledged_count()
            wait_until(lambda: sql.acknowledged_count() > sql_before, 60, "SQL that writes")
            before = epochs(stack.postgres)
            fail_over(stack, {"kafka": kafka, "sql": sql}, number)
            after = epochs(stack.postgres)
            assert all(after[partition] > before[partition] for partition in before), "a promotion has not raised the leader epochs"
        kafka.finish()
    assert kafka.check() >= 400
    sql.check(stack.kafka)
