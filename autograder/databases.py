"""The gradebook's database: SQLite made fit for several graders at once, and what a url says, without its password.

nbgrader makes an engine for each `Gradebook`, and each time has SQLAlchemy create those of its tables that are
missing, which SQLAlchemy announces to whoever listens to these tables. So `configure` listens there: that reaches
every gradebook that nbgrader opens in this process, and no other database.
"""

import functools
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psutil
from nbgrader.api import Assignment, Base
from sqlalchemy import Connection, MetaData, create_engine, event, inspect
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import PoolProxiedConnection
from traitlets.log import get_logger

from autograder.errors import CourseError

BUSY = 30  # seconds that a writer waits for the others, who write for a fraction of one
BESIDE = ("-wal", "-shm", "-journal")  # what SQLite keeps beside a database that is in use
# WAL needs memory that all who use a file share (https://sqlite.org/wal.html): one machine; SQLite does not look
NETWORK = frozenset(
    {
        *("9p", "afpfs", "afs", "beegfs", "ceph", "cifs", "davfs", "glusterfs", "gpfs", "lustre", "nfs", "nfs4"),
        *("orangefs", "smb2", "smb3", "smbfs", "webdav"),
        *("fuse.ceph", "fuse.davfs", "fuse.glusterfs", "fuse.juicefs", "fuse.rclone", "fuse.sshfs"),
    }
)
SERVER = "see that its server runs, and that db_url in nbgrader_config.py is right"
DRIVER = "run pip install 'autograder[postgres]', and begin db_url with postgresql+psycopg://"


def configure(c: Any) -> None:
    """Has every SQLite gradebook that nbgrader opens from now on kept in WAL mode; nothing is to be set in `c`."""
    event.listen(Base.metadata, "before_create", _opened)  # a second time it changes nothing


def files_of(url: str) -> list[Path]:
    """Returns the file of a SQLite database, then those that SQLite keeps beside it; [] for any other database.

    Raises CourseError for what is no url.
    """
    parsed = _parsed(url)
    name = parsed.database
    if parsed.get_backend_name() != "sqlite" or not name or name == ":memory:":
        return []
    if name.startswith("file:") and "uri" in parsed.query:
        name = unquote(urlsplit(name).path)
    path = Path(name).resolve()  # as SQLite does: what it keeps beside a link is beside the file
    return [path, *(path.with_name(path.name + end) for end in BESIDE)]


def name_of(url: str) -> str:
    """Returns what a message calls a database: SQLite's file, else the url without password and options.

    Raises CourseError for what is no url.
    """
    files = files_of(url)
    return str(files[0]) if files else _parsed(url).set(query={}).render_as_string()


def holds_gradebook(url: str) -> bool:
    """Returns whether a database has nbgrader's tables, without making them, as nbgrader would."""
    engine = create_engine(url)
    try:
        return bool(inspect(engine).has_table(Assignment.__tablename__))
    finally:
        engine.dispose()


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Raises CourseError, whose sentence shows no password, for what SQLAlchemy and its drivers raise."""
    try:
        yield
    except OperationalError as error:
        mend = "" if files_of(url) else f": {SERVER}"
        raise CourseError(f"The gradebook {name_of(url)} cannot be read ({_reason(error)}){mend}.") from error
    except (ArgumentError, ImportError) as error:
        raise CourseError(f"There is no driver for the gradebook {name_of(url)}: {DRIVER}.") from error
    except SQLAlchemyError as error:
        raise CourseError(f"{name_of(url)} is not a gradebook: {_reason(error)}.") from error


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is None or "@" in (parsed.host or ""):  # the host would be the end of the password, and shown
        raise CourseError(
            "db_url in nbgrader_config.py is no url of a database: write sqlite:////folder/gradebook.db or "
            "postgresql+psycopg://user@host/database, and @ in a password as %40."
        )
    return parsed


def _reason(error: SQLAlchemyError) -> str:
    """Returns the line that says why, without what psycopg says before it: where it tried to connect."""
    lines = str(getattr(error, "orig", None) or error).splitlines() or [type(error).__name__]
    line = next((line for line in lines if "failed: " in line), lines[0])
    return " ".join(line.rpartition("failed: ")[2].split()).rstrip(".")


def _opened(_tables: MetaData, connection: Connection, **_: object) -> None:
    """Prepares the connection on which nbgrader opens a gradebook, and those that its engine makes later."""
    if connection.dialect.name == "sqlite":
        _prepare(connection.connection)
        event.listen(connection.engine, "connect", _prepare)


def _prepare(connection: DBAPIConnection | PoolProxiedConnection, _record: object = None) -> None:
    with closing(connection.cursor()) as cursor:
        cursor.execute(f"PRAGMA busy_timeout = {BUSY * 1000}")
        cursor.execute("PRAGMA database_list")
        file = str(cursor.fetchall()[0][2])
        if file:  # else the database lies in memory
            _choose_journal(cursor, file)


def _choose_journal(cursor: Any, file: str) -> None:
    kind = _file_system(Path(file).parent)
    network = kind in NETWORK
    try:
        cursor.execute(f"PRAGMA journal_mode = {'DELETE' if network else 'WAL'}")
        mode = cursor.fetchone()[0]
        reason = f"it lies on the network, {kind}" if network else "the file system does not allow it"
    except sqlite3.Error as error:  # the folder is read-only, say
        mode, reason = "", str(error)
    if mode == "wal":
        cursor.execute("PRAGMA synchronous = NORMAL")  # which damages no file in this mode, and does in others
    else:
        _say_without_wal(file, reason)


@functools.cache
def _file_system(folder: Path) -> str:
    """Returns the type of the file system that a folder lies on, "" where nothing is known of it."""
    mounted = {Path(disk.mountpoint): disk.fstype for disk in psutil.disk_partitions(all=True)}
    return next((mounted[place] for place in (folder, *folder.parents) if place in mounted), "")


@functools.cache
def _say_without_wal(file: str, reason: str) -> None:
    """Says it once: nbgrader opens a gradebook a dozen times for each submission."""
    get_logger().warning("%s is without SQLite's WAL mode (%s): several graders at once need Postgres.", file, reason)
