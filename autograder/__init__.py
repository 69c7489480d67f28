"""Checks, builds and grades the sheets of a course; it knows nothing about any one exercise.

Students use `open_checks`; checks files use `Sheet` and `raised`. The modules behind them are imported when a name
is first used, so that `import autograder` costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autograder.plain import raised
    from autograder.student import CheckFailed, open_checks
    from autograder.tasks import Sheet

_HOMES = {
    "CheckFailed": "autograder.student",
    "Sheet": "autograder.tasks",
    "open_checks": "autograder.student",
    "raised": "autograder.plain",
}

__all__ = ["CheckFailed", "Sheet", "open_checks", "raised"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'autograder' has no attribute {name!r}")
