"""JupyterLab and a browser for the tests: a server of our own on loopback, notebooks driven as a person drives them."""

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import nbformat
from nbformat.notebooknode import NotebookNode
from playwright.sync_api import Browser, Locator, Page, Playwright, ViewportSize, expect

LOADING = 60_000  # ms: a cold JupyterLab on a busy machine
RUNNING = 60_000  # ms: a kernel's start, then a cell
SIZE: ViewportSize = {"width": 1280, "height": 1500}
QUIET = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SETTINGS = "lab/user-settings/@jupyterlab"
NO_NEWS = {"fetchNews": "false", "checkForUpdates": False}


def chromium() -> str | None:
    """Returns the path of an installed Chromium, or None. No browser is ever downloaded."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def launch(playwright: Playwright) -> Browser:
    """Returns a headless Chromium that reaches nothing but loopback."""
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    return playwright.chromium.launch(executable_path=chromium(), args=[*QUIET, *as_root])


class Lab:
    """A running JupyterLab: its address, and the folder that it shows."""

    def __init__(self, port: int, token: str, root: Path) -> None:
        self.port = port
        self.address = f"http://127.0.0.1:{port}"
        self.token = token
        self.root = root

    def options(self) -> list[str]:
        """Returns the command line that serves this address, or nothing where the port is taken."""
        here = [
            "--ip=127.0.0.1",
            f"--port={self.port}",
            "--ServerApp.port_retries=0",
            f"--ServerApp.root_dir={self.root}",
        ]
        return ["--no-browser", "--allow-root", f"--IdentityProvider.token={self.token}", *here]

    def url(self, path: str) -> str:
        """Returns the address of `path`, which logs in."""
        return f"{self.address}/{path}{'&' if '?' in path else '?'}token={self.token}"

    def answers(self) -> bool:
        """Returns whether the server is up, and ours: a stranger on this port does not know the token."""
        try:
            with urllib.request.urlopen(self.url("api/status"), timeout=5) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            return False


@contextmanager
def serving(root: Path, scratch: Path) -> Iterator[Lab]:
    """Runs JupyterLab on `root` with settings of its own in `scratch`, and ends it with all its kernels."""
    environment = _environment(scratch)
    for _ in range(3):  # another process may take the port between our look and the server's start
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        lab = Lab(port, secrets.token_hex(16), root)
        log = scratch / "server.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "jupyterlab", *lab.options()],
                cwd=root,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            if _ready(lab, process):
                yield lab
                return
        finally:
            _end(process)
    raise AssertionError(f"JupyterLab did not start:\n{log.read_text(encoding='utf-8')[-3000:]}")


def _environment(scratch: Path) -> dict[str, str]:
    settings = scratch / "config" / SETTINGS / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(NO_NEWS), encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "IPYTHON"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return kept | {
        "PATH": path,
        "HOME": str(scratch),
        "JUPYTER_CONFIG_DIR": str(scratch / "config"),
        "JUPYTER_DATA_DIR": str(scratch / "data"),
        "JUPYTER_RUNTIME_DIR": str(scratch / "runtime"),
        "JUPYTER_PREFER_ENV_PATH": "1",  # kernels and extensions of this interpreter's environment come first
        "IPYTHONDIR": str(scratch / "ipython"),
    }


def _ready(lab: Lab, process: "subprocess.Popen[bytes]", seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        if lab.answers():
            return True
        time.sleep(0.1)
    return False


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ends the server gently, so that it ends its kernels, then whatever is left of its process group."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=10)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Validation:
    """What nbgrader's Validate said: the sources of the cells that failed, each with its message."""

    def __init__(self, dialog: Locator) -> None:
        self.text = dialog.inner_text()
        texts = [pre.inner_text().strip() for pre in dialog.locator("#validation-message pre").all()]
        self.failed = dict(zip(texts[::2], texts[1::2], strict=True))
        self.success = "Success! Your notebook passes all the tests." in self.text


class Sheet:
    """A sheet that is open in JupyterLab. Cells are called by their grade_id, such as "check_center"."""

    def __init__(self, page: Page, lab: Lab, path: str) -> None:
        self.page = page
        self.file = lab.root / path
        page.goto(lab.url(f"lab/tree/{path}?reset"), timeout=LOADING)
        self.panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
        self.notebook = self.panel.locator(".jp-Notebook")
        expect(self.notebook).to_be_visible(timeout=LOADING)
        expect(page.locator("#jupyterlab-splash")).to_have_count(0, timeout=LOADING)
        expect(self.cells()).to_have_count(len(self.saved().cells))
        # "Idle" in the notebook's own toolbar stands there before a kernel does
        expect(page.locator("#jp-main-statusbar")).to_contain_text("(ipykernel) | Idle", timeout=LOADING)

    def cell(self, name: str) -> Locator:
        """Returns the cell whose grade_id is `name`."""
        names = [cell.metadata.get("nbgrader", {}).get("grade_id") for cell in self.saved().cells]
        return self.cells().nth(names.index(name))

    def cells(self) -> Locator:
        return self.notebook.locator(".jp-Cell")

    def saved(self) -> NotebookNode:
        """Returns the notebook as it was last saved."""
        return nbformat.read(self.file, as_version=4)

    def saved_cell(self, name: str) -> NotebookNode:
        return next(c for c in self.saved().cells if c.metadata.get("nbgrader", {}).get("grade_id") == name)

    def write(self, name: str, text: str) -> None:
        """Puts `text` in place of the cell's text as a person does: into the cell, select all, type or paste."""
        cell = self.cell(name)
        if cell.locator(".jp-MarkdownOutput").is_visible():
            cell.locator(".jp-MarkdownOutput").dblclick()
        self.click_into(name)
        self.page.keyboard.press("ControlOrMeta+a")
        self.page.keyboard.insert_text(text)
        expect(cell.locator(".cm-content")).to_contain_text(text.strip().splitlines()[-1].strip())

    def text(self, name: str) -> str:
        """Returns the text that the cell's editor shows."""
        return "\n".join(line.rstrip("\n") for line in self.cell(name).locator(".cm-line").all_text_contents())

    def click_into(self, name: str) -> None:
        """Sets the cursor into the cell's editor."""
        editor = self.cell(name).locator(".cm-content")
        editor.scroll_into_view_if_needed()
        editor.click()
        expect(self.cell(name)).to_have_class(re.compile(r"\bjp-mod-active\b"))

    def run(self, *names: str) -> None:
        """Runs the cells with Shift+Enter, each after the one before has ended."""
        for name in names:
            before = self._prompt(name).inner_text()
            self.click_into(name)
            self.page.keyboard.press("Shift+Enter")
            self.expect_ran(name, before)

    def run_all(self, last: str) -> None:
        """Runs all cells with the menu, and waits for the cell `last`."""
        before = self._prompt(last).inner_text()
        menu(self.page, "Run", "Run All Cells")
        self.expect_ran(last, before)

    def expect_ran(self, name: str, before: str) -> None:
        """Waits until the cell, whose prompt was `before`, has run to its end."""
        expect(self._prompt(name)).not_to_have_text(before, timeout=RUNNING)
        expect(self._prompt(name)).to_have_text(re.compile(r"^\s*\[\d+\]:?\s*$"), timeout=RUNNING)

    def output(self, name: str) -> Locator:
        """Returns what is shown below the cell."""
        return self.cell(name).locator(".jp-OutputArea-output")

    def validate(self) -> Locator:
        """Presses nbgrader's button, which saves, and returns its dialog."""
        self.panel.get_by_role("button", name="Validate", exact=True).click()
        dialog = self.page.get_by_role("dialog").filter(has_text="Validation Results")
        expect(dialog).to_be_visible(timeout=RUNNING)
        return dialog

    def close_dialog(self) -> None:
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_role("button", name="Ok", exact=True).click()
        expect(dialog).to_have_count(0)

    def _prompt(self, name: str) -> Locator:
        return self.cell(name).locator(".jp-InputArea-prompt")


def choose_theme(page: Page, name: str) -> None:
    """Changes JupyterLab's theme, "JupyterLab Dark" say, with the menu, and waits until it is shown."""
    menu(page, "Settings", "Theme", name)
    expect(page.locator("body")).to_have_attribute("data-jp-theme-name", name, timeout=LOADING)
    expect(page.locator("#jupyterlab-splash")).to_have_count(0, timeout=LOADING)


def menu(page: Page, *names: str) -> None:
    """Chooses from JupyterLab's menu, such as "Run", "Run All Cells"."""
    for name in names:
        labels = page.locator(".lm-MenuBar-itemLabel, .lm-Menu-itemLabel")
        labels.filter(has_text=re.compile(rf"^{re.escape(name)}$")).click()
