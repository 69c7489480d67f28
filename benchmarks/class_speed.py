"""How fast a class is graded: nbgrader by itself, and this course cold, warm on one worker, and warm on all cores.

All four grade the same submissions, made of a sheet's own right and wrong solutions, on a sheet that draws and trains
much (`backprop`) and on a small torch sheet. The floor is what the cells take in a plain Python that has imported
everything. Writes docs/speed.md and docs/speed.svg (`make bench`).
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import nbformat
import psutil
from rich.console import Console

from autograder import build, gradebook, graded, grading, judging, sandbox, template
from autograder.course import Course, SheetPlace
from autograder.session import Session
from benchmarks import meter
from benchmarks.classes import CONFIG, ENVIRONMENT, command, course_folder, notebooks
from benchmarks.torch_course import write_course

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
STOCK = "nbgrader autograde"
COLD = "autograder grade --cold --jobs 1"
WARM = "autograder grade --jobs 1"
ALL = "autograder grade"
AGAIN = "autograder grade, again"
KEPT = "autograder grade, from kept results"
REPEATED = 9


@dataclass(frozen=True)
class Row:
    """One way of grading one class: what it took, and for how many notebooks."""

    way: str
    notebooks: int
    taken: meter.Taken

    @property
    def per_minute(self) -> float:
        return 60 * self.notebooks / self.taken.wall

    @property
    def cpu(self) -> float:
        return self.taken.cpu / self.notebooks


@dataclass(frozen=True)
class Measured:
    """One class: the sheet, the floor in CPU seconds for each notebook, warm and cold, and the rows."""

    sheet: str
    floor: float
    cold_floor: float
    rows: list[Row]
    same: bool  # scores of stock nbgrader and of all ways here
    parts: dict[str, float]  # of one warm grading, in seconds

    def row(self, way: str) -> Row:
        return next(row for row in self.rows if row.way == way)

    @property
    def times_stock(self) -> float:
        return self.row(ALL).per_minute / self.row(STOCK).per_minute


def parts(place: SheetPlace) -> dict[str, float]:
    """Returns by name the median seconds of the parts of one warm grading of the solved sheet, on one idle core."""
    source, bundle = place.built("source")
    keys = judging.read_keys(source, 1)
    solved = nbformat.read(source, as_version=4)
    forked = template.shared()
    found: dict[str, list[float]] = {}
    for _ in range(1 + REPEATED):
        clock = _Clock(found)
        with sandbox.Sandbox(sandbox.Limits(), {bundle.name: bundle}, template=forked) as box:
            clock.ends("walls, and a fork of the template into them")
            with contextlib.closing(Session(box)) as session:
                nb = deepcopy(solved)
                session.run(-1, "")
                clock.ends("the notebook's process, until its first cell")
                graded.run_cells(nb, session, keys)
                clock.ends("cells, and a snapshot at each check")
                session.ask(lambda task, hidden: keys.cases(task.name, hidden), keys.sheet, keys.seed)
                clock.ends("cases of all tasks, visible and hidden")
        clock.ends("the end of all processes")
    return {name: statistics.median(seconds[1:]) for name, seconds in found.items()}


class _Clock:
    """Says how long each part took since the one before it."""

    def __init__(self, found: dict[str, list[float]]) -> None:
        self._found = found
        self._since = time.perf_counter()

    def ends(self, name: str) -> None:
        now = time.perf_counter()
        self._found.setdefault(name, []).append(now - self._since)
        self._since = now


class Bench:
    """One class of `count` students on one sheet, in course folders below `root`."""

    def __init__(self, place: SheetPlace, count: int, root: Path, console: Console) -> None:
        self.place = place
        self.root = root
        self.count = count
        self._console = console
        self._notebooks = list(notebooks(place, count))

    def measure(self) -> Measured:
        """Grades the class in each way. Returns what it took."""
        floor, cold_floor = self._floor(cold=False), self._floor(cold=True)
        rows = [self._graded(STOCK, "", ["nbgrader", "autograde", self.place.module])]
        for way in (COLD, WARM, ALL):
            rows.append(self._graded(way, CONFIG, [*way.split(), self.place.module]))
        rows.append(self._run(AGAIN, self._folder(ALL), ["autograder", "grade", self.place.module]))
        self._forget_records()
        rows.append(self._run(KEPT, self._folder(ALL), ["autograder", "grade", self.place.module]))
        points = [self._points(self._folder(way)) for way in (STOCK, COLD, WARM, ALL)]
        same = all(other == points[0] for other in points)
        return Measured(self.place.name, floor, cold_floor, rows, same, parts(self.place))

    def _forget_records(self) -> None:
        shutil.rmtree(self._folder(ALL) / ".autograder" / "recorded")
        shutil.rmtree(self._folder(ALL) / "autograded")

    def _folder(self, way: str) -> Path:
        return self.root / self.place.name / way.replace(" ", "_").replace("-", "")

    def _graded(self, way: str, config: str, words: list[str]) -> Row:
        folder = self._folder(way)
        course_folder(self.place, folder, config, {f"student{n:04d}": text for n, text in enumerate(self._notebooks)})
        return self._run(way, folder, words)

    def _run(self, way: str, folder: Path, words: Sequence[str]) -> Row:
        self._console.print(f"{self.place.name}: {way} …", highlight=False)
        taken = meter.measured(command(*words), folder, ENVIRONMENT, folder / "bench.log")
        if taken.status:
            raise SystemExit(f"{way} failed: read {folder / 'bench.log'}")
        return Row(way, self.count, taken)

    def _points(self, folder: Path) -> dict[str, dict[str, float | None]]:
        return {row.student: row.points for row in gradebook.read(folder, self.place.module).rows}

    def _floor(self, cold: bool) -> float:
        """Returns the mean CPU seconds that the cells of a notebook take in a plain process."""
        folder = self.root / self.place.name / f"floor{cold}"
        shutil.copytree(self.place.root / "release" / self.place.module, folder)
        seconds = []
        for text in self._notebooks[:FLOOR_OF]:
            path = folder / f"{self.place.notebook_name}.ipynb"
            path.write_text(text)
            call = [sys.executable, "-m", "benchmarks.plain_cells", *(["--cold"] if cold else []), str(path)]
            done = subprocess.run(call, cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True, text=True)
            seconds.append(float(done.stdout.split()[-1]))
        return sum(seconds) / len(seconds)


FLOOR_OF = 4  # different notebooks that the floor is measured on


def table(classes: Sequence[Measured]) -> str:
    """Returns the page of figures in Markdown."""
    lines = [
        "# How fast a class is graded",
        "",
        "<!-- Written by benchmarks/class_speed.py (make bench). -->",
        "",
        f"Measured on {_machine()}. Each way graded the same submissions: right solutions, other styles, known",
        "mistakes, untouched sheets, and sheets in which everything raises. The time is that of the whole command.",
        f"Classes of fewer than {grading.FEW} submissions for each worker are started cold: that is quicker then.",
        "",
        "![Submissions a minute of each way, by sheet](speed.svg)",
        "",
    ]
    for made in classes:
        lines += [*_section(made), ""]
    return "\n".join(lines)


def _section(made: Measured) -> list[str]:
    stock = made.row(STOCK)
    head = f"## {made.sheet}, {stock.notebooks} submissions"
    cells = f"The cells of a submission take {made.floor:.2f} s of CPU in a plain Python that has imported everything"
    rows = [
        f"| `{row.way}` | {row.per_minute:,.0f} | {row.per_minute / stock.per_minute:.1f} × | {row.cpu:.2f} |"
        f" {row.taken.memory / 2**20:,.0f} |"
        for row in made.rows
    ]
    scores = "All ways gave the same scores." if made.same else "**The scores differ between ways.**"
    return [
        head,
        "",
        f"{cells} (the floor), and {made.cold_floor:.2f} s with the imports. {scores}",
        "",
        "| command | submissions a minute | against stock | CPU seconds each | peak memory, MB |",
        "| --- | ---: | ---: | ---: | ---: |",
        *rows,
        "",
        "One warm grading of the solved sheet, in ms (medians): "
        + "; ".join(f"{name} {1000 * seconds:.0f}" for name, seconds in made.parts.items())
        + ". Verdicts and the gradebook come on top: the last row but for its start is nothing else.",
    ]


def _machine() -> str:
    cores = len(os.sched_getaffinity(0))
    memory = psutil.virtual_memory().total / 2**30
    return f"{cores} cores of {platform.machine()}, {memory:.0f} GiB, Python {platform.python_version()}"


def draw(classes: Sequence[Measured], path: Path) -> None:
    """Draws submissions a minute by way and sheet."""
    import matplotlib.pyplot as plt

    from autograder import figures

    figures.use_style()
    ways = (STOCK, COLD, WARM, ALL)
    fig, axes = plt.subplots(1, len(classes), figsize=(9, 2.6), layout="constrained")
    for ax, made in zip(axes, classes, strict=True):
        speeds = [made.row(way).per_minute for way in ways]
        bars = ax.barh(range(len(ways)), speeds, color=["0.6", "C0", "C0", "C1"])
        ax.bar_label(bars, [f"{speed:,.0f}" for speed in speeds], padding=3)
        ax.set(title=made.sheet, xlabel="submissions a minute", yticks=range(len(ways)), xlim=(0, 1.2 * max(speeds)))
        ax.set_yticklabels(ways if ax is axes[0] else [""] * len(ways))
        ax.invert_yaxis()
    said = "; ".join(
        f"{made.sheet}: " + ", ".join(f"{way} {made.row(way).per_minute:.0f}" for way in ways) for made in classes
    )
    path.write_text(figures.svg(fig, f"Submissions graded a minute. {said}."))


def main() -> None:
    """Measures both classes, writes the page and its picture, and prints the page."""
    parser = argparse.ArgumentParser(description="Measure how fast a class is graded, and write docs/speed.md.")
    parser.add_argument("--torch", type=int, default=120, metavar="N", help="submissions of the small torch sheet")
    parser.add_argument("--backprop", type=int, default=8, metavar="N", help="submissions of backprop")
    options = parser.parse_args()
    if reason := meter.problem() or sandbox.problem():
        raise SystemExit(f"Nothing was measured, because {reason}.")
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as name:
        small = write_course(Path(name) / "course")
        places = [(small, "line", options.torch), (ROOT, "backprop", options.backprop)]
        classes = []
        for root, sheet, count in places:
            place = Course(root).find(sheet)
            assert isinstance(place, SheetPlace)
            if root is small:
                build.build_sheet(place)
            classes.append(Bench(place, count, Path(name), console).measure())
    (DOCS / "speed.md").write_text(table(classes))
    draw(classes, DOCS / "speed.svg")
    print(table(classes))
    print(json.dumps({made.sheet: made.times_stock for made in classes}))


if __name__ == "__main__":
    main()
