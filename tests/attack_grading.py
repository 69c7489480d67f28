"""Grades the attacks, by stock nbgrader and by this course, and says in which ways each succeeded."""

import json
import shutil
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from traitlets.config import Config

from autograder.nbgrader_steps import configure
from tests import attack_course, attack_room
from tests.attack_course import AFTER, CANARIES, CONFIG, HONEST, IN_TESTS, MODULE, PLAIN, POINTS, AttackCourse
from tests.attack_room import MARK, Seen
from tests.attacks import ATTACKS, OUTCOMES, Attack, Kit

Found = dict[str, frozenset[str]]  # the outcomes of each attack, by the student who hands it in
SECONDS_PER_CELL = 5  # where a cell never ends; nbgrader's 30 seconds would show the same, and later
LIMITS = f"""\
c.Judged.seconds_per_cell = {SECONDS_PER_CELL}
c.Judged.seconds_per_submission = 40
c.Judged.memory = 2048
"""
ENDLESS = 22  # the row of what never ends
ALONE_SECONDS, BATCH_SECONDS = 60, 1200
LARGE = 10_000_000


def grade_stock(base: AttackCourse, folder: Path, attacks: Iterable[Attack] = ATTACKS, workers: int = 2) -> Found:
    """Returns what the attacks achieve against nbgrader without any configuration of ours."""
    chosen = list(attacks)
    together = [attack for attack in chosen if not attack.alone and attack.row != ENDLESS]
    batches = [[attack] for attack in chosen if attack.alone] + [together[i::workers] for i in range(workers)]
    batches.append([attack for attack in chosen if not attack.alone and attack.row == ENDLESS])
    batches.sort(key=len, reverse=True)
    with ThreadPoolExecutor(workers) as pool:
        graded = pool.map(lambda batch: _grade(base, folder, MODULE, batch, stock=True), filter(None, batches))
        return {student: outcomes for found in graded for student, outcomes in found.items()}


def grade_plain(base: AttackCourse, folder: Path) -> Found:
    """Returns what the attacks achieve against stock nbgrader and a notebook of plain asserts."""
    return _grade(base, folder, PLAIN, [attack for attack in ATTACKS if attack.plain is not None], stock=True)


def grade_ours(base: AttackCourse, folder: Path, attacks: Iterable[Attack] = ATTACKS) -> Found:
    """Returns what the attacks achieve against this course's configuration, all in one batch."""
    return _grade(base, folder, MODULE, list(attacks), stock=False)


def _grade(base: AttackCourse, folder: Path, assignment: str, attacks: list[Attack], *, stock: bool) -> Found:
    name = f"{'stock' if stock else 'ours'}_{assignment}_{attacks[0].student if attacks else 'none'}"
    course = base.copy(folder / name)
    try:
        for attack in attacks:
            kit = Kit(course, attack.student, assignment)
            attack.build(kit)
            kit.save()
        if not stock:
            (course.root / "nbgrader_config.py").write_text(CONFIG + LIMITS)
        alone = len(attacks) == 1
        seconds = [f"--Execute.timeout={SECONDS_PER_CELL}"] if attacks[0].row == ENDLESS else []
        commands = [["autograde", assignment, *(seconds if stock else [])]]
        if not alone or not stock:
            commands.append(["generate_feedback", assignment])
        before = course.honest_rows()
        seen = attack_room.grade(course.root, commands, CANARIES["env"], ALONE_SECONDS if alone else BATCH_SECONDS)
        return {a.student: _outcomes(a, course, assignment, seen, before, alone, stock) for a in attacks}
    finally:
        shutil.rmtree(course.root)


def _outcomes(
    attack: Attack,
    course: AttackCourse,
    assignment: str,
    seen: Seen,
    before: list[tuple[object, ...]],
    alone: bool,
    stock: bool,
) -> frozenset[str]:
    student = attack.student
    try:
        scores, after = course.scores(assignment), course.honest_rows()
    except Exception:  # an attack can leave no gradebook that could be read
        return frozenset({"not graded", "changes others", "stops the batch"})
    own = scores.get(student, {})
    total = sum(points or 0.0 for points in own.values())
    shown = _shown(course, student, assignment)
    left = [thing for thing in seen.left if alone or student in thing or (not stock and MARK not in thing)]
    found = {
        "gains points": total > attack.earned,
        "loses points": total < attack.earned,
        "not graded": not own or None in own.values(),
        "reads secrets": bool(_secrets(course, student, assignment, stock) | _canaries(seen.loot.get(student, ""))),
        "changes others": _changed(before, after) or _touched(course),
        "stops the batch": not seen.finished or None in scores.get(AFTER, {"": None}).values(),
        "leaves things": bool(left),
        "reaches out": any(student in said for said in seen.heard) or "attack-reached" in shown,
        "takes much": "attack-took-all" in shown,
        "bloats": sum(p.stat().st_size for p in _given(course, student, assignment)) > LARGE,
        "runs script": any(_runs_script(p) for p in _given(course, student, assignment) if p.suffix == ".html"),
    }
    assert found.keys() == OUTCOMES.keys()
    return frozenset(name for name, succeeded in found.items() if succeeded)


def _shown(course: AttackCourse, student: str, assignment: str, errors: bool = True) -> str:
    """Returns the outputs of the graded notebook, as JSON."""
    path = course.root / "autograded" / student / assignment / f"{attack_course.notebook_name(assignment)}.ipynb"
    try:
        cells = json.loads(path.read_text(encoding="utf-8", errors="replace"))["cells"]
    except (OSError, ValueError, KeyError):
        return ""
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return json.dumps([output for output in outputs if errors or output["output_type"] != "error"])


def _given(course: AttackCourse, student: str, assignment: str) -> list[Path]:
    """Returns the graded notebook and the feedback page."""
    name = attack_course.notebook_name(assignment)
    paths = [course.root / "autograded" / student / assignment / f"{name}.ipynb"]
    paths.append(course.root / "feedback" / student / assignment / f"{name}.html")
    return [path for path in paths if path.is_file()]


def _secrets(course: AttackCourse, student: str, assignment: str, stock: bool) -> set[str]:
    """Returns the canaries in what was made for the student, and the grader should not have put there.

    Our graded notebook tells the grader, not the student, on which input a hidden case failed. Stock nbgrader shows
    everyone the text of hidden tests, and with it the solution, in cells and in tracebacks: of these, other outputs
    count.
    """
    meant = {"autograded": IN_TESTS if stock else ("input",), "feedback": IN_TESTS if stock else ()}
    found = _canaries(_shown(course, student, assignment, errors=False)) if stock else set()
    for tree, names in meant.items():
        for path in (course.root / tree / student / assignment).rglob("*"):
            if path.is_file() and path.stat().st_size < 10 * LARGE:
                found |= _canaries(path.read_bytes().decode("latin-1")) - {CANARIES[name] for name in names}
    return found


def _canaries(text: str) -> set[str]:
    return {canary for canary in CANARIES.values() if canary in text or canary.replace("-", "_") in text}


def _changed(before: list[tuple[object, ...]], after: list[tuple[object, ...]]) -> bool:
    """Returns whether a row that was there changed, or an honest student has other than full marks."""
    new = [row for row in after if row not in before]
    return not set(before) <= set(after) or any(
        row[4:6] != (repr(POINTS[str(row[3]).removeprefix("check_")]), "None") for row in new
    )


def _touched(course: AttackCourse) -> bool:
    """Returns whether files of honest students were changed by an attack."""
    folders = [course.root / tree / student for tree in ("submitted", "autograded", "feedback") for student in HONEST]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return any(word in path.read_bytes() for path in files for word in (b"attack-was-here", b"raise KeyError #"))


class _Scripts(HTMLParser):
    """Notes whether a page would run the suite's script."""

    def __init__(self) -> None:
        super().__init__()
        self.found = False
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag == "script"
        for name, value in attrs:
            runs = name.startswith("on") or name == "srcdoc" or (value or "").strip().startswith("javascript:")
            self.found |= runs and "attack-script" in (value or "")

    def handle_data(self, data: str) -> None:
        self.found |= self._inside and "attack-script" in data

    def handle_endtag(self, tag: str) -> None:
        self._inside = False


def _runs_script(path: Path) -> bool:
    text = path.read_text(encoding="utf-8", errors="replace")
    if "attack-script" not in text or len(text) > 5 * LARGE:
        return False
    parser = _Scripts()
    parser.feed(text)
    return parser.found


def ours_missing() -> str | None:
    """Returns why this course's own grading cannot be tried, or None."""
    try:
        from autograder.graded import Judged
    except ImportError as error:
        return f"the sandbox is not there yet: {error}"
    config = Config()
    configure(config)
    steps = config.Autograde.autograde_preprocessors
    return None if f"{Judged.__module__}.{Judged.__name__}" in steps else "`configure` does not use the sandbox yet"


def show(stock: Found, plain: Found, ours: Found) -> None:
    """Prints one line for each attack, and the totals."""
    console = Console(highlight=False)
    table = Table(box=SIMPLE_HEAD, show_footer=True)
    sides = {"stock, plain asserts": plain, "stock, our checks": stock, "ours": ours}
    table.add_column("", footer=str(len(ATTACKS)))
    table.add_column("what the submission does", footer="attacks that succeed")
    for title, found in sides.items():
        table.add_column(title, footer=f"{sum(map(bool, found.values()))} of {len(found)}")
    for attack in ATTACKS:
        table.add_row(str(attack.row), attack.does, *(_said(found.get(attack.student)) for found in sides.values()))
    console.print(table)


def _said(outcomes: frozenset[str] | None) -> str:
    if outcomes is None:
        return "·"
    return ", ".join(name for name in OUTCOMES if name in outcomes) or "nothing"


def main() -> int:
    """Grades all attacks and prints the table. Returns the exit status: 0 where stock is as recorded and ours holds."""
    if problem := attack_room.problem():
        Console().print(f"The attacks are not run, because {problem}.")
        return 1
    missing = ours_missing()
    with tempfile.TemporaryDirectory(prefix="attacks-") as name:
        folder = Path(name)
        base = attack_course.make(folder / "course")
        ours = {} if missing else grade_ours(base, folder)
        stock, plain = grade_stock(base, folder), grade_plain(base, folder)
    show(stock, plain, ours)
    console = Console(highlight=False)
    if missing:
        console.print(f"Ours is not tried, because {missing}.")
    wrong = [a.student for a in ATTACKS if stock[a.student] != a.stock or plain.get(a.student) != a.plain]
    for student in wrong:
        console.print(f"{student}: stock nbgrader does something else than what is on record.")
    return int(bool(missing or wrong or any(ours.values())))
