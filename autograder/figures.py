"""Figures for lectures and sheets: one look, deterministic SVG, and an alt text that travels with the picture."""

import base64
import contextlib
import html
import io
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from autograder.errors import CourseError

# matplotlib announces a slow first look at the fonts on stderr, which readers take for a fault
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = Path(__file__).with_name("course.mplstyle")
SVG, PNG = "image/svg+xml", "image/png"
WIDGET = "application/vnd.jupyter.widget-view+json"

Draw = Callable[..., "Figure"]
Alt = str | Callable[..., str]
T = TypeVar("T")

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
    with _closing(fig):
        return _svg(fig, alt)


def show(fig: "Figure", alt: str) -> None:
    """Displays the figure as one output, an SVG that carries `alt` with `alt` as its text; closes the figure.

    The output also holds a PNG: it is what JupyterLab shows of a notebook that it does not trust yet.
    Raises CourseError if `alt` is empty.
    """
    with _closing(fig):
        bundle = _bundle(fig, alt)
    _display(bundle, alt)


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
    bundle = _draw(draw, alt, _values(controls), _bundle)
    try:
        bundle |= _live(draw, alt, controls, bundle)
    except Exception:  # no front end, an old ipywidgets: whatever it is, the static picture remains
        logging.getLogger(__name__).debug("no live figure", exc_info=True)
    _display(bundle, bundle["text/plain"])


def alt_text(svg_text: str) -> str:
    """Returns the alt text of an SVG: that of its first tag if the title agrees, else an empty text."""
    label = re.search(r"""<svg\b[^>]*?\saria-label=(?:"([^"]*)"|'([^']*)')""", svg_text)
    title = re.search(r"<svg\b[^>]*>\s*<title>(.*?)</title>", svg_text, re.DOTALL)
    if not label or not title or not re.search(r"""<svg\b[^>]*?\srole=["']img["']""", svg_text):
        return ""
    alt = html.unescape(label[1] if label[1] is not None else label[2])
    return alt.strip() if alt == html.unescape(title[1]) else ""


@contextlib.contextmanager
def _closing(fig: "Figure") -> Iterator[None]:
    import matplotlib.pyplot as plt

    try:
        yield
    finally:
        plt.close(fig)


def _svg(fig: "Figure", alt: str) -> str:
    import matplotlib as mpl

    if not alt.strip():
        raise CourseError(
            "The figure has no alt text: say what kind of picture it is, of which data, and what it is there to show."
        )
    buffer = io.StringIO()
    # whatever style the figure was drawn with, these make its bytes repeatable
    with mpl.rc_context({"svg.hashsalt": "deep-learning-foundations", "svg.fonttype": "path"}):
        fig.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return _with_alt(buffer.getvalue(), alt)


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


def _bundle(fig: "Figure", alt: str) -> dict[str, Any]:
    """Returns the figure in every form that a front end may choose."""
    return {SVG: _svg(fig, alt), PNG: _png(fig), "text/plain": alt}


def _png(fig: "Figure") -> str:
    """Returns the figure as PNG in base64, with as many pixels as the SVG has on a page."""
    from PIL import Image

    pixels, small = io.BytesIO(), io.BytesIO()
    fig.savefig(pixels, format="png", dpi=96)
    # 256 colors are plenty for a fallback, and a third of the bytes
    Image.open(pixels).convert("RGB").quantize(256).save(small, "PNG", optimize=True)
    return base64.b64encode(small.getvalue()).decode()


def _display(bundle: dict[str, Any], alt: str) -> None:
    from IPython.display import display

    # nbconvert, and front ends that draw an SVG as an image, take the alt text from here
    display(bundle, raw=True, metadata={SVG: {"alt": alt}, PNG: {"alt": alt}})


def _values(controls: Mapping[str, Any]) -> dict[str, Any]:
    return {name: control.value for name, control in controls.items()}


def _draw(draw: Draw, alt: Alt, values: Mapping[str, Any], form: Callable[["Figure", str], T]) -> T:
    """Returns the picture for `values` in a form such as `_bundle`. Raises CourseError where that fails."""
    try:
        text = alt if isinstance(alt, str) else alt(**values)
        fig = draw(**values)
        with _closing(fig):
            return form(fig, text)
    except CourseError:
        raise
    except Exception as error:
        given = ", ".join(f"{name} = {value!r}" for name, value in values.items())
        raise CourseError(f"The figure cannot be drawn for {given}: {type(error).__name__}: {error}") from error


def _live(draw: Draw, alt: Alt, controls: Mapping[str, Any], first: Mapping[str, str]) -> dict[str, Any]:
    """Returns the part of an output that live front ends show: the controls above a picture that follows them."""
    import ipywidgets

    view = ipywidgets.HTML(_image(first[SVG], first["text/plain"]))

    def redraw(_: Any) -> None:
        try:
            view.value = _draw(draw, alt, _values(controls), lambda fig, text: _image(_svg(fig, text), text))
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
