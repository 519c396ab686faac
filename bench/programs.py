"""programs.py: starts programs, waits until they are ready, ends them."""
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOAD = ROOT / "build/bench/load"
START_TIMEOUT_S = 60


class StackError(Exception):
    pass


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False, **options)
    if done.returncode != 0:
        raise StackError(f"{' '.join(str(part) for part in command)}\n{done.stdout.strip()[-2000:]}")
    return done.stdout


def build_load():
    LOAD.parent.mkdir(parents=True, exist_ok=True)
    run("gcc", "-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror", "-o", LOAD, ROOT / "bench/load.c", "-lrdkafka", "-lpthread")


@contextlib.contextmanager
def scratch(parent, prefix):
    """A folder that everybody may enter, PostgreSQL's user too, gone in the end."""
    Path(parent).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent) as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def await_start(process, log, is_ready):
    deadline = time.monotonic() + START_TIMEOUT_S
    while not is_ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise StackError(f"did not start; its log ends:\n{Path(log).read_text(errors='replace')[-2000:]}")
        time.sleep(0.1)


def end(process):
    """Asks a process to end and insists after a while."""
    if process is None or process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
