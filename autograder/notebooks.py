"""From a sheet and its checks to nbgrader's source notebook. Everything that is nbgrader's schema stands here."""

import re
from typing import Any

import nbformat
from nbformat.notebooknode import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from autograder.course import SheetPlace
from autograder.errors import CourseError
from autograder.sheets import Cell, SheetText, task_checks
from autograder.solutions import Reference
from autograder.tasks import Sheet, Written

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
HIDDEN = ("### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS")
GOES_ON = ["raises-exception"]  # "Run All" does not stop at a check that fails, or at an example of an unsolved task
CHECK = "check_{}"  # the grade_id of a check cell; a solution cell's is the task's name


def source_notebook(place: SheetPlace, text: SheetText, sheet: Sheet, digest: str) -> str:
    """Returns nbgrader's source notebook: solutions in their regions, hidden tests in theirs, points and ids."""
    cells: list[NotebookNode] = []
    for index, cell in enumerate(text.cells):
        if cell.role == "written":
            cells.append(_rubric(sheet.questions[cell.name]))
        cells.append(_cell(place, text, sheet, cell, index))
    origin = place.text.relative_to(place.root).as_posix()
    cells[0].source += f"\n\n<!-- Built from {origin}: edit there, then run make build. -->"
    notebook = new_notebook(cells=cells, metadata={"kernelspec": KERNEL, "language_info": {"name": "python"}})
    notebook.metadata["autograder"] = {"built_from": origin, "digest": digest}
    if sheet.files:
        notebook.metadata["autograder"]["files"] = list(sheet.files)
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def task_of(grade_id: str) -> str:
    """Returns the name of the task that a graded cell belongs to."""
    return grade_id.removeprefix(CHECK.format(""))


def _cell(place: SheetPlace, text: SheetText, sheet: Sheet, cell: Cell, index: int) -> NotebookNode:
    if cell.role == "task":
        return _code(cell.name, cell.text, {"solution": True})
    if cell.role == "check":
        task = sheet.tasks[cell.name]
        hidden = _hidden_tests(text.reference(cell.name), task_checks(place.checks, sheet, cell.name))
        source = f"{hidden}\n{cell.text}"
        made = _code(CHECK.format(cell.name), source, {"grade": True, "locked": True, "points": task.points})
        made.metadata["tags"] = GOES_ON
        return made
    if cell.role == "setup":
        return _code(f"setup_{index}", cell.text, {"locked": True})
    if cell.role == "written":
        metadata = _nbgrader(cell.name, "markdown", {"grade": True, "solution": True})
        metadata["nbgrader"]["points"] = sheet.questions[cell.name].points
        return new_markdown_cell(cell.text, id=_id(cell.name), metadata=metadata)
    if cell.kind == "markdown":
        return new_markdown_cell(cell.text, id=f"text-{index}")
    return new_code_cell(cell.text, id=f"code-{index}", metadata={"tags": GOES_ON})


def _code(grade_id: str, text: str, flags: dict[str, Any]) -> NotebookNode:
    return new_code_cell(text, id=_id(grade_id), metadata=_nbgrader(grade_id, "code", flags))


def _nbgrader(grade_id: str, cell_type: str, flags: dict[str, Any]) -> dict[str, Any]:
    base = {"schema_version": 3, "grade_id": grade_id, "cell_type": cell_type, "task": False}
    return {"nbgrader": {**base, "grade": False, "solution": False, "locked": False, **flags}}


def _rubric(question: Written) -> NotebookNode:
    """Returns the criteria as prose, so that students and graders read the same."""
    rows = "\n".join(f"| {criterion} | {points:g} |" for criterion, points in question.rubric)
    table = f"**How your answer is read**\n\n| A full answer | Points |\n|---|---:|\n{rows}"
    name = f"rubric_{question.name}"
    return new_markdown_cell(table, id=_id(name), metadata=_nbgrader(name, "markdown", {"locked": True}))


def _hidden_tests(reference: Reference, checks: str) -> str:
    """Returns the region that grades in the student's kernel; nbgrader takes it out of the release."""
    texts = {"checks": checks, "given": reference.given, "solution": reference.solution}
    arguments = "".join(f"    {name}={_literal(text)},\n" for name, text in texts.items())
    return f"{HIDDEN[0]}\nfrom autograder import stock\n\ncheck = stock.grader(\n{arguments})\n{HIDDEN[1]}"


def _literal(text: str) -> str:
    """Returns a literal of `text`, readable where raw quotes can hold it."""
    for quotes in ("'''", '"""'):
        if quotes not in text and not text.endswith(("\\", quotes[0])):
            return f"r{quotes}\n{text}\n{quotes}"
    return repr(text)


def _id(name: str) -> str:
    """Returns a valid notebook cell id made from `name`."""
    made = re.sub(r"[^A-Za-z0-9_-]", "-", name)[:64]
    if not made:
        raise CourseError(f"{name!r} cannot name a cell: use letters, digits and underscores.")
    return made
