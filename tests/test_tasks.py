"""Declaring: a sheet refuses what could not be checked, in a sentence that names the task."""

from collections.abc import Callable
from typing import Any

import pytest

from autograder.compare import Tolerance
from autograder.errors import CourseError
from autograder.tasks import UNCHANGED, Edit, Sheet, Task


def function(name: str, parameters: str = "") -> Callable[..., Any]:
    """Returns a function of that name and with those parameters."""
    namespace: dict[str, Any] = {}
    exec(f"def {name}({parameters}): pass", namespace)
    return namespace[name]


def refused(action: Callable[[], Any]) -> str:
    with pytest.raises(CourseError) as caught:
        action()
    return str(caught.value)


@pytest.fixture
def sheet() -> Sheet:
    return Sheet("sheet")


@pytest.fixture
def task(sheet: Sheet) -> Task:
    return sheet.task("softmax", points=2)


def test_a_task_has_one_object_of_its_name_by_default(sheet: Sheet) -> None:
    assert sheet.task("a", points=1).objects == ("a",)
    assert sheet.task("b", points=1.5, objects=["x", "y"]).objects == ("x", "y")
    assert list(sheet.tasks) == ["a", "b"]


@pytest.mark.parametrize("points", [0, -1])
def test_a_task_is_worth_something(sheet: Sheet, points: float) -> None:
    assert refused(lambda: sheet.task("a", points=points)) == "sheet: the task a needs more than 0 points."


def test_names_of_tasks_and_questions_are_used_once(sheet: Sheet) -> None:
    sheet.task("a", points=1)
    sheet.written("b", rubric=[("says why", 1)])
    for again in ("a", "b"):
        assert f"two tasks are called {again}" in refused(lambda name=again: sheet.task(name, points=1))  # type: ignore[misc]
        assert f"two tasks are called {again}" in refused(lambda name=again: sheet.written(name, rubric=[]))  # type: ignore[misc]


def test_the_points_of_a_question_are_those_of_its_rubric(sheet: Sheet) -> None:
    assert sheet.written("why", rubric=[("a", 1), ("b", 1.5)], points=2.5).points == 2.5
    assert "has 3 points but a rubric of 2.5" in refused(lambda: sheet.written("how", rubric=[("a", 2.5)], points=3))


def test_a_case_knows_what_it_needs_and_what_was_said_about_it(task: Task) -> None:
    run = function("rows", "softmax, rng")
    assert task.case("rows sum to 1", hidden=True, weight=2, draws=4, limit=1)(run) is run
    (case,) = task.cases
    assert (case.name, case.title, case.needs, case.run) == ("rows", "rows sum to 1", ["softmax"], run)
    assert (case.hidden, case.weight, case.draws, case.limit, case.tolerance) == (True, 2, 4, 1, None)


def test_a_case_that_asks_for_an_unknown_object_is_refused(task: Task) -> None:
    said = refused(lambda: task.case("title")(function("rows", "softmx, other, rng")))
    assert said == "softmax: the case `rows` asks for other, softmx, but the task has only softmax (and rng)."
    assert task.cases == []


@pytest.mark.parametrize("bound", [{"rtol": 0.1}, {"atol": 0.1}, {"rtol": 0.1, "atol": 0.1}, {"rtol": 0.0}], ids=str)
def test_a_tolerance_needs_its_reason(task: Task, bound: dict[str, float]) -> None:
    assert "the case “title” sets a tolerance; say why" in refused(lambda: task.case("title", **bound))  # type: ignore[arg-type]
    task.case("title", because="it is drawn", **bound)(function("rows", "softmax"))  # type: ignore[arg-type]
    assert task.cases[0].tolerance == Tolerance(bound.get("rtol", 0.0), bound.get("atol", 0.0), "it is drawn")


def test_the_names_of_cases_are_used_once_in_a_sheet_because_a_bundle_finds_them_by_name(
    sheet: Sheet, task: Task
) -> None:
    task.case("first")(function("rows", "softmax"))
    assert "rows is already the name of something in softmax" in refused(
        lambda: task.case("x")(function("rows", "softmax"))
    )
    other = sheet.task("relu", points=1)
    assert "rows is already the name of something in softmax" in refused(
        lambda: other.case("x")(function("rows", "relu"))
    )
    assert UNCHANGED in refused(lambda: task.case("x")(function(UNCHANGED, "softmax")))
    assert [c.title for c in task.cases] == ["first"]


def test_the_names_of_solutions_are_used_once_in_a_task_and_never_those_of_cases(sheet: Sheet, task: Task) -> None:
    task.case("first")(function("rows", "softmax"))
    task.misconception("why?")(function("wrong"))
    for declare in (task.misconception("again"), task.accepts("again")):
        for name in ("wrong", "rows"):
            assert f"{name} is already the name" in refused(lambda d=declare, n=name: d(function(n)))  # type: ignore[misc]
    assert "wrong is already" in refused(lambda: task.slip("wrong", "text", right="a", wrong="b"))
    assert "wrong is already" in refused(lambda: task.restyle("wrong", "text", right="a", other="b"))
    assert "wrong is already" in refused(lambda: task.case("x")(function("wrong", "softmax")))
    assert (len(task.variants), len(task.misconceptions)) == (0, 1)
    sheet.task("relu", points=1).misconception("why?")(function("wrong"))  # in another task it is another mistake


def test_two_sheets_do_not_share_names() -> None:
    for name in ("one", "two"):
        Sheet(name).task("softmax", points=1).case("title")(function("rows", "softmax"))


def test_solutions_keep_what_they_replace_or_edit(task: Task) -> None:
    wrong, other = function("wrong_axis"), function("by_loop")
    assert task.misconception("Which axis?", hidden_only=True)(wrong) is wrong
    assert task.accepts("a loop")(other) is other
    task.slip("twice", "Once is enough.", right="x", wrong="2 * x")
    task.restyle("plus", "a sum", right="x", other="+x")
    assert [(s.name, s.text, s.replaces, s.replacement, s.edit, s.hidden_only) for s in task.misconceptions] == [
        ("wrong_axis", "Which axis?", "softmax", wrong, None, True),
        ("twice", "Once is enough.", "", None, Edit("x", "2 * x"), False),
    ]
    assert [(s.name, s.text, s.replaces, s.edit) for s in task.variants] == [
        ("by_loop", "a loop", "softmax", None),
        ("plus", "a sum", "", Edit("x", "+x")),
    ]


def test_a_task_of_several_objects_has_to_be_told_which_one_is_replaced(sheet: Sheet) -> None:
    task = sheet.task("pair", points=1, objects=["f", "g"])
    assert "several objects, so say which one “why?” replaces" in refused(lambda: task.misconception("why?"))
    assert "replaces h, which is not one of its objects" in refused(lambda: task.accepts("other", replaces="h"))
    task.accepts("other", replaces="g")(function("another"))
    assert task.variants[0].replaces == "g"


def test_a_sheet_says_which_files_may_be_handed_in() -> None:
    assert Sheet("report", files=("*.csv", "weights.npz")).files == ("*.csv", "weights.npz")
    for pattern in ("*", "../*.csv", "a\\b.csv", ""):
        with pytest.raises(CourseError, match="not a name with wildcards"):
            Sheet("report", files=(pattern,))
