"""nbgrader's own command with our steps: what is graded, what is copied, what is graded again; and one result each."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_notebook
from nbgrader.api import Gradebook
from nbgrader.converters import Autograde, BaseConverter, GenerateAssignment
from nbgrader.converters.base import NbGraderException
from nbgrader.coursedir import CourseDirectory
from traitlets.config import Config
from traitlets.utils.importstring import import_item

from autograder.nbgrader_steps import Finished, configure
from autograder.rebuilding import NOTES

MODULE, SHEET, SECOND = "m1_small", "01_shapes", "02_again"


class Section(dict[str, Any]):
    """A stand-in for traitlets' config, which makes its sections when they are named."""

    def __getattr__(self, name: str) -> Any:
        return self.setdefault(name, Section())

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


def test_the_configuration_names_steps_that_exist() -> None:
    config = Section()
    configure(config)
    ours = config.Autograde
    names = [ours.exporter_class, *ours.sanitize_preprocessors, *ours.autograde_preprocessors]
    assert all(isinstance(import_item(name), type) for name in names)


class Course:
    """A course of two sheets, graded without running any code, which is not what these tests are about."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def directory(self, **options: Any) -> CourseDirectory:
        return CourseDirectory(root=str(self.root), assignment_id=MODULE, **options)

    def submit(self, student: str, *sheets: str) -> Path:
        """Hands in the release; returns the folder."""
        folder = self.root / "submitted" / student / MODULE
        folder.mkdir(parents=True, exist_ok=True)
        for sheet in sheets:
            shutil.copy(self.root / "release" / MODULE / f"{sheet}.ipynb", folder)
        return folder

    def grade(self, course: CourseDirectory | None = None, **options: Any) -> Autograde:
        """Runs `nbgrader autograde` and returns the converter."""
        config = Config()
        configure(config)
        config.Autograde.autograde_preprocessors.remove("autograder.graded.Judged")
        converter = Autograde(coursedir=course or self.directory(), config=config)
        converter.force = options.get("force", False)
        converter.start()
        return converter

    def graded(self, student: str, sheet: str = SHEET) -> Path:
        return self.root / "autograded" / student / MODULE / f"{sheet}.ipynb"

    def notes(self, student: str, sheet: str = SHEET) -> str:
        """Returns what a student is told."""
        first = nbformat.read(self.graded(student, sheet), as_version=4).cells[0]
        return first.source if first.metadata.get(NOTES) else ""


@pytest.fixture(scope="module")
def released(built_course: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a course folder with a gradebook and two sheets released."""
    root = tmp_path_factory.mktemp("released")
    source = root / "source" / MODULE
    shutil.copytree(built_course / "source" / MODULE, source)
    shutil.copy(source / f"{SHEET}.ipynb", source / f"{SECOND}.ipynb")
    second = nbformat.read(source / f"{SECOND}.ipynb", as_version=4)
    second.metadata["autograder"]["files"] = ["*.csv"]
    for made in second.cells:
        if "nbgrader" in made.metadata:
            made.metadata.nbgrader.grade_id += "_again"
    nbformat.write(second, source / f"{SECOND}.ipynb")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
        GenerateAssignment(coursedir=Course(root).directory()).start()
    return root


@pytest.fixture
def course(released: Path, tmp_path: Path) -> Course:
    """Returns a copy of the released course, without submissions."""
    return Course(Path(shutil.copytree(released, tmp_path / "course")))


def test_each_sheet_is_graded_handed_in_or_not(course: Course) -> None:
    course.submit("ada", SHEET, SECOND)
    course.submit("bob", SECOND)
    (course.submit("eve") / "README.txt").write_text("sorry")
    course.grade()
    assert {p.name for p in course.graded("ada").parent.iterdir()} == {
        f"{SHEET}.ipynb",
        f"{SECOND}.ipynb",
        "shapes.checks.json",
    }
    assert [course.notes("ada", sheet) for sheet in (SHEET, SECOND)] == ["", ""]
    assert f"No notebook `{SHEET}.ipynb` was handed in" in course.notes("bob")
    assert course.notes("bob", SECOND) == ""
    assert f"No notebook `{SECOND}.ipynb` was handed in" in course.notes("eve", SECOND)
    with Gradebook(course.directory().db_url) as book:
        found = {s.student.id: s for s in book.assignment_submissions(MODULE)}
        assert set(found) == {"ada", "bob", "eve"}
        assert all(len(s.notebooks) == 2 for s in found.values())


def test_one_sheet_may_be_graded_alone(course: Course) -> None:
    course.submit("ada", SHEET, SECOND)
    course.grade(course.directory(notebook_id=SECOND))
    assert not course.graded("ada").exists()
    assert course.graded("ada", SECOND).exists()
    course.grade()
    assert course.graded("ada").exists()


def test_what_is_not_a_plain_file_stops_nobody(course: Course) -> None:
    course.submit("ada", SHEET, SECOND)
    for name in ("bob", "dan", "eve"):
        os.mkfifo(course.submit(name, SECOND) / "pipe")
    (course.submit("bob") / f"{SHEET}.ipynb").symlink_to("/etc/passwd")
    os.mkfifo(course.submit("dan") / f"{SHEET}.ipynb")
    os.mkfifo(course.submit("eve") / "timestamp.txt")
    (course.submit("eve") / "x.csv").symlink_to("/etc/passwd")
    (course.root / "submitted" / "fay").symlink_to("ada")
    course.grade()
    assert "is a link, not a file" in course.notes("bob")
    assert "Each of `01_shapes.ipynb`, `pipe` is a pipe, not a file." in course.notes("dan")
    assert "`timestamp.txt` is a pipe, not a file" in course.notes("eve")
    assert "The folder of the submission is a link" in course.notes("fay")
    for path in (course.root / "autograded").rglob("*"):
        assert not path.is_symlink()
        assert path.is_dir() or path.name in {f"{SHEET}.ipynb", f"{SECOND}.ipynb", "shapes.checks.json"}


def test_only_the_files_that_a_sheet_asks_for_are_copied(course: Course) -> None:
    folder = course.submit("ada", SHEET, SECOND)
    for name in ("a.csv", "numpy.py", "shapes.checks.json"):
        (folder / name).write_text("mine")
    course.grade()
    graded = course.graded("ada").parent
    assert (graded / "a.csv").read_text() == "mine"
    assert not (graded / "numpy.py").exists()
    source = course.root / "source" / MODULE / "shapes.checks.json"
    assert (graded / "shapes.checks.json").read_bytes() == source.read_bytes()


def test_a_timestamp_works_as_nbgraders_does(course: Course) -> None:
    folder = course.submit("ada", SHEET, SECOND)
    (folder / "timestamp.txt").write_text("2024-03-01 12:00:00 UTC")
    course.grade()
    with Gradebook(course.directory().db_url) as book:
        assert book.find_submission(MODULE, "ada").timestamp == datetime(2024, 3, 1, 12)
    (folder / f"{SHEET}.ipynb").write_bytes(b"new, and broken")
    course.grade()
    assert course.notes("ada") == ""
    (folder / "timestamp.txt").write_text("2024-03-02 12:00:00 UTC")
    course.grade()
    assert "is not JSON" in course.notes("ada")


def test_an_odd_timestamp_stops_nobody(course: Course) -> None:
    (course.submit("ada", SHEET, SECOND) / "timestamp.txt").write_bytes(b"\xff\xfe soon")
    course.grade()
    course.grade()
    assert "`timestamp.txt` holds no date and time" in course.notes("ada")


def without_mark(path: Path) -> None:
    made = json.loads(path.read_bytes())
    del made["metadata"]["autograder"]
    path.chmod(0o644)
    path.write_text(json.dumps(made))


def cut_off(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize("killed", [without_mark, cut_off, Path.unlink])
def test_what_a_killed_run_left_is_graded_again_and_the_rest_is_not(
    course: Course, killed: Callable[[Path], None]
) -> None:
    course.submit("ada", SHEET, SECOND)
    course.submit("bob", SHEET, SECOND)
    course.grade()
    bobs = course.graded("bob").stat().st_mtime_ns
    killed(course.graded("ada", SECOND))
    course.grade()
    assert json.loads(course.graded("ada", SECOND).read_bytes())["metadata"]["autograder"]["graded"]
    assert course.graded("bob").stat().st_mtime_ns == bobs


def test_a_killed_run_of_one_sheet_leaves_the_other_one(course: Course) -> None:
    course.submit("ada", SHEET, SECOND)
    course.grade()
    first = course.graded("ada").stat().st_mtime_ns
    without_mark(course.graded("ada", SECOND))
    course.grade(course.directory(notebook_id=SECOND))
    assert json.loads(course.graded("ada", SECOND).read_bytes())["metadata"]["autograder"]["graded"]
    assert course.graded("ada").stat().st_mtime_ns == first


def test_a_folder_of_an_odd_name_stops_nobody(course: Course) -> None:
    course.submit("ada", SHEET, SECOND)
    course.submit("new\nline", SHEET)
    course.submit(os.fsdecode(b"\xff"), SHEET)
    course.submit("[b]*<i>", SHEET, SECOND)
    course.grade()
    with Gradebook(course.directory().db_url) as book:
        assert {s.student.id for s in book.assignment_submissions(MODULE)} == {"ada", "[b]*<i>"}
    assert course.notes("[b]*<i>", SECOND) == ""


def test_nbgraders_classes_and_the_next_run_are_left_as_they_are(course: Course) -> None:
    before = [Autograde.init_assignment, BaseConverter._format_source, CourseDirectory.get_existing_timestamp]
    shared = course.directory()
    course.submit("ada", SHEET, SECOND)
    for _ in range(2):  # as the formgrader's server does, with one CourseDirectory
        converter = course.grade(shared, force=True)
        assert "_format_source" not in vars(converter)
        assert course.notes("ada") == ""
    assert [
        Autograde.init_assignment,
        BaseConverter._format_source,
        CourseDirectory.get_existing_timestamp,
    ] == before
    assert shared.get_existing_timestamp(str(course.root)) is None


def test_an_assignment_that_was_not_released_is_refused_by_nbgrader(course: Course) -> None:
    folder = course.submit("ada", SHEET)
    folder.rename(folder.with_name("m9"))
    directory = course.directory()
    directory.assignment_id = "m9"
    with pytest.raises(NbGraderException):
        course.grade(directory)
    assert not (course.root / "autograded" / "ada" / "m9").exists()


def test_the_mark_keeps_what_other_steps_wrote() -> None:
    notebook, _ = Finished().preprocess(new_notebook(metadata={"autograder": {"a": 1}}), {})
    assert notebook.metadata == {"autograder": {"a": 1, "graded": True}}
