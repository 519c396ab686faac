"""A crash of PostgreSQL takes back renewals whose commits did not wait for the disk; no agent loses its leases for that before it
has stopped by itself."""
import shutil
import time

import pytest

from stack import Postgres, scratch_folder, wait_until

TTL_S = 5


class Beating:
    """An agent as PostgreSQL knows it."""

    def __init__(self, postgres, name, group):
        self.postgres, self.name, self.group, self.known = postgres, name, group, 0

    def beat(self):
        (self.known,) = self.postgres.run(
            "SELECT h.lease_version FROM sh_agent_heartbeat(:'name', md5(:'name')::uuid, 'h', 1, NULL, NULL, NULL, NULL, :'ttl_ms', :'known', NULL, :'group') AS h",
            name=self.name, group=self.group, known=self.known, ttl_ms=TTL_S * 1000)

    def heartbeat_at(self):
        return self.postgres.value("SELECT heartbeat_at FROM streamhouse.agent WHERE name = :'name'", name=self.name)


@pytest.fixture
def postgres():
    """Whose WAL is written late, so that a crash is sure to take something back."""
    folder = scratch_folder("renewals")
    postgres = Postgres(folder, wal_writer_delay="10s")
    try:
        postgres.start()
        postgres.prepare()
        yield postgres
    finally:
        postgres.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


def leaders(postgres):
    return postgres.run("SELECT DISTINCT a.name FROM streamhouse.lease AS l JOIN streamhouse.agent AS a USING (agent_id)")


@pytest.mark.sql
def test_a_renewal_that_a_crash_takes_back_costs_no_lease(postgres):
    # Of a group of its own, so that nothing is to be handed over to the other.
    one, two = Beating(postgres, "one", "its own"), Beating(postgres, "two", "another")
    postgres.run("""SELECT FROM sh_create_topic('t', 4, '{"streamhouse.agent.group": "its own"}')""")
    for _ in range(3):
        one.beat()
    postgres.run("CREATE TABLE written_out ()")
    time.sleep(1)
    sent = time.monotonic()
    one.beat()
    told = one.heartbeat_at()
    postgres.kill()
    postgres.start()
    assert one.heartbeat_at() < told, "nothing was taken back"
    while time.monotonic() < sent + TTL_S:
        two.beat()
        assert leaders(postgres) == ["one"]
        time.sleep(0.1)

    def two_leads():
        two.beat()
        return leaders(postgres) == ["two"]
    wait_until(two_leads, TTL_S + 5, "the leases of the agent that is never heard of again")
