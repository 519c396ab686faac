"""clock.py: clocks that go wrong. A process that was started with a clock's environment believes the time that its Clock says.

    clock = Clock(folder, "agent-1")
    subprocess.Popen(command, env={**os.environ, **clock.environment})
    clock.shift_wall(300)       # its wall clock is five minutes ahead, at once
    clock.run_at(0.5)           # its monotonic clock takes two seconds for one
    clock.heal()

What is preloaded into the process is skew.c, which reads the same bytes.
"""
import functools
import mmap
import os
import shutil
import struct
import subprocess
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
LAYOUT = struct.Struct("=Qqqqd")  # struct Skew


def compiler():
    return os.environ.get("CC", "gcc")


def library(folder):
    """skew.c, compiled into the folder once."""
    built = Path(folder) / "skew.so"
    if not built.exists():
        subprocess.run([compiler(), "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(built),
                        str(HERE / "skew.c"), "-ldl"], check=True, stdin=subprocess.DEVNULL)
        built.chmod(0o755)
    return built


@functools.lru_cache(maxsize=None)
def can_build():
    return shutil.which(compiler()) is not None


class Clock:
    """One process's (or one server's) time."""

    def __init__(self, folder, name):
        self.path = Path(folder) / f"{name}.clock"
        self.path.write_bytes(LAYOUT.pack(0, 0, 0, 0, 1.0))
        self.path.chmod(0o644)
        with open(self.path, "r+b") as file:
            self.shared = mmap.mmap(file.fileno(), LAYOUT.size)
        self.environment = {"LD_PRELOAD": str(library(folder)), "CHAOS_CLOCK": str(self.path)}
        self.mutex = threading.Lock()
        self.version = 0
        self.wall_offset_ns, self.rate = 0, 1.0
        self.real_origin_ns = self.told_origin_ns = 0

    def write(self):
        """The version is odd while the rest is not whole."""
        self.version += 1
        self.shared[:8] = struct.pack("=Q", self.version)
        self.shared[8:] = LAYOUT.pack(0, self.wall_offset_ns, self.real_origin_ns, self.told_origin_ns, self.rate)[8:]
        self.version += 1
        self.shared[:8] = struct.pack("=Q", self.version)

    def shift_wall(self, seconds):
        with self.mutex:
            self.wall_offset_ns = int(seconds * 1e9)
            self.write()

    def monotonic_ns(self):
        """What the process's monotonic clock shows."""
        now = time.monotonic_ns()
        return self.told_origin_ns + int((now - self.real_origin_ns) * self.rate) if self.real_origin_ns else now

    def run_at(self, rate):
        """From now on; the clock does not jump, and does not catch up when it is healed."""
        with self.mutex:
            self.told_origin_ns, self.real_origin_ns = self.monotonic_ns(), time.monotonic_ns()
            self.rate = rate
            self.write()

    def heal(self):
        self.shift_wall(0)
        self.run_at(1.0)
