"""conftest.py: brings the clients that do not come from Debian into .deps/, through their own registries' tools."""
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
DEPS = HERE.parents[1] / ".deps"
sys.path.insert(0, str(HERE))

from programs import PYTHON, Client, Member, Tools  # noqa: E402

# What these ask is answered without the store: one kind of it is enough.
METADATA_ONLY = ("test_groups.py", "test_group_tools.py", "test_java_tools.py")


def is_repetition(item):
    return item.path.name in METADATA_ONLY and item.callspec.params.get("stack") == "s3"


def pytest_collection_modifyitems(items):
    on_folder = any(hasattr(item, "callspec") and item.callspec.params.get("stack") == "folder" for item in items)
    items[:] = [item for item in items if not (on_folder and is_repetition(item))]


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=900, **options)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout[-3000:]}"


def once(folder, recipe, make):
    """Makes a folder below .deps/ unless it was made from the same recipe."""
    mark = folder / ".recipe"
    if not mark.exists() or mark.read_text() != recipe:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        make(folder)
        mark.write_text(recipe)
    return folder


def fetch_python(folder):
    run("/usr/bin/python3", "-m", "venv", folder)
    run(folder / "bin/pip", "install", "--quiet", "-r", HERE / "python/requirements.txt")


def fetch_javascript(folder):
    shutil.copy(HERE / "javascript/package.json", folder)
    run("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", cwd=folder)


def fetch_java(version):
    def make(folder):
        run("mvn", "-q", "-B", "-f", HERE / "java/pom.xml", f"-Dkafka.version={version}", "dependency:copy-dependencies",
            f"-DoutputDirectory={folder}/lib")
        run("javac", "-cp", f"{folder}/lib/*", "-d", folder / "classes", *sorted((HERE / "java").glob("*.java")))
    return make


def fetch_go(folder):
    run("go", "build", "-o", folder / "client", ".", cwd=HERE / "go")


@pytest.fixture(scope="session")
def fetched():
    """Where a client is, fetched at its first use."""
    def fetch(name):
        kind, _, version = name.partition(" ")
        if name in PYTHON:
            return once(DEPS / "python", (HERE / "python/requirements.txt").read_text(), fetch_python)
        if kind == "javascript":
            return once(DEPS / "javascript", (HERE / "javascript/package.json").read_text(), fetch_javascript)
        if kind == "go":
            return once(DEPS / "go", (HERE / "go/client.go").read_text() + (HERE / "go/go.sum").read_text(), fetch_go)
        recipe = "".join(path.read_text() for path in sorted((HERE / "java").iterdir()))
        return once(DEPS / f"java-{version}", recipe, fetch_java(version))
    return fetch


@pytest.fixture
def client(request, fetched):
    return Client(request.param, fetched(request.param))


@pytest.fixture
def join(fetched):
    """Starts members of groups, and ends those that are left over."""
    members = []

    def start(name, kafka, topic, group, protocol, *instance):
        members.append(Member(Client(name, fetched(name)), kafka, topic, group, protocol, *instance))
        return members[-1]
    yield start
    for member in members:
        member.kill()


@pytest.fixture(scope="session")
def tools_of(fetched):
    """Kafka's tools of a release; all tests share its JVM."""
    running = {}

    def get(version):
        if version not in running:
            running[version] = Tools(fetched(f"java {version}"), version)
        return running[version]
    yield get
    for tools in running.values():
        tools.close()
