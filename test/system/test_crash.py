"""kill -9 of agent, PostgreSQL and S3 server, at random moments, under load from an idempotent producer.

After every series of rounds: no acknowledged record is lost, none is there twice, order is kept, and once the reaper has been
round, the store holds exactly the objects that the brain knows to be alive. STREAMHOUSE_SEED repeats a run.
"""
import os
import random
import time

import pytest

from load import Load
from stack import wait_until

pytestmark = [pytest.mark.sql, pytest.mark.mortal_store, pytest.mark.timeout(600)]

SEED = int(os.environ.get("STREAMHOUSE_SEED", random.SystemRandom().randrange(2**31)))
ROUNDS = int(os.environ.get("STREAMHOUSE_ROUNDS", "12"))
PARTITIONS = 5


def kill_agent(stack, chance):
    agent = chance.choice(stack.agents)
    agent.kill()
    time.sleep(chance.random() * 0.3)
    agent.start()


def kill_postgres(stack, chance):
    stack.postgres.kill()
    time.sleep(chance.random() * 0.5)
    stack.postgres.start()


def kill_s3(stack, chance):
    stack.store.server.kill()
    time.sleep(chance.random() * 0.5)
    stack.store.server.start()


def kill_agent_and_postgres(stack, chance):
    stack.postgres.kill()
    agent = chance.choice(stack.agents)
    agent.kill()
    stack.postgres.start()
    agent.start()


def crash_rounds(stack, load, victims, chance):
    for number in range(ROUNDS):
        victim = victims[number % len(victims)]
        load.wait_for_more(chance.randrange(1, 400))
        time.sleep(chance.random() * 0.05)
        began = time.monotonic()
        victim(stack, chance)
        load.wait_for_more(1, timeout=90)
        print(f"# round {number + 1}: {victim.__name__}, back after {time.monotonic() - began:.1f} s, "
              f"{load.acknowledged_count()} acknowledged")


def assert_no_object_is_leaked(stack):
    """Time is moved on for intents and graces; then the reaper of a new agent has to bring store and brain together."""
    for agent in stack.agents:
        agent.stop()
    database = stack.postgres
    known = {row["key"] for row in database.rows("SELECT key FROM streamhouse.object")}
    assert stack.store.keys() <= known, "an object was written that no intent was registered for"
    database.run("UPDATE streamhouse.object SET expires_at = now() - interval '1 second' WHERE state = 'intent';"
                 "ALTER DATABASE streamhouse SET streamhouse.object_grace = '0';")
    reaper = stack.start_agent("reaper", reap_interval_ms="200ms")

    def alive():
        return {row["key"] for row in database.rows("SELECT key FROM streamhouse.object WHERE state = 'live'")}

    wait_until(lambda: stack.store.keys() == alive(), 60, "store and brain agreeing on what there is")
    referred = {row["key"] for row in database.rows(
        "SELECT DISTINCT key FROM streamhouse.segment JOIN streamhouse.object USING (object_id)")}
    assert alive() == referred, "an object lives that no segment needs"
    return reaper


def run_crashes(stack, topic_name, victims, agents=1):
    print(f"# STREAMHOUSE_SEED={SEED}")
    chance = random.Random(f"{SEED} {topic_name.rsplit('-', 2)[0]}")
    for _ in range(agents):
        stack.start_agent(lease_ttl_ms="3s", heartbeat_ms="500ms")
    topic = stack.create_topic(topic_name, partitions=PARTITIONS)
    with Load(stack.kafka, topic, PARTITIONS) as load:
        crash_rounds(stack, load, victims, chance)
        load.finish()
    assert load.check() >= ROUNDS
    reaper = assert_no_object_is_leaked(stack)
    load.check(reaper.kafka)


def test_agent_and_postgres_crash(own_stack, topic_name):
    run_crashes(own_stack, topic_name, [kill_agent, kill_postgres, kill_agent, kill_agent_and_postgres])


@pytest.mark.parametrize("own_stack", ["s3"], indirect=True)
def test_the_s3_server_crashes(own_stack, topic_name):
    run_crashes(own_stack, topic_name, [kill_s3, kill_agent, kill_s3, kill_postgres])


@pytest.mark.parametrize("own_stack", ["folder"], indirect=True)
def test_one_of_two_agents_crashes(own_stack, topic_name):
    run_crashes(own_stack, topic_name, [kill_agent, kill_postgres], agents=2)
