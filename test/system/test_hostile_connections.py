"""Thousands of connections that say nothing, dribble, do not read or just sit there: a good client is served all the while, new ones
get in, and the agent's memory is bounded. As many as connections_max allows, so that newcomers need somebody to make way."""
import contextlib
import re
import resource
import socket
import statistics
import struct
import threading
import time

import pytest

import wire
from stack import wait_until
from wire import Wire, array, sized, string

pytestmark = [pytest.mark.sql, pytest.mark.alone, pytest.mark.timeout(300)]
only_folder = pytest.mark.parametrize("own_stack", ["folder"], indirect=True)

CROWD = 10_000  # the default of connections_max
FILES_NEEDED = CROWD + 500
KIB_EACH = 24
SLOW_S = 2.0  # loose: what is asserted is that nobody starves, on a machine that does other things too
LIMIT_MIB = 64
DEAF = 250


def request(key, version, body, announced=None):
    frame = struct.pack(">hhi", key, version, 1) + string("hostile") + body
    return sized(frame) if announced is None else struct.pack(">i", announced) + frame


def fetch_all(topic):
    """Partition 0 from its beginning, as much as there is."""
    place = struct.pack(">iiqqi", 0, -1, 0, -1, 50_000_000)
    limits = struct.pack(">iiiibii", -1, 0, 1, 50_000_000, 0, 0, -1)
    return request(wire.FETCH, 10, limits + array([string(topic) + array([place])]) + array([]))


WHAT_THEY_SEND = {
    "silent": b"",
    "half a header": request(wire.API_VERSIONS, 0, b"")[:6],
    "small frames that dribble": request(wire.METADATA, 1, array([]), announced=1000),
    "large frames that dribble": request(wire.PRODUCE, 7, bytes(20), announced=90_000_000),
}


@pytest.fixture(autouse=True)
def enough_files():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(before[0], FILES_NEEDED)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(before[1], wanted)))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def resident_kib(agent):
    with open(f"/proc/{agent.process.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


class Crowd:
    """Connections that are all alike."""

    def __init__(self, agent, count, hello=b"", receive_buffer=None):
        self.members = []
        for _ in range(count):
            member = socket.socket()
            if receive_buffer:
                member.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            member.connect(("127.0.0.1", agent.kafka_port))
            member.setblocking(False)
            self.members.append(member)
            self.say([member], hello)

    @staticmethod
    def say(members, something):
        for member in members:
            with contextlib.suppress(OSError):
                member.send(something)

    def hear(self, size):
        """Reads an answer of that size from each."""
        for member in self.members:
            left = size
            member.settimeout(20)
            while left > 0:
                some = member.recv(left)
                assert some, "hung up"
                left -= len(some)

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        for member in self.members:
            member.close()


class Good:
    """A client that sends records, one after the other, on a connection that it has and on ones that it opens."""

    def __init__(self, stack, topic):
        self.kafka, self.topic, self.sent = stack.kafka, topic, 0
        self.steady = Wire(stack.kafka)
        self.took = {"steady": [], "new": []}
        self.send("steady")

    def produce(self, connection):
        began = time.monotonic()
        assert connection.produce(self.topic, 0, wire.batch([b"good %d" % self.sent])) == (0, self.sent)
        self.sent += 1
        return began

    def send(self, kind):
        began = time.monotonic()
        if kind == "steady":
            self.produce(self.steady)
        else:
            with Wire(self.kafka) as connection:
                connection.ask(wire.API_VERSIONS, 0, b"")
                self.produce(connection)
        self.took[kind].append(time.monotonic() - began)

    def rounds(self, count, between=lambda: None):
        for _ in range(count):
            self.send("steady")
            self.send("new")
            between()

    def check(self):
        for kind, took in self.took.items():
            print(f"# {kind} connections: median {statistics.median(took) * 1000:.1f} ms, most {max(took) * 1000:.0f} ms")
            assert max(took) < SLOW_S
        self.steady.socket.close()


@only_folder
@pytest.mark.parametrize("what", WHAT_THEY_SEND)
def test_ten_thousand_that_do_not_finish_a_request_stop_nobody(own_stack, topic_name, what):
    agent = own_stack.start_agent()
    good = Good(own_stack, own_stack.create_topic(topic_name))
    before = resident_kib(agent)
    with Crowd(agent, CROWD, WHAT_THEY_SEND[what]) as crowd:
        wait_until(lambda: agent.metric("streamhouse_kafka_connections") >= CROWD, what="the crowd being there")
        pieces = [crowd.members[number::20] for number in range(20)]
        dribble = iter(pieces)
        good.rounds(20, lambda: crowd.say(next(dribble), b"\0") if "dribble" in what else None)
        each = (resident_kib(agent) - before) / CROWD
        print(f"# {each:.1f} KiB of memory a connection")
        assert agent.metric("streamhouse_kafka_connections") <= CROWD
        assert agent.metric("streamhouse_kafka_connections_closed_total") >= 20, "nobody has made way"
    good.check()
    assert each < KIB_EACH


@only_folder
def test_five_thousand_idle_clients_cost_little_and_make_way_for_new_ones(own_stack, topic_name):
    """5,000 of them may cost 200 MB; here every place is taken by clients that were served once."""
    agent = own_stack.start_agent(connections_max="5000")
    good = Good(own_stack, own_stack.create_topic(topic_name))
    before = resident_kib(agent)
    ask = request(wire.API_VERSIONS, 0, b"")
    with Wire(own_stack.kafka) as connection:
        size = len(connection.ask(wire.API_VERSIONS, 0, b"").data) + 4
    with Crowd(agent, 4_999, ask) as crowd:
        crowd.hear(size)
        grown_mib = (resident_kib(agent) - before) / 1024
        print(f"# {grown_mib:.0f} MiB for 5,000 idle connections")
        for _ in range(11):  # who was served within the last ten seconds keeps its place
            good.send("steady")
            time.sleep(1)
        good.rounds(20)
        assert agent.metric("streamhouse_kafka_connections") <= 5000
    good.check()
    assert grown_mib < 200


@only_folder
def test_clients_that_never_read_their_answers_are_cut_off_and_the_others_are_served(own_stack, topic_name):
    agent = own_stack.start_agent(unsent_bytes_max=f"{LIMIT_MIB}MiB")
    large = own_stack.create_topic(f"{topic_name}-large")
    with Wire(own_stack.kafka) as connection:
        for number in range(10):
            assert connection.produce(large, 0, wire.batch([bytes(900_000)])) == (0, number)
    good = Good(own_stack, own_stack.create_topic(topic_name))
    before, most, over = resident_kib(agent), 0, threading.Event()

    def look():
        nonlocal most
        while not over.wait(0.05):
            most = max(most, resident_kib(agent))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        with Crowd(agent, DEAF, receive_buffer=4096) as crowd:
            for piece in (crowd.members[number::50] for number in range(50)):
                crowd.say(piece, fetch_all(large) * 2)
                good.rounds(1)
            wait_until(lambda: agent.metric("streamhouse_kafka_unsent_bytes") <= LIMIT_MIB << 20, what="the deaf being cut off")
            cut_off = int(re.search(r'reason="unsent"} (\d+)', agent.http("/metrics")[1])[1])
    finally:
        over.set()
        looking.join()
    grown_mib = (most - before) / 1024
    print(f"# {grown_mib:.0f} MiB more at most, {cut_off} of {DEAF} cut off")
    good.check()
    assert cut_off > DEAF / 2
    assert grown_mib < 4 * LIMIT_MIB
