"""What a student reads: short, true, escaped, and nothing of what is hidden."""

import json
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from autograder.compare import Difference, compare
from autograder.diagnosis import Judgment, Known, Property, Verdict
from autograder.plain import Array, Opaque, Plain, Raised, Timeout, plain
from autograder.report import GRAY, GREEN, HIDDEN, HIDDEN_HINTS, HINTS, LINES, MIME, ORANGE, Report
from autograder.running import Call, run
from autograder.tasks import Case

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
UNCHANGED = Property("unchanged", "the inputs are left as they were", False, 0.0, [[]], penalty=1.0)


def untried_verdicts(kind: str, sentence: str = "One sentence.") -> list[Verdict]:
    """Returns the verdicts of a task that could not be asked: a visible and a hidden one, and that of the inputs."""
    return [Verdict(one, Difference(kind, "", sentence)) for one in (item(), item(hidden=True), UNCHANGED)]


# ---- the parts


def test_the_headline_counts_properties_and_what_is_checked_later() -> None:
    wrong = failing(1.0, 2.0)
    assert report(HOLDS, wrong).headline() == "softmax: 1 of 2 properties hold"
    assert report(HOLDS, hidden_cases=3).headline() == "softmax: 1 of 1 properties hold · grading checks 3 more"
    graded = report(HOLDS, wrong, graded=True, hidden_cases=3).headline()
    assert graded == "softmax: 1 of 2 properties hold · 1 of 2 points"


@pytest.mark.parametrize("kind", ["missing", "not written"])
def test_what_was_not_tried_is_not_counted_but_said_to_be_unsolved(kind: str) -> None:
    untried = untried_verdicts(kind)
    assert report(*untried).headline() == "softmax is not solved yet"
    assert report(*untried, hidden_cases=2).headline() == "softmax is not solved yet · grading checks 2 more"
    assert report(*untried, graded=True).headline() == "softmax is not solved yet · 0 of 2 points"
    assert report(*untried).listing().splitlines()[1:] == ["  ○ rows sum to 1", "  ○ rows sum to 1 (hidden)"]


def test_a_task_that_was_not_asked_says_why() -> None:
    made = report(*untried_verdicts("not asked", "This task could not be checked. The notebook was ended."))
    assert made.headline() == "softmax was not checked"
    first, *hint = made.message().splitlines()
    assert first == "softmax: This task could not be checked. The notebook was ended."
    assert " ".join(hint) == HINTS["not asked"]
    assert made.listing().splitlines()[1:] == ["  ○ rows sum to 1", "  ○ rows sum to 1 (hidden)"]
    assert GRAY in made.html()


def test_what_uses_something_forbidden_fails_everywhere_and_says_what() -> None:
    made = report(*untried_verdicts("forbidden", "Your code uses `torch`."), graded=True)
    assert made.headline() == "softmax uses what it is to be solved without · 0 of 2 points"
    assert made.message().splitlines() == ["softmax: Your code uses `torch`.", HINTS["forbidden"]]
    assert made.listing().splitlines()[1:] == ["  ✗ rows sum to 1", "  ✗ rows sum to 1 (hidden)"]
    assert ORANGE in made.html()
    assert made.html().count("<code>torch</code>") == 1


def test_characters_that_command_a_terminal_are_spelled_out_and_lines_have_an_end() -> None:
    made = report(failing(1.0, Raised("E", "\x1b[31m\u202e\ud800\x00" + "x" * 9_000)), remarks=["\x1b[31m", "é ✓"])
    assert "\\x1b[31m\\u202e\\ud800\\x00xxx" in made.message()
    assert max(map(len, made.message().splitlines())) <= 2_000
    assert made.listing().splitlines()[-2:] == ["  · \\x1b[31m", "  · é ✓"]


def test_each_property_is_one_line_with_its_mark() -> None:
    hidden = failing(1.0, 2.0, hidden=True)
    lines = report(HOLDS, hidden, remarks=["a remark"], note="a note").listing().splitlines()
    assert lines[1:] == ["  ✓ values are positive", "  ✗ rows sum to 1 (hidden)", "  · a note", "  · a remark"]


@pytest.mark.parametrize("kind", ["", "raised", "missing", "not written"])
def test_that_inputs_were_left_alone_is_no_news(kind: str) -> None:
    made = report(HOLDS, Verdict(UNCHANGED, Difference(kind, "an answer", "no answer") if kind else None))
    assert "left as they were" not in made.listing() + made.listing_html()
    assert made.listing().splitlines()[1:] == ["  ✓ values are positive"]


def test_that_inputs_were_changed_is_listed_counted_and_explained() -> None:
    said = "Your code changes its input `x`: whoever calls it loses the old values."
    made = report(HOLDS, Verdict(UNCHANGED, Difference("changed", "", said)))
    assert made.headline() == "softmax: 1 of 2 properties hold"
    assert made.listing().splitlines()[1:] == ["  ✓ values are positive", "  ✗ the inputs are left as they were"]
    assert made.message().splitlines() == ["softmax · the inputs are left as they were", HINTS["changed"], said]


def test_a_message_has_what_was_checked_a_hint_expected_came_and_the_input() -> None:
    lines = report(failing(np.array([1.0, 2]), np.array([1.0, 3]), {"z": np.array([0, 1])})).message().splitlines()
    assert lines == [
        "softmax · rows sum to 1",
        HINTS["value"],
        "  expected  [1.0000, 2.0000]",
        "  got       [1.0000, 3.0000]",
        "            first difference at [1]: 2 expected, 3 came",
        "  for       z = [0, 1]",
    ]


def test_the_sentences_of_a_recognized_mistake_replace_the_general_hint() -> None:
    known = Known("wrong_axis", "Which axis holds the classes? " * 5, {})
    lines = report(failing(1.0, 2.0, known=known)).message().splitlines()
    assert " ".join(lines[1:3]) == known.sentences.strip()
    assert lines[3:] == ["  expected  1", "  got       2"]


def test_no_message_where_everything_holds() -> None:
    assert report(HOLDS).message() == ""
    assert report(HOLDS).html() == report(HOLDS).listing_html()
    assert report(HOLDS).text() == report(HOLDS).listing()


@pytest.mark.parametrize("kind", ["missing", "not written"])
@pytest.mark.parametrize("which", [slice(0, 3), slice(1, 2), slice(2, 3)], ids=["all", "hidden", "inputs"])
def test_where_there_was_nothing_to_try_one_sentence_and_the_hint_say_so(kind: str, which: slice) -> None:
    made = report(*untried_verdicts(kind)[which])
    first, *rest = made.message().splitlines()
    assert first == "softmax: One sentence."
    assert " ".join(rest) == HINTS[kind]
    assert "One sentence." in made.html()  # even where nothing is listed that could carry it
    assert made.html().count("<b>") == 2


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
        ({"f": len, "x": 3}, "  for       x = 3"),
        ({"x": ("a  b [ c", 3)}, "  for       x = ('a  b [ c', 3)"),
        ({"x": [[1, 10], [2, 3]]}, "  for       x = (a tuple or list of 2, a tuple or list of 2)"),
        ({"x": np.array([[1, 10], [2, 3]])}, "  for       x = [[1, 10], [2, 3]]"),
        ({"x": np.array([[True, False]])}, "  for       x = [[True, False]]"),
        ({"x": np.array([[-1.70712, 0], [1, 2]])}, "  for       x = [[-1.7071, 0.0000], [1.0000, 2.0000]]"),
        ({"x": [np.eye(2), 3]}, "  for       x = ([[1.0000, 0.0000], [0.0000, 1.0000]], 3)"),
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
        "function",
        "spaces in a text",
        "nested",
        "integers",
        "truth values",
        "floats",
        "array in a tuple",
    ],
)
def test_inputs_are_shown_as_far_as_they_can_be_read(arguments: dict[str, Any], line: str) -> None:
    lines = report(failing(1.0, 2.0, arguments)).message().splitlines()
    assert any(shown.startswith(line) for shown in lines), lines
    assert len(lines) <= LINES


def test_an_input_that_is_too_long_for_a_line_is_aligned_below_its_name() -> None:
    lines = report(failing(1.0, 2.0, {"scores": np.arange(24.0).reshape(2, 12) - 9.5})).message().splitlines()
    first, second = (line for line in lines if "[" in line)
    assert first.startswith("  for       scores = [[-9.5000, ")
    assert second.startswith(" " * len("  for       scores = ") + " [ 2.5000, ")


@given(st.integers(1, 12), st.sampled_from([np.eye, np.arange, lambda n: np.eye(n, dtype=int) - 5]))
def test_an_array_that_fits_on_a_line_is_on_one_and_no_line_is_much_too_long(n: int, make: Any) -> None:
    lines = report(failing(1.0, 2.0, {"x": make(n)})).message().splitlines()
    shown = lines[lines.index("  got       2") + 1 :]
    assert len(shown) == 1 or len(" ".join(line.strip() for line in shown)) > 95
    assert max(len(line) for line in lines) <= 120


@pytest.mark.parametrize("many", [0, 20])
def test_what_is_no_data_is_left_out_of_the_inputs(many: int) -> None:
    data = {f"x{i}": np.zeros((50, 2)) for i in range(many)} | {"last": np.zeros((50, 2))}
    message = report(failing(1.0, 2.0, {"f": len, **data, "rng": np.random.default_rng(0)})).message()
    assert "last: an array of shape (50, 2))" in message if many else "last = an array of shape (50, 2)" in message
    for odd in ("rng", "Generator", "builtin", "f:", "f =", "an object"):
        assert odd not in message


def test_where_no_input_is_data_there_is_no_line_for_inputs() -> None:
    lines = report(failing(1.0, 2.0, {"f": len, "model": object()})).message().splitlines()
    assert lines == ["softmax · rows sum to 1", HINTS["value"], "  expected  1", "  got       2"]


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
    hint = " ".join(message[: message.index("  expected  ")].split())
    assert hint.endswith(HINTS[difference.kind])


def test_sentences_without_end_leave_room_for_what_was_expected() -> None:
    made = report(failing(1.0, 2.0, {"x": 3}, known=Known("mistake", "word " * 1000, {})))
    lines = made.message().splitlines()
    assert len(lines) == LINES
    assert (lines[0], lines[-1]) == ("softmax · rows sum to 1", "  expected  1")


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
    title, *hint, last = made.message().splitlines()
    assert (title, last) == ("softmax · rows sum to 1", HIDDEN)
    assert " ".join(hint) in {**HINTS, **HIDDEN_HINTS}.values()
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
        assert set(re.findall(r"<(\w+)", made.html())) <= {"div", "b", "ul", "li", "pre"}


class Tags(HTMLParser):
    """Checks that tags are nested properly, and keeps what stands in which of them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open += [tag] if tag != "br" else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((" ".join(self.open), data))


def test_the_explanation_stands_in_the_line_of_the_failure_and_only_where_it_is_asked_for() -> None:
    known = Known("wrong_axis", "Which `axis` holds <b>?", {})
    explained = Verdict(item("rows sum to `1`"), compare(1.0, 2.0), [Call("softmax", {"z": 3})], known)
    made = report(HOLDS, failing(1.0, 2.0), explained)  # a recognized mistake is explained before another
    texts = Tags(made.html()).texts
    assert texts[0] == ("div b", "softmax: 1 of 3 properties hold")
    assert texts[1:4] == [
        ("div ul li", "✓ values are positive"),
        ("div ul li", "✗ rows sum to 1"),
        ("div ul li", "✗ rows sum to "),
    ]
    assert texts[4:] == [
        ("div ul li code", "1"),
        ("div ul li div b", "Which "),
        ("div ul li div b code", "axis"),
        ("div ul li div b", " holds <b>?"),
        ("div ul li div pre", "  expected  1\n  got       2\n  for       z = 3"),
    ]
    assert Tags(made.listing_html()).texts == texts[:5]


@pytest.mark.parametrize("hidden", [True, False])
def test_sentences_are_no_preformatted_text(hidden: bool) -> None:
    changed = Difference("changed", "", "Your code changes its input `x`.")
    made = report(Verdict(item(hidden=hidden), changed))
    assert "<pre" not in made.html()
    assert (HIDDEN if hidden else "changes its input <code>x</code>.") in made.html()


def test_where_nothing_was_tried_the_reason_stands_before_the_advice() -> None:
    texts = Tags(report(*untried_verdicts("missing", "The notebook has no `softmax`.")).html()).texts
    start = texts.index(("div ul li div", "The notebook has no "))
    assert texts[start + 1 : start + 4] == [
        ("div ul li div code", "softmax"),
        ("div ul li div", "."),
        ("div ul li div b", HINTS["missing"]),
    ]


@given(st.text("`ab<&", max_size=12))
def test_backticks_become_code_whatever_stands_between_them(text: str) -> None:
    made = report(HOLDS, Verdict(item(text), compare(1.0, 2.0), [], Known("m", text + "!", {})), remarks=[text])
    parsed = Tags(made.html()).texts
    again = "".join(f"`{data}`" if path.endswith("code") else data for path, data in parsed)
    assert again.count(f" {text}") >= 2  # the title and the remark
    assert f"{text}!" in again
    assert not any(re.search("`[^`]+`", data) for _, data in parsed)


@pytest.mark.parametrize(
    ("verdicts", "color", "mark"),
    [
        ([HOLDS], GREEN, "✓"),
        ([HOLDS, failing(1.0, 2.0)], ORANGE, "✗"),
        ([HOLDS, Verdict(UNCHANGED, Difference("changed", "", "`x`"))], ORANGE, "✗"),
        (untried_verdicts("missing"), GRAY, "○"),
        (untried_verdicts("not written"), GRAY, "○"),
    ],
    ids=["right", "wrong", "changed", "missing", "not written"],
)
def test_marks_and_color_tell_what_holds_what_fails_and_what_was_not_tried(
    verdicts: list[Verdict], color: str, mark: str
) -> None:
    made = report(*verdicts)
    for html in (made.html(), made.listing_html()):
        assert {c for c in (GREEN, ORANGE, GRAY) if c in html} == {color}
        assert mark in html
        assert ("○" in html) == (color == GRAY)
        assert ("✗" in html) == (color == ORANGE)


def test_data_tells_programs_what_people_read() -> None:
    known = Known("wrong_axis", "Which axis?", {})
    made = report(HOLDS, failing(1.0, 2.0, known=known), failing(1.0, 2.0, hidden=True))
    data = json.loads(json.dumps(made.data()))
    assert data["unsolved"] == ""
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


def test_the_inputs_of_all_calls_are_shown_but_not_what_the_student_made() -> None:
    def forward(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return z, z + 7

    def backward(dout: np.ndarray, cache: np.ndarray) -> np.ndarray:
        return dout * 0

    def both(forward: Any, backward: Any, rng: np.random.Generator) -> Any:
        _, cache = forward(np.array([1.0, 2.0]))
        return backward(np.array([3.0, 4.0]), cache)

    case = Case("both", "forward, then backward", both)
    answer = run(case, {"forward": forward, "backward": backward}, np.random.default_rng(0))
    lines = report(Verdict(item(), Difference("value", "1", "2"), answer.calls)).message().splitlines()
    assert lines[-2:] == ["  for       z = [1.0000, 2.0000]", "            dout = [3.0000, 4.0000]"]


def test_a_function_not_yet_written_among_others_that_are_is_told_where_to_write() -> None:
    verdict = failing(1.0, Raised("NotImplementedError", "", ", in the line `raise NotImplementedError()`"))
    lines = report(HOLDS, verdict).message().splitlines()
    assert lines[1] == HINTS["not written"]
