"""pg_dump and pg_restore: a restored database has everything, and an agent goes on from there."""
import shutil
import subprocess

import pytest

from clients import CONFLUENT
from records import plain
from stack import FolderStore, Postgres, Stack, scratch_folder, wait_until

pytestmark = pytest.mark.sql

TOPICS = {"orders": 2, "clicks": 1, "inline": 1}


@pytest.fixture(scope="module")
def filled():
    """A stack with records in objects and inline, configs, grants, a producer's state, answers, a deleted topic; its agent is gone."""
    with Stack(FolderStore(), **{"streamhouse.marker_interval": "1s"}) as stack:
        agent = stack.start_agent("one")
        wait_until(lambda: stack.postgres.value("SELECT max(number) FROM streamhouse.ownership") > 0, what="an owner marker")
        stack.create_topic("orders", 2, retention_ms=86400000, cleanup_policy="compact")
        stack.create_topic("clicks", 1)
        stack.create_topic("gone", 1)
        for partition in range(2):
            CONFLUENT.send(stack.kafka, "orders", partition, plain(100, seed=partition))
        CONFLUENT.send(stack.kafka, "gone", 0, plain(10))
        CONFLUENT.send(stack.kafka, "clicks", 0, plain(50))
        stack.postgres.run("""
            SELECT sh_delete_topic('gone');
            SELECT sh_create_topic('inline');
            CREATE ROLE alice;
            CREATE ROLE leaver;
            SELECT sh_grant('orders', 'alice', 'produce'), sh_grant('cl*', 'alice', 'consume'), sh_grant('clicks', 'public', 'consume'),
                   sh_grant('orders', 'leaver', 'consume');
            DROP ROLE leaver;
        """)
        assert agent.stop() == 0
        append_inline(stack.postgres, "before the dump")
        assert polled(stack.postgres, 30) == 30
        yield stack


def append_inline(postgres, text):
    """Commits bytes to topic inline on behalf of whoever leads it: an agent that comes for that when there is none. Gives back the answer."""
    postgres.run("SELECT FROM sh_agent_heartbeat('sql', md5('sql')::uuid, 'nowhere', 1, NULL, NULL, NULL, NULL, 60000, 0);")
    answer = postgres.rows("""
        SELECT c.status, c.base_offset
        FROM streamhouse.topic AS t JOIN streamhouse.lease AS l USING (topic_id), sh_reserve_inline() AS call_id,
             LATERAL sh_commit_inline(l.agent_id, call_id, convert_to(:'text', 'UTF8'),
                                      streamhouse.pack_commit_row(t.topic_id, 0, l.epoch, byte_length => octet_length(:'text'))) AS c
        WHERE t.name = 'inline' AND t.deleted_at IS NULL""", text=text)
    postgres.run("SELECT sh_agent_leave(agent_id, incarnation) FROM streamhouse.agent WHERE name = 'sql';")
    return answer


ERA = 2 << 40  # a dump that was restored may lack what came after it: its offsets go on from here


def adopt(postgres):
    """sh_adopt() in a restored dump, with an agent that finds no marker in its store and writes one."""
    postgres.run("SELECT FROM sh_agent_heartbeat('sql', md5('sql')::uuid, 'nowhere', 1, NULL, NULL, NULL, NULL, 60000, 0);")
    end = "SELECT e.* FROM streamhouse.agent AS a, sh_marker_begin(a.agent_id) AS b, LATERAL sh_marker_end(a.agent_id, b.begun_us, b.number, {}, {}, b.body) AS e WHERE a.name = 'sql'"
    assert postgres.rows(end.format("NULL", "'{}'"))[0]["holds"] is False
    assert postgres.value("SELECT first_offset FROM sh_adopt()") == ERA
    assert postgres.rows(end.format("true", "ARRAY[b.number]"))[0]["holds"] is True
    postgres.run("SELECT sh_agent_leave(agent_id, incarnation) FROM streamhouse.agent WHERE name = 'sql';")


def polled(postgres, count):
    """How many records of clicks a group gets; it has committed them then."""
    return postgres.value(f"SELECT count(*) FROM sh_poll('readers', '{{clicks}}', {count})")


def read_inline(postgres):
    return [row["text"] for row in postgres.rows("""
        SELECT convert_from(r.bytes, 'UTF8') AS text FROM streamhouse.segment AS s JOIN streamhouse.topic AS t USING (topic_id)
        CROSS JOIN LATERAL sh_read_inline(ARRAY[s.object_id], ARRAY[s.slot], ARRAY[s.byte_start], ARRAY[s.byte_length]) AS r
        WHERE t.name = 'inline' AND s.slot > 0 AND s.end_offset <> :'era' -- no batch of ours: what ends the gap before the era
        ORDER BY s.end_offset""", era=ERA)]


def contents(postgres):
    """Every table and sequence that pg_dump is to carry, as text; roles by name."""
    names = [row["name"] for row in postgres.rows("""
        SELECT 'streamhouse.' || c.relname AS name
        FROM pg_extension AS e, unnest(e.extconfig, e.extcondition) AS d (oid, condition) JOIN pg_class AS c USING (oid)
        WHERE e.extname = 'streamhouse' AND d.condition <> 'WHERE false' ORDER BY 1""")]
    assert len(names) > 20
    found = {}
    for name in names:
        columns = "last_value, is_called" if name.endswith("_seq") else "*"
        found[name] = sorted(row["row"] for row in postgres.rows(f"SELECT row_to_json(t)::text AS row FROM (SELECT {columns} FROM {name}) AS t"))
    return found


def without_stale_grants(found):
    """The grant of a role that was dropped has a number in the place of its name, and stays behind."""
    grants = found["streamhouse.topic_grant"]
    return {**found, "streamhouse.topic_grant": [row for row in grants if '"role":"alice"' in row or '"role":"-"' in row]}


def run(*command, **options):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    assert done.returncode == 0, f"{command} failed:\n{done.stderr}"
    return done.stdout


class Elsewhere:
    """Another cluster, whose roles have other numbers, to restore to."""

    def __init__(self):
        self.folder = scratch_folder("elsewhere")
        self.postgres = Postgres(self.folder, prepared=False)

    def __enter__(self):
        self.postgres.start()
        self.psql("postgres", "CREATE ROLE somebody; CREATE ROLE else_; CREATE ROLE alice; CREATE DATABASE streamhouse;")
        return self

    def __exit__(self, *_error):
        self.postgres.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def psql(self, database, sql):
        for statement in sql.split(";")[:-1]:
            run("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", self.postgres.conninfo("streamhouse").replace("dbname=streamhouse", f"dbname={database}"),
                "-c", statement)


def restore(source, target, form, folder):
    dump = folder / f"dump.{form}"
    run("pg_dump", f"--format={form}", f"--file={dump}", "-d", source.conninfo("streamhouse"))
    if form == "plain":
        run("psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-d", target.conninfo("streamhouse"), "-f", str(dump))
    else:
        run("pg_restore", "--exit-on-error", "-d", target.conninfo("streamhouse"), str(dump))


@pytest.mark.parametrize("form", ["plain", "custom"])
def test_a_restored_database_has_everything_and_goes_on(filled, form, tmp_path):
    with Elsewhere() as elsewhere:
        restored = elsewhere.postgres
        before = without_stale_grants(contents(filled.postgres))
        restore(filled.postgres, restored, form, tmp_path)
        assert contents(restored) == before
        assert restored.value("SELECT sh_cluster_id()") == filled.postgres.value("SELECT sh_cluster_id()")
        assert restored.rows("SELECT topic, role, privilege FROM sh_grants()") == [
            {"topic": "cl*", "role": "alice", "privilege": "consume"},
            {"topic": "clicks", "role": "public", "privilege": "consume"},
            {"topic": "orders", "role": "alice", "privilege": "produce"}]
        assert restored.rows("SELECT name, value FROM sh_describe_configs('orders') WHERE NOT is_default ORDER BY 1") == [
            {"name": "cleanup.policy", "value": "compact"}, {"name": "retention.ms", "value": "86400000"}]

        # what was inline can be read, and appends go on behind it
        assert read_inline(restored) == ["before the dump"]
        adopt(restored)
        assert append_inline(restored, "after it") == [{"status": "committed", "base_offset": ERA}]
        assert read_inline(restored) == ["before the dump", "after it"]

        # a group goes on where it was
        assert restored.value("SELECT sum(high_watermark) - sum(committed_offset) = sum(lag) FROM streamhouse.lag")
        assert polled(restored, 100) == 20

        # sequences go on: nothing gets a number that was used
        used = filled.postgres.rows("SELECT max(topic_id) AS topic, (SELECT max(object_id) FROM streamhouse.object) AS object FROM streamhouse.topic")[0]
        assert restored.value("SELECT (sh_create_topic('later')).topic_id") == used["topic"] + 1
        assert restored.value("SELECT object_id FROM sh_reserve_objects(1, 1, 60000)") > used["object"]


def test_an_agent_goes_on_where_a_restored_database_is(filled, tmp_path):
    with Elsewhere() as elsewhere:
        restore(filled.postgres, elsewhere.postgres, "custom", tmp_path)
        elsewhere.psql("streamhouse", "CREATE ROLE agent LOGIN IN ROLE streamhouse_agent;")
        agent = filled.add_agent("one-again", agent_name="one", database=elsewhere.postgres.conninfo())
        agent.start()
        try:
            for partition in range(2):
                old = plain(100, seed=partition)
                new = plain(20, seed=9)
                assert [record for _, record in CONFLUENT.receive(agent.kafka, "orders", partition)] == old
                assert CONFLUENT.send(agent.kafka, "orders", partition, new) == list(range(ERA, ERA + 20))
                assert [record for _, record in CONFLUENT.receive(agent.kafka, "orders", partition)] == old + new
            assert elsewhere.postgres.value("SELECT agent_id FROM streamhouse.agent WHERE name = 'one'") == \
                filled.postgres.value("SELECT agent_id FROM streamhouse.agent WHERE name = 'one'")
        finally:
            agent.kill()


def test_what_is_measured_stays_behind(filled, tmp_path):
    filled.postgres.run("SELECT sh_sample(0);")
    with Elsewhere() as elsewhere:
        restore(filled.postgres, elsewhere.postgres, "custom", tmp_path)
        assert elsewhere.postgres.rows("SELECT * FROM streamhouse.throughput") == []
        elsewhere.postgres.run("SELECT sh_sample(0); SELECT sh_sample(0);")
        # what was there before the first sample is not taken for new
        assert [row["records"] for row in elsewhere.postgres.rows("SELECT records FROM streamhouse.throughput")] == [0] * len(TOPICS)
