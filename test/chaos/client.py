"""client.py: what the clients of a chaos run have in common: a process that outlives every fault, does one thing after the other until
it is told to stop (SIGTERM), and writes down what it was told.

    /usr/bin/python3 kafka_clients.py ROLE '{"process": "rd-1", "folder": …, "bootstrap": …, "conninfo": …, "topics": {…}, "seed": …}'
"""
import json
import random
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "system"))

from history import Journal, Maker, Progress  # noqa: E402

RETRY_S = 0.3


class Client:
    """A role of a process. open() makes what it talks with, work() does one thing, close() throws away; any of them may raise."""

    kind = "client"

    def __init__(self, config):
        self.config, self.process, self.topics = config, config["process"], config["topics"]
        self.chance = random.Random(f"{config['seed']}/{self.process}")
        self.journal = Journal(config["folder"], self.process, self.kind)
        self.progress = Progress(config["folder"], self.process)
        self.maker = Maker(self.process, self.chance)
        self.places = [(topic, number) for topic, count in sorted(self.topics.items()) for number in range(count)]
        self.session, self.stopping = 0, False
        signal.signal(signal.SIGTERM, self.stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def stop(self, *_signal):
        self.stopping = True

    def open(self):
        pass

    def work(self):
        raise NotImplementedError

    def close(self):
        pass

    def finish(self):
        """The last thing to do with what is open."""

    def run(self):
        while not self.stopping:
            self.session += 1
            try:
                self.open()
                self.work_on()
                if self.stopping:
                    self.finish()
            except Exception as error:  # whatever it is: a client of this run goes on
                self.journal.note(f"session {self.session}: {error!r}")
                time.sleep(RETRY_S)
            finally:
                self.close_quietly()
        self.progress.tell(force=True)
        self.journal.close()

    def work_on(self):
        while not self.stopping:
            self.progress.operations += 1
            self.work()
            self.progress.tell()

    def close_quietly(self):
        try:
            self.close()
        except Exception as error:
            self.journal.note(f"closing session {self.session}: {error!r}")


class Pace:
    """So many a second, and no rush to make up for a pause."""

    def __init__(self, per_s):
        self.gap_s, self.next_s = 1 / per_s, time.monotonic()

    def wait(self, idle=time.sleep):
        """Until the next is due; idle(seconds) does it."""
        now = time.monotonic()
        if now < self.next_s:
            idle(self.next_s - now)
        self.next_s = max(self.next_s + self.gap_s, now - 0.1)


def place_name(topic, partition):
    return f"{topic}/{partition}"


def place_of(name):
    topic, _, partition = name.rpartition("/")
    return topic, int(partition)


def main(roles):
    roles[sys.argv[1]](json.loads(sys.argv[2])).run()
