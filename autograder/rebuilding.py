"""From the bytes of a file to the notebook that is run: the gradebook's cells, the student's solutions and free cells.

Of what a student sends, the text of cells is used and nothing else: no tags, outputs, attachments, or other metadata.
Every file gives a notebook: what cannot be read, and what had to be mended, is said in notes for the student.
"""

import json
import re
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

import nbformat
from nbformat.notebooknode import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from nbgrader.api import Gradebook
from nbgrader.preprocessors import NbGraderPreprocessor

from autograder.errors import CourseError
from autograder.notebooks import CHECK, HIDDEN, KERNEL

Resources = dict[str, Any]
NOTES = "autograder_notes"
SENT_ID = "autograder_sent_id"
PARTS = 10_000_000  # lists, objects, and entries of the JSON: a file of nothing else would fill the memory
LONGEST_CELL = 200_000  # characters
LONGEST_NOTE = 60  # characters of a name that a student chose
FREE_CELLS = 2_000
FREE_TEXT = 2_000_000  # characters
NAMED_CELLS = 2_000
BEGINNINGS = {
    b"PK\x03\x04": "is a zip archive: unpack it and hand in the notebook",
    b"%PDF": "is a PDF: hand in the notebook (.ipynb) itself",
    b"<!doctype html": "is a web page: download the notebook (.ipynb) itself",
    b"<html": "is a web page: download the notebook (.ipynb) itself",
}
STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
CONFLICT = re.compile(r"^(<{7}|={7}|>{7})(?!\S)", re.MULTILINE)


class Unreadable(Exception):
    """The file is no notebook; the message says why and what to do, for the student."""


def notebook_from(data: bytes, name: str) -> NotebookNode:
    """Returns a notebook of the texts in the file `name`, which holds `data`; its metadata has notes for the student.

    Never raises: a file that is no notebook gives one without cells.
    """
    notes: list[str] = []
    try:
        found = _cells(_parsed(data, name, notes), name)
        cells = _texts(found, notes)
        if not found:
            notes.append(f"{quoted(name)} has no cells.")
    except Unreadable as reason:
        cells, notes = [], [f"What was submitted is not a notebook that can be read: {quoted(name)} {reason}."]
    return new_notebook(cells=cells, metadata={NOTES: notes})


def grade_ids(data: bytes) -> set[str]:
    """Returns the names of nbgrader's cells in a file, none where it is no notebook."""
    try:
        found = _cells(_parsed(data, "", []), "")
    except Unreadable:
        return set()
    return {name for cell in found if isinstance(cell, dict) and (name := _nbgrader(cell).get("grade_id"))}


def quoted(name: str) -> str:
    """Returns a name that a student chose as a span of code, in which nothing is Markdown or HTML."""
    shown = name if len(name) <= LONGEST_NOTE else f"{name[: LONGEST_NOTE - 1]}…"
    shown = "".join(c if c.isprintable() else "�" for c in shown).replace("`", "'").strip()
    return f"`{shown or ' '}`"


def listed(names: Iterable[str], most: int = 5) -> str:
    """Returns names that a student chose as a phrase: the first few, and how many more there are."""
    every = list(names)
    more = [f"{len(every) - most} more"] if len(every) > most else []
    return ", ".join([*map(quoted, every[:most]), *more])


def without_hidden(text: str) -> str:
    """Returns `text` without the lines between the marks of hidden tests."""
    kept, inside = [], False
    for line in text.split("\n"):
        if line.strip() in HIDDEN:
            inside = line.strip() == HIDDEN[0]
        elif not inside:
            kept.append(line)
    return "\n".join(kept)


class Rebuild(NbGraderPreprocessor):
    """Makes the notebook to run: graded cells from the gradebook, solutions and free cells from the student."""

    def preprocess(self, nb: NotebookNode, resources: Resources) -> tuple[NotebookNode, Resources]:
        """Returns the rebuilt notebook; what had to be mended is said in a first cell."""
        about = resources["nbgrader"]
        source = _source_notebook(self, about["assignment"], about["notebook"])
        with Gradebook(about["db_url"]) as gradebook:
            wanted = wanted_cells(gradebook.find_notebook(about["notebook"], about["assignment"]), source)
        return rebuilt(nb, wanted), resources


def submitted(data: bytes | None, name: str, notes: Iterable[str]) -> NotebookNode:
    """Returns a notebook of what was handed in, with `notes` before its own; without cells where nothing was."""
    notebook = new_notebook() if data is None else notebook_from(data, name)
    notebook.metadata[NOTES] = [*notes, *notebook.metadata.get(NOTES, [])]
    return notebook


def rebuilt(nb: NotebookNode, wanted: list[NotebookNode]) -> NotebookNode:
    """Returns the wanted cells with the solutions and free cells of `nb`, which `notebook_from` made, and its notes."""
    mended: list[str] = []
    cells = assemble(nb.cells, wanted, mended)
    notes = [*nb.metadata.get(NOTES, []), *(mended if nb.cells else [])]  # of a file without cells all are missing
    if notes:
        text = "**A note from the grader**\n\n" + "\n".join(f"- {note}" for note in notes)
        cells.insert(0, _cell("markdown", text, {NOTES: True}))
        cells[0]["id"] = "notes"
    return new_notebook(cells=cells, metadata={"kernelspec": KERNEL})


def assemble(student: list[NotebookNode], wanted: list[NotebookNode], notes: list[str]) -> list[NotebookNode]:
    """Returns the wanted cells in their order, each followed by the free cells that stood after it."""
    student = _current(_named(student, wanted), wanted, notes)
    order = {_grade_id(cell): index for index, cell in enumerate(wanted)}
    places = _choose(student, wanted, notes)
    chosen = {name: student[index] for name, index in places.items()}
    _compare(chosen, wanted, notes)
    if list(places.values()) != sorted(places.values()):
        notes.append("Cells were moved; the sheet's own were run in the order of the release.")
    free: dict[int, list[NotebookNode]] = {}
    position = -1
    for cell in student:
        name = _grade_id(cell)
        if name in order and chosen.get(name) is cell:
            position = max(position, order[name])
        elif name not in order or not wanted[order[name]].metadata.nbgrader.locked:
            free.setdefault(position, []).append(_cell(cell.cell_type, cell.source))
    cells = _merged(wanted, chosen, free)
    for index, cell in enumerate(cells):
        cell["id"] = f"cell-{index}"
    return cells


def _merged(
    wanted: list[NotebookNode], chosen: dict[str, NotebookNode], free: dict[int, list[NotebookNode]]
) -> list[NotebookNode]:
    """Returns the wanted cells with the student's texts, and after each one the free cells of its place.

    A cell that the student deleted is put before the free cells of the place where it was, because one of these may
    define anew what was deleted; only the checks wait for them.
    """
    cells: list[NotebookNode] = []
    waiting = free.get(-1, [])
    for index, cell in enumerate(wanted):
        made = deepcopy(cell)
        name = _grade_id(cell)
        if name in chosen or cell.metadata.nbgrader.grade:
            cells += waiting
            waiting = []
        if name in chosen and not cell.metadata.nbgrader.locked:
            made.source = chosen[name].source
        cells.append(made)
        waiting = waiting + free.get(index, [])
    return cells + waiting


def _parsed(data: bytes, name: str, notes: list[str]) -> Any:
    """Returns the JSON value in `data`. Raises Unreadable."""
    start = data[:100].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not data.strip():
        raise Unreadable("is an empty file: save it again in JupyterLab, and submit it again")
    for beginning, reason in BEGINNINGS.items():
        if start.startswith(beginning.lower()):
            raise Unreadable(reason)
    if _parts(data) > PARTS and _parts(STRING.sub(b"", data)) > PARTS:  # a comma in a text is no part
        raise Unreadable("has too many parts: clear its outputs, and submit it again")
    text = _decoded(data, name, notes)
    try:
        return json.loads(text, parse_int=float)  # whose limit of digits is no matter here
    except json.JSONDecodeError as error:
        if mark := CONFLICT.search(text):
            line = text.count("\n", 0, mark.start()) + 1
            raise Unreadable(
                f"has conflict markers at line {line}, left by a merge: resolve the conflict, and submit it again"
            ) from error
        where = f"line {error.lineno}, column {error.colno}"
        raise Unreadable(f"is not JSON ({where}). Save it again in JupyterLab, and submit it again") from error
    except Exception as error:  # nested too deeply, or larger than the memory
        raise Unreadable(f"is more than JSON may be ({type(error).__name__}): make the notebook anew") from error


def _parts(data: bytes) -> int:
    return data.count(b"[") + data.count(b"{") + data.count(b",")


def _decoded(data: bytes, name: str, notes: list[str]) -> str:
    encoding: str = json.detect_encoding(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        encoding, text = "Latin-1", data.decode("latin-1")
    if not encoding.startswith("utf-8"):
        notes.append(f"{quoted(name)} is not saved as UTF-8; it was read as {encoding.upper()}.")
    return text


def _cells(data: Any, name: str) -> list[Any]:
    """Returns the cells of a notebook in any version of its format. Raises Unreadable."""
    found = data.get("cells") if isinstance(data, dict) else None
    if isinstance(found, list):
        return found
    sheets = data.get("worksheets") if isinstance(data, dict) else None  # until version 3
    if not isinstance(sheets, list):
        raise Unreadable("is JSON, but no notebook: open the notebook in JupyterLab, save it, and submit it again")
    lists = [sheet.get("cells") for sheet in sheets if isinstance(sheet, dict)]
    return [cell for cells in lists if isinstance(cells, list) for cell in cells]


def _texts(found: list[Any], notes: list[str]) -> list[NotebookNode]:
    """Returns the cells with their text and their name, and nothing else of what was sent."""
    cells: list[NotebookNode] = []
    free = named = characters = pictures = 0
    odd = long = beyond = 0
    for cell in found:
        text = _text(cell)
        if text is None:
            odd += 1
            continue
        if len(text) > LONGEST_CELL:
            long += 1
            continue
        about = _nbgrader(cell)
        characters += len(text)
        free, named = free + (not about), named + bool(about)
        if free > FREE_CELLS or named > NAMED_CELLS or characters > FREE_TEXT:
            beyond += 1
            free, named, characters = free - (not about), named - bool(about), characters - len(text)
            continue
        pictures += bool(cell.get("attachments"))
        kind = "code" if cell.get("cell_type") == "code" else "markdown"
        identity = cell["id"] if isinstance(cell.get("id"), str) else ""
        cells.append(_cell(kind, text, {"nbgrader": about, SENT_ID: identity}, len(cells)))
    said = {
        "Left out, because there is no text in it": odd,
        f"Left out, because it has more than {LONGEST_CELL:,} characters": long,
        "Left out, because the notebook is too long": beyond,
        "Left out are pictures pasted into text, because only text is read": pictures,
    }
    notes += [f"{what}: {number:,} cell{'s' * (number > 1)}." for what, number in said.items() if number]
    return cells


def _text(cell: Any) -> str | None:
    """Returns the text of a cell of any version, None where there is none."""
    if not isinstance(cell, dict):
        return None
    source = cell.get("source", cell.get("input"))
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    if not isinstance(source, str):
        return None
    if cell.get("cell_type") == "heading":
        source = f"# {source}"
    source = source.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "�")
    return source.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # half a character cannot be saved


def _nbgrader(cell: dict[str, Any]) -> dict[str, Any]:
    """Returns the name of one of nbgrader's cells, and whether it says that it is locked; {} for any other cell."""
    metadata = cell.get("metadata")
    about = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    name = about.get("grade_id") if isinstance(about, dict) else None
    if not isinstance(about, dict) or not isinstance(name, str) or not name:
        return {}
    return {"grade_id": name, "locked": about.get("locked") is True}


def _named(student: list[NotebookNode], wanted: list[NotebookNode]) -> list[NotebookNode]:
    """Returns the cells, of which those that lost nbgrader's metadata are known by their id or their locked text."""
    there = {_grade_id(cell) for cell in student}
    lost = [cell for cell in wanted if _grade_id(cell) not in there]
    ids = {cell.id: _grade_id(cell) for cell in lost}
    texts = {_released(cell): _grade_id(cell) for cell in lost if cell.metadata.nbgrader.locked}
    result = []
    for cell in student:
        name = "" if _grade_id(cell) else ids.get(cell.metadata.get(SENT_ID)) or texts.get(cell.source.strip(), "")
        about = {"nbgrader": {"grade_id": name, "locked": False}}
        result.append(_cell(cell.cell_type, cell.source, about) if name else cell)
    return result


def _current(student: list[NotebookNode], wanted: list[NotebookNode], notes: list[str]) -> list[NotebookNode]:
    """Returns the cells without those that another release of the sheet had locked."""
    names = {_grade_id(cell) for cell in wanted}
    other = [cell for cell in student if _grade_id(cell) not in {*names, ""}]
    if not other:
        return student
    notes.append(
        f"This seems to be another release of the sheet, with cells that this one does not have: "
        f"{listed(dict.fromkeys(map(_grade_id, other)))}. Your own cells among them were run, the locked ones left out."
    )
    dropped = {id(cell) for cell in other if cell.metadata.nbgrader.get("locked")}
    return [cell for cell in student if id(cell) not in dropped]


def _choose(student: list[NotebookNode], wanted: list[NotebookNode], notes: list[str]) -> dict[str, int]:
    """Returns the place of the student's cell for each wanted name that there is: of copies, the last before the
    check, as "Run All" has it."""
    places: dict[str, list[int]] = {}
    for index, cell in enumerate(student):
        places.setdefault(_grade_id(cell), []).append(index)
    chosen: dict[str, int] = {}
    for cell in wanted:
        name = _grade_id(cell)
        copies = places.get(name, [])
        if len(copies) > 1:
            counts = "the first one" if cell.metadata.nbgrader.locked else "the last one before its check"
            notes.append(f"There were {len(copies)} copies of the cell {quoted(name)}; {counts} counts.")
        if copies and cell.metadata.nbgrader.locked:
            chosen[name] = copies[0]
        elif copies:
            check = places.get(CHECK.format(name), [len(student)])[0]
            chosen[name] = ([index for index in copies if index < check] or copies)[-1]
    return chosen


def _compare(student: dict[str, NotebookNode], wanted: list[NotebookNode], notes: list[str]) -> None:
    """Notes how the student's cells differ from the wanted ones."""
    missing, changed = [], []
    for cell in wanted:
        name = _grade_id(cell)
        if name not in student:
            missing.append(name)
        elif cell.metadata.nbgrader.locked:
            changed += [name] * (student[name].source.strip() != _released(cell))
        elif student[name].cell_type != cell.cell_type:
            notes.append(f"The cell {quoted(name)} had another type; it is read as {cell.cell_type}.")
    if missing:
        notes.append(f"{_these(missing)} missing; put back as in the release.")
    if changed:
        notes.append(f"{_these(changed)} changed, though locked; the text of the release counts.")


def _these(names: list[str]) -> str:
    many = len(names) > 1
    return f"The cell{'s' * many} {listed(names)} {'were' if many else 'was'}"


def _released(cell: NotebookNode) -> str:
    return without_hidden(cell.source).strip()


def _grade_id(cell: NotebookNode) -> str:
    return str(cell.metadata.get("nbgrader", {}).get("grade_id", ""))


def _cell(kind: str, text: str, metadata: dict[str, Any] | None = None, number: int = 0) -> NotebookNode:
    """Returns a cell. nbformat's own makers validate each one, which takes too long for thousands."""
    code: dict[str, Any] = {"outputs": [], "execution_count": None} if kind == "code" else {}
    about = nbformat.from_dict(metadata or {})
    return NotebookNode(cell_type=kind, source=text, metadata=about, id=f"cell-{number}", **code)


def _source_notebook(step: NbGraderPreprocessor, assignment: str, notebook: str) -> NotebookNode:
    """Returns the notebook that the release was made of. Raises CourseError where there is none."""
    owner: Any = step
    while not hasattr(owner, "coursedir"):
        owner = owner.parent
    folder = owner.coursedir.format_path(owner.coursedir.source_directory, ".", assignment)
    path = Path(folder) / f"{notebook}.ipynb"
    try:
        return nbformat.read(path, as_version=4)
    except FileNotFoundError as error:
        raise CourseError(f"{path} is missing, so nothing can be graded: put the source notebook back.") from error


def wanted_cells(book: Any, source: NotebookNode) -> list[NotebookNode]:
    """Returns the cells that nbgrader's `book` recorded when the release was made, as they stand in `source`."""
    graded = {cell.name: cell for cell in book.grade_cells}
    solutions = {cell.name for cell in book.solution_cells}
    wanted = [_from_database(cell, graded.get(cell.name), cell.name in solutions) for cell in book.source_cells]
    ids = {_grade_id(cell): cell.get("id", "") for cell in source.cells if _grade_id(cell)}
    order = {name: index for index, name in enumerate(ids)}
    wanted.sort(key=lambda cell: order.get(_grade_id(cell), len(order)))  # the gradebook's tables have no order
    for cell in wanted:
        cell["id"] = ids.get(_grade_id(cell)) or cell.id
    return wanted


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
