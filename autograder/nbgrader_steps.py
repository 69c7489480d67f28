"""What this course adds to nbgrader, through its ordinary configuration: no fork, no patch.

`configure(c)` stands in `nbgrader_config.py`, so `nbgrader autograde`, the formgrader's button and every other
way of grading take the same path:

    read        SubmissionReader   a file that is no notebook becomes an empty one, with the reason
    sanitize    Rebuild            the notebook to run is made of the gradebook's cells and the student's solutions
    execute     nbgrader's Execute THE TRUSTED SANDBOX BELONGS HERE: for now the student's code runs in a kernel with
                                   the rights of the person who grades, beside the solution (see `stock`)
    save        nbgrader's SaveAutoGrades; then the hidden tests go, so that graders see the student's work and
                students who read the feedback see titles, verdicts, and hints
"""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import nbformat
from nbconvert.exporters import NotebookExporter
from nbformat.notebooknode import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from nbgrader.api import Gradebook
from nbgrader.preprocessors import NbGraderPreprocessor

from autograder.notebooks import CHECK, HIDDEN, KERNEL

Resources = dict[str, Any]
NOTES = "autograder_notes"
SECONDS_PER_CELL = 30


def configure(c: Any) -> None:
    """Sets what the course needs in nbgrader's config object `c`."""
    c.Autograde.exporter_class = "autograder.nbgrader_steps.SubmissionReader"
    c.Autograde.sanitize_preprocessors = [
        "autograder.nbgrader_steps.Rebuild",
        "nbgrader.preprocessors.CheckCellMetadata",
    ]
    c.Autograde.autograde_preprocessors = [
        "nbgrader.preprocessors.Execute",  # the place of the trusted sandbox
        "autograder.nbgrader_steps.OneResult",
        "nbgrader.preprocessors.LimitOutput",
        "nbgrader.preprocessors.SaveAutoGrades",
        "autograder.nbgrader_steps.WithoutHiddenTests",
        "nbgrader.preprocessors.AssignLatePenalties",
        "nbgrader.preprocessors.CheckCellMetadata",
    ]
    c.Execute.timeout = SECONDS_PER_CELL
    c.ClearSolutions.code_stub = {"python": "# YOUR CODE HERE\nraise NotImplementedError()"}


class SubmissionReader(NotebookExporter):
    """Reads a submission; one that is no notebook becomes an empty notebook that says why."""

    def from_filename(self, filename: str, resources: Any = None, **kw: Any) -> Any:
        """Returns what NotebookExporter returns, for any file."""
        if not getattr(self.parent, "_sanitizing", True):  # the second pass reads what Rebuild wrote
            return super().from_filename(filename, resources=resources, **kw)
        try:
            notebook = nbformat.read(filename, as_version=4)
            notebook = new_notebook(cells=[_plain_cell(cell) for cell in notebook.cells])
        except Exception as error:  # whatever the file holds, the batch goes on
            notebook = new_notebook()
            notebook.metadata[NOTES] = [_why_unreadable(Path(filename), error)]
        return self.from_notebook_node(notebook, resources=resources or {}, **kw)


class Rebuild(NbGraderPreprocessor):
    """Makes the notebook to run: graded cells from the gradebook, solutions and free cells from the student."""

    def preprocess(self, nb: NotebookNode, resources: Resources) -> tuple[NotebookNode, Resources]:
        """Returns the rebuilt notebook; what had to be mended is said in a first cell."""
        about = resources["nbgrader"]
        with Gradebook(about["db_url"]) as gradebook:
            wanted = _wanted_cells(gradebook, about["notebook"], about["assignment"])
        order = _order_in_source(self, about["assignment"], about["notebook"])
        wanted.sort(key=lambda cell: order.get(cell.metadata.nbgrader.grade_id, len(order)))
        unreadable = list(nb.metadata.get(NOTES, []))
        notes: list[str] = []
        cells = _assemble(nb.cells, wanted, notes)
        notes = unreadable or notes
        if notes:
            listed = "\n".join(f"- {note}" for note in notes)
            text = f"**A note from the grader**\n\n{listed}"
            cells.insert(0, new_markdown_cell(text, id="notes", metadata={NOTES: True}))
        rebuilt = new_notebook(cells=cells, metadata={"kernelspec": KERNEL})
        return rebuilt, resources


class OneResult(NbGraderPreprocessor):
    """Leaves in each check cell its one decisive output, so that a warning or a stray print costs nobody a point."""

    def preprocess(self, nb: NotebookNode, resources: Resources) -> tuple[NotebookNode, Resources]:
        """Returns the notebook with streams removed from check cells that have a result."""
        for cell in nb.cells:
            meta = cell.metadata.get("nbgrader", {})
            if cell.cell_type == "code" and meta.get("grade") and not meta.get("solution"):
                results = [o for o in cell.outputs if o.output_type == "execute_result"]
                errors = [o for o in cell.outputs if o.output_type == "error"]
                cell.outputs = results[-1:] or errors[-1:] or [_no_answer()]
        return nb, resources


class WithoutHiddenTests(NbGraderPreprocessor):
    """Takes the hidden tests out of a graded notebook, when they have done their work."""

    def preprocess(self, nb: NotebookNode, resources: Resources) -> tuple[NotebookNode, Resources]:
        """Returns the notebook without its hidden regions."""
        for cell in nb.cells:
            cell.source = without_hidden(cell.source)
        return nb, resources


def without_hidden(text: str) -> str:
    """Returns `text` without the lines between the marks of hidden tests."""
    kept, inside = [], False
    for line in text.split("\n"):
        if line.strip() in HIDDEN:
            inside = line.strip() == HIDDEN[0]
        elif not inside:
            kept.append(line)
    return "\n".join(kept)


def _why_unreadable(path: Path, error: Exception) -> str:
    sentence = "What was submitted is not a notebook that can be read"
    found = next((e for e in (error, error.__context__) if isinstance(e, json.JSONDecodeError)), None)
    if found:
        reason = f"line {found.lineno}, column {found.colno}"
        return f"{sentence}: {path.name} is not JSON ({reason}). Save it again in JupyterLab."
    return f"{sentence} ({type(error).__name__}): open {path.name} in JupyterLab, save it, and submit it again."


def _wanted_cells(gradebook: Any, notebook: str, assignment: str) -> list[NotebookNode]:
    """Returns the cells that nbgrader recorded when the release was made."""
    book = gradebook.find_notebook(notebook, assignment)
    graded = {cell.name: cell for cell in book.grade_cells}
    solutions = {cell.name for cell in book.solution_cells}
    return [_from_database(cell, graded.get(cell.name), cell.name in solutions) for cell in book.source_cells]


def _order_in_source(step: NbGraderPreprocessor, assignment: str, notebook: str) -> dict[str, int]:
    """Returns the place of each graded cell in the source notebook: the gradebook's tables have no order."""
    owner: Any = step
    while owner is not None and not hasattr(owner, "coursedir"):
        owner = owner.parent
    if owner is None:
        return {}
    folder = owner.coursedir.format_path(owner.coursedir.source_directory, ".", assignment)
    source = nbformat.read(Path(folder) / f"{notebook}.ipynb", as_version=4)
    return {_grade_id(cell): index for index, cell in enumerate(source.cells) if _grade_id(cell)}


def _from_database(cell: Any, graded: Any, solution: bool) -> NotebookNode:
    meta = {
        "schema_version": 3,
        "grade_id": cell.name,
        "cell_type": cell.cell_type,
        "grade": graded is not None,
        "solution": solution,
        "locked": bool(cell.locked),
        "task": False,
        "checksum": cell.checksum,
    }
    if graded is not None:
        meta["points"] = graded.max_score
    new = new_code_cell if cell.cell_type == "code" else new_markdown_cell
    made = new(cell.source, metadata={"nbgrader": meta})
    if made.cell_type == "code" and graded is not None:
        made.metadata["tags"] = ["raises-exception"]
    return made


def _assemble(student: list[NotebookNode], wanted: list[NotebookNode], notes: list[str]) -> list[NotebookNode]:
    """Returns the wanted cells in their order, each followed by the free cells that stood after it."""
    order = {cell.metadata.nbgrader.grade_id: index for index, cell in enumerate(wanted)}
    chosen = _choose(student, wanted, notes)
    free: dict[int, list[NotebookNode]] = {}
    position = -1
    for cell in student:
        name = _grade_id(cell)
        if name in order and chosen.get(name) is cell:
            position = max(position, order[name])
        elif name not in order or not wanted[order[name]].metadata.nbgrader.locked:
            free.setdefault(position, []).append(_free_cell(cell))
    result = free.get(-1, [])
    for index, cell in enumerate(wanted):
        made = deepcopy(cell)
        name = cell.metadata.nbgrader.grade_id
        if not cell.metadata.nbgrader.locked and name in chosen:
            made.source = chosen[name].source
        result += [made, *free.get(index, [])]
    return [_with_id(cell, index) for index, cell in enumerate(result)]


def _choose(student: list[NotebookNode], wanted: list[NotebookNode], notes: list[str]) -> dict[str, NotebookNode]:
    """Returns the student's cell for each wanted name: of copies, the last before the check, as "Run All" has it."""
    chosen: dict[str, NotebookNode] = {}
    for cell in wanted:
        name = cell.metadata.nbgrader.grade_id
        copies = [index for index, other in enumerate(student) if _grade_id(other) == name]
        if not copies:
            notes.append(f"The cell `{name}` was missing; it was put back as it is in the release.")
            continue
        check = next((i for i, other in enumerate(student) if _grade_id(other) == CHECK.format(name)), len(student))
        before = [index for index in copies if index < check]
        chosen[name] = student[(before or copies)[-1]]
        if len(copies) > 1:
            notes.append(f"There were {len(copies)} copies of the cell `{name}`; the last one before its check counts.")
    return chosen


def _grade_id(cell: NotebookNode) -> str:
    meta = cell.metadata.get("nbgrader", {})
    return str(meta.get("grade_id", "")) if isinstance(meta, dict) else ""


def _plain_cell(cell: Any) -> NotebookNode:
    """Returns a cell of what a student wrote: its text and the name of the task, and nothing else of what was sent."""
    new = new_code_cell if cell.get("cell_type") == "code" else new_markdown_cell
    meta = cell.get("metadata")
    name = _grade_id(cell) if isinstance(meta, dict) else ""
    return new(str(cell.get("source", "")), metadata={"nbgrader": {"grade_id": name}} if name else {})


def _free_cell(cell: NotebookNode) -> NotebookNode:
    return new_code_cell(cell.source) if cell.cell_type == "code" else new_markdown_cell(cell.source)


def _with_id(cell: NotebookNode, index: int) -> NotebookNode:
    cell["id"] = f"cell-{index}"
    return cell


def _no_answer() -> NotebookNode:
    sentence = "This task was not graded: the kernel stopped before its check. Does your code end the process?"
    return nbformat.v4.new_output("error", ename="NotGraded", evalue=sentence, traceback=[sentence])
