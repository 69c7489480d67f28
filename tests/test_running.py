"""Asking: whatever a student's code does, an answer comes back in time, as data, with what was seen on the way."""

import itertools
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from autograder import running
from autograder.limits import TookTooLong, time_limit
from autograder.plain import Array, Opaque, Plain, Raised, Timeout, leaves, numbers
from autograder.running import Answer, Nudged, ask, generator, generator_key, run, sensitivity, values
from autograder.tasks import UNCHANGED, Case, Task

SOON = 0.2  # seconds: the limit of a case that does not end
SLACK = 1.5  # seconds that a loaded machine may take to stop it


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def call(function: Any, *arguments: Any, limit: float = 5.0, **named: Any) -> Answer:
    """Returns the answer of a case that calls the student's `function` once."""
    case = elsewhere("def case(f):\n    return f(*arguments, **named)", arguments=arguments, named=named)
    return run(Case("case", "a case", case, limit=limit), {"f": function}, rng())


def elsewhere(source: str, **names: Any) -> Callable[..., Any]:
    """Returns the function `case` that `source` defines, whose frames are not in this file, as in a bundle."""
    exec(compile(source, "<visible cases>", "exec"), names)
    return names["case"]


def in_thread(function: Callable[[], Any]) -> Any:
    """Returns what `function` returns in a thread of its own."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join(10)
    assert results, "the thread did not come back"
    return results[0]


# ---- what was changed


class Holder:
    def __init__(self) -> None:
        self.x = 0


def change_array(x: np.ndarray) -> None:
    x += 1


def change_first(x: Any) -> None:
    x[0][...] = 7


CHANGES: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "an array": (change_array, np.zeros(3)),
    "a view": (change_array, np.zeros((3, 3))[:, 1]),
    "a tensor": (lambda x: x.add_(1), torch.zeros(3)),
    "a bfloat16 tensor": (lambda x: x.add_(1), torch.zeros(3, dtype=torch.bfloat16)),
    "a parameter": (lambda x: x.data.add_(1), torch.nn.Parameter(torch.zeros(3))),
    "an appended list": (lambda x: x.append(1), [1]),
    "a list that gets an empty list": (lambda x: x.append([]), [1]),
    "a list that is regrouped": (lambda x: x.__setitem__(slice(None), [[1, 2], []]), [[1], [2]]),
    "a sorted list": (lambda x: x.sort(), [2, 1]),
    "a dict with a new key": (lambda x: x.update(b=1), {"a": 1}),
    "a dict with a renamed key": (lambda x: x.__setitem__("b", x.pop("a")), {"a": 1}),
    "a dict with another value": (lambda x: x.update(a=2), {"a": 1}),
    "an array in a tuple": (change_first, (np.zeros(2), 1)),
    "an array in a list in a dict": (lambda x: change_first(x["a"]), {"a": [np.zeros(2)]}),
    "a reshaped array": (lambda x: x.resize((2, 2), refcheck=False), np.zeros(4)),
    "the sign of a zero": (lambda x: np.negative(x, out=x), np.zeros(2)),
    "a NaN that becomes a number": (lambda x: np.nan_to_num(x, copy=False), np.array([np.nan])),
    "a module": (lambda x: x.weight.data.zero_(), torch.nn.Linear(1, 1)),
    "an int that becomes a float": (lambda x: x.__setitem__(0, 1.0), [1]),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_changed_argument_is_noted_under_its_parameter(what: str) -> None:
    change, argument = CHANGES[what]

    def f(x: Any, y: Any = 0) -> int:
        change(x)
        return 0

    assert call(f, argument).changed == {"x"}


@pytest.mark.parametrize(
    "argument",
    [
        np.array([np.nan, np.inf]),
        torch.tensor([float("nan")]),
        [float("nan")],
        float("nan"),
        {"a": float("nan")},
        np.array([-0.0]),
        [],
        {},
        None,
        Holder(),
        np.random.default_rng(0),
        np.zeros((0, 2)),
        "text",
    ],
    ids=[
        "array with NaN",
        "tensor with NaN",
        "list with NaN",
        "NaN",
        "dict with NaN",
        "negative zero",
        "empty list",
        "empty dict",
        "None",
        "object",
        "generator",
        "empty array",
        "text",
    ],
)
def test_an_argument_that_is_only_read_is_not_noted(argument: Any) -> None:
    assert call(lambda x: repr(x), argument).changed == set()


def test_a_change_of_a_copy_is_not_noted() -> None:
    def f(x: np.ndarray) -> np.ndarray:
        x = x.copy()
        x += 1
        return x

    answer = call(f, np.zeros(3))
    assert (answer.changed, answer.views) == (set(), set())


def test_changed_arguments_are_named_however_they_are_passed() -> None:
    def f(*args: Any, **named: Any) -> None:
        for value in (*args, *named.values()):
            value += 1

    assert call(f, np.zeros(1), np.zeros(1), np.zeros(1), extra=np.zeros(1)).changed == {
        "args",
        "named",
        "argument 3",
        "extra",
    }


# ---- views


@pytest.mark.parametrize(
    ("function", "views"),
    [
        (lambda x, y: x, {"x"}),
        (lambda x, y: x.T, {"x"}),
        (lambda x, y: (y[::2], 1), {"y"}),
        (lambda x, y: [x, y], {"x", "y"}),
        (lambda x, y: x + y, set()),
        (lambda x, y: x.copy(), set()),
        (lambda x, y: x.sum(), set()),
        (lambda x, y: None, set()),
    ],
    ids=["itself", "transposed", "in a tuple", "both", "sum", "copy", "number", "None"],
)
def test_a_result_that_shares_memory_with_an_argument_is_noted(function: Any, views: set[str]) -> None:
    assert call(function, np.zeros(4), np.ones(4)).views == views


def test_columns_of_one_table_lie_between_each_other_but_share_nothing() -> None:
    table = np.zeros((4, 2))
    assert call(lambda x, y: x, table[:, 0], table[:, 1]).views == {"x"}


# ---- what is printed, warned, and logged


def test_prints_and_writes_to_stderr_are_kept_back(capsys: pytest.CaptureFixture[str]) -> None:
    def f() -> int:
        print("hello")
        print("trouble", file=sys.stderr)
        sys.stdout.write("more\n")
        return 3

    answer = call(f)
    assert (answer.value, answer.printed) == (3, "hello\ntrouble\nmore\n")
    assert capsys.readouterr() == ("", "")


def test_an_endless_print_is_stopped_and_only_its_beginning_kept() -> None:
    def f() -> None:
        while True:
            print("x" * 1000)

    answer = call(f, limit=SOON)
    assert answer.value == Timeout(SOON)
    assert len(answer.printed) == running.PRINTED


def test_a_closed_stdout_does_not_lose_the_answer() -> None:
    def f() -> int:
        print("before")
        sys.stdout.close()
        print("after")
        return 3

    answer = call(f)
    assert (answer.value, answer.printed) == (3, "before\nafter\n")


def test_a_replaced_stdout_is_put_back() -> None:
    before = sys.stdout, sys.stderr

    def f() -> None:
        sys.stdout = sys.stderr = None

    call(f)
    assert (sys.stdout, sys.stderr) == before


def test_warnings_are_noted_and_not_shown(recwarn: pytest.WarningsRecorder, capsys: pytest.CaptureFixture[str]) -> None:
    def f() -> float:
        warnings.warn("first line\nsecond line", DeprecationWarning, stacklevel=1)
        return float(np.log(np.zeros(1))[0])

    answer = call(f)
    assert answer.warned[0] == "DeprecationWarning: first line"
    assert answer.warned[1].startswith("RuntimeWarning: divide by zero")
    assert len(recwarn) == 0
    assert capsys.readouterr() == ("", "")


def test_the_filters_and_the_hook_of_warnings_are_put_back() -> None:
    filters, hook = list(warnings.filters), warnings.showwarning

    def f() -> None:
        warnings.simplefilter("error")
        warnings.showwarning = lambda *_: None

    call(f)
    assert (list(warnings.filters), warnings.showwarning) == (filters, hook)


def test_endless_warnings_are_not_collected() -> None:
    def f() -> None:
        while True:
            warnings.warn("again", stacklevel=1)

    answer = call(f, limit=SOON)
    assert answer.value == Timeout(SOON)
    assert answer.warned == ["UserWarning: again"] * running.WARNED


def test_a_warning_that_cannot_be_printed_is_the_students_error() -> None:
    class Bad(UserWarning):
        def __str__(self) -> str:
            raise ValueError("no text")

    answer = call(lambda: warnings.warn(Bad(), stacklevel=1))
    assert isinstance(answer.value, Raised)
    assert answer.value.name == "ValueError"


# ---- limits of time


def loop() -> None:
    while True:
        pass


def loop_swallowing() -> None:
    while True:
        try:
            loop()
        except Exception:
            continue


def loop_bare_except() -> None:
    while True:
        try:
            time.sleep(0.01)
        except:  # noqa: E722
            continue


def loop_finally() -> None:
    while True:
        try:
            loop()
        finally:
            continue  # noqa: B012


def sleep() -> None:
    time.sleep(30)


def sleep_often() -> None:
    while True:
        time.sleep(0.01)


def generate() -> Any:
    while True:
        yield 1


class Slow(Exception):
    def __str__(self) -> str:
        loop()
        return ""


def raise_slow() -> None:
    raise Slow


class SlowAttributes:
    def __call__(self) -> int:
        return 1

    @property
    def __signature__(self) -> Any:
        return loop()


ENDLESS: list[Any] = [
    loop,
    loop_swallowing,
    loop_bare_except,
    loop_finally,
    sleep,
    sleep_often,
    lambda: sum(generate()),
    raise_slow,
    SlowAttributes(),
]
NAMES = [
    "loop",
    "except Exception",
    "bare except",
    "finally continue",
    "sleep",
    "short sleeps",
    "generator",
    "__str__",
    "signature",
]


@pytest.mark.parametrize("function", ENDLESS, ids=NAMES)
def test_code_that_does_not_end_is_stopped(function: Any) -> None:
    start = time.monotonic()
    assert call(function, limit=SOON).value == Timeout(SOON)
    assert time.monotonic() - start < SOON + SLACK


@pytest.mark.parametrize(
    "function",
    [loop, loop_swallowing, sleep_often, raise_slow],
    ids=["loop", "except Exception", "short sleeps", "__str__"],
)
def test_code_that_does_not_end_is_stopped_in_other_threads_too(function: Any) -> None:
    start = time.monotonic()
    assert in_thread(lambda: call(function, limit=SOON)).value == Timeout(SOON)
    assert time.monotonic() - start < SOON + SLACK


@pytest.mark.parametrize("function", [lambda: 1, loop, loop_bare_except], ids=["returns", "hangs", "swallows"])
def test_the_signal_handler_the_timer_and_the_tracer_are_put_back(function: Any) -> None:
    def handler(*_: Any) -> None:
        raise AssertionError("the timer of an earlier limit went off")

    before = signal.signal(signal.SIGALRM, handler)
    tracer = sys.gettrace()
    try:
        call(function, limit=SOON)
        assert signal.getsignal(signal.SIGALRM) is handler
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
        assert sys.gettrace() is tracer
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_limit_inside_a_limit_leaves_the_outer_one_running() -> None:
    def inner_then_endless() -> None:
        with time_limit(10):
            pass
        loop()

    with pytest.raises(TookTooLong), time_limit(SOON):
        inner_then_endless()
    with time_limit(10), pytest.raises(TookTooLong), time_limit(SOON / 4):
        loop()


def test_a_block_that_ends_in_time_returns_what_it_returns() -> None:
    assert in_thread(lambda: call(lambda: 3, limit=SOON)).value == 3
    assert call(lambda: 3, limit=SOON).value == 3


def test_after_a_time_out_the_rest_is_not_asked() -> None:
    asked: list[str] = []

    def first(f: Any) -> None:
        asked.append("first")

    def second(f: Any) -> None:
        asked.append("second")
        loop()

    def third(f: Any) -> None:
        asked.append("third")

    task = Task("f", 1, ("f",))
    task.cases = [
        Case("first", "", first, draws=1),
        Case("second", "", second, draws=3, limit=SOON),
        Case("third", "", third),
    ]
    answers = ask(task, task.cases, {"f": print}, "sheet", 0)
    assert asked == ["first", "second"]
    assert [a.value for a in answers["second"] + answers["third"]] == [Timeout(SOON)] * 6
    assert answers["first"][0].completed


def test_visible_cases_are_asked_first_so_that_a_hidden_time_out_is_not_told_of_them() -> None:
    def hidden(f: Any) -> None:
        loop()

    def visible(f: Any) -> int:
        return 1

    task = Task("f", 1, ("f",))
    task.cases = [Case("hidden", "", hidden, hidden=True, limit=SOON), Case("visible", "", visible)]
    answers = ask(task, task.cases, {"f": print}, "sheet", 0)
    assert [a.value for a in answers["visible"]] == [1, 1, 1]


# ---- exceptions


def recurse() -> Any:
    return recurse()


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class LeavesQuietly(Exception):
    def __str__(self) -> str:
        raise SystemExit


class LyingText(str):
    __slots__ = ()

    def strip(self, *_: Any) -> Any:
        raise RuntimeError("no strip")


class OddText(Exception):
    def __str__(self) -> str:
        return LyingText("said")


class LyingMeta(type):
    @property
    def __name__(cls) -> Any:  # type: ignore[override]
        raise RuntimeError("no name")


class Nameless(Exception, metaclass=LyingMeta):
    pass


@pytest.mark.parametrize(
    ("error", "name", "message"),
    [
        (ValueError("first\nsecond"), "ValueError", "first"),
        (ValueError(), "ValueError", ""),
        (ValueError("x" * 5000), "ValueError", "x" * running.LINE),
        (ValueError("half \ud800"), "ValueError", "half \\ud800"),
        (SystemExit(3), "SystemExit", "3"),
        (GeneratorExit(), "GeneratorExit", ""),
        (MemoryError(), "MemoryError", ""),
        (StopIteration(1), "StopIteration", "1"),
        (BaseException("base"), "BaseException", "base"),
        (ExceptionGroup("two", [ValueError(1), TypeError(2)]), "ExceptionGroup", "two (2 sub-exceptions)"),
        (Unprintable(), "Unprintable", ""),
        (LeavesQuietly(), "LeavesQuietly", ""),
        (OddText(), "OddText", "said"),
        (Nameless("x"), "Nameless", "x"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isidentifier() else None,
)
def test_an_exception_is_an_answer_with_its_name_and_first_line(error: BaseException, name: str, message: str) -> None:
    def f() -> None:
        raise error

    answer = call(f)
    assert isinstance(answer.value, Raised)
    assert (answer.value.name, answer.value.message) == (name, message)
    assert not answer.completed


def test_endless_recursion_is_an_answer() -> None:
    answer = call(recurse)
    assert isinstance(answer.value, Raised)
    assert answer.value.name == "RecursionError"
    assert answer.value.line == ", in the line `return recurse()`"


def test_a_keyboard_interrupt_passes_through_and_leaves_nothing_behind() -> None:
    def f() -> None:
        raise KeyboardInterrupt

    out = sys.stdout
    with pytest.raises(KeyboardInterrupt):
        call(f)
    assert sys.stdout is out
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_the_students_line_is_named_also_where_a_library_raised() -> None:
    def f(x: np.ndarray) -> Any:
        return np.stack([x, x[:1]])

    answer = call(f, np.zeros(2))
    assert isinstance(answer.value, Raised)
    assert answer.value.line == ", in the line `return np.stack([x, x[:1]])`"


def test_an_exception_in_a_generator_is_the_students() -> None:
    def f() -> Any:
        yield 1
        raise ValueError("later")

    answer = run(Case("case", "", elsewhere("def case(f):\n    return list(f())")), {"f": f}, rng())
    assert isinstance(answer.value, Raised)
    assert (answer.value.name, answer.value.line) == ("ValueError", ', in the line `raise ValueError("later")`')


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (None, "which was None"),
        ((1,), "which was a tuple or list of 1"),
        (np.zeros(3), "which was a NumPy array of shape (3,)"),
        (2.0, "which was a Python number (float)"),
    ],
    ids=["None", "too few", "array", "number"],
)
def test_where_the_case_cannot_read_a_result_the_message_says_what_was_returned(result: Any, said: str) -> None:
    case = elsewhere("def case(f):\n    a, b = f()\n    return a + b")
    answer = run(Case("case", "", case), {"f": lambda: result}, rng())
    assert isinstance(answer.value, Raised)
    assert answer.value.line == f", while reading the result of `f`, {said}"


def test_a_result_that_is_not_data_is_opaque_and_does_not_raise() -> None:
    assert call(lambda: {1, 2}).value == Opaque("set")


# ---- calls


def test_the_first_calls_are_kept_with_their_arguments_as_they_were() -> None:
    def f(x: Any, scale: float = 1.0) -> Any:
        x *= scale
        return x

    def case(f: Any) -> Any:
        x = np.ones(2)
        for _ in range(5):
            f(x, scale=2.0)
        return x

    answer = run(Case("case", "", case), {"f": f}, rng())
    assert len(answer.calls) == running.CALLS
    assert [c.function for c in answer.calls] == ["f"] * running.CALLS
    shown = [numbers(c.arguments["x"]) for c in answer.calls]
    assert [s.tolist() for s in shown if s is not None] == [[1, 1], [2, 2], [4, 4]]
    assert answer.calls[0].arguments["scale"] == 2.0
    assert answer.changed == {"x"}


def test_what_is_not_callable_is_handed_over_as_it_is() -> None:
    assert run(Case("case", "", lambda c: c), {"c": 3}, rng()).value == 3


class Base:
    def __init__(self, size: int) -> None:
        self.size = size

    def grow(self, x: np.ndarray) -> np.ndarray:
        x += self.size
        return x


class Child(Base):
    kind = "child"

    def __init__(self, size: int) -> None:
        super().__init__(size + 1)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.grow(x)

    def grow(self, x: np.ndarray) -> np.ndarray:
        return super().grow(x) * 10

    @staticmethod
    def twice(x: float) -> float:
        return 2 * x

    @classmethod
    def make(cls) -> "Child":
        return cls(0)

    @property
    def double(self) -> int:
        return 2 * self.size


def test_a_class_keeps_inheritance_super_properties_and_class_methods_while_it_is_recorded() -> None:
    def case(Child: Any) -> Any:
        thing = Child(4)
        return [
            thing(np.zeros(2)),
            thing.size,
            thing.double,
            Child.twice(3.0),
            Child.make().size,
            isinstance(thing, Base),
            thing.kind,
            type(thing).__name__,
        ]

    answer = run(Case("case", "", case), {"Child": Child}, rng())
    assert isinstance(answer.value, list)
    assert isinstance(answer.value[0], Array)
    assert answer.value[0].values.tolist() == [50, 50]
    assert answer.value[1:] == [5, 10, 6.0, 1, True, "child", "Child"]
    assert answer.changed == {"x"}
    assert [c.function for c in answer.calls] == ["Child.__call__", "Child.grow"]
    assert set(answer.calls[0].arguments) == {"x"}


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)


def test_a_module_is_recorded_and_still_trains() -> None:
    def case(Net: Any) -> Any:
        net = Net()
        loss = net(torch.ones(3, 2)).sum()
        loss.backward()
        return [net.linear.bias.grad, sorted(net.state_dict()), net]

    answer = run(Case("case", "", case), {"Net": Net}, rng())
    assert isinstance(answer.value, list)
    assert isinstance(answer.value[0], Array)
    assert answer.value[0].values.tolist() == [3]
    assert answer.value[1] == ["linear.bias", "linear.weight"]
    assert isinstance(answer.value[2], dict)
    assert [c.function for c in answer.calls] == ["Net.forward"]


class Final:
    def __init_subclass__(cls) -> None:
        raise TypeError("this class is final")

    def value(self) -> int:
        return 3


def test_a_class_that_refuses_subclasses_is_used_as_it_is() -> None:
    assert run(Case("case", "", lambda Final: Final().value()), {"Final": Final}, rng()).value == 3


class Odd:
    """Callable, but asking it for anything else fails."""

    def __call__(self) -> int:
        return 3

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


def test_an_object_whose_attributes_fail_gives_an_answer_all_the_same() -> None:
    assert isinstance(call(Odd()).value, Raised)


# ---- draws


def test_the_draws_are_the_same_for_the_same_names_and_others_for_others() -> None:
    key: tuple[Any, ...] = ("sheet", "task", "case", 0, 0)
    draws = {
        changed: generator(*changed).normal()
        for changed in [
            key,
            ("sheet2", *key[1:]),
            ("sheet", "task2", *key[2:]),
            ("sheet", "task", "case2", 0, 0),
            (*key[:3], 1, 0),
            (*key[:4], 1),
        ]
    }
    assert len(set(draws.values())) == len(draws)
    assert generator(*key).normal() == draws[key]
    assert draws[key] == pytest.approx(0.0, abs=10)


def test_the_key_of_a_draw_is_128_bits_that_tell_nothing_of_another() -> None:
    keys = [generator_key("sheet", "task", "case", seed, draw) for seed in range(10) for draw in range(10)]
    assert len(set(keys)) == 100
    assert max(keys).bit_length() in (126, 127, 128)
    bits = [(a ^ b).bit_count() for a, b in itertools.pairwise(keys)]
    assert 58 < np.mean(bits) < 70  # half of them change
    assert generator_key("a/b", "c", "d", 1, 0) != generator_key("a", "b/c", "d", 1, 0)
    assert generator_key("a", "b", "c", 1, 11) != generator_key("a", "b", "c", 11, 1)


def test_a_draw_can_be_run_by_who_knows_its_key_alone() -> None:
    case = Case("case", "", lambda f, rng: f(rng.normal(size=3)), draws=1)
    task = Task("f", 1, ("f",), cases=[case])
    asked = ask(task, [case], {"f": np.sum}, "sheet", 7)["case"][0]
    alone = run(case, {"f": np.sum}, np.random.default_rng(generator_key("sheet", "f", "case", 7, 0)))
    assert numbers(asked.value) == numbers(alone.value)


def test_what_the_task_forbids_is_noted_in_the_answer() -> None:
    case = Case("case", "", elsewhere("def case(f, rng):\n    return f(rng.normal(size=3))"), draws=2)
    task = Task("f", 1, ("f",), forbids=("numpy.convolve",), cases=[case])
    for function, used in ((lambda x: np.convolve(x, x), {"numpy.convolve"}), (lambda x: np.cumsum(x), set())):
        assert [answer.used for answer in ask(task, [case], {"f": function}, "sheet", 7)["case"]] == [used, used]
    assert ask(Task("f", 1, ("f",)), [case], {"f": np.convolve}, "sheet", 7)["case"][0].used == set()


def test_all_parameters_that_got_an_argument_are_known() -> None:
    assert call(lambda x, y=1, *z, **more: 0, 1, 2, 3, 4, other=5).arguments == {"x", "y", "z", "more", "other"}


def test_a_case_gets_its_own_draws_whatever_other_cases_took_before() -> None:
    def a(f: Any, rng: np.random.Generator) -> list[float]:
        return [float(x) for x in rng.normal(size=3)]

    def b(f: Any, rng: np.random.Generator) -> float:
        return float(rng.normal())

    task = Task("f", 1, ("f",))
    task.cases = [Case("a", "", a), Case("b", "", b)]
    both = ask(task, task.cases, {"f": print}, "sheet", 0)
    alone = ask(task, task.cases[1:], {"f": print}, "sheet", 0)
    other = ask(task, task.cases[1:], {"f": print}, "sheet", 1)
    assert values(both)["b"] == values(alone)["b"]
    assert len({str(v) for v in [*values(alone)["b"], *values(other)["b"]]}) == 6


def test_what_was_changed_is_a_property_of_its_own() -> None:
    done, crashed = Answer(1.0, changed={"y", "x"}), Answer(Raised("ValueError"))
    assert values({"a": [done], "b": [crashed]})[UNCHANGED] == [["x", "y"]]
    assert values({"a": [Answer(1.0)]})[UNCHANGED] == [[]]
    assert values({})[UNCHANGED] == [[]]
    nothing = values({"a": [crashed], "b": [Answer(Timeout(1))]})[UNCHANGED][0]
    assert isinstance(nothing, Raised)


# ---- nudged generators and sensitivity

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "beta": (2, 3),
    "chisquare": (3,),
    "dirichlet": ([1.0, 2.0],),
    "f": (5, 7),
    "gamma": (2,),
    "noncentral_chisquare": (3, 1),
    "noncentral_f": (5, 7, 1),
    "pareto": (3,),
    "power": (2,),
    "standard_gamma": (2,),
    "standard_t": (5,),
    "triangular": (0, 1, 2),
    "vonmises": (0, 1),
    "wald": (1, 1),
    "weibull": (2,),
    "multivariate_normal": ([0.0, 0.0], np.eye(2)),
}
DISCRETE: dict[str, tuple[Any, ...]] = {
    "integers": (1000,),
    "permutation": (50,),
    "poisson": (50,),
    "binomial": (50, 0.5),
    "choice": (50,),
    "geometric": (0.1,),
}


@pytest.mark.parametrize("name", [*running.CONTINUOUS, "multivariate_normal"])
def test_a_nudged_generator_moves_every_continuous_draw_a_little(name: str) -> None:
    def draws(source: np.random.Generator) -> np.ndarray:
        return np.asarray(getattr(source, name)(*ARGUMENTS.get(name, ()), size=40))

    exact, moved, again = draws(rng(3)), draws(Nudged(rng(3), 1)), draws(Nudged(rng(3), 1))
    relative = np.abs(moved / exact - 1)
    assert moved.tobytes() == again.tobytes()
    assert relative.max() < 4 * running.NUDGE
    if name != "multivariate_normal":
        assert relative.min() > 0.9 * running.NUDGE
    assert not np.array_equal(draws(Nudged(rng(3), 2)), moved)


@pytest.mark.parametrize("name", DISCRETE)
def test_a_nudged_generator_leaves_discrete_draws_alone(name: str) -> None:
    size = {} if name == "permutation" else {"size": 40}
    exact = getattr(rng(3), name)(*DISCRETE[name], **size)
    moved = getattr(Nudged(rng(3), 1), name)(*DISCRETE[name], **size)
    assert np.array_equal(exact, moved)
    assert exact.dtype == moved.dtype


def test_nudged_draws_keep_their_types() -> None:
    nudged = Nudged(rng(), 0)
    assert type(nudged.normal()) is float
    assert nudged.random(size=3, dtype=np.float32).dtype == np.float32
    assert nudged.normal(size=(2, 3)).shape == (2, 3)
    assert nudged.normal(size=0).shape == (0,)
    out = np.zeros(3)
    assert nudged.standard_normal(out=out) is out
    assert not np.array_equal(out, Nudged(rng(), 0).standard_normal(3))
    assert len(nudged.spawn(2)) == 2


def test_every_continuous_distribution_of_numpy_is_nudged_or_draws_from_one_that_is() -> None:
    discrete = {
        "integers",
        "bytes",
        "choice",
        "permutation",
        "permuted",
        "shuffle",
        "spawn",
        "binomial",
        "geometric",
        "hypergeometric",
        "logseries",
        "multinomial",
        "multivariate_hypergeometric",
        "negative_binomial",
        "poisson",
        "zipf",
    }
    public = {name for name in dir(np.random.Generator) if not name.startswith("_")} - {"bit_generator"}
    assert public - discrete - {"multivariate_normal"} == set(running.CONTINUOUS)


def measured(function: Callable[[np.random.Generator], Any]) -> dict[str, float]:
    found = sensitivity(Case("case", "", lambda rng: function(rng), draws=1), {}, "sheet", "task", 0)
    return {path: float(np.max(moved)) for path, moved in found[0].items()}


def test_sensitivity_is_the_condition_of_the_computation() -> None:
    well = measured(lambda rng: 1 + rng.uniform(1, 2))[""]
    ill = measured(lambda rng: 1 / (rng.uniform(1, 2) - generator("sheet", "task", "case", 0, 0).uniform(1, 2) + 1e-3))[
        ""
    ]
    assert 0.9 < well < 2.1
    assert ill > 1e5


def test_sensitivity_is_told_by_path_and_only_of_floats() -> None:
    found = measured(
        lambda rng: [rng.normal(size=2), 3, {"a": rng.normal()}, "text", rng.integers(5, size=2), rng.normal() > 0]
    )
    assert set(found) == {"[0]", "[2]['a']"}


def test_sensitivity_ignores_what_is_not_finite_and_what_changes_shape() -> None:
    def case(rng: np.random.Generator) -> Any:
        x = rng.normal(size=3)
        return [np.where(np.arange(3) == 0, np.inf, x), x[x == generator("sheet", "task", "case", 0, 0).normal(size=3)]]

    found = sensitivity(Case("case", "", case, draws=1), {}, "sheet", "task", 0)[0]
    assert set(found) == {"[0]"}
    assert found["[0]"][0] == 0
    assert np.isfinite(found["[0]"]).all()


def test_sensitivity_of_a_case_that_raises_is_empty() -> None:
    def case(rng: np.random.Generator) -> Plain:
        raise ValueError

    assert sensitivity(Case("case", "", case, draws=2), {}, "sheet", "task", 0) == [{}, {}]
    assert list(leaves(Raised("ValueError"))) == [("", Raised("ValueError"))]
