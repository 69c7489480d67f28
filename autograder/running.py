"""Asking: runs cases against objects and records what came back, as plain data."""

import contextlib
import hashlib
import inspect
import io
import json
import traceback
import types
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import numpy as np

from autograder import limits, watching
from autograder.compare import describe
from autograder.limits import TookTooLong, time_limit
from autograder.plain import Array, Plain, Raised, Timeout, leaves, numbers, plain, type_name
from autograder.tasks import UNCHANGED, Case, Task

NUDGE = 2.0**-20  # relative: far above rounding in float64, some units in the last place of a float32
PROBES = 4
PRINTED = 2_000  # characters of a student's prints that are kept
CALLS = 3  # calls of a draw that are kept to be shown
NOTHING_RAN = "NothingRan"
WARNED = 3  # warnings of a draw that are kept
LINE = 200  # characters of a student's line, or of an exception's message, that are kept


@dataclass(frozen=True)
class Call:
    """One call of a student's function: its name, and copies of the arguments that the student did not make.

    What an earlier call returned, a cache say, tells nothing about the input.
    """

    function: str
    arguments: dict[str, Plain]


@dataclass
class Answer:
    """What one draw of one case gave, and what was seen on the way."""

    value: Plain
    calls: list[Call] = field(default_factory=list)
    changed: set[str] = field(default_factory=set)  # parameters whose argument was modified
    views: set[str] = field(default_factory=set)  # parameters whose memory the result shares
    arguments: set[str] = field(default_factory=set)  # all parameters that got an argument
    returned: dict[str, Plain] = field(default_factory=dict)  # the last result of each function
    used: set[str] = field(default_factory=set)  # what the task forbids, and was called
    used_in: str = ""  # the student's line of the first such call; a student's text, so not to be shown by a grader
    printed: str = ""
    warned: list[str] = field(default_factory=list)
    made: list[Any] = field(default_factory=list, repr=False)  # the results themselves, while the case runs

    @property
    def completed(self) -> bool:
        return not isinstance(self.value, Raised | Timeout)


Answers = dict[str, list[Answer]]  # by case name, one entry per draw


def ask(task: Task, cases: Iterable[Case], objects: Mapping[str, Any], sheet: str, seed: int) -> Answers:
    """Returns the answers of `objects` to `cases`, the visible ones first; after a time-out the rest is not asked."""
    answers: Answers = {}
    stopped: Timeout | None = None
    for case in sorted(cases, key=lambda case: case.hidden):
        answers[case.name] = []
        for draw in range(case.draws):
            rng = generator(sheet, task.name, case.name, seed, draw)
            answer = Answer(stopped) if stopped else run(case, objects, rng, task.forbids)
            if isinstance(answer.value, Timeout):
                stopped = answer.value
            answers[case.name].append(answer)
    return answers


def generator(sheet: str, task: str, case: str, seed: int, draw: int) -> np.random.Generator:
    """Returns the random generator of one draw: the same everywhere for the same five values."""
    return np.random.default_rng(generator_key(sheet, task, case, seed, draw))


def generator_key(sheet: str, task: str, case: str, seed: int, draw: int) -> int:
    """Returns 128 bits for the generator of one draw, from which neither the seed nor another draw can be told."""
    told = json.dumps([sheet, task, case, seed, draw]).encode()
    return int.from_bytes(hashlib.blake2b(told, digest_size=16).digest(), "big")


def values(answers: Answers) -> dict[str, list[Plain]]:
    """Returns only what was answered, by case, with the property of unchanged inputs as a case of its own."""
    result: dict[str, list[Plain]] = {name: [a.value for a in draws] for name, draws in answers.items()}
    flat = [answer for draws in answers.values() for answer in draws]
    changed: list[Plain] = [*sorted({name for answer in flat for name in answer.changed})]
    ran = not flat or any(answer.completed for answer in flat)
    result[UNCHANGED] = [changed if ran else Raised(NOTHING_RAN, "no case came to its end")]
    return result


def run(case: Case, objects: Mapping[str, Any], rng: np.random.Generator, forbids: tuple[str, ...] = ()) -> Answer:
    """Returns the answer of one draw; whatever the student's code does, this returns (within the case's limit).

    What it calls of `forbids` is noted in the answer.
    """
    answer = Answer(None)
    out = _Capped()

    def note(message: Warning | str, category: type[Warning], *_: Any) -> None:
        if len(answer.warned) < WARNED:  # a list of all would grow as long as the student's loop runs
            answer.warned.append(_first_line(f"{category.__name__}: {message}"))

    with warnings.catch_warnings(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        warnings.simplefilter("always")
        warnings.showwarning = note  # type: ignore[assignment]
        with watching.guard(forbids, objects.values(), case.run) as used:
            answer.value = _guarded(case, objects, rng, answer)
    answer.used, answer.used_in = set(used), used.line
    answer.made.clear()
    answer.printed = out.getvalue()
    return answer


def sensitivity(case: Case, objects: Mapping[str, Any], sheet: str, task: str, seed: int) -> list[dict[str, Any]]:
    """Returns per draw, by path, how far each number of the answer moves per unit of relative nudge of the inputs.

    A Monte Carlo estimate of the condition (Parker 1997, "Monte Carlo Arithmetic"): the case is run on inputs
    x · (1 ± δ) with random signs, and the largest of PROBES moves is divided by δ.
    """
    result = []
    for draw in range(case.draws):
        base = dict(leaves(run(case, objects, generator(sheet, task, case.name, seed, draw)).value))
        moved: dict[str, Any] = {}
        for probe in range(PROBES):
            rng = Nudged(generator(sheet, task, case.name, seed, draw), probe)
            for path, leaf in leaves(run(case, objects, rng).value):
                _take_move(moved, path, base.get(path), leaf)
        result.append(moved)
    return result


def _take_move(moved: dict[str, Any], path: str, base: Plain, leaf: Plain) -> None:
    before, after = numbers(base), numbers(leaf)
    if before is None or after is None or before.shape != after.shape or before.dtype.kind not in "fc":
        return
    with np.errstate(all="ignore"):
        move = np.nan_to_num(np.abs(after - before) / NUDGE, nan=0.0, posinf=0.0, neginf=0.0)
    moved[path] = np.maximum(moved.get(path, 0.0), move)


class Nudged(np.random.Generator):
    """A generator whose continuous draws are those of another one, each moved by a relative ±NUDGE."""

    def __init__(self, rng: Any, probe: int = 0) -> None:
        super().__init__(getattr(rng, "bit_generator", rng))  # `spawn` hands over the bit generator itself
        self._signs = np.random.default_rng([probe, 7])

    def _nudge(self, drawn: Any) -> Any:
        moved = np.asarray(drawn * (1 + NUDGE * self._signs.choice([-1.0, 1.0], size=np.shape(drawn))))
        return moved.astype(np.asarray(drawn).dtype) if np.ndim(drawn) else float(moved)


def _nudging(name: str) -> Callable[..., Any]:
    def method(self: Nudged, *args: Any, **kwargs: Any) -> Any:
        moved = self._nudge(getattr(np.random.Generator, name)(self, *args, **kwargs))
        if (out := kwargs.get("out")) is None:
            return moved
        out[...] = moved
        return out

    return method


CONTINUOUS = (
    *("random", "uniform", "triangular", "normal", "standard_normal", "lognormal", "laplace", "logistic", "gumbel"),
    *("exponential", "standard_exponential", "gamma", "standard_gamma", "beta", "dirichlet", "weibull", "rayleigh"),
    *("chisquare", "noncentral_chisquare", "f", "noncentral_f", "standard_t", "standard_cauchy", "pareto", "power"),
    *("vonmises", "wald"),  # multivariate_normal draws from standard_normal
)
for _name in CONTINUOUS:
    setattr(Nudged, _name, _nudging(_name))


class _Capped(io.StringIO):
    """Keeps the first characters that a student prints: an endless print must not fill the memory."""

    def write(self, text: str) -> int:
        super().write(text[: max(0, PRINTED - self.tell())])
        return len(text)

    def close(self) -> None:
        """Does nothing: what was printed is still to be read."""


def _guarded(case: Case, objects: Mapping[str, Any], rng: np.random.Generator, answer: Answer) -> Plain:
    try:
        with time_limit(case.limit):
            return _attempt(case, objects, rng, answer)
    except TookTooLong:
        return Timeout(case.limit)


def _attempt(case: Case, objects: Mapping[str, Any], rng: np.random.Generator, answer: Answer) -> Plain:
    takes_rng = "rng" in case.run.__code__.co_varnames[: case.run.__code__.co_argcount]
    try:
        arguments = {name: _recorded(name, objects[name], answer) for name in case.needs}
        return plain(case.run(**arguments, **({"rng": rng} if takes_rng else {})))
    except (TookTooLong, KeyboardInterrupt):
        raise  # the person, or nbgrader, wants to stop
    except BaseException as error:
        return Raised(type_name(error), _message(error), _line(error, case, answer.returned))


def _message(error: BaseException) -> str:
    try:
        text = plain(str(error))
    except (TookTooLong, KeyboardInterrupt):
        raise
    except BaseException:  # an exception of the student's may fail to print
        return ""
    return _first_line(text) if isinstance(text, str) else ""


def _first_line(text: str) -> str:
    """Returns the first line that says something, shortened, without half characters that no terminal can show."""
    lines = text.strip().splitlines()
    return lines[0][:LINE].encode("utf-8", "backslashreplace").decode() if lines else ""


def _line(error: BaseException, case: Case, returned: dict[str, Plain]) -> str:
    """Returns where the exception arose, in words: a line of the student's, or what the case made of their result."""
    ours = (case.run.__code__.co_filename, __file__, limits.__file__, watching.__file__)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "site-packages" not in f.filename]
    if frames and frames[-1].filename == ours[0] and returned:
        name, result = next(reversed(returned.items()))
        return f", while reading the result of `{name}`, which was {describe(result)}"
    theirs = [f for f in frames if f.filename not in ours and f.line]
    return f", in the line `{_first_line(theirs[-1].line or '')}`" if theirs else ""


def _recorded(name: str, thing: Any, answer: Answer) -> Any:
    """Returns `thing` with its calls recorded in `answer`; a class gets recorded methods."""
    if isinstance(thing, type):
        return _recorded_class(thing, answer)
    return _recorded_function(name, thing, answer, method=False) if callable(thing) else thing


def _recorded_class(thing: type, answer: Answer) -> type:
    public = {name: f for name, f in vars(thing).items() if isinstance(f, types.FunctionType)}
    methods = {
        name: _recorded_function(f"{thing.__name__}.{name}", function, answer, method=True)
        for name, function in public.items()
        if not name.startswith("_") or name == "__call__"
    }
    try:
        return type(thing)(thing.__name__, (thing,), methods)
    except Exception:  # a class that refuses to be subclassed is used as it is
        return thing


def _recorded_function(called: str, function: Callable[..., Any], answer: Answer, method: bool) -> Callable[..., Any]:
    names = _parameters(function)[1 if method else 0 :]

    @wraps(function)
    def recorder(*args: Any, **kwargs: Any) -> Any:
        given = dict(zip(_pad(names, len(args)), args[1:] if method else args, strict=False)) | kwargs
        before = {name: plain(value) for name, value in given.items()}
        if len(answer.calls) < CALLS:
            theirs = {name for name, value in given.items() if any(value is made for made in answer.made)}
            answer.calls.append(Call(called, {name: before[name] for name in given if name not in theirs}))
        answer.arguments |= given.keys()
        result = watching.by_student(function, *args, **kwargs)
        answer.returned[called] = plain(result)
        if len(answer.calls) < CALLS:
            made = [result, *(result if type(result) in (tuple, list) else [])]
            answer.made += [part for part in made if not any(part is value for value in given.values())]
        answer.changed |= {name for name, value in given.items() if not _identical(before[name], plain(value))}
        answer.views |= {name for name, value in given.items() if _shares_memory(result, value)}
        return result

    return recorder


def _parameters(function: Callable[..., Any]) -> list[str]:
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return []


def _pad(names: list[str], count: int) -> list[str]:
    return names + [f"argument {i + 1}" for i in range(len(names), count)]


def _identical(before: Plain, after: Plain) -> bool:
    if isinstance(before, list) and isinstance(after, list):
        return len(before) == len(after) and all(_identical(a, b) for a, b in zip(before, after, strict=True))
    if isinstance(before, dict) and isinstance(after, dict):
        return before.keys() == after.keys() and all(_identical(before[key], after[key]) for key in before)
    if isinstance(before, Array) and isinstance(after, Array):
        a, b = before.values, after.values
        return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
    return type(before) is type(after) and (before == after or before != before)  # NaN is itself


def _shares_memory(result: Any, argument: Any) -> bool:
    if not issubclass(type(argument), np.ndarray):
        return False
    results = result if type(result) is tuple or type(result) is list else [result]
    return any(issubclass(type(r), np.ndarray) and _overlap(r, argument) for r in results)


def _overlap(a: np.ndarray, b: np.ndarray) -> bool:
    if not np.may_share_memory(a, b):
        return False
    try:
        return np.shares_memory(a, b, max_work=10_000)  # type: ignore[arg-type]  # two columns of a table interlock, but share nothing
    except np.exceptions.TooHardError:
        return True
