"""What several test files share: the small course, built once and copied for each test that spoils it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from autograder import sandbox
from autograder.cli import main
from autograder.course import Course, SheetPlace
from tests.mini import write_course

LONGEST = (
    "test_attacks.py",
    "test_grading.py",
    "test_killed.py",
    "test_oddities.py",
    "test_warm.py",
    "test_cluster.py",
    "test_class.py",
    "test_fairness.py",
    "test_postgres.py",
    "test_browser.py",
    "test_browser_pages.py",
    "test_graded.py",
    "test_session.py",
    "test_sandbox.py",
)
Plant = Callable[[str, str, str], int]
needs_sandbox = pytest.mark.skipif(bool(sandbox.problem()), reason=f"no sandbox here: {sandbox.problem()}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the files that take longest, so that no worker is left with one of them at the end."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def built_course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the small course, built; tests copy it and leave it as it is."""
    root = write_course(tmp_path_factory.mktemp("built") / "course")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert main(["build"]) == 0
    return root


@pytest.fixture
def course(built_course: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns a built copy of the small course, in which the test may do what it likes; it is the working folder."""
    root = tmp_path / "course"
    shutil.copytree(built_course, root)
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def place(course: Path) -> SheetPlace:
    """Returns the place of the one sheet of the small course."""
    return Course(course).sheets[0]


@pytest.fixture
def plant(place: SheetPlace) -> Plant:
    """Returns a function that replaces a text, which must stand there once, and returns the line where it stood."""
    files = {"sheet": place.text, "checks": place.checks, "module": place.text.parents[1] / "module.toml"}

    def replace(file: str, old: str, new: str) -> int:
        text = files[file].read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in the {file}"
        files[file].write_text(text.replace(old, new), encoding="utf-8")
        return text[: text.index(old)].count("\n") + 1

    return replace


def tree(root: Path) -> dict[str, bytes | None]:
    """Returns every file below `root` with its bytes, and every folder."""
    return {str(p.relative_to(root)): p.read_bytes() if p.is_file() else None for p in sorted(root.rglob("*"))}
