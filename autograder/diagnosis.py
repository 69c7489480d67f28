"""Judging: compares answers with the expected ones and recognizes misconceptions by what they answer.

An `Oracle` knows, for one task, what the reference answers and what each misconception answers. It comes from a
public bundle (visible cases only, see `bundle`) or from running the solutions (see `solutions`); the judgment is
the same, which is why a student and a grader read the same sentence.
"""

import builtins
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from autograder.compare import Difference, Tolerance, compare, size
from autograder.plain import Plain, Raised
from autograder.running import NOTHING_RAN, Answer, Answers, Call, values
from autograder.tasks import UNCHANGED, UNCHANGED_TITLE

Drawn = list[Plain]  # one answer per draw


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
    """The expected answers of one task, and where needed the answers of its misconceptions."""

    task: str
    points: float
    properties: list[Property]
    misconceptions: Callable[[], list[Known]]

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
    """Returns the judgment of `answers`."""
    got = values(answers)
    failed = {p.name: found for p in oracle.properties if (found := p.difference(p.expected, got[p.name]))}
    named = _recognize(oracle, got, failed) if failed else {}
    verdicts = []
    for item in oracle.properties:
        difference = failed[item.name][1] if item.name in failed else None
        if difference and item.name == UNCHANGED:
            difference = _changed(got[UNCHANGED][0])
        calls = _smallest_calls(item, got[item.name], answers.get(item.name, [])) if difference else []
        verdicts.append(Verdict(item, difference, calls, named.get(item.name)))
    return Judgment(oracle.task, oracle.points, verdicts, _remarks(oracle, answers))


def unable(oracle: Oracle, difference: Difference) -> Judgment:
    """Returns the judgment of a task that could not be asked at all (a missing name, say): nothing holds."""
    return Judgment(oracle.task, oracle.points, [Verdict(item, difference) for item in oracle.properties])


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


def _changed(names: Plain) -> Difference:
    """Returns in words which arguments were modified; nothing is known where no case came to its end."""
    if not isinstance(names, list):
        return Difference("raised", "an answer", "no answer to any case")
    said = " and ".join(f"`{name}`" for name in names)
    return Difference("changed", "", f"Your code changes its input {said}: whoever calls it loses the old values.")


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
    views = sorted({name for answer in flat for name in answer.views})
    remarks = []
    if views:
        names = ", ".join(f"`{name}`" for name in views)
        remarks.append(f"The result shares its memory with {names}: a change of one is a change of the other.")
    if any(answer.printed.strip() for answer in flat):
        remarks.append("What your code prints is not shown here.")
    shown = [answer for name, draws in answers.items() if name not in hidden for answer in draws]
    warned = next((answer.warned[0] for answer in shown if answer.warned), None)  # a warning can tell its input
    return [*remarks, f"Your code warned: {warned}"] if warned else remarks
