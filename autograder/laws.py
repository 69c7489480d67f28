"""The laws that all content obeys, each a function that returns the problems it finds.

1 structure      every task has a solution region, a check cell and a declaration, in the same order
2 reference      the reference passes everything, the untouched stub fails everything and helps
3 solutions      variants get full marks; misconceptions lose marks and are called by their own name
4 purpose        every case is failed by some misconception
5 release        the release holds no line of a solution, no hidden case, no wrong solution
7 prose          images have alt text, links resolve, prose states no points
(6, that everything built is fresh, is `build.stale`; 8, that the ways of grading agree, is a test.)
"""

import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autograder import source
from autograder.checking import examine
from autograder.course import SheetPlace
from autograder.diagnosis import Judgement, Oracle
from autograder.errors import CourseError
from autograder.report import Report
from autograder.sheets import Cell, SheetText
from autograder.solutions import Reference, oracle
from autograder.tasks import Sheet, Solution, Task

SEEDS = (1, 2, 3)
STUB = "raise NotImplementedError()"
POINTS = re.compile(r"\b(\d+(\.\d+)?|one|two|three|four|five) (points?|marks?)\b", re.IGNORECASE)
IMAGE = re.compile(r"!\[(?P<alt>[^\]]*)\]\(")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")
SIGNIFICANT = 14  # characters below which a line of code is common property


@dataclass(frozen=True)
class Problem:
    """A broken law: where, and what to do, in one sentence."""

    path: Path
    line: int
    sentence: str

    def __str__(self) -> str:
        return f"{self.path}, line {self.line}: {self.sentence}"


def structure(place: SheetPlace, text: SheetText, sheet: Sheet) -> list[Problem]:
    """Law 1."""
    problems = []
    if sheet.name != place.name:
        problems.append(Problem(place.checks, 1, f"the sheet calls itself {sheet.name}, its file {place.name}."))
    for role, names in (("task", sheet.tasks), ("check", sheet.tasks), ("written", sheet.questions)):
        problems += _order(place, text, role, list(names))
    for cell in [*text.by_role("task"), *text.by_role("written")]:
        begins, ends = (sum(line.strip() == mark for line in cell.text.splitlines()) for mark in source.REGION)
        if begins == 0 or begins != ends:
            sentence = f"the cell of {cell.name} needs pairs of {source.REGION[0]} and {source.REGION[1]}."
            problems.append(Problem(place.text, cell.line, sentence))
    for cell in text.by_role("check"):
        if cell.text.strip() != f'check("{cell.name}")':
            problems.append(Problem(place.text, cell.line, f'a check cell holds only check("{cell.name}").'))
    return problems


def prove(
    place: SheetPlace,
    text: SheetText,
    sheet: Sheet,
    seeds: Iterable[int] = SEEDS,
    done: Callable[[str], None] = lambda name: None,
) -> list[Problem]:
    """Laws 2, 3 and 4 for every task, under every seed; calls `done` with each task's name."""
    problems: list[Problem] = []
    for task in sheet.tasks.values():
        proof = _Proof(place, sheet, task, text.reference(task.name), _cell_of(text, task.name))
        for seed in seeds:
            problems += proof.under(seed)
        problems += proof.idle_cases()
        done(task.name)
    return list(dict.fromkeys(problems))


@dataclass
class _Proof:
    """The proof that the checks of one task tell right from wrong."""

    place: SheetPlace
    sheet: Sheet
    task: Task
    reference: Reference
    cell: Cell

    def __post_init__(self) -> None:
        self.failed: set[str] = set()  # names of cases that some misconception fails

    def under(self, seed: int) -> list[Problem]:
        try:
            return list(itertools.chain(self._right(seed), self._stub(seed), self._wrong(seed)))
        except CourseError as error:
            return [self._problem(self.task.name, str(error))]

    def idle_cases(self) -> list[Problem]:
        """Law 4, after all seeds."""
        return [
            self._problem(case.name, f"{self.task.name}: no misconception fails the case “{case.title}”; add one, or drop it.")
            for case in self.task.cases
            if case.name not in self.failed
        ]  # fmt: skip

    def _right(self, seed: int) -> Iterator[Problem]:
        truth = self._oracle(seed)
        for other in (None, *self.task.variants):
            judgement = self._judge(truth, other, seed)
            if judgement.points != self.task.points:
                who = f"the variant {other.name}" if other else "the reference itself"
                what = Report(judgement).message()
                sentence = (
                    f"{self.task.name}: {who} gets {judgement.points:g} of {self.task.points:g} under seed {seed}:"
                )
                yield self._problem(other.name if other else self.task.name, f"{sentence}\n{what}")

    def _stub(self, seed: int) -> Iterator[Problem]:
        stub = Reference(self.reference.given, stub_of(self.cell.text))
        judgement = self._examine(self._oracle(seed), stub.objects(self.task), seed)
        report = Report(judgement)
        if any(v.holds for v in judgement.verdicts):
            held = next(v.property.title for v in judgement.verdicts if v.holds)
            yield self._problem(self.task.name, f"{self.task.name}: the untouched stub passes “{held}”.")
        if len(report.message()) < 40:
            yield self._problem(self.task.name, f"{self.task.name}: the untouched stub gets no helpful message.")

    def _wrong(self, seed: int) -> Iterator[Problem]:
        everything = self._oracle(seed)
        visible = oracle(self.task, self.reference, self.sheet.name, seed, [c for c in self.task.cases if not c.hidden])
        for wrong in self.task.misconceptions:
            judgement = self._judge(everything, wrong, seed)
            self.failed |= {v.property.name for v in judgement.verdicts if not v.holds}
            if judgement.points >= self.task.points:
                yield self._problem(wrong.name, f"{self.task.name}: {wrong.name} gets full marks under seed {seed}.")
            else:
                yield from self._named(wrong, judgement, f"when graded under seed {seed}")
                if not wrong.hidden_only:
                    yield from self._named(
                        wrong, self._judge(visible, wrong, seed), f"by the student under seed {seed}"
                    )

    def _named(self, wrong: Solution, judgement: Judgement, how: str) -> Iterator[Problem]:
        names = [known.name for known in judgement.misconceptions]
        if names[:1] != [wrong.name]:
            called = f"taken for {names[0]}" if names else "not recognized"
            fails = ", ".join(v.property.name for v in judgement.verdicts if not v.holds) or "nothing"
            sentence = f"{self.task.name}: {wrong.name} is {called} {how} (it fails {fails})."
            yield self._problem(wrong.name, sentence)

    def _oracle(self, seed: int) -> Oracle:
        return oracle(self.task, self.reference, self.sheet.name, seed)

    def _judge(self, truth: Oracle, other: Solution | None, seed: int) -> Judgement:
        return self._examine(truth, self.reference.objects(self.task, other), seed)

    def _examine(self, truth: Oracle, objects: Mapping[str, Any], seed: int) -> Judgement:
        return examine(self.task, truth, objects, self.sheet.name, seed)

    def _problem(self, name: str, sentence: str) -> Problem:
        return Problem(self.place.checks, line_of(self.place.checks, name), sentence)


def release(place: SheetPlace, text: SheetText, sheet: Sheet, files: Mapping[Path, str]) -> list[Problem]:
    """Law 5, for the given content of the released files."""
    problems = []
    for path, content in files.items():
        released = _texts(path, content)
        lines = {line.strip() for line in released.splitlines()}
        for cell in [*text.by_role("task"), *text.by_role("written")]:
            for line in source.solution_lines(cell.text):
                if line in lines and _is_telling(line):
                    sentence = f"{path.name} holds a line of the solution of {cell.name}: {line}"
                    problems.append(Problem(place.text, cell.line, sentence))
        for name, secret in _secrets(sheet, text):
            if secret in lines or f'"{secret}"' in released:
                sentence = f"{path.name} holds a part of {name}, which students must not see: {secret}"
                problems.append(Problem(place.checks, line_of(place.checks, name), sentence))
    return problems


def prose(path: Path, cells: Iterable[tuple[int, str]], base: Path) -> list[Problem]:
    """Law 7 for prose given as (line, text) of cells; relative links are resolved from the folder `base`."""
    problems = []
    for line, text in cells:
        for found in POINTS.finditer(text):
            problems.append(Problem(path, line, f"prose states “{found[0]}”; points come from the checks."))
        for found in IMAGE.finditer(text):
            if not found["alt"].strip():
                problems.append(Problem(path, line, "an image has no alt text: say what it shows."))
        for found in LINK.finditer(text):
            target = found["target"].split("#")[0]
            if target and "://" not in target and not target.startswith("mailto:") and not (base / target).exists():
                problems.append(Problem(path, line, f"the link to {target} leads nowhere from {base}."))
    return problems


def sheet_prose(place: SheetPlace, text: SheetText) -> list[Problem]:
    """Law 7 for a sheet, whose links are followed from its release."""
    cells = [(cell.line, cell.text) for cell in text.cells if cell.kind == "markdown"]
    return prose(place.text, cells, place.built("release")[0].parent)


def stub_of(cell: str) -> str:
    """Returns a solution cell as a student gets it (as nbgrader's ClearSolutions writes it)."""
    lines, inside = [], False
    for line in cell.splitlines():
        if line.strip() == source.REGION[0]:
            indent = line[: len(line) - len(line.lstrip())]
            lines += [f"{indent}# YOUR CODE HERE", f"{indent}{STUB}"]
            inside = True
        elif line.strip() == source.REGION[1]:
            inside = False
        elif not inside:
            lines.append(line)
    return "\n".join(lines)


def line_of(path: Path, name: str) -> int:
    """Returns the line of the checks file that declares `name`, 1 where it cannot be found."""
    pattern = re.compile(rf"""(def|class) {re.escape(name)}\b|["']{re.escape(name)}["']""")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return 1
    return next((number for number, line in enumerate(lines, 1) if pattern.search(line)), 1)


def _order(place: SheetPlace, text: SheetText, role: str, declared: list[str]) -> list[Problem]:
    cells = {cell.name: cell for cell in text.by_role(role)}
    problems = [
        Problem(place.checks, line_of(place.checks, n), f'{n} is declared, but no cell of {place.text.name} says {role}="{n}".')
        for n in declared
        if n not in cells
    ]  # fmt: skip
    problems += [
        Problem(place.text, cell.line, f'{role}="{n}" is not declared in {place.checks.name}; declare it or mend the name.')
        for n, cell in cells.items()
        if n not in declared
    ]  # fmt: skip
    if not problems and (len(cells) != len(text.by_role(role)) or list(cells) != declared):
        order = ", ".join(declared)
        line = text.by_role(role)[0].line
        problems.append(Problem(place.text, line, f"the {role} cells must stand once each, in the order {order}."))
    return problems


def _cell_of(text: SheetText, task: str) -> Cell:
    return next(cell for cell in text.by_role("task") if cell.name == task)


def _texts(path: Path, content: str) -> str:
    """Returns what a person can read in a built file."""
    data = json.loads(content)
    if path.suffix == ".ipynb":
        return "\n".join("".join(cell["source"]) for cell in data["cells"])
    return "\n".join([*data["code"], json.dumps(data["tasks"])])


def _secrets(sheet: Sheet, text: SheetText) -> Iterator[tuple[str, str]]:
    """Yields (name, line) for hidden cases and wrong solutions."""
    outside = {line.strip() for cell in text.cells for line in cell.text.splitlines() if cell.role != "task"}
    for task in sheet.tasks.values():
        for case in task.cases:
            if case.hidden:
                yield case.name, case.name
                yield case.name, case.title
        reference = text.reference(task.name)
        right = {line.strip() for line in reference.solution.splitlines()} | outside
        for wrong in task.misconceptions:
            lines = reference.edited(task, wrong).splitlines() if wrong.edit else _lines_of(wrong.replacement)
            yield from ((wrong.name, s) for line in lines if (s := line.strip()) not in right and _is_telling(s))


def _lines_of(thing: Any) -> list[str]:
    import inspect

    return [line for line in inspect.getsource(thing).splitlines() if not line.strip().startswith(("@", "def ", '"'))]


def _is_telling(line: str) -> bool:
    """Returns whether a line of a solution says something: an operation, not only names, returns and brackets."""
    code = line.split("  #")[0]
    return len(code) >= SIGNIFICANT and bool(re.search(r"[-+*/@]|\w\(", code)) and not code.startswith(('"""', "def "))
