"""Insights: the numbers against others' formulas, the laws that any class keeps, and a page that is safe to open."""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbgrader.api import Gradebook
from scipy.stats import pearsonr

from autograder import insights_page
from autograder.compare import Difference
from autograder.diagnosis import Judgment, Known, Property, Verdict
from autograder.errors import CourseError
from autograder.files import write_all
from autograder.insights import BINS, OUTCOMES, Insights, Submission, Task, Work, analyze, read
from autograder.insights import Verdict as Seen
from autograder.report import MIME, UNSOLVED, Report

# nbgrader makes submissions in a way that SQLAlchemy remarks on
pytestmark = pytest.mark.filterwarnings("ignore:Object of type:sqlalchemy.exc.SAWarning")

MADE = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
MODULE = "m1_small"
POINTS = {"center": 2.0, "normalize": 4.0, "why": 3.0}
TASKS = [Task(name, "01_shapes", points, by_hand=name == "why") for name, points in POINTS.items()]
BLANK = {task.name: Work(0.0, blank=True) for task in TASKS}
HOSTILE = '<script>alert("x")</script>&\'"{{7*7}}\u202e'
UNREADABLE = "What was submitted is not a notebook that can be read: `a<b>.ipynb` is not JSON (line 1, column 1)."
VOID = {"meta", "br", "img", "rect", "link", "input"}


@dataclass
class Done:
    """What a student has of a task in a gradebook that a test makes: points of the machine, and the verdict's parts."""

    points: float | None
    fails: tuple[str, ...] = ()  # properties
    misconceptions: tuple[str, ...] = ()
    unsolved: str = ""  # a key of UNSOLVED
    manual: float | None = None
    extra: float | None = None


@dataclass
class Student:
    """What a student handed in, as the gradebook and the graded notebook have it."""

    done: dict[str, Done]
    notes: tuple[str, ...] = ()
    penalty: float | None = None
    graded_notebook: bool = True


@dataclass
class Class:
    """A course folder with a gradebook, which a test fills."""

    root: Path
    points: Mapping[str, float] = field(default_factory=lambda: POINTS)

    @property
    def url(self) -> str:
        return f"sqlite:///{self.root / 'gradebook.db'}"

    def create(self) -> None:
        with Gradebook(self.url) as book:
            book.add_assignment(MODULE)
            book.add_notebook("01_shapes", MODULE)
            for task, points in self.points.items():
                by_hand = task == "why"
                name, kind = (task, "markdown") if by_hand else (f"check_{task}", "code")
                book.add_grade_cell(name, "01_shapes", MODULE, max_score=points, cell_type=kind)

    def enroll(self, *students: str) -> None:
        with Gradebook(self.url) as book:
            for student in students:
                book.add_student(student)

    def grade(self, **students: Student) -> None:
        self.enroll(*students)
        with Gradebook(self.url) as book:
            for name, student in students.items():
                book.add_submission(MODULE, name)
                book.find_submission_notebook("01_shapes", MODULE, name).late_submission_penalty = student.penalty
                for task, done in student.done.items():
                    cell = task if task == "why" else f"check_{task}"
                    grade = book.find_grade(cell, "01_shapes", MODULE, name)
                    grade.auto_score, grade.manual_score, grade.extra_credit = done.points, done.manual, done.extra
            book.db.commit()
        write_all({self.graded(name): notebook(student) for name, student in students.items()})
        for name in [name for name, student in students.items() if not student.graded_notebook]:
            self.graded(name).unlink()

    def graded(self, student: str) -> Path:
        return self.root / "autograded" / student / MODULE / "01_shapes.ipynb"

    def read(self) -> Insights:
        return read(self.root, MODULE)


def notebook(student: Student) -> str:
    """Returns a graded notebook with nothing but what insights read of it."""
    cells: list[dict[str, Any]] = []
    if student.notes:
        text = "**A note from the grader**\n\n" + "\n".join(f"- {note}" for note in student.notes)
        cells.append({"metadata": {"autograder_notes": True}, "source": text})
    for task, done in student.done.items():
        about = {"nbgrader": {"grade_id": f"check_{task}", "grade": True}}
        output = {"output_type": "execute_result", "data": {MIME: report(task, done)}}
        cells.append({"metadata": about, "source": "", "outputs": [output]} if task != "why" else {"metadata": {}})
    return json.dumps({"cells": cells})


def report(task: str, done: Done) -> dict[str, Any]:
    """Returns what the grader stores of a task with two properties, the second of which is hidden."""
    known = [Known(name, f"What does `{name}` do?", {}) for name in done.misconceptions]
    verdicts = []
    for title in ("rows", "columns"):
        hidden = title == "columns"
        fails = done.unsolved or title in done.fails
        difference = Difference(done.unsolved or "value", "1", "2") if fails else None
        found = known.pop(0) if known and fails else None
        verdicts.append(Verdict(Property(title, title, hidden, 1.0, []), difference, [], found))
    data: dict[str, Any] = json.loads(json.dumps(Report(Judgment(task, POINTS.get(task, 1.0), verdicts)).data()))
    return data


@pytest.fixture(scope="session")
def empty_gradebook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a gradebook with nothing but nbgrader's tables, which take seconds to make."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    made = Class(tmp_path_factory.mktemp("gradebook"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", path)  # nbgrader calls alembic
        Gradebook(made.url).close()
    return made.root / "gradebook.db"


@pytest.fixture
def small(tmp_path: Path, empty_gradebook: Path) -> Class:
    """Returns a class without students."""
    shutil.copy(empty_gradebook, tmp_path)
    made = Class(tmp_path)
    made.create()
    return made


def all_done(center: float = 2, normalize: float = 4, why: float | None = 3, **more: Any) -> Student:
    done = {"center": Done(center), "normalize": Done(normalize), "why": Done(None, manual=why)}
    return Student(done, **more)


UNTOUCHED = {"center": Done(0, unsolved="not written"), "normalize": Done(0, unsolved="not written"), "why": Done(0)}
OF_FIVE = {  # center of 2, normalize of 4, why of 3
    "ann": (2, 4, 3), "bob": (2, 3, 1), "cem": (1, 2, 2), "dan": (0, 3, 0), "eve": (2, 0, 1),
}  # fmt: skip


@pytest.fixture
def five(small: Class) -> Insights:
    """Returns the insights into five students, each of whom wrote everything."""
    small.grade(**{name: all_done(*points) for name, points in OF_FIVE.items()})
    return small.read()


def test_scores_are_the_quantiles_of_what_a_person_adds_up(five: Insights) -> None:
    """Of nine points 9, 6, 5, 3 and 3."""
    assert [(s.student, s.score) for s in five.students] == [
        ("ann", 1), ("bob", pytest.approx(6 / 9)), ("cem", pytest.approx(5 / 9)), ("eve", pytest.approx(3 / 9)),
        ("dan", pytest.approx(3 / 9)),
    ]  # fmt: skip
    assert five.scores is not None
    assert five.scores.mean == pytest.approx(26 / 45)
    assert five.scores.median == pytest.approx(5 / 9)
    assert (five.scores.lower_quartile, five.scores.upper_quartile) == pytest.approx((3 / 9, 6 / 9))
    assert (five.scores.lowest, five.scores.highest) == pytest.approx((3 / 9, 1))
    assert five.scores.counts == [0, 0, 0, 2, 0, 1, 1, 0, 0, 0, 1]


def test_difficulty_is_the_mean_share(five: Insights) -> None:
    assert [t.difficulty for t in five.tasks] == pytest.approx([7 / 10, 12 / 20, 7 / 15])


def test_discrimination_is_the_correlation_with_the_rest(five: Insights) -> None:
    points = np.array(list(OF_FIVE.values()), float)
    for column, task in enumerate(five.tasks):
        rest = np.delete(points, column, axis=1).sum(axis=1)
        assert task.discrimination == pytest.approx(pearsonr(points[:, column], rest).statistic)
        assert task.undefined == ""


def test_outcomes_are_counted(five: Insights) -> None:
    center = {"full": 3, "partial": 1, "none": 1, "not written": 0, "waiting": 0}
    assert five.tasks[0].outcomes == center
    assert five.students[-1].outcomes == {"center": "none", "normalize": "partial", "why": "none"}
    assert five.students[-1].shares == {"center": 0, "normalize": 0.75, "why": 0}


@pytest.mark.parametrize(
    "points, why_not",
    [
        ([(2, 4, 3), (0, 0, 0), (1, 1, 1), (2, 2, 2)], "fewer than 5 students"),
        ([(1, 4, 3), (1, 0, 0), (1, 1, 1), (1, 2, 2), (1, 3, 1)], "all earned the same"),
        ([(0, 2, 1), (1, 2, 1), (2, 2, 1), (1, 2, 1), (1, 2, 1)], "all earned the same in the other tasks"),
    ],
)
def test_discrimination_that_is_not_defined(small: Class, points: list[tuple[float, ...]], why_not: str) -> None:
    small.grade(**{f"s{i}": all_done(*each) for i, each in enumerate(points)})
    found = small.read()
    assert (found.tasks[0].discrimination, found.tasks[0].undefined) == (None, why_not)
    assert f'not defined<span class="remark">{why_not}' in insights_page.page(found, MADE)


def test_a_module_of_one_task_has_no_other() -> None:
    submissions = [Submission(f"s{i}", {"center": Work(i / 6)}) for i in range(6)]
    assert analyze(MODULE, TASKS[:1], submissions).tasks[0].undefined == "there is no other task"


def test_misconceptions_are_shares_of_the_class(small: Class) -> None:
    wrong = {"a": ("wrong_axis",), "b": ("wrong_axis",), "c": ("in_place",), "d": ()}
    for name, known in wrong.items():
        small.grade(**{name: Student({"center": Done(1, ("rows",), known), "normalize": Done(4), "why": Done(0)})})
    small.grade(blank=Student(UNTOUCHED))
    found = small.read()
    assert [(m.task, m.name, m.count, m.of, m.share, m.students) for m in found.misconceptions] == [
        ("center", "wrong_axis", 2, 4, 0.5, ["a", "b"]),
        ("center", "in_place", 1, 4, 0.25, ["c"]),
    ]
    assert found.misconceptions[0].sentences == "What does `wrong_axis` do?"
    assert found.tasks[0].unexplained == 1
    text = insights_page.page(found, MADE)
    assert "“What does <code>wrong_axis</code> do?”" in text
    assert "50\N{NO-BREAK SPACE}% (2\N{NO-BREAK SPACE}students) in <code>center</code>" in text


def test_properties_are_counted_among_solutions_that_could_be_asked(small: Class) -> None:
    small.grade(
        a=Student({"center": Done(1, ("rows",)), "normalize": Done(4), "why": Done(0)}),
        b=Student({"center": Done(0, ("rows", "columns")), "normalize": Done(4), "why": Done(0)}),
        c=Student({"center": Done(0, unsolved="forbidden"), "normalize": Done(4), "why": Done(0)}),
    )
    center = small.read().tasks[0]
    assert [(p.title, p.hidden, p.holds, p.of) for p in center.properties] == [
        ("rows", False, 0, 2),
        ("columns", True, 1, 2),
    ]
    assert center.unsolved == {"forbidden": 1}
    assert "holds for nobody" in insights_page.page(small.read(), MADE)


@pytest.mark.parametrize("kind", UNSOLVED)
def test_why_a_task_was_not_solved_is_read_from_its_report(small: Class, kind: str) -> None:
    small.grade(a=Student({"center": Done(0, unsolved=kind), "normalize": Done(4), "why": Done(0)}))
    found = small.read()
    assert found.tasks[0].unsolved == {kind: 1}
    assert found.students[0].outcomes["center"] == ("not written" if kind == "not written" else "none")


def test_everybody_stands_in_one_list(small: Class) -> None:
    small.enroll("absent", "handed_in")
    (small.root / "submitted" / "handed_in" / MODULE).mkdir(parents=True)
    (small.root / "submitted" / "unknown" / MODULE).mkdir(parents=True)
    (small.root / "submitted" / "absent" / "m2_other").mkdir(parents=True)
    failed = Student({"center": Done(None), "normalize": Done(None), "why": Done(None)})
    small.grade(
        works=all_done(),
        untouched=Student(UNTOUCHED),
        unreadable=Student(UNTOUCHED, notes=(UNREADABLE,)),
        noted=all_done(notes=("There were 2 copies of the cell `center`.",)),
        failed=failed,
    )
    found = small.read()
    present = found.attendance
    assert (present.with_work, present.missing, present.untouched) == (["noted", "works"], ["absent"], ["untouched"])
    assert [(each.student, each.notes) for each in present.unreadable] == [("unreadable", [UNREADABLE])]
    assert present.ungraded == ["failed", "handed_in", "unknown"]
    assert [each.student for each in found.students] == ["noted", "works"]
    text = insights_page.page(found, MADE)
    assert "8\N{NO-BREAK SPACE}students are known to the gradebook, 7 handed in" in " ".join(text.split(" "))
    assert "<code>a&lt;b&gt;.ipynb</code> is not JSON" in text
    assert "3\N{NO-BREAK SPACE}submissions are not graded yet" in text


def test_who_did_no_work_changes_no_number(small: Class) -> None:
    small.grade(**{name: all_done(*points) for name, points in OF_FIVE.items()})
    before = small.read()
    small.grade(untouched=Student(UNTOUCHED), unreadable=Student(UNTOUCHED, notes=(UNREADABLE,)))
    after = small.read()
    assert (after.scores, after.tasks, after.students) == (before.scores, before.tasks, before.students)


def test_an_answer_that_waits_counts_nowhere(small: Class) -> None:
    small.grade(**{name: all_done(a, b, None) for name, (a, b, _) in OF_FIVE.items()})
    found = small.read()
    assert [s.score for s in found.students] == pytest.approx([1, 5 / 6, 3 / 6, 3 / 6, 2 / 6])
    why = found.tasks[2]
    assert (why.counts, why.graded, why.difficulty, why.discrimination) == (False, 0, None, None)
    assert why.outcomes["waiting"] == 5
    assert not why.nobody_passed
    assert "5\N{NO-BREAK SPACE}answers to <code>why</code>" in insights_page.page(found, MADE)


def test_answers_count_when_all_are_graded(small: Class) -> None:
    small.grade(a=all_done(2, 4, None), b=all_done(2, 4, 0), c=all_done(2, 4, 3))
    found = small.read()
    assert [s.score for s in found.students] == [1, 1, 1]
    assert (found.tasks[2].difficulty, found.tasks[2].graded) == (0.5, 2)
    with Gradebook(small.url) as book:
        book.find_grade("why", "01_shapes", MODULE, "a").manual_score = 3
        book.db.commit()
    assert sorted(s.score or 0 for s in small.read().students) == pytest.approx([6 / 9, 1, 1])


def test_an_answer_as_it_was_released_is_not_written(small: Class) -> None:
    small.grade(
        a=Student({"center": Done(2), "normalize": Done(4), "why": Done(0)}),
        b=Student({"center": Done(2), "normalize": Done(4), "why": Done(None, manual=0)}),
        c=Student({"center": Done(2), "normalize": Done(4), "why": Done(0, manual=2)}),
    )
    outcomes = {each.student: each.outcomes["why"] for each in small.read().students}
    assert outcomes == {"a": "not written", "b": "none", "c": "partial"}


def test_an_answer_alone_is_work(small: Class) -> None:
    """Nothing is coded, and a person has yet to read the answer."""
    small.grade(writes=Student({**UNTOUCHED, "why": Done(None)}), full=all_done())
    assert small.read().attendance.with_work == ["full", "writes"]


def test_extra_credit_and_late_penalties_do_not_count(small: Class) -> None:
    small.grade(
        a=Student({"center": Done(1, extra=5.0), "normalize": Done(2), "why": Done(None, manual=3)}, penalty=100.0),
        b=Student({"center": Done(2, manual=-1.0), "normalize": Done(4), "why": Done(None, manual=0)}),
    )
    found = small.read()
    assert {s.student: s.shares["center"] for s in found.students} == {"a": 1, "b": 0}
    assert found.students[0].score == pytest.approx((2 + 2 + 3) / 9)


def test_points_that_a_person_changed_go_before_the_machines(small: Class) -> None:
    small.grade(a=Student({"center": Done(0, ("rows",), ("wrong_axis",), manual=2.0), "normalize": Done(4)}))
    found = small.read()
    assert found.students[0].outcomes["center"] == "full"
    assert found.misconceptions[0].count == 1, "what was recognized stays"


def test_a_task_without_points_is_left_out(tmp_path: Path, empty_gradebook: Path) -> None:
    shutil.copy(empty_gradebook, tmp_path)
    other = Class(tmp_path, {"center": 2.0, "warm_up": 0.0})
    other.create()
    other.grade(a=Student({"center": Done(1), "warm_up": Done(0)}))
    assert [task.name for task in other.read().tasks] == ["center"]


def test_a_sheet_that_came_after_the_grading(small: Class) -> None:
    """Whoever was graded before is judged by what there was."""
    small.grade(early=all_done(), late=all_done(), blank=Student(UNTOUCHED))
    with Gradebook(small.url) as book:
        book.add_notebook("02_more", MODULE)
        book.add_grade_cell("check_more", "02_more", MODULE, max_score=10, cell_type="code")
    found = small.read()
    assert [s.score for s in found.students] == [1, 1]
    assert found.attendance.untouched == ["blank"]
    assert found.tasks[3].outcomes["waiting"] == 2
    assert "were graded before <code>more</code> came" in insights_page.page(found, MADE)


def test_points_without_graded_notebooks_still_count(small: Class) -> None:
    small.grade(a=all_done(1, 4, 3, graded_notebook=False), b=all_done(1, 0, 3))
    found = small.read()
    assert found.tasks[0].outcomes["partial"] == 2
    assert [p.of for p in found.tasks[0].properties] == [1, 1]


def test_nobody_passed_and_nobody_failed(small: Class) -> None:
    small.grade(a=all_done(2, 3, None), b=all_done(2, 0, 3))
    found = small.read()
    assert [t.nobody_failed for t in found.tasks] == [True, False, False]
    assert [t.nobody_passed for t in found.tasks] == [False, True, False]
    text = insights_page.page(found, MADE)
    assert "Nobody passed <code>normalize</code>: is it the class, or the check?" in text
    assert "Nobody failed <code>center</code>." in text
    assert "Only 2\N{NO-BREAK SPACE}students:" in text


def test_a_task_that_the_good_ones_fail_is_named() -> None:
    def of(share: float) -> dict[str, Work]:
        return {"center": Work(1 - share), "normalize": Work(share), "why": Work(share)}

    found = analyze(MODULE, TASKS, [Submission(f"s{i}", of(i / 9)) for i in range(10)])
    assert found.tasks[0].discrimination == pytest.approx(-1)
    text = insights_page.page(found, MADE)
    assert "does worse in <code>center</code> (r&nbsp;=&nbsp;−1.00, more than chance explains)" in text
    assert '<span class="urgent">negative discrimination</span>' in text


def shares(quarters: int | None) -> Work:
    return Work(None if quarters is None else quarters / 4, blank=quarters == 0)


works = st.fixed_dictionaries(
    {
        "center": st.integers(0, 4).map(shares),
        "normalize": st.sampled_from(
            [
                Work(1.0, verdict=Seen("", {("rows", False): True})),
                Work(0.25, verdict=Seen("", {("rows", False): False}, {"wrong_axis": "Which axis?"})),
                Work(0.0, verdict=Seen("", {("rows", False): False}, {"in_place": "Do you write into `x`?"})),
                Work(0.0, True, Seen("not written", {("rows", False): False})),
                Work(0.0, False, Seen("forbidden", {("rows", False): False})),
            ]
        ),
        "why": st.one_of(st.none(), st.integers(0, 4)).map(shares),
    }
)
classes = st.lists(works, max_size=12).map(
    lambda drawn: [Submission(f"student{i:02d}", work) for i, work in enumerate(drawn)]
)


@given(classes, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_laws_of_any_class(submissions: list[Submission], random: Any) -> None:
    known = [each.student for each in submissions] + ["student98", "student99"]
    found = analyze(MODULE, TASKS, submissions, known)
    n = len(found.students)
    present = found.attendance
    assert n == len(present.with_work)
    assert sorted([*present.with_work, *present.missing, *present.untouched]) == sorted(known)
    for task in found.tasks:
        assert list(task.outcomes) == list(OUTCOMES)
        assert sum(task.outcomes.values()) == n
        assert task.graded == n - task.outcomes["waiting"]
        assert task.difficulty is None or 0 <= task.difficulty <= 1
        assert task.discrimination is None or -1 - 1e-9 <= task.discrimination <= 1 + 1e-9
        assert (task.discrimination is None) == bool(task.undefined)
        assert not (task.nobody_passed and task.nobody_failed)
        assert all(0 <= each.holds <= each.of <= n for each in task.properties)
    assert all(0 < each.share <= 1 and each.count == len(each.students) for each in found.misconceptions)
    assert [s.score for s in found.students] == sorted((s.score for s in found.students), key=lambda s: -(s or 0))
    if found.scores:
        scores = [s.score for s in found.students if s.score is not None]
        assert sum(found.scores.counts) == len(scores)
        assert len(found.scores.counts) == BINS + 1
        assert found.scores.median == pytest.approx(float(np.median(scores)))
    shuffled = random.sample(submissions, len(submissions))
    assert analyze(MODULE, TASKS, shuffled, random.sample(known, len(known))) == found
    assert_tells_nobody(found)


def assert_tells_nobody(found: Insights) -> None:
    """Without names, neither file holds one, and what is left does not depend on who is who."""
    unnamed = found.without_names()
    for text in (insights_page.data(unnamed, MADE), insights_page.page(unnamed, MADE)):
        assert "student0" not in text
        assert "student9" not in text
    assert (unnamed.scores, unnamed.tasks) == (found.scores, found.tasks)


def test_without_names_the_order_tells_nothing() -> None:
    """Two students change names: the anonymous page stays as it was."""
    one, other = ({**BLANK, "center": Work(share)} for share in (0.5, 1.0))
    pages = [
        insights_page.page(analyze(MODULE, TASKS, [Submission("a", x), Submission("b", y)]).without_names(), MADE)
        for x, y in ((one, other), (other, one))
    ]
    assert pages[0] == pages[1]


def many(count: int) -> Insights:
    """Returns a class of `count` students with hostile names and sentences, of each kind and with each outcome."""
    rng = np.random.default_rng(0)
    known = Seen("", {(f"rows {HOSTILE}", True): False}, {"wrong_axis": f"{HOSTILE} `{HOSTILE}`"})
    submissions = [
        Submission(
            f"{HOSTILE}{i}",
            {
                "center": Work(float(rng.integers(0, 3)) / 2, verdict=known),
                "normalize": Work(float(rng.integers(0, 5)) / 4, blank=True),
                "why": Work([0.5, None][int(rng.integers(0, 2))]),
            },
            [f"`{HOSTILE}` is `unread"],
        )
        for i in range(count)
    ]
    submissions += [Submission(f"{HOSTILE}!", BLANK), Submission(f"{HOSTILE}?", BLANK, [HOSTILE])]
    return analyze(MODULE, TASKS, submissions, [f"{HOSTILE} absent"], [f"{HOSTILE} ungraded"])


class Reader(HTMLParser):
    """Collects the tags of a page, and checks that they are closed in their order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def named(self, *names: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag in names]


@pytest.fixture(scope="module", params=[0, 1, 12, 60])
def pages(request: pytest.FixtureRequest) -> Callable[[], tuple[Reader, str]]:
    text = insights_page.page(many(request.param), MADE)
    return lambda: (Reader(text), text)


def test_names_and_sentences_are_escaped(pages: Callable[[], tuple[Reader, str]]) -> None:
    reader, text = pages()
    assert "<script" not in text
    assert not reader.named("script", "iframe", "object", "form", "a[href^=javascript]")
    assert HOSTILE in reader.text, "readers see what was written"
    assert {tag for tag, _ in reader.tags if tag.startswith("on")} == set()
    assert not [name for _, attributes in reader.tags for name in attributes if name.startswith("on")]


def test_the_page_needs_nothing_else(pages: Callable[[], tuple[Reader, str]]) -> None:
    reader, text = pages()
    assert not re.findall(r"(?:https?:)?//\w", re.sub(r'xmlns(:\w+)?="[^"]*"', "", text))
    policy = next(a["content"] for a in reader.named("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert "script-src" not in policy
    assert all(str(a["src"]).startswith("data:image/svg+xml;base64,") for a in reader.named("img"))
    assert all(str(a["href"]).startswith("#") for a in reader.named("a"))
    assert not reader.named("link")


def test_the_page_reads_well_aloud(pages: Callable[[], tuple[Reader, str]]) -> None:
    reader, _ = pages()
    levels = [int(tag[1]) for tag, _ in reader.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(a.get("scope") in ("col", "row", "rowgroup") for a in reader.named("th"))
    assert all(a.get("alt") for a in reader.named("img"))
    assert all(a.get("role") == "img" and a.get("aria-label") for a in reader.named("svg"))
    assert all(a.get("aria-label") for _, a in reader.tags if a.get("role") == "img")
    targets = {f"#{a['id']}" for _, a in reader.tags if "id" in a}
    assert {str(a["href"]) for a in reader.named("a")} <= targets


def test_the_page_defines_its_numbers(pages: Callable[[], tuple[Reader, str]]) -> None:
    reader, _ = pages()
    assert all(sentence in reader.text for sentence in insights_page.DEFINITIONS.values())


def test_a_long_class_has_an_overview() -> None:
    reader = Reader(insights_page.page(many(60), MADE))
    rows = sum(float(a["height"] or 0) for a in reader.named("rect"))
    assert rows == pytest.approx(60 * 3 * 4), "each cell of 60 students and three tasks is 4 high"
    assert not Reader(insights_page.page(many(12), MADE)).named("svg")


def test_the_page_of_a_class_in_which_nobody_started(small: Class) -> None:
    small.grade(a=Student(UNTOUCHED), b=Student(UNTOUCHED))
    found = small.read()
    assert (found.scores, found.students, found.misconceptions) == (None, [], [])
    assert "2\N{NO-BREAK SPACE}students did not start (an untouched sheet)" in insights_page.page(found, MADE)
    json.loads(insights_page.data(found, MADE))


def test_the_same_numbers_as_json(five: Insights) -> None:
    whole = json.loads(insights_page.data(five, MADE))
    assert list(whole) == [
        "format", "made", "module", "anonymous", "attendance", "scores", "tasks", "misconceptions", "students",
        "definitions",
    ]  # fmt: skip
    assert (whole["format"], whole["made"]) == (1, "2026-01-02T03:04:00+00:00")
    assert whole["tasks"][0]["difficulty"] == five.tasks[0].difficulty
    described = insights_page.__doc__ or ""
    keys = {key for part in ("attendance", "scores") for key in whole[part]} | set(whole["tasks"][0]) | set(whole)
    assert all(re.search(rf"\b{key}\b", described) for key in keys)


def test_the_command_writes_both_files(small: Class, capsys: pytest.CaptureFixture[str]) -> None:
    small.grade(ann=all_done(), bob=all_done(0, 0, 0))
    assert insights_page.run(small.root, MODULE) == 0
    page, data = (small.root / "reports" / f"{MODULE}.{kind}" for kind in ("html", "json"))
    said = capsys.readouterr().out.splitlines()
    assert said == [f"Report on 2\N{NO-BREAK SPACE}students: {page}", f"The same numbers as JSON: {data}"]
    assert "ann" in page.read_text(encoding="utf-8")
    assert json.loads(data.read_text(encoding="utf-8"))["students"][0]["student"] == "ann"
    assert insights_page.run(small.root, MODULE, small.root / "here", anonymous=True) == 0
    assert [path.name for path in sorted((small.root / "here").iterdir())] == [
        f"{MODULE}_anonymous.html",
        f"{MODULE}_anonymous.json",
    ]
    assert not any(name in path.read_text() for path in (small.root / "here").iterdir() for name in (">ann<", "bob"))


def test_what_cannot_be_reported_is_said_in_a_sentence(small: Class, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CourseError, match=r"gradebook\.db does not exist: run nbgrader generate_assignment m1_small"):
        insights_page.run(tmp_path / "empty", MODULE)
    with pytest.raises(CourseError, match="The gradebook has no module nosuch: run nbgrader"):
        insights_page.run(small.root, "nosuch")
    with pytest.raises(CourseError, match="No submission of m1_small is graded yet: run autograder grade m1_small"):
        insights_page.run(small.root, MODULE)
    small.grade(ann=all_done())
    (tmp_path / "file").touch()
    with pytest.raises(CourseError, match="cannot be written"):
        insights_page.run(small.root, MODULE, tmp_path / "file")
    assert not (small.root / "reports").exists()


def test_a_browser_shows_the_page_and_asks_for_nothing(tmp_path: Path) -> None:
    """The folder in AUTOGRADER_SCREENSHOTS, where there is one, keeps a picture and the print."""
    playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make setup")
    from tests.browser import chromium, launch

    if chromium() is None:
        pytest.skip("no chromium on PATH: install the system's package `chromium`")
    folder = Path(os.environ.get("AUTOGRADER_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    path = tmp_path / "page.html"
    path.write_text(insights_page.page(many(60), MADE), encoding="utf-8")
    said: list[str] = []
    with playwright_api.sync_playwright() as playwright:
        page = launch(playwright).new_page(viewport={"width": 1000, "height": 1400})
        page.on("console", lambda message: said.append(message.text))
        page.on("request", lambda request: said.append(request.url))
        page.goto(path.as_uri())
        assert page.locator("img").evaluate("image => image.complete && image.naturalWidth > 0")
        assert page.evaluate("document.documentElement.scrollWidth") == 1000
        page.screenshot(path=folder / "insights.png", full_page=True)
        page.pdf(path=folder / "insights.pdf", format="A4")
    assert [text for text in said if not text.startswith(("data:image/svg+xml", "file:"))] == []
