"""session.py: one chaos run from its beginning to its verdict."""
import shutil
import sys
import threading
import time
import traceback
from pathlib import Path

import audit
import nemesis
import report
from cluster import Cluster
from stack import AGENT, DISK, scratch_folder

PROGRESS_EVERY_S = 5
RECOVERY_S = 90
DRAIN_S = 300
FRESH_S = 10


class Session:
    def __init__(self, chosen, steps, stopping):
        self.chosen, self.steps = chosen, steps
        self.interrupted, self.cluster_stopping = stopping, threading.Event()
        self.directory = Path(chosen.history) if chosen.history else scratch_folder("chaos-history", DISK)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.began = time.monotonic()
        self.workload = self.nemesis = None
        self.trouble = []  # why there can be no good verdict

    def say(self, text):
        print(f"{time.monotonic() - self.began:7.1f}s  {text}", flush=True)

    def run(self):
        print(f"seed {self.chosen.seed}, {self.chosen.length_s:g} s, history in {self.directory}", flush=True)
        print(nemesis.table(self.steps), flush=True)
        if not Path(AGENT).exists():
            print(f"there is no {AGENT}: make -f build.mk agent", file=sys.stderr)
            return 2
        cluster = Cluster(self.chosen.agents, self.chosen.store, self.say, self.cluster_stopping)
        try:
            return self.run_on(cluster)
        except Exception:
            traceback.print_exc()
            print(f"verdict: the run itself failed; see {self.directory}")
            self.chosen.keep = True
            return 2
        finally:
            if self.workload:
                self.workload_do("abandon")
            cluster.stop()
            if not self.chosen.keep:
                cluster.remove()

    def workload_do(self, name, *arguments):
        """Calls a method of the workload from its host: threads and processes that it starts live there."""
        method = getattr(self.workload, name, None)
        if method is None:
            return None
        with self.cluster.client_node.entered():
            return method(*arguments)

    def run_on(self, cluster):
        from workload import Workload
        self.cluster = cluster
        cluster.start()
        self.say("cluster is up")
        self.workload = Workload(cluster.bootstrap, cluster.pair.conninfo(), self.directory, self.chosen.seed, None, self.chosen.java)
        self.workload_do("start")
        self.nemesis = nemesis.Nemesis(cluster, self.steps, self.directory, self.say)
        self.nemesis.start()
        self.watch()
        return self.end()

    def watch(self):
        """Until the time is up or somebody interrupts."""
        deadline = self.nemesis.began + self.chosen.length_s
        progress = report.Progress(self.workload, self.nemesis)
        while time.monotonic() < deadline and not self.interrupted.is_set():
            self.interrupted.wait(min(PROGRESS_EVERY_S, max(0.01, deadline - time.monotonic())))
            self.say(progress.line())

    def end(self):
        self.say("healing everything")
        self.nemesis.finish()
        self.trouble += [f"fault {step.number}, {step.kind}, could not be healed: {reason}"
                         for step, _, _, outcome, reason in self.nemesis.done if outcome == "fail"]
        self.recover()
        self.say("final drain")
        try:
            self.workload_do("finish", DRAIN_S)
        except Exception as error:
            self.trouble.append(f"the final drain failed: {error!r}")
        return self.judge()

    def recover(self):
        """All parts are well again, and everybody's operations succeed."""
        try:
            self.cluster.wait_ready(RECOVERY_S)
        except (AssertionError, RuntimeError) as error:
            self.trouble.append(f"the cluster did not recover: {error}")
        deadline = time.monotonic() + RECOVERY_S
        while True:
            waiting = report.stalled(self.workload.progress(), FRESH_S)
            if not waiting:
                return
            if time.monotonic() > deadline:
                self.trouble.append(f"no success for these since everything was healed: {', '.join(waiting)}")
                return
            time.sleep(0.5)

    def judge(self):
        from checker import check
        verdict = check(self.directory)
        # A drain that was not done in time says nothing about what is there.
        self.trouble += [f"{one.kind}: {one.text}" for one in verdict.violations if one.kind == "unfinished"]
        violations = [f"{one.kind}: {one.text}" for one in verdict.violations if one.kind != "unfinished"]
        violations += [f"{kind}: {count} altogether" for kind, count in verdict.broken.items() if count > sum(one.kind == kind for one in verdict.violations)]
        try:
            violations += audit.violations(self.cluster.pair.primary, self.cluster.store)
        except Exception as error:
            self.trouble.append(f"the brain could not be looked into: {error!r}")
        print(report.table(self.directory, self.nemesis, verdict), flush=True)
        bad = violations + self.trouble
        for text in bad[:20]:
            print(f"VIOLATION {text}" if text in violations else f"TROUBLE {text}", flush=True)
        if bad:
            self.chosen.keep = True
            print(f"history: {self.directory}; cluster: {self.cluster.folder}")
        elif not self.chosen.keep and not self.chosen.history:
            shutil.rmtree(self.directory, ignore_errors=True)
        print(report.last_line(verdict, self.nemesis, violations, self.trouble), flush=True)
        return 1 if bad else 0
