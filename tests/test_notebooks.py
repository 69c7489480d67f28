"""nbgrader's source notebook and the release made of it: valid, with points, names, and locks as intended."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbgrader.nbgraderformat import MetadataValidator
from nbgrader.preprocessors import CheckCellMetadata

from autograder.course import Course, SheetPlace
from autograder.notebooks import HIDDEN, source_notebook, task_of
from autograder.sheets import load_checks, read_sheet
from tests.conftest import Plant

TREES = ("source", "release")


def notebook(course: Path, tree: str) -> Any:
    return nbformat.read(Course(course).sheets[0].built(tree)[0], as_version=4)


def cell(course: Path, tree: str, name: str) -> Any:
    return next(c for c in notebook(course, tree).cells if c.metadata.get("nbgrader", {}).get("grade_id") == name)


@pytest.mark.parametrize("tree", TREES)
def test_it_is_valid_for_nbformat_and_nbgrader(course: Path, tree: str) -> None:
    made = notebook(course, tree)
    nbformat.validate(made)
    MetadataValidator().validate_nb(made)
    CheckCellMetadata().preprocess(made, {})
    assert made.metadata.kernelspec.name == "python3"


@pytest.mark.parametrize("tree", TREES)
def test_ids_are_unique_and_speak(course: Path, tree: str) -> None:
    ids = [c.id for c in notebook(course, tree).cells]
    assert len(ids) == len(set(ids))
    assert {"center", "check_center", "normalize", "check_normalize", "why", "rubric_why"} <= set(ids)


EXPECTED = {  # name: grade, solution, locked, points
    "setup_1": (False, False, True, None),
    "center": (False, True, False, None),
    "check_center": (True, False, True, 2),
    "normalize": (False, True, False, None),
    "check_normalize": (True, False, True, 3),
    "rubric_why": (False, False, True, None),
    "why": (True, True, False, 2),
}


@pytest.mark.parametrize("tree", TREES)
def test_flags_and_points_are_as_intended(course: Path, tree: str) -> None:
    found = {}
    for made in notebook(course, tree).cells:
        if about := made.metadata.get("nbgrader"):
            found[about.grade_id] = (about.grade, about.solution, about.locked, about.get("points"))
            assert about.cell_type == made.cell_type
            assert about.schema_version == 3
            assert about.task is False
    assert found == EXPECTED


def test_points_add_up(course: Path) -> None:
    total = sum(c.metadata.get("nbgrader", {}).get("points", 0) for c in notebook(course, "release").cells)
    sheet = load_checks(Course(course).sheets[0].checks)
    tasks, questions = sheet.tasks.values(), sheet.questions.values()
    assert total == sum(t.points for t in tasks) + sum(q.points for q in questions) == 7


def test_what_is_locked_cannot_be_edited_and_nothing_graded_deleted(course: Path) -> None:
    for made in notebook(course, "release").cells:
        about = made.metadata.get("nbgrader")
        assert made.metadata.get("deletable", True) is not bool(about)
        assert made.metadata.get("editable", True) is not bool(about and about.locked)


def test_the_release_has_stubs_and_no_hidden_region(course: Path) -> None:
    assert cell(course, "release", "center").source == (
        "def center(x: np.ndarray) -> np.ndarray:\n"
        '    """Returns x minus the mean of each column."""\n'
        "    # YOUR CODE HERE\n    raise NotImplementedError()"
    )
    assert cell(course, "release", "check_center").source == 'check("center")'
    assert cell(course, "release", "why").source == "YOUR ANSWER HERE"
    whole = nbformat.writes(notebook(course, "release"))
    for secret in ("SOLUTION", "HIDDEN", "column_means", "Because a feature", "one_row", "stock", "misconception"):
        assert secret not in whole
    assert all(not c.get("outputs") and c.get("execution_count") is None for c in notebook(course, "release").cells)


def test_the_source_holds_solution_and_hidden_tests(course: Path) -> None:
    assert "column_means = x.mean(axis=0)" in cell(course, "source", "center").source
    check = cell(course, "source", "check_center").source
    assert check.startswith(HIDDEN[0])
    assert check.endswith(f'{HIDDEN[1]}\ncheck("center")')
    assert "one_row" in check
    assert "normalize" not in check


def test_a_check_that_fails_does_not_stop_run_all(course: Path) -> None:
    for made in notebook(course, "release").cells:
        if made.metadata.get("nbgrader", {}).get("grade"):
            assert made.cell_type == "markdown" or made.metadata.tags == ["raises-exception"]


def test_it_says_that_it_is_built_and_from_what(course: Path) -> None:
    for tree in TREES:
        made = notebook(course, tree)
        assert "<!-- Built from modules/m1_small/exercises/shapes.py: edit there" in made.cells[0].source
        assert made.metadata.autograder.built_from == "modules/m1_small/exercises/shapes.py"
        assert "jupytext" not in made.metadata


def test_the_rubric_stands_before_the_answer(course: Path) -> None:
    cells = notebook(course, "release").cells
    index = next(i for i, c in enumerate(cells) if c.id == "why")
    assert cells[index - 1].id == "rubric_why"
    assert "| names what a column is | 1 |\n| says why | 1 |" in cells[index - 1].source


HARD = [
    r'pattern = r"\d+\\"',
    "text = '''three'''",
    'text = """three"""',
    "text = \"'''\" + '\"\"\"'",
    "x = '\\'  # é “”",
]


@pytest.mark.parametrize("line", HARD)
def test_any_text_survives_in_the_hidden_region(place: SheetPlace, plant: Plant, line: str) -> None:
    """The solution is a literal in the check cell: quotes and backslashes must come back as they were."""
    line = line.replace("x = '\\'", "x = '\\\\'")
    plant("sheet", "    column_means = x.mean", f"    {line}\n    column_means = x.mean")
    text, sheet = read_sheet(place.text), load_checks(place.checks)
    made = nbformat.reads(source_notebook(place, text, sheet, "digest"), as_version=4)
    check = next(c for c in made.cells if c.id == "check_center").source
    given: dict[str, str] = {}
    call = check.split("stock.grader(")[1].split(HIDDEN[1])[0]
    exec(f"given.update(dict({call})", {"given": given, "dict": dict})
    assert given["solution"].strip("\n") == text.reference("center").solution.strip("\n")
    assert line in given["solution"]


def test_the_task_of_a_graded_cell_is_found() -> None:
    assert task_of("check_center") == task_of("center") == "center"
