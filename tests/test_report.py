"""What a student reads: short, true, escaped, and nothing of what is hidden."""

import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from autograder.compare import Difference, compare
from autograder.diagnosis import Judgment, Known, Property, Verdict
from autograder.plain import Array, Opaque, Plain, Raised, Timeout, plain
from autograder.report import HIDDEN, HINTS, LINES, MIME, Report
from autograder.running import Call

settings.register_profile("unit", derandomize=True, database=None, deadline=None, max_examples=80)
settings.load_profile("unit")

SECRET = "s3cret"


def item(title: str = "rows sum to 1", *, hidden: bool = False, weight: float = 1.0, name: str = "rows") -> Property:
    return Property(name, title, hidden, weight, [])


def report(*verdicts: Verdict, points: float = 2, **rest: Any) -> Report:
    return Report(Judgment("softmax", points, list(verdicts), rest.pop("remarks", [])), **rest)


def failing(
    expected: Any,
    got: Any,
    arguments: dict[str, Any] | None = None,
    *,
    hidden: bool = False,
    known: Known | None = None,
) -> Verdict:
    """Returns the verdict of a property where `got` came in place of `expected`."""
    difference = compare(plain_or_given(expected), plain_or_given(got))
    assert difference is not None
    calls = [Call("softmax", {name: plain(value) for name, value in arguments.items()})] if arguments else []
    return Verdict(item(hidden=hidden), difference, calls, known)


def plain_or_given(value: Any) -> Plain:
    return value if isinstance(value, Raised | Timeout | Opaque | Array) else plain(value)


HOLDS = Verdict(item("values are positive", name="positive"))


# ---- the parts


def test_the_headline_counts_properties_and_what_is_checked_later() -> None:
    wrong = failing(1.0, 2.0)
    assert report(HOLDS, wrong).headline() == "softmax: 1 of 2 properties hold"
    assert report(HOLDS, hidden_cases=1).headline().endswith("· 1 more is checked when it is graded")
    assert report(HOLDS, hidden_cases=3).headline().endswith("· 3 more are checked when it is graded")
    assert report(HOLDS, wrong, graded=True).headline().endswith("1 of 2 properties hold · 1 of 2 points")


def test_each_property_is_one_line_with_its_mark() -> None:
    hidden = failing(1.0, 2.0, hidden=True)
    lines = report(HOLDS, hidden, remarks=["a remark"], note="a note").listing().splitlines()
    assert lines[1:] == ["  ✓ values are positive", "  ✗ rows sum to 1 (hidden)", "  · a note", "  · a remark"]


def test_what_earns_nothing_is_listed_only_where_it_fails() -> None:
    unchanged = item("the inputs are left as they were", weight=0)
    assert "left as they were" not in report(HOLDS, Verdict(unchanged)).listing()
    assert "left as they were" in report(HOLDS, Verdict(unchanged, Difference("changed", "", "`x` changed"))).listing()


def test_a_message_has_what_was_checked_expected_came_the_input_and_a_hint() -> None:
    lines = report(failing(np.array([1.0, 2]), np.array([1.0, 3]), {"z": np.array([0, 1])})).message().splitlines()
    assert lines == [
        "softmax · rows sum to 1",
        "  expected  [1., 2.]",
        "  got       [1., 3.]",
        "            first difference at [1]: 2 expected, 3 came",
        "  for       z = [0, 1]",
        HINTS["value"],
    ]


def test_the_sentences_of_a_recognized_mistake_replace_the_general_hint() -> None:
    known = Known("wrong_axis", "Which axis holds the classes?", {})
    message = report(failing(1.0, 2.0, known=known)).message()
    assert message.endswith("\nWhich axis holds the classes?")
    assert HINTS["value"] not in message


def test_no_message_where_everything_holds() -> None:
    assert report(HOLDS).message() == ""
    assert report(HOLDS).html() == report(HOLDS).listing_html()
    assert report(HOLDS).text() == report(HOLDS).listing()


@pytest.mark.parametrize("kind", ["missing", "not written", "changed"])
def test_where_there_is_nothing_to_compare_one_sentence_says_why(kind: str) -> None:
    lines = report(Verdict(item(), Difference(kind, "", "One sentence."))).message().splitlines()
    assert lines[:2] == ["softmax · rows sum to 1", "One sentence."]
    assert " ".join(lines[2:]) == HINTS[kind]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"x": 3, "scale": 2.5}, "  for       x = 3"),
        ({"x": "text"}, "  for       x = 'text'"),
        ({"x": None}, "  for       x = None"),
        ({"x": (np.array([1, 2]), 3)}, "  for       x = ([1, 2], 3)"),
        ({"params": {"w": np.zeros(3)}}, "  for       params = a dict with the keys w"),
        ({"params": {"w": np.zeros((30, 3))}}, "  for       params = a dict with the keys w"),
        ({"x": np.zeros((50, 2))}, "  for       x = an array of shape (50, 2)"),
        ({"x": [np.zeros((50, 2)), 3]}, "  for       x = (an array of shape (50, 2), 3)"),
        ({"x": [np.zeros(50)] * 9}, "  for       x = (" + "an array of shape (50,), " * 4 + "…)"),
        (
            {f"x{i}": np.zeros(2) for i in range(20)},
            "  for       softmax(x0: an array of shape (2,), x1: an array of shape (2,)",
        ),
        ({"x": object()}, "  for       x = an object of type object"),
    ],
    ids=[
        "numbers",
        "text",
        "None",
        "tuple",
        "dict",
        "large dict",
        "large",
        "large in a list",
        "many",
        "many arguments",
        "object",
    ],
)
def test_inputs_are_shown_as_far_as_they_can_be_read(arguments: dict[str, Any], line: str) -> None:
    lines = report(failing(1.0, 2.0, arguments)).message().splitlines()
    assert any(shown.startswith(line) for shown in lines), lines
    assert len(lines) <= LINES


# ---- at most twelve lines

ARRAYS = hnp.arrays(
    st.sampled_from([float, np.float32, int, bool, complex]),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=7),
)
TEXTS = st.text(max_size=300)
LEAVES = ARRAYS | TEXTS | st.none() | st.floats() | st.integers()
THINGS = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=6
)
ODD = st.builds(Raised, TEXTS, TEXTS, TEXTS) | st.builds(Opaque, TEXTS) | st.builds(Timeout, st.floats(0, 9))
SENTENCES = st.none() | st.text("ab ", min_size=1, max_size=3000).map(lambda text: Known("mistake", text, {}))


@given(THINGS, THINGS | ODD, st.dictionaries(st.sampled_from(["x", "y", "z", "w"]), THINGS), st.booleans(), SENTENCES)
def test_a_message_has_at_most_twelve_lines_and_can_be_encoded(
    expected: Any, got: Any, arguments: dict[str, Any], hidden: bool, known: Known | None
) -> None:
    if compare(plain(expected), plain_or_given(got)) is None:
        return
    made = report(failing(expected, got, arguments, hidden=hidden, known=known))
    message = made.message()
    assert 2 <= len(message.splitlines()) <= LINES
    assert message.startswith("softmax · rows sum to 1\n")
    for text in (message, made.listing(), made.html(), json.dumps(made.data(), ensure_ascii=False)):
        text.encode("utf-8")


@given(ARRAYS, ARRAYS)
def test_expected_got_and_hint_are_all_there_whatever_the_size_of_the_arrays(
    expected: np.ndarray, got: np.ndarray
) -> None:
    difference = compare(plain(expected), plain(got))
    if difference is None:
        return
    message = report(failing(expected, got, {"x": expected})).message()
    assert message.count("  expected  ") == 1
    assert message.count("  got       ") == 1
    assert message.split()[-1] == HINTS[difference.kind].split()[-1]


def test_half_characters_of_a_student_do_not_reach_the_screen() -> None:
    message = report(failing(1.0, Raised("ValueError", "half \ud800"))).message()
    assert "half \\ud800" in message


# ---- hidden cases

HIDDEN_DIFFERENCES = [
    (np.array([1.5, SECRET.__len__()]), np.array([2.5, 0.123456])),
    (1.0, Raised("ValueError", SECRET, f", in the line `{SECRET}`")),
    (SECRET, "other"),
    ("other", SECRET),
    ({SECRET: 1}, {"other": 1}),
    (1.0, Opaque(SECRET)),
    (np.ones((17, 19)), np.ones((19, 17))),
    (np.array([1.0, 2.0]), np.array([3.0, 6.0])),
]


@pytest.mark.parametrize(
    ("expected", "got"),
    HIDDEN_DIFFERENCES,
    ids=["value", "raised", "text", "own text", "keys", "type", "shape", "times"],
)
@pytest.mark.parametrize("graded", [True, False], ids=["graded", "checked"])
def test_of_a_hidden_case_neither_input_nor_value_nor_exception_is_told(expected: Any, got: Any, graded: bool) -> None:
    made = report(
        failing(expected, got, {SECRET: np.array([SECRET.__len__()] * 3), "x": SECRET}, hidden=True), graded=graded
    )
    told = "\n".join(
        [made.message(), made.text(), made.html(), json.dumps(made.data()), json.dumps(made._repr_mimebundle_())]
    )
    assert made.message().splitlines()[:2] == ["softmax · rows sum to 1", HIDDEN]
    for private in (SECRET, "0.123456", "1.5", "(17, 19)", "times the expected", "transposed", "ValueError"):
        assert private not in told


@pytest.mark.parametrize("kind", HINTS)
def test_the_hint_of_a_hidden_case_does_not_speak_of_an_input_that_is_not_there(kind: str) -> None:
    message = report(Verdict(item(hidden=True), Difference(kind, "a", "b", "a remark"))).message()
    assert "this input in a cell" not in message
    assert "Compute this" not in message
    assert "a remark" not in message


# ---- HTML and data

MARKUP = "<script>alert('x')</script> & \"quoted\""


def test_everything_is_escaped_in_html() -> None:
    known = Known(MARKUP, MARKUP, {})
    wrong = Verdict(
        Property(MARKUP, MARKUP, False, 1.0, []),
        Difference("text", MARKUP, MARKUP, MARKUP),
        [Call(MARKUP, {MARKUP: MARKUP})],
        known,
    )
    plain_one = Verdict(wrong.property, wrong.difference, wrong.calls)
    for verdict in (wrong, plain_one):
        made = Report(Judgment(MARKUP, 1, [HOLDS, verdict], [MARKUP]), note=MARKUP)
        for html in (made.html(), made.listing_html()):
            assert "<script" not in html
            assert "&lt;script&gt;" in html
        assert set(re.findall(r"<(\w+)", made.html())) <= {"div", "b", "ul", "li", "p", "pre"}


def test_data_tells_programs_what_people_read() -> None:
    known = Known("wrong_axis", "Which axis?", {})
    made = report(HOLDS, failing(1.0, 2.0, known=known), failing(1.0, 2.0, hidden=True))
    data = json.loads(json.dumps(made.data()))
    assert (data["task"], data["points"], data["max_points"]) == ("softmax", 0.67, 2)
    assert [(p["name"], p["hidden"], p["holds"]) for p in data["properties"]] == [
        ("positive", False, True),
        ("rows", False, False),
        ("rows", True, False),
    ]
    assert data["misconceptions"] == [{"name": "wrong_axis", "sentences": "Which axis?"}]
    assert data["message"] == made.message()


@given(st.integers(1, 50), st.lists(st.tuples(st.floats(0.1, 5), st.booleans()), min_size=1, max_size=6), st.booleans())
def test_graded_plain_text_is_a_plain_number_within_the_points_and_reads_back(
    points: int, weights: list[tuple[float, bool]], changed: bool
) -> None:
    verdicts = [Verdict(item(weight=w), None if holds else Difference("value", "1", "2")) for w, holds in weights]
    penalty = Property("p", "p", False, 0.0, [], penalty=1.0)
    made = report(
        *verdicts, Verdict(penalty, Difference("changed", "", "x") if changed else None), points=points, graded=True
    )
    text = made._repr_mimebundle_()["text/plain"]
    assert re.fullmatch(r"\d+\.\d+", text)
    assert text == repr(made.judgment.points)
    assert 0 <= float(text) <= points
    if all(holds for _, holds in weights) and not changed:
        assert float(text) == points
    if not any(holds for _, holds in weights):
        assert float(text) == 0


def test_a_report_that_is_not_graded_shows_itself_as_text() -> None:
    made = report(HOLDS, failing(1.0, 2.0))
    bundle = made._repr_mimebundle_(include=None, exclude=None)
    assert bundle["text/plain"] == made.text()
    assert set(bundle) == {"text/plain", "text/html", MIME}
