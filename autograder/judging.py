"""What a grader knows of a sheet, read from its source notebook, and how a submission's answers become judgments.

The hidden region of each check cell holds the checks and the solution of its task as text. The reference runs here,
in the grader's process, once for each task and seed; a student's code never does.
"""

import ast
import functools
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat

from autograder import forbidden, source
from autograder.checking import verdict
from autograder.compare import Difference
from autograder.diagnosis import Judgment, Oracle, forbidden_judgment, unable
from autograder.errors import CourseError
from autograder.notebooks import HIDDEN, task_of
from autograder.running import Answers
from autograder.solutions import Reference, oracle
from autograder.tasks import Sheet, Task

SEED_BITS = 63  # of a fresh seed: nobody guesses it, and every database can store it


@dataclass(frozen=True)
class Key:
    """One task as the grader knows it: its declaration, the text of its checks, and its reference solution."""

    sheet: str
    task: Task
    checks: str
    reference: Reference = field(repr=False)

    def cases(self, hidden: bool) -> str:
        """Returns the text that defines the hidden or the visible cases, and nothing else of the checks."""
        names = {case.name for case in self.task.cases if case.hidden == hidden}
        return source.functions(source.statements(self.checks, f"the checks of {self.task.name}"), names)


class Keys:
    """The keys of one sheet by task, with the oracles that their references make for one seed."""

    def __init__(self, keys: Mapping[str, Key], seed: int, files: tuple[str, ...] = ()) -> None:
        self.keys = keys
        self.seed = seed
        self.files = files
        self.sheet = next((key.sheet for key in keys.values()), "")
        self._oracles: dict[str, Oracle] = {}
        self._cases: dict[tuple[str, bool], str] = {}

    def oracle(self, task: str) -> Oracle:
        """Returns the task's oracle; the reference runs the first time."""
        if task not in self._oracles:
            key = self.keys[task]
            self._oracles[task] = oracle(key.task, key.reference, key.sheet, self.seed)
        return self._oracles[task]

    def cases(self, task: str, hidden: bool) -> str:
        """Returns the text that defines the task's hidden or visible cases."""
        if (task, hidden) not in self._cases:
            self._cases[task, hidden] = self.keys[task].cases(hidden)
        return self._cases[task, hidden]

    def judgment(self, task: str, answers: Answers, problem: str, code: list[str]) -> Judgment:
        """Returns the judgment of a task that was asked.

        `problem` says what its objects lack, "" where nothing is; `code` are the code cells before its check.
        """
        known, declared = self.oracle(task), self.keys[task].task
        if problem:
            return unable(known, Difference("missing", "", problem))
        hits = forbidden.in_source(declared.forbids, code, declared.objects)
        if hits:
            return forbidden_judgment(known, hits)
        return verdict(known, answers)

    def not_asked(self, task: str, reason: str) -> Judgment:
        """Returns the judgment of a task whose check the notebook never reached."""
        return unable(self.oracle(task), Difference("not asked", "", f"This task could not be checked. {reason}"))


def fresh_seed() -> int:
    """Returns a seed that nobody can foresee."""
    return secrets.randbits(SEED_BITS)


def read_keys(path: Path, seed: int) -> Keys:
    """Returns the keys in a source notebook. Raises CourseError where the notebook holds none, or broken ones."""
    return keys_in(path.read_text(encoding="utf-8"), str(path), seed)


@functools.lru_cache(maxsize=16)
def keys_in(source: str, name: str, seed: int) -> Keys:
    """Returns the keys in the text of a source notebook, which is called `name`. Raises CourseError as `read_keys`."""
    notebook = nbformat.reads(source, as_version=4)
    found = {}
    for cell in notebook.cells:
        if HIDDEN[0] in cell.source:
            key = _key(name, cell.source, task_of(cell.metadata.nbgrader.grade_id))
            found[key.task.name] = key
    files = notebook.metadata.get("autograder", {}).get("files", ())
    return Keys(found, seed, tuple(files))


def _key(path: str, text: str, task: str) -> Key:
    said = _arguments(text)
    if not {"checks", "given", "solution"} <= set(said):
        raise CourseError(f"{path}: the hidden tests of {task} are not this grader's: run make build.")
    namespace: dict[str, Any] = {"__name__": "checks"}
    exec(compile(said["checks"], f"<checks of {task}>", "exec"), namespace)
    sheet = next((value for value in namespace.values() if isinstance(value, Sheet)), None)
    if sheet is None or task not in sheet.tasks:
        raise CourseError(f"{path}: the hidden tests of {task} hold no checks for it: run make build.")
    return Key(sheet.name, sheet.tasks[task], said["checks"], Reference(said["given"], said["solution"]))


def _arguments(text: str) -> dict[str, str]:
    """Returns the texts that the call in a hidden region is given."""
    try:
        calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call) and node.keywords]
    except SyntaxError:
        return {}
    return {
        keyword.arg: keyword.value.value
        for call in calls[:1]
        for keyword in call.keywords
        if keyword.arg and isinstance(keyword.value, ast.Constant) and isinstance(keyword.value.value, str)
    }
