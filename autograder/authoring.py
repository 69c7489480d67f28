"""The author's two commands: build what changed, and prove that the checks tell right from wrong."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from autograder import build as building
from autograder import laws, lectures, module_page
from autograder.course import Course, LecturePlace, SheetPlace, find_course
from autograder.errors import CourseError
from autograder.sheets import load_checks, read_sheet

Place = SheetPlace | LecturePlace
J = TypeVar("J")
R = TypeVar("R")
WORTH_FORKING = 12  # jobs; fewer are done before the processes have started

_work: Callable[[Any], Any]  # what forked processes do


def build(names: Iterable[str], force: bool = False) -> int:
    """Builds the named sheets and lectures (all by default) as far as they are stale. Returns the exit status."""
    course = find_course()
    _build_stale(course, _chosen(course, names), force)
    return 0


def check(names: Iterable[str], build_first: bool = False) -> int:
    """Proves the laws for the named sheets and lectures (all by default). Returns 1 where one is broken."""
    course = find_course()
    names = list(names)
    places = _chosen(course, names)
    just_built = _build_stale(course, places) if build_first else []
    console = Console(stderr=True)
    problems: list[str] = []
    with _progress(console) as progress:
        bar = progress.add_task("check", total=sum(_steps(place) for place in places))
        for place in places:
            progress.update(bar, description=f"check {place.name}", refresh=True)
            problems += check_one(place, lambda: progress.advance(bar), place in just_built)
            progress.update(bar, advance=1, refresh=True)
    if not names:
        problems += [f"{path}: nothing builds this file any more: remove it." for path in building.leftovers(course)]
        problems += [f"{path}: it is stale: run make build." for path in module_page.stale(course)]
    for problem in problems:
        print(problem)
    console.print(f"{len(places)} checked, {f'{len(problems)} problems' if problems else 'all laws hold'}.")
    return 1 if problems else 0


def _build_stale(course: Course, places: list[Place], force: bool = False) -> list[Place]:
    """Builds those places that are stale (all with `force`), says which files changed, and returns what was built."""
    todo = [place for place in places if force or not _is_fresh(place)]
    console = Console(stderr=True)
    with _progress(console) as progress:
        bar = progress.add_task("build", total=len(todo))
        for place in todo:
            progress.update(bar, description=f"build {place.name}", refresh=True)
            _build_one(place)
            progress.update(bar, advance=1, refresh=True)
    pages = module_page.write_stale(course)
    for path in [*(p for place in todo for p in _outputs(place)), *pages]:
        print(path.relative_to(course.root))
    console.print(f"{len(todo)} built, {len(places) - len(todo)} already fresh.")
    return todo


def check_one(place: Place, done: Callable[[], None] = lambda: None, just_built: bool = False) -> list[str]:
    """Returns the problems of one sheet or lecture, as sentences with file and line; calls `done` after each part."""
    if isinstance(place, LecturePlace):
        stale = [] if _is_fresh(place) else [f"{place.notebook}: it is stale: run make build."]
        return stale + [f"{place.text}: {problem}" for problem in lectures.problems(place.notebook)]
    text, sheet = read_sheet(place.text), load_checks(place.checks)
    problems = laws.structure(place, text, sheet)
    if not problems:
        problems = laws.prove(place, text, sheet, spread=partial(_on_all_cores, done))
        problems += laws.sheet_prose(place, text)
        built = [path for path in place.built("release") if path.is_file()]
        released = {path: path.read_text(encoding="utf-8", errors="replace") for path in built}
        problems += laws.release(place, text, sheet, released)
    if not building.is_fresh(place):
        problems.append(laws.Problem(place.built("source")[0], 1, "it is stale: run make build."))
    elif not problems and not just_built:
        again = f"it is not what its text builds: run autograder build --force {place.module}/{place.name}."
        problems = [laws.Problem(path, line, again) for path, line in building.differing(place)]
    return [str(problem) for problem in problems]


def _on_all_cores(done: Callable[[], None], function: Callable[[J], R], jobs: list[J]) -> Iterator[R]:
    """Yields `function(job)` for each job in order, computed on all cores where processes can be forked.

    A forked process inherits the loaded sheet with its functions, which could not be sent to it.
    """
    global _work
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1
    if cores == 1 or len(jobs) < WORTH_FORKING:
        for job in jobs:
            yield function(job)
            done()
        return
    _work = function
    with ProcessPoolExecutor(cores, mp_context=get_context("fork")) as pool:
        try:
            for result in pool.map(_do, jobs):
                yield result
                done()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _do(job: Any) -> Any:
    return _work(job)


def _chosen(course: Course, names: Iterable[str]) -> list[Place]:
    chosen: list[Place] = [course.find(name) for name in names]
    if chosen:
        return chosen
    places: list[Place] = [*course.sheets, *course.lectures]
    if not places:
        raise CourseError(f"{course.root / 'modules'} has no module.toml that names a sheet or lecture: write one.")
    return places


def _is_fresh(place: Place) -> bool:
    if isinstance(place, SheetPlace):
        return building.is_fresh(place)
    return lectures.is_fresh(place.text, place.notebook)


def _build_one(place: Place) -> None:
    if isinstance(place, SheetPlace):
        building.build_sheet(place)
    else:
        lectures.build_lecture(place.text, place.notebook)


def _outputs(place: Place) -> list[Path]:
    if isinstance(place, LecturePlace):
        return [place.notebook]
    return [*place.built("source"), *place.built("release")]


def _steps(place: Place) -> int:
    if isinstance(place, LecturePlace) or not place.checks.exists():
        return 1
    return 1 + len(laws.SEEDS) * place.checks.read_text(encoding="utf-8").count("sheet.task(")


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # no thread of its own refreshes it, because processes are forked while it is shown
    return Progress(*columns, console=console, transient=True, auto_refresh=False)
