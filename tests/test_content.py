"""The laws, over everything that the course holds: what is authored, and what is built from it."""

import time
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from autograder import authoring, build, lectures, module_page
from autograder.course import Course, LecturePlace, SheetPlace
from autograder.demo import SampleClass
from autograder.sheets import load_checks

ROOT = Path(__file__).resolve().parent.parent
COURSE = Course(ROOT)
SHEETS = [pytest.param(place, id=f"{place.module}/{place.name}") for place in COURSE.sheets]
LECTURES = [pytest.param(place, id=f"{place.module}/{place.name}") for place in COURSE.lectures]
SOLVED = 90  # seconds in which a solved sheet, and a lecture, has to run


@pytest.mark.slow
@pytest.mark.parametrize("place", SHEETS)
def test_a_sheet_obeys_the_laws(place: SheetPlace) -> None:
    """Structure, reference, stub, variants, misconceptions, purpose, release, prose, and that the build is fresh."""
    assert authoring.check_one(place) == []


@pytest.mark.parametrize("place", LECTURES)
def test_a_lecture_obeys_the_laws(place: LecturePlace) -> None:
    """All cells executed, no errors, alt text, links that resolve, no points, and that the build is fresh."""
    assert authoring.check_one(place) == []


@pytest.mark.slow
@pytest.mark.parametrize("place", LECTURES)
def test_a_lecture_built_again_has_the_same_bytes(place: LecturePlace, tmp_path: Path) -> None:
    again = tmp_path / place.notebook.name
    started = time.monotonic()
    lectures.build_lecture(place.text, again)
    assert time.monotonic() - started < SOLVED
    assert again.read_bytes() == place.notebook.read_bytes()


@pytest.mark.parametrize("place", SHEETS)
def test_a_task_has_what_makes_it_trusted(place: SheetPlace) -> None:
    for task in load_checks(place.checks).tasks.values():
        assert len(task.misconceptions) >= 6, task.name
        assert len(task.variants) >= 2, task.name
        assert {case.hidden for case in task.cases} == {False, True}, task.name


@pytest.mark.slow
@pytest.mark.parametrize("place", SHEETS)
def test_a_solved_sheet_runs_quietly_in_its_time(place: SheetPlace) -> None:
    made = SampleClass(place)
    notebook = made.notebook(made.solutions)
    folder = place.built("release")[0].parent
    started = time.monotonic()
    NotebookClient(notebook, timeout=SOLVED, allow_errors=True, resources={"metadata": {"path": str(folder)}}).execute()
    assert time.monotonic() - started < SOLVED
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert [o.get("ename") for o in outputs if o.output_type == "error"] == []
    assert [o.text for o in outputs if o.output_type == "stream" and o.name == "stderr"] == []


@pytest.mark.parametrize("place", SHEETS)
def test_a_release_gives_no_answers_away_in_its_outputs_or_metadata(place: SheetPlace) -> None:
    notebook = nbformat.read(place.built("release")[0], as_version=4)
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in notebook.cells)
    assert set(notebook.metadata) == {"autograder", "kernelspec", "language_info"}


def test_nothing_built_is_left_over_and_every_page_is_fresh() -> None:
    assert build.leftovers(COURSE) == []
    assert module_page.stale(COURSE) == []
