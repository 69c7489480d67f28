"""Solutions that can be run: the reference, its variants and its misconceptions, and the oracle that they make."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from autograder.compare import describe
from autograder.diagnosis import Known, Oracle, Property, unchanged_property
from autograder.errors import CourseError
from autograder.plain import Raised, Timeout
from autograder.running import ask, sensitivity, values
from autograder.tasks import Case, Solution, Task


@dataclass
class Reference:
    """The right solution of one task: the text of its cell, and the text that has to run before it."""

    given: str
    solution: str
    _ready: dict[str, Any] | None = field(default=None, repr=False)

    def objects(self, task: Task, other: Solution | None = None) -> dict[str, Any]:
        """Returns the task's objects by name: the reference's, or those of another solution."""
        text = self.edited(task, other)
        namespace = dict(self._before())
        exec(compile(text, f"<solution of {task.name}>", "exec"), namespace)
        if other and other.edit is None:
            namespace[other.replaces] = other.replacement
        missing = [name for name in task.objects if name not in namespace]
        if missing:
            raise CourseError(f"{task.name}: its solution cell does not define {', '.join(missing)}.")
        return {name: namespace[name] for name in task.objects}

    def edited(self, task: Task, other: Solution | None) -> str:
        """Returns the text of the solution cell, with the edit of `other` if it has one."""
        if other is None or other.edit is None:
            return self.solution
        count = self.solution.count(other.edit.old)
        if count != 1:
            raise CourseError(
                f"{task.name}: {other.name} edits the text “{other.edit.old}”, "
                f"which stands {count} times in the solution; it must stand there once."
            )
        return self.solution.replace(other.edit.old, other.edit.new)

    def _before(self) -> dict[str, Any]:
        if self._ready is None:
            self._ready = {"__name__": "reference"}
            exec(compile(self.given, "<given code>", "exec"), self._ready)
        return self._ready


def oracle(task: Task, reference: Reference, sheet: str, seed: int, cases: Iterable[Case] | None = None) -> Oracle:
    """Returns the oracle that the running reference makes for `cases` (all of the task by default)."""
    chosen = list(task.cases if cases is None else cases)
    right = reference.objects(task)
    answers = ask(task, chosen, right, sheet, seed)
    expected = values(answers)
    for case in chosen:
        stopped = next((a for a in expected[case.name] if isinstance(a, Raised | Timeout)), None)
        if stopped:
            raise CourseError(f"{task.name}: in the case {case.name} the reference gives {describe(stopped)}.")
    properties = [
        Property(
            case.name,
            case.title,
            case.hidden,
            case.weight,
            expected[case.name],
            sensitivity(case, right, sheet, task.name, seed) if case.tolerance is None else [],
            case.tolerance,
        )
        for case in chosen
    ]
    if not task.may_change_inputs:
        properties.append(unchanged_property())

    @cache
    def misconceptions() -> list[Known]:
        return [
            Known(m.name, m.text, values(ask(task, chosen, reference.objects(task, m), sheet, seed)))
            for m in task.misconceptions
        ]

    arguments = frozenset(name for draws in answers.values() for answer in draws for name in answer.arguments)
    return Oracle(task.name, task.points, properties, misconceptions, arguments, task.forbids)
