"""A physical standby: it reads, refuses to write in words that say why, and takes over when it is promoted."""
import shutil
import threading
import time

import pytest

from clients import CONFLUENT
from records import plain
from stack import FolderStore, Stack, Standby, scratch_folder, wait_until

pytestmark = [pytest.mark.sql, pytest.mark.anywhere]

TTL_MS = 4000


@pytest.fixture
def pair():
    """A stack with an agent and records, and a standby that has replayed them."""
    folder = scratch_folder("standby")
    with Stack(FolderStore(), **{"streamhouse.marker_interval": "1s"}) as stack:
        stack.start_agent("one", lease_ttl_ms=TTL_MS)
        wait_until(lambda: stack.postgres.value("SELECT max(number) FROM streamhouse.ownership") > 0, what="an owner marker")
        stack.create_topic("orders", 2)
        for partition in range(2):
            CONFLUENT.send(stack.kafka, "orders", partition, plain(100, seed=partition))
        standby = Standby(stack.postgres, folder)
        standby.start()
        try:
            standby.catch_up(stack.postgres)
            yield stack, standby
        finally:
            standby.stop("immediate")
            shutil.rmtree(folder, ignore_errors=True)


READS = {
    "sh_find_segments": "SELECT base_offset, end_offset FROM sh_find_segments('{1,1}', '{0,1}', '{0,0}', '{1000000,1000000}', 10000000)",
    "sh_list_offsets": "SELECT request, \"offset\" FROM sh_list_offsets('{1,1}', '{0,1}', '{-1,-2}')",
    "sh_offsets_for_leader_epochs": "SELECT * FROM sh_offsets_for_leader_epochs('{1}', '{0}', '{1}')",
    "sh_fetch": "SELECT partition, \"offset\", encode(value, 'hex') AS value FROM sh_fetch('orders', 1, 90)",
    "sh_read": "SELECT count(*) FROM sh_read('orders')",
    "sh_groups": "SELECT * FROM sh_groups()",
    "lag": "SELECT * FROM streamhouse.lag",
    "sh_describe_topic": "SELECT partition, high_watermark, bytes FROM sh_describe_topic('orders')",
    "sh_describe_configs": "SELECT * FROM sh_describe_configs('orders')",
    "sh_describe_broker_configs": "SELECT * FROM sh_describe_broker_configs()",
    "sh_partition_sizes": "SELECT * FROM sh_partition_sizes()",
    "sh_grants": "SELECT * FROM sh_grants()",
    "sh_catalog": "SELECT count(*) FROM sh_catalog()",
    "sh_cluster_id": "SELECT sh_cluster_id()",
    "topics": "SELECT topic, offsets, bytes FROM streamhouse.topics",
    "partitions": "SELECT * FROM streamhouse.partitions ORDER BY topic, partition",
    "objects": "SELECT key, state, segments FROM streamhouse.objects ORDER BY object_id",
    "throughput": "SELECT * FROM streamhouse.throughput",
    "storage": "SELECT kind, name FROM streamhouse.storage ORDER BY kind, name",
    "slow_commits": "SELECT * FROM streamhouse.slow_commits WHERE false",
}


def test_what_reads_answers_as_on_the_primary(pair):
    stack, standby = pair
    for name, query in READS.items():
        assert standby.rows(query) == stack.postgres.rows(query), name
    warnings = [row["value"] for row in standby.rows("SELECT value FROM sh_overview() WHERE what = 'warning'")]
    assert "this server is a standby: it answers reads only" in warnings


def test_what_writes_says_that_it_cannot(pair):
    stack, standby = pair
    stack.postgres.run("CREATE ROLE alice;")
    standby.catch_up(stack.postgres)
    for call in [
        "sh_create_topic('more')", "sh_delete_topic('orders')", "sh_alter_topic('orders', '{}')", "sh_add_partitions('orders', 5)",
        "sh_grant('orders', 'alice', 'produce')", "sh_revoke('orders', 'alice', 'produce')",
        "sh_agent_heartbeat('one', md5('x')::uuid, 'h', 1, NULL, NULL, NULL, NULL, 1000, 0)", "sh_agent_leave(1, md5('x')::uuid)",
        "sh_reserve_objects(1, 1, 1000)", "sh_reserve_inline()", "sh_init_producer()", "sh_sample(0)", "sh_reap(1, 1)",
        "sh_produce('orders', 'x')", "sh_enqueue('orders', 'x')", "sh_poll('readers', '{orders}')", "sh_delete_group('readers')",
        "sh_delete_records('orders', 0)",
        "sh_commit_object(1, 1, 100, streamhouse.pack_commit_row(1, 0, 1))", "sh_commit_inline(1, 1, '\\x00', streamhouse.pack_commit_row(1, 0, 1))",
    ]:
        with pytest.raises(RuntimeError, match="read-only transaction|recovery") as refused:
            standby.run(f"SELECT {call};")
        assert "cannot execute" in str(refused.value), call


def heard_by_a_watcher(postgres, act):
    """What a session that waits in sh_watch() is told when act() is called, and after how many seconds."""
    heard = []

    def watch():
        heard.append(postgres.run("""
            CALL sh_watch(0, 0) \\gset
            CALL sh_watch(:cursor, 20000) \\gset
            SELECT :'topic_ids' || :'partitions' || :'end_offsets';
        """))

    watcher = threading.Thread(target=watch)
    watcher.start()
    time.sleep(1)
    acted = time.monotonic()
    act()
    watcher.join(30)
    return heard, time.monotonic() - acted


def test_a_watcher_on_the_standby_hears_of_what_is_replayed(pair):
    stack, standby = pair
    heard, seconds = heard_by_a_watcher(standby, lambda: CONFLUENT.send(stack.kafka, "orders", 1, plain(5, seed=2)))
    assert heard == [["{1}{1}{105}"]]
    assert seconds < 10, "it slept on until its time was up"


def promote(stack, standby):
    """The primary dies with its agent; the standby is promoted when the agent's lease has expired long since."""
    agent = stack.agents[0]
    standby.catch_up(stack.postgres)
    agent.kill()
    stack.postgres.kill()
    time.sleep(TTL_MS / 1000 + 0.5)
    standby.promote()
    return agent


def test_no_lease_expires_for_one_ttl_after_a_promotion(pair):
    stack, standby = pair
    promote(stack, standby)
    promoted = time.monotonic()
    assert standby.value("SELECT expires_at < now() FROM streamhouse.agent WHERE name = 'one'")
    assert standby.rows("SELECT name FROM streamhouse.live_agent") == [{"name": "one"}]
    standby.run("SELECT FROM sh_agent_heartbeat('two', md5('two')::uuid, 'h', 1, NULL, NULL, NULL, NULL, 60000, 0);")
    assert standby.value("SELECT count(*) FROM streamhouse.live_agent") == 2
    wait_until(lambda: standby.rows("SELECT name FROM streamhouse.live_agent") == [{"name": "two"}], 3 * TTL_MS / 1000, "the lease's end")
    assert time.monotonic() - promoted > TTL_MS / 1000 - 1


def test_an_agent_goes_on_with_the_promoted_standby(pair):
    """In a new era, since the standby was not synchronous."""
    stack, standby = pair
    promote(stack, standby)
    first = 2 << 40
    again = stack.add_agent("one-again", agent_name="one", database=standby.conninfo()).start()
    for partition in range(2):
        old = plain(100, seed=partition)
        new = plain(20, seed=9)
        assert [record for _, record in CONFLUENT.receive(again.kafka, "orders", partition)] == old
        assert CONFLUENT.send(again.kafka, "orders", partition, new) == list(range(first, first + 20))
        assert [record for _, record in CONFLUENT.receive(again.kafka, "orders", partition)] == old + new
    heard, seconds = heard_by_a_watcher(standby, lambda: CONFLUENT.send(again.kafka, "orders", 0, plain(1)))
    assert heard == [["{1}{0}{%d}" % (first + 21)]]
    assert seconds < 10
