"""Grading a class from the command line: nbgrader's own steps with the course's configuration, and a progress bar."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from autograder import judging, sandbox
from autograder.errors import CourseError


@dataclass(frozen=True)
class How:
    """How to grade: again what is graded, with the seed of an earlier grading (None: a fresh one), without walls."""

    regrade: bool = False
    seed: int | None = None
    unsafe: bool = False


def grade(root: Path, module: str, students: list[str], how: How) -> int:
    """Grades a module's submissions and says for whom it failed. Returns the exit status.

    Raises CourseError where nothing can be graded: no sandbox, no such module, no such student.
    """
    refusal = None if how.unsafe else sandbox.refusal()
    if refusal:
        raise CourseError(refusal)
    api = _api(root, how)
    chosen = _students(api, root, module, students)
    console = Console(stderr=True)
    failed = {}
    with _progress(console) as progress:
        bar = progress.add_task("", total=len(chosen), failed="")
        for student in chosen:
            progress.update(bar, description=student)
            done = api.autograde(module, student, force=how.regrade)
            if not done["success"]:
                failed[student] = _reason(done)
            progress.update(bar, advance=1, failed=f"{len(failed)} failed" if failed else "")
    for student, reason in failed.items():
        console.print(f"{student}: {reason}", style="red", highlight=False, soft_wrap=True)
    console.print(f"{len(chosen) - len(failed)} of {len(chosen)} submissions of {module} are graded.", highlight=False)
    return 1 if failed else 0


def _api(root: Path, how: How) -> Any:
    from nbgrader.apps import NbGraderAPI
    from traitlets.config.loader import PyFileConfigLoader

    config = PyFileConfigLoader("nbgrader_config.py", path=str(root)).load_config()
    config.CourseDirectory.root = str(root)
    config.Judged.seed = how.seed if how.seed is not None else judging.fresh_seed()
    config.Judged.unsafe = how.unsafe
    api = NbGraderAPI(config=config)
    api.log.handlers.clear()
    api.log.propagate = False
    api.log.setLevel(logging.INFO)
    return api


def _students(api: Any, root: Path, module: str, wanted: list[str]) -> list[str]:
    there = sorted(api.get_submitted_students(module))
    if not there:
        raise CourseError(f"Nobody has handed in {module}: put notebooks into {root}/submitted/<student>/{module}/.")
    unknown = [student for student in wanted if student not in there]
    if unknown:
        raise CourseError(f"{unknown[0]} has not handed in {module}: choose among {', '.join(there[:10])}.")
    return wanted or there


def _reason(done: dict[str, Any]) -> str:
    """Returns in one line why nbgrader could not grade a submission."""
    lines = [line for line in str(done.get("error") or done.get("log") or "").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "nbgrader did not say why"


def _progress(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]}", style="red"),
    )
    return Progress(*columns, console=console, transient=True)
