"""The one writer of grades: results become nbgrader's grades, comments and autograded notebooks.

What a grade is, nbgrader's own steps say. That a submission was recorded, from which job and as which files, is kept
beside the results, so that the next run leaves alone what did not change:

    .autograder/recorded/<module>/<student>.json
"""

import contextlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import nbformat
from nbformat.notebooknode import NotebookNode
from nbgrader.api import (
    Assignment,
    Grade,
    Gradebook,
    InvalidEntry,
    MissingEntry,
    SubmittedAssignment,
    SubmittedNotebook,
)
from nbgrader.apps import NbGraderAPI
from nbgrader.converters import Autograde
from nbgrader.preprocessors import AssignLatePenalties, SaveAutoGrades

from autograder import files
from autograder.errors import CourseError
from autograder.graded import notebook_of
from autograder.nbgrader_steps import Finished, WithoutHiddenTests
from autograder.results import FOLDER, Result


@dataclass(frozen=True)
class Record:
    """One recorded notebook: its job's key, the seed, its file's size and time, the seconds that grading it took."""

    key: str
    seed: int
    size: int
    changed: int
    seconds: float


class Recorder:
    """Records results of one module in the gradebook and in `autograded/`."""

    def __init__(self, api: NbGraderAPI, module: str) -> None:
        self._module = module
        self._course = api.coursedir
        self._gradebook = Gradebook(self._course.db_url, self._course.course_id)
        self._converter = Autograde(coursedir=self._course, parent=api)
        self._saver = SaveAutoGrades(parent=api)
        self._late = AssignLatePenalties(parent=api)
        self._records = Path(self._course.root, FOLDER, "recorded", module)
        self._graded = self._students_with_grades()

    def close(self) -> None:
        self._gradebook.close()

    def books(self) -> list[Any]:
        """Returns nbgrader's notebooks of the module. Raises CourseError where it was not released."""
        try:
            books = self._gradebook.find_assignment(self._module).notebooks
            return sorted(books, key=lambda book: str(book.name))
        except MissingEntry as error:
            raise CourseError(
                f"The gradebook has no module {self._module}: run nbgrader generate_assignment {self._module}."
            ) from error

    def records(self, student: str) -> dict[str, Record]:
        """Returns by sheet what is recorded of a student and still lies there as it was written."""
        if student not in self._graded:
            return {}
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            said = json.loads((self._records / f"{student}.json").read_bytes())
            found = {sheet: Record(**record) for sheet, record in said.items()}
            return {sheet: record for sheet, record in found.items() if self._is_there(student, sheet, record)}
        return {}

    def record(
        self,
        student: str,
        submitted: datetime | None,
        results: Mapping[str, Result],
        beside: Mapping[str, bytes],
        whole: bool,
    ) -> None:
        """Records the results of a student by sheet, and the files beside; `whole` says that there are no others.

        Raises CourseError where the database or the disk does not take them.
        """
        folder = Path(self._course.format_path(self._course.autograded_directory, student, self._module))
        try:
            self._gradebook.update_or_create_student(student)
        except InvalidEntry as error:
            raise CourseError(f"The gradebook does not take this name ({str(error).splitlines()[0]}).") from error
        when = {} if submitted is None else {"timestamp": submitted}
        submission = self._gradebook.update_or_create_submission(self._module, student, **when)
        contents: dict[Path, str | bytes] = {folder / name: content for name, content in beside.items()}
        for sheet, result in results.items():
            contents[folder / f"{sheet}.ipynb"] = self._saved(student, submission, sheet, result)
        files.write_all(contents)
        if whole:
            _remove_others(folder, contents)
        self._converter.set_permissions(self._module, student)
        self._graded.add(student)
        self._remember(student, results, folder)

    def _saved(self, student: str, submission: SubmittedAssignment, sheet: str, result: Result) -> str:
        """Saves the grades of one notebook; returns the text of its file."""
        nb = notebook_of(result)
        about = {"student": student, "assignment": self._module, "notebook": sheet, "db_url": self._course.db_url}
        resources = {"nbgrader": about}
        self._save_grades(nb, student, sheet, resources)
        if submission.total_seconds_late > 0 or any(book.late_submission_penalty for book in submission.notebooks):
            self._late.preprocess(nb, resources)
        nb, resources = WithoutHiddenTests().preprocess(nb, resources)
        nb, resources = Finished().preprocess(nb, resources)
        return str(nbformat.v4.writes(nb)) + "\n"

    def _save_grades(self, nb: NotebookNode, student: str, sheet: str, resources: dict[str, Any]) -> None:
        """Has nbgrader save the grades and comments, in the one gradebook that is open."""
        saver = self._saver
        saver.gradebook = self._gradebook
        saver.student_id, saver.assignment_id, saver.notebook_id = student, self._module, sheet
        for index, cell in enumerate(nb.cells):
            saver.preprocess_cell(cell, resources, index)

    def _remember(self, student: str, results: Mapping[str, Result], folder: Path) -> None:
        kept = self.records(student)
        for sheet, result in results.items():
            about = (folder / f"{sheet}.ipynb").stat()
            kept[sheet] = Record(result.key, result.seed, about.st_size, about.st_mtime_ns, result.seconds)
        said = {sheet: asdict(record) for sheet, record in kept.items()}
        files.write(self._records / f"{student}.json", json.dumps(said))

    def _is_there(self, student: str, sheet: str, record: Record) -> bool:
        folder = self._course.format_path(self._course.autograded_directory, student, self._module)
        try:
            about = Path(folder, f"{sheet}.ipynb").stat()
        except OSError:
            return False
        return (about.st_size, about.st_mtime_ns) == (record.size, record.changed)

    def _students_with_grades(self) -> set[str]:
        """Returns who has grades of the module in the gradebook: it may be another one than last time."""
        query = (
            self._gradebook.db.query(SubmittedAssignment.student_id)
            .join(SubmittedNotebook, SubmittedNotebook.assignment_id == SubmittedAssignment.id)
            .join(Grade, Grade.notebook_id == SubmittedNotebook.id)
            .join(Assignment, Assignment.id == SubmittedAssignment.assignment_id)
            .filter(Assignment.name == self._module, Grade.auto_score.isnot(None))
        )
        found = {student for (student,) in query.distinct()}
        self._gradebook.db.rollback()  # a server ends transactions that lie idle while notebooks run
        return found


def _remove_others(folder: Path, contents: Mapping[Path, object]) -> None:
    """Removes what an earlier grading left and this one did not write."""
    for path in folder.iterdir():
        if path not in contents:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
