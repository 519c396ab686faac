"""conftest.py: what system and client tests share: stacks to run on, topics with names of their own, and TAP as the report.

STREAMHOUSE_TEST_STORES=folder,s3     the stores to run on
STREAMHOUSE_TEST_KAFKA=host:port      runs the tests of the protocol against any Kafka broker instead, to show that they ask
                                      of StreamHouse what Kafka does
STREAMHOUSE_TEST_KEEP=1               leaves logs and clusters, in /tmp or /dev/shm
"""
import os
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent / "system"))

from external import ExternalKafka  # noqa: E402
from stack import FolderStore, S3Server, S3Store, SharedS3Server, Stack, shared_folder  # noqa: E402

OUTSIDER = os.environ.get("STREAMHOUSE_TEST_KAFKA")
STORES = ["external"] if OUTSIDER else os.environ.get("STREAMHOUSE_TEST_STORES", "folder,s3").split(",")

ONE_CODEC = "zstd"


class Tap:
    """Prints every test as a line of TAP."""

    def __init__(self, terminal):
        self.terminal, self.number = terminal, 0

    def pytest_runtest_logreport(self, report):
        if report.when != "call" and report.passed:
            return
        if report.when == "teardown" and report.skipped:
            return
        self.number += 1
        verdict = "not ok" if report.failed else "ok"
        skip = f" # SKIP {report.longrepr[2]}" if report.skipped else ""
        stage = "" if report.when == "call" else f" ({report.when})"
        self.terminal.ensure_newline()
        for line in report.capstdout.splitlines():
            if line.startswith("# "):
                self.terminal.write_line(line)
        name = re.sub(r"@[^]@]*$", "", report.nodeid)  # without what spread() has added
        self.terminal.write_line(f"{verdict} {self.number} - {name}{stage} # {report.duration:.1f} s{skip}")


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    shared_folder()  # before there are workers, who then find it in their environment
    terminal = config.pluginmanager.getplugin("terminalreporter")
    if terminal:  # not in a worker, whose reports come here
        config.pluginmanager.register(Tap(terminal))


def pytest_unconfigure(config):
    if not hasattr(config, "workerinput"):  # workers end before
        SharedS3Server.end()


def pytest_report_teststatus(report):
    """The TAP line says it; no dots beside it."""
    counts = report.when == "call" or not report.passed
    return report.outcome if counts else "", "", ""


def is_repetition(item):
    """Codecs are the protocol's: what an agent does with each of them is seen on a folder, and one stands for all on S3. What is marked
    any_store never comes near the store: once is enough."""
    params = getattr(item, "callspec", None) and item.callspec.params or {}
    on_s3 = "folder" in STORES and "s3" in (params.get("stack"), params.get("own_stack"))
    return on_s3 and (params.get("codec", ONE_CODEC) != ONE_CODEC or item.get_closest_marker("any_store") is not None)


def spread(item):
    """With pytest-xdist, says which tests go to the same worker: those of a file that share what they run on. A test with a stack
    of its own may go anywhere, and so may one that is marked so: a worker has a stack of each kind, sooner or later."""
    params = getattr(item, "callspec", None) and item.callspec.params or {}
    if item.get_closest_marker("mortal_store") and params.get("own_stack") == "s3":
        item.add_marker(pytest.mark.xdist_group(f"{item.path.stem}-mortal"))  # which share a server that takes a while to start
    if "own_stack" in item.fixturenames or item.get_closest_marker("anywhere") or item.get_closest_marker("xdist_group"):
        return
    store = next((value for value in params.values() if value in STORES), "")
    item.add_marker(pytest.mark.xdist_group(f"{item.path.stem}-{store}"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    items[:] = [item for item in items if not is_repetition(item)]
    items.sort(key=lambda item: item.get_closest_marker("long") is None)  # or all others wait for them in the end
    for item in items:
        spread(item)


def pytest_runtest_setup(item):
    if OUTSIDER and item.get_closest_marker("sql"):
        pytest.skip("a plain Kafka broker has no brain to look into")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows what its agents had to say."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Stack):
                report.sections.append(("agents", value.logs()))


@pytest.fixture(scope="session")
def s3_server():
    """One for all; it starts when the first one needs it."""
    return SharedS3Server()


@pytest.fixture(scope="session")
def mortal_s3_server():
    """One to be killed."""
    server = S3Server()
    yield server
    server.close()


@pytest.fixture(scope="session")
def new_store(request):
    """Makes a store of a kind; mortal is one whose server may be ill-treated."""
    def make(kind, mortal=False):
        return FolderStore() if kind == "folder" else S3Store(request.getfixturevalue("mortal_s3_server" if mortal else "s3_server"))
    return make


@pytest.fixture(scope="session")
def agent_settings():
    """What the shared stack's agent is told. Classic groups do not wait for more members as long as Kafka's do."""
    return {"group_initial_delay_ms": "500ms"}


@pytest.fixture(scope="session", params=STORES)
def stack(request, new_store, agent_settings):
    """One agent on each kind of store, shared by the tests that do it no harm."""
    if request.param == "external":
        yield ExternalKafka(OUTSIDER)
        return
    with Stack(new_store(request.param)) as shared:
        shared.start_agent(**agent_settings)
        yield shared


@pytest.fixture(params=STORES)
def own_stack(request, new_store):
    """A stack of the test's own, without an agent yet, to be ill-treated."""
    if request.param == "external":
        pytest.skip("somebody else's broker is not ours to kill")
    with Stack(new_store(request.param, request.node.get_closest_marker("mortal_store") is not None)) as mine:
        yield mine


@pytest.fixture
def topic_name(request):
    """A name no other test uses."""
    topic_name.count = getattr(topic_name, "count", 0) + 1
    return re.sub(r"[^A-Za-z0-9._-]", "-", request.node.name)[:180] + f"-{os.getpid()}-{topic_name.count}"


@pytest.fixture
def topic(stack, topic_name):
    """A topic with three partitions."""
    return stack.create_topic(topic_name, partitions=3)
