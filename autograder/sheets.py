"""Reading what an author wrote: the sheet as cells with intent, and its checks as a module.

A sheet is a percent script. A code cell's header says what the cell is for:

    # %% setup=true                  imports and given helpers; locked for students, part of the reference
    # %% task="affine_forward"       a solution cell, with regions between ### BEGIN SOLUTION and ### END SOLUTION
    # %% check="affine_forward"      the call that checks it
    # %% [markdown] written="why"    the answer to a written question
    # %%                             anything else: examples, pictures, experiments
"""

import re
import sys
import traceback
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import jupytext

from autograder import source
from autograder.errors import CourseError
from autograder.solutions import Reference
from autograder.tasks import Sheet, Task

ROLES = ("setup", "task", "check", "written")
FORMS = 'setup=true, task="name", check="name", [markdown], [markdown] written="name", or nothing'
MARKER = re.compile(r"^# %%(\s|$)")


@dataclass(frozen=True)
class Cell:
    """One cell: its kind ("code" or "markdown"), role ("" for none), the task it belongs to, text and first line."""

    kind: str
    role: str
    name: str
    text: str
    line: int


@dataclass(frozen=True)
class SheetText:
    """A sheet as its author wrote it."""

    path: Path
    cells: list[Cell]

    def by_role(self, role: str) -> list[Cell]:
        return [cell for cell in self.cells if cell.role == role]

    def where(self, cell: Cell) -> str:
        """Returns "file, line n" of a cell, for messages."""
        return f"{self.path}, line {cell.line}"

    @cached_property
    def _statements(self) -> list[source.Statement]:
        texts = [source.without_markers(c.text) for c in self.cells if c.role in ("setup", "task")]
        return source.statements("\n".join(texts), str(self.path))

    def reference(self, task: str) -> Reference:
        """Returns the reference solution of `task`. Raises CourseError where the sheet has none."""
        cell = next((c for c in self.by_role("task") if c.name == task), None)
        if cell is None:
            raise CourseError(
                f'{self.path}: no cell says task="{task}"; write one, or remove the task from the checks.'
            )
        solution = source.without_markers(cell.text)
        own = source.statements(solution, self.where(cell))
        uses = {name for statement in own for name in statement.uses}
        defined = {name for statement in own for name in statement.defines}
        given = source.needed(self._statements, uses - defined)
        return Reference("\n".join(statement.text for statement in given), solution)


def read_sheet(path: Path) -> SheetText:
    """Returns the sheet in the percent script at `path`. Raises CourseError naming file and line where it is broken."""
    text = _read(path)
    _refuse_invisible(path, text)
    lines = [number for number, line in enumerate(text.splitlines(), 1) if MARKER.match(line)]
    if not lines:
        raise CourseError(f"{path}: it has no cells; a cell begins with a line `# %%`.")
    _refuse_stray_lines(path, text, lines[0])
    notebook = jupytext.reads("\n".join(text.splitlines()[lines[0] - 1 :]), fmt="py:percent")
    if len(notebook.cells) != len(lines):
        number = _doubtful_marker(text, lines, [cell.source for cell in notebook.cells])
        raise CourseError(
            f"{path}, line {number}: this reads half like the beginning of a cell; "
            "write `# %%` at the start of a line of its own, outside of any string, or reword the line."
        )
    cells = [_cell(path, raw, line) for raw, line in zip(notebook.cells, lines, strict=True)]
    return SheetText(path, cells)


def load_checks(path: Path) -> Sheet:
    """Returns the Sheet that the checks module at `path` declares. Raises CourseError naming file and line."""
    module = _import(path)
    sheets = list({id(value): value for value in vars(module).values() if isinstance(value, Sheet)}.values())
    if len(sheets) != 1:
        raise CourseError(
            f"{path}, line 1: it declares {len(sheets)} sheets; it must declare one, sheet = Sheet(name)."
        )
    everything = source.statements(_read(path), str(path))
    for name in [*sheets[0].tasks, *sheets[0].questions]:
        _variable(everything, name, path)
    for task in sheets[0].tasks.values():
        _refuse_repeated_titles(path, task)
    return sheets[0]


def task_checks(path: Path, sheet: Sheet, task: str) -> str:
    """Returns the part of the checks' text that declares `task`: what runs beside a student's code when graded."""
    everything = source.statements(_read(path), str(path))
    own = [s for s in everything if _variable(everything, task) in s.uses | s.defines]
    others = {_variable(everything, name) for name in [*sheet.tasks, *sheet.questions] if name != task}
    helpers = source.needed(everything, {name for s in own for name in s.uses} - others)
    chosen = [s for s in everything if s in own or s in helpers]
    return "\n\n".join(s.text for s in chosen)


def visible_code(path: Path, sheet: Sheet) -> str:
    """Returns the source of the visible cases and of what they need, without anything else of the checks.

    Raises CourseError where a visible case uses something that must stay hidden.
    """
    everything = source.statements(_read(path), str(path))
    visible = {case.name for task in sheet.tasks.values() for case in task.cases if not case.hidden}
    secret = _secret_names(everything, sheet)
    for name in sorted(visible):
        made = [statement.line for statement in everything if name in statement.defines]
        if len(made) != 1:
            problem = "is defined twice; give each function a name of its own" if made else "must stand at top level"
            raise CourseError(f"{path}, line {made[-1] if made else 1}: the visible case {name} {problem}.")
    for statement in everything:
        if not statement.defines & visible:
            continue
        for helper in source.needed(everything, source.body_uses(statement)):
            if leaked := helper.defines & secret:
                raise CourseError(
                    f"{path}, line {statement.line}: the visible case {', '.join(statement.defines)} uses "
                    f"{', '.join(leaked)}, which students must not get; hide the case or give it a helper of its own."
                )
    return source.functions(everything, visible)


def _secret_names(everything: list[source.Statement], sheet: Sheet) -> set[str]:
    names = {_variable(everything, name) for name in [*sheet.tasks, *sheet.questions]}
    for task in sheet.tasks.values():
        names |= {case.name for case in task.cases if case.hidden}
        names |= {solution.name for solution in [*task.variants, *task.misconceptions]}
    return names


def _variable(everything: list[source.Statement], task: str, path: Path | None = None) -> str:
    """Returns the variable that the checks bind to `task`, found by the text `sheet.task("…")`."""
    pattern = re.compile(rf"""^(\w+)\s*(?::[^=]*)?=\s*\w+\.(?:task|written)\(\s*["']{re.escape(task)}["']""")
    found = next((m.group(1) for s in everything if (m := pattern.match(s.text))), None)
    if found is None and path:
        line = next((s.line for s in everything if f'"{task}"' in s.text), 1)
        raise CourseError(f'{path}, line {line}: bind {task} to a variable of its own: x = sheet.task("{task}", …).')
    return found or task


def _refuse_repeated_titles(path: Path, task: Task) -> None:
    lines = _read(path).splitlines()
    titles: set[str] = set()
    for case in task.cases:
        if case.title in titles:
            found = [number for number, line in enumerate(lines, 1) if case.title in line]
            raise CourseError(
                f"{path}, line {found[-1] if found else 1}: {task.name}: two cases are called “{case.title}”; "
                "give each a title of its own."
            )
        titles.add(case.title)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise CourseError(f"{path} does not exist: write it, or remove its entry from module.toml.") from error
    except UnicodeDecodeError as error:
        raise CourseError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8.") from error


def _refuse_stray_lines(path: Path, text: str, first: int) -> None:
    """What stands before the first marker, or uncommented in a prose cell, would silently become something else."""
    prose = True
    for number, line in enumerate(text.splitlines(), 1):
        if MARKER.match(line):
            prose = "[markdown]" in line
        elif line.strip() and (number < first or (prose and not line.startswith("#"))):
            place = "before the first cell" if number < first else "in a prose cell, but is not a comment"
            raise CourseError(f"{path}, line {number}: this stands {place}; begin a cell with `# %%` before it.")


def _refuse_invisible(path: Path, text: str) -> None:
    """Characters that end a line for Python but not in an editor would move every line number, or split a cell."""
    for number, line in enumerate(text.split("\n"), 1):
        if len(line.splitlines()) > 1 or line.splitlines() not in ([], [line]):
            sign = next(c for c in line if len(f"{c}x".splitlines()) > 1)
            raise CourseError(f"{path}, line {number}: it holds the invisible character U+{ord(sign):04X}; remove it.")


def _doubtful_marker(text: str, lines: list[int], cells: list[str]) -> int:
    """Returns the line that is a marker for one reader of percent scripts and not for the other."""
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(r"\s*#\s*%%", line) and not MARKER.match(line):
            return number
    holding = (k for k, cell in enumerate(cells) if any(MARKER.match(line) for line in cell.splitlines()))
    return lines[min(next(holding, 0) + 1, len(lines) - 1)]


def _cell(path: Path, raw: Any, line: int) -> Cell:
    metadata = {key: value for key, value in raw.metadata.items() if key != "lines_to_next_cell"}
    roles = [role for role in ROLES if role in metadata]
    odd = raw.cell_type == "raw" or any(
        value is not True if role == "setup" else not (isinstance(value, str) and value)
        for role, value in metadata.items()
    )
    if odd or len(metadata) > 1 or len(roles) < len(metadata):
        raise CourseError(f"{path}, line {line}: this cell header is not understood; it may say one of {FORMS}.")
    role = roles[0] if roles else ""
    if role and (role == "written") != (raw.cell_type == "markdown"):
        raise CourseError(f"{path}, line {line}: a {role} cell must be {'prose' if role == 'written' else 'code'}.")
    if raw.cell_type == "code":
        _must_be_python(path, raw.source, line)
    name = metadata.get(role, "") if role != "setup" else ""
    return Cell(raw.cell_type, role, str(name), raw.source, line)


def _must_be_python(path: Path, text: str, line: int) -> None:
    if "\0" in text:
        number = text[: text.index("\0")].count("\n") + 1
        raise CourseError(f"{path}, line {line + number}: it holds a null byte; remove it.")
    try:
        compile(text, str(path), "exec")
    except SyntaxError as error:
        raise CourseError(f"{path}, line {line + (error.lineno or 1)}: {error.msg}.") from error


def _import(path: Path) -> ModuleType:
    """Runs the file as a module, without byte code: that is taken for new where a file changes within a second."""
    text = _read(path)
    _must_be_python(path, text, 0)
    name = f"checks_of_{path.parent.parent.name}_{path.stem}"
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # where `inspect` looks for the source of a class
    try:
        exec(compile(text, str(path), "exec"), vars(module))
    except (Exception, SystemExit) as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        what = str(error) if isinstance(error, CourseError) else f"{type(error).__name__}: {error}"
        raise CourseError(f"{path}, line {lines[-1] if lines else 1}: {what}") from error
    return module
