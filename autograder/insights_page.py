"""A class's insights as one page of HTML that needs nothing else, and as JSON with the same numbers.

The keys of the JSON are the fields of `insights.Insights`, below which each dataclass there says what its fields
mean, and three more:

    format           1; it grows when a key changes its meaning or goes
    made             when, in ISO 8601, with the offset from UTC
    module, anonymous
    attendance       with_work, missing, untouched, ungraded: students; unreadable: objects of student and notes;
                     who is missing or untouched has not started
    scores           mean, lowest, lower_quartile, median, upper_quartile, highest, counts; null without any score
    tasks            name, sheet, points, by_hand, counts, graded, outcomes, difficulty, discrimination, undefined,
                     nobody_passed, nobody_failed, unsolved, unexplained, properties (title, hidden, holds, of)
    misconceptions   task, name, sentences, count, of, share, students
    students         student, score, shares, outcomes, notes; best first
    definitions      what each number means, in the sentences of the page

Shares and scores are from 0 to 1. What is not defined is null. An anonymous page, for showing it in class, has no
ids and no notes: lists of students keep their lengths and hold empty texts. In a class of a few, who knows part of it
can still guess the rest.
"""

import base64
import html
import json
import math
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path

from autograder import figures, insights
from autograder.files import write_all
from autograder.insights import BINS, FEWEST, PARTIAL, WAITING, Insights, Scores, Standing, TaskInsight

FORMAT = 1
TEMPLATES = Path(__file__).with_name("templates") / "insights"
SMALL = 10  # students, of whom one moves a share by a tenth
LOW = 0.5  # of the points: who has less is named
OFTEN, COMMON = 2, 0.1  # a misconception to teach against: students, and share of the class
BAD = -0.1  # a discrimination from which on it is called negative: nearer to 0, there is none either way
TOP = 3  # misconceptions and tasks in the summary
MOST = 10  # rows of a table before it is folded or cut
FEW = 4  # names that stand in a line
LONG = 40  # students, from which on the table is longer than a screen, and an overview stands above it
TINTS = 3  # of what earned some points
DEFINITIONS = {
    "students counted": "Each number is about the students whose submission is graded and holds some work; who handed "
    "in nothing, an untouched sheet, or a file in which no work was found changes no number.",
    "share": "The share of a task is the part of its points that a student earned, from 0 to 100 %; extra credit and "
    "late penalties do not count here.",
    "score": "The score of a student is the share of the points of all tasks, without those that still wait for a "
    "person to grade them.",
    "median and quartiles": "Half of the students score at most the median, a quarter at most the lower quartile, and "
    "three quarters at most the upper quartile (interpolated between neighbors).",
    "outcome": "A student has all points of a task, some, or none; not written means that the task is as it was "
    "released, and waiting that nobody has graded it yet.",
    "difficulty": "The difficulty of a task is the mean of its shares: a low one is a hard task, and what was not "
    "written counts as 0.",
    "discrimination": "The discrimination of a task is the correlation (Pearson's r) of its share with the share of "
    "the points of all other tasks: near 1, who does well elsewhere does well here; below 0, the task may be broken; "
    f"it is not defined for fewer than {FEWEST} students or where either share is the same for all.",
    "chance": "Without any connection, r lies between −1.96/√(n−1) and 1.96/√(n−1) in about 19 of 20 "
    "classes of n students.",
    "nobody passed, nobody failed": "Nobody passed means that no student has all points of the task, nobody failed "
    "that every student has, when all of them are graded.",
    "recognized misconception": "A misconception is recognized where a student's answers equal those of a known wrong "
    "solution; its share is of the students whose verdict on the task is stored.",
    "property": "A property is what one check of a task verifies; how often it holds is counted among the students "
    "whose solution could be asked.",
}


@dataclass(frozen=True)
class Remark:
    """What is remarkable in a task, in a few words; urgent where somebody should look at it."""

    text: str
    urgent: bool = False


@dataclass(frozen=True)
class Block:
    """Students next to each other in the overview whose cell of one task looks the same."""

    column: int
    row: int
    rows: int
    look: str


def run(root: Path, module: str, into: Path | None = None, anonymous: bool = False) -> int:
    """Writes the page and the JSON of a module's class into the folder `into`, and says where they lie.

    Returns the exit status. Raises CourseError where nothing is graded or the files cannot be written.
    """
    found = insights.read(root, module)
    if anonymous:
        found = found.without_names()
    made = datetime.now().astimezone()
    place = (into or root / "reports") / (f"{module}_anonymous" if anonymous else module)
    paths = [place.with_name(f"{place.name}.{kind}") for kind in ("html", "json")]
    write_all(dict(zip(paths, [page(found, made), data(found, made)], strict=True)))
    print(f"Report on {_times(len(found.students), 'student')}: {paths[0]}")
    print(f"The same numbers as JSON: {paths[1]}")
    return 0


def data(found: Insights, made: datetime) -> str:
    """Returns the JSON text."""
    about = {"format": FORMAT, "made": made.isoformat(timespec="seconds")}
    whole = {**about, **asdict(found), "definitions": DEFINITIONS}
    return json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def page(found: Insights, made: datetime) -> str:
    """Returns the text of the page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def code(text: str) -> Markup:
        """Returns the text with what stands between backticks as code."""
        return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text)))

    loader = FileSystemLoader(TEMPLATES)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": _percent, "points": _points, "signed": _signed, "times": _times}
    environment.filters |= {"code": code, "fitting": _fitting, "look": _look}
    template = environment.get_template("page.html.j2")
    return template.render(found=found, made=made, definitions=DEFINITIONS, **_selected(found))


def _selected(found: Insights) -> dict[str, object]:
    """Returns what the page chooses from the insights."""
    defined = [task for task in found.tasks if task.difficulty is not None]
    falling = sorted(
        ((task, each) for task in found.tasks for each in task.properties if each.holds < each.of),
        key=lambda pair: pair[1].holds / pair[1].of,
    )
    low = [each for each in reversed(found.students) if each.score is not None and each.score < LOW]
    return {
        "common": [m for m in found.misconceptions if m.count >= OFTEN and m.share >= COMMON][:TOP],
        "hardest": sorted(defined, key=lambda task: task.difficulty or 0)[:TOP],
        "suspects": [task for task in found.tasks if (task.discrimination or 0) < BAD],
        "passed_by_none": [task for task in found.tasks if task.nobody_passed],
        "failed_by_none": [task for task in found.tasks if task.nobody_failed],
        "open_tasks": [task for task in found.tasks if task.outcomes[WAITING]],
        "low": low,
        "noted": [each for each in found.students if each.notes],
        "properties": falling[:MOST],
        "sheets": [(sheet, list(tasks)) for sheet, tasks in groupby(found.tasks, key=lambda task: task.sheet)],
        "remarks": {task.name: _remarks(task) for task in found.tasks},
        "numbers": {task.name: number for number, task in enumerate(found.tasks, 1)},
        "histogram": _histogram(found.scores) if found.scores else None,
        "blocks": list(_blocks(found)) if len(found.students) > LONG else [],
        "to_see": _to_see(found, len(low)),
        "chance": _chance,
        "small": len(found.students) < SMALL,
        "most": MOST,
        "few": FEW,
        "long": LONG,
    }


def _remarks(task: TaskInsight) -> list[Remark]:
    made = []
    if task.nobody_passed:
        made.append(Remark("nobody passed", urgent=True))
    if task.nobody_failed:
        made.append(Remark("nobody failed"))
    if task.discrimination is not None and task.discrimination < BAD:
        made.append(Remark("negative discrimination", urgent=task.discrimination < -_chance(task)))
    said = {
        "forbidden": "used what is forbidden",
        "missing": "did not define it",
        "not asked": "not reached: the notebook stopped before",
    }
    made += [Remark(f"{task.unsolved[kind]} {words}") for kind, words in said.items() if kind in task.unsolved]
    if task.unexplained:
        made.append(Remark(f"{task.unexplained} with unrecognized mistakes"))
    if task.outcomes[WAITING]:
        made.append(Remark(f"{task.outcomes[WAITING]} to grade by hand" if task.by_hand else "graded before it came"))
    return made


def _to_see(found: Insights, low: int) -> list[str]:
    """Returns how many students there are to see, and why; of what there is none, nothing is said."""
    present = found.attendance
    said = {
        f"scored below {_percent(LOW)}": low,
        "did not start (nothing handed in)": len(present.missing),
        "did not start (an untouched sheet)": len(present.untouched),
        "handed in a file in which no work was found": len(present.unreadable),
    }
    return [f"{_times(count, 'student')} {words}" for words, count in said.items() if count]


def _chance(task: TaskInsight) -> float:
    """Returns how far from 0 a correlation lies by chance, in 19 of 20 classes: its variance is 1 / (n − 1)."""
    return 1.96 / math.sqrt(task.graded - 1)


def _percent(share: float) -> str:
    """Returns a share in percent; what is not all or nothing is not rounded to it."""
    percent = str(round(100 * share))
    if percent == "0" and share > 0:
        percent = "<1"
    elif percent == "100" and share < 1:
        percent = ">99"
    return f"{percent}\N{NO-BREAK SPACE}%"


def _points(points: float) -> str:
    return f"{points:g}\N{NO-BREAK SPACE}point{'' if points == 1 else 's'}"


def _signed(number: float) -> str:
    return f"{number:+.2f}".replace("-", "\N{MINUS SIGN}")


def _times(count: int, noun: str) -> str:
    return f"{count}\N{NO-BREAK SPACE}{noun}{'' if count == 1 else 's'}"


def _fitting(count: int, total: int) -> str:
    """Returns the number that stands in a part of a bar, nothing where the part is too narrow for it."""
    return str(count) if count / total > 0.04 * len(str(count)) else ""


def _look(standing: Standing, task: str) -> str:
    """Returns the class that a cell has in the style sheet: its outcome, with a tint for some points."""
    outcome, share = standing.outcomes[task], standing.shares[task]
    if outcome != PARTIAL or share is None:
        return outcome.replace(" ", "-")
    return f"some-{math.ceil(share * TINTS)}"


def _blocks(found: Insights) -> Iterator[Block]:
    """Yields the overview, column by column, as few rectangles as it takes."""
    for column, task in enumerate(found.tasks):
        row = 0
        for look, alike in groupby(_look(standing, task.name) for standing in found.students):
            rows = len(list(alike))
            yield Block(column, row, rows, look)
            row += rows


def _histogram(scores: Scores) -> dict[str, str]:
    """Returns the address of a picture that is part of the page, and its alt text."""
    from matplotlib.figure import Figure
    from matplotlib.style import context

    labels = [f"{100 * index // BINS}–{100 * (index + 1) // BINS}" for index in range(BINS)] + ["all"]
    with context(figures.STYLE):
        figure = Figure(figsize=(7, 2.6))
        axes = figure.subplots()
        bars = axes.bar(range(len(labels)), scores.counts, width=0.9)
        axes.bar_label(bars, [str(count) if count else "" for count in scores.counts], padding=2)
        axes.set_xticks(range(len(labels)), labels)
        axes.tick_params(bottom=False, left=False, labelleft=False)
        axes.spines["left"].set_visible(False)
        axes.margins(x=0.01, y=0.15)
        axes.set_xlabel("score in percent of the points")
        alt = _histogram_alt(scores)
        picture = figures.svg(figure, alt)
    return {"alt": alt, "address": f"data:{figures.SVG};base64,{base64.b64encode(picture.encode()).decode()}"}


def _histogram_alt(scores: Scores) -> str:
    parts = [
        f"{count} from {100 * index // BINS} to {100 * (index + 1) // BINS} %"
        for index, count in enumerate(scores.counts[:BINS])
        if count
    ]
    parts += [f"{scores.counts[BINS]} with all points"] if scores.counts[BINS] else []
    return f"Bar chart of the scores of {sum(scores.counts)} students: {', '.join(parts)}."
