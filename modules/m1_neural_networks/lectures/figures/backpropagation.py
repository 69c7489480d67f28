"""Drawings for the lecture on backpropagation. A graph is a list of steps (node, kind, parents), parents first."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch

Step = tuple[str, str, tuple[str, ...]]
Message = tuple[str, str, float]  # sender, receiver, number
Place = tuple[float, float]

POSITIVE, NEGATIVE, ZERO, FORWARD = "#B54E00", "#0072B2", "#777777", "#555555"
SIGNS = {"multiply": "×", "add": "+", "subtract": "−", "relu": "relu", "square": "( )²"}

# in units of the drawing, of which about seven fill the width and four the height
COLUMN, HEIGHT, RADIUS = 1.25, 2.8, 0.31
BELOW = RADIUS + 0.15  # from a node's center to its gradient


@dataclass(frozen=True)
class Backward:
    """A backward pass to draw: the gradient at each node, and the messages in the order in which they were sent."""

    gradient: Mapping[str, float]
    messages: Sequence[Message]


def graph(
    steps: Sequence[Step],
    value: Mapping[str, float],
    backward: Backward | None = None,
    hidden: Collection[str] = (),
) -> Figure:
    """Returns a graph with its values and the arrows of the forward pass, or with messages and gradients instead.

    `hidden` names inputs, such as labels, that stand beside the sign of their step instead of in a node of their own.
    """
    fig, ax = plt.subplots()
    place = layout(steps, hidden)
    if backward is None:
        _draw_forward(ax, steps, place)
    else:
        _draw_backward(ax, backward, place)
    signs = {name: _sign(kind, parents, value, hidden) for name, kind, parents in steps}
    for name, (x, y) in place.items():
        _draw_node(ax, (x, y), f"{name}\n{short(value[name])}", signs.get(name))
    columns, rows = zip(*place.values(), strict=True)
    ax.set(xlim=(min(columns) - 0.5, max(columns) + 0.5), ylim=(min(rows) - 0.65, max(rows) + 0.6))
    ax.set_aspect("equal")
    ax.set_axis_off()
    return fig


def graph_alt(
    steps: Sequence[Step],
    value: Mapping[str, float],
    backward: Backward | None = None,
    hidden: Collection[str] = (),
) -> str:
    """Returns the alt text of `graph`: the flow in order, forward or backward."""
    if backward is None:
        flow = (
            f"{' and '.join(parents)} enter {kind}, which gives {name} = {short(value[name])}"
            for name, kind, parents in steps
        )
        return f"Computational graph, from left to right: {'; '.join(flow)}."
    seen = [message for message in backward.messages if message[1] not in hidden]
    sent = (f"{sender} sends {short(number)} to {receiver}" for sender, receiver, number in seen)
    inner = {*hidden, *(name for name, _, _ in steps)}
    sums = (f"{name} {short(backward.gradient[name])}" for name in value if name not in inner)
    return (
        f"Computational graph with its messages, from right to left: {', '.join(sent)}. "
        f"The gradients at the inputs are {', '.join(sums)}."
    )


def layout(steps: Sequence[Step], hidden: Collection[str] = ()) -> dict[str, Place]:
    """Returns the place of each node: its column is its longest path, an input stands right before its first use.

    Within a column, the nodes stand in the order in which the steps name them, centered.
    """
    column: dict[str, int] = {}
    for name, _, parents in steps:
        column[name] = 1 + max(column.get(parent, 0) for parent in parents)
    made = set(column)
    for name, _, parents in steps:
        for parent in set(parents) - made:
            column[parent] = min(column[name] - 1, column.get(parent, len(steps)))
    order = list(dict.fromkeys(node for name, _, parents in steps for node in (*parents, name) if node not in hidden))
    place = {}
    stacks = {each: [node for node in order if column[node] == each] for each in sorted(set(column.values()))}
    tallest = max(len(stack) for stack in stacks.values())
    row = min(1.6, HEIGHT / max(1, tallest - 1))
    for each, stack in stacks.items():
        for i, node in enumerate(stack):
            place[node] = (COLUMN * each, row * ((len(stack) - 1) / 2 - i))
    return place


def short(number: float) -> str:
    """Returns a number in at most two decimals, with a true minus sign."""
    text = f"{number:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text.replace("-", "−")


def errors(step: np.ndarray, curves: Mapping[str, np.ndarray], places: Sequence[Place]) -> Figure:
    """Returns the errors of difference quotients against the step on log axes, each curve labeled at its place."""
    fig, ax = plt.subplots()
    for (name, error), label_at in zip(curves.items(), places, strict=True):
        # log axes cannot show an error of exactly 0
        shown = error > 0
        (line,) = ax.loglog(step[shown], error[shown], marker="o", markersize=3, linewidth=1.2)
        ax.text(*label_at, name, color=line.get_color(), ha="center", va="center")
    ax.set(xlabel="step h", ylabel="relative error of the slope")
    ax.set_ylim(bottom=min(error[error > 0].min() for error in curves.values()) / 10, top=20)
    ax.grid(True)
    return fig


def logit_gradients(p: np.ndarray, labels: Sequence[int], names: Sequence[str]) -> Figure:
    """Returns bars of the gradient at the logits of each example: orange says lower this logit, blue raise it."""
    fig, axes = plt.subplots(1, len(labels), sharey=True)
    for ax, probability, label, name in zip(axes, p, labels, names, strict=True):
        gradient = probability - np.eye(len(probability))[label]
        bars = ax.bar(range(len(gradient)), gradient, color=[_color(number) for number in gradient], width=0.7)
        ax.bar_label(bars, [short(number) for number in gradient], padding=2)
        ax.axhline(0, color="#444444", linewidth=0.8)
        ax.set_xticks(range(len(gradient)), [f"{k}\n(label)" if k == label else f"{k}" for k in range(len(gradient))])
        ax.set(xlabel=f"class\n{name}", ylim=(-1.2, 1.2))
    axes[0].set_ylabel("gradient at the logit")
    return fig


def _draw_forward(ax: Axes, steps: Sequence[Step], place: Mapping[str, Place]) -> None:
    for name, _, parents in steps:
        for parent in parents:
            if parent in place:
                _draw_arrow(ax, place[parent], place[name], FORWARD, 1.2)


def _draw_backward(ax: Axes, backward: Backward, place: Mapping[str, Place]) -> None:
    for sender, receiver, number in backward.messages:
        if receiver in place:
            # the width shows the size: on a log scale, because sizes multiply along a path
            _draw_arrow(
                ax, place[sender], place[receiver], _color(number), 1.0 + 1.2 * float(np.log10(1 + abs(number)))
            )
            # a slanted arrow passes below its receiver's gradient: there the number stands nearer to the sender
            part = 0.5 if place[sender][1] == place[receiver][1] else 0.6
            x, y = part * np.array(place[sender]) + (1 - part) * np.array(place[receiver])
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
            ax.text(x, y, short(number), ha="center", va="center", color=_color(number), bbox=box, zorder=2)
    for name, (x, y) in place.items():
        number = backward.gradient[name]
        near = {a if b == name else b for a, b, _ in backward.messages if name in (a, b)} & set(place)
        x += _shift([np.subtract(place[other], place[name]) for other in near])
        text = f"grad {short(number)}"
        ax.text(x, y - BELOW, text, ha="center", va="center", color=_color(number), weight="bold", zorder=4)


def _shift(ways: Sequence[np.ndarray]) -> float:
    """Returns how far to move the text below a node sideways, so that it keeps clear of arrows that go down."""
    crossings = [x / -y * BELOW for x, y in ways if y < 0]
    return max((0.0, -0.15, 0.15, -0.3, 0.3), key=lambda shift: min([0.45, *(abs(x - shift) for x in crossings)]))


def _draw_node(ax: Axes, place: Place, text: str, sign: str | None) -> None:
    x, y = place
    face = "#eeeeee" if sign is None else "white"
    ax.add_patch(Circle(place, RADIUS, facecolor=face, edgecolor="#333333", linewidth=1.2, zorder=3))
    ax.text(x, y, text, ha="center", va="center", zorder=4, linespacing=1.1)
    ax.text(x, y + RADIUS + 0.13, sign or "", ha="center", va="center", color="#333333", zorder=4)


def _draw_arrow(ax: Axes, start: Place, end: Place, color: str, width: float) -> None:
    way = np.subtract(end, start)
    # from rim to rim, with a gap so that the tip is seen
    gap = way / np.hypot(*way) * (RADIUS + 0.03)
    style = "-|>,head_length=4,head_width=2.4"
    ends = tuple(start + gap), tuple(end - gap)
    ax.add_patch(FancyArrowPatch(*ends, arrowstyle=style, color=color, linewidth=width, shrinkA=0, shrinkB=0))


def _sign(kind: str, parents: Sequence[str], value: Mapping[str, float], hidden: Collection[str]) -> str:
    return " ".join([SIGNS[kind], *(short(value[parent]) for parent in parents if parent in hidden)])


def _color(number: float) -> str:
    if round(number, 2) == 0:
        return ZERO
    return POSITIVE if number > 0 else NEGATIVE
