"""From the bytes of a file to the notebook that is run: one's own rules by example, any JSON at all by fuzzing."""

import json
import os
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nbconvert.filters import markdown2html
from nbformat.notebooknode import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from autograder.errors import CourseError
from autograder.rebuilding import (
    FREE_CELLS,
    FREE_TEXT,
    LONGEST_CELL,
    NOTES,
    Rebuild,
    assemble,
    grade_ids,
    listed,
    notebook_from,
    quoted,
    rebuilt,
    without_hidden,
)

HIDDEN = "### BEGIN HIDDEN TESTS\ncheck = 3\n### END HIDDEN TESTS\n"
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))  # as many others each time; by default the same 200
fuzz = settings(
    max_examples=EXAMPLES or 200,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def cell(name: str, source: str, locked: bool = False, grade: bool = False) -> NotebookNode:
    """A cell that nbgrader knows."""
    meta = {"grade_id": name, "locked": locked, "grade": grade, "solution": not locked}
    return new_code_cell(source, id=name, metadata={"nbgrader": meta})


def free(source: str) -> NotebookNode:
    return new_code_cell(source)


def wanted() -> list[NotebookNode]:
    """The cells of a sheet of two tasks, as the gradebook has them."""
    return [
        cell("setup", "import numpy", locked=True),
        cell("one", "stub"),
        cell("check_one", f"{HIDDEN}check('one')", locked=True, grade=True),
        cell("two", "stub"),
        cell("check_two", f"{HIDDEN}check('two')", locked=True, grade=True),
    ]


def sent(**solutions: str) -> list[NotebookNode]:
    """The same cells as a student sends them: no hidden tests, solutions written."""
    cells = wanted()
    for made in cells:
        made.source = solutions.get(made.metadata.nbgrader.grade_id, without_hidden(made.source))
    return cells


def assembled(student: list[NotebookNode]) -> tuple[list[str], list[str]]:
    """Returns the sources of the assembled notebook, hidden tests cut, and the notes to the student."""
    notes: list[str] = []
    cells = assemble(student, wanted(), notes)
    assert len({c.id for c in cells}) == len(cells)
    return [without_hidden(c.source) for c in cells], notes


def test_an_untouched_order_is_kept_with_free_cells_where_they_stood() -> None:
    cells = [free("a"), *sent(one="1", two="2")]
    cells.insert(3, free("b"))
    cells.append(free("c"))
    sources, notes = assembled(cells)
    assert sources == ["a", "import numpy", "1", "b", "check('one')", "2", "check('two')", "c"]
    assert notes == []


def test_what_is_locked_comes_from_the_gradebook_and_hidden_tests_come_back() -> None:
    cells = sent(one="1", setup="import os", check_one="pass")
    notes: list[str] = []
    both = (assemble(cells, wanted(), notes), wanted())
    made, theirs = ([c.source for c in some if c.metadata.nbgrader.locked] for some in both)
    assert made == theirs
    assert notes == ["The cells `setup`, `check_one` were changed, though locked; the text of the release counts."]


def test_metadata_comes_from_the_gradebook() -> None:
    cells = sent(one="1")
    cells[2].metadata.nbgrader.update(grade=False, points=100, locked=False)
    cells[2].metadata.tags = ["skip-execution"]
    made = next(c for c in assemble(cells, wanted(), []) if c.metadata.nbgrader.grade_id == "check_one")
    assert made.metadata.nbgrader.grade is True
    assert "tags" not in made.metadata


@pytest.mark.parametrize(
    ("place", "counts"),
    [(1, "1"), (2, "copy"), (4, "1"), (6, "1")],
    ids=["copy above", "copy below", "copy after the check", "copy at the end"],
)
def test_of_copies_the_last_before_the_check_counts_as_run_all_has_it(place: int, counts: str) -> None:
    cells = sent(one="1", two="2")
    cells.insert(place if place < 6 else len(cells), cell("one", "copy"))
    sources, notes = assembled(cells)
    check = sources.index("check('one')")
    assert [s for s in sources[:check] if s in ("1", "copy")][-1] == counts
    assert sorted(sources) == sorted(["import numpy", "1", "copy", "2", "check('one')", "check('two')"])
    assert notes == ["There were 2 copies of the cell `one`; the last one before its check counts."]


@pytest.mark.parametrize("place", [0, 3, 5])
def test_a_copied_check_is_run_once(place: int) -> None:
    cells = sent(one="1", two="2")
    cells.insert(place, cell("check_one", "check('one')", locked=True, grade=True))
    sources, notes = assembled(cells)
    assert sources == ["import numpy", "1", "check('one')", "2", "check('two')"]
    assert "There were 2 copies of the cell `check_one`; the first one counts." in notes


def test_a_missing_cell_is_put_back_in_its_place() -> None:
    cells = [c for c in sent(one="1", two="2") if c.metadata.nbgrader.grade_id not in ("check_one", "two")]
    sources, notes = assembled(cells)
    assert sources == ["import numpy", "1", "check('one')", "stub", "check('two')"]
    assert notes == ["The cells `check_one`, `two` were missing; put back as in the release."]


def test_what_is_written_in_a_new_cell_in_place_of_a_deleted_one_is_not_covered_by_the_stub() -> None:
    cells = sent(one="1", two="2")
    cells[1:2] = [free("anew"), free("and more")]
    del cells[0]
    sources, _ = assembled(cells)
    assert sources == ["import numpy", "stub", "anew", "and more", "check('one')", "2", "check('two')"]


def test_free_cells_run_before_a_check_that_was_deleted() -> None:
    cells = [free("anew") if c.id == "one" else c for c in sent(two="2") if c.id != "check_one"]
    sources, _ = assembled(cells)
    assert sources == ["import numpy", "stub", "anew", "check('one')", "2", "check('two')"]


def test_moved_cells_are_put_in_order() -> None:
    sources, notes = assembled(sent(one="1", two="2")[::-1])
    assert sources == ["import numpy", "1", "check('one')", "2", "check('two')"]
    assert notes == ["Cells were moved; the sheet's own were run in the order of the release."]


def test_an_empty_notebook_is_the_release() -> None:
    sources, notes = assembled([])
    assert sources == ["import numpy", "stub", "check('one')", "stub", "check('two')"]
    assert notes == [
        "The cells `setup`, `one`, `check_one`, `two`, `check_two` were missing; put back as in the release."
    ]


def test_a_solution_of_another_type_is_read_as_what_it_was() -> None:
    cells = sent(two="2")
    cells[1] = new_markdown_cell("1", metadata=cells[1].metadata)
    notes: list[str] = []
    made = assemble(cells, wanted(), notes)[1]
    assert (made.cell_type, made.source) == ("code", "1")
    assert notes == ["The cell `one` had another type; it is read as code."]


def test_cells_that_lost_their_names_are_known_by_id_or_by_their_locked_text() -> None:
    def bare(identity: str, source: str) -> dict[str, Any]:
        return {"cell_type": "code", "source": source, "metadata": {}, "id": identity}

    cells = [bare(c.id, c.source) for c in sent(one="1", two="2")]
    nb = read({"cells": cells})
    assert texts(rebuilt(nb, wanted())) == ["import numpy", "1", "check('one')", "2", "check('two')"]
    nb = read({"cells": [{**c, "id": "x"} for c in cells]})
    sources = texts(rebuilt(nb, wanted()))
    assert sources[1:] == ["import numpy", "stub", "1", "check('one')", "stub", "2", "check('two')"]
    assert sources[0].endswith("The cells `one`, `two` were missing; put back as in the release.")


def test_of_another_release_the_students_cells_are_run_and_the_locked_ones_are_not() -> None:
    cells = sent(one="1", two="2")
    cells[1:1] = [cell("old", "old"), cell("check_old", "check('old')", locked=True, grade=True)]
    sources, notes = assembled(cells)
    assert sources == ["import numpy", "old", "1", "check('one')", "2", "check('two')"]
    assert "another release of the sheet, with cells that this one does not have: `old`, `check_old`." in notes[0]


def read(data: bytes | dict[str, Any]) -> NotebookNode:
    return notebook_from(data if isinstance(data, bytes) else json.dumps(data).encode(), "sheet.ipynb")


def texts(nb: NotebookNode) -> list[str]:
    return [without_hidden(c.source) for c in nb.cells]


BOOK = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"cells": [', "is not JSON (line 1, column"),
        (b'{"cells":\n [}', "is not JSON (line 2, column 3)"),
        (b"", "is an empty file"),
        (b" \r\n", "is an empty file"),
        (b"<<<<<<< HEAD\n{}\n", "has conflict markers at line 1"),
        (b"{\n<<<<<<< HEAD\n=======\n>>>>>>> x\n}\n", "has conflict markers at line 2"),
        (b'{"a": 1}', "no notebook"),
        (b"[1, 2]", "no notebook"),
        (b"3", "no notebook"),
        (b"null", "no notebook"),
        (b"NaN", "no notebook"),
        (b"\xff\xfe\x00binary\x00", "is not JSON"),
        (b"\x00\x00\x00\x00", "is not JSON"),
        (b"PK\x03\x04", "is a zip archive"),
        (b"%PDF-1.7", "is a PDF"),
        (b"\n<HTML>", "is a web page"),
        (json.dumps({**BOOK, "cells": 7}).encode(), "no notebook"),
        (b"[" * 1_000_000, "is more than JSON may be (RecursionError)"),
        (b'{"a": ' * 1_000_000, "is more than JSON may be (RecursionError)"),
        (b"[" + b"[]," * 5_000_000 + b"1]", "has too many parts"),
    ],
)
def test_what_is_no_notebook_becomes_an_empty_one_that_says_why(content: bytes, said: str) -> None:
    notebook = read(content)
    assert notebook.cells == []
    assert notebook.metadata[NOTES][-1].startswith("What was submitted is not a notebook that can be read: `sheet")
    assert said in notebook.metadata[NOTES][-1]
    assert grade_ids(content) == set()


def test_the_notes_of_an_unreadable_file_do_not_name_each_cell() -> None:
    cells = rebuilt(read(b"{"), wanted()).cells
    assert len(cells) == 6
    assert len(re.findall("^- ", cells[0].source, re.MULTILINE)) == 1


def test_of_a_cell_only_its_text_and_its_name_are_read() -> None:
    made = cell("one", "x = 1")
    made.metadata.update(tags=["skip-execution"], evil={"a": 1})
    made.outputs = [new_output("stream", text="spoofed")]
    odd = new_markdown_cell("text", attachments={"a.png": {"image/png": "AAAA"}})
    odd.metadata["nbgrader"] = ["no", "dict"]
    notebook = read(nbformat.writes(new_notebook(cells=[made, odd], metadata={"widgets": {}})).encode())
    assert [c.metadata.nbgrader for c in notebook.cells] == [{"grade_id": "one", "locked": False}, {}]
    assert list(notebook.metadata) == [NOTES]
    assert notebook.cells[0].outputs == []
    assert "attachments" not in notebook.cells[1]
    assert "pictures" in notebook.metadata[NOTES][0]


def one(**fields: Any) -> dict[str, Any]:
    """A notebook of one cell."""
    return {**BOOK, "cells": [{"cell_type": "code", "metadata": {}, **fields}]}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (one(source=["a\n", "b"]), "a\nb"),
        (one(source="a\r\nb\rc"), "a\nb\nc"),
        (one(source="a\0b"), "a�b"),
        (one(source="\ud83d"), "�"),
        (one(source="\ud83d\ude00"), "\U0001f600"),
        (one(source="\ufeff1"), "\ufeff1"),
        (one(input="v3"), "v3"),
        (one(cell_type="heading", source="A"), "# A"),
        (one(cell_type=7, source="x"), "x"),
        (one(metadata=None, source="x"), "x"),
        (one(metadata={"nbgrader": {"grade_id": {"a": 1}}}, source="x"), "x"),
        ({"worksheets": [None, {}, {"cells": [{"input": ["x"]}]}]}, "x"),
    ],
)
def test_odd_cells_are_read(data: dict[str, Any], text: str) -> None:
    notebook = read(data)
    assert [c.source for c in notebook.cells] == [text]
    assert notebook.metadata[NOTES] == []


@pytest.mark.parametrize("odd", [7, None, [], {}, {"source": 1}, {"source": [1, "a"]}, {"source": None}])
def test_what_has_no_text_is_left_out_and_said(odd: Any) -> None:
    notebook = read({"cells": [odd, one(source="x")["cells"][0]]})
    assert [c.source for c in notebook.cells] == ["x"]
    assert notebook.metadata[NOTES] == ["Left out, because there is no text in it: 1 cell."]


def test_a_million_cells_are_too_many() -> None:
    many = b'{"cells": [' + b'{"cell_type":"code","source":"1"},' * 1_000_000 + b'{"source": ""}]}'
    notebook = read(many)
    assert len(notebook.cells) == FREE_CELLS
    assert notebook.metadata[NOTES] == ["Left out, because the notebook is too long: 998,001 cells."]


def test_the_sheets_own_cells_are_found_behind_too_many_others() -> None:
    notebook = read({"cells": [*one(source="1")["cells"] * (FREE_CELLS + 10), *sent(one="1")]})
    assert [c.source for c in notebook.cells[FREE_CELLS:]] == [c.source for c in sent(one="1")]


def test_text_has_a_limit_in_a_cell_and_in_all() -> None:
    long, most = "x" * (LONGEST_CELL + 1), "x" * LONGEST_CELL
    notebook = read({"cells": [one(source=text)["cells"][0] for text in [long, *[most] * 20, "", "y"]]})
    assert sum(len(c.source) for c in notebook.cells) == FREE_TEXT
    assert [note.split(": ")[1] for note in notebook.metadata[NOTES]] == ["1 cell.", "11 cells."]


def test_one_line_of_a_hundred_megabytes_is_read() -> None:
    outputs = [{"output_type": "stream", "name": "stdout", "text": "x" * 100_000_000}]
    assert [c.source for c in read(one(source="1", outputs=outputs)).cells] == ["1"]


def test_commas_in_a_text_are_not_counted() -> None:
    outputs = [{"output_type": "stream", "name": "stdout", "text": '\\",' * 6_000_000 + "," * 6_000_000}]
    assert [c.source for c in read(one(source="1", outputs=outputs)).cells] == ["1"]


def test_a_number_of_any_length_is_read() -> None:
    assert len(read(b'{"cells": [{"source": "1", "execution_count": ' + b"9" * 100_000 + b"}]}").cells) == 1


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252"])
def test_encodings(encoding: str) -> None:
    notebook = read(json.dumps(one(source="# für"), ensure_ascii=False).encode(encoding))
    assert [c.source for c in notebook.cells] == ["# für"]
    assert len(notebook.metadata[NOTES]) == (encoding != "utf-8-sig")


@pytest.mark.parametrize(
    "name",
    ["<script>alert(1)</script>", "`<b>`", "a\n- b", "**x**", "[a](javascript:b)", "$x$", "![](x)", "``", "\\`<i>", ""],
)
def test_a_name_is_neither_markdown_nor_html(name: str) -> None:
    html = markdown2html(f"- {quoted(name)} was read.")
    assert re.sub(r"</?(ul|li|p|code)>", "", html).count("<") == 0
    assert html.count("<code>") == html.count("<li>") == 1


def test_a_name_has_a_limit_and_so_have_lists_of_them() -> None:
    assert len(quoted("x" * 1000)) < 70
    assert listed("abcdefg") == "`a`, `b`, `c`, `d`, `e`, 2 more"


def test_hidden_tests_are_cut_and_nothing_else() -> None:
    assert without_hidden(f"a\n{HIDDEN}b") == "a\nb"
    assert without_hidden("a\nb") == "a\nb"


class Folders:
    """What a step's parent knows of the course's folders."""

    source_directory = "source"

    def __init__(self, root: Path) -> None:
        self.root = root

    def format_path(self, *parts: str) -> str:
        return str(self.root.joinpath(*parts))


def test_a_source_notebook_that_is_missing_is_named(tmp_path: Path) -> None:
    step = Rebuild()
    object.__setattr__(step, "coursedir", Folders(tmp_path))
    with pytest.raises(CourseError, match=r"m1/sheet.ipynb is missing.*: put the source notebook back"):
        step.preprocess(new_notebook(), {"nbgrader": {"assignment": "m1", "notebook": "sheet", "db_url": ""}})


# Any JSON, and any bytes

TEXTS = st.text(max_size=8) | st.sampled_from(["\ud800", "a\0", "`<b>`\n# x", "raise\r\n", "one", "check_two"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
KEYS = TEXTS | st.sampled_from(["cells", "metadata", "source", "cell_type", "worksheets", "nbgrader", "id", "input"])
ANYTHING = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4))
NAMES = st.sampled_from(["setup", "one", "check_one", "two", "check_two", "old", ""]) | ANYTHING
ABOUT = ANYTHING | st.fixed_dictionaries(
    {"grade_id": NAMES}, optional={"locked": ANYTHING, "points": ANYTHING, "grade": ANYTHING, "solution": ANYTHING}
)
METADATA = ANYTHING | st.fixed_dictionaries({"nbgrader": ABOUT}, optional={"tags": ANYTHING, "evil": ANYTHING})
CELLS = ANYTHING | st.fixed_dictionaries(
    {},
    optional={
        "cell_type": st.sampled_from(["code", "markdown", "raw", "heading"]) | ANYTHING,
        "source": TEXTS | st.lists(TEXTS, max_size=3) | ANYTHING,
        "input": TEXTS | ANYTHING,
        "metadata": METADATA,
        "outputs": ANYTHING,
        "attachments": ANYTHING,
        "id": NAMES,
        "execution_count": ANYTHING,
        "evil": ANYTHING,
    },
)
BOOKS = st.fixed_dictionaries(
    {},
    optional={
        "cells": st.lists(CELLS, max_size=8) | ANYTHING,
        "worksheets": st.lists(st.fixed_dictionaries({"cells": st.lists(CELLS, max_size=4)}) | ANYTHING, max_size=2),
        "metadata": ANYTHING,
        "nbformat": ANYTHING,
        "nbformat_minor": ANYTHING,
    },
)


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """A submission that is valid, but for a few fields and the order of its cells."""
    cells = json.loads(json.dumps(draw(st.permutations(sent(one="1", two="2")))))
    for made in draw(st.lists(st.sampled_from(cells), max_size=3)):
        place = draw(st.sampled_from([made, made["metadata"], made["metadata"].get("nbgrader") or made]))
        if isinstance(place, dict) and place:
            place[draw(st.sampled_from(sorted(place)))] = draw(ANYTHING)
        if not isinstance(made["metadata"], dict):
            made["metadata"] = {"nbgrader": made["metadata"]}
    return {**BOOK, "cells": cells + draw(st.lists(CELLS, max_size=2))}


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """The bytes of a valid submission with a piece replaced."""
    whole = encoded({**BOOK, "cells": sent(one="1", two="2")})
    first, last = sorted(draw(st.tuples(*[st.integers(0, len(whole))] * 2)))
    return whole[:first] + draw(st.binary(max_size=10)) + whole[last:]


def must_hold(data: bytes) -> None:
    """Asserts all that a rebuilt notebook promises, whatever was sent."""
    read = notebook_from(data, "sheet.ipynb")
    assert grade_ids(data) >= {c.metadata.nbgrader.grade_id for c in read.cells if c.metadata.nbgrader}
    notes = read.metadata[NOTES]
    assert isinstance(notes, list) and all(isinstance(note, str) and "\n" not in note for note in notes)
    made = rebuilt(read, wanted())
    nbformat.validate(made)
    assert nbformat.reads(nbformat.writes(made).encode().decode(), as_version=4) == made
    assert list(made.metadata) == ["kernelspec"]
    known = [c for c in made.cells if "nbgrader" in c.metadata]
    assert len(known) == len(wanted())
    for ours, theirs in zip(known, wanted(), strict=True):
        assert ours.metadata == theirs.metadata
        assert ours.cell_type == theirs.cell_type
        assert ours.source == theirs.source or not theirs.metadata.nbgrader.locked
    for c in made.cells:
        assert set(c) <= {"cell_type", "source", "metadata", "id", "outputs", "execution_count"}
        assert not c.get("outputs") and c.get("execution_count") is None
        assert c in known or c.metadata == {} or (c is made.cells[0] and c.metadata == {NOTES: True})
    assert made.cells[0].metadata.get(NOTES) or not notes


@fuzz
@given(ANYTHING | BOOKS)
def test_any_json_is_rebuilt(value: Any) -> None:
    must_hold(encoded(value))


@fuzz
@given(mutated())
def test_any_change_of_a_notebook_is_rebuilt(value: dict[str, Any]) -> None:
    must_hold(encoded(value))


@fuzz
@given(st.binary(max_size=50) | damaged())
def test_any_bytes_are_rebuilt(data: bytes) -> None:
    must_hold(data)
