"""Generated classes in course folders of their own, as the benchmarks grade them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import nbformat

from autograder.course import SheetPlace
from autograder.demo import SampleClass

ENDLESS = ("08", "09", "10", "11", "12")  # of the sample class: what ends early, or is made to cheat stock nbgrader
CONFIG = """\
from autograder.nbgrader_steps import configure

c = get_config()
c.CourseDirectory.course_id = "bench"
configure(c)
"""
ENVIRONMENT = {
    **os.environ,
    "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    "OMP_NUM_THREADS": "1",
}


def command(name: str, *arguments: str) -> list[str]:
    """Returns the call of `nbgrader` or `autograder` with this Python."""
    return [sys.executable, "-m", "nbgrader" if name == "nbgrader" else "autograder.cli", *arguments]


def course_folder(place: SheetPlace, root: Path, config: str, submissions: Mapping[str, str]) -> None:
    """Makes a course folder in which students, by name, have handed in the sheet, and registers its module."""
    shutil.copytree(place.root / "source" / place.module, root / "source" / place.module)
    (root / "modules").mkdir()
    (root / "nbgrader_config.py").write_text(config or "c = get_config()\n")
    for student, text in submissions.items():
        path = root / "submitted" / student / place.module / f"{place.notebook_name}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(text)
    call = command("nbgrader", "generate_assignment", place.module)
    subprocess.run(call, cwd=root, env=ENVIRONMENT, check=True, capture_output=True)


def notebooks(place: SheetPlace, count: int) -> Iterable[str]:
    """Yields `count` notebooks, no two alike: right ones, other styles, known mistakes, nothing solved, all raising."""
    members = [m for m in SampleClass(place).members() if not m.student.startswith(ENDLESS)]
    for number in range(count):
        notebook = nbformat.reads(members[number % len(members)].file.decode(), as_version=4)
        notebook.cells.append(nbformat.v4.new_markdown_cell(f"Handed in by student {number}.", id=f"by-{number}"))
        yield nbformat.writes(notebook)
