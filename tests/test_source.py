"""Source text: what a statement defines and uses, and what some names need to run."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autograder.errors import CourseError
from autograder.source import closure, needed, solution_lines, statements, undecorated, without_markers

settings.register_profile("unit", derandomize=True, database=None, deadline=None, max_examples=60)
settings.load_profile("unit")

ALL = "a = 1\nb = 2\nc = 3\nd = 4\n"


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("def f(x):\n    return a + x", "a"),
        ("def f(x, y=a):\n    return x", "a"),
        ("def f(*, y=a):\n    return b", "ab"),
        ("def f(x: a) -> b:\n    return x", "ab"),
        ("@a\ndef f(x):\n    return x", "a"),
        ("@a(b)\n@c.d\nclass f:\n    pass", "abc"),
        ("def f(a):\n    return a", ""),
        ("def f(a=b):\n    return a", "b"),
        ("def f():\n    a = 5\n    return a + b", "b"),
        ("def f():\n    def g(a):\n        return a + b\n    return g(c)", "bc"),
        ("def f():\n    a = 1\n    def g():\n        return a\n    return g", ""),
        ("def f():\n    def g():\n        nonlocal d\n        d = a\n    d = 1", "a"),
        ("def f():\n    global a\n    return a", "a"),
        ("f = lambda a: a + b", "b"),
        ("f = lambda x=a: x", "a"),
        ("f = [a for b in c]", "ac"),
        ("f = [b for b in c if b]", "c"),
        ("f = {a: 1 for x in [b for c in d]}", "abd"),
        ("def f():\n    return [a for a in b]", "b"),
        ("def f():\n    return (y := a) + y", "a"),
        ("f = f'{a} {b:{c}}'", "abc"),
        ("class f(a):\n    x = b\n    def g(self):\n        return c", "abc"),
        ("class f:\n    a = a", "a"),
        ("class f:\n    x = 1\n    def g(self, d=x):\n        return self.a", ""),
        ("class f(metaclass=a):\n    x: b = c", "abc"),
        ("if a:\n    f = b\nelse:\n    f = c", "abc"),
        ("for f in a:\n    b", "ab"),
        ("with a as f:\n    pass", "a"),
        ("try:\n    f = a\nexcept b:\n    f = c", "abc"),
        ("f: a = b", "ab"),
        ("f, g = a, b", "ab"),
        ("(f := a)", "a"),
        ("f = 1\nf += a", "a"),
        ("f = a\nf = b", "ab"),
        ("async def f():\n    await a\n    async for x in b:\n        pass", "ab"),
        (
            "def f(x):\n    match x:\n        case {'k': a}: return a\n        case b.K: return 1",
            "b",
        ),
        ("def f():\n    import a\n    return a", ""),
        ("def f():\n    return 'a'", ""),
        ("f = x.a(b=c)", "c"),
    ],
)
def test_a_name_brings_along_what_it_needs_and_nothing_else(text: str, chosen: str) -> None:
    lines = closure(ALL + text, ["f"]).splitlines()
    assert [line for line in lines if line in ALL.splitlines()] == [
        f"{name} = {'abcd'.index(name) + 1}" for name in chosen
    ]
    assert closure(ALL + text, ["f"]).endswith(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("import numpy as np", "np"),
        ("import os.path", "os"),
        ("import os.path as p", "p"),
        ("from math import sqrt as root, pi", "root"),
        ("from math import sqrt as root, pi", "pi"),
        ("import a, b", "b"),
    ],
)
def test_an_import_comes_along_under_the_name_that_it_binds(text: str, name: str) -> None:
    assert closure(f"{text}\nimport sys\nf = {name}", ["f"]) == f"{text}\nf = {name}"


def test_needs_are_followed_through_others_and_keep_their_order() -> None:
    text = "def c():\n    return b()\n\ndef a():\n    return 1\n\ndef b():\n    return a()\n\nd = c()\ne = 2"
    assert [s.line for s in needed(statements(text), ["d"])] == [1, 4, 7, 10]


def test_two_functions_that_call_each_other_come_together() -> None:
    text = "def even(n): return n == 0 or odd(n - 1)\ndef odd(n): return n != 0 and even(n - 1)\nx = 1"
    assert closure(text, ["odd"]) == "\n".join(text.splitlines()[:2])


def test_a_name_defined_twice_brings_both_definitions() -> None:
    assert closure("a = 1\nx = 9\na = a + 1\na += 2", ["a"]) == "a = 1\na = a + 1\na += 2"


def test_two_statements_on_one_line_come_together_and_run() -> None:
    namespace: dict[str, Any] = {}
    exec(closure("a = 1; b = a + 1\nc = b", ["c"]), namespace)
    assert namespace["c"] == 2


def test_names_that_the_text_does_not_define_are_left_alone() -> None:
    assert closure("a = len(injected)", ["a", "absent"]) == "a = len(injected)"
    assert closure("a = 1", ["b"]) == ""


def test_comments_and_strings_inside_a_statement_are_kept() -> None:
    text = 'def f():\n    """Says a."""\n    # why\n    return (\n        1,  # one\n    )'
    assert closure(f"# before\n{text}\n# after\n", ["f"]) == text


NAMES = st.sampled_from(["a", "b", "c", "d", "e"])


@given(st.lists(st.tuples(NAMES, st.lists(NAMES, max_size=2)), max_size=8), NAMES)
def test_what_is_chosen_is_closed_and_nothing_in_it_can_be_spared(
    assignments: list[tuple[str, list[str]]], name: str
) -> None:
    text = "\n".join(f"{target} = [{', '.join(values)}]" for target, values in assignments)
    everything = statements(text)
    chosen = needed(everything, [name])
    wanted = {name}.union(*(s.uses for s in chosen))
    assert [s for s in everything if s.defines & wanted] == chosen
    assert closure(text, [name]) == "\n".join(s.text for s in chosen)


@pytest.mark.parametrize("character", ["\x0c", "\u2028", "\u2029", "\x85", "\x1c", "\x0b"], ids=ascii)
def test_a_line_is_what_python_calls_a_line(character: str) -> None:
    text = f"a = 'x{character}y'\nb = 1\nc = a"
    namespace: dict[str, Any] = {}
    exec(closure(text, ["c"]), namespace)
    assert namespace["c"] == f"x{character}y"
    assert without_markers(text) == text
    assert solution_lines(f"### BEGIN SOLUTION\na = 'x{character}y'\n### END SOLUTION") == [f"a = 'x{character}y'"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=ascii)
def test_every_kind_of_line_end_is_understood(end: str) -> None:
    text = end.join(["@dec", "def f():", "    return 1", "g = 2", ""])
    assert closure(text, ["f"]) == "@dec\ndef f():\n    return 1"
    assert [s.line for s in statements(text)] == [1, 4]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a = 1\nb = (", 2, "was never closed"),
        ("%matplotlib inline", 1, "invalid syntax"),
        ("a = 1\n\n  b = 2", 3, "unexpected indent"),
    ],
    ids=["bracket", "magic", "indent"],
)
def test_what_is_not_python_is_an_error_with_file_and_line(text: str, line: int, said: str) -> None:
    with pytest.raises(CourseError) as caught:
        statements(text, "sheet.py")
    assert str(caught.value).startswith(f"sheet.py, line {line}: ")
    assert said in str(caught.value)


def test_a_null_character_is_an_error_that_names_the_file() -> None:
    with pytest.raises(CourseError, match=r"sheet\.py.*null"):
        statements("a = '\0'", "sheet.py")


CELL = """\
def f():
    x = 1
    ### BEGIN SOLUTION
    y = 2

      ### indented comment
    ### END SOLUTION
    z = 3
    ### BEGIN SOLUTION
    return z
    ### END SOLUTION
"""


def test_markers_are_taken_out_and_solutions_found_between_them() -> None:
    kept = without_markers(CELL)
    assert "SOLUTION" not in kept
    assert kept.splitlines() == [line for line in CELL.splitlines() if "SOLUTION" not in line]
    assert solution_lines(CELL) == ["y = 2", "### indented comment", "return z"]


def test_text_without_markers_stays_as_it_is() -> None:
    assert without_markers("a = 1\nb = '### BEGIN SOLUTION'") == "a = 1\nb = '### BEGIN SOLUTION'"
    assert solution_lines("a = 1") == []
    assert (without_markers(""), solution_lines(""), statements("")) == ("", [], [])


@pytest.mark.parametrize(
    "decorators", ["", "@case('x')\n", "@case(\n    'x',\n    hidden=True,\n)\n@other\n"], ids=["none", "one", "two"]
)
@pytest.mark.parametrize(
    "body",
    ["def f(x):\n    return x", "class f:\n    @property\n    def g(self):\n        return 1"],
    ids=["def", "class"],
)
def test_a_function_without_its_decorators_is_its_text_from_def_on(decorators: str, body: str) -> None:
    statement = statements(f"a = 1\n{decorators}{body}")[1]
    assert statement.line == 2
    assert statement.text == decorators + body
    assert undecorated(statement) == body
