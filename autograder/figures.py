"""Figures for lectures and sheets: one look, deterministic SVG, and an alt text that travels with the picture."""

import base64
import html
import io
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autograder.errors import CourseError

# matplotlib announces a slow first look at the fonts on stderr, which readers take for a fault
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = Path(__file__).with_name("course.mplstyle")
SVG = "image/svg+xml"
WIDGET = "application/vnd.jupyter.widget-view+json"

Draw = Callable[..., "Figure"]
Alt = str | Callable[..., str]

# long decimals, but not those of a scale or matrix, whose factors are small and need their digits
_DECIMALS = re.compile(r"(?:scale|matrix)\([^)]*\)|-?\d+\.\d{3,}")


def use_style() -> None:
    """Makes the course's style the style of all figures drawn from now on."""
    import matplotlib.pyplot as plt

    plt.style.use(STYLE)


def svg(fig: "Figure", alt: str) -> str:
    """Returns the figure as SVG text that depends on the picture alone and carries `alt`; closes the figure.

    Lengths are rounded to a hundredth of a point, so that the last bits of a computation do not show.
    Raises CourseError if `alt` is empty.
    """
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    buffer = io.StringIO()
    try:
        alt = _checked(alt)
        # whatever style the figure was drawn with, these make its bytes repeatable
        with mpl.rc_context({"svg.hashsalt": "deep-learning-foundations", "svg.fonttype": "path"}):
            fig.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    finally:
        plt.close(fig)
    return _with_alt(buffer.getvalue(), alt)


def show(fig: "Figure", alt: str) -> None:
    """Displays the figure as one output, an SVG that carries `alt` with `alt` as its text; closes the figure.

    Raises CourseError if `alt` is empty.
    """
    _display(_bundle(svg(fig, alt), alt), alt)


def interactive(draw: Draw, alt: Alt, **controls: Any) -> None:
    """Displays `draw(**values)` below its controls, and redraws it whenever a control moves.

    Controls are ipywidgets by parameter name. `alt` is the alt text, or a function of the same values that returns it.
    The one output also holds the picture of the starting values: it is what readers without a live kernel see.
    Raises CourseError if a control is no control, if `draw` fails, or if the alt text is empty.

    Example: `interactive(draw, "Line chart of ...", rate=FloatSlider(0.1, min=0, max=1))`
    """
    for name, control in controls.items():
        if not (hasattr(control, "value") and hasattr(control, "observe")):
            raise CourseError(f"interactive: {name} is {control!r}, not a control: pass a widget such as FloatSlider.")
    if not controls:
        raise CourseError(
            "interactive: there is nothing to move: pass a control for each input, or use show(fig, alt)."
        )
    picture, text = _draw(draw, alt, _values(controls))
    bundle = _bundle(picture, text)
    try:
        bundle |= _live(draw, alt, controls, picture, text)
    except Exception:  # no front end, an old ipywidgets: whatever it is, the static picture remains
        logging.getLogger(__name__).debug("no live figure", exc_info=True)
    _display(bundle, text)


def alt_text(svg_text: str) -> str:
    """Returns the alt text of an SVG: that of its first tag if the title agrees, else an empty text."""
    label = re.search(r"""<svg\b[^>]*?\saria-label=(?:"([^"]*)"|'([^']*)')""", svg_text)
    title = re.search(r"<svg\b[^>]*>\s*<title>(.*?)</title>", svg_text, re.DOTALL)
    if not label or not title or not re.search(r"""<svg\b[^>]*?\srole=["']img["']""", svg_text):
        return ""
    alt = html.unescape(label[1] if label[1] is not None else label[2])
    return alt.strip() if alt == html.unescape(title[1]) else ""


def _checked(alt: str) -> str:
    if not alt.strip():
        raise CourseError(
            "The figure has no alt text: say what kind of picture it is, of which data, and what it is there to show."
        )
    return alt


def _with_alt(text: str, alt: str) -> str:
    """Returns the SVG element alone, rounded, named and described: no declaration, comments or metadata."""
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<\?xml.*?\?>|<!DOCTYPE.*?>", "", text, flags=re.DOTALL)
    text = re.sub(r"\n\s*\n", "\n", _DECIMALS.sub(_rounded, text)).strip() + "\n"
    label = html.escape(alt)
    text = text.replace("<svg", f'<svg role="img" aria-label="{label}" style="max-width: 100%; height: auto"', 1)
    # an escaped text holds no bracket, so the first one ends the tag
    return text.replace(">", f">\n <title>{label}</title>", 1)


def _rounded(match: re.Match[str]) -> str:
    number = match[0]
    if number[0] in "sm":
        return number
    short = f"{float(number):.2f}".rstrip("0").rstrip(".")
    return "0" if short == "-0" else short


def _bundle(picture: str, alt: str) -> dict[str, Any]:
    return {SVG: picture, "text/plain": alt}


def _display(bundle: dict[str, Any], alt: str) -> None:
    from IPython.display import display

    # nbconvert, and front ends that draw an SVG as an image, take the alt text from here
    display(bundle, raw=True, metadata={SVG: {"alt": alt}})


def _values(controls: Mapping[str, Any]) -> dict[str, Any]:
    return {name: control.value for name, control in controls.items()}


def _draw(draw: Draw, alt: Alt, values: Mapping[str, Any]) -> tuple[str, str]:
    """Returns the picture for `values` as SVG, and its alt text. Raises CourseError where that fails."""
    try:
        text = alt if isinstance(alt, str) else alt(**values)
        return svg(draw(**values), text), text
    except CourseError:
        raise
    except Exception as error:
        given = ", ".join(f"{name} = {value!r}" for name, value in values.items())
        raise CourseError(f"The figure cannot be drawn for {given}: {type(error).__name__}: {error}") from error


def _live(draw: Draw, alt: Alt, controls: Mapping[str, Any], picture: str, text: str) -> dict[str, Any]:
    """Returns the part of an output that live front ends show: the controls above a picture that follows them."""
    import ipywidgets

    view = ipywidgets.HTML(_image(picture, text))

    def redraw(_: Any) -> None:
        try:
            view.value = _image(*_draw(draw, alt, _values(controls)))
        except CourseError as error:  # the front end swallows what a callback raises
            view.value = f'<pre role="alert" style="white-space: pre-wrap">{html.escape(str(error))}</pre>'

    for control in controls.values():
        control.observe(redraw, names="value")
    box = ipywidgets.VBox([*controls.values(), view])
    # without a comm there is no front end that could find the view
    data: dict[str, Any] = box._repr_mimebundle_() or {}
    return {WIDGET: data[WIDGET]} if WIDGET in data else {}


def _image(picture: str, alt: str) -> str:
    # as an image, so that the SVG's own style sheet cannot reach the page around it
    data = base64.b64encode(picture.encode()).decode()
    return f'<img alt="{html.escape(alt)}" src="data:{SVG};base64,{data}">'
