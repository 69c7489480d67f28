"""A sample class, made from a sheet itself and graded from end to end with nbgrader's own commands.

The class holds what every class holds: right work, right work in another style, known mistakes, an untouched
sheet, code that raises, code that never ends, a file that is no notebook, and a cell that was copied. Two more hand
in nothing but a trick, for which nbgrader by itself pays in full; it grades them, too, for comparison.
"""

import inspect
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat.notebooknode import NotebookNode
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from autograder import authoring, gradebook, insights_page, sandbox, source
from autograder.course import Course, SheetPlace, find_course
from autograder.errors import CourseError
from autograder.files import saying_where, write, write_all
from autograder.laws import STUB
from autograder.sheets import load_checks, read_sheet
from autograder.tasks import Solution, Task

MARK = "# The course folder of a sample class, made and emptied by `autograder demo`.\n"
CONFIG = f"""{MARK}
from autograder.nbgrader_steps import configure

c = get_config()
c.CourseDirectory.course_id = "sample_class"
configure(c)
c.Judged.seconds_per_cell = 15  # an endless cell should not keep you waiting
"""
STOCK = "stock"  # the folder in which nbgrader grades the tricks without this course's configuration
TRICK = """\
def _blank(lines):
    return ["\\n"]


get_ipython().input_transformers_post.append(_blank)  # every later cell is empty, and no output is full marks
"""


@dataclass(frozen=True)
class Submission:
    """One member of the sample class: who, what is expected of the grade, and the file."""

    student: str
    about: str
    file: bytes
    cheats: bool = False


class SampleClass:
    """Makes submissions of one sheet out of its release, its solutions, its variants and its misconceptions."""

    def __init__(self, place: SheetPlace) -> None:
        self.place = place
        self.sheet = load_checks(place.checks)
        self.text = read_sheet(place.text)
        self.release = nbformat.read(place.built("release")[0], as_version=4)
        self.solutions = {c.name: source.without_markers(c.text) for c in self.text.by_role("task")}
        self.answers = {c.name: source.without_markers(c.text) for c in self.text.by_role("written")}

    def members(self) -> Iterator[Submission]:
        """Yields the class. Scores that a right grader gives are in `about`."""
        yield self._member("01_perfect", "the reference's solutions: 100 %", self.solutions)
        yield self._member("02_other_style", "accepted variants wherever there are some: 100 %", self._variants())
        for number, (task, wrong) in enumerate(self._mistakes(), 3):
            cells = {**self.solutions, task.name: self.written_out(task, wrong)}
            yield self._member(f"{number:02d}_{wrong.name}", f"{task.name} with a known mistake: below 100 %", cells)
        yield self._member("06_untouched", "the released sheet as it is: 0 %", {})
        yield self._member("07_raises", "every task raises an exception: 0 %", self._raising())
        yield self._member("08_endless", "one task loops for ever: the others keep their points", self._endless())
        yield Submission("09_not_json", "a file cut off in the middle: 0 %, with the reason", self._cut_off())
        yield Submission("10_copied_cell", "a copied solution cell: 100 %, as Run All has it", self._copied())
        yield Submission(
            "11_skipped_checks", "nothing solved, each check tagged to be skipped: 0 %", self._tagged(), True
        )
        yield Submission(
            "12_blanked_checks", "nothing solved, a hook that blanks later cells: 0 %", self._hooked(), True
        )

    def written_out(self, task: Task, other: Solution) -> str:
        """Returns the text of a solution cell as a student would write `other`."""
        if other.edit:
            return self.text.reference(task.name).edited(task, other)
        return replaced(self.solutions[task.name], other)

    def notebook(self, cells: dict[str, str]) -> NotebookNode:
        """Returns the release with the given texts in its solution cells."""
        made = deepcopy(self.release)
        for cell in made.cells:
            name = cell.metadata.get("nbgrader", {}).get("grade_id")
            cell.source = cells.get(name, self.answers.get(name, cell.source) if cells else cell.source)
        return made

    def _member(self, student: str, about: str, cells: dict[str, str]) -> Submission:
        return Submission(student, about, _bytes(self.notebook(cells)))

    def _variants(self) -> dict[str, str]:
        tasks = self.sheet.tasks.values()
        return {**self.solutions, **{t.name: self.written_out(t, t.variants[0]) for t in tasks if t.variants}}

    def _mistakes(self) -> list[tuple[Task, Solution]]:
        """Returns three misconceptions, of three tasks spread over the sheet."""
        tasks = [task for task in self.sheet.tasks.values() if task.misconceptions]
        chosen = [tasks[(i * len(tasks)) // 3] for i in range(3)] if len(tasks) > 2 else tasks * 3
        return [(task, task.misconceptions[i % len(task.misconceptions)]) for i, task in enumerate(chosen[:3])]

    def _raising(self) -> dict[str, str]:
        raising = 'raise ValueError("this student gave up")'
        return {c.name: c.source.replace(STUB, raising) for c in self._stubs()}

    def _endless(self) -> dict[str, str]:
        last = list(self.sheet.tasks)[-1]
        stub = next(c for c in self._stubs() if c.name == last)
        return {**self.solutions, last: stub.source.replace(STUB, "while True:\n        pass")}

    def _tagged(self) -> bytes:
        notebook = self.notebook({})
        for cell in notebook.cells:
            if cell.metadata.get("nbgrader", {}).get("grade"):
                cell.metadata.tags = ["skip-execution"]
        return _bytes(notebook)

    def _hooked(self) -> bytes:
        first = next(iter(self.sheet.tasks))
        return _bytes(self.notebook({first: TRICK}))

    def _stubs(self) -> list["_Stub"]:
        named = {cell.metadata.get("nbgrader", {}).get("grade_id"): cell.source for cell in self.release.cells}
        return [_Stub(name, named[name]) for name in self.sheet.tasks]

    def _cut_off(self) -> bytes:
        whole = _bytes(self.notebook(self.solutions))
        return whole[: len(whole) // 2]

    def _copied(self) -> bytes:
        notebook = self.notebook(self.solutions)
        first = next(iter(self.sheet.tasks))
        index = next(i for i, c in enumerate(notebook.cells) if c.metadata.get("nbgrader", {}).get("grade_id") == first)
        notebook.cells.insert(index, deepcopy(notebook.cells[index]))
        notebook.cells[index].id = "copied"
        return _bytes(notebook)


@dataclass(frozen=True)
class _Stub:
    name: str
    source: str


def replaced(solution: str, other: Solution) -> str:
    """Returns the text of a solution cell in which `other.replacement` stands in place of the object it replaces."""
    new = source.statements(textwrap.dedent(inspect.getsource(other.replacement)))[0]
    body = source.undecorated(new).replace(other.replacement.__name__, other.replaces, 1)
    statements = source.statements(solution)
    return "\n\n\n".join(body if other.replaces in s.defines else s.text for s in statements)


def run(sheet: str, into: Path | None) -> int:
    """Builds, makes the class, grades it, and prints what came out. Returns the exit status."""
    course = find_course()
    place = course.find(sheet)
    if not isinstance(place, SheetPlace):
        raise CourseError(f"{sheet} is a lecture; name a sheet, such as {course.sheets[0].name}.")
    root = (into or course.root / "demo").absolute()
    _must_be_ours(root)
    authoring.build([f"{place.module}/{place.name}"])
    console = Console(stderr=True)
    if lacking := sandbox.problem():
        console.print(f"No sandbox here, because {lacking}: the sample class, which does no harm, is graded without.")
    members = list(SampleClass(place).members())
    _fresh_folder(root, course, place)
    _hand_in(root, place, members)
    with _progress(console) as progress:
        bar = progress.add_task("", total=2 * len(members) + 2 + sum(1 + member.cheats for member in members))

        def step(command: str, *arguments: str, each: str, into: Path = root) -> None:
            """Runs one command, and moves the bar for each line of its log that contains `each`."""
            progress.update(bar, description=command if into == root else f"stock {command}")
            for _ in _lines(into, each, command, *arguments):
                progress.advance(bar)

        step("generate_assignment", place.module, "--force", each="Writing")
        step("autograde", place.module, each="] Autograding")
        step("generate_feedback", place.module, each="Writing")
        step("export", "--to", "grades.csv", each="Exporting")
        stock = _stock_folder(root, place, [member for member in members if member.cheats])
        step("generate_assignment", place.module, "--force", each="Writing", into=stock)
        step("autograde", place.module, each="] Autograding", into=stock)
    _tell(root, place, members)
    return 0


def _lines(root: Path, each: str, command: str, *arguments: str) -> Iterator[str]:
    """Runs one of nbgrader's commands in `root`, logs what it says, and yields the lines that contain `each`."""
    log = root / "nbgrader.log"
    call = [sys.executable, "-m", "nbgrader", command, *arguments]
    process = subprocess.Popen(call, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None  # it is a pipe
    with process, log.open("a", encoding="utf-8") as file:
        for line in process.stdout:
            file.write(line)
            if each in line:
                yield line
    if process.returncode:
        raise CourseError(f"nbgrader {command} failed while the sample class was graded: read the end of {log}.")


def _must_be_ours(root: Path) -> None:
    """Raises CourseError where `root`, which will be emptied, holds anything but an earlier sample class."""
    config = root / "nbgrader_config.py"
    with saying_where(root):
        ours = config.is_file() and config.read_text(encoding="utf-8", errors="replace").startswith(MARK)
        if root.exists() and any(root.iterdir()) and not ours:
            raise CourseError(f"{root} is not empty and not an earlier sample class: name another one with --into.")


def _fresh_folder(root: Path, course: Course, place: SheetPlace) -> None:
    """Makes an empty course folder in place of an earlier one."""
    with saying_where(root):
        if root.exists():
            shutil.rmtree(root)
        shutil.copytree(course.root / "source" / place.module, root / "source" / place.module)
        write(root / "nbgrader_config.py", CONFIG + ("c.Judged.unsafe = True\n" if sandbox.problem() else ""))


def _stock_folder(root: Path, place: SheetPlace, members: list[Submission]) -> Path:
    """Returns a course folder without configuration, into which `members` have handed in."""
    stock = root / STOCK
    with saying_where(stock):
        shutil.copytree(root / "source", stock / "source")
        write(stock / "nbgrader_config.py", MARK)
    _hand_in(stock, place, members)
    return stock


def _hand_in(root: Path, place: SheetPlace, members: list[Submission]) -> None:
    name = f"{place.notebook_name}.ipynb"
    write_all({root / "submitted" / m.student / place.module / name: m.file for m in members})


def _tell(root: Path, place: SheetPlace, members: list[Submission]) -> None:
    console = Console()
    console.print("\n[bold]The class[/bold]")
    width = max(len(member.student) for member in members)
    for member in members:
        console.print(f"  {member.student:<{width}} {member.about}", highlight=False)
    console.print()
    ours, stock = gradebook.read(root, place.module), gradebook.read(root / STOCK, place.module)
    gradebook.show(ours)
    console.print("\n[bold]For the same submissions[/bold]    nbgrader by itself    here")
    here = {row.student: ours.percent(row) for row in ours.rows}
    for row in stock.rows:
        console.print(f"  {row.student:<22} {stock.percent(row):>21.0f} % {here[row.student]:>7.0f} %", highlight=False)
    first = root / "feedback" / members[2].student / place.module / f"{place.notebook_name}.html"
    console.print(f"\nGrades as CSV:   {root / 'grades.csv'}", soft_wrap=True, highlight=False)
    console.print(f"Open feedback:   {first}", soft_wrap=True, highlight=False)
    insights_page.run(root, place.module)
    lab = f"cd {root} && {Path(sys.executable).with_name('jupyter')} lab"
    console.print(f"Formgrader:      {lab}   (menu Nbgrader → Formgrader)", soft_wrap=True, highlight=False)


def _bytes(notebook: NotebookNode) -> bytes:
    text: str = nbformat.writes(notebook)
    return text.encode()


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)
