"""network.py: who can reach whom. In a sandbox (sandbox.py) every node is a network namespace of its own, on one bridge, and packets
between any two can be dropped in either direction: a partition, not a refusal. Without one, all nodes are the loopback interface.

    network = Network()
    agent, server = network.node("agent-1"), network.node("pg-1")
    subprocess.Popen(agent.wrap(["streamhouse-agent", …]))
    network.cut(agent, server)      # what the agent sends does not arrive; answers would
    network.heal(agent, server)
"""
import contextlib
import ctypes
import os
import subprocess
import threading

import sandbox
from stack import free_port

NETWORK = "10.77.0"
CONTROL = f"{NETWORK}.1"
CLONE_NEWNET = 0x40000000
RULES = """
table inet chaos {
    set lost { type ipv4_addr; }
    chain arriving { type filter hook input priority 0; policy accept; ip saddr @lost drop; }
}
"""


def run(command, text=None):
    done = subprocess.run(command, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout.strip()}")


class Node:
    """A host of its own."""

    def __init__(self, name, address):
        self.name, self.address = name, address

    def wrap(self, command):
        return ["nsenter", f"--net=/run/netns/{self.name}", "--", *command]

    def port(self, usual):
        return usual

    @contextlib.contextmanager
    def entered(self):
        """What this thread starts meanwhile, threads and processes, lives on this host."""
        libc = ctypes.CDLL(None, use_errno=True)
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        away = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        try:
            if libc.setns(away, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), f"cannot enter the namespace {self.name}")
            yield
        finally:
            libc.setns(home, CLONE_NEWNET)
            os.close(home)
            os.close(away)


class Network:
    """Namespaces on a bridge; CONTROL is where the runner itself is, which reaches everybody always."""

    can_cut = True

    def __init__(self):
        self.nodes = {}
        self.lost = {}  # (from, to) -> how many faults want it so
        self.mutex = threading.Lock()
        run(["ip", "link", "add", "bridge", "type", "bridge"])
        run(["ip", "address", "add", f"{CONTROL}/24", "dev", "bridge"])
        run(["ip", "link", "set", "bridge", "up"])

    def node(self, name):
        number = 10 + len(self.nodes)
        node = Node(name, f"{NETWORK}.{number}")
        self.nodes[name] = node
        wire = f"wire{number}"
        run(["ip", "netns", "add", name])
        run(["ip", "link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", name])
        run(["ip", "link", "set", wire, "master", "bridge", "up"])
        for arguments in (["address", "add", f"{node.address}/24", "dev", "eth0"], ["link", "set", "eth0", "up"], ["link", "set", "lo", "up"]):
            run(node.wrap(["ip", *arguments]))
        run(node.wrap(["nft", "-f", "-"]), RULES)
        return node

    def change(self, sender, receiver, by):
        pair = (sender.name, receiver.name)
        with self.mutex:
            before = self.lost.get(pair, 0)
            self.lost[pair] = before + by
            if (before == 0) != (before + by == 0):
                verb = "add" if by > 0 else "delete"
                run(receiver.wrap(["nft", verb, "element", "inet", "chaos", "lost", f"{{ {sender.address} }}"]))

    def cut(self, sender, receiver):
        """What one sends the other is dropped."""
        self.change(sender, receiver, 1)

    def heal(self, sender, receiver):
        self.change(sender, receiver, -1)

    def slow(self, node, kbit_per_s):
        """What a node sends queues up to a second before a narrow link."""
        run(node.wrap(["tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", f"{kbit_per_s}kbit", "burst", "16kb", "latency", "1s"]))

    def fast(self, node):
        run(node.wrap(["tc", "qdisc", "delete", "dev", "eth0", "root"]))


class LoopbackNode:
    address = "127.0.0.1"

    def __init__(self, name):
        self.name = name

    def wrap(self, command):
        return command

    def port(self, _usual):
        return free_port()

    @contextlib.contextmanager
    def entered(self):
        yield


class Loopback:
    """The same without namespaces: nothing can be cut."""

    can_cut = False

    def node(self, name):
        return LoopbackNode(name)


def make():
    return Network() if sandbox.is_inside() else Loopback()
