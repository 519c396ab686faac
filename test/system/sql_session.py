"""sql_session.py: a session of psql that lasts, so that it can be cut off at any moment and one knows what it was told.

    session = Session(postgres)
    answer = session.run("BEGIN; SELECT sh_produce('t', 'v'); COMMIT;")
"""
import os
import select
import subprocess
import tempfile
import time

MARK = "\x01"
# SQLSTATEs of a connection that is gone; psql gives an error that it noticed itself none.
CUT_OFF = ("57P", "08")


class Lost(Exception):
    """psql or its connection is gone: what was under way may have happened or not."""


class Answer:
    """Lines that came back, command tags among them, and the SQLSTATE of the last statement, or None."""

    def __init__(self, lines, sqlstate):
        self.lines, self.sqlstate = lines, sqlstate

    @property
    def committed(self):
        """Of statements that end with COMMIT: PostgreSQL answers a COMMIT of what has failed with ROLLBACK."""
        return self.sqlstate is None and bool(self.lines) and self.lines[-1] == "COMMIT"

    def rows(self):
        """The lines that are rows, split into columns; queries begin them with MARK."""
        return [line[1:].split("\t") for line in self.lines if line.startswith(MARK)]


class Session:
    """Statements go to psql through a pipe; a mark that psql prints after them tells that they are done."""

    def __init__(self, postgres, user="streamhouse", **settings):
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        self.complaints = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            ["psql", "-XAt", "-F", "\t", "-d", postgres.conninfo(user)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self.complaints, env={**os.environ, "PGOPTIONS": options, "PGCONNECT_TIMEOUT": "10"})
        self.unread = b""
        self.marks = 0
        try:
            self.backend = int(self.run("SELECT pg_backend_pid();").lines[0])
        except Lost:
            self.close()
            raise

    def run(self, sql, timeout=120):
        """Runs statements; raises Lost when it was cut off before they were answered."""
        self.marks += 1
        mark = f"{MARK}{MARK}{self.marks}"
        try:
            self.process.stdin.write(f"{sql}\n\\echo {mark} :SQLSTATE\n".encode())
            self.process.stdin.flush()
        except (BrokenPipeError, ValueError) as error:
            raise Lost from error
        return self.read_until(mark, time.monotonic() + timeout)

    def read_until(self, mark, deadline):
        lines = []
        while True:
            line = self.read_line(deadline)
            if line.startswith(mark + " "):
                sqlstate = line.split(" ")[1]
                if not sqlstate or sqlstate.startswith(CUT_OFF):
                    raise Lost
                return Answer(lines, None if sqlstate == "00000" else sqlstate)
            lines.append(line)

    def read_line(self, deadline):
        while b"\n" not in self.unread:
            readable, _, _ = select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))
            assert readable, "psql does not answer"
            some = os.read(self.process.stdout.fileno(), 1 << 16)
            if not some:
                raise Lost
            self.unread += some
        line, self.unread = self.unread.split(b"\n", 1)
        return line.decode()

    def last_complaint(self):
        """What psql said last of an error."""
        self.complaints.seek(0)
        return self.complaints.read()[-500:].decode(errors="replace")

    def kill(self):
        """kill -9 of psql; its backend learns of it in its own time."""
        self.process.kill()

    def close(self):
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            try:
                pipe.close()
            except BrokenPipeError:
                pass
        self.complaints.close()


def connect(postgres, stopping=None, timeout=60, **settings):
    """A session as soon as one can be had; None when stopping was set before that."""
    deadline = time.monotonic() + timeout
    while stopping is None or not stopping.is_set():
        try:
            return Session(postgres, **settings)
        except Lost:
            assert time.monotonic() < deadline, "PostgreSQL takes no connections"
            time.sleep(0.05)
    return None
