"""Honest oddities: what students do without any wish to cheat, and what a fair grader makes of it.

Each oddity builds one submission of the small course, and says its fair score in percent of the points that are given
automatically, and what the student must be told, as a pattern, or None where there is nothing to tell.
"""

import json
import os
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Notebook = dict[str, Any]
Build = Callable[[Path, Notebook, dict[str, str]], None]

SHEET = "01_shapes.ipynb"
CENTER, NORMALIZE = 40, 60  # percent


@dataclass(frozen=True)
class Oddity:
    """What a student did; `build` writes it into the folder of a submission, from the release and the solutions."""

    name: str
    did: str
    build: Build
    score: float
    says: str | None


ODDITIES: list[Oddity] = []


def oddity(score: float, says: str | None) -> Callable[[Build], Build]:
    """Adds the decorated function, whose docstring says what the student did."""

    def add(build: Build) -> Build:
        ODDITIES.append(Oddity(build.__name__, build.__doc__ or "", build, score, says))
        return build

    return add


def edited(score: float, says: str | None) -> Callable[[Callable[[Notebook], None]], None]:
    """Adds the solved sheet, changed in place by the decorated function and saved under its right name."""

    def add(change: Callable[[Notebook], None]) -> None:
        def build(folder: Path, release: Notebook, solutions: dict[str, str]) -> None:
            notebook = solved(release, solutions)
            change(notebook)
            put(folder, notebook)

        ODDITIES.append(Oddity(change.__name__, change.__doc__ or "", build, score, says))

    return add


def saved(score: float, says: str | None) -> Callable[[Callable[[str], bytes]], None]:
    """Adds the solved sheet, of whose text the decorated function makes the bytes of the file."""

    def add(encode: Callable[[str], bytes]) -> None:
        def build(folder: Path, release: Notebook, solutions: dict[str, str]) -> None:
            text = json.dumps(solved(release, solutions), indent=1, ensure_ascii=False)
            (folder / SHEET).write_bytes(encode(text))

        ODDITIES.append(Oddity(encode.__name__, encode.__doc__ or "", build, score, says))

    return add


def named(name: str, file: str, says: str) -> None:
    """Adds the solved sheet under the name `file`."""

    def build(folder: Path, release: Notebook, solutions: dict[str, str]) -> None:
        put(folder, solved(release, solutions), file)

    ODDITIES.append(Oddity(name, f"saves the sheet as {file}", build, 100, says))


def content(name: str, did: str, data: bytes, says: str) -> None:
    """Adds a file of `data`, which cannot be graded."""

    def build(folder: Path, release: Notebook, solutions: dict[str, str]) -> None:
        (folder / SHEET).write_bytes(data)

    ODDITIES.append(Oddity(name, did, build, 0, says))


def solved(release: Notebook, solutions: dict[str, str]) -> Notebook:
    """Returns the release with the solutions in it."""
    notebook = deepcopy(release)
    for cell in notebook["cells"]:
        cell["source"] = solutions.get(grade_id(cell), cell["source"])
    return notebook


def put(folder: Path, notebook: Any, name: str = SHEET) -> Path:
    """Writes the notebook as it is, valid or not."""
    path = folder / name
    path.write_text(json.dumps(notebook, indent=1), encoding="utf-8")
    return path


def grade_id(cell: Notebook) -> str:
    return str(cell["metadata"].get("nbgrader", {}).get("grade_id", ""))


def at(notebook: Notebook, name: str) -> int:
    """Returns the place of one of nbgrader's cells."""
    return [grade_id(cell) for cell in notebook["cells"]].index(name)


def code(source: str, **metadata: Any) -> Notebook:
    return {"cell_type": "code", "source": source, "metadata": metadata, "outputs": [], "execution_count": 1}


# Nothing odd at all, for comparison


@edited(100, None)
def nothing_odd(notebook: Notebook) -> None:
    """solves the sheet"""


@oddity(0, None)
def untouched(folder: Path, release: Notebook, solutions: dict[str, str]) -> None:
    """hands in the release as it is"""
    put(folder, release)


# Cells


@edited(100, "2 copies of the cell `center`")
def copied_solution(notebook: Notebook) -> None:
    """copies a solution cell"""
    where = at(notebook, "center")
    notebook["cells"].insert(where, deepcopy(notebook["cells"][where]))


@edited(100, "2 copies of the cell `center`; the last one before its check counts")
def second_attempt_in_a_copy(notebook: Notebook) -> None:
    """keeps a wrong first attempt above the copy that is right"""
    where = at(notebook, "center")
    first = deepcopy(notebook["cells"][where])
    first["source"] = "def center(x):\n    return x"
    notebook["cells"].insert(where, first)


@edited(100, "2 copies of the cell `check_center`")
def copied_check(notebook: Notebook) -> None:
    """copies a check cell to the end"""
    notebook["cells"].append(deepcopy(notebook["cells"][at(notebook, "check_center")]))


@edited(100, "The cell `check_center` was missing")
def deleted_check(notebook: Notebook) -> None:
    """deletes a check cell"""
    del notebook["cells"][at(notebook, "check_center")]


@edited(100, r"The cell `setup_\d+` was missing")
def deleted_setup(notebook: Notebook) -> None:
    """deletes the cell with the imports"""
    notebook["cells"] = [cell for cell in notebook["cells"] if not grade_id(cell).startswith("setup")]


@edited(CENTER, "The cell `normalize` was missing; put back")
def deleted_solution(notebook: Notebook) -> None:
    """deletes a solution cell"""
    del notebook["cells"][at(notebook, "normalize")]


@edited(100, "The cell `normalize` was missing; put back")
def solution_in_a_new_cell(notebook: Notebook) -> None:
    """deletes a solution cell and writes the function in a new one"""
    cell = notebook["cells"][at(notebook, "normalize")]
    cell["metadata"] = {}
    cell["id"] = "new"


@edited(100, "2 copies of the cell `normalize`")
def split_as_jupyterlab_does(notebook: Notebook) -> None:
    """splits a solution cell; both halves keep the name"""
    where = at(notebook, "normalize")
    second = deepcopy(notebook["cells"][where])
    notebook["cells"][where]["source"] = "def total(x):\n    return x.sum(axis=1, keepdims=True)"
    second["source"] = "def normalize(x):\n    return x / total(x)"
    notebook["cells"].insert(where + 1, second)


@edited(100, None)
def split_into_a_cell_without_a_name(notebook: Notebook) -> None:
    """splits a solution cell; the second half has no name"""
    where = at(notebook, "normalize")
    notebook["cells"][where]["source"] = "def total(x):\n    return x.sum(axis=1, keepdims=True)"
    notebook["cells"].insert(where + 1, code("def normalize(x):\n    return x / total(x)"))


@edited(100, "Cells were moved")
def moved_a_task_up(notebook: Notebook) -> None:
    """solves the second task first"""
    cells = notebook["cells"]
    where = at(notebook, "normalize")
    moved = cells[where : where + 2]
    del cells[where : where + 2]
    cells[at(notebook, "center") : at(notebook, "center")] = moved


@edited(100, "Cells were moved")
def turned_the_sheet_around(notebook: Notebook) -> None:
    """has the cells in the reverse order"""
    notebook["cells"] = [*notebook["cells"][::-1]]


@edited(100, None)
def own_cells_everywhere(notebook: Notebook) -> None:
    """adds cells that print, draw, and show tables, between all others"""
    extra = [code("import pprint\nprint('hello')\npprint.pprint(list(range(30)))\n42"), code("")]
    notebook["cells"] = [made for cell in notebook["cells"] for made in (cell, *deepcopy(extra))]


@edited(100, "Left out, because the notebook is too long: 500 cells")
def thousands_of_cells(notebook: Notebook) -> None:
    """pastes 2,500 empty cells at the end"""
    free = sum(not grade_id(cell) for cell in notebook["cells"])
    notebook["cells"] += [{"cell_type": "markdown", "source": "", "metadata": {}} for _ in range(2500 - free)]


@edited(100, None)
def own_cells_that_fail(notebook: Notebook) -> None:
    """leaves cells that raise, have a typing error, or ask for input"""
    failing = [code("1 / 0"), code("for x in"), code("name = input('Your name? ')"), code("center(None)")]
    notebook["cells"][at(notebook, "check_center") + 1 : at(notebook, "check_center") + 1] = failing


@edited(100, None)
def magics(notebook: Notebook) -> None:
    """uses magics and the shell"""
    notebook["cells"][1:1] = [code("%matplotlib inline\n%precision 3"), code("%%time\nsum(range(9))"), code("!true")]


@edited(100, "The cell `check_center` was changed, though locked")
def edited_check(notebook: Notebook) -> None:
    """writes into a check cell"""
    notebook["cells"][at(notebook, "check_center")]["source"] = "pass  # it works!"


@edited(100, r"The cell `setup_\d+` was changed, though locked")
def edited_setup(notebook: Notebook) -> None:
    """adds an import to the setup cell"""
    cell = next(cell for cell in notebook["cells"] if grade_id(cell).startswith("setup"))
    cell["source"] += "\nimport math"


@edited(100, "The cell `center` had another type; it is read as code")
def solution_turned_into_text(notebook: Notebook) -> None:
    """turns a solution cell into Markdown by a wrong key"""
    cell = notebook["cells"][at(notebook, "center")]
    cell["cell_type"] = "markdown"
    del cell["outputs"], cell["execution_count"]


@edited(100, "The cell `why` had another type; it is read as markdown")
def answer_turned_into_code(notebook: Notebook) -> None:
    """turns a written answer into code by a wrong key"""
    notebook["cells"][at(notebook, "why")].update(cell_type="code", outputs=[], execution_count=None)


@edited(100, "pictures pasted into text, because only text is read: 1 cell")
def picture_in_an_answer(notebook: Notebook) -> None:
    """pastes a picture into a written answer"""
    notebook["cells"][at(notebook, "why")]["attachments"] = {"a.png": {"image/png": "iVBORw0KGgo="}}


@oddity(100, "another release of the sheet.*`add_bias`, `check_add_bias`")
def earlier_release(folder: Path, release: Notebook, solutions: dict[str, str]) -> None:
    """hands in the sheet of last week, which had another task"""
    notebook = solved(release, solutions)
    old = code(
        "def add_bias(x):\n    return x + 1", nbgrader={"grade_id": "add_bias", "solution": True, "locked": False}
    )
    check = code("check('add_bias')", nbgrader={"grade_id": "check_add_bias", "grade": True, "locked": True})
    notebook["cells"][2:2] = [old, check]
    put(folder, notebook)


# Code that is right in its own way


@edited(100, None)
def warns(notebook: Notebook) -> None:
    """warns, logs, and writes to stderr"""
    notebook["cells"][at(notebook, "center")]["source"] = (
        "import logging, sys, warnings\n"
        "def center(x):\n"
        "    warnings.warn('careful')\n"
        "    logging.warning('more careful')\n"
        "    print('most careful', file=sys.stderr)\n"
        "    return x - x.mean(axis=0)"
    )


@edited(100, None)
def prints_everywhere(notebook: Notebook) -> None:
    """prints in each function"""
    source = "def center(x):\n    print('x =', x)\n    print(3.0)\n    return x - x.mean(axis=0)"
    notebook["cells"][at(notebook, "center")]["source"] = source


@edited(100, None)
def slow(notebook: Notebook) -> None:
    """has a right solution that takes its time"""
    source = "import time\ndef center(x):\n    time.sleep(0.2)\n    return x - x.mean(axis=0)"
    notebook["cells"][at(notebook, "center")]["source"] = source


@edited(100, None)
def double_precision(notebook: Notebook) -> None:
    """computes in double precision whatever comes in"""
    source = "def center(x):\n    x = np.asarray(x, dtype=np.float64)\n    return x - x.mean(axis=0)"
    notebook["cells"][at(notebook, "center")]["source"] = source


@edited(100, None)
def a_view(notebook: Notebook) -> None:
    """returns a view with other strides"""
    source = "def center(x):\n    return np.asfortranarray(x - x.mean(axis=0))[::-1][::-1]"
    notebook["cells"][at(notebook, "center")]["source"] = source


@edited(100, None)
def another_alphabet(notebook: Notebook) -> None:
    """names and comments in another alphabet"""
    source = "# Среднее 平均 🙂\ndef center(x):\n    μ = x.mean(axis=0)\n    return x - μ"
    notebook["cells"][at(notebook, "center")]["source"] = source


@edited(NORMALIZE, None)
def conflict_in_a_cell(notebook: Notebook) -> None:
    """merges with a tool that puts the conflict into the cell"""
    cell = notebook["cells"][at(notebook, "center")]
    cell["source"] = f"<<<<<<< mine\n{cell['source']}\n=======\nx = 1\n>>>>>>> theirs"


# Metadata


@edited(100, None)
def from_colab(notebook: Notebook) -> None:
    """works in Colab, which saves without ids and with metadata of its own"""
    notebook["metadata"] = {"colab": {"provenance": []}, "kernelspec": {"name": "python3", "display_name": "Python 3"}}
    notebook.update(nbformat=4, nbformat_minor=0)
    for index, cell in enumerate(notebook["cells"]):
        cell.pop("id", None)
        cell["metadata"].update(id=f"c{index}", outputId="x", colab={"base_uri": "https://localhost:8080/"})
        cell["source"] = cell["source"].splitlines(keepends=True)


@edited(100, None)
def from_vs_code(notebook: Notebook) -> None:
    """works in VS Code"""
    notebook["metadata"] = {"kernelspec": {"name": "python3", "display_name": ".venv"}, "language_info": {"name": "x"}}
    for cell in notebook["cells"]:
        cell["metadata"]["vscode"] = {"languageId": "python"}
        if cell["cell_type"] == "code":
            cell.update(execution_count=None, outputs=[{"output_type": "stream", "name": "stdout", "text": ["old"]}])


@edited(100, None)
def stripped_metadata(notebook: Notebook) -> None:
    """uses a tool that strips all metadata"""
    notebook["metadata"] = {}
    for cell in notebook["cells"]:
        cell["metadata"] = {}


@edited(100, "The cells `center`, `normalize`, .* were missing")
def stripped_metadata_and_ids(notebook: Notebook) -> None:
    """uses a tool that strips all metadata and all ids"""
    stripped = [{"cell_type": cell["cell_type"], "source": cell["source"]} for cell in notebook["cells"]]
    notebook.update(metadata={}, cells=stripped, nbformat_minor=4)


@edited(100, None)
def oldest_minor_version(notebook: Notebook) -> None:
    """saves with an old Jupyter"""
    notebook["nbformat_minor"] = 0
    for cell in notebook["cells"]:
        cell.pop("id", None)


@edited(100, None)
def minor_version_before_ids(notebook: Notebook) -> None:
    """saves in the version before cells had ids"""
    notebook["nbformat_minor"] = 4
    for cell in notebook["cells"]:
        cell.pop("id", None)


@edited(100, None)
def ids_missing(notebook: Notebook) -> None:
    """saves with a tool that forgets the ids"""
    for cell in notebook["cells"][::2]:
        cell.pop("id", None)


@edited(100, None)
def ids_twice(notebook: Notebook) -> None:
    """has one id for all cells"""
    for cell in notebook["cells"]:
        cell["id"] = "the same"


@edited(100, None)
def minor_version_to_come(notebook: Notebook) -> None:
    """saves in a minor version to come"""
    notebook["nbformat_minor"] = 99


@edited(100, None)
def major_version_to_come(notebook: Notebook) -> None:
    """saves in a major version to come"""
    notebook["nbformat"] = 5


@edited(100, None)
def version_3(notebook: Notebook) -> None:
    """saves in version 3 of the format"""
    cells = notebook.pop("cells")
    for cell in cells:
        if cell["cell_type"] == "code":
            cell.update(input=cell.pop("source"), language="python", prompt_number=1)
    notebook.update(nbformat=3, nbformat_minor=0, metadata={"name": ""}, worksheets=[{"cells": cells, "metadata": {}}])


@edited(100, None)
def null_kernelspec(notebook: Notebook) -> None:
    """has no kernel chosen"""
    notebook["metadata"] = {"kernelspec": None, "language_info": None}


@edited(100, None)
def null_metadata(notebook: Notebook) -> None:
    """has null where metadata should be"""
    notebook["metadata"] = None
    for cell in notebook["cells"]:
        if not grade_id(cell):
            cell["metadata"] = None


@edited(100, None)
def another_kernel(notebook: Notebook) -> None:
    """names the kernel and the Python of another computer"""
    notebook["metadata"] = {"kernelspec": {"name": "conda-env-dl-py", "display_name": "dl", "language": "python"}}
    notebook["metadata"]["language_info"] = {"name": "python", "version": "3.6.1"}


@edited(100, None)
def newer_schema(notebook: Notebook) -> None:
    """has nbgrader's metadata in a version to come"""
    for cell in notebook["cells"]:
        if grade_id(cell):
            cell["metadata"]["nbgrader"]["schema_version"] = 99


@edited(100, None)
def older_schema(notebook: Notebook) -> None:
    """has nbgrader's metadata in its first version"""
    for cell in notebook["cells"]:
        cell["metadata"].get("nbgrader", {}).pop("schema_version", None)


@edited(100, None)
def tags(notebook: Notebook) -> None:
    """tags cells to hide them in a presentation"""
    for cell in notebook["cells"]:
        cell["metadata"].update(tags=["skip-execution", "remove_cell"], slideshow={"slide_type": "skip"})


@edited(100, None)
def widgets(notebook: Notebook) -> None:
    """saves the state of widgets"""
    state = {"abc": {"model_name": "IntSliderModel", "state": {"value": 1}}}
    notebook["metadata"]["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": state}}


@edited(100, "there is no text in it: 3 cells")
def cells_that_are_none(notebook: Notebook) -> None:
    """edits the JSON by hand"""
    notebook["cells"] += [None, {"cell_type": "code"}, {"cell_type": "code", "source": {"a": 1}, "metadata": {}}]


@edited(100, None)
def stored_errors(notebook: Notebook) -> None:
    """hands in with old errors in the outputs"""
    error = {"output_type": "error", "ename": "E", "evalue": "e", "traceback": ["e"]}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = [error, {"output_type": "unknown"}]


@edited(100, None)
def fifty_megabytes(notebook: Notebook) -> None:
    """leaves 50 MB of output"""
    text = [f"epoch {i}: the loss is {1 / (i + 1):.6f}\n" for i in range(1_400_000)]
    notebook["cells"][at(notebook, "center")]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": text}]


@edited(100, "more than 200,000 characters: 1 cell")
def data_in_a_cell(notebook: Notebook) -> None:
    """pastes a table of a megabyte into a cell"""
    notebook["cells"].append(code(f"table = {list(range(150_000))}"))


# Bytes


@saved(100, None)
def byte_order_mark(text: str) -> bytes:
    """saves with a byte order mark"""
    return text.encode("utf-8-sig")


@saved(100, "not saved as UTF-8; it was read as UTF-16")
def utf_16(text: str) -> bytes:
    """saves as “Unicode” in an editor of Windows"""
    return text.encode("utf-16")


@saved(100, "not saved as UTF-8; it was read as LATIN-1")
def latin_1(text: str) -> bytes:
    """writes an umlaut in an editor that saves as Latin-1"""
    return text.replace("# Rows and columns", "# Rows and columns, von Jürgen").encode("latin-1")


@saved(100, None)
def windows_line_ends(text: str) -> bytes:
    """has Windows' line ends in the file and in the cells"""
    return text.replace("\\n", "\\r\\n").replace("\n", "\r\n").encode()


@saved(100, None)
def half_a_character(text: str) -> bytes:
    """has half of an emoji in a comment, as some keyboards make it"""
    return text.replace("def center", "# \\ud83d\\ndef center", 1).encode()


@saved(100, None)
def on_one_line(text: str) -> bytes:
    """saves the JSON on one line, with a key twice"""
    return json.dumps(json.loads(text)).replace("{", '{"nbformat": 4, ', 1).encode()


@saved(0, r"is not JSON \(line \d+, column \d+\)")
def cut_off(text: str) -> bytes:
    """hands in a file of which the second half is missing"""
    return text.encode()[: len(text) // 2]


@saved(0, "has conflict markers at line 4")
def merge_conflict(text: str) -> bytes:
    """hands in a merge that was not finished"""
    lines = text.split("\n")
    lines[3:5] = ["<<<<<<< HEAD", *lines[3:5], "=======", *lines[3:5], ">>>>>>> mine"]
    return "\n".join(lines).encode()


content("empty_file", "hands in an empty file", b"", "is an empty file")
content("not_json", "hands in a letter", b"Dear grader, my laptop broke.", "is not JSON")
content("json_null", "hands in null", b"null", "JSON, but no notebook")
content("json_list", "hands in a list", b"[1, 2, 3]", "JSON, but no notebook")
content("other_json", "hands in the checks", b'{"checks": {}}', "JSON, but no notebook")
content("no_cells", "hands in a new notebook", b'{"cells": [], "metadata": {}, "nbformat": 4}', "has no cells")
content("zip_file", "renames a zip archive", b"PK\x03\x04rest", "is a zip archive")
content("web_page", "saves the page of JupyterLab", b"<!DOCTYPE html><html></html>", "is a web page")


# Files

named("upper_case", "01_Shapes.ipynb", "`01_Shapes.ipynb` was read as `01_shapes.ipynb`")
named("downloaded_twice", "01_shapes (1).ipynb", r"`01_shapes \(1\).ipynb` was read")
named("copied_file", "01_shapes-Copy1.ipynb", "`01_shapes-Copy1.ipynb` was read")
named("copy_of_colab", "Copy of 01_shapes.ipynb", "`Copy of 01_shapes.ipynb` was read")
named("with_an_ending", "01_shapes.ipynb.txt", "`01_shapes.ipynb.txt` was read")
named("own_name", "homework anna <b>.ipynb", "`homework anna <b>.ipynb` was read")


@oddity(0, "No notebook `01_shapes.ipynb` was handed in")
def no_notebook(folder: Path, release: Notebook, solutions: dict[str, str]) -> None:
    """hands in a text only"""
    (folder / "README.txt").write_text("The notebook is in my mail.")


@oddity(0, "No notebook `01_shapes.ipynb` was handed in")
def empty_folder(folder: Path, release: Notebook, solutions: dict[str, str]) -> None:
    """hands in nothing"""


@oddity(100, "Several files are this sheet: `01_shapes.ipynb` was read, not `01_shapes-Copy1.ipynb`")
def a_copy_beside(folder: Path, release: Notebook, solutions: dict[str, str]) -> None:
    """leaves a copy of the release beside the sheet"""
    put(folder, solved(release, solutions))
    put(folder, release, "01_shapes-Copy1.ipynb")


@oddity(100, r"Several files are this sheet: `01_shapes \(2\).ipynb` was read")
def two_downloads(folder: Path, release: Notebook, solutions: dict[str, str]) -> None:
    """hands in two downloads, of which the second is finished"""
    first = put(folder, release, "01_shapes (1).ipynb")
    put(folder, solved(release, solutions), "01_shapes (2).ipynb")
    os.utime(first, (time.time() - 100, time.time() - 100))


@oddity(100, "Not a sheet of this assignment, and left out: `experiments.ipynb`")
def more_notebooks(folder: Path, release: Notebook, solutions: dict[str, str]) -> None:
    """hands in experiments of their own too"""
    put(folder, solved(release, solutions))
    put(folder, {"cells": [code("1 + 1")], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}, "experiments.ipynb")


@oddity(100, "Beside the notebook, and not used: `figures`, `table.csv`")
def more_files(folder: Path, release: Notebook, solutions: dict[str, str]) -> None:
    """hands in data and figures too"""
    put(folder, solved(release, solutions))
    (folder / "table.csv").write_text("a,b\n1,2\n")
    (folder / "figures").mkdir()
    (folder / "figures" / "a.png").write_bytes(b"\x89PNG")


@oddity(100, None)
def what_tools_leave(folder: Path, release: Notebook, solutions: dict[str, str]) -> None:
    """hands in the whole folder, with what tools left in it and what came with the release"""
    put(folder, solved(release, solutions))
    (folder / ".ipynb_checkpoints").mkdir()
    put(folder / ".ipynb_checkpoints", release, "01_shapes-checkpoint.ipynb")
    (folder / "__pycache__").mkdir()
    (folder / ".DS_Store").write_bytes(b"\0")
    (folder / "shapes.checks.json").write_text("{}")


@oddity(0, "`01_shapes.ipynb` is a link, not a file")
def a_link(folder: Path, release: Notebook, solutions: dict[str, str]) -> None:
    """hands in a link to the notebook"""
    elsewhere = folder.parent / "at home"
    elsewhere.mkdir()
    (folder / SHEET).symlink_to(put(elsewhere, solved(release, solutions)))


@oddity(100, "`timestamp.txt` holds no date and time")
def odd_timestamp(folder: Path, release: Notebook, solutions: dict[str, str]) -> None:
    """writes a timestamp by hand"""
    put(folder, solved(release, solutions))
    (folder / "timestamp.txt").write_text("on time!!")
