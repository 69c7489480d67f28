"""Reading the grades of a module: points per task from nbgrader's gradebook, misconceptions from the graded cells."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from autograder import databases
from autograder.errors import CourseError
from autograder.notebooks import task_of
from autograder.report import MIME

WIDEST = 400  # columns; a line that is too long for a terminal is wrapped, never cut


@dataclass
class Row:
    """The grades of one student: points by task (None where a person has yet to grade), and what was recognized."""

    student: str
    points: dict[str, float | None] = field(default_factory=dict)
    misconceptions: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def total(self) -> float:
        return sum(points for points in self.points.values() if points is not None)


@dataclass
class Grades:
    """The grades of a module: the maximum by task in the order of the sheets, whether hand-graded, and the rows."""

    maximum: dict[str, float]
    by_hand: set[str]
    rows: list[Row]

    @property
    def automatic_maximum(self) -> float:
        return sum(points for task, points in self.maximum.items() if task not in self.by_hand)

    def percent(self, row: Row) -> float:
        """Returns the share of the automatically graded points that the student earned, in percent."""
        earned = sum(points or 0.0 for task, points in row.points.items() if task not in self.by_hand)
        return 100.0 * earned / self.automatic_maximum if self.automatic_maximum else 0.0


def database(root: Path) -> str:
    """Returns the url of the gradebook, as the course's nbgrader_config.py and nbgrader's defaults have it.

    Raises CourseError where that file cannot be run. The url may hold a password: `databases.name_of` hides it.
    """
    from nbgrader.coursedir import CourseDirectory
    from traitlets.config.loader import Config, PyFileConfigLoader

    config = Config()
    file = root / "nbgrader_config.py"
    if file.is_file():  # a course without one is graded by nbgrader's defaults
        try:
            config = PyFileConfigLoader(file.name, path=str(root)).load_config()
        except Exception as error:
            raise CourseError(f"{file} cannot be run ({type(error).__name__}: {error}): mend it.") from error
    return str(CourseDirectory(config=config, root=str(root)).db_url)


def read(root: Path, module: str) -> Grades:
    """Returns the grades of `module`.

    Raises CourseError where there is no gradebook, where it cannot be read, and where no such module is in it.
    """
    from nbgrader.api import Gradebook, MissingEntry

    url = database(root)
    _refuse_missing(url, module)
    try:
        # without the name of a course, nbgrader does not write one into the gradebook when it opens it
        with databases.explained(url), Gradebook(url, "") as gradebook:
            return _grades(root, module, gradebook)
    except MissingEntry as error:
        raise CourseError(
            f"The gradebook has no module {module}: run nbgrader generate_assignment {module}."
        ) from error


def show(grades: Grades) -> None:
    """Prints the grades as a table, with the tasks numbered, and below it what was recognized and noted."""
    console = Console(highlight=False)
    for number, (task, points) in enumerate(grades.maximum.items(), 1):
        hand = ", graded by hand" if task in grades.by_hand else ""
        console.print(f"  {number}  {task} ({points:g} points{hand})")
    table = _table(grades)
    width = max(console.width, Measurement.get(console, console.options.update(max_width=WIDEST), table).maximum)
    console.print(table, width=width, crop=False, soft_wrap=True)
    for row in grades.rows:
        for line in [*row.misconceptions, *row.notes]:
            console.print(f"  {row.student}: {line}", soft_wrap=True, markup=False)


def _table(grades: Grades) -> Table:
    made = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), caption="· waits for a person", caption_justify="left")
    longest = max((len(row.student) for row in grades.rows), default=0)
    made.add_column("student", no_wrap=True, min_width=longest)
    for number in range(1, len(grades.maximum) + 1):
        made.add_column(str(number), justify="right", no_wrap=True, min_width=4)
    made.add_column("by machine", justify="right", no_wrap=True, min_width=10)
    for row in grades.rows:
        points = ["·" if row.points[task] is None else f"{row.points[task]:g}" for task in grades.maximum]
        made.add_row(row.student, *points, f"{grades.percent(row):.0f} %")
    return made


def _refuse_missing(url: str, module: str) -> None:
    mend = f"run nbgrader generate_assignment {module}, then nbgrader autograde"
    files = databases.files_of(url)
    if files and not files[0].is_file():
        raise CourseError(f"{files[0]} does not exist: {mend}.")
    with databases.explained(url):
        if not databases.holds_gradebook(url):
            raise CourseError(f"{databases.name_of(url)} holds no gradebook: {mend}.")


def _grades(root: Path, module: str, gradebook: Any) -> Grades:
    assignment = gradebook.find_assignment(module)
    order = _order(root, assignment)
    by_hand = {cell.name for book in assignment.notebooks for cell in book.grade_cells if cell.cell_type != "code"}
    cells = {cell.name: cell.max_score for book in assignment.notebooks for cell in book.grade_cells}
    names = sorted(cells, key=lambda name: order.get(name, len(order)))
    rows = [_row(root, module, submission, names) for submission in assignment.submissions]
    return Grades({task_of(n): cells[n] for n in names}, by_hand, sorted(rows, key=lambda row: row.student))


def _order(root: Path, assignment: Any) -> dict[str, int]:
    """Returns the place of each graded cell, by the source notebooks: the gradebook's tables have no order."""
    order: dict[str, int] = {}
    for book in assignment.notebooks:
        for cell in _cells(root / "source" / assignment.name / f"{book.name}.ipynb"):
            name = cell["metadata"].get("nbgrader", {}).get("grade_id")
            if name:
                order[name] = len(order)
    return order


def _row(root: Path, module: str, submission: Any, names: list[str]) -> Row:
    grades = {grade.name: grade for book in submission.notebooks for grade in book.grades}
    row = Row(submission.student.id)
    for name in names:
        grade = grades.get(name)
        graded = grade is not None and (grade.auto_score is not None or grade.manual_score is not None)
        row.points[task_of(name)] = float(grade.score) if grade is not None and graded else None
    for book in submission.notebooks:
        _read_outputs(root / "autograded" / row.student / module / f"{book.name}.ipynb", row)
    return row


def _read_outputs(path: Path, row: Row) -> None:
    for cell in _cells(path):
        if cell.get("metadata", {}).get("autograder_notes"):
            row.notes += [line[2:] for line in "".join(cell["source"]).splitlines() if line.startswith("- ")]
        for output in cell.get("outputs", []):
            report = output.get("data", {}).get(MIME)
            if report:
                row.misconceptions += [f"{report['task']}: {known['name']}" for known in report["misconceptions"]]


def _cells(path: Path) -> list[dict[str, Any]]:
    try:
        return list(json.loads(path.read_text(encoding="utf-8"))["cells"])
    except FileNotFoundError:
        return []  # not graded yet, or removed by hand: the gradebook's points still count
