"""The gradebook's database: WAL mode where it may be, other databases left alone, files that no student sees."""

import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from nbgrader.api import Base, Gradebook
from nbgrader.coursedir import CourseDirectory
from sqlalchemy import Column, Integer, MetaData, Table, create_engine
from traitlets.config import Config

from autograder import databases, sandbox
from autograder.databases import files_of, name_of
from autograder.errors import CourseError
from autograder.graded import secret_places
from autograder.sandbox import Limits, Sandbox
from autograder.session import Session
from tests import writers
from tests.conftest import needs_sandbox

databases.configure(Config())
NOBODY = 65534


@pytest.fixture(scope="module", autouse=True)
def programs() -> Iterator[None]:
    """Puts nbgrader's programs on PATH: for a new gradebook it starts one, alembic."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
        yield


@pytest.fixture(scope="module")
def old(programs: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the path of a gradebook with one student, not in WAL mode."""
    path = tmp_path_factory.mktemp("old") / "gradebook.db"
    with Gradebook(f"sqlite:///{path}") as book:
        book.add_student("ada")
    assert ask(path, "journal_mode = delete") == "delete"
    return path


@pytest.fixture
def file(old: Path, tmp_path: Path) -> Path:
    """Returns the path of a copy of that gradebook."""
    return Path(shutil.copy(old, tmp_path))


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    """Returns what is logged, whatever logger nbgrader has at the moment."""
    monkeypatch.setattr(databases, "get_logger", lambda: logging.getLogger("test"))
    return caplog


def ask(path: Path, pragma: str) -> str:
    """Returns what SQLite answers to a pragma on a connection of its own."""
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute(f"pragma {pragma}").fetchone()[0])


def students(url: str) -> list[str]:
    with Gradebook(url) as book:
        return [student.id for student in book.students]


# --- WAL mode --------------------------------------------------------------------------------------------------


def test_a_new_gradebook_is_in_wal_mode(tmp_path: Path) -> None:
    with Gradebook(f"sqlite:///{tmp_path}/new.db") as book:
        book.add_student("ada")
        assert {path.name for path in tmp_path.iterdir()} == {"new.db", "new.db-wal", "new.db-shm"}
    assert ask(tmp_path / "new.db", "journal_mode") == "wal"
    assert [path.name for path in tmp_path.iterdir()] == ["new.db"]


def test_an_old_gradebook_is_taken_over_with_what_it_holds(file: Path) -> None:
    assert students(f"sqlite:///{file}") == ["ada"]
    assert ask(file, "journal_mode") == "wal"


def test_each_connection_waits_for_others(file: Path) -> None:
    with (
        Gradebook(f"sqlite:///{file}") as book,
        book.engine.connect() as first,
        book.engine.connect() as second,
    ):
        for connection in (first, second):
            assert connection.exec_driver_sql("pragma busy_timeout").scalar() == 30_000
            assert connection.exec_driver_sql("pragma synchronous").scalar() == 1


def test_configuring_again_changes_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[object] = []
    monkeypatch.setattr(databases, "_prepare", lambda connection, record=None: prepared.append(connection))
    for _ in range(3):  # as the formgrader does, which reads its configuration for each page
        databases.configure(Config())
    with Gradebook(f"sqlite:///{file}") as book:
        assert len(prepared) == 1
        with book.engine.connect(), book.engine.connect():
            assert len(prepared) == 2


def test_other_databases_are_left_alone(tmp_path: Path) -> None:
    tables = MetaData()
    Table("history", tables, Column("id", Integer, primary_key=True))
    engine = create_engine(f"sqlite:///{tmp_path}/history.sqlite")
    tables.create_all(engine)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("pragma journal_mode").scalar() == "delete"
        assert connection.exec_driver_sql("pragma busy_timeout").scalar() == 5_000
    engine.dispose()


def test_nbgraders_commands_keep_the_gradebook_in_wal_mode(tmp_path: Path) -> None:
    config = "from autograder.nbgrader_steps import configure\n\nc = get_config()\nconfigure(c)\n"
    (tmp_path / "nbgrader_config.py").write_text(config)
    subprocess.run(
        [sys.executable, "-m", "nbgrader", "db", "student", "add", "ada"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(writers.ROOT)},
        check=True,
        capture_output=True,
    )
    assert ask(tmp_path / "gradebook.db", "journal_mode") == "wal"
    assert students(f"sqlite:///{tmp_path}/gradebook.db") == ["ada"]


def test_graders_who_write_at_once_lose_nothing(file: Path) -> None:
    url = f"sqlite:///{file}"
    writers.prepare(url)
    writers.write_at_once(url, "ann", "bob")
    assert writers.lost(url, "ann", "bob") == []
    assert ask(file, "integrity_check") == "ok"


# --- where WAL mode cannot be ----------------------------------------------------------------------------------


@pytest.fixture
def read_only(file: Path) -> Iterator[Path]:
    """Returns the gradebook in a folder that this process may read and not change; root becomes somebody else."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    path = Path(shutil.copy(file, folder))
    path.chmod(0o444)
    folder.chmod(0o555)
    user = os.geteuid()
    try:
        os.seteuid(user or NOBODY)
        yield path
    finally:
        os.seteuid(user)
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_a_gradebook_in_a_read_only_folder_is_read_as_it_is(read_only: Path, said: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        assert students(f"sqlite:///{read_only}") == ["ada"]
    assert ask(read_only, "journal_mode") == "delete"
    (record,) = said.records  # once, though it was opened three times
    assert "without SQLite's WAL mode (attempt to write a readonly database)" in record.getMessage()


def test_a_file_system_without_shared_memory_goes_on_without(file: Path, said: pytest.LogCaptureFixture) -> None:
    url = f"sqlite:///file:{file}?vfs=unix-none&uri=true"
    assert students(url) == ["ada"]
    assert ask(file, "journal_mode") == "delete"
    assert "the file system does not allow it" in said.text


def test_on_a_network_file_system_a_gradebook_leaves_wal_mode(
    file: Path, said: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ask(file, "journal_mode = wal") == "wal"  # it was made on a local disk
    monkeypatch.setattr(databases, "_file_system", lambda folder: "nfs4")
    with Gradebook(f"sqlite:///{file}") as book, book.engine.connect() as connection:
        assert connection.exec_driver_sql("pragma synchronous").scalar() == 2
        assert connection.exec_driver_sql("pragma busy_timeout").scalar() == 30_000
    assert ask(file, "journal_mode") == "delete"
    assert "(it lies on the network, nfs4): several graders at once need Postgres" in said.text


def test_the_file_system_of_a_folder_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    assert databases._file_system(Path("/proc/self")) == "proc"
    assert databases._file_system(tmp_path) not in {"", "proc"}


def test_a_gradebook_in_memory_needs_nothing(said: pytest.LogCaptureFixture) -> None:
    Base.metadata.create_all(create_engine("sqlite://"))  # as Gradebook does
    assert said.text == ""


# --- what a url says -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url, file",
    [
        ("sqlite:////folder/gradebook.db", "/folder/gradebook.db"),
        ("sqlite:///gradebook.db", "{here}/gradebook.db"),
        ("sqlite:////folder/a%20b.db?timeout=30", "/folder/a b.db"),
        ("sqlite+pysqlite:////folder/gradebook.db", "/folder/gradebook.db"),
        ("sqlite:///file:/folder/gradebook.db?mode=ro&uri=true", "/folder/gradebook.db"),
        ("sqlite:///file:///folder/a%2520b.db?uri=true", "/folder/a b.db"),
        ("sqlite:///file:gradebook.db?uri=true", "{here}/gradebook.db"),
    ],
)
def test_the_files_of_sqlite(url: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = [str(path) for path in files_of(url)]
    expected = file.format(here=tmp_path.resolve())
    assert found == [expected, f"{expected}-wal", f"{expected}-shm", f"{expected}-journal"]
    assert name_of(url) == expected


def test_what_sqlite_keeps_beside_a_linked_file_is_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to("gradebook.db")
    assert files_of(f"sqlite:///{tmp_path}/link.db")[1] == tmp_path.resolve() / "gradebook.db-wal"


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "postgresql+psycopg://ada@host/course"])
def test_other_databases_have_no_files(url: str) -> None:
    assert files_of(url) == []


@pytest.mark.parametrize(
    "url, name",
    [
        ("postgresql+psycopg://ada:s3cret@host:1/course", "postgresql+psycopg://ada:***@host:1/course"),
        ("postgresql+psycopg:///course?host=/run&password=s3cret", "postgresql+psycopg:///course"),
        ("sqlite://", "sqlite://"),
    ],
)
def test_a_name_has_no_password(url: str, name: str) -> None:
    assert name_of(url) == name


@pytest.mark.parametrize(
    "url", ["", "s3cret", "postgresql+psycopg://a:s3@cret@host/db", "postgresql://a:b@c:s3cret@d/e"]
)
def test_what_is_no_url_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(CourseError, match=r"is no url of a database: .+ and @ in a password as %40\.") as error:
        name_of(url)
    assert "cret" not in str(error.value)


# --- what a student sees ---------------------------------------------------------------------------------------


@needs_sandbox
def test_a_student_sees_no_file_of_a_gradebook_that_lies_in_the_environment(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = tmp_path / "environment"
    (shown / "grades").mkdir(parents=True)
    (shown / "library.py").touch()
    file = Path(shutil.copy(old, shown / "grades"))
    inside = sandbox._environment_folders
    monkeypatch.setattr(sandbox, "_environment_folders", lambda: [*inside(), shown])
    course = CourseDirectory(root=str(tmp_path / "course"), db_url=f"sqlite:///{file}")
    look = f"import glob; print(sorted(glob.glob({str(shown)!r} + '/**', recursive=True)))"
    with Sandbox(Limits(cell=10), hidden=secret_places(course)) as box:
        session = Session(box)
        with Gradebook(course.db_url) as book:
            book.add_student("bob")
            assert file.with_name("gradebook.db-wal").stat().st_size > 0  # it was not there when the sandbox was made
            said = str(session.run(0, look).outputs)
        session.close()
    assert "library.py" in said
    assert "-wal" not in said
    assert "-shm" not in said
