"""Judging: points, recognized misconceptions, and remarks, for what students hand in."""

import json
import re
import time
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autograder.checking import examine
from autograder.compare import Difference
from autograder.diagnosis import Judgment, Known, Oracle, Property, Verdict, judge, unchanged_property
from autograder.plain import Array, Opaque, Plain, Raised, Timeout
from autograder.report import HINTS, LINES, Report
from autograder.running import Answer, Call, ask
from autograder.solutions import Reference, oracle
from autograder.tasks import UNCHANGED, Sheet, Task

SEED = 3
GIVEN = "import numpy as np"
SOLUTION = '''\
def center(x):
    """Returns x minus the mean of each column."""
    return x - x.mean(axis=0)


def spread(x):
    return np.sqrt(((x - x.mean(axis=0)) ** 2).mean(axis=0))
'''


def two_objects() -> Task:
    """A task of two functions with a visible and a hidden case each, and mistakes in both."""
    task = Sheet("sheet").task("standardize", points=4, objects=["center", "spread"])

    @task.case("each column has mean 0")
    def means(center: Any, rng: np.random.Generator) -> Any:
        return center(rng.normal(size=(4, 3)))

    @task.case("each column has its spread")
    def spreads(spread: Any, rng: np.random.Generator) -> Any:
        return spread(rng.normal(size=(5, 2)))

    @task.case("one row has no spread", hidden=True)
    def one_row(spread: Any, rng: np.random.Generator) -> Any:
        return spread(rng.normal(size=(1, 3))) + 1

    @task.case("a table of one column keeps its shape", hidden=True)
    def one_column(center: Any, rng: np.random.Generator) -> Any:
        return center(rng.normal(size=(3, 1)))

    @task.misconception("Over which axis do the examples run?", replaces="center")
    def wrong_axis(x: Any) -> Any:
        return x - x.mean(axis=1, keepdims=True)

    @task.misconception("Is it the variance that is asked for?", replaces="spread")
    def variance(x: Any) -> Any:
        return x.var(axis=0)

    @task.misconception("Do you divide by the number of examples, or by one less?", replaces="spread")
    def one_less(x: Any) -> Any:
        return x.std(axis=0, ddof=1) if len(x) > 1 else x.std(axis=0)

    @task.misconception("You change the array that you were given.", replaces="center")
    def in_place(x: Any) -> Any:
        x -= x.mean(axis=0)
        return x

    @task.misconception("What does the shape of the means have to be?", replaces="center")
    def crashes(x: Any) -> Any:
        raise ValueError("operands could not be broadcast together")

    @task.misconception("What if there is one example?", replaces="spread", hidden_only=True)
    def one_row_fails(x: Any) -> Any:
        return x.std(axis=0) if len(x) > 1 else x.std(axis=0) + 1

    return task


TASK = two_objects()
REFERENCE = Reference(GIVEN, SOLUTION)
TRUTH = oracle(TASK, REFERENCE, "sheet", SEED)
RIGHT = REFERENCE.objects(TASK)
ANSWERED = ask(TASK, TASK.cases, RIGHT, "sheet", SEED)


def graded(**objects: Any) -> Judgment:
    """Returns the judgment of the reference with some of its objects replaced."""
    return examine(TASK, TRUTH, {**RIGHT, **objects}, "sheet", SEED)


def mistake(name: str) -> Callable[..., Any]:
    return next(m.replacement for m in TASK.misconceptions if m.name == name)


def failed(judgment: Judgment) -> list[str]:
    return [v.property.name for v in judgment.verdicts if not v.holds]


def names(judgment: Judgment) -> list[str]:
    return [known.name for known in judgment.misconceptions]


def first_kind(judgment: Judgment) -> str:
    first = judgment.first_failure
    assert first is not None
    assert first.difference is not None
    return first.difference.kind


# ---- what is right


def test_the_reference_gets_full_points_and_nothing_is_said() -> None:
    judgment = graded()
    assert (judgment.points, failed(judgment), names(judgment), judgment.remarks) == (4.0, [], [], [])
    assert judgment.first_failure is None
    assert Report(judgment).message() == ""


@pytest.mark.parametrize(
    "center",
    [
        lambda x: x - np.einsum("bd->d", x) / len(x),
        lambda x: np.asfortranarray(x - x.mean(0)),
        lambda x: (x - x.mean(0)).astype("f4"),
    ],
    ids=["einsum", "Fortran order", "float32"],
)
def test_other_right_ways_get_full_points(center: Any) -> None:
    assert graded(center=center).points == 4


def test_prints_warnings_and_views_are_remarked_and_cost_nothing() -> None:
    import warnings

    def center(x: Any) -> Any:
        print("here")
        warnings.warn("careful", stacklevel=1)
        return x - x.mean(axis=0)

    judgment = graded(center=center)
    assert judgment.points == 4
    assert judgment.remarks == ["What your code prints is not shown here.", "Your code warned: UserWarning: careful"]


def test_a_result_that_is_a_view_is_remarked() -> None:
    task = Sheet("sheet").task("flip", points=1)
    task.case("reversed")(elsewhere("def reversed_(flip, rng):\n    return flip(rng.normal(size=4))", "reversed_"))
    reference = Reference("", "def flip(x):\n    return x[::-1].copy()")
    truth = oracle(task, reference, "sheet", 0)
    judgment = examine(task, truth, {"flip": lambda x: x[::-1]}, "sheet", 0)
    assert judgment.points == 1
    assert judgment.remarks == ["The result shares its memory with `x`: a change of one is a change of the other."]


def elsewhere(source: str, name: str) -> Any:
    namespace: dict[str, Any] = {}
    exec(compile(source, "<visible cases>", "exec"), namespace)
    return namespace[name]


# ---- what is wrong


def test_a_known_mistake_is_named_for_each_property_that_shows_it() -> None:
    judgment = graded(center=mistake("wrong_axis"))
    assert failed(judgment) == ["means", "one_column"]
    assert [v.misconception.name for v in judgment.verdicts if v.misconception] == ["wrong_axis", "wrong_axis"]
    assert judgment.points == 2


def test_two_mistakes_in_one_task_are_both_found() -> None:
    judgment = graded(center=mistake("wrong_axis"), spread=mistake("variance"))
    assert names(judgment) == ["wrong_axis", "variance"]
    message = Report(judgment).message()
    assert "Over which axis" in message
    assert judgment.points == 1  # of four properties, `one_row` holds


def test_a_mistake_that_a_holding_property_contradicts_is_out() -> None:
    """A wrong axis that is right for one column is not `wrong_axis`, which would fail there as well."""

    def center(x: Any) -> Any:
        return x - x.mean(axis=1, keepdims=True) if x.shape[1] > 1 else x - x.mean(axis=0)

    judgment = graded(center=center)
    assert failed(judgment) == ["means"]
    assert names(judgment) == []
    assert first_kind(judgment) == "value"


@pytest.mark.parametrize("name", [m.name for m in TASK.misconceptions])
def test_each_mistake_gets_its_own_sentences_first(name: str) -> None:
    solution = next(m for m in TASK.misconceptions if m.name == name)
    judgment = graded(**{solution.replaces: solution.replacement})
    assert names(judgment)[0] == name
    assert judgment.points < 4
    assert solution.text in " ".join(Report(judgment).message().split())


def test_a_mistake_that_nobody_named_gets_a_true_and_short_message() -> None:
    judgment = graded(center=lambda x: 3 * (x - x.mean(axis=0)))
    assert names(judgment) == []
    message = Report(judgment).message()
    assert "All your values are 3 times the expected ones." in message
    assert len(message.splitlines()) <= 12


def test_another_exception_of_the_same_name_is_another_mistake() -> None:
    def center(x: Any) -> Any:
        raise ValueError("something else")

    assert names(graded(center=center)) == []
    assert names(graded(center=mistake("crashes"))) == ["crashes"]


def test_code_that_never_comes_to_an_end_is_not_taken_for_another_that_does_not() -> None:
    """Both fail the property of unchanged inputs, because nothing ran: that is no evidence for either."""
    task = Sheet("sheet").task("half", points=1)
    task.case("half")(elsewhere("def halves(half, rng):\n    return half(rng.normal())", "halves"))
    task.misconception("Which type does a parameter have?")(
        elsewhere("def of_text(x):\n    raise TypeError('text')", "of_text")
    )
    truth = oracle(task, Reference("", "def half(x):\n    return x / 2"), "sheet", 0)

    def half(x: Any) -> Any:
        raise KeyError("other")

    judgment = examine(task, truth, {"half": half}, "sheet", 0)
    assert failed(judgment) == ["halves", UNCHANGED]
    assert names(judgment) == []
    assert "KeyError" in Report(judgment).message()


class Equal:
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0

    def __add__(self, other: Any) -> "Equal":
        return self


def loop(x: Any) -> Any:
    while True:
        pass


def not_yet(x: Any) -> Any:
    raise NotImplementedError


@pytest.mark.parametrize(
    ("center", "kind", "said"),
    [
        (lambda x: None, "none", "Does every path of the function end in `return`?"),
        (lambda x: Equal(), "type", "an object of type Equal"),
        (lambda x: x.tolist(), "type", "a tuple or list of 4"),
        (lambda x: (x - x.mean(0)).T, "shape", "That is the transposed shape."),
        (lambda x: (x - x.mean(0)).astype("f2"), "dtype", "float16"),
        (lambda x: x * np.nan, "not finite", "got       nan"),
        (lambda: 0, "raised", "takes 0 positional arguments but 1 was given"),
        (lambda x: 1 / 0, "raised", "the exception ZeroDivisionError: division by zero"),
        (lambda x: exit(3), "raised", "the exception SystemExit: 3"),
        (not_yet, "raised", "the exception NotImplementedError"),
    ],
    ids=[
        "None",
        "equals everything",
        "list",
        "transposed",
        "float16",
        "NaN",
        "too few parameters",
        "crash",
        "exit",
        "not written",
    ],
)
def test_the_message_says_what_came(center: Any, kind: str, said: str) -> None:
    judgment = graded(center=center)
    assert first_kind(judgment) == kind
    assert said in Report(judgment).message()
    assert judgment.points <= 2


def test_a_changed_input_is_named_and_costs_as_much_as_a_property() -> None:
    judgment = graded(center=lambda x: np.subtract(x, x.mean(axis=0), out=x) + 0)
    assert failed(judgment) == [UNCHANGED]
    assert judgment.points == 3.2  # 4 · 4 / (4 + 1)
    message = Report(judgment).message()
    assert "the inputs are left as they were" in message
    assert "`x`" in message


def test_a_task_that_may_change_its_inputs_is_not_judged_by_that() -> None:
    task = Sheet("sheet").task("fill", points=1, may_change_inputs=True)
    task.case("ones")(elsewhere("def ones(fill, rng):\n    x = rng.normal(size=3)\n    fill(x)\n    return x", "ones"))
    truth = oracle(task, Reference("", "def fill(x):\n    x[:] = 1"), "sheet", 0)
    assert UNCHANGED not in [p.name for p in truth.properties]
    assert examine(task, truth, {"fill": lambda x: x.fill(1)}, "sheet", 0).points == 1


def test_code_that_does_not_end_earns_what_it_answered_before_and_says_so() -> None:
    task = Sheet("sheet").task("half", points=2)
    task.case("small", limit=0.2, draws=1)(elsewhere("def small(half):\n    return half(2)", "small"))
    task.case("large", limit=0.2, draws=1)(elsewhere("def large(half):\n    return half(9)", "large"))
    task.case("hidden", limit=0.2, draws=1, hidden=True)(elsewhere("def other(half):\n    return half(4)", "other"))
    truth = oracle(task, Reference("", "def half(x):\n    return x / 2"), "sheet", 0)
    judgment = examine(task, truth, {"half": lambda x: x / 2 if x < 5 else loop(x)}, "sheet", 0)
    assert failed(judgment) == ["large", "other"]
    assert judgment.points == 0.67
    assert "nothing within 0.2 seconds" in Report(judgment).message()


# ---- what cannot be asked


@pytest.mark.parametrize(
    ("namespace", "said"),
    [
        ({}, "The notebook has no `center`."),
        ({"centre": len}, "The notebook has no `center`. It has `centre`: a misspelling?"),
        (
            {"Center": len, "_center": len, "center_": 3},
            "The notebook has no `center`. It has `Center`: a misspelling?",
        ),
        ({"entirely_different": len}, "The notebook has no `center`."),
        ({"center": 3}, "`center` is an object of type int, not something to call."),
        ({"center": None}, "`center` is an object of type NoneType, not something to call."),
        ({"center": len}, "The notebook has no `spread`."),
        ({"center": not_yet, "spread": not_yet}, "This task is not solved yet."),
    ],
    ids=["empty", "misspelled", "another case", "unlike", "number", "None", "second missing", "untouched stub"],
)
def test_what_cannot_be_asked_is_said_in_a_sentence_and_earns_nothing(namespace: dict[str, Any], said: str) -> None:
    judgment = examine(TASK, TRUTH, namespace, "sheet", SEED)
    assert judgment.points == 0
    assert not any(v.holds for v in judgment.verdicts)
    first, *hint = Report(judgment).message().splitlines()
    assert first == f"standardize: {said}"
    assert " ".join(hint) in (HINTS["missing"], HINTS["not written"])


# ---- points


def verdict(weight: float, holds: bool, *, hidden: bool = False, penalty: float = 0.0, name: str = "p") -> Verdict:
    item = Property(name, "title", hidden, weight, [], penalty=penalty)
    return Verdict(item, None if holds else Difference("value", "1", "2"))


@pytest.mark.parametrize(
    ("verdicts", "points"),
    [
        ([verdict(1, True), verdict(1, True)], 3.0),
        ([verdict(1, False), verdict(1, False)], 0.0),
        ([verdict(1, True), verdict(2, False)], 1.0),
        ([verdict(1, True), verdict(1, True), verdict(1, True), verdict(4, False)], 1.29),
        ([verdict(0.1, True)] * 7, 3.0),
        ([verdict(1, True), verdict(0, False, penalty=1)], 1.5),
        ([verdict(1, False), verdict(0, True, penalty=1)], 0.0),
        ([verdict(0, True)], 0.0),
        ([], 0.0),
    ],
    ids=[
        "all",
        "none",
        "a third",
        "rounded",
        "sums of tenths",
        "penalty",
        "only the penalty's property holds",
        "no weights",
        "no properties",
    ],
)
def test_points_are_the_share_of_weights_that_hold(verdicts: list[Verdict], points: float) -> None:
    assert Judgment("task", 3, verdicts).points == points


@pytest.mark.parametrize(
    "value", [None, 0, "", [], np.zeros(2), float("nan"), Equal()], ids=lambda value: type(value).__name__
)
def test_a_function_that_does_nothing_earns_nothing(value: Any) -> None:
    assert graded(center=lambda *_: value, spread=lambda *_: value).points == 0


def test_the_first_failure_is_visible_and_known_where_there_is_one() -> None:
    known = Known("mistake", "sentences", {})
    hidden_known = Verdict(verdict(1, False, hidden=True).property, Difference("value", "1", "2"), [], known)
    visible, visible_known = (
        verdict(1, False),
        Verdict(verdict(1, False).property, Difference("value", "1", "2"), [], known),
    )
    assert Judgment("t", 1, [verdict(1, True), hidden_known, visible]).first_failure is visible
    assert Judgment("t", 1, [visible, hidden_known, visible_known]).first_failure is visible_known
    assert Judgment("t", 1, [hidden_known]).first_failure is hidden_known


def test_each_recognized_mistake_is_counted_once_the_explained_one_first() -> None:
    one, two = Known("one", "", {}), Known("two", "", {})
    verdicts = [
        Verdict(verdict(1, False, hidden=h).property, Difference("value", "1", "2"), [], k)
        for h, k in [(True, one), (False, two), (True, one), (False, two)]
    ]
    assert [k.name for k in Judgment("t", 1, verdicts).misconceptions] == ["two", "one"]


# ---- recognition, on plain answers


def small_oracle(known: list[tuple[str, dict[str, list[Plain]]]]) -> Oracle:
    properties = [Property(name, name, False, 1.0, [1.0, 2.0]) for name in "abc"]
    return Oracle("task", 3, properties, lambda: [Known(name, name, answers) for name, answers in known])


def answered(**drawn: list[Plain]) -> dict[str, list[Answer]]:
    return {name: [Answer(value) for value in draws] for name, draws in drawn.items()}


RIGHT_ONES: list[Plain] = [1.0, 2.0]
WRONG: list[Plain] = [5.0, 6.0]
OTHER: list[Plain] = [7.0, 8.0]


@pytest.mark.parametrize(
    ("known", "got", "found"),
    [
        ([("m", {"a": WRONG})], {"a": WRONG}, {"a": "m"}),
        ([("m", {"a": WRONG})], {"a": [5.0, 6.1]}, {}),
        ([("m", {"a": WRONG, "b": WRONG})], {"a": WRONG}, {}),
        ([("m", {"a": WRONG, "b": RIGHT_ONES})], {"a": WRONG}, {"a": "m"}),
        ([("m", {"a": WRONG, "b": WRONG})], {"a": WRONG, "b": OTHER}, {"a": "m"}),
        ([("m", {"a": WRONG}), ("n", {"a": WRONG})], {"a": WRONG}, {"a": "m"}),
        ([("m", {"a": WRONG}), ("n", {"a": WRONG, "b": OTHER})], {"a": WRONG, "b": OTHER}, {"a": "n", "b": "n"}),
        ([("m", {"a": WRONG}), ("n", {"b": OTHER})], {"a": WRONG, "b": OTHER}, {"a": "m", "b": "n"}),
        ([("m", {})], {"a": WRONG}, {}),
        ([("m", {"a": [Raised("ValueError", "x")] * 2})], {"a": [Raised("ValueError", "x")] * 2}, {"a": "m"}),
        ([("m", {"a": [Raised("ValueError", "x")] * 2})], {"a": [Raised("ValueError", "y")] * 2}, {}),
        ([("m", {"a": [Raised("NotImplementedError", "")] * 2})], {"a": [Raised("NotImplementedError", "")] * 2}, {}),
        ([("m", {"a": [None, None]})], {"a": [None, None]}, {"a": "m"}),
    ],
    ids=[
        "shown",
        "one draw differs",
        "contradicted",
        "like the reference elsewhere",
        "unlike elsewhere",
        "tie",
        "explains more",
        "two mistakes",
        "stored nowhere",
        "same exception",
        "other message",
        "stub",
        "None",
    ],
)
def test_a_misconception_is_recognized_by_all_that_it_answers(
    known: list[tuple[str, dict[str, list[Plain]]]], got: dict[str, list[Plain]], found: dict[str, str]
) -> None:
    judgment = judge(small_oracle(known), answered(**{"a": RIGHT_ONES, "b": RIGHT_ONES, "c": RIGHT_ONES, **got}))
    assert {v.property.name: v.misconception.name for v in judgment.verdicts if v.misconception} == found


def test_the_smallest_input_that_shows_the_failure_is_kept() -> None:
    def answer(value: float, length: int) -> Answer:
        return Answer(value, [Call("f", {"x": [0] * length})])

    answers = {
        "a": [answer(9.0, 5), answer(9.0, 3)],
        "b": [answer(1.0, 1), answer(9.0, 8)],
        "c": [answer(1.0, 1), answer(2.0, 1)],
    }
    verdicts = judge(small_oracle([]), answers).verdicts
    shown = [len(v.calls[0].arguments["x"]) if v.calls else None for v in verdicts]  # type: ignore[arg-type]
    assert shown == [3, 8, None]


def test_the_property_of_unchanged_inputs_earns_nothing_by_itself() -> None:
    item = unchanged_property()
    assert (item.weight, item.penalty, item.hidden) == (0.0, 1.0, False)


# ---- answers from a process that lies

ODD = ["<script>alert(1)</script>", "a\nb", "`<b>`", "\x1b[31mred", "\ud800", "\u202e", "", "x", "NoAnswer", "<" * 200]
TEXTS = st.sampled_from(ODD) | st.text(max_size=3)
NAMES = st.sampled_from([p.name for p in TRUTH.properties]) | TEXTS
HUGE = np.broadcast_to(np.float64(1), (10_000_000,))
ARRAYS = [
    *(np.zeros(shape, dtype) for shape in ((), (3,), (4, 3), (0, 2)) for dtype in "?bBhiqQefdgFDG"),
    *(np.full((4, 3), value) for value in (np.nan, np.inf, -np.inf, 1e-320, 2**63 - 1, complex(np.nan, 1))),
    *(HUGE.astype(dtype) for dtype in ("?", "u1", "f2", "f8", "c8")),
    np.zeros((1,) * 32),
    np.frombuffer(bytes.fromhex("010000000000f87f") * 12, "<f8").reshape(4, 3),
    *(np.zeros((4, 3), dtype) for dtype in (">f8", ">i4", "U3", "S3", "O", "M8[s]", "m8[s]", "V8", [("a", "f8")])),
]
NUMBERS = [True, 0, -1, 2**4096 - 1, 2**64, 0.0, -0.0, 1e308, np.inf, np.nan, 1j, complex(np.nan, np.inf)]
LEAVES = (
    st.sampled_from([None, *NUMBERS])
    | TEXTS
    | st.builds(Array, st.sampled_from(ARRAYS), st.sampled_from(["numpy", "torch", "<b>"]), TEXTS | st.just("bfloat16"))
    | st.builds(Raised, TEXTS | st.sampled_from(["ValueError", "NotImplementedError"]), TEXTS, TEXTS)
    | st.builds(Opaque, TEXTS)
    | st.builds(Timeout, st.sampled_from([0.2, -1.0, np.nan, np.inf]))
)
TREES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=2))
CALLS = st.builds(Call, TEXTS, st.dictionaries(TEXTS, TREES, max_size=2))
ANSWERS = st.builds(
    Answer,
    value=TREES,
    calls=st.lists(CALLS, max_size=2),
    changed=st.sets(TEXTS, max_size=2),
    views=st.sets(TEXTS, max_size=2),
    used=st.sets(TEXTS, max_size=1),
    printed=st.sampled_from(["", "<b>"]),
    warned=st.lists(TEXTS, max_size=1),
)


def must_be_judged(answers: dict[str, list[Answer]]) -> Judgment:
    """Judges and reports hostile answers, and says what went wrong with either."""
    began = time.monotonic()
    judgment = judge(TRUTH, answers)
    assert 0 <= judgment.points <= TRUTH.points
    for made in (Report(judgment), Report(judgment, graded=True, hidden_cases=2)):
        page = made.html() + made.listing_html()
        assert set(re.findall(r"<\s*(\w+)", page)) <= {"div", "b", "ul", "li", "pre", "br", "code"}
        assert not re.search(r"<(?!/?\w)", page)
        assert json.loads(json.dumps(made.data()))["points"] == judgment.points
        shown = page + made.text() + json.dumps(made.data(), ensure_ascii=False)
        shown.encode()
        assert "\x1b" not in shown
        assert len(made.message().splitlines()) <= LINES
        assert len(shown) < 200_000
    assert time.monotonic() - began < 20
    return judgment


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.dictionaries(NAMES, st.lists(ANSWERS, max_size=4), max_size=3))
def test_whatever_comes_from_outside_is_judged(answers: dict[str, list[Answer]]) -> None:
    must_be_judged(answers)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.lists(ANSWERS, min_size=2, max_size=2))
def test_as_many_answers_as_were_asked_for_are_judged_whatever_they_are(odd: list[Answer]) -> None:
    for answers in ({p.name: [*odd, odd[0]] for p in TRUTH.properties}, {**right_answers(), "spreads": [*odd, odd[1]]}):
        must_be_judged(answers)


def nested(depth: int, width: int = 1) -> Plain:
    value: Plain = 1.0
    for _ in range(depth):
        value = [value] * width
    return value


@pytest.mark.parametrize(
    "value",
    [
        nested(50_000),
        nested(40, 2),
        [[]] * 1_000_000,
        {str(i): [i] for i in range(200_000)},
        "<" * 100_000,
        Raised("<script>" * 25, "\n" * 200, "`" * 200),
        Array(np.broadcast_to(np.int64(1), (10**15,))),
    ],
    ids=["deep", "wide", "many lists", "many keys", "long text", "odd exception", "claims"],
)
def test_what_is_too_deep_or_too_long_is_no_answer_and_takes_no_time(value: Plain) -> None:
    answer = Answer(value, [Call("f", {"x": value, "y": 1.0})] * 5)
    judgment = must_be_judged({p.name: [answer] * 3 for p in TRUTH.properties})
    assert judgment.points == 0


def right_answers() -> dict[str, list[Answer]]:
    return deepcopy(ANSWERED)


@pytest.mark.parametrize("count", [0, 1, 2, 4, None], ids=["none", "one", "too few", "too many", "no such case"])
def test_another_number_of_answers_than_was_asked_for_is_none(count: int | None) -> None:
    answers = right_answers()
    if count is None:
        del answers["means"]
    else:
        answers["means"] = [*answers["means"], *answers["means"]][:count]
    judgment = must_be_judged(answers)
    assert failed(judgment) == ["means"]
    assert judgment.points == 3
    assert "no answer" in Report(judgment).message()


def test_only_names_of_the_references_parameters_are_shown() -> None:
    """A student's signature could say what the inputs of a hidden case were."""
    answers = right_answers()
    answers["one_row"][0].changed = {"x", "0.25", "<b>"}
    answers["one_row"][1].views = {"secret"}
    judgment = must_be_judged(answers)
    told = Report(judgment).text()
    assert "Your code changes its input `x` and an argument: whoever calls it loses the old values." in told
    assert judgment.remarks == [
        "The result shares its memory with an argument: a change of one is a change of the other."
    ]
    for private in ("0.25", "<b>", "secret"):
        assert private not in told
    answers["one_row"][0].changed = {"other"}
    assert "Your code changes an argument: whoever" in Report(judge(TRUTH, answers)).text()


def test_the_oracle_knows_the_names_that_the_reference_got() -> None:
    assert TRUTH.arguments == {"x"}
    task = Sheet("sheet").task("f", points=1)
    task.case("named")(elsewhere("def named(f):\n    return f(1, 2, 3, more=4)", "named"))
    truth = oracle(task, Reference("", "def f(a, *rest, **options):\n    return a"), "sheet", 0)
    assert truth.arguments == {"a", "rest", "options", "more"}
