"""`autograder grade` on a class: the same grades as nbgrader's own command, on all cores, resumed, and never twice."""

import json
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from sqlalchemy import create_engine, text

from autograder import gradebook, grading, pools, worker
from autograder.course import Course
from autograder.demo import CONFIG, SampleClass
from autograder.results import Result, Results, unpacked
from tests.commands import autograder, nbgrader, started
from tests.conftest import needs_sandbox, tree

pytestmark = [pytest.mark.slow, needs_sandbox]
MODULE, SHEET = "m1_small", "01_shapes"
LIMIT = "c.Judged.seconds_per_cell = 4\n"
TABLES = {
    "grade": "select s.student_id, c.name, g.auto_score, g.manual_score, g.needs_manual_grade from grade g "
    "join base_cell c on c.id = g.cell_id join submitted_notebook n on n.id = g.notebook_id "
    "join submitted_assignment s on s.id = n.assignment_id",
    "comment": "select s.student_id, c.name, o.auto_comment, o.manual_comment from comment o "
    "join base_cell c on c.id = o.cell_id join submitted_notebook n on n.id = o.notebook_id "
    "join submitted_assignment s on s.id = n.assignment_id",
    "submitted": "select s.student_id, s.timestamp, n.late_submission_penalty, n.flagged from submitted_assignment s "
    "join submitted_notebook n on n.assignment_id = s.id",
}


def course_of(built_course: Path, root: Path, students: Callable[[str], bool] = lambda _: True) -> Path:
    """Returns a course folder into which the sample class has handed in."""
    place = Course(built_course).sheets[0]
    shutil.copytree(built_course / "source", root / "source")
    (root / "modules").mkdir()
    (root / "nbgrader_config.py").write_text(CONFIG + LIMIT)
    for member in SampleClass(place).members():
        if students(member.student):
            hand_in(root, member.student, member.file)
    assert nbgrader(root, "generate_assignment", MODULE).returncode == 0
    return root


def hand_in(root: Path, student: str, file: bytes) -> Path:
    path = root / "submitted" / student / MODULE / f"{SHEET}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file)
    return path


def rows(root: Path) -> dict[str, list[Any]]:
    """Returns everything that the gradebook holds of submissions."""
    with create_engine(gradebook.database(root)).connect() as database:
        return {name: sorted(map(repr, database.execute(text(query)))) for name, query in TABLES.items()}


def files(root: Path) -> dict[str, Any]:
    """Returns what lies in autograded/: notebooks as data without what differs from run to run, others as bytes."""
    found: dict[str, Any] = {}
    for path in sorted((root / "autograded").rglob("*")):
        if path.suffix == ".ipynb":
            notebook = nbformat.read(path, as_version=4)
            notebook.metadata["autograder"].pop("seed")
            found[str(path.relative_to(root))] = ([(c.source, c.metadata) for c in notebook.cells], notebook.metadata)
        elif path.is_file():
            found[str(path.relative_to(root))] = path.read_bytes()
    return found


def graded(root: Path, *options: str) -> dict[str, Any]:
    """Grades, and returns what the command said as data."""
    done = autograder(root, "grade", MODULE, "--json", *options)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def states(said: dict[str, Any]) -> dict[str, str]:
    return {row["student"]: row["state"] for row in said["notebooks"]}


def test_the_gradebook_is_the_same_as_by_nbgraders_own_command(built_course: Path, tmp_path: Path) -> None:
    ours, theirs = (course_of(built_course, tmp_path / name) for name in ("ours", "theirs"))
    for root in (ours, theirs):
        stamp = root / "submitted" / "01_perfect" / MODULE / "timestamp.txt"
        stamp.write_text("2026-01-02 03:04:05 UTC")
        endless = nbformat.reads(file_of(built_course, "01_perfect").decode(), as_version=4)
        endless.cells.append(nbformat.v4.new_code_cell("while True:\n    pass", id="endless"))
        hand_in(root, "14_endless_cell", nbformat.writes(endless).encode())
    said = graded(ours)
    assert nbgrader(theirs, "autograde", MODULE).returncode == 0
    assert rows(ours) == rows(theirs)
    assert files(ours) == files(theirs)
    assert set(states(said).values()) == {grading.NEW}
    ended = {row["student"]: row["ended"] for row in said["notebooks"] if row["ended"]}
    assert set(ended) == {"14_endless_cell"}
    noted = {row["student"] for row in said["notebooks"] if row["notes"]}
    assert "09_not_json" in noted and "01_perfect" not in noted


def test_only_what_changed_is_run_again(built_course: Path, tmp_path: Path) -> None:
    root = course_of(built_course, tmp_path / "course", lambda s: s[:2] in ("01", "02", "06", "10"))
    first = graded(root)
    before, lying = rows(root), files(root)
    assert set(states(graded(root)).values()) == {grading.UNCHANGED}
    path = root / "submitted" / "02_other_style" / MODULE / f"{SHEET}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell("print('more')"))
    path.write_text(nbformat.writes(notebook))
    again = states(graded(root))
    assert again.pop("02_other_style") == grading.NEW
    assert set(again.values()) == {grading.UNCHANGED}
    assert rows(root) == before
    path.write_bytes(file_of(built_course, "02_other_style"))
    assert states(graded(root))["02_other_style"] == grading.KEPT  # its result is still there
    assert files(root) == lying
    shutil.rmtree(root / "autograded" / "01_perfect")
    (root / "autograded" / "06_untouched" / MODULE / f"{SHEET}.ipynb").chmod(0o644)
    (root / "autograded" / "06_untouched" / MODULE / f"{SHEET}.ipynb").write_text("{}")
    mended = states(graded(root))
    assert mended == dict.fromkeys(mended, grading.UNCHANGED) | {
        "01_perfect": grading.KEPT,
        "06_untouched": grading.KEPT,
    }
    assert files(root) == lying
    for database in root.glob("gradebook.db*"):
        database.unlink()
    assert nbgrader(root, "generate_assignment", MODULE, "--force").returncode == 0
    assert set(states(graded(root)).values()) == {grading.KEPT}
    assert rows(root) == before
    assert {row["key"] for row in first["notebooks"]} == {row["key"] for row in graded(root)["notebooks"]}


def file_of(built_course: Path, student: str) -> bytes:
    members = SampleClass(Course(built_course).sheets[0]).members()
    return next(member.file for member in members if member.student == student)


def test_the_same_notebook_is_run_once_for_all_who_hand_it_in(built_course: Path, tmp_path: Path) -> None:
    root = course_of(built_course, tmp_path / "course", lambda s: s.startswith("01"))
    for number in range(5):
        hand_in(root, f"twin{number}", file_of(built_course, "01_perfect"))
    said = graded(root)
    assert len({row["key"] for row in said["notebooks"]}) == 1
    assert len(list((root / ".autograder" / "results").rglob("*.z"))) == 1
    assert {row.student: row.total for row in gradebook.read(root, MODULE).rows} == dict.fromkeys(states(said), 5.0)


def test_whom_and_what_to_grade_can_be_chosen_and_foretold(built_course: Path, tmp_path: Path) -> None:
    root = course_of(built_course, tmp_path / "course", lambda s: s[:2] in ("01", "06"))
    before = tree(root)
    said = graded(root, "--dry-run", "--student", "01_perfect")
    assert said["dry_run"] and states(said) == {"01_perfect": grading.NEW}
    assert {path: data for path, data in tree(root).items() if "gradebook.db" not in path} == {
        path: data for path, data in before.items() if "gradebook.db" not in path
    }
    assert states(graded(root, "--student", "01_perfect", "--sheet", SHEET)) == {"01_perfect": grading.NEW}
    assert [row.student for row in gradebook.read(root, MODULE).rows] == ["01_perfect"]
    assert states(graded(root, "--dry-run")) == {"01_perfect": grading.UNCHANGED, "06_untouched": grading.NEW}
    for options, sentence in {
        ("--sheet", "07_else"): "07_else is no sheet of m1_small: choose among 01_shapes.",
        ("--student", "nobody"): "nobody has not handed in m1_small: choose among 01_perfect, 06_untouched.",
    }.items():
        done = autograder(root, "grade", MODULE, *options)
        assert done.returncode == 1 and sentence in done.stderr
    assert autograder(root, "grade", MODULE, "--jobs", "0").returncode == 2


def test_grading_again_draws_anew_and_grading_with_a_seed_does_not(built_course: Path, tmp_path: Path) -> None:
    root = course_of(built_course, tmp_path / "course", lambda s: s[:2] in ("01", "02"))

    def seeds() -> set[str]:
        found = (root / "autograded").rglob("*.ipynb")
        return {json.loads(path.read_text())["metadata"]["autograder"]["seed"] for path in found}

    graded(root)
    first = seeds()
    assert len(first) == 1
    assert set(states(graded(root, "--regrade")).values()) == {grading.NEW}
    assert len(seeds()) == 1 and seeds() != first
    assert set(states(graded(root, "--seed", first.copy().pop())).values()) == {grading.NEW}
    assert seeds() == first
    assert set(states(graded(root, "--seed", first.copy().pop())).values()) == {grading.UNCHANGED}


def test_a_class_that_is_killed_goes_on_where_it_was(built_course: Path, tmp_path: Path) -> None:
    root = course_of(built_course, tmp_path / "course", lambda s: s[:2] in ("01", "02", "03", "06", "08", "09"))
    for number in range(8):
        notebook = nbformat.reads(file_of(built_course, "01_perfect").decode(), as_version=4)
        notebook.cells.append(nbformat.v4.new_code_cell(f"print({number})"))
        hand_in(root, f"more{number}", nbformat.writes(notebook).encode())
    seen: set[str] = set()
    for least in (2, 6):
        run = started(root, "autograder.cli", "grade", MODULE)
        while run.poll() is None and len(list((root / ".autograder" / "results").rglob("*.z"))) < least:
            time.sleep(0.05)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        kept = {path.name for path in (root / ".autograder" / "results").rglob("*.z")}
        assert seen <= kept and len(kept) >= least
        seen = kept
    said = graded(root)
    run_again = {row["key"] for row in said["notebooks"] if row["state"] == grading.NEW}
    assert not run_again & {name.removesuffix(".json.z") for name in seen}
    with sqlite3.connect(root / "gradebook.db") as database:
        assert database.execute("pragma integrity_check").fetchall() == [("ok",)]
        counts = dict(database.execute("select student_id, count(*) from submitted_assignment group by student_id"))
    assert counts == dict.fromkeys(states(said), 1)
    keys = {path.name.removesuffix(".json.z") for path in (root / ".autograder" / "results").rglob("*.z")}
    assert keys == {row["key"] for row in said["notebooks"]}
    assert all(Results(root).get(key) for key in keys)  # none was cut off by a kill


def test_a_result_that_cannot_be_read_is_made_again(built_course: Path, tmp_path: Path) -> None:
    root = course_of(built_course, tmp_path / "course", lambda s: s.startswith("01"))
    graded(root)
    (path,) = (root / ".autograder" / "results").rglob("*.z")
    for bad in (b"", b"x", path.read_bytes()[:-5], unpacked(path.read_bytes()).packed()[::-1]):
        path.write_bytes(bad)
        assert Results(root).get(path.name.removesuffix(".json.z")) is None
    shutil.rmtree(root / "autograded")
    assert autograder(root, "grade", MODULE).returncode == 1  # what is there is no result
    path.unlink()
    assert states(graded(root)) == {"01_perfect": grading.NEW}


def answer_or_die(order: bytes) -> bytes:
    """Stands in for a worker: ends its process for some orders, raises for others."""
    if order == b"poison":
        os._exit(7)
    if order == b"refused":
        raise ValueError("this one is refused")
    return order.upper()


def test_what_ends_its_worker_is_set_aside_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "grade", answer_or_die)
    pool = pools.Local(2, warm=False)
    made: list[int] = []

    def order(number: int, text: bytes) -> Callable[[], bytes]:
        def make() -> bytes:
            made.append(number)
            return text

        return make

    texts = [b"poison" if number in (3, 11) else b"refused" if number == 5 else b"fine" for number in range(16)]
    found = {}
    try:
        for key, outcome in pools.outcomes([(str(n), order(n, text)) for n, text in enumerate(texts)], pool):
            found[key] = outcome
            assert len(made) <= len(found) + 2 * pools.AHEAD  # no more are under way than keep the workers busy
    finally:
        pool.close()
    assert found.keys() == {str(number) for number in range(16)}
    for number, said in enumerate(texts):
        outcome = found[str(number)]
        if said == b"fine":
            assert outcome == b"FINE"
        else:
            assert isinstance(outcome, pools.Poison if said == b"poison" else ValueError)


def test_results_are_kept_whole(tmp_path: Path) -> None:
    results = Results(tmp_path)
    result = Result("ab" * 32, 5, '{"cells": []}', ended=("too long",), notes=("a note",))
    assert results.get(result.key) is None and result.key not in results
    results.put(result.key, result.packed())
    assert results.get(result.key) == result and result.key in results and results.seed(result.key) == 5
    other = "cd" * 32
    results.put(other, result.packed())
    assert results.get(other) is None  # of another job
