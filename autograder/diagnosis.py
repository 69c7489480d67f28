"""Judging: compares answers with the expected ones and recognizes misconceptions by what they answer.

An `Oracle` knows, for one task, what the reference answers and what each misconception answers. It comes from a
public bundle (visible cases only, see `bundle`) or from running the solutions (see `solutions`); the judgment is
the same, which is why a student and a grader read the same sentence.

Answers may come from a process that lies: whatever plain data they are, the judgment is made, and what it shows of
hidden cases are names that the reference gave.
"""

import builtins
import functools
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from autograder.compare import Difference, Tolerance, compare, size
from autograder.forbidden import Hit
from autograder.plain import MAX_DEPTH, MAX_LEAVES, NUMERIC_KINDS, Array, Opaque, Plain, Raised
from autograder.running import CALLS, NOTHING_RAN, Answer, Answers, Call, values
from autograder.tasks import UNCHANGED, UNCHANGED_TITLE

Drawn = list[Plain]  # one answer per draw
NO_ANSWER = "NoAnswer"
MAX_LEVELS = MAX_DEPTH + 2  # of an answer; `plain` makes no more
MAX_PARTS = MAX_LEVELS * MAX_LEAVES
MAX_NAMES = 32  # arguments of a call that are looked at


@dataclass(frozen=True)
class Property:
    """What is known of a case when answers to it are judged."""

    name: str
    title: str
    hidden: bool
    weight: float
    expected: Drawn
    sensitivity: list[dict[str, Any]] = field(default_factory=list)
    tolerance: Tolerance | None = None
    penalty: float = 0.0  # a property of weight 0 earns nothing; where it fails, it costs like one of this weight

    def difference(self, expected: Drawn, got: Drawn) -> tuple[int, Difference] | None:
        """Returns the first draw in which `got` differs from `expected`, and how."""
        for draw, (wanted, given) in enumerate(zip(expected, got, strict=True)):
            if isinstance(given, Raised) and given.name == NO_ANSWER:
                return draw, Difference("raised", "an answer", "no answer")
            sensitivity = self.sensitivity[draw] if draw < len(self.sensitivity) else None
            if difference := compare(wanted, given, sensitivity, self.tolerance):
                return draw, difference
        return None


@dataclass(frozen=True)
class Known:
    """A misconception: its name, the sentences that a student reads, and its answers by case."""

    name: str
    sentences: str
    answers: dict[str, Drawn]


@dataclass(frozen=True)
class Oracle:
    """The expected answers of one task, and where needed the answers of its misconceptions.

    `arguments` are the names of the parameters for which the reference got arguments, `forbids` what the task forbids.
    """

    task: str
    points: float
    properties: list[Property]
    misconceptions: Callable[[], list[Known]]
    arguments: frozenset[str] = frozenset()
    forbids: tuple[str, ...] = ()

    @functools.cached_property
    def broken(self) -> list[tuple[Known, set[str]]]:
        """Each misconception with the names of the properties in which it answers unlike the reference."""
        return [(known, {p.name for p in self.properties if _differs(p, known)}) for known in self.misconceptions()]


def _differs(item: Property, known: Known) -> bool:
    answers = known.answers.get(item.name)
    return answers is not None and item.difference(item.expected, answers) is not None


@dataclass(frozen=True)
class Verdict:
    """Whether one property holds, and if not, how it fails."""

    property: Property
    difference: Difference | None = None
    calls: list[Call] = field(default_factory=list)
    misconception: Known | None = None

    @builtins.property
    def holds(self) -> bool:
        return self.difference is None


@dataclass(frozen=True)
class Judgment:
    """All verdicts of one task, with remarks that cost nothing."""

    task: str
    max_points: float
    verdicts: list[Verdict]
    remarks: list[str] = field(default_factory=list)

    @property
    def points(self) -> float:
        """Returns the points earned: the share of the weights of the properties that hold, to a hundredth."""
        total = sum(v.property.weight for v in self.verdicts)
        share = sum(v.property.weight for v in self.verdicts if v.holds) / total if total else 0.0
        for verdict in self.verdicts:
            if not verdict.holds:
                share *= total / (total + verdict.property.penalty)
        return min(float(self.max_points), round(self.max_points * share, 2))

    @property
    def first_failure(self) -> Verdict | None:
        """Returns the verdict to explain: a visible failure before a hidden one, a known mistake before others."""
        failures = [v for v in self.verdicts if not v.holds]
        return min(failures, key=lambda v: (v.property.hidden, v.misconception is None), default=None)

    @property
    def misconceptions(self) -> list[Known]:
        """Returns the recognized misconceptions, each once, the one explained first in front."""
        first = self.first_failure
        found = [v.misconception for v in [*([first] if first else []), *self.verdicts] if v.misconception]
        return list({known.name: known for known in found}.values())


def unchanged_property() -> Property:
    """Returns the property that every task has unless it says otherwise: arguments are not modified.

    It earns nothing, or a function that does nothing would earn it; to break it costs like any other property.
    """
    return Property(UNCHANGED, UNCHANGED_TITLE, False, 0.0, [[]], penalty=1.0)


def judge(oracle: Oracle, answers: Answers) -> Judgment:
    """Returns the judgment of `answers`, of which nothing is taken for granted but that they are plain data."""
    if hits := _calls_of_forbidden(oracle, answers):
        return forbidden_judgment(oracle, hits)
    answers = _bounded_answers(oracle, answers)
    got = values(answers)
    failed = {p.name: found for p in oracle.properties if (found := p.difference(p.expected, got[p.name]))}
    named = _recognize(oracle, got, failed) if failed else {}
    verdicts = []
    for item in oracle.properties:
        difference = failed[item.name][1] if item.name in failed else None
        if difference and item.name == UNCHANGED:
            difference = _changed(got[UNCHANGED][0], oracle.arguments)
        calls = _smallest_calls(item, got[item.name], answers.get(item.name, [])) if difference else []
        verdicts.append(Verdict(item, difference, calls, named.get(item.name)))
    return Judgment(oracle.task, oracle.points, verdicts, _remarks(oracle, answers))


def unable(oracle: Oracle, difference: Difference) -> Judgment:
    """Returns the judgment of a task that could not be asked at all (a missing name, say): nothing holds."""
    return Judgment(oracle.task, oracle.points, [Verdict(item, difference) for item in oracle.properties])


def forbidden_judgment(oracle: Oracle, hits: Iterable[Hit | str]) -> Judgment:
    """Returns the judgment of code that uses what the task forbids: nothing holds, and no misconception is named.

    A hit is a forbidden name, with the student's line where it is known.
    """
    found = [hit if isinstance(hit, Hit) else Hit(hit, "") for hit in hits]
    names = dict.fromkeys(hit.name for hit in found)
    line = next((hit.line for hit in found if hit.line), "")
    said = f"Your code uses {_and(f'`{name}`' for name in names)}" + (f", in the line `{line}`." if line else ".")
    return unable(oracle, Difference("forbidden", "", said))


def _calls_of_forbidden(oracle: Oracle, answers: Answers) -> list[Hit]:
    flat = [answer for draws in answers.values() for answer in draws]
    found = [(name, next((a for a in flat if name in a.used), None)) for name in oracle.forbids]
    return [Hit(name, answer.used_in) for name, answer in found if answer]


def _bounded_answers(oracle: Oracle, answers: Answers) -> Answers:
    """Returns one answer for each draw that the oracle expects, none of them too deep or too long to be read."""
    bounded = {name: [_bounded_answer(answer) for answer in draws] for name, draws in answers.items()}
    bounded.pop(UNCHANGED, None)  # follows from the other answers
    for item in oracle.properties:
        if item.name != UNCHANGED and len(bounded.get(item.name, [])) != len(item.expected):
            bounded[item.name] = [Answer(Raised(NO_ANSWER)) for _ in item.expected]
    return bounded


def _bounded_answer(answer: Answer) -> Answer:
    calls = []
    for call in answer.calls[:CALLS]:
        some = itertools.islice(call.arguments.items(), MAX_NAMES)
        calls.append(Call(call.function, {name: _bounded(value, MAX_LEAVES) for name, value in some}))
    return replace(answer, value=_bounded(answer.value, MAX_PARTS), calls=calls)


def _bounded(value: Plain, most: int) -> Plain:
    """Returns `value`, or what says that it is nested too deeply, too long, or an array of no numbers."""
    level, parts = [value], 0
    for _ in range(MAX_LEVELS + 1):
        parts += len(level)
        if not level or parts > most:
            break
        if any(isinstance(part, Array) and not _is_numeric(part) for part in level):
            return Opaque("array")
        level = [item for part in level for item in _items(part)]
    return Opaque("something nested too deeply or too long to compare") if level else value


def _is_numeric(part: Array) -> bool:
    kind, width = part.values.dtype.kind, part.values.dtype.itemsize
    return kind in NUMERIC_KINDS and width <= (16 if kind == "c" else 8) and part.values.dtype.isnative


def _items(part: Plain) -> Iterable[Plain]:
    return part if isinstance(part, list) else part.values() if isinstance(part, dict) else ()


def _and(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def _recognize(oracle: Oracle, got: dict[str, Drawn], failed: dict[str, Any]) -> dict[str, Known]:
    """Returns for each failed property the misconception whose answers it shows.

    A misconception is out as soon as a property holds that it would break. Of the rest, the one that explains
    most of the failed properties wins; the order of the checks file decides a tie.
    """
    items = {item.name: item for item in oracle.properties}
    explains: list[tuple[Known, set[str]]] = []
    for known, broken in oracle.broken:
        if broken <= set(failed):
            shown = {name for name in broken if _equal(items[name], known.answers[name], got[name])}
            explains += [(known, shown)] if shown else []
    explains.sort(key=lambda pair: -len(pair[1]))
    return {name: next(k for k, s in explains if name in s) for name in failed if any(name in s for _, s in explains)}


def _changed(names: Plain, arguments: frozenset[str]) -> Difference:
    """Returns in words which arguments were modified; nothing is known where no case came to its end."""
    if not isinstance(names, list):
        return Difference("raised", "an answer", "no answer to any case")
    said = _and(_told(names, arguments))
    its = "its input " if said.startswith("`") else ""
    return Difference("changed", "", f"Your code changes {its}{said}: whoever calls it loses the old values.")


def _told(names: Iterable[Any], arguments: frozenset[str]) -> list[str]:
    """Returns the names that the reference's parameters have, too; others are a student's text, which could tell
    what the inputs of a hidden case are."""
    known = sorted({name for name in names if name in arguments})
    return [*(f"`{name}`" for name in known), *(["an argument"] if len(known) < len(set(names)) else [])]


def _equal(item: Property, expected: Drawn, got: Drawn) -> bool:
    """Returns whether `got` is what the mistake answers; of exceptions, whose names say little, the same message."""
    for wanted, given in zip(expected, got, strict=True):
        if isinstance(given, Raised):
            if given.name in ("NotImplementedError", NOTHING_RAN):
                return False
            if isinstance(wanted, Raised) and wanted.message != given.message:
                return False
    return item.difference(expected, got) is None


def _smallest_calls(item: Property, got: Drawn, answers: list[Answer]) -> list[Call]:
    """Returns the calls of the failing draw with the fewest numbers in its inputs."""
    wrong = [
        answer.calls
        for draw, answer in enumerate(answers)
        if answer.calls and Property.difference(_only(item, draw), [item.expected[draw]], [got[draw]])
    ]
    return min(wrong, key=lambda calls: sum(size(v) for v in calls[0].arguments.values()), default=[])


def _only(item: Property, draw: int) -> Property:
    return Property(
        item.name, item.title, item.hidden, item.weight, [], item.sensitivity[draw : draw + 1], item.tolerance
    )


def _remarks(oracle: Oracle, answers: Answers) -> list[str]:
    hidden = {item.name for item in oracle.properties if item.hidden}
    flat = [answer for draws in answers.values() for answer in draws]
    views = {name for answer in flat for name in answer.views}
    remarks = []
    if views:
        names = ", ".join(_told(views, oracle.arguments))
        remarks.append(f"The result shares its memory with {names}: a change of one is a change of the other.")
    if any(answer.printed.strip() for answer in flat):
        remarks.append("What your code prints is not shown here.")
    shown = [answer for name, draws in answers.items() if name not in hidden for answer in draws]
    warned = next((answer.warned[0] for answer in shown if answer.warned), None)  # a warning can tell its input
    return [*remarks, f"Your code warned: {warned}"] if warned else remarks
