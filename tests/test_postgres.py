"""A class graded into Postgres, on a real server: nbgrader's commands, two graders at once, and a hidden password."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell
from nbgrader.apps import NbGraderAPI
from sqlalchemy import create_engine, inspect
from traitlets.config.loader import PyFileConfigLoader

from autograder import gradebook
from autograder.bootstrap import find_postgres
from autograder.course import Course
from autograder.demo import SampleClass
from autograder.errors import CourseError
from tests import postgres, writers
from tests.conftest import needs_sandbox
from tests.postgres import ESCAPED, PASSWORD, Server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not find_postgres(), reason="no Postgres server here: install Debian's package postgresql"),
]
MODULE = "m1_small"
CLASS = {"01_perfect": "a_perfect", "03_wrong_axis": "b_wrong_axis", "06_untouched": "a_untouched"}
CONFIG = """\
import os

from autograder.nbgrader_steps import configure

c = get_config()
c.CourseDirectory.course_id = "small"
c.CourseDirectory.db_url = os.environ["GRADEBOOK_URL"]
configure(c)
"""
SPY = """
import glob, os, socket

print("environment", dict(os.environ))
for path in [*glob.glob("/proc/*/environ"), *glob.glob("/proc/*/cmdline"), ROOT + "/nbgrader_config.py"]:
    try:
        print(path, open(path, "rb").read())
    except OSError as error:
        print(path, error)
try:
    print("connected", socket.create_connection(("127.0.0.1", PORT), 5))
except OSError as error:
    print("not connected:", error)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Returns a running server."""
    with pytest.MonkeyPatch.context() as patch, postgres.running() as made:
        patch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
        yield made


class Graded:
    """The small course in a folder, with a gradebook in Postgres, graded by two graders at once."""

    def __init__(self, built: Path, root: Path, server: Server) -> None:
        self.root = root
        self.url = server.new()
        self.said: list[str] = []
        place = Course(built).sheets[0]
        shutil.copytree(built / "source", root / "source")
        shutil.copytree(built / "modules", root / "modules")
        (root / "nbgrader_config.py").write_text(CONFIG)
        members = {member.student: member.file for member in SampleClass(place).members()}
        class_ = {name: members[old] for old, name in CLASS.items()}
        class_["b_spy"] = self._with_spy(class_["a_perfect"], server.port)
        for student, notebook in class_.items():
            folder = root / "submitted" / student / MODULE
            folder.mkdir(parents=True)
            (folder / f"{place.notebook_name}.ipynb").write_bytes(notebook)
        self.run("nbgrader", "generate_assignment", MODULE)
        graders = [
            self._start("nbgrader", "autograde", MODULE, "--student=a*"),
            self._start("autograder", "grade", MODULE, "--student=b_spy", "--student=b_wrong_axis"),
        ]
        for grader in graders:
            self._end(grader)

    def run(self, *command: str) -> str:
        """Runs a command as a grader would, and returns what it printed."""
        return self._end(self._start(*command))

    def read(self) -> dict[str, dict[str, float | None]]:
        return {row.student: row.points for row in gradebook.read(self.root, MODULE).rows}

    def _with_spy(self, notebook: bytes, port: int) -> bytes:
        made = nbformat.reads(notebook.decode(), as_version=4)
        made.cells.append(new_code_cell(SPY.replace("PORT", str(port)).replace("ROOT", repr(str(self.root))), id="spy"))
        return nbformat.writes(made).encode()

    def _start(self, *command: str) -> subprocess.Popen[str]:
        program = [sys.executable, "-m", {"autograder": "autograder.cli"}.get(command[0], command[0]), *command[1:]]
        known = {**os.environ, "GRADEBOOK_URL": self.url, "PYTHONPATH": str(writers.ROOT)}
        pipe = subprocess.PIPE
        return subprocess.Popen(program, cwd=self.root, env=known, stdout=pipe, stderr=subprocess.STDOUT, text=True)

    def _end(self, running: subprocess.Popen[str]) -> str:
        said = running.communicate(timeout=300)[0]
        self.said.append(said)
        assert running.returncode == 0, said
        return said


@pytest.fixture(scope="module")
def graded(server: Server, built_course: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graded]:
    with pytest.MonkeyPatch.context() as patch:
        made = Graded(built_course, tmp_path_factory.mktemp("postgres") / "course", server)
        patch.setenv("GRADEBOOK_URL", made.url)
        yield made


@needs_sandbox
def test_two_graders_at_once_grade_the_class(graded: Graded) -> None:
    everything = {"center": 2.0, "normalize": 3.0, "why": None}
    points = graded.read()
    assert points.pop("b_wrong_axis")["center"] in (0.0, 1.0)
    assert points == {
        "a_perfect": everything,
        "a_untouched": {"center": 0.0, "normalize": 0.0, "why": 0.0},
        "b_spy": everything,
    }
    assert not list(graded.root.glob("gradebook.db*"))


@needs_sandbox
def test_the_command_shows_the_grades(graded: Graded) -> None:
    said = graded.run("autograder", "gradebook", MODULE)
    assert "a_perfect" in said
    assert "b_wrong_axis: center: wrong_axis" in said


@needs_sandbox
def test_nbgraders_other_commands_work(graded: Graded) -> None:
    graded.run("nbgrader", "export")
    rows = [line.split(",") for line in (graded.root / "grades.csv").read_text().splitlines()]
    score, student = rows[0].index("score"), rows[0].index("student_id")
    assert {row[student]: float(row[score]) for row in rows[1:]} == {
        student: sum(points or 0 for points in tasks.values()) for student, tasks in graded.read().items()
    }
    assert "There are 4 students in the database" in graded.run("nbgrader", "db", "student", "list")
    graded.run("nbgrader", "generate_feedback", MODULE)
    assert len(list(graded.root.glob("feedback/*/*/*.html"))) == 4
    graded.run("nbgrader", "generate_assignment", MODULE, "--force")
    assert graded.read()["a_perfect"]["center"] == 2.0


@needs_sandbox
def test_the_formgrader_can_ask_all_that_it_asks(graded: Graded) -> None:
    config = PyFileConfigLoader("nbgrader_config.py", path=str(graded.root)).load_config()
    config.CourseDirectory.root = str(graded.root)
    api = NbGraderAPI(config=config)
    (assignment,) = api.get_assignments()
    assert (assignment["num_submissions"], assignment["max_code_score"]) == (4, 5)
    (notebook,) = api.get_notebooks(MODULE)
    assert len(api.get_notebook_submissions(MODULE, notebook["name"])) == 4
    scores = {submission["student"]: submission["code_score"] for submission in api.get_submissions(MODULE)}
    assert scores["a_perfect"] == 5
    assert {student["id"]: student["score"] for student in api.get_students()} == scores
    assert api.get_student_submissions("b_spy")[0]["needs_manual_grade"]
    assert api.get_student_notebook_submissions("b_spy", MODULE)[0]["code_score"] == 5


@needs_sandbox
def test_the_password_is_nowhere(graded: Graded) -> None:
    """Not in what the commands print, not in a file that they write, and not where a student's code can look."""
    (path,) = graded.root.glob(f"autograded/b_spy/{MODULE}/*.ipynb")
    cell = json.loads(path.read_bytes())["cells"][-1]
    seen = "".join(line for output in cell["outputs"] for line in output["text"])
    assert "environment {" in seen
    assert "/cmdline b'" in seen
    assert "not connected:" in seen
    for secret in (PASSWORD, ESCAPED, graded.url):
        assert not [said for said in graded.said if secret in said]
        files = (file for file in graded.root.rglob("*") if file.is_file())
        assert not [file for file in files if secret.encode() in file.read_bytes()]


def test_graders_who_write_at_once_lose_nothing(server: Server) -> None:
    url = server.new()
    writers.prepare(url)
    writers.write_at_once(url, "ann", "bob")
    assert writers.lost(url, "ann", "bob") == []


def test_what_cannot_be_read_is_said_without_the_password(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nbgrader_config.py").write_text(CONFIG)
    empty = server.new()
    shown = server.url("{}").replace(ESCAPED, "***")
    expected = {
        empty: f"{shown.format(empty.rpartition('/')[2])} holds no gradebook: run nbgrader generate_assignment m1",
        server.url("nosuch"): f'{shown.format("nosuch")} cannot be read (FATAL: database "nosuch" does not exist): see',
        empty.replace(
            ESCAPED, "wrong"
        ): '(FATAL: password authentication failed for user "grader"): see that its server',
    }
    for url, sentence in expected.items():
        monkeypatch.setenv("GRADEBOOK_URL", url)
        with pytest.raises(CourseError) as error:
            gradebook.read(tmp_path, "m1")
        assert sentence in str(error.value)
        assert ESCAPED not in str(error.value)
    engine = create_engine(empty)
    assert inspect(engine).get_table_names() == []  # reading made no tables
    engine.dispose()


def test_the_server_ends_with_a_test_that_is_killed(server: Server) -> None:
    program = "from tests import postgres\nwith postgres.running() as server: print(server.port, flush=True), input()"
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=writers.ROOT, stdin=pipe, stdout=pipe, text=True
    ) as test:
        assert test.stdout is not None
        other = Server(int(test.stdout.readline()))
        other.connect().close()
        test.kill()
    until = time.monotonic() + 20
    while other.answers():
        assert time.monotonic() < until
        time.sleep(0.05)
    assert server.answers()
