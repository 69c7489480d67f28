"""The student's side: `check = open_checks("backprop")`, then `check("affine_backward")`."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autograder.bundle import SEED, Bundle, file_name
from autograder.checking import examine
from autograder.errors import CourseError
from autograder.report import Report


class CheckFailed(AssertionError):
    """A property does not hold; the message says which, what was expected, what came, and gives a hint."""

    def _render_traceback_(self) -> list[str]:
        """Returns what IPython prints in place of a traceback: the message, and no frames of this package."""
        return str(self).splitlines()


class CheckImpossible(CourseError):
    """The check itself could not run; the sentence says what to do."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


class Checker:
    """Checks the tasks of one sheet in the notebook that calls it, on the visible cases of the release."""

    def __init__(self, sheet: str, folder: Path) -> None:
        self._path = folder / file_name(sheet)
        self._bundle: Bundle | None = None

    def __call__(self, task: str) -> None:
        """Shows which properties of `task` hold; raises CheckFailed at the first that does not."""
        try:
            report = self.report(task, sys._getframe(1).f_globals)
        except CourseError as error:
            raise CheckImpossible(str(error)) from None
        _display(report)
        if message := report.message():
            raise CheckFailed(message)

    def report(self, task: str, namespace: Mapping[str, Any]) -> Report:
        """Returns the report on `task` for the objects in `namespace`, without showing it."""
        bundle = self._bundle or Bundle.read(self._path)
        self._bundle = bundle
        try:
            asked, oracle, hidden = bundle.task(task), bundle.oracle(task), bundle.hidden_cases(task)
        except (ArithmeticError, AttributeError, LookupError, NameError, SyntaxError, TypeError, ValueError) as error:
            raise CourseError(f"{self._path.name} is damaged: copy it again from the release.") from error
        return Report(examine(asked, oracle, namespace, bundle.sheet, SEED), hidden_cases=hidden)


def open_checks(sheet: str, folder: str | Path = ".") -> Checker:
    """Returns the checker of `sheet`, whose bundle stands in `folder`, by default beside the notebook.

    Example: check = open_checks("backprop")
    """
    return Checker(sheet, Path(folder).absolute())


def _display(report: Report) -> None:
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:  # a plain Python session
        print(report.listing())
        return
    if get_ipython() is None:
        print(report.listing())
    else:
        display({"text/plain": report.listing(), "text/html": report.listing_html()}, raw=True)
