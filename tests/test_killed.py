"""A batch that is killed at any moment: the gradebook opens, no grade is lost or doubled, the next run completes it."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autograder import gradebook
from autograder.course import Course
from autograder.demo import CONFIG, SampleClass
from tests.conftest import needs_sandbox

pytestmark = [
    pytest.mark.slow,
    needs_sandbox,
]
KILLS = 10
CLASS = ("01_perfect", "02_other_style", "06_untouched", "10_copied_cell")


def nbgrader(root: Path, command: str, *arguments: str) -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    call = [sys.executable, "-m", "nbgrader", command, "m1_small", *arguments]
    return subprocess.Popen(
        call, cwd=root, env={**os.environ, "PATH": path}, stderr=subprocess.DEVNULL, start_new_session=True
    )


def folder(built_course: Path, root: Path) -> Path:
    """Returns a course folder into which a class has handed in."""
    place = Course(built_course).sheets[0]
    shutil.copytree(built_course / "source", root / "source")
    (root / "nbgrader_config.py").write_text(CONFIG)
    for member in SampleClass(place).members():
        if member.student in CLASS:
            handed_in = root / "submitted" / member.student / place.module
            handed_in.mkdir(parents=True)
            (handed_in / f"{place.notebook_name}.ipynb").write_bytes(member.file)
    assert nbgrader(root, "generate_assignment").wait() == 0
    return root


def percent(root: Path) -> dict[str, float]:
    grades = gradebook.read(root, "m1_small")
    return {row.student: grades.percent(row) for row in grades.rows}


def records(root: Path) -> dict[str, int]:
    """Returns how many submissions of each student the gradebook has, after checking that the file is whole."""
    with sqlite3.connect(root / "gradebook.db") as database:
        assert database.execute("pragma integrity_check").fetchall() == [("ok",)]
        return dict(database.execute("select student_id, count(*) from submitted_assignment group by student_id"))


def test_a_batch_killed_at_ten_random_moments_is_completed_by_the_next_run(built_course: Path, tmp_path: Path) -> None:
    root = folder(built_course, tmp_path / "course")
    began = time.monotonic()
    assert nbgrader(root, "autograde").wait() == 0
    whole = time.monotonic() - began
    right = percent(root)
    assert right == {"01_perfect": 100, "02_other_style": 100, "06_untouched": 0, "10_copied_cell": 100}
    moments = random.Random(4)
    for _ in range(KILLS):
        if moments.random() < 0.5:
            shutil.rmtree(root / "autograded", ignore_errors=True)  # else it goes on where the last one was killed
        batch = nbgrader(root, "autograde", "--force")
        time.sleep(moments.uniform(0.2, 1.0) * whole)
        os.killpg(batch.pid, signal.SIGKILL)
        batch.wait()
        assert set(records(root).values()) == {1}
        assert set(percent(root)) == set(CLASS)
    assert nbgrader(root, "autograde").wait() == 0
    assert percent(root) == right
    assert records(root) == dict.fromkeys(CLASS, 1)
    for student in CLASS:
        assert (root / "autograded" / student / "m1_small" / "01_shapes.ipynb").is_file()
