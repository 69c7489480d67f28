"""What a student reads: one quiet line per property that holds, and a full answer for the first that does not."""

import html
import textwrap
from dataclasses import dataclass
from typing import Any

from autograder.compare import Difference, show, size
from autograder.diagnosis import Judgement, Verdict
from autograder.plain import Array, Plain
from autograder.running import Call

MIME = "application/vnd.autograder.report+json"
LINES = 12  # of a message, at most
INPUTS = 40  # numbers of an input that are worth reading
WIDTH = 100

HINTS = {
    "missing": "Run the cell that defines it, and compare its name with the one in the task.",
    "not written": "Write your solution in place of `raise NotImplementedError()`, run that cell, then this one.",
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


@dataclass(frozen=True)
class Report:
    """A judgement made readable: text, HTML for notebooks, and data for programs.

    As the result of a graded cell its plain text is the number of points, which is what nbgrader's partial
    credit reads; people see the HTML.
    """

    judgement: Judgement
    graded: bool = False
    hidden_cases: int = 0  # how many are checked only when the sheet is graded
    note: str = ""

    def headline(self) -> str:
        """Returns one line: how many properties hold."""
        verdicts = self._shown()
        line = f"{self.judgement.task}: {sum(v.holds for v in verdicts)} of {len(verdicts)} properties hold"
        if self.graded:
            return f"{line} · {self.judgement.points:g} of {self.judgement.max_points:g} points"
        more = self.hidden_cases
        return f"{line} · {more} more {'is' if more == 1 else 'are'} checked when it is graded" if more else line

    def listing(self) -> str:
        """Returns the headline, a line for each property, and remarks, as plain text."""
        lines = [f"  {_mark(v)} {_title(v)}" for v in self._shown()]
        return "\n".join([self.headline(), *lines, *(f"  · {remark}" for remark in self._remarks())])

    def message(self) -> str:
        """Returns what the first failure was, in at most twelve lines; empty where everything holds."""
        failure = self.judgement.first_failure
        if failure is None:
            return ""
        body, hint = _explanation(failure)
        return "\n".join([f"{self.judgement.task} · {failure.property.title}", *body, *hint])

    def text(self) -> str:
        """Returns the whole report as plain text."""
        return f"{self.listing()}\n\n{self.message()}".rstrip()

    def listing_html(self) -> str:
        """Returns the listing as HTML that reads well on a light and on a dark page."""
        color = "#009E73" if all(v.holds for v in self.judgement.verdicts) else "#D55E00"
        items = [f"<li>{_mark(v)} {html.escape(_title(v))}</li>" for v in self._shown()]
        items += [f"<li>· {html.escape(remark)}</li>" for remark in self._remarks()]
        head = f"<b>{html.escape(self.headline())}</b>"
        return f'<div style="{BOX.format(color=color)}">{head}<ul style="{LIST}">{"".join(items)}</ul></div>'

    def html(self) -> str:
        """Returns the whole report as HTML."""
        failure = self.judgement.first_failure
        if failure is None:
            return self.listing_html()
        body, hint = _explanation(failure)
        parts = [f"<p><b>{html.escape(failure.property.title)}</b></p>"]
        parts += [f'<pre style="white-space:pre-wrap">{html.escape(chr(10).join(body))}</pre>'] if body else []
        return self.listing_html() + "".join([*parts, f"<p>{html.escape(' '.join(hint))}</p>"])

    def data(self) -> dict[str, Any]:
        """Returns the verdicts for programs (a gradebook, statistics): no inputs and no answers of hidden cases."""
        return {
            "task": self.judgement.task,
            "points": self.judgement.points,
            "max_points": self.judgement.max_points,
            "properties": [
                {"name": v.property.name, "title": v.property.title, "hidden": v.property.hidden, "holds": v.holds}
                for v in self.judgement.verdicts
            ],
            "misconceptions": [{"name": k.name, "sentences": k.sentences} for k in self.judgement.misconceptions],
            "message": self.message(),
        }

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        result = repr(float(self.judgement.points)) if self.graded else self.text()
        return {"text/plain": result, "text/html": self.html(), MIME: self.data()}

    def _shown(self) -> list[Verdict]:
        """Returns the verdicts that are news: what earns nothing is mentioned only where it fails."""
        return [v for v in self.judgement.verdicts if v.property.weight or not v.holds]

    def _remarks(self) -> list[str]:
        return [*([self.note] if self.note else []), *self.judgement.remarks]


def _mark(verdict: Verdict) -> str:
    return "✓" if verdict.holds else "✗"


def _title(verdict: Verdict) -> str:
    return f"{verdict.property.title} (hidden)" if verdict.property.hidden else verdict.property.title


def _explanation(verdict: Verdict) -> tuple[list[str], list[str]]:
    """Returns the lines of a failure, at most twelve with its title: what was seen, and the hint."""
    difference = verdict.difference
    assert difference is not None  # a failure has one
    hint = textwrap.wrap(_hint(verdict, difference), WIDTH)
    if verdict.property.hidden:
        return _fitted([HIDDEN], hint)
    if difference.kind in ("missing", "not written", "changed"):
        return _fitted([difference.got], hint)
    values = [*_block("expected", difference.expected), *_block("got", difference.got)]
    room = LINES - 1 - len(values) - len(hint)
    return _fitted([*values, *_inputs(verdict.calls, room)], hint)


def _fitted(body: list[str], hint: list[str]) -> tuple[list[str], list[str]]:
    """Returns both cut to what a message has room for, without half characters that no terminal can show."""
    hint = hint[: LINES - 2]
    lines = "\n".join(body).encode("utf-8", "backslashreplace").decode().splitlines()
    return lines[: LINES - 1 - len(hint)], hint


def _hint(verdict: Verdict, difference: Difference) -> str:
    if verdict.misconception:
        return verdict.misconception.sentences
    hints = HINTS | HIDDEN_HINTS if verdict.property.hidden else HINTS
    generic = hints.get(difference.kind, hints["value"])
    if verdict.property.hidden or not difference.remark:
        return generic
    return f"{difference.remark} {generic}" if difference.remark not in generic else generic


def _block(label: str, text: str) -> list[str]:
    first, *rest = text.splitlines() or [""]
    return [f"  {label:<9} {first}", *(f"  {'':<9} {line}" for line in rest)]


def _inputs(calls: list[Call], room: int) -> list[str]:
    """Returns the call that shows the failure, as far as it is small enough to be read and there is room."""
    if not calls:
        return []
    call = calls[0]
    lines = [line for name, value in call.arguments.items() for line in _argument(name, value).splitlines()]
    shown = [f"  {'for' if i == 0 else '':<9} {line}" for i, line in enumerate(lines)]
    if len(shown) > room:
        short = ", ".join(f"{name}: {_kind(value)}" for name, value in call.arguments.items())
        shown = [f"  {'for':<9} {call.function}({short})"]
    return shown if len(shown) <= room else []


def _argument(name: str, value: Plain) -> str:
    text = show(value) if not isinstance(value, list) else "(" + ", ".join(show(v) for v in value) + ")"
    if size(value) > INPUTS:
        text = _kind(value)
    indent = " " * (len(name) + 3)
    return f"{name} = " + text.replace("\n", f"\n{indent}")


def _kind(value: Plain) -> str:
    if isinstance(value, list):
        return "(" + ", ".join(_kind(item) for item in value[:4]) + (", …)" if len(value) > 4 else ")")
    if isinstance(value, Array) and value.values.ndim:
        return f"an array of shape {value.values.shape}"
    return show(value)
