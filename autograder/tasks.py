"""What an author declares: a sheet's tasks, their cases, accepted variants and misconceptions.

A checks file reads

    sheet = Sheet("backprop")
    affine_backward = sheet.task("affine_backward", points=3)

    @affine_backward.case("the gradient of the bias adds up over the batch")
    def bias_adds_up(affine_backward, rng): ...          # returns plain data, asserts nothing

    @affine_backward.accepts("einsum instead of transposes")
    def with_einsum(dout, cache): ...

    @affine_backward.misconception("How many examples does each bias act on?")
    def bias_of_one_example(dout, cache): ...

Nothing runs here; `running` asks the questions and `diagnosis` judges the answers.
"""

import inspect
import keyword
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from autograder.compare import Tolerance
from autograder.errors import CourseError

F = TypeVar("F", bound=Callable[..., Any])

UNCHANGED = "inputs_unchanged"
UNCHANGED_TITLE = "the inputs are left as they were"


@dataclass(frozen=True)
class Case:
    """One property: exercises the student's objects and returns plain data."""

    name: str
    title: str
    run: Callable[..., Any]
    hidden: bool = False
    weight: float = 1.0
    draws: int = 3
    limit: float = 5.0  # seconds for one draw; a case should need milliseconds
    tolerance: Tolerance | None = None

    @property
    def needs(self) -> list[str]:
        """The names of the student's objects that the case takes."""
        return [name for name in inspect.signature(self.run).parameters if name != "rng"]


@dataclass(frozen=True)
class Edit:
    """One change in the text of the reference solution."""

    old: str
    new: str


@dataclass(frozen=True)
class Solution:
    """Another solution of a task, right or wrong: a replaced object, or an edit of the reference's text.

    `text` is a title for an accepted variant, and the sentences a student reads for a misconception.
    """

    name: str
    text: str
    replaces: str = ""
    replacement: Any = None
    edit: Edit | None = None
    hidden_only: bool = False


@dataclass
class Task:
    """What a student must write, what it is worth, and how it is checked."""

    name: str
    points: float
    objects: tuple[str, ...]
    may_change_inputs: bool = False
    forbids: tuple[str, ...] = ()  # dotted names of functions, classes and modules that must not be used
    cases: list[Case] = field(default_factory=list)
    variants: list[Solution] = field(default_factory=list)
    misconceptions: list[Solution] = field(default_factory=list)
    taken: dict[str, str] = field(default_factory=lambda: {UNCHANGED: "every task"})  # names of the sheet's cases

    def case(
        self,
        title: str,
        *,
        hidden: bool = False,
        weight: float = 1.0,
        draws: int = 3,
        limit: float = 5.0,
        rtol: float | None = None,
        atol: float | None = None,
        because: str | None = None,
    ) -> Callable[[F], F]:
        """Adds the decorated function as a case. A tolerance of your own needs its reason in `because`."""
        tolerance = None
        if rtol is not None or atol is not None:
            if not because:
                raise CourseError(f"{self.name}: the case “{title}” sets a tolerance; say why in `because`.")
            tolerance = Tolerance(rtol or 0.0, atol or 0.0, because)

        def add(function: F) -> F:
            case = Case(function.__name__, title, function, hidden, weight, draws, limit, tolerance)
            unknown = sorted(set(case.needs) - set(self.objects))
            if unknown:
                raise CourseError(
                    f"{self.name}: the case `{case.name}` asks for {', '.join(unknown)}, "
                    f"but the task has only {', '.join(self.objects)} (and rng)."
                )
            self._must_be_new(case.name, {**self.taken, **{s.name: self.name for s in self._solutions}})
            self.taken[case.name] = self.name
            self.cases.append(case)
            return function

        return add

    def accepts(self, title: str, *, replaces: str | None = None) -> Callable[[F], F]:
        """Adds the decorated function or class as another correct solution."""
        return self._replacing(self.variants, title, replaces, False)

    def misconception(
        self, sentences: str, *, replaces: str | None = None, hidden_only: bool = False
    ) -> Callable[[F], F]:
        """Adds the decorated function or class as a known mistake; its name is the mistake's."""
        return self._replacing(self.misconceptions, sentences, replaces, hidden_only)

    def restyle(self, name: str, title: str, *, right: str, other: str) -> None:
        """Adds the reference with the text `right` replaced by `other` as another correct solution."""
        self._add(self.variants, Solution(name, title, edit=Edit(right, other)))

    def slip(self, name: str, sentences: str, *, right: str, wrong: str, hidden_only: bool = False) -> None:
        """Adds the reference with the text `right` replaced by `wrong` as a known mistake."""
        self._add(self.misconceptions, Solution(name, sentences, edit=Edit(right, wrong), hidden_only=hidden_only))

    def _replacing(
        self, solutions: list[Solution], text: str, replaces: str | None, hidden_only: bool
    ) -> Callable[[F], F]:
        target = replaces or self.objects[0]
        if replaces is None and len(self.objects) > 1:
            raise CourseError(f"{self.name}: it has several objects, so say which one “{text}” replaces.")
        if target not in self.objects:
            raise CourseError(f"{self.name}: “{text}” replaces {target}, which is not one of its objects.")

        def add(replacement: F) -> F:
            self._add(solutions, Solution(replacement.__name__, text, target, replacement, hidden_only=hidden_only))
            return replacement

        return add

    @property
    def _solutions(self) -> list[Solution]:
        return [*self.variants, *self.misconceptions]

    def _add(self, solutions: list[Solution], solution: Solution) -> None:
        self._must_be_new(solution.name, {**self.taken, **{s.name: self.name for s in self._solutions}})
        solutions.append(solution)

    def _must_be_new(self, name: str, taken: dict[str, str]) -> None:
        """A case is found by its name among those of the whole sheet, a solution among those of its task."""
        if name in taken:
            raise CourseError(f"{self.name}: {name} is already the name of something in {taken[name]}; choose another.")


@dataclass(frozen=True)
class Written:
    """A question answered in words and graded by hand: criteria with points."""

    name: str
    rubric: list[tuple[str, float]]

    @property
    def points(self) -> float:
        return sum(points for _, points in self.rubric)


class Sheet:
    """The tasks and written questions of one sheet, in the order of their declaration.

    `files` are the patterns of the files, such as "*.csv", that a student may hand in beside the notebook; the sheet
    finds them in its folder when it is graded.
    """

    def __init__(self, name: str, *, files: Iterable[str] = ()) -> None:
        self.name = name
        self.files = tuple(files)
        for pattern in self.files:
            if not pattern.strip("*?") or any(sign in pattern for sign in "/\\"):
                raise CourseError(f"{name}: the files {pattern!r} are not a name with wildcards, such as '*.csv'.")
        self.tasks: dict[str, Task] = {}
        self.questions: dict[str, Written] = {}

    def task(
        self,
        name: str,
        *,
        points: float,
        objects: Iterable[str] | None = None,
        may_change_inputs: bool = False,
        forbids: Iterable[str] = (),
    ) -> Task:
        """Adds and returns a task; its objects are what the student defines, by default one of the task's name.

        `forbids` are dotted names of functions, classes or modules, such as "torch.nn.functional.conv2d" or "scipy",
        that earn nothing if the student's code uses them; the text must say so.
        """
        self._must_be_new(name)
        if points <= 0:
            raise CourseError(f"{self.name}: the task {name} needs more than 0 points.")
        taken = next((task.taken for task in self.tasks.values()), {UNCHANGED: "every task"})
        forbidden = self._dotted(name, forbids)
        self.tasks[name] = Task(name, points, tuple(objects or (name,)), may_change_inputs, forbidden, taken=taken)
        return self.tasks[name]

    def _dotted(self, name: str, forbids: Iterable[str]) -> tuple[str, ...]:
        names = (forbids,) if isinstance(forbids, str) else tuple(forbids)
        for one in names:
            parts = one.split(".") if isinstance(one, str) and not isinstance(forbids, str) else [""]
            if not all(part.isidentifier() and not keyword.iskeyword(part) for part in parts):
                raise CourseError(
                    f"{self.name}: {name} forbids {one!r}; "
                    'write a tuple of dotted names, as in forbids=("torch.nn.functional.conv2d",).'
                )
        return tuple(dict.fromkeys(names))

    def written(self, name: str, *, rubric: list[tuple[str, float]], points: float | None = None) -> Written:
        """Adds and returns a written question; `points`, where given, must be the sum over the rubric."""
        self._must_be_new(name)
        question = Written(name, rubric)
        if points is not None and points != question.points:
            raise CourseError(f"{self.name}: {name} has {points:g} points but a rubric of {question.points:g}.")
        self.questions[name] = question
        return question

    def _must_be_new(self, name: str) -> None:
        if name in self.tasks or name in self.questions:
            raise CourseError(f"{self.name}: two tasks are called {name}; give each a name of its own.")
