"""The laws that all content obeys, each a function that returns the problems it finds.

1 structure      every task has a solution region, a check cell and a declaration, in the same order; its text says
                 what it forbids
2 reference      the reference passes everything, the untouched stub fails everything and helps
3 solutions      variants get full marks; misconceptions lose marks and are called by their own name
4 purpose        every case is failed by some misconception; half of a task's points need answers that change with
                 the draw
5 release        the release holds no line of a solution, no hidden case, no wrong solution
7 prose          images have alt text, links resolve, prose states no points
(6, that everything built is fresh, is `build.stale`; 8, that the ways of grading agree, is a test.)
"""

import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from autograder import forbidden, source
from autograder.checking import examine
from autograder.course import SheetPlace
from autograder.diagnosis import Judgment, Known, Oracle, Property, judge
from autograder.errors import CourseError
from autograder.plain import to_json
from autograder.report import Report
from autograder.running import Answers, ask, values
from autograder.sheets import Cell, SheetText
from autograder.solutions import Reference, oracle
from autograder.tasks import Sheet, Solution, Task

Spread = Callable[[Callable[[tuple[str, int]], "Evidence"], list[tuple[str, int]]], Iterable["Evidence"]]
SEEDS = (1, 2, 3)
STUB = "raise NotImplementedError()"
POINTS = re.compile(r"\b(\d+(\.\d+)?|one|two|three|four|five)\s+(points?|marks?)\b", re.IGNORECASE)
IMAGE = re.compile(r"!\[\s*\]\s*[(\[]|<img\b(?![^>]*\balt=[\"'][^\"'\s])[^>]*>", re.IGNORECASE)  # without alt text
LINK = re.compile(
    r"\]\(\s*<?([^)\s>]+)>?(?:\s+[\"'][^)]*)?\)|^ *\[[^\]]+\]:\s*(\S+)|\b(?:href|src)=[\"']([^\"']+)", re.MULTILINE
)
CODE = re.compile(r"^ *(`{3,}|~{3,}).*?^ *\1|`+[^`\n]+`+|\$\$.*?\$\$|\$[^$\n]+\$", re.DOTALL | re.MULTILINE)  # or math
CUT = re.compile(r"(BEGIN|END) (SOLUTION|HIDDEN TESTS|MARK SCHEME)")  # what nbgrader looks for, anywhere in a line
DENIED = re.compile(r"\b(no|nor|not|never|without|instead|forbidden|nothing)\b|n't\b|n’t\b", re.IGNORECASE)
SENTENCE = re.compile(r"(?<=[.!?])\s+|\n\s*\n")
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
        line = line_of(place.checks, sheet.name)
        problems.append(Problem(place.checks, line, f"the sheet calls itself {sheet.name}, its file {place.name}."))
    if text.cells[0].kind != "markdown":
        problems.append(Problem(place.text, text.cells[0].line, "a sheet begins with prose; give it a title."))
    if not any(f'open_checks("{place.name}")' in cell.text for cell in text.by_role("setup")):
        problems.append(Problem(place.text, 1, f'no setup cell says check = open_checks("{place.name}").'))
    for role, names in (("task", sheet.tasks), ("check", sheet.tasks), ("written", sheet.questions)):
        problems += _order(place, text, role, list(names))
    problems += [*_marks(place, text), *_unsaid(place, text, sheet)]
    for cell in text.by_role("check"):
        if cell.text.strip() != f'check("{cell.name}")':
            problems.append(Problem(place.text, cell.line, f'a check cell holds only check("{cell.name}").'))
    return problems or _running(place, text, sheet)


@dataclass(frozen=True)
class Evidence:
    """What the proof for one task under one seed brought: problems, and the cases that some misconception fails."""

    problems: list[Problem]
    useful: set[str]
    expected: dict[str, str] = field(default_factory=dict)  # a digest of the reference's answers, by case


def prove(
    place: SheetPlace, text: SheetText, sheet: Sheet, seeds: Iterable[int] = SEEDS, spread: Spread = map
) -> list[Problem]:
    """Laws 2, 3 and 4 for every task, under every seed. `spread` maps the proof over its parts, on all cores say."""
    parts = [(task, seed) for task in sheet.tasks for seed in seeds]
    evidence = list(spread(partial(prove_part, place, text, sheet), parts))
    useful = set().union(*(part.useful for part in evidence))
    found = [problem for part in evidence for problem in part.problems]
    return list(dict.fromkeys([*found, *_idle_cases(place, sheet, useful), *_guessable(place, sheet, evidence)]))


def prove_part(place: SheetPlace, text: SheetText, sheet: Sheet, part: tuple[str, int]) -> Evidence:
    """Laws 2 and 3 for one task under one seed."""
    name, seed = part
    proof = _Proof(place, sheet, sheet.tasks[name], text.reference(name), _cell_of(text, name))
    return Evidence(proof.under(seed), proof.failed, proof.expected)


def _idle_cases(place: SheetPlace, sheet: Sheet, useful: set[str]) -> Iterator[Problem]:
    """Law 4."""
    for task in sheet.tasks.values():
        for case in task.cases:
            if case.name not in useful:
                sentence = f"{task.name}: no misconception fails the case “{case.title}”; add one, or drop it."
                yield Problem(place.checks, line_of(place.checks, case.name), sentence)


def _guessable(place: SheetPlace, sheet: Sheet, evidence: list[Evidence]) -> Iterator[Problem]:
    """Law 4, too: an answer that is the same for every draw can be handed in by somebody who solved nothing."""
    seen: dict[str, set[str]] = {}
    for part in evidence:
        for case, digest in part.expected.items():
            seen.setdefault(case, set()).add(digest)
    for task in sheet.tasks.values():
        fixed = [case for case in task.cases if case.name in seen and len(seen[case.name]) == 1]
        many = len({id(part) for part in evidence if fixed and fixed[0].name in part.expected}) > 1
        if many and sum(c.weight for c in fixed) > sum(c.weight for c in task.cases) / 2:
            names = ", ".join(case.name for case in fixed)
            yield Problem(
                place.checks,
                line_of(place.checks, fixed[0].name),
                f"{task.name}: more than half of its points need only answers that are the same for every draw "
                f"({names}); let these cases return what depends on rng, not what they conclude from it.",
            )


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
        self.expected: dict[str, str] = {}

    def under(self, seed: int) -> list[Problem]:
        try:
            truth = oracle(self.task, self.reference, self.sheet.name, seed)
            self.expected = {p.name: _digest(p) for p in truth.properties if p.weight}
            return [*self._right(truth, seed), *self._stub(truth, seed), *self._wrong(truth, seed)]
        except CourseError as error:
            return [self._problem(self.task.name, str(error))]

    def _right(self, truth: Oracle, seed: int) -> Iterator[Problem]:
        for other in (None, *self.task.variants):
            judgment = self._examine(truth, self.reference.objects(self.task, other), seed)
            if judgment.points != self.task.points:
                who = f"the variant {other.name}" if other else "the reference itself"
                what = Report(judgment).message()
                sentence = (
                    f"{self.task.name}: {who} gets {judgment.points:g} of {self.task.points:g} under seed {seed}:"
                )
                yield self._problem(other.name if other else self.task.name, f"{sentence}\n{what}")
            elif hits := forbidden.in_source(self.task.forbids, *self._text_of(other)):
                who = f"the variant {other.name}" if other else "the reference itself"
                what = f"uses {hits[0].name}, which the task forbids, in the line {hits[0].line}"
                yield self._problem(other.name if other else self.task.name, f"{self.task.name}: {who} {what}")

    def _stub(self, truth: Oracle, seed: int) -> Iterator[Problem]:
        stub = Reference(self.reference.given, stub_of(self.cell.text))
        judgment = self._examine(truth, stub.objects(self.task), seed)
        report = Report(judgment)
        if any(v.holds for v in judgment.verdicts):
            held = next(v.property.title for v in judgment.verdicts if v.holds)
            yield self._problem(self.task.name, f"{self.task.name}: the untouched stub passes “{held}”.")
        if len(report.message()) < 40:
            yield self._problem(self.task.name, f"{self.task.name}: the untouched stub gets no helpful message.")

    def _wrong(self, truth: Oracle, seed: int) -> Iterator[Problem]:
        answers = {wrong.name: self._ask(self.reference.objects(self.task, wrong), seed) for wrong in self._mistakes}
        known = [Known(wrong.name, wrong.text, values(answers[wrong.name])) for wrong in self._mistakes]
        graded = replace(truth, misconceptions=lambda: known)
        visible = replace(graded, properties=[p for p in truth.properties if not p.hidden])
        for wrong in self._mistakes:
            judgment = judge(graded, answers[wrong.name])
            self.failed |= {v.property.name for v in judgment.verdicts if not v.holds}
            if judgment.points >= self.task.points:
                yield self._problem(wrong.name, f"{self.task.name}: {wrong.name} gets full marks under seed {seed}.")
            else:
                yield from self._named(wrong, judgment, f"when graded under seed {seed}")
                if not wrong.hidden_only:
                    alone = judge(visible, answers[wrong.name])
                    yield from self._named(wrong, alone, f"by the student under seed {seed}")

    def _named(self, wrong: Solution, judgment: Judgment, how: str) -> Iterator[Problem]:
        names = [known.name for known in judgment.misconceptions]
        if names[:1] != [wrong.name]:
            called = f"taken for {names[0]}" if names else "not recognized"
            fails = ", ".join(v.property.name for v in judgment.verdicts if not v.holds) or "nothing"
            sentence = f"{self.task.name}: {wrong.name} is {called} {how} (it fails {fails})."
            yield self._problem(wrong.name, sentence)

    def _text_of(self, other: Solution | None) -> tuple[list[str], Iterable[str]]:
        """Returns the text of a solution, in the order in which it runs, and the objects that it defines."""
        solution = [self.reference.given, self.reference.edited(self.task, other)]
        if other is None or other.edit:
            return solution, self.task.objects
        checks = self.place.checks.read_text(encoding="utf-8-sig")
        own = [source.undecorated(s) for s in source.statements(checks) if other.name in s.defines]
        return [checks, *own], [other.name]

    @property
    def _mistakes(self) -> list[Solution]:
        return self.task.misconceptions

    def _ask(self, objects: Mapping[str, Any], seed: int) -> Answers:
        return ask(self.task, self.task.cases, objects, self.sheet.name, seed)

    def _examine(self, truth: Oracle, objects: Mapping[str, Any], seed: int) -> Judgment:
        return examine(self.task, truth, objects, self.sheet.name, seed)

    def _problem(self, name: str, sentence: str) -> Problem:
        return Problem(self.place.checks, line_of(self.place.checks, name), sentence)


def release(place: SheetPlace, text: SheetText, sheet: Sheet, files: Mapping[Path, str]) -> list[Problem]:
    """Law 5, for the given content of the released files."""
    problems = []
    secrets = list(_secrets(place, sheet, text))
    for path, content in files.items():
        try:
            released = _Released(path, content)
        except (ValueError, LookupError, TypeError):
            problems.append(Problem(path, 1, "it is damaged: run autograder build --force."))
            continue
        for cell in [*text.by_role("task"), *text.by_role("written")]:
            for line in source.solution_lines(cell.text):
                if _is_telling(line) and released.has_line(line):
                    sentence = f"{path.name} holds a line of the solution of {cell.name}: {line}"
                    problems.append(Problem(place.text, cell.line, sentence))
        for name, words, lines in secrets:
            if released.has_words(words) if words else all(released.has_line(line) for line in lines):
                what = words or max(lines, key=len)
                sentence = f"{path.name} holds a part of {name}, which students must not see: {what}"
                problems.append(Problem(place.checks, line_of(place.checks, name), sentence))
    return list(dict.fromkeys(problems))


def prose(path: Path, cells: Iterable[tuple[int, str]], base: Path) -> list[Problem]:
    """Law 7 for prose given as (first line, text); relative links are resolved from the folder `base`."""
    problems = []
    for first, text in cells:
        plain = CODE.sub(lambda found: "\n" * found[0].count("\n"), text)
        for pattern, sentence in (
            (POINTS, "prose states “{}”; points come from the checks."),
            (IMAGE, "an image has no alt text: say what it shows."),
        ):
            for found in pattern.finditer(plain):
                line = first + plain.count("\n", 0, found.start())
                problems.append(Problem(path, line, sentence.format(found[0])))
        for found in LINK.finditer(plain):
            target = unquote(next(filter(None, found.groups())).split("#")[0])
            if target and not re.match(r"[a-z]+:", target) and (target.startswith("/") or not (base / target).exists()):
                line = first + plain.count("\n", 0, found.start())
                problems.append(Problem(path, line, f"the link to {target} leads nowhere from {base}."))
    return problems


def sheet_prose(place: SheetPlace, text: SheetText) -> list[Problem]:
    """Law 7 for a sheet, whose links are followed from its release."""
    cells = [(cell.line + 1, cell.text) for cell in text.cells if cell.kind == "markdown"]
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


def _marks(place: SheetPlace, text: SheetText) -> Iterator[Problem]:
    """Solution regions are pairs, and no other line holds a mark by which nbgrader would cut."""
    for cell in text.cells:
        solved = cell.role in ("task", "written")
        found = [line.strip() for line in cell.text.splitlines() if line.strip() in source.REGION] if solved else []
        if solved and (not found or found != [*source.REGION] * (len(found) // 2)):
            sentence = f"the cell of {cell.name} needs pairs of {source.REGION[0]} and {source.REGION[1]}."
            yield Problem(place.text, cell.line, sentence)
        for number, line in enumerate(cell.text.splitlines(), cell.line + 1):
            if CUT.search(line) and not (solved and line.strip() in source.REGION):
                yield Problem(place.text, number, f"nbgrader would cut the sheet at “{line.strip()}”; reword it.")
    for number, line in enumerate(place.checks.read_text(encoding="utf-8").splitlines(), 1):
        if CUT.search(line):
            yield Problem(place.checks, number, f"nbgrader would cut the notebook at “{line.strip()}”; reword it.")


def _unsaid(place: SheetPlace, text: SheetText, sheet: Sheet) -> Iterator[Problem]:
    """What a task forbids stands, with a word of denial, in a sentence of its section or before the first code."""
    first = next((i for i, cell in enumerate(text.cells) if cell.kind == "code"), 0)
    section: list[str] = []
    for index, cell in enumerate(text.cells):
        if cell.kind == "markdown" and index >= first:
            section.append(cell.text)
        elif cell.role == "task" and cell.name in sheet.tasks:
            told = [*(c.text for c in text.cells[:first]), *section, stub_of(cell.text)]
            sentences = [" ".join(s.split()) for part in told for s in SENTENCE.split(part) if DENIED.search(s)]
            for name in sheet.tasks[cell.name].forbids:
                word = re.compile(rf"(?<![\w])(?:py)?{re.escape(name.split('.')[-1])}(?!\w)", re.IGNORECASE)
                if not any(word.search(sentence) for sentence in sentences):
                    said = (
                        f"{cell.name} forbids {name}, but no sentence of its text says that it is to be done without."
                    )
                    yield Problem(place.text, cell.line, said)
        elif cell.role == "check":
            section = []


def _running(place: SheetPlace, text: SheetText, sheet: Sheet) -> list[Problem]:
    """All solutions, right and wrong, can be defined: what follows may rely on it."""
    problems = []
    for task in sheet.tasks.values():
        reference, cell = text.reference(task.name), _cell_of(text, task.name)
        for other in (None, *task.variants, *task.misconceptions):
            try:
                reference.objects(task, other)
                continue
            except CourseError as error:
                sentence = str(error)
            except (Exception, SystemExit) as error:  # whatever an author's code does
                sentence = f"{task.name}: to define it raises {type(error).__name__}: {error}"
            if other is None:
                problems.append(Problem(place.text, cell.line, sentence))
                break
            problems.append(Problem(place.checks, line_of(place.checks, other.name), sentence))
    return problems


def _order(place: SheetPlace, text: SheetText, role: str, declared: list[str]) -> list[Problem]:
    cells = {cell.name: cell for cell in text.by_role(role)}
    problems = []
    for name in (name for name in declared if name not in cells):
        sentence = f'{name} is declared, but no cell of {place.text.name} says {role}="{name}".'
        problems.append(Problem(place.checks, line_of(place.checks, name), sentence))
    for name, cell in ((name, cell) for name, cell in cells.items() if name not in declared):
        sentence = f'{role}="{name}" is not declared in {place.checks.name}; declare it or mend the name.'
        problems.append(Problem(place.text, cell.line, sentence))
    names = [cell.name for cell in text.by_role(role)]
    if not problems and names != declared:
        first = next(i for i, (a, b) in enumerate(itertools.zip_longest(names, declared)) if a != b)
        line = text.by_role(role)[first].line
        order = ", ".join(declared)
        problems.append(Problem(place.text, line, f"the {role} cells must stand once each, in the order {order}."))
    tasks = {cell.name: cell.line for cell in text.by_role("task")}
    problems += [
        Problem(place.text, cell.line, f"the check of {cell.name} stands before its task; a task comes first.")
        for cell in (text.by_role("check") if role == "check" else [])
        if cell.line < tasks.get(cell.name, 0)
    ]
    return problems


def _cell_of(text: SheetText, task: str) -> Cell:
    return next(cell for cell in text.by_role("task") if cell.name == task)


class _Released:
    """What a person can read in a built file. Spacing and trailing comments make no difference."""

    def __init__(self, path: Path, content: str) -> None:
        data = json.loads(content)
        if path.suffix == ".ipynb":
            cells = [(cell["cell_type"], "".join(cell["source"])) for cell in data["cells"]]
            everything = "\n".join(text for _, text in cells)
            prose = "\n".join(text for kind, text in cells if kind != "code")
        else:
            prose = json.dumps(data["tasks"], ensure_ascii=False)
            everything = "\n".join([*data["code"], prose])
        self._words = everything
        self._squeezed = _squeezed(everything).casefold()
        self._prose = _squeezed(prose)
        rows = [row.strip().lstrip("#> ") for row in everything.splitlines()]
        self._lines = {_squeezed(row) for row in rows} | {_squeezed(row.split("  #")[0]) for row in rows}

    def has_line(self, line: str) -> bool:
        """Returns whether a line of code stands there, as a line or inside of prose."""
        return _squeezed(line) in self._lines or _squeezed(line) in self._prose

    def has_words(self, words: str) -> bool:
        """Returns whether a title or a name stands there; a name of one plain word only where it is set as code."""
        if len(words) >= SIGNIFICANT and " " in words:
            return _squeezed(words).casefold() in self._squeezed
        if "_" in words:
            return bool(re.search(rf"\b{re.escape(words)}\b", self._words))
        return f'"{words}"' in self._words or f"`{words}`" in self._words


def _digest(item: Property) -> str:
    return hashlib.sha256(json.dumps([to_json(answer) for answer in item.expected]).encode()).hexdigest()


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


def _secrets(place: SheetPlace, sheet: Sheet, text: SheetText) -> Iterator[tuple[str, str, set[str]]]:
    """Yields (name, words, lines) for hidden cases and wrong solutions: words, or lines of code that leak together."""
    checks = source.statements(place.checks.read_text(encoding="utf-8-sig"), str(place.checks))
    cases = [case for task in sheet.tasks.values() for case in task.cases]
    given = [cell.text for cell in text.by_role("setup")] + [stub_of(cell.text) for cell in text.by_role("task")]
    given += [line for case in cases if not case.hidden for line in _lines_of(checks, case.name)]
    public = {line.strip() for part in given for line in part.splitlines()}
    code: list[tuple[str, set[str]]] = []
    for case in cases:
        if case.hidden:
            yield case.name, case.name, set()
            yield case.name, case.title, set()
            code.append((case.name, {line.strip() for line in _lines_of(checks, case.name)}))
    for task in sheet.tasks.values():
        reference = text.reference(task.name)
        right = {line.strip() for line in reference.solution.splitlines()}
        for wrong in task.misconceptions:
            written = reference.edited(task, wrong).splitlines() if wrong.edit else _lines_of(checks, wrong.name)
            code.append((wrong.name, {line.strip() for line in written} - right))
    for name, lines in code:
        own = {line for line in lines - public if len(line) > 3}
        if any(_is_telling(line) for line in own):
            yield name, "", own


def _lines_of(checks: list[source.Statement], name: str) -> list[str]:
    """Returns the lines of the function or class that the checks call `name`, without decorators and first line."""
    texts = [source.undecorated(statement) for statement in checks if name in statement.defines]
    return [line for text in texts for line in text.splitlines()[1:] if not line.strip().startswith(('"', "'"))]


def _is_telling(line: str) -> bool:
    """Returns whether a line of a solution says something: an operation, not only names, returns and brackets."""
    code = line.split("  #")[0]
    if "default_rng(" in code:  # stands in every sheet
        return False
    return len(code) >= SIGNIFICANT and bool(re.search(r"[-+*/@]|\w\(", code)) and not code.startswith(('"""', "def "))
