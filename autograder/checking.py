"""Checking a student's objects: what `check("softmax")` and a graded cell have in common."""

import difflib
from collections.abc import Mapping
from typing import Any

from autograder import forbidden
from autograder.compare import Difference
from autograder.diagnosis import Judgment, Oracle, forbidden_judgment, judge, unable
from autograder.plain import Raised, type_name
from autograder.running import Answers, ask
from autograder.tasks import Task


def examine(task: Task, oracle: Oracle, namespace: Mapping[str, Any], sheet: str, seed: int) -> Judgment:
    """Returns the judgment of the objects of `task` in `namespace`, a student's global names."""
    if problem := missing(task, namespace):
        return unable(oracle, problem)
    if hits := forbidden.in_source(task.forbids, _cells(namespace), task.objects):
        return forbidden_judgment(oracle, hits)
    asked = {p.name for p in oracle.properties}
    cases = [case for case in task.cases if case.name in asked]
    return verdict(oracle, ask(task, cases, {name: namespace[name] for name in task.objects}, sheet, seed))


def verdict(oracle: Oracle, answers: Answers) -> Judgment:
    """Returns the judgment of all answers to a task; one that was not begun is not called wrong."""
    flat = [answer.value for draws in answers.values() for answer in draws]
    if flat and all(isinstance(value, Raised) and value.name == "NotImplementedError" for value in flat):
        return unable(oracle, Difference("not written", "", "This task is not solved yet."))
    return judge(oracle, answers)


def _cells(namespace: Mapping[str, Any]) -> list[str]:
    """Returns the cells that IPython ran so far, in their order; none elsewhere."""
    history = namespace.get("In")
    return [cell for cell in history if type(cell) is str] if isinstance(history, list) else []


def missing(task: Task, namespace: Mapping[str, Any]) -> Difference | None:
    """Returns what the objects of `task` lack in `namespace`, or None where all can be asked."""
    for name in task.objects:
        if name not in namespace:
            names = [n for n, value in namespace.items() if callable(value) and not n.startswith("_")]
            near = difflib.get_close_matches(name, names, n=1)
            similar = f" It has `{near[0]}`: a misspelling?" if near else ""
            return Difference("missing", "", f"The notebook has no `{name}`.{similar}")
        if not callable(namespace[name]):
            kind = type_name(namespace[name])
            return Difference("missing", "", f"`{name}` is an object of type {kind}, not something to call.")
    return None
