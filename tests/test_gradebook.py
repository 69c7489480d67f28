"""Finding and opening the gradebook: one clear sentence where it cannot be read, and never a password."""

import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from autograder import databases, gradebook
from autograder.errors import CourseError

CONFIG = "c = get_config()\nc.CourseDirectory.db_url = {url!r}\n"
NOWHERE = "postgresql+psycopg://ada:s3cret@127.0.0.1:1/course"  # where nothing listens


def refused(root: Path, url: str) -> str:
    """Returns the sentence with which a course of that db_url is refused."""
    (root / "nbgrader_config.py").write_text(CONFIG.format(url=url))
    with pytest.raises(CourseError) as error:
        gradebook.read(root, "m1")
    sentence = str(error.value)
    assert "s3cret" not in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


def test_the_gradebook_lies_in_the_course_by_default(tmp_path: Path) -> None:
    assert gradebook.database(tmp_path) == f"sqlite:///{tmp_path}/gradebook.db"
    (tmp_path / "nbgrader_config.py").write_text("c = get_config()\nc.CourseDirectory.course_id = 'x'\n")
    assert gradebook.database(tmp_path) == f"sqlite:///{tmp_path}/gradebook.db"


def test_the_configuration_says_where_the_gradebook_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nbgrader_config.py").write_text(
        "import os\n\nc = get_config()\nc.CourseDirectory.db_url = os.environ['GRADEBOOK_URL']\n"
    )
    monkeypatch.setenv("GRADEBOOK_URL", NOWHERE)
    assert gradebook.database(tmp_path) == NOWHERE
    monkeypatch.delenv("GRADEBOOK_URL")
    with pytest.raises(
        CourseError, match=r"nbgrader_config\.py cannot be run \(KeyError: 'GRADEBOOK_URL'\): mend it\."
    ):
        gradebook.database(tmp_path)


def test_a_gradebook_that_is_missing(tmp_path: Path) -> None:
    mend = "run nbgrader generate_assignment m1, then nbgrader autograde."
    assert refused(tmp_path, f"sqlite:///{tmp_path}/g.db") == f"{tmp_path}/g.db does not exist: {mend}"
    assert not (tmp_path / "g.db").exists()
    assert refused(tmp_path, "sqlite://") == f"sqlite:// holds no gradebook: {mend}"


def test_a_database_of_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "g.db")) as connection:
        connection.execute("create table things (id)")
    before = (tmp_path / "g.db").read_bytes()
    assert "g.db holds no gradebook: run nbgrader" in refused(tmp_path, f"sqlite:///{tmp_path}/g.db")
    assert (tmp_path / "g.db").read_bytes() == before


def test_a_file_that_is_no_database_or_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "g.db").write_bytes(b"something else, and long enough to be read" * 20)
    assert (
        refused(tmp_path, f"sqlite:///{tmp_path}/g.db")
        == f"{tmp_path}/g.db is not a gradebook: file is not a database."
    )
    sentence = refused(tmp_path, f"sqlite:///file:{tmp_path}/g.db?vfs=none&uri=true")
    assert sentence == f"The gradebook {tmp_path}/g.db cannot be read (no such vfs: none)."


def test_a_server_that_does_not_answer(tmp_path: Path) -> None:
    said = refused(tmp_path, NOWHERE)
    assert said == (
        "The gradebook postgresql+psycopg://ada:***@127.0.0.1:1/course cannot be read (Connection refused): "
        "see that its server runs, and that db_url in nbgrader_config.py is right."
    )


@pytest.mark.parametrize("url", ["postgresql+psycopg://ada:s3cret@host/course", "nosuch://ada:s3cret@host/course"])
def test_a_driver_that_is_missing(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    said = refused(tmp_path, url)
    assert said.startswith(f"There is no driver for the gradebook {url.replace('s3cret', '***')}: ")
    assert "pip install 'autograder[postgres]', and begin db_url with postgresql+psycopg://." in said


def test_a_url_that_nobody_understands(tmp_path: Path) -> None:
    assert "is no url of a database" in refused(tmp_path, "ada:s3cret@host")


def test_reading_the_grades_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nbgrader.api import Gradebook

    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    databases.configure(None)
    with Gradebook(f"sqlite:///{tmp_path}/gradebook.db", "m") as book:
        book.add_assignment("m1")
    before = (tmp_path / "gradebook.db").read_bytes()
    assert gradebook.read(tmp_path, "m1").rows == []
    with pytest.raises(CourseError, match="The gradebook has no module m2: run nbgrader generate_assignment m2"):
        gradebook.read(tmp_path, "m2")
    assert (tmp_path / "gradebook.db").read_bytes() == before
