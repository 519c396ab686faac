"""faults.py: every fault of the nemesis, a row of one table each: how it is drawn, what it does, and how it is healed.

A kind has a family (what --faults names), bounds for how long it lasts, plan(chance, shape) -> (parameters, resources), begin(cluster,
parameters) and heal(cluster, parameters). Two faults that want the same resource never run at the same time. begin() raises Skipped
where the cluster is in no state for it. Targets are numbers or roles, so that a seed's schedule does not depend on what happens.
"""
import random
import signal
import time
from typing import Callable, NamedTuple, Tuple

import process


class Skipped(Exception):
    """Why a fault could not be had now."""


class Shape(NamedTuple):
    """What there is to be ill-treated."""

    agents: int
    store: str
    partitions: bool
    clocks: bool


class Kind(NamedTuple):
    name: str
    family: str
    lasts_s: Tuple[float, float]
    plan: Callable
    begin: Callable
    heal: Callable
    needs: Callable


KINDS = {}
POSTGRES = "postgres"


def kind(family, lasts_s, plan, needs=lambda shape: True):
    """Makes a row of a class that has begin() and heal()."""
    def enter(made):
        KINDS[made.__name__] = Kind(made.__name__, family, lasts_s, plan, made.begin, getattr(made, "heal", lambda cluster, parameters: None), needs)
        return made
    return enter


def an_agent(chance, shape, **more):
    number = chance.randrange(shape.agents)
    return {"agent": number, **more}, {f"agent-{number}"}


def link_of(chance, shape, **more):
    number = chance.randrange(shape.agents)
    return {"agent": number, "direction": chance.choice(["both", "both", "from", "to"]), **more}, {f"link-{number}"}


def the_pair(_chance, _shape):
    return {}, {POSTGRES}


# Agents.

@kind("agents", (0.2, 9), an_agent)
class agent_kill:
    def begin(cluster, parameters):
        cluster.agents[parameters["agent"]].kill()

    def heal(cluster, parameters):
        cluster.agents[parameters["agent"]].start()


@kind("agents", (1, 14), an_agent)
class agent_pause:
    """Up to nearly three lease times: it comes back as somebody who does not know that others lead now."""

    def begin(cluster, parameters):
        cluster.agents[parameters["agent"]].pause()

    def heal(cluster, parameters):
        cluster.agents[parameters["agent"]].resume()


@kind("agents", (1, 8), an_agent)
class agent_drain:
    def begin(cluster, parameters):
        parameters["drained"] = cluster.agents[parameters["agent"]].drain()

    def heal(cluster, parameters):
        cluster.agents[parameters["agent"]].start()


@kind("agents", (0, 0), lambda chance, shape: ({"pause_s": round(chance.uniform(0.2, 3), 1)}, {f"agent-{number}" for number in range(shape.agents)}))
class rolling_restart:
    def begin(cluster, parameters):
        for agent in cluster.agents[: cluster.wanted_agents]:
            parameters["drained"] = agent.drain() and parameters.get("drained", True)
            agent.start()
            deadline = time.monotonic() + 30
            while agent.http("/ready")[0] != 200 and time.monotonic() < deadline and not cluster.stopping.is_set():
                time.sleep(0.1)
            cluster.stopping.wait(parameters["pause_s"])


@kind("agents", (6, 15), lambda chance, shape: ({"leaves": chance.choice(["drain", "kill"])}, {"guest"}))
class agent_joins:
    """Lease churn: one more agent comes, takes its share, and goes."""

    def begin(cluster, parameters):
        cluster.guest.start()

    def heal(cluster, parameters):
        if parameters["leaves"] == "kill":
            cluster.guest.kill()
        else:
            parameters["drained"] = cluster.guest.drain()


# PostgreSQL.

@kind("postgres", (0, 5), the_pair)
class postgres_crash:
    def begin(cluster, parameters):
        cluster.pair.distrust()
        cluster.pair.primary.kill()

    def heal(cluster, parameters):
        cluster.pair.primary.start()


@kind("postgres", (0, 1), the_pair)
class postgres_restart:
    def begin(cluster, parameters):
        cluster.pair.distrust()
        cluster.pair.primary.stop("fast")

    def heal(cluster, parameters):
        cluster.pair.primary.start()


@kind("postgres", (1, 12), the_pair)
class postgres_pause:
    def begin(cluster, parameters):
        cluster.pair.primary.pause()

    def heal(cluster, parameters):
        cluster.pair.primary.resume()


def some_backends(cluster):
    found = cluster.pair.primary.ask("SELECT string_agg(pid::text, ' ' ORDER BY pid) FROM pg_stat_activity "
                                     "WHERE backend_type = 'client backend' AND datname = 'streamhouse' AND pid <> pg_backend_pid()")
    if not found:
        raise Skipped("nobody is connected")
    return [int(pid) for pid in found.split()]


@kind("postgres", (0, 0), lambda chance, shape: ({"pick": chance.random()}, {POSTGRES}))
class backend_kill:
    """kill -9 of one: PostgreSQL restarts as a whole, since shared memory may be broken."""

    def begin(cluster, parameters):
        backends = some_backends(cluster)
        cluster.pair.distrust()
        process.send(backends[int(parameters["pick"] * len(backends))], signal.SIGKILL)

    def heal(cluster, parameters):
        cluster.pair.distrust()  # what the manager saw meanwhile may have been before


@kind("postgres", (0, 4), lambda chance, shape: ({"pick": chance.random()}, {POSTGRES}))
class backend_pause:
    """Whatever locks it holds, it holds on to."""

    def begin(cluster, parameters):
        backends = some_backends(cluster)
        parameters["pid"] = backends[int(parameters["pick"] * len(backends))]
        process.send(parameters["pid"], signal.SIGSTOP)

    def heal(cluster, parameters):
        if "pid" in parameters:
            process.send(parameters["pid"], signal.SIGCONT)


@kind("postgres", (0, 0), lambda chance, shape: ({"seed": chance.randrange(2**31), "times": chance.randrange(1, 6)}, {POSTGRES}))
class backends_terminate:
    """Connections die in the middle of whatever they do: calls, commits, waits for the standby."""

    def begin(cluster, parameters):
        chance = random.Random(parameters["seed"])
        for _ in range(parameters["times"]):
            backends = some_backends(cluster)
            cluster.pair.distrust()
            for pid in chance.sample(backends, (len(backends) + 1) // 2):
                process.send(pid, signal.SIGTERM)
                time.sleep(chance.random() * 0.02)
            time.sleep(chance.random())

    def heal(cluster, parameters):
        time.sleep(0.2)
        cluster.pair.distrust()


@kind("postgres", (0, 9), the_pair)
class standby_kill:
    def begin(cluster, parameters):
        cluster.pair.standby.kill()

    def heal(cluster, parameters):
        cluster.pair.standby.start()


@kind("postgres", (1, 9), the_pair)
class standby_pause:
    def begin(cluster, parameters):
        cluster.pair.standby.pause()

    def heal(cluster, parameters):
        cluster.pair.standby.resume()


def take_over(cluster, parameters, before):
    """Promotes the standby once `before` has done away with the primary."""
    def do_away():
        parameters["promoted"] = cluster.pair.standby.name
        before()
    if not cluster.pair.promote(do_away):
        raise Skipped("the standby lacks something")


def come_back(cluster, parameters):
    if "promoted" in parameters:
        cluster.pair.rejoin()


@kind("postgres", (1, 4), lambda chance, shape: ({"notices_s": round(chance.uniform(0, 3), 1)}, {POSTGRES}))
class failover:
    """The primary dies; the standby is promoted; later the dead one comes back as its standby."""

    def begin(cluster, parameters):
        pair = cluster.pair

        def die():
            pair.primary.kill()
            cluster.stopping.wait(parameters["notices_s"])
        take_over(cluster, parameters, die)

    heal = come_back


@kind("postgres", (3, 9), lambda chance, shape: ({"notices_s": round(chance.uniform(0, 3), 1)}, {POSTGRES}), lambda shape: shape.partitions)
class failover_from_a_cut_off_primary:
    """Nobody reaches the primary, which lives on and thinks it is one; the standby is promoted."""

    def others(cluster, server):
        return [node for node in cluster.network.nodes.values() if node is not server.node]

    def begin(cluster, parameters):
        pair = cluster.pair
        parameters["server"] = pair.primary.name

        def cut_off():
            node = pair.primary.node
            for other in failover_from_a_cut_off_primary.others(cluster, pair.primary):
                cluster.network.cut(node, other)
                cluster.network.cut(other, node)
            cluster.stopping.wait(parameters["notices_s"])
        take_over(cluster, parameters, cut_off)

    def heal(cluster, parameters):
        if "promoted" not in parameters:
            return
        server = next(server for server in cluster.pair.servers if server.name == parameters["server"])
        server.kill()
        for other in failover_from_a_cut_off_primary.others(cluster, server):
            cluster.network.heal(server.node, other)
            cluster.network.heal(other, server.node)
        cluster.pair.rejoin()


@kind("postgres", (1, 4), lambda chance, shape: ({"lags_s": round(chance.uniform(0.3, 2.5), 1)}, {POSTGRES}), lambda shape: shape.partitions)
class failover_to_a_lagging_standby:
    """The standby is cut off from the primary for a moment, commits wait for it, and the primary dies then: what waited is gone, and
    nobody may have been told or shown anything of it."""

    def begin(cluster, parameters):
        pair = cluster.pair
        old, new = pair.primary.node, pair.standby.node

        def lag_and_die():
            cluster.network.cut(old, new)
            try:
                cluster.stopping.wait(parameters["lags_s"])
                pair.primary.kill()
            finally:
                cluster.network.heal(old, new)
        take_over(cluster, parameters, lag_and_die)

    heal = come_back


@kind("postgres", (0, 1), the_pair)
class switchover:
    """As an administrator does it: the primary stops, and the standby has everything."""

    def begin(cluster, parameters):
        take_over(cluster, parameters, lambda: cluster.pair.primary.stop("fast"))

    heal = come_back


# The network.

def change(cluster, verb, ours, theirs, direction):
    for node in ours:
        for other in theirs:
            if direction in ("both", "from"):
                verb(node, other)
            if direction in ("both", "to"):
                verb(other, node)


def partition_kind(name, others, needs=lambda shape: shape.partitions):
    """An agent and some others do not hear each other, or one does not hear the other."""
    def nodes(cluster, parameters):
        return [cluster.agents[parameters["agent"]].node], others(cluster)

    def begin(cluster, parameters):
        change(cluster, cluster.network.cut, *nodes(cluster, parameters), parameters["direction"])
        parameters["cut"] = True

    def heal(cluster, parameters):
        if parameters.get("cut"):
            change(cluster, cluster.network.heal, *nodes(cluster, parameters), parameters["direction"])
    KINDS[name] = Kind(name, "network", (1, 13), link_of, begin, heal, needs)


def database_nodes(cluster):
    return [server.node for server in cluster.pair.servers]


partition_kind("agent_without_postgres", database_nodes)
partition_kind("agent_without_s3", lambda cluster: [cluster.store.node], lambda shape: shape.partitions and shape.store == "s3")
partition_kind("agent_without_clients", lambda cluster: [cluster.client_node])
partition_kind("agent_alone", lambda cluster: [cluster.client_node, *database_nodes(cluster), *([cluster.store.node] if cluster.store.kind == "s3" else [])])


@kind("network", (1, 10), lambda chance, shape: ({"direction": chance.choice(["both", "from", "to"])}, {POSTGRES}), lambda shape: shape.partitions)
class standby_without_primary:
    def begin(cluster, parameters):
        parameters["nodes"] = [cluster.pair.standby.name, cluster.pair.primary.name]
        change(cluster, cluster.network.cut, [cluster.pair.standby.node], [cluster.pair.primary.node], parameters["direction"])

    def heal(cluster, parameters):
        if "nodes" in parameters:
            standby, primary = (cluster.network.nodes[name] for name in parameters["nodes"])
            change(cluster, cluster.network.heal, [standby], [primary], parameters["direction"])


@kind("network", (1, 10), lambda chance, shape: ({"direction": chance.choice(["both", "from", "to"])}, {"link-clients"}), lambda shape: shape.partitions)
class clients_without_postgres:
    """SQL's clients; Kafka's do not notice."""

    def begin(cluster, parameters):
        change(cluster, cluster.network.cut, [cluster.client_node], database_nodes(cluster), parameters["direction"])
        parameters["cut"] = True

    def heal(cluster, parameters):
        if parameters.get("cut"):
            change(cluster, cluster.network.heal, [cluster.client_node], database_nodes(cluster), parameters["direction"])


@kind("network", (3, 12), lambda chance, shape: an_agent(chance, shape, kbit_per_s=chance.choice([64, 256, 1024])), lambda shape: shape.partitions)
class agent_on_a_slow_link:
    def begin(cluster, parameters):
        cluster.network.slow(cluster.agents[parameters["agent"]].node, parameters["kbit_per_s"])

    def heal(cluster, parameters):
        cluster.network.fast(cluster.agents[parameters["agent"]].node)


# Clocks.

def wrong_by(chance):
    return chance.choice([-1, 1]) * chance.choice([2, 7, 60, 300, 800])


@kind("clock", (3, 15), lambda chance, shape: ({"clock": f"agent-{chance.randrange(shape.agents) + 1}", "seconds": wrong_by(chance)}, {"clock"}),
      lambda shape: shape.clocks)
class agent_wall_clock_jumps:
    def begin(cluster, parameters):
        cluster.clocks[parameters["clock"]].shift_wall(parameters["seconds"])

    def heal(cluster, parameters):
        cluster.clocks[parameters["clock"]].shift_wall(0)


@kind("clock", (3, 15), lambda chance, shape: ({"clock": chance.choice(["pg-1", "pg-2"]), "seconds": wrong_by(chance)}, {"clock"}), lambda shape: shape.clocks)
class postgres_wall_clock_jumps(agent_wall_clock_jumps):
    pass


@kind("clock", (5, 20), lambda chance, shape: ({"clock": f"agent-{chance.randrange(shape.agents) + 1}", "rate": chance.choice([0.5, 0.7, 1.5, 2.0])}, {"clock"}),
      lambda shape: shape.clocks)
class agent_monotonic_clock_strays:
    def begin(cluster, parameters):
        cluster.clocks[parameters["clock"]].run_at(parameters["rate"])

    def heal(cluster, parameters):
        cluster.clocks[parameters["clock"]].run_at(1.0)


# The store.

def store_kind(name, lasts_s, rules):
    """What the proxy before the S3 server does. rules(chance) makes them."""
    def begin(cluster, parameters):
        cluster.store.set_rules(parameters["rules"])

    def heal(cluster, parameters):
        cluster.store.set_rules([])
    KINDS[name] = Kind(name, "store", lasts_s, lambda chance, shape: ({"rules": rules(chance)}, {"s3"}), begin, heal, lambda shape: shape.store == "s3")


store_kind("s3_says_slow_down", (2, 15), lambda chance: [{"fault": "status", "status": 503, "code": "SlowDown", "chance": chance.choice([0.3, 0.8, 1])}])
store_kind("s3_fails", (2, 12), lambda chance: [{"fault": "status", "status": 500, "code": "InternalError", "chance": chance.choice([0.3, 0.8, 1])}])
store_kind("s3_is_slow", (3, 15), lambda chance: [{"fault": "delay", "seconds": chance.choice([0.3, 1, 5]), "chance": chance.choice([0.3, 1])}])
store_kind("s3_has_one_slow_object", (3, 10), lambda chance: [{"fault": "stall_request", "method": "PUT", "bytes": 100, "seconds": 8, "count": chance.randrange(1, 3)}])
store_kind("s3_answers_are_lost", (2, 10), lambda chance: [{"fault": "swallow", "method": "PUT", "chance": chance.choice([0.3, 0.7])},
                                                           {"fault": "reset_response", "method": "GET", "bytes": 500, "chance": 0.3}])
store_kind("s3_requests_are_cut", (2, 10), lambda chance: [{"fault": "reset_request", "method": "PUT", "bytes": 200, "chance": chance.choice([0.3, 0.7])}])


def of_s3(shape):
    return shape.store == "s3"


@kind("store", (2, 15), lambda chance, shape: ({}, {"s3"}), of_s3)
class s3_refuses_connections:
    def begin(cluster, parameters):
        cluster.store.tell("/down")

    def heal(cluster, parameters):
        cluster.store.tell("/up")


@kind("store", (1, 8), lambda chance, shape: ({}, {"s3"}), of_s3)
class s3_kill:
    def begin(cluster, parameters):
        cluster.store.server.kill()

    def heal(cluster, parameters):
        cluster.store.server.start()


FAMILIES = sorted({one.family for one in KINDS.values()})
