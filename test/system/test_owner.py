"""The store's owner marker: clones and restored backups destroy nothing and give no offset that somebody else gave."""
import json
import shutil
import time

import pytest

from clients import CONFLUENT, KAFKA_PYTHON
from conftest import STORES
from records import Record
from stack import Copy, FolderStore, Standby, scratch_folder, wait_until

pytestmark = pytest.mark.sql

QUICK = {"streamhouse.marker_interval": "1s", "streamhouse.object_grace": "0", "streamhouse.intent_ttl": "2s"}
EAGER = {"reap_interval_ms": 200, "mover_interval_ms": 200}
ERA = 1 << 40


def alter(postgres, **settings):
    for name, value in settings.items():
        postgres.run(f"ALTER SYSTEM SET {name} = '{value}'")
    postgres.run("SELECT pg_reload_conf();")


def ownership(postgres):
    rows = postgres.rows("SELECT * FROM streamhouse.ownership")
    return rows[0] if rows else {"state": None, "number": 0}


def owns(postgres):
    return ownership(postgres)["state"] == "owner" and ownership(postgres)["deletes"]


def why_not_ready(agent):
    """What /ready says of the owner marker; None when nothing is wrong with it."""
    status, body = agent.http("/ready")
    for condition in json.loads(body)["conditions"] if status else []:
        if condition["name"] == "owner" and not condition["ready"]:
            assert status == 503
            return condition["reason"]
    return None


def sent(agent, topic, count, seed):
    """Sends records to partition 0 and gives back {offset: value}."""
    records = [Record(None, b"%d-%d" % (seed, number)) for number in range(count)]
    return dict(zip(CONFLUENT.send(agent.kafka, topic, 0, records), [record.value for record in records]))


def merged(*logs):
    """All that was seen, which must not contradict itself."""
    whole = {}
    for log in logs:
        for offset, value in log.items():
            assert whole.setdefault(offset, value) == value, f"offset {offset} has two values"
    return whole


def received(agent, topic):
    return {offset: record.value for offset, record in CONFLUENT.receive(agent.kafka, topic, 0)}


@pytest.fixture
def pair(own_stack):
    """A stack with an agent and records, and a running copy of its database with nobody at work on it yet."""
    alter(own_stack.postgres, **QUICK)
    one = own_stack.start_agent("one", **EAGER)
    own_stack.create_topic("orders", streamhouse_write_path="object")
    own_stack.create_topic("doomed", streamhouse_write_path="object")
    before = sent(one, "orders", 100, seed=1)
    sent(one, "doomed", 100, seed=2)
    wait_until(lambda: ownership(own_stack.postgres)["number"] >= 2, what="two markers")
    folder = scratch_folder("clone")
    clone = Copy(own_stack.postgres, folder)
    clone.start()
    try:
        yield own_stack, one, clone, before
    finally:
        for agent in own_stack.agents:
            if agent.is_running():
                agent.kill()
        clone.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


def start_on(stack, name, postgres, **settings):
    return stack.add_agent(name, database=postgres.conninfo(), **EAGER, **settings).start(ready=False)


def test_a_clone_beside_the_original_destroys_nothing(pair):
    stack, one, clone, before = pair
    # all that the clone could want to delete: objects of a topic, and keys that are objects only in the original by now
    clone.run("SELECT sh_delete_topic('doomed'); UPDATE streamhouse.object SET expires_at = now() - interval '1 minute' WHERE state = 'intent';")
    before |= sent(one, "orders", 100, seed=3)
    there = stack.store.keys()
    assert there

    two = start_on(stack, "two", clone)
    reason = wait_until(lambda: "sh_adopt()" in (why_not_ready(two) or "") and why_not_ready(two), what="its having seen the original's marker")
    assert "ends at" in reason
    for _ in range(20):
        assert why_not_ready(two)
        assert clone.value("SELECT count(*) FROM streamhouse.lease WHERE agent_id IS NOT NULL") == 0
        time.sleep(0.1)
    assert two.metric("streamhouse_reaper_objects_deleted_total") == 0
    assert two.metric("streamhouse_owner") == 0
    with pytest.raises(RuntimeError, match="not known to be the owner"):
        clone.run("SELECT sh_produce('orders', 'x');")
    assert "may not be the owner" in " ".join(row["value"] for row in clone.rows("SELECT value FROM sh_overview() WHERE what = 'warning'"))

    assert there <= stack.store.keys()
    assert why_not_ready(one) is None
    assert list(sent(one, "orders", 50, seed=4)) == list(range(200, 250)), "the original was disturbed"
    assert len(received(one, "orders")) == 250
    assert owns(stack.postgres)


@pytest.mark.any_store
def test_the_original_goes_on_through_restarts_of_its_server(own_stack):
    alter(own_stack.postgres, **QUICK)
    one = own_stack.start_agent("one")
    own_stack.create_topic("orders")
    seen = sent(one, "orders", 10, seed=1)
    wait_until(lambda: owns(own_stack.postgres), what="a marker")
    for seed, stop in ((2, own_stack.postgres.kill), (3, own_stack.postgres.stop)):
        stop()
        own_stack.postgres.start()
        own_stack.postgres.run("SELECT sh_produce('orders', 'by SQL');")  # at once: it is the same server
        seen = merged(seen, sent(one, "orders", 10, seed=seed))
        one.wait_ready()
        wait_until(lambda: owns(own_stack.postgres), what="the next marker")
    assert len(received(one, "orders")) == 32
    assert max(seen) == 31
    assert ownership(own_stack.postgres)["era"] == 0


def test_a_clone_that_adopts_fences_the_original(pair):
    stack, one, clone, before = pair
    before = merged(before, sent(one, "orders", 100, seed=3))
    two = start_on(stack, "two", clone)
    wait_until(lambda: "sh_adopt()" in (why_not_ready(two) or ""), what="the clone's refusal")
    assert clone.rows("SELECT * FROM sh_adopt()") == [{"era": 2, "first_offset": 2 * ERA, "first_epoch": 2 << 16}]
    two.wait_ready()
    wait_until(lambda: owns(clone), what="the adoption")
    # readers get to the end, beyond the gap, though nothing is there yet
    for client in (CONFLUENT, KAFKA_PYTHON):
        assert [offset for offset, _ in client.receive(two.kafka, "orders", 0)] == list(range(100))
    by_clone = sent(two, "orders", 100, seed=4)
    assert min(by_clone) == 2 * ERA

    reason = wait_until(lambda: why_not_ready(one), what="the original's fencing")
    assert "sh_adopt()" in reason
    with pytest.raises(RuntimeError, match="not known to be the owner"):
        stack.postgres.run("SELECT sh_produce('orders', 'x');")
    keys = stack.store.keys()
    time.sleep(1)
    assert keys <= stack.store.keys(), "the original deleted what it does not own any more"

    # the clone has what it had when it was made, and what it got since
    assert received(two, "orders") == merged({offset: value for offset, value in before.items() if offset < 100}, by_clone)
    everything = merged(before, by_clone, received(two, "orders"))

    # and the other way round
    assert stack.postgres.value("SELECT era FROM sh_adopt()") == 4
    one.wait_ready()
    wait_until(lambda: why_not_ready(two), what="the clone's fencing")
    again = sent(one, "orders", 100, seed=5)
    assert min(again) == 4 * ERA
    assert received(one, "orders") == merged(before, again)
    merged(everything, again)


@pytest.mark.any_store
def test_a_clone_with_a_store_of_its_own_leaves_the_original_alone(pair):
    stack, one, clone, before = pair
    elsewhere = FolderStore()
    try:
        two = stack.add_agent("two", database=clone.conninfo(), store=elsewhere.url).start(ready=False)
        wait_until(lambda: "was it emptied?" in (why_not_ready(two) or ""), what="its missing the marker")
        clone.run("SELECT sh_adopt();")
        two.wait_ready()
        wait_until(lambda: owns(clone), what="the adoption")
        assert min(sent(two, "orders", 10, seed=6)) == 2 * ERA
        # what is in objects is in the original's store, and nowhere else
        alter(clone, **{"streamhouse.store": elsewhere.url})
        missing = clone.rows("SELECT key, topics FROM sh_missing_objects()")
        assert {row["key"] for row in missing} <= stack.store.keys() and {"orders", "doomed"} <= {topic for row in missing for topic in row["topics"]}
        with pytest.raises(RuntimeError, match="orders|exist|gone"):
            clone.run("SELECT count(*) FROM sh_fetch('orders', 0, 0);")
        alter(clone, **{"streamhouse.store": stack.store.url})
        assert {row["key"] for row in clone.rows("SELECT key FROM sh_missing_objects()")} <= elsewhere.keys()
        two.kill()
        assert owns(stack.postgres) and why_not_ready(one) is None
        assert list(sent(one, "orders", 10, seed=7)) == list(range(100, 110))
    finally:
        elsewhere.close()


@pytest.mark.any_store
def test_whoever_has_another_store_than_the_marked_one_is_told(own_stack, new_store):
    alter(own_stack.postgres, **QUICK)
    one = own_stack.start_agent("one")
    wait_until(lambda: ownership(own_stack.postgres)["number"] >= 2, what="two markers")
    one.stop()
    elsewhere = new_store(own_stack.store.kind)
    try:
        marked = ownership(own_stack.postgres)["number"]
        two = own_stack.add_agent("two", store=elsewhere.url).start()
        reason = wait_until(lambda: ownership(own_stack.postgres)["reason"], what="its being noticed")
        assert "was it emptied?" in reason
        wait_until(lambda: not ownership(own_stack.postgres)["deletes"], what="the end of deletions")
        assert ownership(own_stack.postgres)["number"] == marked
        two.stop()
        own_stack.add_agent("three").start()
        wait_until(lambda: owns(own_stack.postgres) and ownership(own_stack.postgres)["number"] > marked, what="the right store's marker")
    finally:
        elsewhere.close()


@pytest.mark.parametrize("own_stack", STORES[-1:], indirect=True)
def test_without_conditional_put_markers_are_read_back(own_stack):
    alter(own_stack.postgres, **QUICK)
    settings = {"s3_conditional": "off"} if own_stack.store.kind == "s3" else {}
    one = own_stack.start_agent("one", **settings)
    wait_until(lambda: ownership(own_stack.postgres)["number"] >= 14, what="fourteen markers")
    assert why_not_ready(one) is None
    markers = [key for key in own_stack.store.all_keys() if key.startswith("owner/")]
    assert 8 <= len(markers) <= 11, "old markers are removed, some are kept"
    assert one.metric("streamhouse_owner_marker_failures_total") == 0


@pytest.fixture
def replicated(own_stack):
    """A stack and a standby of its database, not synchronous yet, with agents that follow whichever is the primary."""
    alter(own_stack.postgres, **QUICK)
    folder = scratch_folder("standby")
    standby = Standby(own_stack.postgres, folder)
    standby.start()
    both = (f"host={own_stack.postgres.folder / 'socket'},{folder / 'socket'} port={own_stack.postgres.port},{standby.port} "
            "dbname=streamhouse user=agent target_session_attrs=read-write")
    own_stack.add_agent("one", database=both, lease_ttl_ms=3000, database_retry_ms=200).start()
    own_stack.create_topic("orders")
    try:
        yield own_stack, own_stack.agents[0], standby
    finally:
        own_stack.agents[0].kill()
        standby.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.any_store
def test_a_synchronous_standby_goes_on_by_itself_without_a_gap(replicated):
    stack, one, standby = replicated
    alter(stack.postgres, synchronous_standby_names="walreceiver")
    wait_until(lambda: ownership(stack.postgres)["synchronous_names"] == ["walreceiver"], what="a marker that knows of the standby")
    before = sent(one, "orders", 100, seed=1)
    epoch = stack.postgres.value("SELECT max(epoch) FROM streamhouse.lease")
    stack.postgres.kill()
    standby.promote()
    promoted = time.monotonic()
    after = sent(one, "orders", 100, seed=2)
    print(f"# writes were back {time.monotonic() - promoted:.2f} s after the promotion")
    assert time.monotonic() - promoted < 10
    assert sorted(merged(before, after)) == list(range(200)), "there is a gap"
    assert standby.value("SELECT min(epoch) FROM streamhouse.lease") > epoch, "epochs were not raised before the first write"
    wait_until(lambda: owns(standby), what="the next marker")
    assert ownership(standby)["era"] == 0
    assert one.is_running() and received(one, "orders") == merged(before, after)


@pytest.mark.any_store
def test_an_asynchronous_standby_goes_on_beyond_what_it_may_have_missed(replicated):
    stack, one, standby = replicated
    before = sent(one, "orders", 100, seed=1)
    standby.catch_up(stack.postgres)
    stack.postgres.kill()
    standby.promote()
    assert wait_until(lambda: not one.is_running(), what="the agent's end: it remembers what may not be there") or one.process.returncode == 1
    one.start()
    wait_until(lambda: owns(standby), what="the standby's proof")
    after = sent(one, "orders", 100, seed=2)
    assert min(after) == 2 * ERA
    assert received(one, "orders") == merged(before, after)


@pytest.mark.any_store
def test_an_asynchronous_standby_that_missed_markers_waits_for_adoption(replicated):
    stack, one, standby = replicated
    before = sent(one, "orders", 100, seed=1)
    standby.catch_up(stack.postgres)
    standby.stop("immediate")
    marked = ownership(stack.postgres)["number"]
    wait_until(lambda: ownership(stack.postgres)["number"] > marked + 1, what="markers that the standby misses")
    lost = sent(one, "orders", 100, seed=2)
    stack.postgres.kill()
    standby.start()
    standby.promote()
    wait_until(lambda: not one.is_running(), what="the agent's end: it remembers what is not there")
    one.start(ready=False)
    reason = wait_until(lambda: "sh_adopt()" in (why_not_ready(one) or "") and why_not_ready(one), what="the refusal")
    assert "history of this database" in reason
    assert standby.value("SELECT first_offset FROM sh_adopt()") == 2 * ERA
    one.wait_ready()
    after = sent(one, "orders", 100, seed=3)
    merged(before, lost, after)
    assert received(one, "orders") == merged(before, after)
