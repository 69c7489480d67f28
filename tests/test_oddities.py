"""One class of all honest oddities, graded once: each gets its fair score, a word of explanation, and feedback."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from nbgrader.api import Gradebook

from autograder import gradebook
from autograder.course import Course
from autograder.demo import SampleClass
from autograder.gradebook import Grades
from tests.conftest import needs_sandbox
from tests.oddities import ODDITIES, Oddity

pytestmark = [pytest.mark.slow, needs_sandbox]

MODULE, SHEET = "m1_small", "01_shapes"
CONFIG = "from autograder.nbgrader_steps import configure\n\nc = get_config()\nconfigure(c)\n"
EACH = pytest.mark.parametrize("oddity", ODDITIES, ids=[oddity.name for oddity in ODDITIES])


def nbgrader(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs nbgrader as a person would, with this environment's programs on PATH."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    call = [sys.executable, "-m", "nbgrader", *arguments]
    return subprocess.run(call, cwd=root, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def root(built_course: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a course in which all oddities were handed in, and graded by one command."""
    root = tmp_path_factory.mktemp("oddities")
    shutil.copytree(built_course / "source" / MODULE, root / "source" / MODULE)
    (root / "nbgrader_config.py").write_text(CONFIG)
    made = SampleClass(Course(built_course).sheets[0])
    for oddity in ODDITIES:
        folder = root / "submitted" / oddity.name / MODULE
        folder.mkdir(parents=True)
        oddity.build(folder, json.loads(json.dumps(made.release)), {**made.solutions, **made.answers})
    for command in ("generate_assignment", "autograde", "generate_feedback"):
        done = nbgrader(root, command, MODULE)
        assert done.returncode == 0, done.stderr[-5000:]
    return root


@pytest.fixture(scope="module")
def grades(root: Path) -> Grades:
    return gradebook.read(root, MODULE)


def test_there_are_many_of_them_each_with_a_name_and_an_explanation() -> None:
    assert len({oddity.name for oddity in ODDITIES}) == len(ODDITIES) >= 40
    assert all(oddity.did for oddity in ODDITIES)


@EACH
def test_the_score_is_fair(oddity: Oddity, grades: Grades) -> None:
    row = next(row for row in grades.rows if row.student == oddity.name)
    assert grades.percent(row) == pytest.approx(oddity.score), (oddity.did, row)


@EACH
def test_the_student_is_told_what_was_mended_and_nothing_else(oddity: Oddity, grades: Grades) -> None:
    (notes,) = (row.notes for row in grades.rows if row.student == oddity.name)
    if oddity.says is None:
        assert notes == []
    else:
        assert re.search(oddity.says, "\n".join(notes)), notes


@EACH
def test_there_is_one_record_and_feedback(oddity: Oddity, root: Path) -> None:
    with Gradebook(f"sqlite:///{root / 'gradebook.db'}") as book:
        found = [s for s in book.assignment_submissions(MODULE) if s.student.id == oddity.name]
        assert len(found) == 1
        assert [notebook.name for notebook in found[0].notebooks] == [SHEET]
        names = [grade.name for grade in found[0].notebooks[0].grades]
        assert sorted(names) == ["check_center", "check_normalize", "why"]
        assert all(grade.auto_score is not None or grade.needs_manual_grade for grade in found[0].notebooks[0].grades)
    page = (root / "feedback" / oddity.name / MODULE / f"{SHEET}.html").read_text(encoding="utf-8")
    assert ("A note from the grader" in page) == (oddity.says is not None)


def test_nobody_elses_files_are_copied(root: Path) -> None:
    for folder in (root / "autograded").iterdir():
        assert {path.name for path in (folder / MODULE).iterdir()} == {f"{SHEET}.ipynb", "shapes.checks.json"}
        assert (folder / MODULE / "shapes.checks.json").stat().st_size > 10
