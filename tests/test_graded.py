"""The grading step from end to end on the small course: by nbgrader's command, the formgrader's button, and ours."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbgrader.apps import NbGraderAPI
from traitlets.config.loader import PyFileConfigLoader

from autograder import build, gradebook, sandbox
from autograder.cli import main
from autograder.course import Course
from autograder.demo import CONFIG, SampleClass
from autograder.report import MIME
from tests.conftest import needs_sandbox
from tests.mini import CHECKS, SHEET, write_course

pytestmark = needs_sandbox
MODULE = "m1_small"


class Room:
    """A course folder in which the small course is released and some have handed in."""

    def __init__(self, course: Path, root: Path) -> None:
        self.root = root
        self.place = Course(course).sheets[0]
        self.made = SampleClass(self.place)
        shutil.copytree(course / "source", root / "source")
        (root / "modules").mkdir()
        (root / "nbgrader_config.py").write_text(CONFIG)
        assert self.nbgrader("generate_assignment", MODULE).returncode == 0

    def hand_in(self, student: str, cells: dict[str, str]) -> Path:
        folder = self.root / "submitted" / student / MODULE
        folder.mkdir(parents=True, exist_ok=True)
        nbformat.write(self.made.notebook(cells), folder / f"{self.place.notebook_name}.ipynb")
        return folder

    def nbgrader(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        path = environment.get("PATH") or os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        call = [sys.executable, "-m", "nbgrader", *arguments]
        known = {**os.environ, "PATH": path}
        return subprocess.run(call, cwd=self.root, env=known, capture_output=True, text=True, check=False)

    def percent(self) -> dict[str, float]:
        grades = gradebook.read(self.root, MODULE)
        return {row.student: grades.percent(row) for row in grades.rows}

    def notebook(self, student: str) -> Any:
        path = self.root / "autograded" / student / MODULE / f"{self.place.notebook_name}.ipynb"
        return nbformat.read(path, as_version=4)

    def api(self) -> NbGraderAPI:
        config = PyFileConfigLoader("nbgrader_config.py", path=str(self.root)).load_config()
        config.CourseDirectory.root = str(self.root)
        return NbGraderAPI(config=config)


@pytest.fixture
def room(built_course: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Room:
    made = Room(built_course, tmp_path / "room")
    monkeypatch.chdir(made.root)
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    return made


def by_command(room: Room) -> None:
    assert room.nbgrader("autograde", MODULE).returncode == 0


def by_button(room: Room) -> None:
    """The formgrader's button calls this function of nbgrader's for one student."""
    for folder in sorted((room.root / "submitted").iterdir()):
        assert room.api().autograde(MODULE, folder.name)["success"]


def by_us(room: Room) -> None:
    assert main(["grade", MODULE]) == 0


@pytest.mark.parametrize("grade", [by_command, by_button, by_us])
def test_every_way_takes_the_same_path(room: Room, grade: Callable[[Room], None]) -> None:
    room.hand_in("ada", room.made.solutions)
    room.hand_in(
        "bob", {**room.made.solutions, "center": "def center(x):\n    return x - x.mean(axis=1, keepdims=True)"}
    )
    grade(room)
    assert room.percent() == {"ada": 100, "bob": 60}
    for student in ("ada", "bob"):
        about = room.notebook(student).metadata.autograder
        assert about.graded is True
        assert about.sandbox is True
        assert int(about.seed) >= 0
    check = next(
        c for c in room.notebook("bob").cells if c.metadata.get("nbgrader", {}).get("grade_id") == "check_center"
    )
    (output,) = check.outputs
    assert output.data["text/plain"] == "0.0"
    assert output.data[MIME]["misconceptions"][0]["name"] == "wrong_axis"
    assert "HIDDEN" not in check.source


def test_students_read_no_hidden_input_and_graders_do(room: Room) -> None:
    broken = "def center(x):\n    return x - x.mean(axis=0) if len(x) > 1 else x"
    room.hand_in("cyd", {**room.made.solutions, "center": broken})
    by_us(room)
    assert room.nbgrader("generate_feedback", MODULE).returncode == 0
    page = (room.root / "feedback" / "cyd" / MODULE / "01_shapes.html").read_text()
    check = next(
        c for c in room.notebook("cyd").cells if c.metadata.get("nbgrader", {}).get("grade_id") == "check_center"
    )
    (failure,) = check.outputs[0].data[MIME]["for_graders"]
    assert failure.startswith("one row becomes zeros (hidden)")
    shown = [line.strip() for line in failure.splitlines()[1:] if any(sign.isdigit() for sign in line)]
    assert shown
    assert "one row becomes zeros" in page
    assert not any(line in page for line in shown)


def test_only_files_that_the_sheet_asks_for_reach_the_sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = CHECKS.replace('Sheet("shapes")', 'Sheet("shapes", files=("*.csv",))')
    course = write_course(tmp_path / "course", SHEET, checks)
    build.build_sheet(Course(course).sheets[0])
    room = Room(course, tmp_path / "room")
    monkeypatch.chdir(room.root)
    look = "import os\nprint(sorted(os.listdir()), open('own.csv').read())\n"
    first = {**room.made.solutions, "center": look + room.made.solutions["center"]}
    folder = room.hand_in("dan", first)
    (folder / "own.csv").write_text("7")
    (folder / "torch.py").write_text("raise SystemExit")
    (folder / "other.txt").write_text("8")
    assert room.nbgrader("autograde", MODULE).returncode == 0
    cell = next(c for c in room.notebook("dan").cells if c.metadata.get("nbgrader", {}).get("grade_id") == "center")
    assert cell.outputs[0].text == "['own.csv', 'shapes.checks.json'] 7\n"
    assert room.percent() == {"dan": 100}
    assert "torch.py" in "".join(gradebook.read(room.root, MODULE).rows[0].notes)


def test_a_grade_can_be_repeated_on_the_same_draws(room: Room) -> None:
    room.hand_in("eve", {**room.made.solutions, "normalize": "def normalize(x):\n    return x / x.max()"})
    by_us(room)
    before = room.notebook("eve")
    assert main(["grade", MODULE, "--regrade", "--seed", before.metadata.autograder.seed]) == 0
    after = room.notebook("eve")
    assert json.dumps(before, sort_keys=True) == json.dumps(after, sort_keys=True)
    assert main(["grade", MODULE, "--regrade"]) == 0
    assert room.notebook("eve").metadata.autograder.seed != before.metadata.autograder.seed


def test_without_a_sandbox_nothing_is_graded_unless_one_says_unsafe(
    room: Room, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    room.hand_in("fay", room.made.solutions)
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("alembic", "python", "jupyter"):
        (programs / name).symlink_to(Path(sys.executable).parent / name)
    refused = room.nbgrader("autograde", MODULE, PATH=str(programs))
    assert refused.returncode != 0
    assert "bubblewrap is not installed" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (room.root / "autograded").exists()
    monkeypatch.setattr(sandbox, "problem", lambda: "bubblewrap is not installed")
    assert main(["grade", MODULE]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "--unsafe" in said
    assert main(["grade", MODULE, "--unsafe"]) == 0
    assert room.percent() == {"fay": 100}
    assert room.notebook("fay").metadata.autograder.sandbox is False


def test_mistakes_on_the_command_line_are_said_in_a_sentence(room: Room, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["grade", MODULE]) == 1
    assert "Nobody has handed in" in capsys.readouterr().err
    room.hand_in("gus", {})
    assert main(["grade", MODULE, "--student", "guss"]) == 1
    assert "guss has not handed in m1_small: choose among gus." in capsys.readouterr().err
