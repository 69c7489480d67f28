"""What the grades of a module say of the class: scores, tasks, recognized misconceptions, and who needs help.

Points come from nbgrader's gradebook, verdicts from the graded notebooks (see `report`). Each figure is about the
students whose submission was graded and holds some work; who handed in nothing, an untouched sheet, or a file in
which no work was found is named apart, and changes no figure.

A *share* is the part of a task's points that a student earned, from 0 to 1: extra credit adds nothing, and late
penalties take nothing away. A *score* is the share of the points of all tasks that count: those that the machine
grades, and those graded by hand that no longer wait for a person.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from autograder import databases, gradebook
from autograder.errors import CourseError
from autograder.gradebook import Row
from autograder.notebooks import task_of
from autograder.report import MIME

FULL, PARTIAL, NONE, BLANK, WAITING = "full", "partial", "none", "not written", "waiting"
OUTCOMES = (FULL, PARTIAL, NONE, BLANK, WAITING)
FEWEST = 5  # students: fewer points in the plane say nothing of a correlation
BINS = 10  # of the histogram, below the one of those who earned all points
SAME = 1e-9  # shares closer than this are equal: points are rounded to hundredths, and sums of them are not exact


@dataclass(frozen=True)
class Task:
    """A task of the module: its points are more than 0."""

    name: str
    sheet: str
    points: float
    by_hand: bool = False


@dataclass(frozen=True)
class Verdict:
    """What the grader found: a key of UNSOLVED or "", which properties hold, and the recognized misconceptions."""

    unsolved: str = ""
    holds: Mapping[tuple[str, bool], bool] = field(default_factory=dict)  # by title, and whether it is hidden
    misconceptions: Mapping[str, str] = field(default_factory=dict)  # sentences by name


@dataclass(frozen=True)
class Work:
    """What a student did in a task: the share of its points (None: not graded yet), and the verdict if it is stored.

    It is blank if, as far as is known, nothing was written.
    """

    share: float | None = None
    blank: bool = False
    verdict: Verdict | None = None

    @property
    def outcome(self) -> str:
        """Returns one of OUTCOMES; points given by a person go before what is written."""
        if self.share is None:
            return WAITING
        if self.share > SAME:
            return FULL if self.share > 1 - SAME else PARTIAL
        return BLANK if self.blank else NONE


@dataclass(frozen=True)
class Submission:
    """The work of a student by task, and what the grader noted of the files."""

    student: str
    work: Mapping[str, Work]
    notes: Sequence[str] = ()

    @property
    def has_work(self) -> bool:
        """Whether something was written or has earned points."""
        return any(not work.blank or work.outcome in (FULL, PARTIAL) for work in self.work.values())


@dataclass(frozen=True)
class Noted:
    """A student, and what the grader noted of the files."""

    student: str
    notes: list[str]


@dataclass(frozen=True)
class Attendance:
    """All students that the gradebook or the folder of submissions knows: each one stands in one of the lists.

    `with_work` are those whom the figures are about.
    """

    with_work: list[str]
    missing: list[str] = field(default_factory=list)  # nothing handed in
    untouched: list[str] = field(default_factory=list)  # handed in as it was released
    unreadable: list[Noted] = field(default_factory=list)  # handed in, but no work was found in it
    ungraded: list[str] = field(default_factory=list)  # handed in, not graded yet

    def without_names(self) -> "Attendance":
        """Returns lists of the same lengths that name nobody."""
        lists = (self.with_work, self.missing, self.untouched, self.ungraded)
        with_work, missing, untouched, ungraded = ([""] * len(each) for each in lists)
        return Attendance(with_work, missing, untouched, [Noted("", []) for _ in self.unreadable], ungraded)


@dataclass(frozen=True)
class Scores:
    """The distribution of the scores. Quartiles are interpolated; `counts` are those of ten equal bins below 1, then
    of all points."""

    mean: float
    lowest: float
    lower_quartile: float
    median: float
    upper_quartile: float
    highest: float
    counts: list[int]


@dataclass(frozen=True)
class PropertyInsight:
    """How often a property holds, among the students whose solution could be asked."""

    title: str
    hidden: bool
    holds: int
    of: int


@dataclass(frozen=True)
class TaskInsight:
    """A task as the class found it. `graded` is the number of students behind difficulty and discrimination."""

    name: str
    sheet: str
    points: float
    by_hand: bool
    counts: bool  # towards the scores
    graded: int
    outcomes: dict[str, int]
    difficulty: float | None  # the mean share: low is hard
    discrimination: float | None  # the correlation of the task's share with that of all other points
    undefined: str  # why there is no discrimination
    nobody_passed: bool
    nobody_failed: bool
    unsolved: dict[str, int]  # students by key of UNSOLVED
    unexplained: int  # students who wrote something, lost points, and got no name for the mistake
    properties: list[PropertyInsight]


@dataclass(frozen=True)
class MisconceptionInsight:
    """A recognized misconception: the students who have it, of those whose verdict on the task is stored."""

    task: str
    name: str
    sentences: str
    count: int
    of: int
    share: float
    students: list[str]


@dataclass(frozen=True)
class Standing:
    """A student's score (None where nothing counts yet), with share and outcome by task, and notes of the grader."""

    student: str
    score: float | None
    shares: dict[str, float | None]
    outcomes: dict[str, str]
    notes: list[str]


@dataclass(frozen=True)
class Insights:
    """All that is known of a class in a module. Students stand best first, misconceptions most frequent first."""

    module: str
    anonymous: bool
    attendance: Attendance
    scores: Scores | None
    tasks: list[TaskInsight]
    misconceptions: list[MisconceptionInsight]
    students: list[Standing]

    def without_names(self) -> "Insights":
        """Returns the same figures without what tells a student: ids become empty texts, notes are left out."""
        return replace(
            self,
            anonymous=True,
            attendance=self.attendance.without_names(),
            misconceptions=[replace(each, students=[]) for each in self.misconceptions],
            students=[replace(each, student="", notes=[]) for each in self.students],
        )


def read(root: Path, module: str) -> Insights:
    """Returns the insights into the class of the course folder `root`.

    Raises CourseError where there is no gradebook, no such module in it, or nothing is graded yet.
    """
    grades = gradebook.read(root, module)
    known = _known(root, module)
    tasks = [
        Task(name, known.sheets.get(name, ""), points, name in grades.by_hand)
        for name, points in grades.maximum.items()
        if points > 0
    ]
    graded = [row for row in grades.rows if _is_graded(row, tasks)]
    if not graded:
        raise CourseError(f"No submission of {module} is graded yet: run autograder grade {module}.")
    submissions = [_submission(root, module, row, tasks, known.unanswered) for row in graded]
    handed_in = {path.parent.name for path in (root / "submitted").glob(f"*/{module}") if path.is_dir()}
    ungraded = (handed_in | {row.student for row in grades.rows}) - {row.student for row in graded}
    return analyze(module, tasks, submissions, known.students, ungraded)


def analyze(
    module: str,
    tasks: Sequence[Task],
    submissions: Iterable[Submission],
    known: Iterable[str] = (),
    ungraded: Iterable[str] = (),
) -> Insights:
    """Returns the insights into graded `submissions`, which hold work for each task, in any order.

    `known` are all students of the course, `ungraded` those who handed in what is not graded yet.
    """
    submissions = sorted(submissions, key=lambda each: each.student)
    working = [each for each in submissions if each.has_work]
    counting = [t for t in tasks if not t.by_hand or all(s.work[t.name].share is not None for s in working)]
    return Insights(
        module=module,
        anonymous=False,
        attendance=_attendance(submissions, set(known), set(ungraded)),
        scores=_distribution([score for s in working if (score := _score(s, counting)) is not None]),
        tasks=[_task(task, counting, working) for task in tasks],
        misconceptions=_misconceptions(tasks, working),
        students=_standings(tasks, counting, working),
    )


def _attendance(submissions: list[Submission], known: set[str], ungraded: set[str]) -> Attendance:
    blank = [each for each in submissions if not each.has_work]
    return Attendance(
        with_work=[each.student for each in submissions if each.has_work],
        missing=sorted(known - ungraded - {each.student for each in submissions}),
        untouched=[each.student for each in blank if not each.notes],
        unreadable=[Noted(each.student, list(each.notes)) for each in blank if each.notes],
        ungraded=sorted(ungraded),
    )


def _score(submission: Submission, tasks: Iterable[Task]) -> float | None:
    """Returns the share of the points of `tasks`, of those that are graded; None where none is."""
    graded = [(t.points, share) for t in tasks if (share := submission.work[t.name].share) is not None]
    possible = sum(points for points, _ in graded)
    return sum(points * share for points, share in graded) / possible if graded else None


def _distribution(scores: list[float]) -> Scores | None:
    if not scores:
        return None
    bins = Counter(BINS if score > 1 - SAME else int(score * BINS + SAME) for score in scores)
    lowest, lower, median, upper, highest = (float(np.quantile(scores, q)) for q in (0, 0.25, 0.5, 0.75, 1))
    counts = [bins[index] for index in range(BINS + 1)]
    return Scores(sum(scores) / len(scores), lowest, lower, median, upper, highest, counts)


def _task(task: Task, counting: list[Task], submissions: list[Submission]) -> TaskInsight:
    works = [each.work[task.name] for each in submissions]
    shares = [work.share for work in works if work.share is not None]
    outcomes = Counter(work.outcome for work in works)
    discrimination, undefined = _discrimination(task, [t for t in counting if t != task], submissions)
    decided = bool(shares) and not outcomes[WAITING]
    return TaskInsight(
        name=task.name,
        sheet=task.sheet,
        points=task.points,
        by_hand=task.by_hand,
        counts=task in counting,
        graded=len(shares),
        outcomes={outcome: outcomes[outcome] for outcome in OUTCOMES},
        difficulty=sum(shares) / len(shares) if shares else None,
        discrimination=discrimination,
        undefined=undefined,
        nobody_passed=decided and not outcomes[FULL],
        nobody_failed=decided and outcomes[FULL] == len(works),
        unsolved=dict(Counter(work.verdict.unsolved for work in works if work.verdict and work.verdict.unsolved)),
        unexplained=sum(_is_unexplained(work) for work in works),
        properties=_properties(works),
    )


def _discrimination(task: Task, others: list[Task], submissions: list[Submission]) -> tuple[float | None, str]:
    """Returns the item-rest correlation and "", or None and why it is not defined."""
    pairs = [
        (share, rest)
        for each in submissions
        if (share := each.work[task.name].share) is not None and (rest := _score(each, others)) is not None
    ]
    if not others:
        return None, "there is no other task"
    if len(pairs) < FEWEST:
        return None, f"fewer than {FEWEST} students"
    shares, rests = np.array(pairs).T
    if np.ptp(shares) < SAME:
        return None, "all earned the same"
    if np.ptp(rests) < SAME:
        return None, "all earned the same in the other tasks"
    return float(np.asarray(np.corrcoef(shares, rests))[0, 1]), ""


def _is_unexplained(work: Work) -> bool:
    lost = work.outcome in (PARTIAL, NONE)
    return lost and work.verdict is not None and not work.verdict.unsolved and not work.verdict.misconceptions


def _properties(works: list[Work]) -> list[PropertyInsight]:
    asked: Counter[tuple[str, bool]] = Counter()
    held: Counter[tuple[str, bool]] = Counter()
    for work in works:
        if work.verdict and not work.verdict.unsolved:
            asked.update(work.verdict.holds.keys())
            held.update(key for key, holds in work.verdict.holds.items() if holds)
    return [PropertyInsight(*key, held[key], count) for key, count in asked.items()]


def _misconceptions(tasks: Sequence[Task], submissions: list[Submission]) -> list[MisconceptionInsight]:
    found = []
    for task in tasks:
        verdicts = {each.student: verdict for each in submissions if (verdict := each.work[task.name].verdict)}
        sentences = {name: said for verdict in verdicts.values() for name, said in verdict.misconceptions.items()}
        for name, said in sorted(sentences.items()):
            who = [student for student, verdict in verdicts.items() if name in verdict.misconceptions]
            share = len(who) / len(verdicts)
            found.append(MisconceptionInsight(task.name, name, said, len(who), len(verdicts), share, who))
    return sorted(found, key=lambda each: -each.share)


def _standings(tasks: Sequence[Task], counting: list[Task], submissions: list[Submission]) -> list[Standing]:
    made = []
    for each in submissions:
        works = {task.name: each.work[task.name] for task in tasks}
        shares = {name: work.share for name, work in works.items()}
        outcomes = {name: work.outcome for name, work in works.items()}
        made.append(Standing(each.student, _score(each, counting), shares, outcomes, list(each.notes)))
    return sorted(made, key=_rank)


def _rank(standing: Standing) -> tuple[Any, ...]:
    """Returns what sorts the best first; names decide last, so that without them the order tells nothing."""
    known = [-1.0 if share is None else share for share in (standing.score, *standing.shares.values())]
    return [-number for number in known], list(standing.outcomes.values()), standing.student


@dataclass(frozen=True)
class _Known:
    """What the gradebook knows beside points: students, the sheet of each task, and who left which answer blank."""

    students: set[str]
    sheets: dict[str, str]
    unanswered: set[tuple[str, str]]


def _known(root: Path, module: str) -> _Known:
    from nbgrader.api import BaseCell, Grade, Gradebook, SubmittedAssignment, SubmittedNotebook
    from sqlalchemy import select

    # nbgrader itself gives an answer that is as it was released 0 points, and leaves the others to a person
    blank = (
        select(SubmittedAssignment.student_id, BaseCell.name)
        .join(SubmittedNotebook, SubmittedNotebook.assignment_id == SubmittedAssignment.id)
        .join(Grade, Grade.notebook_id == SubmittedNotebook.id)
        .join(BaseCell, BaseCell.id == Grade.cell_id)
        .where(Grade.auto_score == 0, Grade.manual_score.is_(None))
    )
    url = gradebook.database(root)
    with databases.explained(url), Gradebook(url, "") as book:  # as `gradebook.read` opens it
        assignment = book.find_assignment(module)
        sheets = {task_of(cell.name): sheet.name for sheet in assignment.notebooks for cell in sheet.grade_cells}
        rows = book.db.execute(blank.where(SubmittedAssignment.assignment_id == assignment.id))
        return _Known({s.id for s in book.students}, sheets, {(student, task_of(name)) for student, name in rows})


def _is_graded(row: Row, tasks: list[Task]) -> bool:
    """Whether the machine has graded a submission: a grading that failed leaves every task without points."""
    machine = [task.name for task in tasks if not task.by_hand]
    return not machine or any(row.points[name] is not None for name in machine)


def _submission(root: Path, module: str, row: Row, tasks: list[Task], unanswered: set[tuple[str, str]]) -> Submission:
    verdicts: dict[str, Verdict] = {}
    for sheet in {task.sheet for task in tasks}:
        verdicts |= _verdicts(root / "autograded" / row.student / module / f"{sheet}.ipynb")
    work = {}
    for task in tasks:
        points, verdict = row.points[task.name], verdicts.get(task.name)
        share = None if points is None else min(max(points / task.points, 0.0), 1.0)
        if task.by_hand:
            blank = (row.student, task.name) in unanswered
        else:  # what the machine has not graded is of a sheet that came later
            blank = share is None if verdict is None else verdict.unsolved == "not written"
        work[task.name] = Work(share, blank, verdict)
    return Submission(row.student, work, row.notes)


def _verdicts(path: Path) -> dict[str, Verdict]:
    """Returns the verdicts in a graded notebook by task; none where it was removed."""
    try:
        cells = json.loads(path.read_bytes())["cells"]
    except FileNotFoundError:
        return {}
    return {
        task_of(about["grade_id"]): _verdict(report)
        for cell in cells
        if (about := cell["metadata"].get("nbgrader", {})).get("grade")
        for output in cell.get("outputs", [])
        if (report := output.get("data", {}).get(MIME))
    }


def _verdict(report: dict[str, Any]) -> Verdict:
    return Verdict(
        report["unsolved"],
        {(each["title"], each["hidden"]): each["holds"] for each in report["properties"]},
        {each["name"]: each["sentences"] for each in report["misconceptions"]},
    )
