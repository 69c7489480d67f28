"""Grading a class from the command line: on all cores or a cluster, and only what changed.

    plan       what each student handed in for each sheet, as jobs (see `intake`, `jobs`)
    run        the jobs that have no result yet, longest first (see `pools`, `cluster`, `worker`, `results`)
    record     one writer puts results into the gradebook and into autograded/ (see `recording`)

Whatever ends a run, the next one goes on where it was: a result is kept as soon as it is there.
"""

import contextlib
import json
import logging
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from sqlalchemy.exc import SAWarning

from autograder import databases, judging, pools, sandbox, worker
from autograder.cluster import Cluster
from autograder.errors import CourseError
from autograder.graded import Judged, secret_places
from autograder.intake import HandedIn, take_in, timestamp
from autograder.jobs import Job, Kit, read_kit
from autograder.pools import Local, Outcome, Pool
from autograder.recording import Record, Recorder
from autograder.results import Results, unpacked

FEW = 3  # jobs for each worker from which on a template is worth its start
FORMAT = 1  # of the machine-readable output
COLD = "Each notebook imports its packages itself."
UNCHANGED, KEPT, NEW = "unchanged", "kept result", "to run"
SHOWN = 10  # names in an error


@dataclass(frozen=True)
class How:
    """How to grade: whom and what (none named: all), again or not, from which seed, where, and what to print."""

    students: Sequence[str] = ()
    sheets: Sequence[str] = ()
    regrade: bool = False
    seed: int | None = None
    unsafe: bool = False
    workers: int = 1
    cold: bool = False
    dry_run: bool = False
    as_json: bool = False
    scheduler: str = ""
    tls: tuple[str, str, str] = ("", "", "")


@dataclass
class Item:
    """One notebook of one student: the key of its job, what is to be done, and how long it may take."""

    student: str
    sheet: str
    key: str
    state: str
    expected: float
    size: int
    problem: str = ""
    ended: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    cold_because: str = ""


def grade(root: Path, module: str, how: How) -> int:
    """Grades a module's submissions and says for whom something went wrong. Returns the exit status.

    Raises CourseError where nothing can be graded: no sandbox, no such module, no such student.
    """
    started = time.monotonic()
    if how.unsafe and how.scheduler:
        raise CourseError("The workers of a cluster grade in sandboxes only: leave out --unsafe.")
    refusal = None if how.unsafe or how.scheduler or how.dry_run else sandbox.refusal()
    if refusal:
        raise CourseError(refusal)
    console = Console(stderr=True)
    api = _api(root)
    with contextlib.ExitStack() as stack:
        stack.enter_context(databases.explained(str(api.coursedir.db_url)))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", SAWarning)  # nbgrader's use of SQLAlchemy, which is not ours to mend
        made = stack.enter_context(contextlib.closing(Class(api, root, module, how)))
        items = _planned(made, console)
        if not how.dry_run:
            Run(made, items, console).go()
    _tell(module, how, items, time.monotonic() - started, console)
    return 1 if any(item.problem for item in items) else 0


class Class:
    """Everybody who handed in a module, and how it is graded."""

    def __init__(self, api: Any, root: Path, module: str, how: How) -> None:
        self.api, self.root, self.module, self.how = api, root, module, how
        self.course = self.api.coursedir
        self.results = Results(root)
        self.recorder = Recorder(self.api, module)
        self._kits = self._read_kits()
        unknown = [sheet for sheet in how.sheets if sheet not in self._kits]
        if unknown:
            raise CourseError(f"{unknown[0]} is no sheet of {module}: choose among {_listed(list(self._kits))}.")
        self.sheets = list(how.sheets) or list(self._kits)
        there = sorted(filter(str.isprintable, self.api.get_submitted_students(module)))  # other folders name nobody
        if not there:
            raise CourseError(
                f"Nobody has handed in {module}: put notebooks into {root}/submitted/<student>/{module}/."
            )
        unknown = [student for student in how.students if student not in there]
        if unknown:
            raise CourseError(f"{unknown[0]} has not handed in {module}: choose among {_listed(there)}.")
        self.students = list(how.students) or there

    def close(self) -> None:
        self.recorder.close()

    @property
    def source(self) -> Path:
        return Path(self.course.format_path(self.course.source_directory, ".", self.module))

    def handed_in(self, student: str) -> HandedIn:
        """Returns what a student handed in."""
        return take_in(
            Path(self.course.root, self.course.submitted_directory),
            self._folder(student),
            {sheet: self._cells[sheet] for sheet in self._kits},
            given=[path.name for path in self._public],
            ignored=self.course.ignore,
            allowed=[pattern for kit in self._kits.values() for pattern in kit.patterns],
        )

    def job(self, handed_in: HandedIn, sheet: str) -> Job:
        """Returns what is to be graded for one sheet."""
        return handed_in.job(self._kits[sheet])

    def submitted(self, student: str) -> datetime | None:
        """Returns when a student handed in, None where nothing says so."""
        return timestamp(Path(self.course.root, self.course.submitted_directory), self._folder(student))[0]

    def beside(self, handed_in: HandedIn) -> dict[str, bytes]:
        """Returns the files that lie beside the graded notebooks: the student's, and on top the release's."""
        return {**handed_in.files, **next(iter(self._kits.values())).public}

    def _folder(self, student: str) -> Path:
        return Path(self.course.format_path(self.course.submitted_directory, student, self.module))

    @cached_property
    def _public(self) -> list[Path]:
        return list(self.source.iterdir())

    def _read_kits(self) -> dict[str, Kit]:
        judged = Judged(parent=self.api)
        books = self.recorder.books()
        self._cells = {book.name: {cell.name for cell in book.source_cells} for book in books}
        unsafe = self.how.unsafe or judged.unsafe
        return {book.name: read_kit(book, self.source / f"{book.name}.ipynb", judged.limits, unsafe) for book in books}


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (" …" if len(names) > SHOWN else "")


def _planned(made: Class, console: Console) -> list[Item]:
    """Returns what is to be done for everybody; nothing of what was handed in is kept in memory."""
    items = []
    with _progress(console) as progress:
        bar = progress.add_task("reading", total=len(made.students), failed="")
        for student in made.students:
            records, handed_in = made.recorder.records(student), made.handed_in(student)
            for sheet in made.sheets:
                job, record = made.job(handed_in, sheet), records.get(sheet)
                state = _state(job, record, made)
                size = len(job.data or b"")
                items.append(Item(student, sheet, job.key, state, record.seconds if record else 0.0, size))
            progress.advance(bar)
    return items


def _state(job: Job, record: Record | None, made: Class) -> str:
    if made.how.regrade:
        return NEW
    seed = made.how.seed
    if record and record.key == job.key and seed in (None, record.seed):
        return UNCHANGED
    kept = job.key in made.results if seed is None else made.results.seed(job.key) == seed
    return KEPT if kept else NEW


class Run:
    """One run: the jobs without a result are done, and every student who is complete is recorded."""

    def __init__(self, made: Class, items: list[Item], console: Console) -> None:
        self._made = made
        self._items = items
        self._console = console
        self._seed = made.how.seed if made.how.seed is not None else judging.fresh_seed()
        self._warm = not (made.how.cold or made.how.unsafe)
        self._left: dict[str, set[str]] = {}  # keys without a result, by student
        self._by_key: dict[str, list[Item]] = {}
        self._by_student: dict[str, list[Item]] = {}
        for item in items:
            self._by_student.setdefault(item.student, []).append(item)
            if item.state == NEW:
                self._by_key.setdefault(item.key, []).append(item)
                self._left.setdefault(item.student, set()).add(item.key)

    def go(self) -> None:
        """Does all of it. Raises CourseError where it cannot go on; what was done is kept."""
        with _progress(self._console) as progress:
            todo = [items for items in self._by_student.values() if any(item.state != UNCHANGED for item in items)]
            bar = progress.add_task("grading", total=sum(map(len, todo)), failed="")

            def done(student: str) -> None:
                failed = sum(bool(item.problem) for item in self._items)
                progress.update(
                    bar, advance=len(self._by_student[student]), failed=f"{failed} failed" if failed else ""
                )

            for items in todo:
                if items[0].student not in self._left:
                    self._record(items[0].student)
                    done(items[0].student)
            for student in self._graded():
                self._record(student)
                done(student)

    def _graded(self) -> Iterator[str]:
        """Runs the jobs, and yields each student whose last result has come."""
        if not self._by_key:
            return
        pool = self._pool()
        try:
            for key, outcome in pools.outcomes(self._orders(), pool):
                self._keep(key, outcome)
                for student in {item.student for item in self._by_key[key]}:
                    self._left[student].discard(key)
                    if not self._left[student]:
                        yield student
        finally:
            pool.close()

    def _pool(self) -> Pool:
        how = self._made.how
        if how.scheduler:
            return Cluster(how.scheduler, *how.tls)
        workers = max(1, min(how.workers, len(self._by_key)))
        self._warm &= len(self._by_key) >= FEW * workers
        pool = Local(workers, self._warm)
        if problem := pool.problem():
            self._warm = False
            self._console.print(f"{problem} {COLD}", style="yellow")
        return pool

    def _orders(self) -> Iterator[tuple[str, Callable[[], bytes]]]:
        """Yields how to make each order, the longest expected first."""
        typical = _typical(self._items)
        chosen = [items[0] for items in self._by_key.values()]
        chosen.sort(key=lambda item: (item.expected or typical.get(item.sheet, 0.0), item.size), reverse=True)
        hidden = secret_places(self._made.course)
        for item in chosen:
            yield item.key, partial(self._order, item, hidden)

    def _order(self, item: Item, hidden: Sequence[Path]) -> bytes:
        job = self._made.job(self._made.handed_in(item.student), item.sheet)
        return worker.order(job, self._seed, hidden, self._warm)

    def _keep(self, key: str, outcome: Outcome) -> None:
        """Keeps a result, or says at every item of the job why there is none."""
        problem = ""
        if isinstance(outcome, Exception):
            problem = str(outcome) or type(outcome).__name__
        else:
            try:
                kept = unpacked(outcome).key == key
            except ValueError:
                problem = "Its result cannot be read: run again."
            else:
                if kept:
                    self._made.results.put(key, outcome)
                else:
                    problem = "It was changed while it was graded: run again."
        for item in self._by_key[key]:
            item.problem = problem

    def _record(self, student: str) -> None:
        items = self._by_student[student]
        results = {}
        for item in items:
            result = None if item.problem else self._made.results.get(item.key)
            if result is None:
                item.problem = item.problem or "Its result cannot be read: run again."
                continue
            item.ended, item.notes = result.ended, result.notes
            item.cold_because = result.cold_because if item.state == NEW else ""
            results[item.sheet] = result
        if results:
            beside = self._made.beside(self._made.handed_in(student))
            whole = len(results) == len(self._made.sheets) and not self._made.how.sheets
            try:
                self._made.recorder.record(student, self._made.submitted(student), results, beside, whole)
            except CourseError as error:
                for item in items:
                    item.problem = item.problem or str(error)


def _typical(items: Iterable[Item]) -> dict[str, float]:
    """Returns by sheet the longest time that it took for anybody so far."""
    longest: dict[str, float] = {}
    for item in items:
        longest[item.sheet] = max(longest.get(item.sheet, 0.0), item.expected)
    return longest


def _tell(module: str, how: How, items: Sequence[Item], seconds: float, console: Console) -> None:
    """Prints what was done, or would be, and for whom something went wrong."""
    counts = {
        state: sum(item.state == state and not item.problem for item in items) for state in (NEW, KEPT, UNCHANGED)
    }
    failed = [item for item in items if item.problem]
    if how.as_json:
        print(json.dumps(_data(module, how, items, seconds), indent=1))
        return
    if how.dry_run:
        for item in items:
            console.print(f"{item.student}: {item.sheet}: {item.state}", highlight=False, soft_wrap=True, markup=False)
    for item in items:
        for text, style in [(item.problem, "red"), *((ended, "yellow") for ended in item.ended)]:
            if text:
                console.print(f"{item.student}: {item.sheet}: {text}", style=style, highlight=False, soft_wrap=True)
    for reason, number in Counter(item.cold_because for item in items if item.cold_because).items():
        console.print(f"{number} notebooks: {reason} {COLD}", style="yellow", highlight=False, soft_wrap=True)
    verb = "would be run" if how.dry_run else "run"
    parts = [f"{counts[NEW]} {verb}", f"{counts[KEPT]} from kept results", f"{counts[UNCHANGED]} unchanged"]
    failures = f", {len(failed)} not graded" if failed else ""
    console.print(f"{module}: {len(items)} notebooks: {', '.join(parts)}{failures}.", highlight=False, soft_wrap=True)


def _data(module: str, how: How, items: Sequence[Item], seconds: float) -> Mapping[str, Any]:
    rows = [
        {
            "student": item.student,
            "sheet": item.sheet,
            "state": "failed" if item.problem else item.state,
            "problem": item.problem,
            "ended": list(item.ended),
            "notes": list(item.notes),
            "key": item.key,
        }
        for item in items
    ]
    return {"format": FORMAT, "module": module, "dry_run": how.dry_run, "seconds": round(seconds, 3), "notebooks": rows}


def _api(root: Path) -> Any:
    from nbgrader.apps import NbGraderAPI
    from traitlets.config.loader import PyFileConfigLoader

    config = PyFileConfigLoader("nbgrader_config.py", path=str(root)).load_config()
    config.CourseDirectory.root = str(root)
    api = NbGraderAPI(config=config)
    api.log.handlers.clear()
    api.log.propagate = False
    api.log.setLevel(logging.INFO)
    return api


class _Rate(ProgressColumn):
    """How many notebooks a minute are graded."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{60 * speed:.0f}/min" if speed else "", style="progress.data.speed")


def _progress(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description:<8}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]}", style="red"),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
