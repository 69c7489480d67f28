"""A Postgres server for the tests: a real one, on loopback, in a temporary folder, that ends with its test."""

import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from autograder.bootstrap import find_postgres

USER = "grader"
PASSWORD = "canary-postgres/51d0aa"  # a url has to escape it
ESCAPED = PASSWORD.replace("/", "%2F")
START = 60.0  # seconds
# the shell ends the server, and removes its folder, when its input ends: so does a test that is killed
WATCHED = """
"$@" >"$FOLDER/log" 2>&1 &
read -r _
kill -INT $!
wait $!
rm -rf "$FOLDER"
"""
QUICK = ("fsync=off", "full_page_writes=off", "synchronous_commit=off")  # nothing here has to outlive the machine


@dataclass(frozen=True)
class Server:
    """A running server, which knows one user by a password."""

    port: int
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def url(self, database: str) -> str:
        """Returns what nbgrader calls the db_url of a database."""
        return f"postgresql+psycopg://{USER}:{ESCAPED}@127.0.0.1:{self.port}/{database}"

    def new(self) -> str:
        """Returns the url of a new, empty database."""
        name = f"course_{next(self._numbers)}"
        with self.connect() as connection:
            connection.execute(f"create database {name}".encode())
        return self.url(name)

    def answers(self) -> bool:
        """Returns whether the server is there."""
        try:
            self.connect().close()
            return True
        except psycopg.OperationalError:
            return False

    def connect(self) -> psycopg.Connection:
        """Returns a connection to the server's own database."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=USER, password=PASSWORD, dbname="postgres", autocommit=True
        )


@contextmanager
def running() -> Iterator[Server]:
    """Runs a server, and ends it whatever happens."""
    programs = find_postgres()
    assert programs, "there is no Postgres here"
    folder = Path(tempfile.mkdtemp(prefix="autograder-postgres-", dir="/tmp"))  # where other users may enter
    try:
        who = _unprivileged(folder)
        _make(programs, folder, who)
        with _serving(programs, folder, who) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unprivileged(folder: Path) -> dict[str, Any]:
    """Returns how Popen starts Postgres, which refuses to run as root: as a user who owns the folder."""
    known = {"cwd": folder, "env": {"PATH": os.defpath, "LC_ALL": "C", "FOLDER": str(folder)}}
    if os.geteuid() != 0:
        return known
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    user = names.get("postgres") or names["nobody"]
    os.chown(folder, user.pw_uid, user.pw_gid)
    return {**known, "user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _make(programs: Path, folder: Path, who: dict[str, Any]) -> None:
    (folder / "password").write_text(PASSWORD)
    options = ["--no-sync", "--no-locale", "--encoding=UTF8", "--auth=scram-sha-256", f"--username={USER}"]
    call = [f"{programs}/initdb", f"--pgdata={folder}/data", *options, f"--pwfile={folder}/password"]
    done = subprocess.run(call, capture_output=True, text=True, check=False, **who)
    assert done.returncode == 0, done.stderr


@contextmanager
def _serving(programs: Path, folder: Path, who: dict[str, Any]) -> Iterator[Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = Server(free.getsockname()[1])
    settings = [f"port={server.port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", *QUICK]
    call = [f"{programs}/postgres", "-D", f"{folder}/data", *(word for setting in settings for word in ("-c", setting))]
    shell = ["/bin/sh", "-c", WATCHED, "sh", *call]
    with subprocess.Popen(shell, stdin=subprocess.PIPE, start_new_session=True, **who) as process:
        assert process.stdin is not None
        with process.stdin:
            _wait(server, process, folder / "log")
            yield server


def _wait(server: Server, process: subprocess.Popen[Any], log: Path) -> None:
    """Waits until the server answers; fails with what it said if it does not."""
    until = time.monotonic() + START
    while not server.answers():
        assert process.poll() is None
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.05)
