"""The course that the attack suite attacks: a sheet of three tasks, a notebook of plain asserts, and planted canaries.

The plain notebook stands for courses with ordinary `assert`s in their hidden tests; its one task is the first of
the sheet, so that the same attack runs against both.
"""

import os
import shutil
import subprocess
import sys
from functools import cached_property
from pathlib import Path

import nbformat
from nbformat.notebooknode import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from nbgrader.api import Gradebook

from autograder import build, gradebook, source
from autograder.course import Course, SheetPlace
from autograder.sheets import read_sheet

MODULE, NOTEBOOK, BUNDLE = "m1_attacked", "01_drill", "drill.checks.json"
PLAIN = "plain"  # the assignment of plain asserts, and its notebook
POINTS = {"center": 2.0, "shelf": 3.0, "solve": 4.0}
BEFORE, AFTER, BYSTANDER = "a_honest", "z_honest", "b_bystander"  # whom an attack must not touch
HONEST = (BEFORE, AFTER, BYSTANDER)
CANARIES = {
    "hidden": "canary-hidden-5d1f0a",  # in the text of a hidden case
    "input": "canary-input-c83e27",  # given to the student's class by a hidden case
    "solution": "canary-solution-91b4f6",  # in the text of a solution
    "other": "canary-other-0fd3a8",  # in another student's submission
    "beside": "canary-beside-e6a25c",  # in a file beside the gradebook
    "gradebook": "canary-gradebook-47c9d1",  # another student's name in the gradebook
    "env": "canary-env-b20e7f",  # in the environment of the process that grades
}
IN_TESTS = ("hidden", "input", "solution")  # what stock nbgrader puts into every graded notebook

SHEET = f'''\
# %% [markdown]
# # Columns, shelves, and equations

# %% setup=true
import numpy as np

from autograder import open_checks

check = open_checks("drill")


# %% task="center"
def center(x: np.ndarray) -> np.ndarray:
    """Returns x minus the mean of each column."""
    ### BEGIN SOLUTION
    column_means = x.mean(axis=0)  # {CANARIES["solution"]}
    return x - column_means
    ### END SOLUTION


# %% check="center"
check("center")


# %% task="shelf"
class Shelf:
    """Keeps things by name."""

    def __init__(self) -> None:
        ### BEGIN SOLUTION
        self.things = {{}}
        ### END SOLUTION

    def put(self, name, thing):
        """Keeps `thing` and returns how many things there are."""
        ### BEGIN SOLUTION
        self.things[name] = thing
        return len(self.things)
        ### END SOLUTION

    def get(self, name):
        """Returns what was put under `name`, or None."""
        ### BEGIN SOLUTION
        return self.things.get(name)
        ### END SOLUTION


# %% check="shelf"
check("shelf")


# %% task="solve"
def solve(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns x with a @ x = b, without calling np.linalg.inv."""
    ### BEGIN SOLUTION
    return np.linalg.solve(a, b)
    ### END SOLUTION


# %% check="solve"
check("solve")
'''

CHECKS = f'''\
"""Checks of the sheet `drill`."""

import numpy as np

from autograder import Sheet

sheet = Sheet("drill")
center = sheet.task("center", points={POINTS["center"]:g})
shelf = sheet.task("shelf", points={POINTS["shelf"]:g}, objects=("Shelf",))
solve = sheet.task("solve", points={POINTS["solve"]:g}, forbids=("numpy.linalg.inv",))


@center.case("each column has mean 0 and its own spread")
def columns_have_mean_zero(center, rng):
    return center(rng.normal(size=(3, 4)))


@center.case("one row becomes zeros", hidden=True)
def one_row(center, rng):
    "{CANARIES["hidden"]}"
    return center(rng.normal(size=(1, 3))) + rng.normal()


@center.accepts("einsum")
def with_einsum(x):
    return x - np.einsum("bd->d", x) / len(x)


@center.misconception("Over which axis do the examples run?")
def wrong_axis(x):
    return x - x.mean(axis=1, keepdims=True)


@shelf.case("what was put is there")
def is_there(Shelf, rng):
    made, number = Shelf(), rng.integers(100)
    return [made.put("number", number), made.get("number")]


@shelf.case("what was never put is not there", hidden=True)
def is_not_there(Shelf, rng):
    made, number = Shelf(), rng.integers(100)
    return [made.put("{CANARIES["input"]}", number), made.get("another"), made.get("{CANARIES["input"]}")]


shelf.slip("one", "How many things are there after the second?", right="len(self.things)", wrong="2")


@solve.case("one right-hand side")
def one_side(solve, rng):
    return solve(np.eye(3) + rng.uniform(0, 0.2, size=(3, 3)), rng.normal(size=3))


@solve.case("several right-hand sides", hidden=True)
def several_sides(solve, rng):
    return solve(np.eye(3) + rng.uniform(0, 0.2, size=(3, 3)), rng.normal(size=(3, 2)))


@solve.misconception("What do you get when you multiply your answer by a?")
def divides(a, b):
    return b / np.diag(a) if b.ndim == 1 else (b.T / np.diag(a)).T
'''

ABOUT = f"""\
title = "A module that is attacked"
hours = "1"
objectives = ["be graded fairly"]
prerequisites = ["Python"]

[[sheets]]
name = "{NOTEBOOK[3:]}"
order = 1
minutes = 20
"""

PLAIN_TEST = f"""\
assert_allclose(center(np.eye(2)), [[0.5, -0.5], [-0.5, 0.5]])
### BEGIN HIDDEN TESTS
assert_allclose(center(np.arange(6.0).reshape(3, 2)), [[-2, -2], [0, 0], [2, 2]])  # {CANARIES["hidden"]}
### END HIDDEN TESTS"""

CONFIG = """\
from autograder.nbgrader_steps import configure

c = get_config()
configure(c)
"""


class AttackCourse:
    """The course in a folder: built, released to the gradebook, with honest submissions, one of them graded."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def solutions(self) -> dict[str, str]:
        """The texts of the right solution cells."""
        text = read_sheet(self.place.text)
        return {cell.name: source.without_markers(cell.text) for cell in text.by_role("task")}

    @property
    def place(self) -> SheetPlace:
        return Course(self.root).sheets[0]

    def release(self, assignment: str) -> NotebookNode:
        """Returns the notebook as students get it."""
        return nbformat.read(self.root / "release" / assignment / f"{notebook_name(assignment)}.ipynb", as_version=4)

    def submitted(self, student: str, assignment: str) -> Path:
        """Returns the folder of a submission."""
        return self.root / "submitted" / student / assignment

    def copy(self, root: Path) -> "AttackCourse":
        """Returns a copy of the course in `root`."""
        shutil.copytree(self.root, root, symlinks=True)
        return AttackCourse(root)

    def scores(self, assignment: str) -> dict[str, dict[str, float | None]]:
        """Returns by student the points of each task, None where there is no score."""
        return {row.student: row.points for row in gradebook.read(self.root, assignment).rows}

    def honest_rows(self) -> list[tuple[object, ...]]:
        """Returns everything that the gradebook holds on the honest students, so far as they have been graded."""
        with Gradebook(f"sqlite:///{self.root}/gradebook.db") as book:
            return sorted(
                (student.id, student.last_name, grade.assignment.name, grade.name, *_scores(grade))
                for student in book.students
                if student.id in HONEST
                for submission in student.submissions
                for notebook in submission.notebooks
                for grade in notebook.grades
                if grade.auto_score is not None or grade.manual_score is not None
            )


def notebook_name(assignment: str) -> str:
    """Returns the name of the one notebook of an assignment."""
    return NOTEBOOK if assignment == MODULE else assignment


def make(root: Path) -> AttackCourse:
    """Returns the course, made in `root`."""
    exercises = root / "modules" / MODULE / "exercises"
    exercises.mkdir(parents=True)
    (exercises / "drill.py").write_text(SHEET, encoding="utf-8")
    (exercises / "drill_checks.py").write_text(CHECKS, encoding="utf-8")
    (exercises.parent / "module.toml").write_text(ABOUT, encoding="utf-8")
    made = AttackCourse(root)
    build.build_sheet(made.place)
    plain = root / "source" / PLAIN / f"{PLAIN}.ipynb"
    plain.parent.mkdir()
    nbformat.write(_plain_notebook(made.solutions["center"]), plain)
    for assignment in (MODULE, PLAIN):
        _nbgrader(root, "generate_assignment", assignment, "--force", "--create")
        for student in HONEST:
            _hand_in(made, student, assignment)
        _nbgrader(root, "autograde", assignment, "--student", BYSTANDER)
    with Gradebook(f"sqlite:///{root}/gradebook.db") as book:
        book.update_or_create_student(BYSTANDER, last_name=CANARIES["gradebook"])
    (root / "exam.txt").write_text(CANARIES["beside"])
    return made


def _plain_notebook(solution: str) -> NotebookNode:
    def marked(name: str, text: str, **flags: object) -> NotebookNode:
        base = {"schema_version": 3, "grade_id": name, "cell_type": "code", "task": False}
        meta = {**base, "grade": False, "solution": False, "locked": False, **flags}
        return new_code_cell(text, id=name, metadata={"nbgrader": meta})

    head, body = solution.split('"""\n', 1)
    region = f'{head}"""\n    ### BEGIN SOLUTION\n{body}\n    ### END SOLUTION'
    cells = [
        marked("setup", "import numpy as np\nfrom numpy.testing import assert_allclose", locked=True),
        marked("center", region, solution=True),
        marked("check_center", PLAIN_TEST, grade=True, locked=True, points=POINTS["center"]),
    ]
    return new_notebook(cells=cells)  # names no kernel, as many a notebook


def _hand_in(course: AttackCourse, student: str, assignment: str) -> None:
    notebook = course.release(assignment)
    for cell in notebook.cells:
        cell.source = course.solutions.get(cell.metadata.get("nbgrader", {}).get("grade_id"), cell.source)
    notebook.cells.append(new_markdown_cell(CANARIES["other"], id="own"))
    folder = course.submitted(student, assignment)
    folder.mkdir(parents=True)
    nbformat.write(notebook, folder / f"{notebook_name(assignment)}.ipynb")


def _scores(grade: object) -> list[object]:
    names = ("auto_score", "manual_score", "extra_credit", "needs_manual_grade")
    return [repr(getattr(grade, name)) for name in names]


def _nbgrader(root: Path, *arguments: str) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    call = [sys.executable, "-m", "nbgrader", *arguments]
    subprocess.run(call, cwd=root, env={**os.environ, "PATH": path}, capture_output=True, check=True)
