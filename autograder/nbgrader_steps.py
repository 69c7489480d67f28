"""What this course adds to nbgrader, through its ordinary configuration: no fork, no patch.

`configure(c)` stands in `nbgrader_config.py`, so `nbgrader autograde`, the formgrader's button and every other
way of grading take the same path:

    read        SubmissionReader   nothing but plain files is opened; a file that is no notebook says why
    sanitize    Rebuild            the notebook to run is made of the gradebook's cells and the student's solutions
    execute     Judged             the cells run in a sandbox, the tasks are asked, verdicts are made out here; or all
                                   of that was done before, and its result is taken
    save        nbgrader's SaveAutoGrades; then the hidden tests go, so that graders see the student's work and
                students who read the feedback see titles, verdicts, and hints
    finish      Finished           a mark tells the next run that this one came to its end
"""

import glob
import json
import re
import shutil
import tempfile
from datetime import datetime
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
from nbconvert.exporters import NotebookExporter
from nbformat.notebooknode import NotebookNode
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.converters.base import NbGraderException
from nbgrader.preprocessors import NbGraderPreprocessor

from autograder import databases, pages, sandbox
from autograder.graded import JOB, Judged
from autograder.intake import HandedIn, take_in, timestamp
from autograder.jobs import Kit, read_kit
from autograder.rebuilding import Resources, submitted, without_hidden


def configure(c: Any) -> None:
    """Sets what the course needs in nbgrader's config object `c`."""
    c.Autograde.exporter_class = "autograder.nbgrader_steps.SubmissionReader"
    c.Autograde.sanitize_preprocessors = [
        "autograder.rebuilding.Rebuild",
        "nbgrader.preprocessors.CheckCellMetadata",
    ]
    c.Autograde.autograde_preprocessors = [
        "autograder.graded.Judged",
        "nbgrader.preprocessors.SaveAutoGrades",
        "autograder.nbgrader_steps.WithoutHiddenTests",
        "nbgrader.preprocessors.AssignLatePenalties",
        "nbgrader.preprocessors.CheckCellMetadata",
        "autograder.nbgrader_steps.Finished",
    ]
    databases.configure(c)
    pages.configure(c)
    c.ClearSolutions.code_stub = {"python": "# YOUR CODE HERE\nraise NotImplementedError()"}


class SubmissionReader(NotebookExporter):
    """Reads submissions safely, whatever was handed in.

    nbgrader opens a student's files in several places, and copies what lies beside a notebook before the first
    preprocessor runs. The exporter is the one configurable part that is made between its search for submissions and
    their conversion. So this one gives its converter the list of what to grade, and puts safer functions in the place
    of two: `init_assignment` and `get_existing_timestamp`. They are set on these two objects, never on nbgrader's
    classes, because the formgrader's server goes on to use the classes for other things.
    """

    def __init__(self, parent: Any, **kw: Any) -> None:
        super().__init__(parent=parent, **kw)
        refusal = None if Judged(parent=parent).unsafe else sandbox.refusal()
        if refusal:
            parent.log.error(refusal)  # nbgrader's command ends on this exception without a word
            raise NbGraderException(refusal)
        self._converter = parent
        self._course = parent.coursedir
        self._sheets = self._recorded_sheets()
        self._kits: dict[str, Kit] = {}
        self._handed_in: HandedIn | None = None
        self._nbgrader_init_assignment = parent.init_assignment
        parent.init_assignment = self._init_assignment
        self._course.get_existing_timestamp = partial(_existing_timestamp, self._course)
        if self._sheets:
            parent.assignments = self._assignments()

    def from_filename(self, filename: str, resources: Any = None, **kw: Any) -> Any:
        """Returns what NotebookExporter returns, for any file and for none."""
        if not self._converter._sanitizing:  # the second pass reads what Rebuild wrote
            return super().from_filename(filename, resources=resources, **kw)
        about = resources["nbgrader"]
        handed_in = self._submission(about["assignment"], about["student"])
        job = handed_in.job(self._kit(about["assignment"], about["notebook"]))
        vars(self._converter)[JOB] = job
        notebook = submitted(job.data, job.name, job.notes)
        return self.from_notebook_node(notebook, resources=resources, **kw)

    def _kit(self, assignment: str, sheet: str) -> Kit:
        """Returns what the grades of a sheet depend on; it is read once."""
        if sheet not in self._kits:
            source = Path(self._course.format_path(self._course.source_directory, ".", assignment))
            judged = Judged(parent=self._converter)
            with Gradebook(self._course.db_url, self._course.course_id) as gradebook:
                book = gradebook.find_notebook(sheet, assignment)
                self._kits[sheet] = read_kit(book, source / f"{sheet}.ipynb", judged.limits, judged.unsafe)
        return self._kits[sheet]

    def _recorded_sheets(self) -> dict[str, set[str]]:
        """Returns the names of nbgrader's cells by sheet, {} for an assignment that was not released."""
        with Gradebook(self._course.db_url, self._course.course_id) as gradebook:
            try:
                books = gradebook.find_assignment(self._course.assignment_id).notebooks
            except MissingEntry:
                return {}  # nbgrader will say so
            return {book.name: {cell.name for cell in book.source_cells} for book in books}

    def _assignments(self) -> dict[str, list[str]]:
        """Returns by folder of a submission all sheets to grade, handed in or not; removes what a killed run left."""
        find = self._converter._format_source
        pattern = re.compile(find("(?P<assignment>.*)", "(?P<student>.*)", escape=True))
        chosen = [sheet for sheet in self._sheets if fnmatchcase(sheet, self._course.notebook_id)]
        found: dict[str, list[str]] = {}
        for folder in glob.glob(find(self._course.assignment_id, self._course.student_id)):  # noqa: PTH207 - as nbgrader does
            match = pattern.fullmatch(folder)
            if match is None or not folder.isprintable():
                self.log.warning("This folder names no student, and is left out: %r", folder)
                continue
            self._remove_incomplete(match["assignment"], match["student"], chosen)
            found[folder] = [str(Path(folder, f"{sheet}.ipynb")) for sheet in chosen]
        return found

    def _remove_incomplete(self, assignment: str, student: str, sheets: list[str]) -> None:
        """Removes a grading that did not come to its end, which nbgrader would take for done."""
        folder = Path(self._converter._format_dest(assignment, student))
        unfinished = [path for sheet in sheets if not _finished(path := folder / f"{sheet}.ipynb")]
        if folder.exists() and unfinished:
            self.log.warning("Grading again what was not graded to its end: %s", folder)
            if self._course.notebook_id == "*":
                shutil.rmtree(folder)
            for path in unfinished:
                path.unlink(missing_ok=True)

    def _submission(self, assignment: str, student: str) -> HandedIn:
        """Returns what a student handed in; it is looked at once."""
        folder = Path(self._converter._format_source(assignment, student))
        if self._handed_in is None or self._handed_in.folder != folder:
            source = Path(self._course.format_path(self._course.source_directory, ".", assignment))
            self._handed_in = take_in(
                _step_folder(self._course, folder),
                folder,
                self._sheets,
                given=[path.name for path in source.glob("*")],
                ignored=self._course.ignore,
                allowed=_allowed(source),
            )
        return self._handed_in

    def _init_assignment(self, assignment: str, student: str) -> None:
        """Does what nbgrader does, with a folder of only the files that may be copied in the submission's place."""
        converter = self._converter
        with tempfile.TemporaryDirectory() as folder:
            self._submission(assignment, student).copy_to(Path(folder))
            converter._format_source = lambda assignment, student, escape=False: folder
            try:
                self._nbgrader_init_assignment(assignment, student)
            finally:
                del converter._format_source


class WithoutHiddenTests(NbGraderPreprocessor):
    """Takes the hidden tests out of a graded notebook, when they have done their work."""

    def preprocess(self, nb: NotebookNode, resources: Resources) -> tuple[NotebookNode, Resources]:
        """Returns the notebook without its hidden regions."""
        for cell in nb.cells:
            cell.source = without_hidden(cell.source)
        return nb, resources


class Finished(NbGraderPreprocessor):
    """Marks a notebook as graded to its end."""

    def preprocess(self, nb: NotebookNode, resources: Resources) -> tuple[NotebookNode, Resources]:
        """Returns the notebook with the mark in its metadata."""
        nb.metadata["autograder"] = {**nb.metadata.get("autograder", {}), "graded": True}
        return nb, resources


def _finished(path: Path) -> bool:
    """Whether a notebook was graded to its end: the file is written last, and may have been cut off."""
    try:
        return bool(json.loads(path.read_bytes())["metadata"]["autograder"]["graded"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _allowed(source: Path) -> list[str]:
    """Returns the patterns of the files that an assignment's sheets let a student hand in."""
    sheets = [nbformat.read(path, as_version=4) for path in sorted(source.glob("*.ipynb"))]
    return [pattern for sheet in sheets for pattern in sheet.metadata.get("autograder", {}).get("files", [])]


def _existing_timestamp(course: Any, folder: str) -> datetime | None:
    """Returns when a submission was handed in, as CourseDirectory does, and None where nbgrader would fail."""
    moment, wrong = timestamp(_step_folder(course, Path(folder)), Path(folder))
    if wrong:
        course.log.warning("%s: %s", folder, wrong)
    return moment


def _step_folder(course: Any, folder: Path) -> Path:
    """Returns the folder of nbgrader's step, such as submitted/, that `folder` lies in: from there on, names are not
    the instructor's."""
    steps = [Path(course.root, step) for step in (course.submitted_directory, course.autograded_directory)]
    return next((step for step in steps if folder.is_relative_to(step)), folder.parent)
