"""sandbox.py: runs a program again in namespaces of its own: network, processes, mounts. So partitions are possible, ports are
always free, and whatever ends the program, kill -9 too, ends everything it has started.

The outer process waits, and passes on that it was told to end by closing a pipe, which the inner one watches. Inside, process 1
does nothing but reap orphans: PostgreSQL and the S3 server run in the background and are children of nobody.
"""
import os
import shutil
import signal
import subprocess
import sys
import threading

MARK = "STREAMHOUSE_CHAOS_SANDBOX"
UNSHARE = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
TOOLS = {"unshare": "util-linux", "nsenter": "util-linux", "ip": "iproute2", "nft": "nftables"}


def is_inside():
    return MARK in os.environ


def missing():
    """Why there can be no sandbox here, in words; None when there can."""
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    lacking = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if lacking:
        return f"these packages are not installed: {' '.join(lacking)}"
    probe = subprocess.run([*UNSHARE, "nft", "add", "table", "inet", "chaos"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True)
    if probe.returncode != 0:
        return f"this machine does not permit network namespaces ({probe.stdout.strip()})"
    return None


def run_again():
    """This program with its arguments, inside; returns its exit status."""
    watched, held = os.pipe()
    os.set_inheritable(watched, True)
    inner = subprocess.Popen([*UNSHARE, sys.executable, *sys.argv], env={**os.environ, MARK: str(watched)}, pass_fds=[watched],
                             stdin=subprocess.DEVNULL, start_new_session=True)
    os.close(watched)
    told = []

    def tell(_number, _frame):
        if not told:
            told.append(True)
            os.close(held)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, tell)
    return inner.wait()


def mount_scratch(*folders):
    """Names of namespaces, and of shared memory, that no other run can see."""
    for folder in folders:
        os.makedirs(folder, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777", "chaos", folder], check=True)


def watch(pipe, stop):
    while os.read(pipe, 1):
        pass
    stop()


def begin(stop):
    """To be called first inside. Process 1 stays behind here as the reaper; what returns is its child. Calls stop() from a thread
    when the outer process is told to end, or is gone."""
    mount_scratch("/run/netns", "/dev/shm")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    worker = os.fork()
    if worker != 0:
        while True:
            ended, status = os.wait()
            if ended == worker:
                os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    threading.Thread(target=watch, args=(int(os.environ[MARK]), stop), daemon=True).start()
