#!/usr/bin/python3
"""group_load.py: members of consumer groups (KIP-848) that do nothing but beat, in one asyncio loop; bounded in time.

    bench/group_load.py 127.0.0.1:9092 --topic T --partitions 50 --groups 200 --members 10 --seconds 30

Prints how long the groups took to settle and the distribution of the heartbeats' round trips after that.
"""
import argparse
import asyncio
import json
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "test/system"))

import consumer_wire  # noqa: E402
import wire  # noqa: E402


class LoadMember:
    def __init__(self, options, group, number):
        self.options, self.group, self.id = options, group, f"member-{number:05d}"
        self.epoch, self.owned, self.unsaid, self.correlation = 0, set(), False, 0
        self.settled_at = None

    async def connect(self):
        host, port = self.options.kafka.rsplit(":", 1)
        self.reader, self.writer = await asyncio.open_connection(host, int(port))

    async def ask(self, epoch, **said):
        self.correlation += 1
        body = consumer_wire.heartbeat_body(self.group, self.id, epoch, **said)
        self.writer.write(wire.sized(struct.pack(">hhi", consumer_wire.HEARTBEAT, 1, self.correlation) + wire.string("load") + body))
        started = time.perf_counter()
        size = struct.unpack(">i", await self.reader.readexactly(4))[0]
        reply = wire.Reply(await self.reader.readexactly(size))
        took = time.perf_counter() - started
        reply.take("i")
        return consumer_wire.heartbeat_answer(reply), took

    async def beat(self):
        """(seconds, whether the member has nothing left to do)."""
        if self.epoch == 0:
            answer, took = await self.ask(0, rebalance_ms=60_000, topics=[self.options.topic], owned=set())
        else:
            answer, took = await self.ask(self.epoch, **({"owned": self.owned} if self.unsaid else {}))
        if answer.error in (14, 15):
            return took, False
        if answer.error in (25, 110):
            self.epoch, self.owned, self.unsaid = 0, set(), False
            return took, False
        assert answer.error == 0, answer
        changed = answer.epoch != self.epoch or answer.assignment is not None
        self.unsaid = answer.assignment is not None and answer.assignment != self.owned
        self.owned = self.owned if answer.assignment is None else answer.assignment
        self.epoch = answer.epoch
        return took, not changed


async def settle(options, members, deadline, pause):
    """All beat until together they have all partitions and nobody has news."""
    async def one(member):
        quiet = 0
        while quiet < 2 and time.monotonic() < deadline:
            _took, done = await member.beat()
            quiet = quiet + 1 if done else 0
            await asyncio.sleep(0 if member.unsaid else pause)
    while time.monotonic() < deadline:
        await asyncio.gather(*[one(member) for member in members])
        owned = [len(member.owned) for member in members]
        if sum(owned) == options.partitions and max(owned) - min(owned) <= 1 and not any(member.unsaid for member in members):
            return True
    return False


def cpu_seconds(pids):
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += (int(fields[11]) + int(fields[12])) / 100
    return total


def children(pid):
    found = [pid]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1]) == pid:
                    found.append(int(entry.name))
            except OSError:
                pass
    return found


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kafka")
    parser.add_argument("--topic", required=True)
    parser.add_argument("--partitions", type=int, required=True, help="of the topic")
    parser.add_argument("--groups", type=int, default=200)
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--settle-seconds", type=float, default=60)
    parser.add_argument("--interval", type=float, default=5)
    parser.add_argument("--agent-pid", type=int)
    parser.add_argument("--postmaster-pid", type=int)
    options = parser.parse_args()
    assert options.seconds <= 60
    groups = [[LoadMember(options, f"load-{group:04d}", number) for number in range(options.members)] for group in range(options.groups)]
    everyone = [member for group in groups for member in group]
    for first in range(0, len(everyone), 100):
        await asyncio.gather(*[member.connect() for member in everyone[first:first + 100]])
    started = time.monotonic()
    settled = await asyncio.gather(*[settle(options, group, started + options.settle_seconds, options.interval) for group in groups])
    result = {"members": len(everyone), "groups": len(groups), "all_settled": all(settled), "settling_seconds": round(time.monotonic() - started, 2)}
    owned = [sum(len(member.owned) for member in group) for group in groups]
    result["partitions_per_group"] = [min(owned), max(owned)]

    took = []
    ends = time.monotonic() + options.seconds

    async def idle(member, number):
        await asyncio.sleep(options.interval * number / len(everyone))
        while time.monotonic() < ends:
            began = time.monotonic()
            took.append((await member.beat())[0])
            await asyncio.sleep(max(0, options.interval - (time.monotonic() - began)))
    watched = {"agent": [options.agent_pid] if options.agent_pid else [], "postgres": children(options.postmaster_pid) if options.postmaster_pid else []}
    before = {name: cpu_seconds(pids) for name, pids in watched.items()}
    await asyncio.gather(*[idle(member, number) for number, member in enumerate(everyone)])
    took.sort()
    result["heartbeats"] = len(took)
    for name, pids in watched.items():
        result[f"{name}_cpu_percent"] = round(100 * (cpu_seconds(pids) - before[name]) / options.seconds, 1)
    for name, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1)):
        result[f"{name}_ms"] = round(1000 * took[min(len(took) - 1, int(share * len(took)))], 2)
    print(json.dumps(result))

asyncio.run(main())
