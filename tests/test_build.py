"""Building: the same bytes everywhere, only what changed, and nothing stale, forged, or left over goes unseen."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from autograder import build
from autograder.cli import main
from autograder.course import Course, SheetPlace
from autograder.errors import CourseError
from tests.commands import nbgrader
from tests.conftest import Plant, tree
from tests.mini import CHECKS, MODULE, SHEET

ROOT = Path(__file__).resolve().parent.parent
BUILT = [(name, index) for name in ("source", "release") for index in (0, 1)]


def test_building_twice_gives_the_same_bytes(course: Path) -> None:
    before = tree(course)
    assert main(["build", "--force"]) == 0
    assert tree(course) == before


def test_another_process_place_umask_language_and_hour_give_the_same_bytes(course: Path, tmp_path: Path) -> None:
    other = tmp_path / "an other place"
    shutil.copytree(course, other)
    for name in ("source", "release"):
        shutil.rmtree(other / name)
    there = {"PYTHONHASHSEED": "7", "LC_ALL": "C", "TZ": "Pacific/Auckland", "HOME": str(tmp_path), "COLUMNS": "40"}
    path = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    call = [sys.executable, "-m", "autograder.cli", "build"]
    cwd = other / "modules" / "m1_small"
    done = subprocess.run(
        call, cwd=cwd, env={**there, **path}, umask=0o077, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert tree(other) == tree(course)
    assert all(p.stat().st_mode & 0o777 == 0o644 for p in (other / "release").rglob("*.*"))


def test_what_did_not_change_is_left_alone(course: Path, capsys: pytest.CaptureFixture[str]) -> None:
    times = {path: path.stat().st_mtime_ns for path in course.rglob("*")}
    assert main(["build"]) == 0
    assert {path: path.stat().st_mtime_ns for path in course.rglob("*")} == times
    said = capsys.readouterr()
    assert said.out == ""
    assert "0 built, 1 already fresh." in said.err


@pytest.fixture
def two(course: Path) -> Path:
    """Returns the course with a second sheet in it, both built."""
    folder = course / "modules" / "m1_small"
    exercises = folder / "exercises"
    (exercises / "second.py").write_text(SHEET.replace("shapes", "second"), encoding="utf-8")
    (exercises / "second_checks.py").write_text(CHECKS.replace("shapes", "second"), encoding="utf-8")
    entry = '[[sheets]]\nname = "second"\norder = 2\nminutes = 5\n'
    (folder / "module.toml").write_text(MODULE + entry, encoding="utf-8")
    assert main(["build"]) == 0
    return course


@pytest.mark.parametrize("edited", ["second.py", "second_checks.py"])
def test_an_edit_of_one_sheet_builds_only_that(two: Path, edited: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in two.rglob("*shapes*")}
    path = two / "modules" / "m1_small" / "exercises" / edited
    path.write_text(path.read_text(encoding="utf-8") + "# more\n", encoding="utf-8")
    capsys.readouterr()
    assert main(["build"]) == 0
    assert sorted(capsys.readouterr().out.split()) == [
        "release/m1_small/02_second.ipynb",
        "release/m1_small/second.checks.json",
        "source/m1_small/02_second.ipynb",
        "source/m1_small/second.checks.json",
    ]
    assert {path: path.stat().st_mtime_ns for path in two.rglob("*shapes*")} == before


def test_one_broken_sheet_does_not_spoil_another(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (two / "modules" / "m1_small" / "exercises" / "second.py").write_text("x\n", encoding="utf-8")
    before = tree(two)
    assert main(["build"]) == 1
    assert main(["build", "shapes", "--force"]) == 0
    assert tree(two) == before


@pytest.mark.parametrize("file, old, new", [("sheet", "# Rows and", "# Row and"), ("checks", "points=2", "points=4")])
def test_an_edit_makes_a_sheet_stale(place: SheetPlace, plant: Plant, file: str, old: str, new: str) -> None:
    assert build.is_fresh(place)
    assert build.differing(place) == []
    plant(file, old, new)
    assert not build.is_fresh(place)
    assert build.stale(Course(place.root)) == [place]
    assert build.differing(place)


@pytest.mark.parametrize("name, index", BUILT)
def test_a_missing_or_damaged_file_makes_a_sheet_stale(place: SheetPlace, name: str, index: int) -> None:
    path = place.built(name)[index]
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"\xff", b"[]", b"3", b"null", b'{"metadata": []}'):
        path.write_bytes(damaged)
        assert not build.is_fresh(place), damaged
        assert (path, 1) in [(p, min(line, 1)) for p, line in build.differing(place)]
    path.unlink()
    assert not build.is_fresh(place)
    path.mkdir()
    assert not build.is_fresh(place)


FORGED = {
    "a stub": ("release", 0, "raise NotImplementedError()", "return x"),
    "points": ("release", 0, '"points": 2', '"points": 3'),
    "a lock": ("release", 0, '"locked": true', '"locked": false'),
    "prose": ("release", 0, "Rows and columns", "Rows or columns"),
    "a hidden test": ("source", 0, "one row becomes zeros", "one row becomes ones"),
    "a solution": ("source", 0, "column_means = x.mean(axis=0)", "column_means = x.mean(axis=1)"),
    "an expected answer": ("release", 1, '"array": "-1', '"array": "1'),
    "a sentence": ("release", 1, "Over which axis", "On which axis"),
    "a visible case": ("release", 1, "center(table(rng))", "center(rng)"),
    "a count": ("source", 1, '"hidden_cases": 1', '"hidden_cases": 0'),
}


@pytest.mark.parametrize("name, index, old, new", FORGED.values(), ids=FORGED)
def test_an_edit_by_hand_of_a_built_file_is_refused(
    place: SheetPlace, name: str, index: int, old: str, new: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = place.built(name)[index]
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    line = text[: text.index(old)].count("\n") + 1
    assert build.is_fresh(place)  # by its digest, so only the comparison can tell
    assert build.differing(place) == [(path, line)]
    assert main(["check"]) == 1
    said = capsys.readouterr().out
    assert (
        said == f"{path}, line {line}: it is not what its text builds: run autograder build --force m1_small/shapes.\n"
    )
    assert main(["build", "--force", "m1_small/shapes"]) == 0
    assert main(["check"]) == 0


def test_another_processor_may_round_the_last_digits_of_a_bundle(place: SheetPlace) -> None:
    path = place.built("release")[1]
    data = json.loads(path.read_text(encoding="utf-8"))
    expected = data["tasks"]["center"]["cases"][0]["expected"][0]
    expected["array"] = " ".join(repr(float(word) * (1 + 1e-15)) for word in expected["array"].split())
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    assert build.differing(place) == []


def test_a_bundle_with_a_number_more_is_refused(place: SheetPlace) -> None:
    path = place.built("release")[1]
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"array": "-1', '"array": "2.5 -1', 1), encoding="utf-8")
    assert [found for found, _ in build.differing(place)] == [path]


def test_a_file_that_nothing_builds_is_noticed(course: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("release/m1_small/old.ipynb", "release/m0_gone/01_x.ipynb", "source/.hidden"):
        (course / name).parent.mkdir(exist_ok=True)
        (course / name).touch()
    (course / "release/m1_small/.ipynb_checkpoints").mkdir()
    (course / "release/m1_small/.ipynb_checkpoints/01_shapes-checkpoint.ipynb").touch()  # Jupyter's, and ignored
    names = ["release/m0_gone/01_x.ipynb", "release/m1_small/old.ipynb", "source/.hidden"]
    assert build.leftovers(Course(course)) == [course / name for name in names]
    assert main(["check"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said == [f"{course / name}: nothing builds this file any more: remove it." for name in names]


def test_another_order_removes_the_file_of_the_old_one(course: Path, plant: Plant) -> None:
    plant("module", "order = 1", "order = 12")
    assert main(["build"]) == 0
    for name in ("source", "release"):
        assert sorted(p.name for p in (course / name / "m1_small").iterdir()) == [
            "12_shapes.ipynb",
            "shapes.checks.json",
        ]
    assert main(["check"]) == 0


def test_all_files_of_a_sheet_appear_or_none(place: SheetPlace, plant: Plant) -> None:
    plant("sheet", "# Rows and", "# Row and")
    last = place.built("release")[1]
    last.unlink()
    last.mkdir()
    before = tree(place.root)
    with pytest.raises(CourseError, match=r"shapes\.checks\.json cannot be written"):
        build.build_sheet(place)
    assert tree(place.root) == before


@pytest.mark.parametrize("configured", [False, True], ids=["stock nbgrader", "the course's configuration"])
def test_the_release_is_what_nbgrader_makes_of_the_source(course: Path, place: SheetPlace, configured: bool) -> None:
    config = "c = get_config()\n"
    if configured:
        config += "from autograder.nbgrader_steps import configure\nconfigure(c)\n"
    (course / "nbgrader_config.py").write_text(config, encoding="utf-8")
    wanted = place.built("release")[0].read_bytes()
    shutil.rmtree(course / "release")
    done = nbgrader(course, "generate_assignment", "m1_small")
    assert done.returncode == 0, done.stderr
    assert place.built("release")[0].read_bytes() == wanted
    assert place.built("release")[1].read_bytes() == place.built("source")[1].read_bytes()  # the bundle comes along
    assert build.is_fresh(place)


def test_what_nbgrader_says_becomes_one_sentence(place: SheetPlace) -> None:
    notebook = place.built("source")[0].read_text(encoding="utf-8").replace("### END SOLUTION", "### NO END", 1)
    with pytest.raises(CourseError, match="nbgrader could not make the release: ") as refused:
        build.release_notebook(place, notebook)
    assert "\n" not in str(refused.value)
