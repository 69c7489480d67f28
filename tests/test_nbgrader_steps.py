"""What happens to a submission before and after it runs: reading, rebuilding, one result, no hidden tests."""

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.notebooknode import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from traitlets.config import LoggingConfigurable
from traitlets.utils.importstring import import_item

from autograder.nbgrader_steps import NOTES, OneResult, SubmissionReader, _assemble, configure, without_hidden

HIDDEN = "### BEGIN HIDDEN TESTS\ncheck = 3\n### END HIDDEN TESTS\n"


def cell(name: str, source: str, locked: bool = False, grade: bool = False) -> NotebookNode:
    """A cell that nbgrader knows."""
    meta = {"grade_id": name, "locked": locked, "grade": grade, "solution": not locked}
    return new_code_cell(source, metadata={"nbgrader": meta})


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


def rebuilt(student: list[NotebookNode]) -> tuple[list[str], list[str]]:
    """Returns the sources of the rebuilt notebook, hidden tests cut, and the notes to the student."""
    notes: list[str] = []
    cells = _assemble(student, wanted(), notes)
    assert len({c.id for c in cells}) == len(cells)
    return [without_hidden(c.source) for c in cells], notes


def test_an_untouched_order_is_kept_with_free_cells_where_they_stood() -> None:
    cells = [free("a"), *sent(one="1", two="2")]
    cells.insert(3, free("b"))
    cells.append(free("c"))
    sources, notes = rebuilt(cells)
    assert sources == ["a", "import numpy", "1", "b", "check('one')", "2", "check('two')", "c"]
    assert notes == []


def test_what_is_locked_comes_from_the_gradebook_and_hidden_tests_come_back() -> None:
    cells = sent(one="1", setup="import os", check_one="pass")
    both = (_assemble(cells, wanted(), []), wanted())
    made, theirs = ([c.source for c in some if c.metadata.nbgrader.locked] for some in both)
    assert made == theirs


def test_metadata_comes_from_the_gradebook() -> None:
    cells = sent(one="1")
    cells[2].metadata.nbgrader.update(grade=False, points=100, locked=False)
    cells[2].metadata.tags = ["skip-execution"]
    made = next(c for c in _assemble(cells, wanted(), []) if c.metadata.nbgrader.grade_id == "check_one")
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
    sources, notes = rebuilt(cells)
    check = sources.index("check('one')")
    assert [s for s in sources[:check] if s in ("1", "copy")][-1] == counts
    assert sorted(sources) == sorted(["import numpy", "1", "copy", "2", "check('one')", "check('two')"])
    assert notes == ["There were 2 copies of the cell `one`; the last one before its check counts."]


def test_a_copied_check_is_run_once() -> None:
    cells = [*sent(one="1"), cell("check_one", "check('one')", locked=True, grade=True)]
    sources, notes = rebuilt(cells)
    assert sources.count("check('one')") == 1
    assert len(notes) == 1


def test_a_missing_cell_is_put_back_in_its_place() -> None:
    cells = [c for c in sent(one="1", two="2") if c.metadata.nbgrader.grade_id not in ("check_one", "two")]
    sources, notes = rebuilt(cells)
    assert sources == ["import numpy", "1", "check('one')", "stub", "check('two')"]
    assert [note.split("`")[1] for note in notes] == ["check_one", "two"]


def test_moved_cells_are_put_in_order() -> None:
    sources, _ = rebuilt(sent(one="1", two="2")[::-1])
    assert sources == ["import numpy", "1", "check('one')", "2", "check('two')"]


def test_an_empty_notebook_is_the_release() -> None:
    sources, notes = rebuilt([])
    assert sources == ["import numpy", "stub", "check('one')", "stub", "check('two')"]
    assert len(notes) == 5


def read(path: Path, content: bytes) -> NotebookNode:
    path.write_bytes(content)
    text, _ = SubmissionReader().from_filename(str(path))
    return nbformat.reads(text, as_version=4)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"cells": [', "is not JSON (line 1, column"),
        (b"", "is not JSON (line 1, column 1)"),
        (b"<<<<<<< HEAD\n{}\n", "is not JSON (line 1, column 1)"),
        (b'{"a": 1}', "not a notebook that can be read"),
        (b"[1, 2]", "not a notebook that can be read"),
        (b"3", "not a notebook that can be read"),
        (b"\xff\xfe\x00binary\x00", "not a notebook that can be read"),
        (b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": 7}', "not a notebook that can be read"),
        (b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [7]}', "not a notebook that can be read"),
    ],
    ids=["cut off", "empty", "merge", "other JSON", "a list", "a number", "binary", "no list of cells", "odd cells"],
)
def test_what_is_no_notebook_becomes_an_empty_one_that_says_why(tmp_path: Path, content: bytes, said: str) -> None:
    notebook = read(tmp_path / "sheet.ipynb", content)
    assert notebook.cells == []
    assert said in notebook.metadata[NOTES][0]


def test_a_submission_that_is_no_file_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "folder.ipynb").mkdir()
    text, _ = SubmissionReader().from_filename(str(tmp_path / "folder.ipynb"))
    assert json.loads(text)["cells"] == []


def test_of_a_cell_only_its_text_and_its_name_are_read(tmp_path: Path) -> None:
    made = cell("one", "x = 1")
    made.metadata.update(tags=["skip-execution"], evil={"a": 1})
    made.outputs = [new_output("stream", text="spoofed")]
    odd = new_markdown_cell("text", attachments={"a.png": {"image/png": "AAAA"}})
    odd.metadata["nbgrader"] = ["no", "dict"]
    notebook = read(tmp_path / "sheet.ipynb", nbformat.writes(new_notebook(cells=[made, odd])).encode())
    assert [c.metadata for c in notebook.cells] == [{"nbgrader": {"grade_id": "one"}}, {}]
    assert notebook.cells[0].outputs == []
    assert "attachments" not in notebook.cells[1]


def test_an_old_notebook_is_read(tmp_path: Path) -> None:
    code = {"cell_type": "code", "input": ["x = 1"], "outputs": [], "language": "python", "collapsed": False}
    sheets = [{"metadata": {}, "cells": [{**code, "metadata": {}}]}]
    old = {"nbformat": 3, "nbformat_minor": 0, "metadata": {"name": "old"}, "worksheets": sheets}
    notebook = read(tmp_path / "sheet.ipynb", json.dumps(old).encode())
    assert [c.source for c in notebook.cells] == ["x = 1"]


def outputs_after(outputs: list[NotebookNode]) -> list[NotebookNode]:
    made = cell("check_one", "check('one')", locked=True, grade=True)
    made.outputs = outputs
    notebook, _ = OneResult().preprocess(new_notebook(cells=[made]), {})
    return list(notebook.cells[0].outputs)


def test_a_warning_or_a_print_beside_the_result_costs_nothing() -> None:
    result = new_output("execute_result", data={"text/plain": "2.0"})
    noise = [new_output("stream", name="stderr", text="careful"), new_output("stream", name="stdout", text="hi")]
    assert outputs_after([*noise, result]) == [result]


def test_a_result_that_came_first_does_not_count() -> None:
    first, last = (new_output("execute_result", data={"text/plain": text}) for text in ("5.0", "0.0"))
    assert outputs_after([first, last]) == [last]


def test_a_check_without_any_result_scores_nothing_and_says_why() -> None:
    (only,) = outputs_after([])
    assert only.output_type == "error"
    assert "the kernel stopped before its check" in only.evalue


def test_solutions_and_free_cells_keep_their_outputs() -> None:
    cells = [free("1"), cell("one", "2")]
    for made in cells:
        made.outputs = [new_output("stream", text="kept")]
    notebook, _ = OneResult().preprocess(new_notebook(cells=cells), {})
    assert all(c.outputs for c in notebook.cells)


def test_hidden_tests_are_cut_and_nothing_else() -> None:
    assert without_hidden(f"a\n{HIDDEN}b") == "a\nb"
    assert without_hidden("a\nb") == "a\nb"


class Section(dict[str, Any]):
    """A stand-in for traitlets' config, which makes its sections when they are named."""

    def __getattr__(self, name: str) -> Any:
        return self.setdefault(name, Section())

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


def test_the_configuration_names_steps_that_exist() -> None:
    config = Section()
    configure(config)
    ours = config.Autograde
    names = [ours.exporter_class, *ours.sanitize_preprocessors, *ours.autograde_preprocessors]
    assert all(isinstance(import_item(name), type) for name in names)


class SecondPass(LoggingConfigurable):
    """The converter when it grades what it sanitized before."""

    _sanitizing = False


def test_the_second_pass_reads_what_the_first_one_wrote_as_it_is(tmp_path: Path) -> None:
    made = new_notebook(cells=[cell("check_one", "check('one')", locked=True, grade=True)])
    (tmp_path / "sheet.ipynb").write_text(nbformat.writes(made))
    text, _ = SubmissionReader(parent=SecondPass()).from_filename(str(tmp_path / "sheet.ipynb"))
    assert nbformat.reads(text, as_version=4).cells == made.cells
