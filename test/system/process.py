"""process.py: what the system tests do to processes, always by pid."""
import os
import signal
import time
from pathlib import Path


def children_of(pid):
    """The process ids below one, at any depth."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(") ", 1)[1].split()
            except OSError:
                continue  # it ended while we looked
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, unvisited = [], [pid]
    while unvisited:
        below = parents.get(unvisited.pop(), [])
        found += below
        unvisited += below
    return found


def is_alive(pid):
    """Whether it runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def kill_tree(pid):
    """kill -9 of a process and all below it; returns when they are gone. Stopped first, so that none is born meanwhile."""
    send(pid, signal.SIGSTOP)
    family = [pid, *children_of(pid)]
    for member in family:
        send(member, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while any(is_alive(member) for member in family):
        assert time.monotonic() < deadline, f"process {pid} or one below it survives kill -9"
        time.sleep(0.01)


def send(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
