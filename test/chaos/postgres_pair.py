"""postgres_pair.py: a primary and its synchronous standby, and a small failover manager of our own, so that every step of a failover can
be ill-treated.

The manager's rule is that of any: a standby may be promoted only while it has everything that the primary's readers could have seen.
Commits wait for the standby while it is there (`settled`). When it has been away for `PATIENCE_S`, it first loses the right to be
promoted, and then the primary is told to wait no longer; it gets both back once it has caught up. A primary that came back from a
crash, or whose waiting backends were ended, shows commits that the standby may lack: until the standby was seen to have them, it may
not be promoted either (`distrust()`).
"""
import os
import shutil
import signal
import subprocess
import threading
import time

import process
from stack import ROOT, S3_KEYS, Postgres, wait_until

NAMES = ("pg-1", "pg-2")
PATIENCE_S = 4
SETTLE_S = 12
DEMAND = "FIRST 1 (\"pg-1\", \"pg-2\")"
SETTINGS = {
    "fsync": "off", "shared_preload_libraries": "streamhouse", "max_connections": "120", "wal_keep_size": "512MB", "wal_log_hints": "on",
    "wal_sender_timeout": "4s", "wal_receiver_timeout": "4s", "wal_retrieve_retry_interval": "300ms", "hot_standby": "on",
    "tcp_user_timeout": "5s", "tcp_keepalives_idle": "3", "tcp_keepalives_interval": "1", "tcp_keepalives_count": "3",
    "client_connection_check_interval": "1s", "log_min_messages": "warning", "include": "pair.conf",
    # The inline ring turns fast, so that what is in it, what moves, and what is in objects are all ill-treated.
    "streamhouse.inline_move_age": "2s", "streamhouse.inline_slot_age": "4s", "streamhouse.inline_grace": "1s",
}


def sourced(line, *arguments):
    """A command that runs a line of bash with the functions of scripts/postgres.sh."""
    return ["bash", "-c", f'. "$1"; shift; {line}', "postgres", str(ROOT / "scripts/postgres.sh"), *arguments]


class Server(Postgres):
    """One of the two, on a host of its own. Orders to it go through its socket, which no partition cuts."""

    def __init__(self, name, folder, node, clock, settings):
        self.name, self.folder, self.node, self.clock = name, folder / name, node, clock
        self.settings = settings
        self.port = node.port(5432)
        self.paused = []

    def create(self):
        self.script("create", *[f"{name}={value}" for name, value in {"port": self.port, **SETTINGS, **self.settings}.items()])
        with open(self.folder / "data/pg_hba.conf", "a") as rules:
            # Only processes of this run are in this network.
            rules.write("host all all 10.77.0.0/24 trust\nhost replication all 10.77.0.0/24 trust\n")
        self.configure()

    def tool(self, *command, check=True):
        """Runs a program as PostgreSQL's user, on this host."""
        line = sourced('as_postgres "$(postgres_bindir)/$1" "${@:2}"', *command)
        done = subprocess.run(self.node.wrap(line), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
        if check and done.returncode != 0:
            raise RuntimeError(f"{command[0]}: {done.stdout[-1000:]}")
        return done.returncode == 0

    @property
    def host(self):
        """Where others connect: an address, or without network namespaces the socket's folder."""
        return self.node.address if self.node.address != "127.0.0.1" else str(self.folder / "socket")

    def configure(self, source=None, demand=""):
        """What is this server's own; pg_basebackup and pg_rewind bring the other's."""
        listen = self.node.address if self.node.address != "127.0.0.1" else ""
        lines = {"listen_addresses": listen, "port": self.port, "unix_socket_directories": self.folder / "socket",
                 "synchronous_standby_names": demand}
        if source:
            lines["primary_conninfo"] = (f"host={source.host} port={source.port} user=streamhouse application_name={self.name} "
                                         "connect_timeout=2 keepalives_idle=2 keepalives_interval=1 keepalives_count=3")
        (self.folder / "data/pair.conf").write_text("".join(f"{name} = '{value}'\n" for name, value in lines.items()))

    def reload(self, **settings):
        self.configure(**settings)
        process.send(self.postmaster(), signal.SIGHUP)

    def follow(self, source):
        self.configure(source)
        (self.folder / "data/standby.signal").touch()

    def script(self, verb, *arguments, **environment):
        if verb == "start":
            environment = {**environment, **self.clock.environment, **S3_KEYS}
        command = self.node.wrap([str(ROOT / "scripts/postgres.sh"), verb, str(self.folder), *arguments])
        with open(self.folder.parent / "postgres.out", "a") as output:
            done = subprocess.run(command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=150)
        if done.returncode != 0:
            raise RuntimeError(f"{command} failed:\n{self.log()[-2000:]}")

    def postmaster(self):
        return int((self.folder / "data/postmaster.pid").read_text().split()[0])

    def is_running(self):
        try:
            return process.is_alive(self.postmaster())
        except (OSError, IndexError, ValueError):
            return False

    def kill(self):
        self.resume()
        if self.is_running():
            super().kill()

    def pause(self):
        """SIGSTOP of all its processes: none answers, and none has died."""
        postmaster = self.postmaster()
        process.send(postmaster, signal.SIGSTOP)
        self.paused = [postmaster, *process.children_of(postmaster)]
        for member in self.paused:
            process.send(member, signal.SIGSTOP)

    def resume(self):
        for member in reversed(self.paused):
            process.send(member, signal.SIGCONT)
        self.paused = []

    def ask(self, sql, timeout=5):
        """One value; None when it does not answer in time or not so."""
        command = ["psql", "-XAtq", "-d", f"{self.conninfo('streamhouse')} connect_timeout=3", "-c", sql]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=timeout)
        except subprocess.TimeoutExpired:
            return None
        return done.stdout.strip() if done.returncode == 0 else None


class Pair:
    """Both, and who of them is the primary."""

    def __init__(self, folder, network, clocks, settings):
        self.servers = [Server(name, folder, network.node(name), clocks(name), settings) for name in NAMES]
        self.primary, self.standby = self.servers
        self.settled = False  # whether commits wait for the standby
        self.trusted = False  # whether the standby was seen to have what came before
        self.doubts = 0
        self.away_since = None
        self.mutex = threading.RLock()  # whoever changes roles, or what runs
        self.stopping = threading.Event()
        self.events = []
        self.watcher = threading.Thread(target=self.watch, daemon=True)

    def conninfo(self, user="streamhouse"):
        hosts = ",".join(server.host for server in self.servers)
        ports = ",".join(str(server.port) for server in self.servers)
        return (f"host={hosts} port={ports} dbname={Postgres.database} user={user} target_session_attrs=read-write connect_timeout=2 "
                "tcp_user_timeout=5000 keepalives_idle=3 keepalives_interval=1 keepalives_count=3")

    def start(self):
        self.primary.create()
        self.primary.start()
        self.primary.prepare()
        self.copy(self.primary, self.standby)
        self.standby.start()
        wait_until(self.try_to_settle, 60, "the standby's catching up")
        self.watcher.start()

    def copy(self, source, target):
        """A new standby from nothing."""
        shutil.rmtree(target.folder, ignore_errors=True)
        subprocess.run(sourced('postgres_folders "$1"', str(target.folder)), check=True)
        target.tool("pg_basebackup", f"--pgdata={target.folder / 'data'}", f"--host={source.host}", f"--port={source.port}",
                    "--username=streamhouse", "--checkpoint=fast", "--wal-method=stream", "--no-sync")
        target.follow(source)

    def rewind(self, source, target):
        """Takes back what a former primary has and the new one has not."""
        return target.tool("pg_rewind", f"--target-pgdata={target.folder / 'data'}", "--no-sync",
                           f"--source-server=host={source.host} port={source.port} user=streamhouse dbname=postgres connect_timeout=5", check=False)

    def note(self, text):
        self.events.append((time.monotonic_ns(), text))

    # What the manager looks at, once a second.

    def watch(self):
        while not self.stopping.wait(1):
            if self.mutex.acquire(timeout=0.1):
                try:
                    self.look()
                except (OSError, RuntimeError) as error:
                    self.note(f"the manager failed: {error}")
                finally:
                    self.mutex.release()

    def look(self):
        streams = self.standby_streams()
        if streams != "f":  # or the primary does not answer, and has nothing to say about its standby
            self.away_since = None
            if streams == "t" and not (self.settled and self.trusted):
                self.try_to_settle()
            return
        self.away_since = self.away_since or time.monotonic()
        if self.settled and time.monotonic() - self.away_since > PATIENCE_S:
            self.settled = self.trusted = False
            self.primary.reload(demand="")
            self.note(f"{self.primary.name} waits for {self.standby.name} no longer")

    def standby_streams(self):
        """t or f; None when the primary does not answer."""
        return self.primary.ask("SELECT EXISTS (SELECT FROM pg_stat_replication "
                                f"WHERE application_name = '{self.standby.name}' AND state = 'streaming')")

    def has_everything(self, patience_s=8):
        """Whether the standby has flushed what the primary has written by now."""
        position = self.primary.ask("SELECT pg_current_wal_insert_lsn()")
        deadline = time.monotonic() + patience_s
        while position and time.monotonic() < deadline:
            if self.primary.ask(f"SELECT flush_lsn >= '{position}' FROM pg_stat_replication WHERE application_name = '{self.standby.name}'") == "t":
                return True
            time.sleep(0.1)
        return False

    def try_to_settle(self):
        doubts = self.doubts
        if not (self.standby_streams() == "t" and self.has_everything(2)):
            return False
        if not self.settled:
            self.primary.reload(demand=DEMAND)
            # From here on commits wait; those before are there once this is.
            if not (wait_for(lambda: self.primary.ask("SHOW synchronous_standby_names") == DEMAND, 5) and self.has_everything(5)):
                return False
            self.settled = True
            self.note(f"{self.primary.name} waits for {self.standby.name}")
        self.trusted = doubts == self.doubts
        return self.trusted

    def distrust(self):
        """The primary may show from now on what the standby lacks."""
        self.doubts += 1
        self.trusted = False

    # What the nemesis orders; each holds the mutex.

    def promote(self, before=lambda: None):
        """The standby takes over, if it may; `before` does away with the primary. Gives back whether it did."""
        if not wait_for(lambda: (self.settled and self.trusted) or self.try_to_settle(), SETTLE_S):
            return False
        before()
        self.settled = self.trusted = False
        self.standby.configure(demand="")
        self.standby.script("promote")
        self.primary, self.standby = self.standby, self.primary
        self.note(f"{self.primary.name} is the primary now")
        return True

    def rejoin(self):
        """The former primary becomes a standby; when nobody was promoted, the primary comes back."""
        if not self.primary.is_running():
            self.primary.start()
        if self.standby.is_running() and self.standby_streams() == "t":
            return
        began = time.monotonic()
        self.standby.kill()
        # pg_rewind looks for the new timeline in the control file, where the first checkpoint after the promotion writes it.
        self.primary.ask("CHECKPOINT", 60)
        if self.rewind(self.primary, self.standby):
            self.standby.follow(self.primary)
            try:
                self.standby.start()
                self.note(f"{self.standby.name} was rewound in {time.monotonic() - began:.1f} s")
                return
            except RuntimeError as error:
                self.note(f"{self.standby.name} was rewound, and does not start: {error}")
        self.copy(self.primary, self.standby)
        self.standby.start()
        self.note(f"{self.standby.name} was copied anew, back after {time.monotonic() - began:.1f} s")

    def stop(self):
        self.stopping.set()
        if self.watcher.is_alive():
            self.watcher.join(10)
        for server in self.servers:
            try:
                server.kill()
            except (OSError, AssertionError, ValueError):
                pass


def wait_for(condition, timeout):
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False
