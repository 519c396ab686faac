"""cluster.py: everything that a chaos run ill-treats: agents with zones, a pair of PostgreSQL servers, a store. Each on a host of its own where
there are network namespaces; clocks of their own wherever there is a C compiler.

    with Cluster(agents=3, store="s3") as cluster:
        cluster.agents[0].kill()
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import clock
import network
import process
from postgres_pair import Pair
from stack import HERE as SYSTEM
from stack import DISK, S3_KEYS, Agent, FolderStore, S3Server, scratch_folder, wait_until

ZONES = ("zone-a", "zone-b")
AGENT_SETTINGS = {"lease_ttl_ms": "5s", "heartbeat_ms": "1s", "mover_interval_ms": "200ms", "reap_interval_ms": "5s", "log_level": "info"}
LEASE_TTL_S = 5
BUCKET = "chaos"


class NoClock:
    """Where there is no compiler, time is right."""

    environment = {}

    def heal(self):
        pass


class ChaosAgent(Agent):
    """An agent on a host and with a clock of its own; told to stop and start by faults that may overlap with others."""

    def __init__(self, cluster, name, zone, node, its_clock):
        super().__init__(cluster, name, {**AGENT_SETTINGS, "zone": zone})
        self.node, self.clock = node, its_clock
        self.kafka_port, self.http_port = node.port(9092), node.port(8080)
        self.paused = False
        self.starts = 0

    @property
    def kafka(self):
        return f"{self.node.address}:{self.kafka_port}"

    def command(self):
        return self.node.wrap([*super().command(), f"--kafka-host={self.node.address}", f"--http-host={self.node.address}"])

    def start(self, ready=False):
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("STREAMHOUSE_", "AWS_", "PG"))}
        self.starts += 1
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env={**environment, **self.stack.store.environment, **self.clock.environment})
        if ready:
            self.wait_ready()
        return self

    def http(self, path, timeout=2):
        try:
            with urllib.request.urlopen(f"http://{self.node.address}:{self.http_port}{path}", timeout=timeout) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def pause(self):
        self.paused = True
        super().pause()

    def resume(self):
        if self.paused:
            self.paused = False
            super().resume()

    def drain(self, timeout=45):
        """SIGTERM; insists with kill -9 when it has not ended in time, and says whether that was needed."""
        if not self.is_running():
            return True
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout)
            return True
        except subprocess.TimeoutExpired:
            self.kill()
            return False

    def end(self):
        if self.is_running():
            self.resume()
            self.kill()


class S3:
    """Ceph's gateway on a host of its own, and before it a proxy that does harm on command."""

    kind = "s3"

    def __init__(self, node):
        self.node = node
        self.server = GatewayServer(node)
        self.proxy = subprocess.Popen(
            node.wrap([sys.executable, str(SYSTEM / "fault_proxy.py"), "--upstream", self.server.endpoint.removeprefix("http://"),
                       "--host", node.address, "--listen", str(node.port(9000)), "--control", str(node.port(9001))]),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        ports = json.loads(self.proxy.stdout.readline())
        self.endpoint = f"http://{node.address}:{ports['listen']}"
        self.control = f"http://{node.address}:{ports['control']}"
        self.server.public_endpoint = self.endpoint
        client = self.server.client()
        client.create_bucket(Bucket=BUCKET)
        client.put_object(Bucket=BUCKET, Key="warm", Body=b"")  # the first PUT to a bucket takes two seconds
        client.delete_object(Bucket=BUCKET, Key="warm")
        self.url = f"s3://{BUCKET}/log"
        self.environment = dict(S3_KEYS)
        self.flags = [f"--s3-endpoint={self.endpoint}"]

    def tell(self, path, body=None):
        request = urllib.request.Request(self.control + path, data=json.dumps(body).encode() if body is not None else b"", method="PUT")
        urllib.request.urlopen(request, timeout=10).read()

    def set_rules(self, rules):
        self.tell("/rules", rules)

    def keys(self):
        pages = self.server.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return {item["Key"].removeprefix("log/") for page in pages for item in page.get("Contents", [])}

    def close(self):
        self.proxy.kill()
        self.proxy.wait()
        self.server.close()


class GatewayServer(S3Server):
    """The gateway on the loopback interface of its host, which only the proxy there reaches."""

    def __init__(self, node):
        self.node = node
        self.folder = scratch_folder("rgw", DISK) / "ceph"
        done = subprocess.run(node.wrap([str(SYSTEM / "rgw-up"), str(self.folder)]), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=180)
        if done.returncode != 0:
            raise RuntimeError(f"rgw-up failed: {done.stdout}{done.stderr}")
        self.endpoint = done.stdout.strip()
        self.public_endpoint = None

    def client(self):
        local, self.endpoint = self.endpoint, self.public_endpoint
        try:
            return super().client()
        finally:
            self.endpoint = local

    def start(self):
        subprocess.run(self.node.wrap(["bash", str(self.folder / "rgw.command")]), check=True, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def is_running(self):
        try:
            return process.is_alive(int((self.folder / "rgw.pid").read_text()))
        except (OSError, ValueError):
            return False


class Cluster:
    def __init__(self, agents, store, say, stopping):
        self.say, self.stopping = say, stopping
        self.folder = scratch_folder("chaos", DISK)
        self.network = network.make()
        self.client_node = self.network.node("clients")
        self.clocks = {}
        self.agents, self.store, self.pair = [], None, None
        self.wanted_agents, self.wanted_store = agents, store

    def clock(self, name):
        self.clocks[name] = clock.Clock(self.folder, name) if clock.can_build() else NoClock()
        return self.clocks[name]

    def start(self):
        self.say(f"cluster in {self.folder}: {self.wanted_agents} agents, 2 PostgreSQL servers, store: {self.wanted_store}")
        self.store = S3(self.network.node("s3")) if self.wanted_store == "s3" else FolderStore()
        self.pair = Pair(self.folder, self.network, self.clock, self.store_settings())
        self.pair.start()
        for number in range(self.wanted_agents):
            self.add_agent(f"agent-{number + 1}", number)
        for agent in self.agents:
            agent.start()
        for agent in self.agents:
            agent.wait_ready()
        self.guest = self.add_agent("guest", self.wanted_agents)

    def store_settings(self):
        """SQL reads the store, too."""
        settings = {"streamhouse.store": self.store.url}
        for flag in self.store.flags:
            name, value = flag.lstrip("-").split("=", 1)
            settings[f"streamhouse.{name.replace('-', '_')}"] = value
        return settings

    def add_agent(self, name, number):
        agent = ChaosAgent(self, name, ZONES[number % len(ZONES)], self.network.node(name), self.clock(name))
        self.agents.append(agent)
        return agent

    @property
    def postgres(self):
        """As agents know it: both servers, of which one can be written to."""
        return self

    def conninfo(self):
        return self.pair.conninfo("agent")

    @property
    def bootstrap(self):
        return [agent.kafka for agent in self.agents[: self.wanted_agents]]

    def wait_ready(self, timeout=90):
        """Returns when all that should run does, and says so itself."""
        wait_until(lambda: self.pair.settled, timeout, "the standby's catching up")
        for agent in self.agents:
            if agent.is_running():
                agent.wait_ready(timeout)

    def stop(self):
        for agent in self.agents:
            agent.end()
        if self.pair:
            self.pair.stop()
        if self.store:
            self.store.close()

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)


