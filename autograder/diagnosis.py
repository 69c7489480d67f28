"""Judging: compares answers with the expected ones and recognizes misconceptions by what they answer.

An `Oracle` knows, for one task, what the reference answers and what each misconception answers. It comes from a
public bundle (visible cases only, see `bundle`) or from running the solutions (see `solutions`); the judgement is
the same, which is why a student and a grader read the same sentence.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from autograder.compare import Difference, Tolerance, compare, size
from autograder.plain import Plain, Raised
from autograder.running import Answer, Answers, Call, values
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


@dataclass(frozen=True)
class Verdict:
    """Whether one property holds, and if not, how it fails."""

    property: Property
    difference: Difference | None = None
    calls: list[Call] = field(default_factory=list)
    misconception: Known | None = None

    @property
    def holds(self) -> bool:
        return self.difference is None


@dataclass(frozen=True)
class Judgement:
    """All verdicts of one task, with remarks that cost nothing."""

    task: str
    max_points: float
    verdicts: list[Verdict]
    remarks: list[str] = field(default_factory=list)

    @property
    def points(self) -> float:
        """Returns the points earned: the share of the weights of the properties that hold, to a hundredth."""
        total = sum(v.property.weight for v in self.verdicts)
        share = sum(v.property.weight for v in self.verdicts if v.holds) / total
        for verdict in self.verdicts:
            if not verdict.holds:
                share *= total / (total + verdict.property.penalty)
        return min(float(self.max_points), round(self.max_points * share, 2))

    @property
    def first_failure(self) -> Verdict | None:
        """Returns the verdict to explain: the first visible failure, else the first hidden one; a known mistake first."""
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


def judge(oracle: Oracle, answers: Answers) -> Judgement:
    """Returns the judgement of `answers`."""
    got = values(answers)
    failed = {p.name: found for p in oracle.properties if (found := p.difference(p.expected, got[p.name]))}
    named = _recognize(oracle, got, failed) if failed else {}
    verdicts = []
    for item in oracle.properties:
        difference = failed[item.name][1] if item.name in failed else None
        calls = _smallest_calls(item, got[item.name], answers.get(item.name, [])) if difference else []
        verdicts.append(Verdict(item, difference, calls, named.get(item.name)))
    return Judgement(oracle.task, oracle.points, verdicts, _remarks(answers))


def unable(oracle: Oracle, difference: Difference) -> Judgement:
    """Returns the judgement of a task that could not be asked at all (a missing name, say): nothing holds."""
    return Judgement(oracle.task, oracle.points, [Verdict(item, difference) for item in oracle.properties])


def _recognize(oracle: Oracle, got: dict[str, Drawn], failed: dict[str, Any]) -> dict[str, Known]:
    """Returns for each failed property the misconception whose answers it shows.

    A misconception is out as soon as a property holds that it would break. Of the rest, the one that explains
    most of the failed properties wins; the order of the checks file decides a tie.
    """
    explains: list[tuple[Known, set[str]]] = []
    for known in oracle.misconceptions():
        shown, contradicted = set(), False
        for item in oracle.properties:
            answers = known.answers.get(item.name)
            if answers is None or item.difference(item.expected, answers) is None:
                continue  # here the misconception answers like the reference
            if item.name not in failed:
                contradicted = True
            elif _equal(item, answers, got[item.name]):
                shown.add(item.name)
        if shown and not contradicted:
            explains.append((known, shown))
    explains.sort(key=lambda pair: -len(pair[1]))
    return {name: next(k for k, s in explains if name in s) for name in failed if any(name in s for _, s in explains)}


def _equal(item: Property, expected: Drawn, got: Drawn) -> bool:
    if any(isinstance(answer, Raised) and answer.name == "NotImplementedError" for answer in got):
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


def _remarks(answers: Answers) -> list[str]:
    flat = [answer for draws in answers.values() for answer in draws]
    views = sorted({name for answer in flat for name in answer.views})
    remarks = []
    if views:
        names = ", ".join(f"`{name}`" for name in views)
        remarks.append(f"The result shares its memory with {names}: a change of one is a change of the other.")
    if any(answer.printed.strip() for answer in flat):
        remarks.append("What your code prints is not shown here.")
    warned = next((answer.warned[0] for answer in flat if answer.warned), None)
    return [*remarks, f"Your code warned: {warned}."] if warned else remarks
