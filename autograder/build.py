"""Building: authored text → `source/` → nbgrader → `release/`, and lectures → executed notebooks.

A sheet is rebuilt when the digest of what it is built from (its text, its checks, the code of this package) differs
from the one in the built notebook. All files of a sheet appear together, or none does.
"""

import hashlib
import itertools
import json
import logging
import math
import operator
import re
import tempfile
from pathlib import Path
from typing import Any

from autograder import bundle, laws
from autograder.course import Course, SheetPlace
from autograder.errors import CourseError
from autograder.files import saying_where, write_all
from autograder.notebooks import source_notebook
from autograder.sheets import SheetText, load_checks, read_sheet, visible_code
from autograder.tasks import Sheet

PACKAGE = Path(__file__).parent
MADE_BY = (
    "bundle",
    "compare",
    "diagnosis",
    "notebooks",
    "plain",
    "running",
    "sheets",
    "solutions",
    "source",
    "tasks",
    "build",
)

NUMBER = re.compile(r"(?<![\w.])-?\d+\.?\d*(?:e[-+]?\d+)?(?!\w)")


def digest(place: SheetPlace) -> str:
    """Returns the digest of everything that the built sheet depends on."""
    total = hashlib.sha256()
    for path in (place.text, place.checks, *(PACKAGE / f"{name}.py" for name in MADE_BY)):
        with saying_where(path):
            total.update(path.read_bytes() if path.is_file() else b"")
    total.update(f"{place.module}/{place.notebook_name}".encode())
    return total.hexdigest()


def is_fresh(place: SheetPlace) -> bool:
    """Returns whether all built files of the sheet exist and were built from what is there now."""
    wanted = digest(place)
    return all(_built_from(path) == wanted for tree in ("source", "release") for path in place.built(tree))


def sheet_files(place: SheetPlace) -> dict[Path, str]:
    """Returns all built files of the sheet by path, without writing any. Raises CourseError where a law is broken."""
    text, sheet = read_sheet(place.text), load_checks(place.checks)
    problems = laws.structure(place, text, sheet)
    if problems:
        raise CourseError("\n".join(str(problem) for problem in problems))
    mark = digest(place)
    notebook = source_notebook(place, text, sheet, mark)
    public = _bundle(place, text, sheet, mark)
    released = release_notebook(place, notebook)
    paths = [*place.built("source"), *place.built("release")]
    return dict(zip(paths, [notebook, public, released, public], strict=True))


def build_sheet(place: SheetPlace) -> None:
    """Writes the sheet's built files and removes those of an earlier name."""
    files = sheet_files(place)
    write_all(files)
    for path in files:
        for old in path.parent.glob(f"[0-9][0-9]_{place.name}.ipynb"):
            if old not in files:
                old.unlink()


def release_notebook(place: SheetPlace, notebook: str) -> str:
    """Returns the student's version that nbgrader makes of a source notebook, without touching a gradebook."""
    from nbgrader.converters import GenerateAssignment
    from nbgrader.coursedir import CourseDirectory
    from nbgrader.preprocessors import SaveCells
    from traitlets.config import Config

    with tempfile.TemporaryDirectory() as name, saying_where(Path(name)):
        root = Path(name)
        folder = root / "source" / place.module
        folder.mkdir(parents=True)
        (folder / f"{place.notebook_name}.ipynb").write_text(notebook, encoding="utf-8")
        config = Config()
        config.CourseDirectory.root = str(root)
        config.CourseDirectory.assignment_id = place.module
        config.GenerateAssignment.no_database = True
        steps = [step for step in GenerateAssignment.preprocessors.default_args[0] if step is not SaveCells]
        config.GenerateAssignment.preprocessors = steps
        converter = GenerateAssignment(coursedir=CourseDirectory(config=config), config=config)
        with _Errors() as errors:
            converter.log = errors.logger
            try:
                converter.start()
            except Exception as error:
                raise CourseError(f"{place.text}: nbgrader could not make the release: {errors.last(error)}") from error
        return (root / "release" / place.module / f"{place.notebook_name}.ipynb").read_text(encoding="utf-8")


def stale(course: Course) -> list[SheetPlace]:
    """Returns the sheets whose built files are not what their text builds."""
    return [place for place in course.sheets if not is_fresh(place)]


def differing(place: SheetPlace) -> list[tuple[Path, int]]:
    """Returns the built files, with the first line that differs, whose content is not what their text builds now.

    Notebooks are compared byte for byte. In a bundle, numbers may differ as far as another processor rounds.
    """
    found = []
    for path, wanted in sheet_files(place).items():
        there = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        pairs = itertools.zip_longest(there.splitlines(keepends=True), wanted.splitlines(keepends=True), fillvalue="")
        same = _same_numbers if path.suffix == ".json" else operator.eq
        line = next((number for number, (a, b) in enumerate(pairs, 1) if a != b and not same(a, b)), None)
        if line is not None:
            found.append((path, line))
    return found


def leftovers(course: Course) -> list[Path]:
    """Returns files below source/ and release/ that nothing builds any more."""
    made = {path for place in course.sheets for tree in ("source", "release") for path in place.built(tree)}
    found = [path for tree in ("source", "release") for path in (course.root / tree).rglob("*") if path.is_file()]
    return sorted(path for path in found if path not in made and ".ipynb_checkpoints" not in path.parts)


def _bundle(place: SheetPlace, text: SheetText, sheet: Sheet, mark: str) -> str:
    references = {name: text.reference(name) for name in sheet.tasks}
    about = {"built_from": place.checks.relative_to(place.root).as_posix(), "digest": mark}
    return bundle.make(sheet, references, visible_code(place.checks, sheet), about)


def _same_numbers(there: str, wanted: str) -> bool:
    """Returns whether two lines of a bundle are the same text around numbers that are close."""
    if NUMBER.sub("", there) != NUMBER.sub("", wanted):
        return False
    pairs = zip(NUMBER.findall(there), NUMBER.findall(wanted), strict=True)
    return all(a == b or math.isclose(float(a), float(b), rel_tol=1e-3, abs_tol=1e-6) for a, b in pairs)


def _built_from(path: Path) -> str | None:
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return data["digest"] if "digest" in data else data["metadata"]["autograder"]["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


class _Errors:
    """Collects what nbgrader logs, so that its reason can be said in one sentence."""

    def __init__(self) -> None:
        self.logger = logging.Logger("nbgrader")
        self._records: list[str] = []
        handler = logging.Handler(logging.ERROR)
        handler.emit = lambda record: self._records.append(record.getMessage())  # type: ignore[method-assign]
        self.logger.addHandler(handler)

    def __enter__(self) -> "_Errors":
        return self

    def __exit__(self, *_: object) -> None:
        self._records.clear()

    def last(self, error: Exception) -> str:
        lines = [line for record in self._records for line in record.splitlines() if "Error" in line]
        return (lines[0] if lines else str(error)).strip()
