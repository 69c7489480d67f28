"""Grading inside the student's own kernel, as nbgrader does it without any configuration of ours.

The hidden region of a check cell calls `grader` with the task's checks and solution as text, and so replaces the
student's `check` by one whose result is the number of points. It is correct for honest work and protects nothing:
the student's code shares the kernel with the solution.
"""

import sys
from collections.abc import Callable

from autograder.checking import examine
from autograder.errors import CourseError
from autograder.report import Report
from autograder.solutions import Reference, oracle
from autograder.tasks import Sheet

SEED = 1  # differs from the visible draws, so that their answers cannot be handed in


def grader(*, checks: str, given: str, solution: str, seed: int = SEED) -> Callable[[str], Report]:
    """Returns a function of a task's name that grades the caller's global names and returns the report."""
    namespace: dict[str, object] = {"__name__": "checks"}
    exec(compile(checks, "<checks>", "exec"), namespace)
    sheet = next((value for value in namespace.values() if isinstance(value, Sheet)), None)

    def grade(name: str) -> Report:
        if sheet is None or name not in sheet.tasks:
            raise CourseError(f"This cell holds no checks for {name}: build the sheet again.")
        task = sheet.tasks[name]
        reference = Reference(given, solution)
        truth = oracle(task, reference, sheet.name, seed)
        return Report(examine(task, truth, sys._getframe(1).f_globals, sheet.name, seed), graded=True)

    return grade
