"""Figures: the same bytes each time, an alt text that survives, and pictures that follow their controls."""

import base64
import html
import re
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
from typing import Any

import ipywidgets
import matplotlib
import pytest

matplotlib.use("agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from autograder import figures
from autograder.errors import CourseError

ALT = 'Line chart of "a" < b & c > d: it rises.'
STATIC = {"image/svg+xml", "image/png", "text/plain"}


def line(height: float = 1.0) -> Figure:
    fig, ax = plt.subplots()
    ax.plot([0, 1, 2], [0, height / 3, height], label="curve")
    ax.set(xlabel="step", ylabel="loss in nats")
    ax.text(1, 0.2, "$10^{-3}$")
    return fig


@pytest.fixture(autouse=True)
def style():
    with matplotlib.rc_context():
        figures.use_style()
        yield
    assert not plt.get_fignums(), "a figure was left open"


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Returns the list in which outputs are collected, as bundle and metadata."""
    import IPython.display

    outputs: list[dict[str, Any]] = []

    def display(bundle, raw=False, metadata=None):
        assert raw
        outputs.append({"data": bundle, "metadata": metadata})

    monkeypatch.setattr(IPython.display, "display", display)
    return outputs


def test_importing_figures_imports_neither_torch_nor_matplotlib():
    code = (
        "import sys, autograder.figures; print([m for m in ('torch', 'matplotlib', 'ipywidgets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_style_has_the_size_and_no_box():
    assert plt.rcParams["figure.figsize"] == [6.0, 3.5]
    assert plt.rcParams["font.size"] == 10
    assert not plt.rcParams["axes.spines.top"]
    assert plt.rcParams["image.cmap"] == "viridis"


def test_the_same_figure_gives_the_same_bytes():
    assert figures.svg(line(), ALT) == figures.svg(line(), ALT)


def test_bytes_do_not_depend_on_the_style_in_force():
    with matplotlib.rc_context({"svg.hashsalt": None, "svg.fonttype": "none"}):
        other = figures.svg(line(), ALT)
    assert other == figures.svg(line(), ALT)


def test_the_last_bits_of_a_number_do_not_show():
    assert figures.svg(line(1.0), ALT) == figures.svg(line(1.0 + 1e-12), ALT)


def test_svg_carries_the_alt_text_and_no_trace_of_time_or_version():
    text = figures.svg(line(), ALT)
    root = ET.fromstring(text)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == ALT
    assert root[0].tag.endswith("title") and root[0].text == ALT
    assert figures.alt_text(text) == ALT
    for trace in ("metadata", "dc:date", "<!--", "DOCTYPE", matplotlib.__version__):
        assert trace not in text


def test_scales_keep_their_digits_and_lengths_lose_theirs():
    text = figures.svg(line(), ALT)
    assert "scale(0.015625)" in text
    coordinates = re.findall(r'[ "](-?\d+\.\d+)[ "]', re.sub(r"scale\([^)]*\)", "", text))
    assert coordinates and all(len(number.split(".")[1]) <= 2 for number in coordinates)


@pytest.mark.parametrize(
    "text",
    [
        "<svg><title>a</title></svg>",
        '<svg role="img" aria-label="a"></svg>',
        '<svg role="img" aria-label=""><title></title></svg>',
        '<svg role="img" aria-label="a"><title>b</title></svg>',
        '<svg aria-label="a"><title>a</title></svg>',
    ],
)
def test_an_svg_that_is_not_fully_described_has_no_alt_text(text):
    assert figures.alt_text(text) == ""


def test_show_displays_one_output_with_picture_and_text(shown):
    figures.show(line(), ALT)
    assert [set(output["data"]) for output in shown] == [STATIC]
    assert shown[0]["data"]["text/plain"] == ALT
    assert shown[0]["metadata"] == {"image/svg+xml": {"alt": ALT}, "image/png": {"alt": ALT}}


def test_a_notebook_that_is_not_trusted_has_a_png_of_the_same_size_to_show(shown):
    figures.show(line(), ALT)
    figures.show(line(), ALT)
    first, second = (base64.b64decode(output["data"]["image/png"]) for output in shown)
    assert first == second
    assert first.startswith(b"\x89PNG") and b"Matplotlib" not in first
    assert struct.unpack(">II", first[16:24]) == (576, 336)  # 6 × 3.5 inches, at 96 pixels an inch


@pytest.mark.parametrize("alt", ["", "  \n"])
def test_a_figure_without_alt_text_is_refused_and_closed(shown, alt):
    with pytest.raises(CourseError, match="no alt text"):
        figures.show(line(), alt)
    assert not shown


def live_view(slider: Any) -> Any:
    """Returns the widget whose content follows the slider."""
    redraw = slider._trait_notifiers["value"]["change"][-1]
    cells = dict(zip(redraw.__code__.co_freevars, redraw.__closure__, strict=True))
    return cells["view"].cell_contents


def test_interactive_displays_one_output_for_live_and_static_front_ends(shown):
    figures.interactive(line, ALT, height=ipywidgets.FloatSlider(2.0))
    assert len(shown) == 1
    assert set(shown[0]["data"]) == {figures.WIDGET, *STATIC}
    assert shown[0]["data"]["image/svg+xml"] == figures.svg(line(2.0), ALT)
    assert shown[0]["data"]["text/plain"] == ALT


def test_moving_a_control_redraws_picture_and_alt_text(shown):
    slider = ipywidgets.FloatSlider(2.0)
    figures.interactive(line, lambda height: f"A line up to {height:g}.", height=slider)
    view = live_view(slider)
    before = view.value
    assert 'alt="A line up to 2."' in before
    slider.value = 5.0
    assert view.value != before
    assert 'alt="A line up to 5."' in view.value
    slider.value = 2.0
    assert view.value == before


def test_a_drawing_that_fails_says_so_in_place_and_recovers(shown):
    slider = ipywidgets.FloatSlider(2.0)

    def draw(height):
        if height == 3:
            raise ZeroDivisionError("<no> slope")
        return line(height)

    figures.interactive(draw, ALT, height=slider)
    view = live_view(slider)
    slider.value = 3.0
    assert "The figure cannot be drawn for height = 3.0: ZeroDivisionError: <no> slope" in html.unescape(view.value)
    assert "<no>" not in view.value
    slider.value = 4.0
    assert view.value.startswith("<img")


def test_a_drawing_that_fails_at_the_start_raises(shown):
    def draw(height):
        raise TypeError("no")

    with pytest.raises(CourseError, match=r"cannot be drawn for height = 2\.0: TypeError: no"):
        figures.interactive(draw, ALT, height=ipywidgets.FloatSlider(2.0))
    assert not shown


def test_something_that_is_no_control_is_named(shown):
    with pytest.raises(CourseError, match="height is 3, not a control"):
        figures.interactive(line, ALT, height=3)
    with pytest.raises(CourseError, match="nothing to move"):
        figures.interactive(line, ALT)


def test_where_widgets_fail_the_static_picture_is_shown(shown, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("no comm")

    slider = ipywidgets.FloatSlider(2.0)
    monkeypatch.setattr(ipywidgets, "VBox", broken)
    figures.interactive(line, ALT, height=slider)
    assert set(shown[0]["data"]) == STATIC
