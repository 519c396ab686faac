"""gauge.py: what the kernel knows: CPU time and memory of processes, and how fast the disk makes bytes durable."""
import os
import platform
import re
import time
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def stat_fields(pid):
    """The fields of /proc/PID/stat from the third on: the second may hold anything, blanks and brackets too."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def children(pid):
    """The process and everything below it."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parents.setdefault(int(stat_fields(entry)[1]), []).append(int(entry))
            except (FileNotFoundError, ProcessLookupError):
                continue
    found = [pid]
    for parent in found:
        found.extend(parents.get(parent, []))
    return found


def cpu_seconds(pid):
    """User and system time of a process tree, threads and ended children included."""
    ticks = 0
    for process in children(pid):
        try:
            ticks += sum(int(field) for field in stat_fields(process)[11:15])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return ticks / TICKS_PER_S


def memory_peak_mib(pid):
    """The most memory that one process ever had resident, as the kernel remembers it."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^VmHWM:\s+(\d+) kB", text, re.MULTILINE)[1]) / 1024


def memory_share_mib(pid):
    """Memory of a process tree now. What processes share is counted once, by proportional set size."""
    kib = 0
    for process in children(pid):
        try:
            text = Path(f"/proc/{process}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
        kib += int(found[1]) if found else 0
    return kib / 1024


def disk_rates(folder, seconds=1.0):
    """(synced 8 KiB appends a second, MB/s of appends of 8 MiB, each synced), in that folder."""
    name = Path(folder) / "disk-rate"
    return round(append_rate(name, 8192, seconds)), round(append_rate(name, 8 << 20, seconds) * (8 << 20) / 1e6)


def append_rate(name, size, seconds):
    fd = os.open(name, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    block = os.urandom(size)
    count, start = 0, time.monotonic()
    while time.monotonic() - start < seconds:
        os.write(fd, block)
        os.fdatasync(fd)
        count += 1
    elapsed = time.monotonic() - start
    os.close(fd)
    name.unlink()
    return count / elapsed


def machine():
    """One line about this machine."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.*)$", info, re.MULTILINE)
    kib = int(re.search(r"^MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)[1])
    release = re.search(r'^PRETTY_NAME="?([^"\n]*)', Path("/etc/os-release").read_text(), re.MULTILINE)
    return (f"{os.cpu_count()} × {model[1] if model else platform.machine()}, {kib / 1048576:.0f} GiB, "
            f"{release[1] if release else platform.system()}, Linux {platform.release()}")


def load_average():
    return os.getloadavg()[0]
