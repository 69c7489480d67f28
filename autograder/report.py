"""What a student reads: one quiet line per property that holds, and a full answer for the first that does not."""

import html
import re
import textwrap
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from autograder.compare import Difference, show, size
from autograder.diagnosis import Judgment, Verdict
from autograder.plain import Array, Opaque, Plain
from autograder.running import Call

MIME = "application/vnd.autograder.report+json"
LINES = 12  # of a message, at most
INPUTS = 40  # numbers of an input that are worth reading
WIDTH = 100
LONG = 2_000  # characters of a line, which may hold a student's texts

UNSOLVED = {
    "missing": "is not solved yet",
    "not written": "is not solved yet",
    "not asked": "was not checked",
    "forbidden": "uses what it is to be solved without",
}  # what there is to say of the whole task
HINTS = {
    "missing": "Run the cell that defines it, and compare its name with the one in the task.",
    "not written": "Write your solution in place of `raise NotImplementedError()`, run that cell, then this one.",
    "not asked": "Restart the kernel and run all cells, from the first to the last, before you hand in.",
    "forbidden": "This task is to be solved without it, as its text says.",
    "raised": "Call your function with this input in a cell of your own, and read the error from its last line.",
    "timeout": "Which loop does not end, or takes one pass too many?",
    "none": "Does every path of the function end in `return`?",
    "type": "What type does the task ask for?",
    "length": "How many results does the task ask for, and in which order?",
    "keys": "Which names does the task give to the results?",
    "shape": "Write the shape of each intermediate result beside its line: which line is the first to differ?",
    "dtype": "Where in your code does the type change?",
    "not finite": "Which step overflows, divides by zero, or takes the logarithm of zero?",
    "value": "Compute this by hand, step by step: which intermediate number is the first to differ?",
    "text": "Compare the two texts character by character.",
    "changed": "Which line of your code writes into an argument?",
}
HIDDEN = "This property is checked on inputs that you do not see."
HIDDEN_HINTS = {
    "raised": "Your code raises an exception there: which inputs with this property would it not survive?",
    "value": "Choose a small input with this property, and compute by hand: which step is the first to differ?",
}
BOX = "margin:.3em 0;padding:.3em .8em;border-left:4px solid {color}"
LIST = "margin:.3em 0;padding-left:0;list-style:none"
INDENT = "margin:.2em 0 .5em 1.2em"
PRE = "white-space:pre-wrap;margin:.3em 0"
GREEN, ORANGE, GRAY = "#009E73", "#D55E00", "#888888"


@dataclass(frozen=True)
class Report:
    """A judgment made readable: text, HTML for notebooks, and data for programs.

    As the result of a graded cell its plain text is the number of points, which is what nbgrader's partial
    credit reads; people see the HTML.
    """

    judgment: Judgment
    graded: bool = False
    hidden_cases: int = 0  # how many are checked only when the sheet is graded
    note: str = ""

    def headline(self) -> str:
        """Returns one line: how many properties hold."""
        verdicts = self._shown()
        failure = self.judgment.first_failure
        if failure and (whole := UNSOLVED.get(_kind_of(failure))):
            line = f"{self.judgment.task} {whole}"
        else:
            line = f"{self.judgment.task}: {sum(v.holds for v in verdicts)} of {len(verdicts)} properties hold"
        if self.graded:
            return f"{line} · {self.judgment.points:g} of {self.judgment.max_points:g} points"
        return f"{line} · grading checks {self.hidden_cases} more" if self.hidden_cases else line

    def listing(self) -> str:
        """Returns the headline, a line for each property, and remarks, as plain text."""
        lines = [f"  {_mark(v)} {_title(v)}" for v in self._shown()]
        return "\n".join([self.headline(), *lines, *(f"  · {remark}" for remark in self._remarks())])

    def message(self) -> str:
        """Returns what the first failure was, in at most twelve lines; empty where everything holds."""
        failure = self.judgment.first_failure
        if failure is None:
            return ""
        body, hint = _explanation(failure)
        if _kind_of(failure) in UNSOLVED:
            return "\n".join([f"{self.judgment.task}: {' '.join(body)}", *hint])
        return "\n".join([f"{self.judgment.task} · {failure.property.title}", *hint, *body])

    def text(self) -> str:
        """Returns the whole report as plain text."""
        return f"{self.listing()}\n\n{self.message()}".rstrip()

    def listing_html(self) -> str:
        """Returns the listing as HTML that reads well on a light and on a dark page."""
        return self._html(explained=None)

    def html(self) -> str:
        """Returns the whole report as HTML: the listing, with the first failure explained where it stands."""
        return self._html(explained=self.judgment.first_failure)

    def _html(self, explained: Verdict | None) -> str:
        failure = self.judgment.first_failure
        color = GREEN if failure is None else GRAY if _untried(failure) else ORANGE
        shown = self._shown()
        items = [f"{_mark(v)} {_code(_title(v))}{_explained(v) if v is explained else ''}" for v in shown]
        items += [f"· {_code(remark)}" for remark in self._remarks()]
        listed = "".join(f"<li>{item}</li>" for item in items)
        head = f"<b>{_code(self.headline())}</b>"
        rest = _explained(explained) if explained and not any(v is explained for v in shown) else ""
        return f'<div style="{BOX.format(color=color)}">{head}<ul style="{LIST}">{listed}</ul>{rest}</div>'

    def data(self) -> dict[str, Any]:
        """Returns the verdicts for programs (a gradebook, statistics): no inputs and no answers of hidden cases."""
        failure = self.judgment.first_failure
        kind = _kind_of(failure) if failure else ""
        return {
            "task": self.judgment.task,
            "points": self.judgment.points,
            "max_points": self.judgment.max_points,
            "unsolved": kind if kind in UNSOLVED else "",
            "properties": [
                {"name": v.property.name, "title": v.property.title, "hidden": v.property.hidden, "holds": v.holds}
                for v in self._shown()
            ],
            "misconceptions": [{"name": k.name, "sentences": k.sentences} for k in self.judgment.misconceptions],
            "message": self.message(),
        }

    def failures(self) -> list[str]:
        """Returns every failure with what was expected, what came, and the inputs, of hidden cases too.

        For whoever grades: a student must not read it.
        """
        failed = [v for v in self._shown() if v.difference and _kind_of(v) not in UNSOLVED]
        open_ones = [(v, replace(v, property=replace(v.property, hidden=False))) for v in failed]
        return ["\n".join([_title(v), *_explanation(shown)[0]]) for v, shown in open_ones]

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        result = repr(float(self.judgment.points)) if self.graded else self.text()
        return {"text/plain": result, "text/html": self.html(), MIME: self.data()}

    def _shown(self) -> list[Verdict]:
        """Returns the verdicts that are news: unchanged inputs are mentioned only where they did change."""
        return [v for v in self.judgment.verdicts if v.property.weight or _kind_of(v) == "changed"]

    def _remarks(self) -> list[str]:
        return [*([self.note] if self.note else []), *map(_printable, self.judgment.remarks)]


def _kind_of(verdict: Verdict) -> str:
    return verdict.difference.kind if verdict.difference else ""


def _untried(verdict: Verdict) -> bool:
    """Returns whether there was nothing to check yet, which is no mistake."""
    return _kind_of(verdict) in UNSOLVED and _kind_of(verdict) != "forbidden"


def _mark(verdict: Verdict) -> str:
    return "✓" if verdict.holds else "○" if _untried(verdict) else "✗"


def _explained(verdict: Verdict) -> str:
    """Returns the explanation of a failure as HTML, to stand below its line; only values are preformatted."""
    body, hint = _explanation(verdict)
    advice, sentence = f"<b>{_code(' '.join(hint))}</b>", _code(" ".join(body))
    if _kind_of(verdict) in UNSOLVED:
        said = f"{sentence}<br>{advice}"
    elif verdict.property.hidden or _kind_of(verdict) == "changed":
        said = f"{advice}<br>{sentence}"
    else:
        said = f'{advice}<pre style="{PRE}">{html.escape(chr(10).join(body))}</pre>'
    return f'<div style="{INDENT}">{said}</div>'


def _code(text: str) -> str:
    """Returns `text` as HTML, with what stands between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def _title(verdict: Verdict) -> str:
    return f"{verdict.property.title} (hidden)" if verdict.property.hidden else verdict.property.title


def _explanation(verdict: Verdict) -> tuple[list[str], list[str]]:
    """Returns the lines of a failure, at most twelve with its title: what was seen, and the hint."""
    difference = verdict.difference
    assert difference is not None  # a failure has one
    hint = textwrap.wrap(_hint(verdict, difference), WIDTH)
    if difference.kind in UNSOLVED:  # of a hidden case, too: it tells nothing of its inputs
        return _fitted([difference.got], hint)
    if verdict.property.hidden:
        return _fitted([HIDDEN], hint)
    if difference.kind == "changed":
        return _fitted([difference.got], hint)
    values = [*_block("expected", difference.expected), *_block("got", difference.got)]
    room = LINES - 1 - len(values) - len(hint)
    return _fitted([*values, *_inputs(verdict.calls, room)], hint)


def _fitted(body: list[str], hint: list[str]) -> tuple[list[str], list[str]]:
    """Returns both cut to what a message has room for."""
    hint = hint[: LINES - 2]
    lines = [line[:LONG] for line in _printable("\n".join(body)).splitlines()]
    return lines[: LINES - 1 - len(hint)], hint


def _printable(text: str) -> str:
    """Returns `text` without half characters that no terminal can show, and those that would command it."""
    return "".join(
        c.encode("unicode_escape").decode() if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs") else c
        for c in text
    )


def _hint(verdict: Verdict, difference: Difference) -> str:
    if verdict.misconception:
        return verdict.misconception.sentences
    hints = HINTS | HIDDEN_HINTS if verdict.property.hidden else HINTS
    kind = difference.kind
    if kind == "raised" and difference.got.startswith("the exception NotImplementedError"):
        kind = "not written"  # one of the task's functions, while others are solved
    generic = hints.get(kind, hints["value"])
    if verdict.property.hidden or not difference.remark:
        return generic
    return f"{difference.remark} {generic}" if difference.remark not in generic else generic


def _block(label: str, text: str) -> list[str]:
    first, *rest = text.splitlines() or [""]
    return [f"  {label:<9} {first}", *(f"  {'':<9} {line}" for line in rest)]


def _inputs(calls: list[Call], room: int) -> list[str]:
    """Returns the inputs that show the failure, as far as they are small enough to be read and there is room."""
    data: dict[str, Plain] = {}
    for call in calls:  # a case may go forward and then backward: of each name, what came first
        new = {name: value for name, value in call.arguments.items() if not isinstance(value, Opaque)}
        data |= {name: value for name, value in new.items() if name not in data}
    lines = [line for name, value in data.items() for line in _argument(name, value).splitlines()]
    shown = [f"  {'for' if i == 0 else '':<9} {line}" for i, line in enumerate(lines)]
    if len(shown) > room:
        short = ", ".join(f"{name}: {_kind(value)}" for name, value in data.items())
        shown = [f"  {'for':<9} {calls[0].function}({short})"]
    return shown if len(shown) <= room else []


def _argument(name: str, value: Plain) -> str:
    text = _kind(value) if size(value) > INPUTS else _each(_flat, value)
    if len(name) + len(text) >= WIDTH - len("  expected  x = ") and size(value) <= INPUTS:
        if isinstance(value, list):
            return "\n".join(_argument(f"{name}[{i}]", item) for i, item in enumerate(value))
        text = show(value)
    indent = " " * (len(name) + 3)
    return f"{name} = " + text.replace("\n", f"\n{indent}")


def _each(text: Callable[[Plain], str], value: Plain) -> str:
    return "(" + ", ".join(text(item) for item in value) + ")" if isinstance(value, list) else text(value)


def _flat(value: Plain) -> str:
    """Returns the text for a value, an array on one line."""
    return " ".join(show(value).split()).replace("[ ", "[") if isinstance(value, Array) else show(value)


def _kind(value: Plain) -> str:
    if isinstance(value, list):
        return "(" + ", ".join(_kind(item) for item in value[:4]) + (", …)" if len(value) > 4 else ")")
    if isinstance(value, Array) and value.values.ndim:
        return f"an array of shape {value.values.shape}"
    return show(value)
