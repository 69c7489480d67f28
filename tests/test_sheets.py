"""Reading sheets and checks: each way to break one is refused in one sentence with file, line, and what to do."""

from pathlib import Path

import pytest

from autograder.course import SheetPlace
from autograder.errors import CourseError
from autograder.sheets import load_checks, read_sheet, task_checks, visible_code
from tests.conftest import Plant
from tests.mini import CHECKS

PROSE = "# %% [markdown]\n# A title\n\n"


def refusal(path: Path) -> str:
    """Returns the sentence with which the sheet is refused."""
    with pytest.raises(CourseError) as refused:
        read_sheet(path)
    return one_sentence(str(refused.value))


def one_sentence(message: str) -> str:
    assert "\n" not in message
    assert len(message) < 400
    return message


BROKEN = {
    "empty": ("", None, "has no cells; a cell begins with a line `# %%`"),
    "no cells": ("x = 1\n", None, "has no cells"),
    "code before the first cell": ("x = 1\n" + PROSE, 1, "before the first cell; begin a cell with `# %%`"),
    "comment before the first cell": ("# hello\n" + PROSE, 1, "before the first cell"),
    "jupytext header": ("# ---\n# jupyter:\n#   kernelspec:\n#     name: x\n# ---\n" + PROSE, 1, "before the first"),
    "uncommented prose": (PROSE + "# %% [markdown]\n# fine\nnot fine\n", 6, "is not a comment"),
    "indented prose": (PROSE + " # off\n", 4, "is not a comment"),
    "code in prose": (PROSE + "x = 1\n", 4, "begin a cell with `# %%` before it"),
    "prose that starts a cell": (PROSE + "# %% of the class know this\n", 4, "header is not understood"),
    "nothing understood": (PROSE + "# %% [Markdown]\n# x\n", 4, "it may say one of setup=true, task="),
    "another name for prose": (PROSE + "# %% [md]\n# x\n", 4, "header is not understood"),
    "raw cell": (PROSE + "# %% [raw]\n# x\n", 4, "header is not understood"),
    "unknown key": (PROSE + '# %% tasks="a"\nx = 1\n', 4, "header is not understood"),
    "two roles": (PROSE + '# %% task="a" check="a"\nx = 1\n', 4, "header is not understood"),
    "a key too much": (PROSE + '# %% task="a" tags=["b"]\nx = 1\n', 4, "header is not understood"),
    "name without quotes": (PROSE + "# %% task=a\nx = 1\n", 4, "header is not understood"),
    "name without end": (PROSE + '# %% task="a\nx = 1\n', 4, "header is not understood"),
    "empty name": (PROSE + '# %% task=""\nx = 1\n', 4, "header is not understood"),
    "a list for a name": (PROSE + '# %% task=["a"]\nx = 1\n', 4, "header is not understood"),
    "setup that is none": (PROSE + "# %% setup=false\nx = 1\n", 4, "header is not understood"),
    "setup by another word": (PROSE + '# %% setup="yes"\nx = 1\n', 4, "header is not understood"),
    "task in prose": (PROSE + '# %% [markdown] task="a"\n# x\n', 4, "a task cell must be code"),
    "check in prose": (PROSE + '# %% [markdown] check="a"\n# x\n', 4, "a check cell must be code"),
    "setup in prose": (PROSE + "# %% [markdown] setup=true\n# x\n", 4, "a setup cell must be code"),
    "answer in code": (PROSE + '# %% written="a"\nx = 1\n', 4, "a written cell must be prose"),
    "syntax": (PROSE + "# %%\n\n\nx = 1\ny = = 2\n", 8, "invalid syntax"),
    "open bracket": (PROSE + "# %%\nx = (\n", 5, "never closed"),
    "indentation": (PROSE + "# %%\nif True:\nx = 1\n", 6, "indented block"),
    "return": (PROSE + "# %%\nx = 1\nreturn x\n", 6, "outside function"),
    "magic": (PROSE + "# %%\n# %matplotlib inline\nx = 1\n", 5, "invalid syntax"),
    "null byte": (PROSE + "# %%\nx = '\0'\n", 5, "null byte"),
    "marker without space": (PROSE + "# %%\nx = 1\n#%%\ny = 1\n", 6, "half like the beginning of a cell"),
    "indented marker": (PROSE + "# %%\nif True:\n    # %%\n    x = 1\n", 6, "half like the beginning"),
    "deep marker": (PROSE + "# %%%% deeper\n# x\n", 4, "half like the beginning"),
    "marker in a string": (PROSE + '# %%\nx = """\n# %%\n"""\n', 6, "outside of any string"),
    "line separator": (PROSE + "# a\u2028b\n", 4, "invisible character U+2028; remove it"),
    "next line": (PROSE + "# a\x85b\n", 4, "U+0085"),
    "form feed": (PROSE + "# %%\nx = 1\n\x0c\ny = 2\n", 6, "U+000C"),
    "vertical tab": (PROSE + "# %%\nx = 1\x0b\n", 5, "U+000B"),
}


@pytest.mark.parametrize("text, line, sentence", BROKEN.values(), ids=BROKEN)
def test_a_broken_sheet_is_refused_with_file_and_line(
    tmp_path: Path, text: str, line: int | None, sentence: str
) -> None:
    path = tmp_path / "sheet.py"
    path.write_bytes(text.encode())
    message = refusal(path)
    assert message.startswith(f"{path}, line {line}: " if line else f"{path}: ")
    assert sentence in message


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sheet.py"
    path.write_bytes(PROSE.encode() + "# Schr\xf6der\n".encode("latin-1"))
    assert "is not UTF-8 text (byte 33): save it as UTF-8" in refusal(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "does not exist: write it, or remove its entry from module.toml" in refusal(tmp_path / "sheet.py")


SAME = 'CELLS = "é"'  # what each accepted spelling of a file reads as
ACCEPTED = {
    "plain": f"{PROSE}# %%\n{SAME}\n",
    "CRLF": f"{PROSE}# %%\n{SAME}\n".replace("\n", "\r\n"),
    "byte order mark": f"\ufeff{PROSE}# %%\n{SAME}\n",
    "no last line end": f"{PROSE}# %%\n{SAME}",
    "space after the marker": f"# %% [markdown]   \n# A title\n\n# %%  \n{SAME}\n",
    "blank lines before": f"\n\n{PROSE}# %%\n{SAME}\n",
}


@pytest.mark.parametrize("text", ACCEPTED.values(), ids=ACCEPTED)
def test_how_an_editor_saves_makes_no_difference(tmp_path: Path, text: str) -> None:
    path = tmp_path / "sheet.py"
    path.write_bytes(text.encode())
    cells = read_sheet(path).cells
    assert [(cell.kind, cell.text) for cell in cells] == [("markdown", "A title"), ("code", SAME)]


def test_tabs_trailing_spaces_and_unicode_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "sheet.py"
    path.write_text("# %% [markdown]\n# γ = 𝛽 + “é”  \n#\n#   deeper\n\n# %%\nif True:\n\tα = 1   \n", encoding="utf-8")
    cells = read_sheet(path).cells
    assert [cell.text for cell in cells] == ["γ = 𝛽 + “é”  \n\n  deeper", "if True:\n\tα = 1   "]


def test_each_cell_knows_its_line_role_and_name(place: SheetPlace) -> None:
    text = read_sheet(place.text)
    lines = place.text.read_text(encoding="utf-8").splitlines()
    assert [cell.name for cell in text.by_role("task")] == ["center", "normalize"]
    assert [cell.name for cell in text.by_role("check")] == ["center", "normalize"]
    assert [cell.name for cell in text.by_role("written")] == ["why"]
    assert len(text.by_role("setup")) == 1
    for cell in text.cells:
        assert lines[cell.line - 1].startswith("# %%")
        first = cell.text.splitlines()[0]
        assert first in (lines[cell.line], lines[cell.line].removeprefix("# "))


CASE = '@center.case("one row becomes zeros", hidden=True)'
NO_SHEET = "import numpy as np\n"
BROKEN_CHECKS = {
    "import": ("import numpy as np", "import nosuch", 3, "No module named 'nosuch'"),
    "syntax": ("def table(rng):", "def table(rng:", 13, "never closed"),
    "null byte": ("def table(rng):", "def table(rng): \0", 13, "null byte"),
    "raises": ("def table(rng):", "1 / 0\ndef table(rng):", 13, "ZeroDivisionError: division by zero"),
    "exits": ("def table(rng):", "raise SystemExit(0)\ndef table(rng):", 13, "SystemExit"),
    "no sheet": (CHECKS, NO_SHEET, 1, "it declares 0 sheets; it must declare one, sheet = Sheet(name)"),
    "two sheets": ("def table(rng):", 'other = Sheet("b")\ndef table(rng):', 1, "it declares 2 sheets"),
    "unknown object": ("def one_row(center, rng)", "def one_row(centre, rng)", 22, "asks for centre, but the task has"),
    "tolerance without reason": (CASE, CASE[:-1] + ", rtol=0.1)", 22, "sets a tolerance; say why in `because`"),
    "no points": ("points=2", "points=0", 8, "needs more than 0 points"),
    "points that are text": ("points=2", 'points="2"', 8, "TypeError"),
    "duplicated task": ('task("normalize"', 'task("center"', 9, "two tasks are called center; give each a name"),
    "task and question": ('written("why"', 'written("center"', 10, "two tasks are called center"),
    "rubric and points": ('written("why", ', 'written("why", points=7, ', 10, "has 7 points but a rubric of 2"),
    "duplicated case": (
        "def one_row(",
        "def columns_have_mean_zero(",
        22,
        "is already the name of something in center; choose another",
    ),
    "hidden case called as a visible one": ("def refuses(", "def columns_have_mean_zero(", 56, "is already the name"),
    "visible cases of two tasks": ("def rows_sum_to_one(", "def columns_have_mean_zero(", 51, "is already the name"),
    "duplicated variant": ("def with_a_loop(", "def with_einsum(", 32, "center: with_einsum is already the name"),
    "duplicated mistake": ('slip("added"', 'slip("in_place"', 48, "center: in_place is already the name"),
    "name of our own property": ("def one_row(", "def inputs_unchanged(", 22, "inputs_unchanged is already the name"),
    "duplicated title": ("one row becomes zeros", "each column has mean 0 and its own spread", 22, "two cases"),
    "task without a variable": ("normalize = sheet.task(", "normalize = None or sheet.task(", 9, "bind normalize to"),
    "replaces nothing": ('accepts("einsum"', 'accepts("einsum", replaces="x"', 27, "is not one of its objects"),
}


@pytest.mark.parametrize("old, new, line, sentence", BROKEN_CHECKS.values(), ids=BROKEN_CHECKS)
def test_broken_checks_are_refused_with_file_and_line(
    place: SheetPlace, plant: Plant, old: str, new: str, line: int, sentence: str
) -> None:
    plant("checks", old, new)
    with pytest.raises(CourseError) as refused:
        load_checks(place.checks)
    message = one_sentence(str(refused.value))
    assert message.startswith(f"{place.checks}, line {line}: ")
    assert sentence in message


@pytest.mark.parametrize("data", [b"", b"x = '\xff'\n"], ids=["empty", "not UTF-8"])
def test_checks_that_are_no_text_are_refused(place: SheetPlace, data: bytes) -> None:
    place.checks.write_bytes(data)
    with pytest.raises(CourseError, match="declares 0 sheets" if not data else "save it as UTF-8"):
        load_checks(place.checks)


def test_missing_checks_are_refused(place: SheetPlace) -> None:
    place.checks.unlink()
    with pytest.raises(CourseError, match=r"shapes_checks\.py does not exist"):
        load_checks(place.checks)


def test_a_change_within_the_same_second_is_seen(place: SheetPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte code would be taken for fresh: size and second of the file are the same."""
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    before = load_checks(place.checks)
    place.checks.write_text(CHECKS.replace("points=2", "points=9"), encoding="utf-8")
    assert before.tasks["center"].points == 2
    assert load_checks(place.checks).tasks["center"].points == 9
    assert not list(place.checks.parent.glob("__pycache__"))


def test_the_visible_code_is_what_the_visible_cases_need(place: SheetPlace) -> None:
    code = visible_code(place.checks, load_checks(place.checks))
    assert code == (
        "def table(rng):\n    return rng.normal(size=(3, 4))\n\n\n"
        "def columns_have_mean_zero(center, rng):\n    return center(table(rng))\n\n\n"
        "def rows_sum_to_one(normalize, rng):\n    return normalize(rng.uniform(1, 2, size=(2, 5)))"
    )


def test_helpers_of_helpers_and_imports_are_shipped_and_nothing_else(place: SheetPlace, plant: Plant) -> None:
    plant("checks", "    return rng.normal(size=(3, 4))", "    return np.abs(rng.normal(size=SIZE))")
    plant("checks", "def table(rng):", "SIZE = (3, 4)\nUNUSED = 5\n\n\ndef table(rng):")
    code = visible_code(place.checks, load_checks(place.checks))
    assert code.startswith("import numpy as np\n\n\nSIZE = (3, 4)\n\n\ndef table(rng):")
    for left_out in ("UNUSED", "from autograder", "Sheet(", "@", "misconception", "one_row", "refuses", "raised"):
        assert left_out not in code
    space: dict[str, object] = {}
    exec(code, space)
    assert callable(space["columns_have_mean_zero"])


LEAKS = {
    "the hidden case": "return one_row(center, rng)",
    "a misconception": "return wrong_axis(center(table(rng)))",
    "a variant, which is a solution": "return with_einsum(table(rng))",
    "the task": "return len(normalize.misconceptions) + center(table(rng))",
}


@pytest.mark.parametrize("body", LEAKS.values(), ids=LEAKS)
def test_a_visible_case_that_uses_a_secret_is_refused(place: SheetPlace, plant: Plant, body: str) -> None:
    line = plant("checks", "    return center(table(rng))", f"    {body}")
    with pytest.raises(CourseError, match=r"students must not get; hide the case or give it a helper") as refused:
        visible_code(place.checks, load_checks(place.checks))
    assert one_sentence(str(refused.value)).startswith(f"{place.checks}, line {line - 2}: ")


def test_a_visible_case_that_uses_a_secret_through_a_helper_is_refused(place: SheetPlace, plant: Plant) -> None:
    plant("checks", "    return rng.normal(size=(3, 4))", "    return wrong_axis(rng.normal(size=(3, 4)))")
    with pytest.raises(CourseError, match=r"uses (wrong_axis|center), which students must not get"):
        visible_code(place.checks, load_checks(place.checks))


def test_a_visible_case_that_is_made_in_a_function_is_refused(place: SheetPlace, plant: Plant) -> None:
    """Its text could not be shipped, and a student's check would fail with a KeyError."""
    plant("checks", '@center.case("each column', 'def make():\n  @center.case("each column')
    plant(
        "checks", "def columns_have_mean_zero(center, rng):\n    ", "  def columns_have_mean_zero(center, rng):\n    "
    )
    text = place.checks.read_text(encoding="utf-8")
    place.checks.write_text(text.replace("\n\n\n" + CASE, "\n\n\nmake()\n\n\n" + CASE), encoding="utf-8")
    with pytest.raises(CourseError, match="the visible case columns_have_mean_zero must stand at top level"):
        visible_code(place.checks, load_checks(place.checks))


def test_a_visible_case_with_the_name_of_another_tasks_mistake_is_refused(place: SheetPlace, plant: Plant) -> None:
    """The mistake's code would be shipped in its name."""
    plant("checks", "def wrong_axis(x)", "def rows_sum_to_one(x)")
    with pytest.raises(CourseError, match="line 51: the visible case rows_sum_to_one is defined twice; give each"):
        visible_code(place.checks, load_checks(place.checks))


def test_the_checks_of_a_task_hold_all_of_it_and_nothing_of_another(place: SheetPlace) -> None:
    text = task_checks(place.checks, load_checks(place.checks), "center")
    for part in ("import numpy", 'Sheet("shapes")', "def table", "one_row", "with_einsum", "wrong_axis", '"added"'):
        assert part in text
    for other in ("normalize", "rows_sum_to_one", "raised", "rubric"):
        assert other not in text.replace("from autograder import Sheet, raised", "")
    space: dict[str, object] = {}
    exec(text, space)
    assert len(vars(space["center"])["cases"]) == 2


def test_a_reference_holds_what_it_needs_and_no_marker(place: SheetPlace) -> None:
    reference = read_sheet(place.text).reference("center")
    assert reference.given == "import numpy as np"
    assert "SOLUTION" not in reference.solution
    assert "column_means = x.mean(axis=0)" in reference.solution
    with pytest.raises(CourseError, match='no cell says task="nosuch"; write one, or remove the task'):
        read_sheet(place.text).reference("nosuch")
