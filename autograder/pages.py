"""Pages that show a student's work and run none of it: formgrader's view of a submission, and the feedback.

`configure(c)` sets nbconvert's HTMLExporter, with which nbgrader makes both pages, in layers that do not rely on
each other:

    SafePage        a notebook made anew before it is rendered: known cells, known outputs, known metadata
    clean           HTML made anew after it is rendered: a few tags and attributes, no script, no foreign address
    page_policy     a Content-Security-Policy, which tells the browser to run nothing else

What comes out of a sandbox is stored as `safe_outputs` has it, so that a graded notebook is clean in itself.
"""

import base64
import hashlib
import html
import io
import math
import re
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import nbgrader
from jinja2 import pass_context
from jinja2.runtime import Context
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbconvert.preprocessors import Preprocessor
from nbformat.notebooknode import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output, new_raw_cell
from PIL import Image
from pygments.token import STANDARD_TYPES

from autograder.report import MIME

TEXT = 1_000_000  # characters of one text output
IMAGE = 5_000_000  # bytes of one image
PIXELS = 25_000_000
CELL = 10_000_000  # characters below one cell
OUTPUTS = 100  # of one cell
MARKDOWN = 20_000  # characters of a cell that are laid out: nbconvert's parser takes quadratic time
SOURCE = 200_000  # characters of a cell that are shown
COLORS = 2_000  # changes of color in one text
DEPTH = 60  # of nested tags
IMAGES = {"image/png": "PNG", "image/jpeg": "JPEG"}

TEMPLATES = Path(__file__).with_name("templates")
NBGRADERS = Path(nbgrader.__file__).parent / "server_extensions" / "formgrader" / "templates"

_TAGS = """
a abbr b blockquote br caption code col colgroup dd del details dfn div dl dt em figcaption figure h1 h2 h3 h4 h5
h6 hr i img ins kbd li mark ol p pre q s samp small span strong sub summary sup table tbody td tfoot th thead
tr tt u ul var
"""
TAGS = frozenset(_TAGS.split())  # stay
VOID = frozenset(["br", "col", "hr", "img"])
_CLOSED = """
iframe math noembed noframes noscript object script select style svg template textarea title xmp
"""
CLOSED = frozenset(_CLOSED.split())  # go with all that they hold
CLASSES = frozenset(STANDARD_TYPES.values()) | {"anchor-link", "dataframe", "highlight"}  # of code, titles, and tables
_STYLES = """
background background-color border border-bottom border-collapse border-color border-left border-radius
border-right border-style border-top border-width color font-family font-size font-style font-weight height
line-height list-style list-style-type margin margin-bottom margin-left margin-right margin-top max-height
max-width min-width padding padding-bottom padding-left padding-right padding-top text-align text-decoration
text-indent vertical-align white-space width word-break word-wrap
"""
STYLES = frozenset(_STYLES.split())
# which formgrader writes on a page as they are
NAMES = frozenset(["assignment_id", "first_name", "last_name", "notebook_id", "notebook_path", "student"])
ANCHOR = "text-"  # before each id, so that no title is taken for a part of the page

_TAG = re.compile(r"(/?)([a-zA-Z][a-zA-Z0-9]*)(?=[\s/]|$)(.*)", re.DOTALL)
_ATTRIBUTE = re.compile(r"""(?<![^\s"'/])([a-zA-Z-]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'=<>`]+))""")
_ADDRESS = re.compile(r"(?:https?://|mailto:)[!-~\xa1-\U0010ffff]+", re.IGNORECASE)
_DATA = re.compile(r"data:(image/png|image/jpeg);base64,(.*)", re.DOTALL | re.IGNORECASE)
_LENGTH = re.compile(r"\d{1,4}(?:px|%)?")
_WORD = re.compile(r"[a-z]+(?:-[a-z]+)*|[\d.]+[a-z%]*|#[0-9a-f]{3,8}|(?:rgb|hsl)a?\([\d\s.,%]{1,40}\)", re.IGNORECASE)
_BETWEEN = re.compile(r"[\s,]+(?![^(]*\))")
_GRADE_ID = re.compile(r"[\w-]{1,200}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x06\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f]")
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]{0,60}[@-~]|\][^\x07\x1b\n]{0,2000}\x07?|.)?|\x07", re.DOTALL)
_COLOR = r"(?:[34]8;5;\d{1,3}|[34]8;2;\d{1,3};\d{1,3};\d{1,3}|(?![34]8)\d{0,3})"
_COLORS = re.compile(rf"\x1b\[{_COLOR}(?:;{_COLOR})*m")  # nbconvert fails on others


def configure(c: Any) -> None:
    """Makes nbgrader's pages of submissions safe, in its config object `c`."""
    c.HTMLExporter.preprocessors = ["autograder.pages.SafePage"]
    c.HTMLExporter.sanitize_html = True
    c.HTMLExporter.embed_images = False  # would read files that a student names
    c.HTMLExporter.extra_template_basedirs = [str(TEMPLATES), str(NBGRADERS)]
    c.HTMLExporter.filters = {
        "clean_html": "autograder.pages.clean",
        "markdown2html": "autograder.pages.safe_markdown",
        "strip_files_prefix": "autograder.pages.unchanged",
        "page_policy": "autograder.pages.page_policy",
    }


class SafePage(Preprocessor):
    """Makes the notebook anew of what may be shown, and escapes the names that stand on the page."""

    def preprocess(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        """Returns the notebook and the resources that the page is made of."""
        if "submission_id" in resources:  # the formgrader's page, which students do not see
            for cell in nb.cells:
                _tell_graders(cell)
        nb.cells = [_safe_cell(cell, index) for index, cell in enumerate(nb.cells)]
        nb.metadata = NotebookNode()
        for name in NAMES & resources.keys():
            if isinstance(resources[name], str):
                resources[name] = html.escape(resources[name]).replace("\\", "&#92;")
        return nb, resources


def safe_outputs(outputs: Any) -> list[NotebookNode]:
    """Returns the outputs of a cell, made anew of text, clean HTML, and images, and cut to a size that can be shown.

    Takes anything that can stand in JSON; what is no output is left out.
    """
    given = outputs if isinstance(outputs, list) else []
    few = given if len(given) <= OUTPUTS else given[: OUTPUTS - 1]
    made: list[NotebookNode] = []
    room = CELL
    for index, output in enumerate(few):
        safe = _safe_output(output)
        if safe is None:
            continue
        room -= _size(safe)
        if room < 0:
            few = few[:index]
            break
        made.append(safe)
    if len(few) < len(given):
        left = f"[{len(given) - len(few)} more outputs are not shown]\n"
        made.append(new_output("stream", name="stdout", text=left))
    return made


def safe_attachments(attachments: Any) -> dict[str, dict[str, str]]:
    """Returns the attachments of a cell that are PNG or JPEG images. Takes anything."""
    given = attachments.items() if isinstance(attachments, Mapping) else []
    images = {str(name): _safe_images(data) for name, data in list(given)[:OUTPUTS]}
    return {name: data for name, data in images.items() if data}


def clean(text: Any) -> str:
    """Returns HTML of a few tags and attributes: balanced, without scripts, forms, and addresses that a browser loads.

    Nothing is copied: a tag is written anew if it is known, and all else is escaped, so that how a browser reads
    what was given does not matter. Takes linear time, which html.parser and html5lib do not.
    """
    first, *pieces = _without_comments(text if isinstance(text, str) else "").split("<")
    made, open_tags, skipped = [_escaped(first)], list[str](), ""
    for piece in pieces:
        head, bracket, rest = piece.partition(">")
        match = _TAG.match(head) if bracket else None
        end, name, attributes = (match[1], match[2].lower(), match[3]) if match else ("", "", "")
        if skipped:
            if not (end and name == skipped):
                continue
            skipped = ""
        elif not match:
            made.append(_escaped("<" + piece))
            continue
        elif name in CLOSED and not end:
            skipped = name
            continue
        elif end and name in open_tags:
            while open_tags[-1] != name:
                made.append(f"</{open_tags.pop()}>")
            made.append(f"</{open_tags.pop()}>")
        elif not end and name in TAGS and len(open_tags) < DEPTH:
            made.append(_start(name, attributes))
            if name not in VOID:
                open_tags.append(name)
        made.append(_escaped(rest))
    return "".join([*made, *(f"</{name}>" for name in reversed(open_tags))])


@pass_context
def safe_markdown(context: Context, source: Any) -> str:
    """Returns Markdown as clean HTML; what is too long or too odd to be laid out stands there as it was written."""
    text = source if isinstance(source, str) else ""
    cell = context.get("cell")
    attachments = cell.get("attachments") if isinstance(cell, Mapping) else None
    if len(text) <= MARKDOWN:
        try:
            return clean(MarkdownWithMath(renderer=_Renderer(safe_attachments(attachments))).render(text))
        except Exception:  # whatever a parser stumbles over, the page goes on
            pass
    return f"<pre>{_escaped(text, entities=False)}</pre>"


def unchanged(text: str) -> str:
    """Returns `text`: nbconvert's own filter looks for relative links, of which none are left, in quadratic time."""
    return text


@cache
def page_policy(mathjax: str) -> str:
    """Returns the Content-Security-Policy of a page that typesets with the MathJax in the folder `mathjax`.

    Besides it runs only the small scripts of the templates, which it knows by their hashes.
    """
    scripts = " ".join(f"'sha256-{_digest(script)}'" for script in _own_scripts())
    return "; ".join(
        [
            "default-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
            "connect-src 'self'",  # formgrader saves points and comments
            f"font-src 'self' {mathjax}",
            "img-src data:",
            f"style-src 'self' 'unsafe-inline' {mathjax}",
            f"script-src {mathjax} 'unsafe-hashes' {scripts}",
        ]
    )


class _Renderer(IPythonRenderer):
    """nbconvert's renderer, for which an attachment may be missing."""

    def __init__(self, attachments: dict[str, dict[str, str]]) -> None:
        super().__init__(escape=False, attachments=attachments)

    def image(self, text: str, url: str, title: str | None = None) -> str:
        name = url.removeprefix("attachment:")
        return super().image(text, url if name == url or name in self.attachments else "", title)


def _own_scripts() -> list[str]:
    """Returns the scripts of the templates that a browser meets after the policy."""
    texts = [NBGRADERS / "formgrade" / "formgrade_macros.html.j2", TEMPLATES / "classic" / "mathjax.html.j2"]
    text = "".join(path.read_text(encoding="utf-8") for path in texts)
    found = re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL) + re.findall(r'\son\w+="([^"]+)"', text)
    return [script for script in found if script and "{{" not in script]


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _tell_graders(cell: Any) -> None:
    """Adds to a verdict all that is known of its failures; only the grader's own outputs hold such data."""
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        if failures := data.get(MIME, {}).get("for_graders"):
            told = "".join(f"<pre>{html.escape(failure)}</pre>" for failure in failures)
            data["text/html"] += f"<details><summary>Every failure, for graders only</summary>{told}</details>"


def _safe_cell(cell: Any, index: int) -> NotebookNode:
    source = _text(cell.get("source"), SOURCE) or ""
    about: dict[str, Any] = {"id": f"cell-{index}", "metadata": _safe_metadata(cell.get("metadata"))}
    if cell.get("cell_type") == "code":
        count, outputs = _count(cell.get("execution_count")), safe_outputs(cell.get("outputs"))
        return new_code_cell(source, execution_count=count, outputs=outputs, **about)
    if cell.get("cell_type") == "markdown":
        return new_markdown_cell(source, attachments=safe_attachments(cell.get("attachments")), **about)
    return new_raw_cell(source, **about)


def _safe_metadata(metadata: Any) -> dict[str, Any]:
    """Returns what nbgrader's templates and steps read of a cell."""
    meta = metadata.get("nbgrader") if isinstance(metadata, Mapping) else None
    name = meta.get("grade_id") if isinstance(meta, Mapping) else None
    if not isinstance(meta, Mapping) or not isinstance(name, str) or not _GRADE_ID.fullmatch(name):
        return {}
    safe: dict[str, Any] = {key: meta.get(key) is True for key in ("grade", "solution", "locked", "task")}
    numbers = {key: meta[key] for key in ("points", "score") if key in meta}
    safe |= {key: value for key, value in numbers.items() if type(value) in (int, float) and math.isfinite(value)}
    if isinstance(meta.get("comment"), str):
        safe["comment"] = meta["comment"]
    return {"nbgrader": {"schema_version": 3, "grade_id": name, **safe}}


def _safe_output(output: Any) -> NotebookNode | None:
    kind = output.get("output_type") if isinstance(output, Mapping) else None
    if kind == "stream":
        name = "stderr" if output.get("name") == "stderr" else "stdout"
        return new_output("stream", name=name, text=_colored(output.get("text")))
    if kind == "error":
        lines = output.get("traceback")
        traceback = _colored("\n".join(line for line in lines if isinstance(line, str)) if _is_list(lines) else "")
        ename, evalue = (_text(output.get(key), 1000) or "" for key in ("ename", "evalue"))
        return new_output("error", ename=ename, evalue=evalue, traceback=traceback.split("\n"))
    if kind not in ("display_data", "execute_result"):
        return None
    data, metadata = _safe_data(output)
    numbered = {"execution_count": _count(output.get("execution_count"))} if kind == "execute_result" else {}
    return new_output(kind, data, metadata=metadata, **numbered)


def _safe_data(output: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the forms of an output that can be shown, and what is known about its images."""
    given = output.get("data")
    data: Mapping[Any, Any] = given if isinstance(given, Mapping) else {}
    safe: dict[str, Any] = {}
    page = clean(_text(data.get("text/html"), TEXT + 1, note="")) if "text/html" in data else ""
    if len(page) <= TEXT and ("<img" in page or re.sub(r"<[^>]*>", "", page).strip()):
        safe["text/html"] = page
    for kind in ("text/markdown", "text/latex"):
        text = _text(data.get(kind), TEXT)
        if text is not None:
            safe[kind] = text
    safe |= _safe_images(data)
    if "text/plain" in data:
        safe["text/plain"] = _colored(data["text/plain"])
    if not safe:
        kinds = ", ".join(str(kind)[:50] for kind in list(data)[:3]) or "nothing"
        safe["text/plain"] = _colored(f"[an output that is not shown here: {kinds}]")
    about = output.get("metadata")
    return safe, {kind: found for kind in IMAGES if kind in safe and (found := _about_image(about, kind))}


def _about_image(metadata: Any, kind: str) -> dict[str, Any]:
    about = metadata.get(kind) if isinstance(metadata, Mapping) else None
    if not isinstance(about, Mapping):
        return {}
    sides = {key: about[key] for key in ("width", "height") if type(about.get(key)) is int and 0 < about[key] < 10_000}
    alt = _text(about.get("alt"), 1000)
    return {**sides, "alt": alt} if alt else sides


def _safe_images(data: Any) -> dict[str, str]:
    """Returns the images in a bundle that are what their MIME type says, in canonical base64."""
    given = data if isinstance(data, Mapping) else {}
    found = {kind: _safe_image(kind, given[kind]) for kind in IMAGES if kind in given}
    return {kind: image for kind, image in found.items() if image}


def _safe_image(kind: str, value: Any) -> str:
    """Returns the image in base64, or nothing."""
    if _is_list(value) and all(isinstance(part, str) for part in value):
        value = "".join(value)
    if not isinstance(value, str) or len(value) > 2 * IMAGE:
        return ""
    try:
        raw = base64.b64decode("".join(value.split()), validate=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is too large
            with Image.open(io.BytesIO(raw), formats=[IMAGES[kind]]) as image:
                width, height = image.size
    except Exception:  # whatever the bytes are, they are no such image
        return ""
    return base64.b64encode(raw).decode() if len(raw) <= IMAGE and 0 < width * height <= PIXELS else ""


def _text(value: Any, limit: int, note: str = "\n[… cut: {} characters in all]") -> str | None:
    """Returns a text that can be stored and shown, or None where there is none."""
    if _is_list(value) and all(isinstance(part, str) for part in value):
        value = "".join(value)
    if not isinstance(value, str):
        return None
    text = _CONTROL.sub("", value.encode("utf-8", "backslashreplace").decode())
    if len(text) <= limit:
        return text
    said = note.format(len(text))
    return text[: limit - len(said)] + said


def _colored(value: Any) -> str:
    """Returns a text in which the only escapes are colors."""
    text = _text(value, TEXT) or ""
    few = text.count("\x1b") <= COLORS
    return _ESCAPE.sub(lambda match: match[0] if few and _COLORS.fullmatch(match[0]) else "", text)


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 10**9 else None


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _size(output: NotebookNode) -> int:
    parts = [*output.get("data", {}).values(), output.get("text", ""), *output.get("traceback", [])]
    return sum(len(part) for part in parts)


def _without_comments(text: str) -> str:
    """Returns HTML without comments and declarations; one that does not end takes the rest with it."""
    for start, end in (("<!--", "-->"), ("<!", ">"), ("<?", ">")):
        first, *pieces = text.split(start)
        text = first + "".join(piece.partition(end)[2] for piece in pieces)
    return text


def _escaped(text: str, entities: bool = True) -> str:
    return html.escape(html.unescape(text) if entities else text, quote=False)


def _start(name: str, attributes: str) -> str:
    """Returns a start tag with those of its attributes that are known to be harmless."""
    found = _ATTRIBUTE.finditer(attributes)
    given = {match[1].lower(): html.unescape(match[2] or match[3] or match[4] or "") for match in found}
    safe = {key: value for key, old in given.items() if (value := _safe_attribute(name, key, old.strip()))}
    if name == "img" and "src" not in safe:
        return _escaped(f"[picture: {given.get('alt') or 'not part of the notebook'}]", entities=False)
    if _ADDRESS.fullmatch(safe.get("href", "")):
        safe |= {"rel": "noopener noreferrer", "target": "_blank"}
    written = "".join(f' {key}="{html.escape(value)}"' for key, value in safe.items())
    return f"<{name}{written}>"


def _safe_attribute(tag: str, name: str, value: str) -> str:
    """Returns the value as it may stand there, or nothing."""
    if name == "style":
        return _safe_style(value)
    if name == "class":
        return " ".join(word for word in value.split() if word in CLASSES)
    if name == "title" or (tag, name) == ("img", "alt"):
        return value[:1000]
    if name == "id":
        return ANCHOR + value.removeprefix(ANCHOR)[:200] if value and not re.search(r"\s", value) else ""
    if (tag, name) == ("a", "href"):
        if value.startswith("#"):
            return "#" + ANCHOR + value[1:].removeprefix(ANCHOR)
        return value if _ADDRESS.fullmatch(value) else ""
    if (tag, name) == ("img", "src"):
        match = _DATA.fullmatch(value)
        image = _safe_image(match[1].lower(), match[2]) if match else ""
        return f"data:{match[1].lower()};base64,{image}" if match and image else ""
    if name in ("width", "height", "border", "colspan", "rowspan", "start"):
        return value if _LENGTH.fullmatch(value) else ""
    return value if name == "align" and value in ("left", "center", "right") else ""


def _safe_style(text: str) -> str:
    """Returns the declarations whose properties and words are known: no address, no function, nothing negative."""
    safe = []
    for declaration in text[:2000].split(";"):
        name, _, value = declaration.partition(":")
        words = _BETWEEN.split(value.strip())
        if name.strip().lower() in STYLES and all(_WORD.fullmatch(word) for word in words):
            safe.append(f"{name.strip().lower()}:{value.strip()}")
    return ";".join(safe)
