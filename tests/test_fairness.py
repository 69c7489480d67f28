"""An honest submission gets the same score from nbgrader alone, from the course's grader, again, and on other draws."""

import json
import shutil
from pathlib import Path

import nbformat
import pytest

from autograder import gradebook
from autograder.cli import main
from autograder.demo import CONFIG, SampleClass
from tests.commands import nbgrader
from tests.conftest import needs_sandbox
from tests.test_grading import place_of

pytestmark = [
    pytest.mark.slow,
    needs_sandbox,
]
Points = dict[str, float | None]
NOISY = """\
import logging
import sys
import warnings

print("to stderr", file=sys.stderr)
warnings.warn("a warning at the top")
logging.getLogger().error("a log record")
"""
FLOAT64 = "import torch\n\ntorch.set_default_dtype(torch.float64)\n"


class Graded:
    """A class graded by nbgrader alone and by the course's grader, several times."""

    def __init__(self, sheet: str, folder: Path) -> None:
        self.place = place_of(sheet, folder / "course")
        self.made = SampleClass(self.place)
        self.root = folder / "ours"
        self._hand_in(self.root, CONFIG)
        self.stock = self._autograded(folder / "stock", "")

    def submissions(self) -> dict[str, bytes]:
        """Returns what an honest class hands in, by student."""
        members = {member.student: member.file for member in self.made.members()}
        kept: dict[str, bytes] = {
            name: members[name] for name in ("01_perfect", "02_other_style", "03_wrong_axis") if name in members
        }
        kept |= {name: file for name, file in members.items() if name.startswith("04_")}
        first = next(iter(self.made.sheet.tasks))
        for name, above in (("noisy", NOISY), ("float64", FLOAT64)):
            cells = {**self.made.solutions, first: above + self.made.solutions[first]}
            kept[name] = nbformat.writes(self.made.notebook(cells)).encode()
        return kept

    def _hand_in(self, root: Path, config: str) -> None:
        place = self.place
        shutil.copytree(place.root / "source" / place.module, root / "source" / place.module)
        (root / "nbgrader_config.py").write_text(config)
        for name, file in self.submissions().items():
            folder = root / "submitted" / name / place.module
            folder.mkdir(parents=True)
            (folder / f"{place.notebook_name}.ipynb").write_bytes(file)
        assert nbgrader(root, "generate_assignment", place.module).returncode == 0

    def _autograded(self, root: Path, config: str) -> dict[str, Points]:
        self._hand_in(root, config)
        done = nbgrader(root, "autograde", self.place.module)
        assert done.returncode == 0, done.stderr
        return self.points(root)

    def points(self, root: Path) -> dict[str, Points]:
        return {str(row.student): row.points for row in gradebook.read(root, self.place.module).rows}

    def seeds(self) -> set[str]:
        """Returns the seeds that the graded notebooks record."""
        found = self.root.glob(f"autograded/*/{self.place.module}/*.ipynb")
        return {json.loads(path.read_text())["metadata"]["autograder"]["seed"] for path in found}


@pytest.mark.parametrize("sheet", ["mini", "m1_neural_networks/backprop"])
def test_scores_are_equal_everywhere(
    sheet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    graded = Graded(sheet, tmp_path)
    module = graded.place.module
    done = nbgrader(graded.root, "autograde", module)
    assert done.returncode == 0, done.stderr
    first, seeds = graded.points(graded.root), graded.seeds()
    assert first == graded.stock
    for name in ("01_perfect", "02_other_style", "noisy", "float64"):
        assert first[name] == first["01_perfect"], name
        assert {task: points for task, points in first[name].items() if points is not None} == {
            task.name: task.points for task in graded.made.sheet.tasks.values()
        }
    assert nbgrader(graded.root, "autograde", module, "--force", "--Judged.reuse=False").returncode == 0
    assert graded.points(graded.root) == first
    assert len(seeds) == len(graded.seeds()) == 1
    assert seeds != graded.seeds()
    (graded.root / "modules").mkdir()
    monkeypatch.chdir(graded.root)
    assert main(["grade", module, "--regrade", "--seed", "12345", "--student", "01_perfect", "--student", "noisy"]) == 0
    assert "2 notebooks: 2 run" in capsys.readouterr().err
    assert graded.points(graded.root) == first
    assert "12345" in graded.seeds()
