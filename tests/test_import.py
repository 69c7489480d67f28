"""What an import costs: a notebook's first cell waits for it."""

import json
import subprocess
import sys

import pytest

HEAVY = [
    "IPython",
    "jupytext",
    "matplotlib",
    "nbconvert",
    "nbformat",
    "nbgrader",
    "pandas",
    "pooch",
    "rich",
    "scipy",
    "sklearn",
    "torch",
]


def loaded(code: str) -> set[str]:
    """Returns the names of the modules that a fresh interpreter has loaded after `code`."""
    program = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    return set(json.loads(done.stdout))


def test_importing_the_package_loads_nothing_else_of_weight() -> None:
    modules = loaded("import autograder")
    assert {name for name in modules if name.startswith("autograder")} == {"autograder"}
    assert modules.isdisjoint([*HEAVY, "numpy"])


@pytest.mark.parametrize(
    "code",
    [
        "from autograder import open_checks; open_checks('sheet')",
        "from autograder import Sheet; Sheet('sheet').task('a', points=1)",
        "from autograder import raised; assert raised(int, 'x') == 'ValueError'",
        "from autograder.plain import plain; plain([1, object()])",
    ],
    ids=["open_checks", "Sheet", "raised", "plain"],
)
def test_checks_need_numpy_but_not_torch(code: str) -> None:
    modules = loaded(code)
    assert "numpy" in modules
    assert modules.isdisjoint(HEAVY)


def test_every_public_name_can_be_imported_and_others_are_refused() -> None:
    import autograder

    for name in autograder.__all__:
        assert getattr(autograder, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        autograder.absent  # noqa: B018
    with pytest.raises(ImportError):
        from autograder import absent  # noqa: F401
