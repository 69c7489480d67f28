"""The public bundle of a sheet: what a student's notebook needs to check itself, and nothing more.

It holds the source of the visible cases, the reference's answers to them, and the answers and sentences of the
misconceptions that they can show. No solution, no hidden case, no wrong solution's code.
"""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from autograder.compare import Tolerance
from autograder.diagnosis import Known, Oracle, Property, unchanged_property
from autograder.errors import CourseError
from autograder.plain import from_json, leaves, numbers, to_json
from autograder.solutions import Reference, oracle
from autograder.tasks import UNCHANGED, Case, Sheet, Task

FORMAT = 2
SEED = 0  # of the visible draws; hidden ones come from others
DIGITS = 3  # of a sensitivity: it only scales a tolerance


def file_name(sheet: str) -> str:
    """Returns the name of the bundle's file, which stands beside the notebook."""
    return f"{sheet}.checks.json"


def make(sheet: Sheet, references: dict[str, Reference], code: str, about: dict[str, Any]) -> str:
    """Returns the text of the bundle; `code` is the source of the visible cases, `about` says what it is built from."""
    tasks = {name: _task_data(task, references[name], sheet.name) for name, task in sheet.tasks.items()}
    data = {"format": FORMAT, "sheet": sheet.name, **about, "code": code.splitlines(), "tasks": tasks}
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


class Bundle:
    """A bundle read back: tasks with their visible cases, and an oracle for each."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.sheet: str = data["sheet"]
        self._tasks: dict[str, Any] = data["tasks"]
        self._code = "\n".join(data["code"])

    @classmethod
    def read(cls, path: Path) -> "Bundle":
        """Returns the bundle in the file. Raises CourseError where it is missing or damaged."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data["format"] != FORMAT:
                raise CourseError(f"{path.name} was made for another version of autograder: update one of the two.")
            return cls(data)
        except FileNotFoundError as error:
            raise CourseError(
                f"{path.name} is not beside the notebook: copy it there again from the release."
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise CourseError(f"{path.name} is damaged: copy it again from the release.") from error

    def task(self, name: str) -> Task:
        """Returns the task with its visible cases. Raises CourseError for an unknown name."""
        if name not in self._tasks:
            known = ", ".join(self._tasks)
            raise CourseError(f"The sheet {self.sheet} has no task {name!r}; its tasks are {known}.")
        data = self._tasks[name]
        task = Task(name, data["points"], tuple(data["objects"]), forbids=tuple(data["forbids"]))
        task.cases = [_case(case, self._functions) for case in data["cases"]]
        return task

    def oracle(self, name: str) -> Oracle:
        """Returns what the release knows of the answers."""
        data = self._tasks[name]
        properties = [_property(case) for case in data["cases"]]
        if data["inputs_unchanged"]:
            properties.append(unchanged_property())
        known = [
            Known(
                m["name"], m["sentences"], {case: [from_json(a) for a in drawn] for case, drawn in m["answers"].items()}
            )
            for m in data["misconceptions"]
        ]
        told = frozenset(data["arguments"]), tuple(data["forbids"])
        return Oracle(name, data["points"], properties, lambda: known, *told)

    def hidden_cases(self, name: str) -> int:
        """Returns how many cases the task has that are not in the bundle."""
        return int(self._tasks[name]["hidden_cases"])

    @functools.cached_property
    def _functions(self) -> dict[str, Callable[..., Any]]:
        namespace: dict[str, Any] = {"__name__": f"{self.sheet}_cases"}
        exec(compile(self._code, f"<visible cases of {self.sheet}>", "exec"), namespace)
        return namespace


def _task_data(task: Task, reference: Reference, sheet: str) -> dict[str, Any]:
    visible = [case for case in task.cases if not case.hidden]
    known = oracle(task, reference, sheet, SEED, visible)
    properties = [p for p in known.properties if p.name != UNCHANGED]
    return {
        "points": task.points,
        "objects": list(task.objects),
        "hidden_cases": len(task.cases) - len(visible),
        "inputs_unchanged": not task.may_change_inputs,
        "forbids": list(task.forbids),
        "arguments": sorted(known.arguments),
        "cases": [_case_data(case, item) for case, item in zip(visible, properties, strict=True)],
        "misconceptions": [m for known_one in known.misconceptions() if (m := _known_data(known_one, known))],
    }


def _case_data(case: Case, item: Property) -> dict[str, Any]:
    bound = case.tolerance
    return {
        "name": case.name,
        "title": case.title,
        "weight": case.weight,
        "limit": case.limit,
        "tolerance": [bound.rtol, bound.atol, bound.because] if bound else None,
        "expected": [to_json(answer) for answer in item.expected],
        "sensitivity": [{path: _rounded(moved) for path, moved in draw.items()} for draw in item.sensitivity],
    }


def _known_data(known: Known, truth: Oracle) -> dict[str, Any] | None:
    """Returns the misconception with its answers where they differ from the reference's; None where they never do."""
    answers = {
        item.name: [to_json(answer) for answer in known.answers[item.name]]
        for item in truth.properties
        if item.difference(item.expected, known.answers[item.name])
    }
    return {"name": known.name, "sentences": known.sentences, "answers": answers} if answers else None


def _rounded(moved: Any) -> str:
    return " ".join(f"{x:.{DIGITS}g}" for x in np.ravel(moved))


def _case(data: dict[str, Any], functions: dict[str, Callable[..., Any]]) -> Case:
    return Case(
        data["name"],
        data["title"],
        functions[data["name"]],
        weight=data["weight"],
        draws=len(data["expected"]),
        limit=data["limit"],
    )


def _property(data: dict[str, Any]) -> Property:
    expected = [from_json(answer) for answer in data["expected"]]
    bound = Tolerance(*data["tolerance"]) if data["tolerance"] else None
    return Property(data["name"], data["title"], False, data["weight"], expected, _sensitivity(data, expected), bound)


def _sensitivity(data: dict[str, Any], expected: list[Any]) -> list[dict[str, Any]]:
    """Returns the stored sensitivities in the shapes of the answers that they belong to."""
    result = []
    for draw, answer in zip(data["sensitivity"], expected, strict=False):
        known = {path: values for path, leaf in leaves(answer) if (values := numbers(leaf)) is not None}
        moved = {path: [float(word) for word in text.split()] for path, text in draw.items()}
        result.append({path: np.reshape(moved[path], known[path].shape) for path in moved})
    return result
