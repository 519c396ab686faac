"""database.py: a private PostgreSQL with the extension, and connections to it that time what they call.

Connections are libpq's own, by ctypes: prepared statements, parameters as they are, answers in binary, so that little but
the server is timed.
"""
import ctypes
import ctypes.util
import os
import shutil
import time
from pathlib import Path

import programs

TEXT, BINARY = 0, 1
FSYNC = ("shared_preload_libraries=streamhouse", "fsync=on", "synchronous_commit=on")
# For a server that is to be aged by so many WAL files: it keeps them.
AGED_WAL = ("min_wal_size=1GB", "max_wal_size=2GB")
AGED_WAL_FILES = 60


class QueryError(programs.StackError):
    def __init__(self, message, sqlstate):
        super().__init__(message)
        self.sqlstate = sqlstate


class Connection:
    """As much of libpq as a benchmark needs."""

    library = ctypes.CDLL(ctypes.util.find_library("pq") or "libpq.so.5")
    for name in ("PQconnectdb", "PQexec", "PQprepare", "PQexecPrepared", "PQerrorMessage", "PQgetvalue", "PQresultErrorField"):
        getattr(library, name).restype = ctypes.c_void_p

    def __init__(self, conninfo):
        self.handle = ctypes.c_void_p(self.library.PQconnectdb(conninfo.encode()))
        if self.library.PQstatus(self.handle) != 0:
            raise programs.StackError("cannot connect: " + self.message())

    def message(self):
        return ctypes.string_at(self.library.PQerrorMessage(self.handle)).decode()

    def check(self, result):
        result = ctypes.c_void_p(result)
        if self.library.PQresultStatus(result) not in (1, 2):
            sqlstate = self.library.PQresultErrorField(result, ord("C"))
            raise QueryError("query failed: " + self.message(), sqlstate and ctypes.string_at(sqlstate).decode())
        return result

    def rows(self, result):
        result = self.check(result)
        columns = range(self.library.PQnfields(result))
        rows = [[ctypes.string_at(self.library.PQgetvalue(result, row, column), self.library.PQgetlength(result, row, column))
                 for column in columns] for row in range(self.library.PQntuples(result))]
        self.library.PQclear(result)
        return rows

    def query(self, text):
        return [[value.decode() for value in row] for row in self.rows(self.library.PQexec(self.handle, text.encode()))]

    def value(self, text):
        """The one value of a query, as an integer."""
        return int(self.query(text)[0][0])

    def prepare(self, name, text):
        self.rows(self.library.PQprepare(self.handle, name.encode(), text.encode(), 0, None))

    def send(self, name, values, form):
        """Gives the seconds it took, and the result that is still libpq's."""
        count = len(values)
        pointers = (ctypes.c_char_p * count)(*values)
        lengths = (ctypes.c_int * count)(*map(len, values))
        formats = (ctypes.c_int * count)(*[form] * count)
        begun = time.perf_counter()
        result = self.library.PQexecPrepared(self.handle, name.encode(), count, pointers, lengths, formats, BINARY)
        return time.perf_counter() - begun, result

    def execute(self, name, values, form=BINARY):
        """Gives the seconds it took, and the rows."""
        took, result = self.send(name, values, form)
        return took, self.rows(result)

    def count(self, name, values, form=BINARY):
        """Gives the seconds it took, and how many rows came."""
        took, result = self.send(name, values, form)
        result = self.check(result)
        rows = self.library.PQntuples(result)
        self.library.PQclear(result)
        return took, rows

    def close(self):
        self.library.PQfinish(self.handle)


class Postgres:
    """A PostgreSQL of our own with the extension, gone when it stops. As root, it runs as user postgres."""

    def __init__(self, folder, *settings):
        self.folder = Path(folder)
        self.settings = settings or FSYNC
        self.home = None

    def command(self, verb, *arguments):
        return programs.run(programs.ROOT / "scripts/postgres.sh", verb, self.home, *arguments)

    def start(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.home = programs.run("bash", "-c", '. scripts/postgres.sh; postgres_home "$1"', "bash", self.folder,
                                 cwd=programs.ROOT).strip()
        self.command("create", f"port={programs.free_port()}", *self.settings)
        self.command("start")
        self.command("prepare")

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        if self.home:
            self.command("stop", "immediate")
            shutil.rmtree(self.home, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def data(self):
        return Path(self.home) / "data"

    @property
    def pid(self):
        return int((self.data / "postmaster.pid").read_text().split()[0])

    @property
    def version(self):
        return programs.run(os.environ.get("PG_CONFIG", "pg_config"), "--version").split()[1]

    def conninfo(self, user="streamhouse"):
        exports = dict(word.split("=", 1) for word in self.command("env").split()[1:])
        return f"host={exports['PGHOST']} port={exports['PGPORT']} dbname={exports['PGDATABASE']} user={user}"

    def connect(self):
        return Connection(self.conninfo())

    def age(self):
        """A server that has run for a while has WAL files to use again; a new one makes each, and its commits wait for that."""
        connection = self.connect()
        for _ in range(AGED_WAL_FILES):
            connection.query("SELECT pg_logical_emit_message(false, 'age', '')")
            connection.query("SELECT pg_switch_wal()")
        connection.query("CHECKPOINT")
        connection.close()
