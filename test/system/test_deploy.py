"""What deploy/ has agrees with the rest: every metric, setting, package and script that it names is there, and what can be run without
systemd, Prometheus and a container engine runs."""
import os
import re
import shutil
import subprocess

import pytest
import yaml

import process
from stack import AGENT, ROOT, S3_KEYS, free_port, scratch_folder, wait_until

DEPLOY = ROOT / "deploy"
UNITS = [DEPLOY / "systemd/streamhouse-agent.service", DEPLOY / "systemd/streamhouse-agent@.service"]
SUFFIXES = ("_bucket", "_sum", "_count")


def needs(command):
    return pytest.mark.skipif(shutil.which(command) is None, reason=f"there is no {command} here")


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, **options)
    assert done.returncode == 0, f"{command}:\n{done.stdout[-3000:]}"
    return done.stdout


def metrics():
    return set(re.findall(r'METRIC\(\w+, \w+, "(\w+)"', (ROOT / "agent/metric_table.h").read_text()))


def settings():
    return set(re.findall(r"SETTING\((\w+),", (ROOT / "agent/setting_table.h").read_text()))


def metric_of(name):
    known = metrics()
    return name in known or any(name.endswith(suffix) and name[:-len(suffix)] in known for suffix in SUFFIXES)


@pytest.mark.parametrize("path", ["deploy/prometheus/alerts.yaml", "deploy/prometheus/alerts_test.yaml", "docs/operations.md"])
def test_every_metric_that_is_named_is_one_that_agents_have(path):
    named = set(re.findall(r"\b((?:streamhouse|process)_[a-z0-9_]+)\b", (ROOT / path).read_text())) - {"streamhouse_agent", "streamhouse_owner"}
    assert named
    assert sorted(name for name in named if not metric_of(name)) == []


def test_every_alert_is_explained_in_the_manual_and_every_one_explained_is_there():
    rules = yaml.safe_load((DEPLOY / "prometheus/alerts.yaml").read_text())["groups"][0]["rules"]
    manual = (ROOT / "docs/operations.md").read_text()
    explained = re.findall(r"^\| `(StreamHouse\w+)` \|", manual, re.MULTILINE)
    assert sorted(explained) == sorted(rule["alert"] for rule in rules)
    assert all(rule["labels"]["severity"] in ("page", "ticket") for rule in rules)


@needs("promtool")
def test_prometheus_takes_the_rules_and_raises_what_it_should():
    run("promtool", "check", "config", DEPLOY / "prometheus/prometheus.yaml")
    run("promtool", "test", "rules", DEPLOY / "prometheus/alerts_test.yaml")


def directives(unit):
    return [line for line in unit.read_text().splitlines() if "=" in line and not line.startswith("#")]


def test_both_units_are_the_same_but_for_the_instance():
    single, template = (directives(unit) for unit in UNITS)
    renamed = [line.replace(" %i", "").replace("/%i.conf", "/agent.conf").replace("-%i", "") for line in template]
    assert renamed == single


def test_systemd_waits_longer_than_a_drain_may_take():
    timeout = re.search(r"^TimeoutStopSec=(\d+)s$", UNITS[0].read_text(), re.MULTILINE)
    drain = re.search(r'SETTING\(drain_timeout_ms, DURATION, "(\d+)s"', (ROOT / "agent/setting_table.h").read_text())
    assert int(timeout[1]) > int(drain[1])


@needs("systemd-analyze")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_takes_the_units_and_finds_them_hardened(unit, tmp_path):
    here = tmp_path / unit.name
    here.write_text(unit.read_text().replace("/usr/bin/streamhouse-agent", str(AGENT)))
    said = run("systemd-analyze", "verify", here)
    assert unit.name not in said, said
    exposure = re.search(r"exposure level for \S+: ([\d.]+)", run("systemd-analyze", "security", "--offline=true", here))
    assert float(exposure[1]) < 2


def test_the_example_of_settings_is_one_that_the_agent_takes():
    shown = run(AGENT, "--config", DEPLOY / "systemd/agent.conf", "--show-settings", env={"PATH": os.environ["PATH"]})
    assert "example-bucket" in shown


def test_make_install_puts_everything_where_the_units_expect_it(tmp_path):
    run("make", "-s", "-f", "build.mk", "install", f"DESTDIR={tmp_path}", "PREFIX=/usr", cwd=ROOT)
    there = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert {"usr/bin/streamhouse-agent", "usr/lib/systemd/system/streamhouse-agent.service", "usr/lib/systemd/system/streamhouse-agent@.service",
            "usr/lib/sysusers.d/streamhouse.conf", "usr/lib/tmpfiles.d/streamhouse.conf", "usr/share/doc/streamhouse/operations.md"} <= there
    run("make", "-s", "-f", "build.mk", "uninstall", f"DESTDIR={tmp_path}", "PREFIX=/usr", cwd=ROOT)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def compose():
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def agents_of(stack):
    return {name: service for name, service in stack["services"].items() if name.startswith("agent-")}


def test_three_agents_are_composed_each_with_a_name_a_zone_and_ports_of_its_own():
    agents = agents_of(compose())
    assert len(agents) == 3
    for setting in ("STREAMHOUSE_AGENT_NAME", "STREAMHOUSE_ZONE", "STREAMHOUSE_KAFKA_PORT"):
        assert len({service["environment"][setting] for service in agents.values()}) == 3
    published = [port.rsplit(":", 1) for service in agents.values() for port in service["ports"]]
    assert len({host for host, _ in published}) == 6
    for service in agents.values():
        port = service["environment"]["STREAMHOUSE_KAFKA_PORT"]
        assert f"127.0.0.1:{port}:{port}" in service["ports"], "clients are told the port that the agent listens on"
        assert int(service["stop_grace_period"].rstrip("s")) > 30


def test_what_is_composed_is_declared_and_known():
    stack = compose()
    for service in stack["services"].values():
        assert set(service.get("secrets", [])) <= set(stack["secrets"])
        assert set(service.get("depends_on", [])) <= set(stack["services"])
        for variable in service.get("environment", {}):
            assert variable[len("STREAMHOUSE_"):].lower() in settings()
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in stack["volumes"] or (DEPLOY / volume.split(":")[0]).exists()
        if "build" in service:
            assert re.search(rf"^FROM \S+ AS {service['build']['target']}$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    for variable in re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()):
        assert re.search(rf"^#?{variable}=", (DEPLOY / "env.example").read_text(), re.MULTILINE)


def test_what_the_images_are_built_with_is_in_the_table_of_dependencies():
    build = re.search(r"AS build\nRUN .*?--no-install-recommends \\\n(.*?)\nWORKDIR", (DEPLOY / "Dockerfile").read_text(), re.DOTALL)[1]
    documented = set(re.findall(r"^\| ([a-z0-9.+-]+) \|", (ROOT / "docs/dependencies.md").read_text(), re.MULTILINE))
    assert set(build.replace("\\", " ").split()) <= documented


@pytest.fixture
def secrets(tmp_path):
    for name, value in (("agent_password", "secret"), ("s3_access_key", S3_KEYS["AWS_ACCESS_KEY_ID"]),
                        ("s3_secret_key", S3_KEYS["AWS_SECRET_ACCESS_KEY"])):
        (tmp_path / name).write_text(value)
    return tmp_path


@pytest.mark.sql
@pytest.mark.any_store
def test_an_agent_starts_as_it_does_in_its_container(own_stack, secrets):
    agent = own_stack.add_agent()
    environment = {"PATH": f"{AGENT.parent}:{os.environ['PATH']}", "SECRETS": str(secrets), "STREAMHOUSE_DATABASE": own_stack.postgres.conninfo(),
                   "STREAMHOUSE_STORE": own_stack.store.url, "STREAMHOUSE_KAFKA_PORT": str(agent.kafka_port), "STREAMHOUSE_HTTP_PORT": str(agent.http_port)}
    with open(agent.log_path, "wb") as log:
        agent.process = subprocess.Popen([DEPLOY / "agent-start", "--agent-name=contained"], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    agent.wait_ready()
    assert agent.stop() == 0


@pytest.mark.skipif("s3" not in os.environ.get("STREAMHOUSE_TEST_STORES", "folder,s3"), reason="no S3 server is wanted")
def test_the_bucket_is_made_once_and_then_left_alone(s3_server, secrets):
    for _ in range(2):
        run(DEPLOY / "bucket-create", s3_server.endpoint, "composed", env={**os.environ, "SECRETS": str(secrets)})
    assert "composed" in [bucket["Name"] for bucket in s3_server.client().list_buckets()["Buckets"]]


@pytest.mark.sql
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run something as PostgreSQL's user")
def test_postgresql_starts_as_it_does_in_its_container_and_again_after_it_was_killed(tmp_path_factory, secrets):
    folder, port = scratch_folder("contained"), free_port()
    shutil.copytree(secrets, folder / "secrets")
    shutil.copy(DEPLOY / "postgres-start", folder)
    (folder / "volume").mkdir(0o700)
    shutil.chown(folder / "volume", "postgres", "postgres")
    for path in (folder / "secrets").rglob("*"):
        path.chmod(0o644)
    (folder / "secrets").chmod(0o755)
    bindir = run(os.environ.get("PG_CONFIG", "pg_config"), "--bindir").strip()
    command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "env", f"VOLUME={folder}/volume", f"SECRETS={folder}/secrets",
               f"POSTGRES_BINDIR={bindir}", "HOME=/tmp", str(folder / "postgres-start"), "-c", "listen_addresses=127.0.0.1", "-c", f"port={port}", "-c", "fsync=off"]
    conninfo = f"host=127.0.0.1 port={port} dbname=streamhouse user=agent"

    def ask(password):
        return subprocess.run([f"{bindir}/psql", "-XAtd", conninfo, "-c", "SELECT sh_cluster_id()"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              text=True, env={**os.environ, "PGPASSWORD": password}).stdout.strip()

    clusters = []
    try:
        for _ in range(2):
            with open(folder / "log", "ab") as log:
                server = subprocess.Popen(command, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            clusters.append(wait_until(lambda: ask("secret"), 90, "the agents' role logging in"))
            assert ask("wrong") == ""
            process.kill_tree(server.pid)
            server.wait()
    finally:
        process.kill_tree(server.pid)
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)
    assert clusters[0] == clusters[1]
