"""postgres_ha.py: a PostgreSQL that fails over, from deploy/postgres-ha, as what a stack's agents stand on.

    with Stack(FolderStore(), postgres=PostgresHA) as stack:
        stack.start_agent()
        killed = stack.postgres.kill_primary()
        stack.postgres.restart_node(killed)

Nodes have numbers from 1 on. It does what Postgres does (run, rows, value, conninfo, start, stop), on whichever node is the primary.
"""
import os
import signal
import subprocess
import urllib.request
from pathlib import Path

import process
from stack import ROOT, Postgres, wait_until

SCRIPT = ROOT / "deploy/postgres-ha/postgres-ha"
PATIENCE_S = 90


class PostgresHA(Postgres):
    """etcd, and nodes of Patroni and PostgreSQL, on loopback."""

    def __init__(self, folder, preload=True, nodes=2, ttl_s=6, loop_wait_s=1, retry_timeout_s=2, strict=None, addresses=None, **settings):
        """strict: commits wait when no standby is left (by default with more than two nodes). addresses: where etcd, node 1, node 2
        and so on listen."""
        assert preload, "its configuration preloads the library"
        self.folder, self.nodes = Path(folder) / "ha", list(range(1, nodes + 1))
        self.settings = [f"{name}={value}" for name, value in {"fsync": "off", **settings}.items()]
        self.environment = {"POSTGRES_HA_NODES": str(nodes), "POSTGRES_HA_TTL": str(ttl_s), "POSTGRES_HA_LOOP_WAIT": str(loop_wait_s),
                            "POSTGRES_HA_RETRY_TIMEOUT": str(retry_timeout_s)}
        if strict is not None:
            self.environment["POSTGRES_HA_STRICT"] = "true" if strict else "false"
        if addresses:
            self.environment["POSTGRES_HA_ADDRESSES"] = " ".join(addresses)

    def script(self, verb, *arguments, check=True):
        """What deploy/postgres-ha prints; None when it fails and need not succeed."""
        command = [str(SCRIPT), verb, str(self.folder), *map(str, arguments)]
        done = subprocess.run(command, env={**os.environ, **self.environment}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
        assert done.returncode == 0 or not check, f"{command} failed:\n{done.stdout}{done.stderr}\n{self.log()[-3000:]}"
        return done.stdout.strip() if done.returncode == 0 else None

    def log(self):
        return "\n".join(path.read_text(errors="replace")[-4000:] for path in sorted(self.folder.glob("*.log")))

    def start(self):
        try:
            self.script("up", *self.settings)
        except AssertionError:
            self.stop("immediate")
            raise

    def stop(self, mode="fast"):
        if (self.folder / "settings").exists():
            self.script("down", *(["immediate"] if mode == "immediate" else []))

    def setting(self, name):
        """What `up` has chosen: PORT_1, API_PORT_1, ADDRESS_1, ETCD_PORT and so on."""
        lines = (self.folder / "settings").read_text().splitlines()
        return next(line.split("=", 1)[1] for line in lines if line.startswith(f"{name}="))

    def conninfo(self, user="agent"):
        """All nodes; libpq, and agents, find the primary."""
        conninfo = self.script("conninfo", user)
        return conninfo.replace(" connect_timeout=3", "") if user == "agent" else conninfo  # agents have timeouts of their own

    def node_conninfo(self, node, user="streamhouse"):
        """One node, whatever it is at the moment."""
        return (f"host={self.setting(f'ADDRESS_{node}')} port={self.setting(f'PORT_{node}')} dbname={self.database} user={user} "
                f"passfile={self.folder / 'pgpass'} connect_timeout=3")

    def run_at(self, node, sql):
        """Runs SQL on one node. Returns its lines."""
        done = subprocess.run(["psql", "-XAtqv", "ON_ERROR_STOP=1", "-d", self.node_conninfo(node)], input=sql, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())
        return done.stdout.splitlines()

    def patroni_says(self, node, path):
        """Whether Patroni of a node answers yes: primary, replica, synchronous, health."""
        try:
            address = f"{self.setting(f'ADDRESS_{node}')}:{self.setting(f'API_PORT_{node}')}"
            with urllib.request.urlopen(f"http://{address}/{path}", timeout=2) as answer:
                return answer.status == 200
        except OSError:  # an HTTPError is one, too
            return False

    def node_that_is(self, path):
        return next((node for node in self.nodes if self.patroni_says(node, path)), None)

    def primary(self):
        """The primary's number; None while there is none."""
        return self.node_that_is("primary")

    def standby(self):
        """The number of a synchronous standby, which would be promoted; None while there is none."""
        return self.node_that_is("synchronous")

    def kill_primary(self):
        """kill -9 of everything on the primary's machine. Gives back its number."""
        node = wait_until(self.primary, PATIENCE_S, "a primary")
        self.kill_node(node)
        return node

    def kill_node(self, node):
        self.script("kill-node", node)

    def kill(self):
        self.kill_primary()

    def restart_node(self, node):
        """Starts a node that was killed; it becomes a standby by itself, see wait_for_standby()."""
        self.script("start-node", node)

    def freeze_node(self, node):
        """SIGSTOP of all its processes: connections to it stay, and nothing answers."""
        for pid in self.node_processes(node):
            process.send(pid, signal.SIGSTOP)

    def thaw_node(self, node):
        for pid in self.node_processes(node):
            process.send(pid, signal.SIGCONT)

    def wait_for_primary(self, other_than=None, timeout=PATIENCE_S):
        return wait_until(lambda: next((node for node in [self.primary()] if node and node != other_than), None), timeout, "a new primary")

    def wait_for_standby(self, timeout=PATIENCE_S):
        """Returns when a synchronous standby is there, so that the primary may die."""
        return wait_until(self.standby, timeout, "a synchronous standby")

    def switchover(self):
        """The planned way."""
        self.script("switchover")

    def postmaster(self, node):
        return int((self.folder / f"node{node}/data/postmaster.pid").read_text().split()[0])

    def node_processes(self, node):
        """Patroni and PostgreSQL of a node with all below them, to be paused or told apart."""
        roots = [int((self.folder / f"node{node}.pid").read_text().split()[0]), self.postmaster(node)]
        return roots + [child for root in roots for child in process.children_of(root)]
