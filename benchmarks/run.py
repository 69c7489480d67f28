"""What a student waits for: `import autograder`, and the answer of each check; and what a safe grade costs.

Each figure is a median over RUNS and stands beside a yardstick of the same run: an empty Python for the import, the
student's own cells for a check, the same cells and cases without walls and verdicts for a grade. Prints tables
(`make bench`).
"""

import contextlib
import io
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import nbformat
from rich.console import Console
from rich.progress import track
from rich.table import Table

from autograder import graded, judging, sandbox
from autograder.course import Course, SheetPlace
from autograder.session import Session
from autograder.sheets import load_checks, read_sheet
from autograder.source import without_markers
from autograder.student import Checker

ROOT = Path(__file__).resolve().parent.parent
RUNS = 11
GRADES = 11
GRADE_BAR_MS, GRADE_BAR_PERCENT = 150, 15
IMPORT_BAR, CHECK_BAR = 0.5, 0.2  # seconds: above these, people begin to wait


def median(action: Callable[[], object]) -> float:
    """Returns the median duration of `action` in seconds, after one run that is not counted."""
    action()
    durations = []
    for _ in range(RUNS):
        start = time.perf_counter()
        action()
        durations.append(time.perf_counter() - start)
    return statistics.median(durations)


def python(code: str) -> Callable[[], object]:
    """Returns an action that runs `code` in a fresh interpreter."""
    return lambda: subprocess.run([sys.executable, "-c", code], check=True)


def solved(place: SheetPlace) -> dict[str, object]:
    """Returns the global names of a notebook in which all tasks are solved."""
    text = read_sheet(place.text)
    cells = [without_markers(cell.text) for cell in text.cells if cell.role in ("setup", "task")]
    namespace: dict[str, object] = {"__name__": "__main__"}
    with contextlib.redirect_stdout(io.StringIO()):
        exec("\n".join(cells), namespace)
    return namespace


def sheet_rows(place: SheetPlace) -> list[tuple[str, float]]:
    """Returns the median duration of each check of a sheet, on the reference's solutions."""
    namespace = solved(place)
    checker = Checker(place.name, place.built("release")[1].parent)
    rows = []
    for task in track(list(load_checks(place.checks).tasks), description=place.name, transient=True):
        rows.append((task, median(lambda task=task: checker.report(task, namespace))))  # type: ignore[misc]
    return rows


def main() -> None:
    """Measures and prints."""
    empty, own = median(python("pass")), median(python("import autograder"))
    opened = median(python("from autograder import open_checks"))
    table = Table(title=f"Medians of {RUNS} runs", title_justify="left")
    for column, justify in (("what", "left"), ("ms", "right"), ("yardstick", "left"), ("bar, ms", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    table.add_row(
        "import autograder", f"{1e3 * own:.0f}", f"{own / empty:.2f} × an empty Python", f"{1e3 * IMPORT_BAR:.0f}"
    )
    table.add_row(
        "from autograder import open_checks", f"{1e3 * opened:.0f}", f"{opened / empty:.2f} × an empty Python", ""
    )
    places = Course(ROOT).sheets
    for place in places:
        for task, seconds in sheet_rows(place):
            ratio = seconds / empty
            table.add_row(
                f'check("{task}")', f"{1e3 * seconds:.1f}", f"{ratio:.2f} × an empty Python", f"{1e3 * CHECK_BAR:.0f}"
            )
    Console().print(table)
    if reason := sandbox.problem():
        Console().print(f"No grades were timed, because {reason}.")
    else:
        print_grades(places)


def print_grades(places: list[SheetPlace]) -> None:
    """Prints what walls and judge add to the time of a solved sheet's own cells and cases."""
    table = Table(title=f"One solved sheet, medians of {GRADES} runs taken in turns", title_justify="left")
    for column in ("sheet", "cells and cases, s", "in walls, judged, s", "more, ms", "more, %"):
        table.add_column(column, justify="left" if column == "sheet" else "right")
    for place in places:
        alone, judged = grades(place)
        more = judged - alone
        table.add_row(place.name, f"{alone:.2f}", f"{judged:.2f}", f"{1e3 * more:.0f}", f"{100 * more / alone:.1f}")
    Console().print(table)
    Console().print(f"The bar is {GRADE_BAR_MS} ms or {GRADE_BAR_PERCENT} %, whichever is more.")


def grades(place: SheetPlace) -> tuple[float, float]:
    """Returns the median seconds of a solved sheet's cells and cases without walls and verdicts, and with both.

    The reference has answered before: it does so once for a whole class.
    """
    source, bundle = place.built("source")
    keys = judging.read_keys(source, 1)
    solved_sheet = nbformat.read(source, as_version=4)
    files = {bundle.name: bundle}

    def alone() -> None:
        with sandbox.Sandbox(sandbox.Limits(), files, unsafe=True) as box:
            session = Session(box)
            graded.run_cells(deepcopy(solved_sheet), session, keys)
            session.ask(lambda task, hidden: keys.cases(task.name, hidden), keys.sheet, keys.seed)
            session.close()

    def judged() -> None:
        with sandbox.Sandbox(sandbox.Limits(), files) as box:
            graded.grade_notebook(deepcopy(solved_sheet), keys, box)

    both: tuple[list[float], list[float]] = ([], [])
    judged()
    for _ in track(range(GRADES), description=f"grades of {place.name}", transient=True):
        for action, durations in zip((alone, judged), both, strict=True):
            start = time.perf_counter()
            action()
            durations.append(time.perf_counter() - start)
    return statistics.median(both[0]), statistics.median(both[1])


if __name__ == "__main__":
    main()
