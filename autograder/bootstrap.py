"""Sets up what a verb of the Makefile needs: `.venv`, its packages, and system packages where it may.

The Makefile runs it as `python3 autograder/bootstrap.py VERB`, before anything is installed: it uses the
standard library alone, and its syntax is that of Python 3.6, so that an old one can say that it is too old.

`.venv/setup.json` says how far setup came and from which files. It says "working" before the first change and
"ready" after the last, so that a setup that was interrupted is noticed and goes on, and one that is ready is
skipped while requirements.lock, pyproject.toml, this file's VERSION, the Python and the place are the same.
"""

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if __name__ == "__main__":  # a module of this folder must not stand in for one of the standard library
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != os.path.join(ROOT, "autograder")]


def _leave_old_python():
    """Goes on in the environment's own Python where there is a newer one; else ends with one sentence."""
    own = os.path.join(ROOT, ".venv", "bin", "python")
    if "--exact" not in sys.argv and os.access(own, os.X_OK) and sys.executable != own:
        os.execv(own, [own, os.path.abspath(__file__)] + sys.argv[1:])  # noqa: RUF005
    found = "%d.%d" % sys.version_info[:2]  # noqa: UP031
    sys.exit(
        "Python 3.11 or newer is needed, and this one is " + found + ": "
        "install a newer one, or name it, for example `make setup PYTHON=python3.12`."
    )


if sys.version_info < (3, 11):  # noqa: UP036
    _leave_old_python()

import argparse
import contextlib
import csv
import hashlib
import importlib.util
import json
import re
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

try:
    import fcntl
except ImportError:  # not on Windows, where two setups at once are the user's to avoid
    fcntl = None  # type: ignore[assignment]

VERSION = 2  # raise it when setup does something new, so that everyone's next `make` sets up again
VENV = Path(ROOT, ".venv")
PYTHON = VENV / "bin" / "python"
MARK = VENV / "setup.json"
LOG = VENV / "setup.log"
LOCK_FILE = Path(ROOT, "requirements.lock")
PROJECT_FILE = Path(ROOT, "pyproject.toml")
DISK = "2 GB"  # what .venv takes with a CPU-only torch; a CUDA build takes about 8 GB


class Stop(Exception):
    """Ends setup with one sentence for the user."""


# --- what the system must have ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class SystemPackage:
    """A program that pip cannot install: its Debian package, how to find it, and which verbs want it."""

    name: str
    found: Callable[[], bool]
    verbs: frozenset[str]
    otherwise: str  # what a verb does without it
    required: bool = False


def find_browser() -> str | None:
    """Returns the path of a Chromium or Chrome that can be driven, or None."""
    names = ("chromium", "google-chrome", "google-chrome-stable", "chrome", "chromium-browser")
    places = (
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    )
    return next(filter(None, map(shutil.which, (*names, *places))), None)


def find_postgres() -> Path | None:
    """Returns the folder with the programs of a Postgres server, which Debian keeps away from PATH, or None."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    on_path = shutil.which("initdb")
    found = Path(on_path).resolve() if on_path else next(reversed(installed), None)
    return found.parent if found else None


# to add one, add a line: setup then installs it where it may, and otherwise says what is missing
SYSTEM = (
    SystemPackage(
        "bubblewrap",
        lambda: bool(shutil.which("bwrap")) or not sys.platform.startswith("linux"),
        frozenset({"setup", "test", "demo", "bench"}),
        "submissions can be graded only with --unsafe",
    ),
    SystemPackage("chromium", lambda: bool(find_browser()), frozenset({"test"}), "the browser tests are skipped"),
    SystemPackage("postgresql", lambda: bool(find_postgres()), frozenset({"test"}), "the Postgres tests are skipped"),
)


def missing_packages(verb: str) -> list[SystemPackage]:
    """Returns the system packages that the verb wants and that are not there."""
    return [package for package in SYSTEM if verb in package.verbs and not package.found()]


def may_install() -> bool:
    """Returns whether setup may install system packages: as root, where apt-get is."""
    return os.name == "posix" and os.geteuid() == 0 and bool(shutil.which("apt-get"))


# --- the state of .venv ----------------------------------------------------------------------------------------


def base_python() -> str:
    """Returns the interpreter that environments are made of, also when this one is an environment's."""
    return getattr(sys, "_base_executable", "") or sys.executable


def version_of(python: Path) -> str | None:
    """Returns the version of an interpreter, as "3.11", or None if it does not run."""
    if not os.access(python, os.X_OK):
        return None
    ask = [str(python), "-ISc", "import sys; print('%d.%d' % sys.version_info[:2])"]
    try:
        answer = subprocess.run(ask, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None


def own_version() -> str:
    """Returns the version of the Python that runs this, as "3.11"."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def digest(version: str) -> str:
    """Returns what setup depends on, as one string: the lock, the project, this program, the Python, the place."""
    facts = [LOCK_FILE.read_text(encoding="utf-8"), PROJECT_FILE.read_text(encoding="utf-8")]
    return hashlib.sha256(json.dumps([*facts, VERSION, version, str(VENV)]).encode()).hexdigest()


def read_mark() -> dict[str, Any]:
    """Returns what the last setup said of itself, empty if there was none."""
    try:
        mark = json.loads(MARK.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return mark if isinstance(mark, dict) else {}


def write_mark(state: str, made: bool, **more: str) -> None:
    """Says how far setup is, so that a crash leaves either the old word or the new."""
    draft = MARK.with_suffix(".tmp")
    draft.write_text(json.dumps({"state": state, "made": made, "place": str(VENV), **more}) + "\n", encoding="utf-8")
    os.replace(draft, MARK)


def is_ready(exact: bool) -> bool:
    """Returns whether nothing changed since the last complete setup."""
    mark = read_mark()
    if mark.get("state") != "ready":
        return False
    version = version_of(PYTHON)
    return bool(version) and mark.get("digest") == digest(str(version)) and (not exact or version == own_version())


# --- running programs ------------------------------------------------------------------------------------------

# where packages come from is the user's choice; every other setting of pip is setup's
SOURCES = re.compile(
    "PIP_((EXTRA_)?INDEX_URL|NO_INDEX|FIND_LINKS|TRUSTED_HOST|(CLIENT_)?CERT|PROXY|(DEFAULT_)?TIMEOUT|RETRIES"
    "|(NO_)?CACHE_DIR|CONFIG_FILE|KEYRING_PROVIDER|USE_FEATURE|USE_DEPRECATED)"
)


def clean_environment() -> dict[str, str]:
    """Returns the environment for pip: without what would make it look at, or install into, another place."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PIP_", "CONDA_", "VIRTUAL_ENV"))}
    kept |= {name: value for name, value in os.environ.items() if SOURCES.fullmatch(name)}
    kept |= {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return kept | {"PYTHONNOUSERSITE": "1", "PYTHONUNBUFFERED": "1"}


def run(command: list[str], heard: Callable[[str], None], lock: int) -> None:
    """Runs a program, hands each line that it prints to `heard` and to the log; raises Stop with its reason."""
    last: deque[str] = deque(maxlen=400)
    # pass_fds: the child shares the lock, so should setup be killed, the next one waits for the orphan to end
    with LOG.open("a", encoding="utf-8") as log:
        log.write("\n$ " + " ".join(command) + "\n")
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=clean_environment(),
            cwd=ROOT,
            pass_fds=(lock,) if lock >= 0 else (),
        )
        assert child.stdout is not None
        with child:
            try:
                for line in child.stdout:
                    log.write(line)
                    last.append(line.rstrip())
                    heard(line.rstrip())
            except BaseException:
                child.terminate()
                raise
    if child.returncode:
        raise Stop(reason(last, next(name for name in ("pip", "venv", "apt-get") if name in command)))


def reason(lines: Iterable[str], program: str) -> str:
    """Returns, in one sentence, why a program failed, read off what it printed."""
    lines = list(lines)
    text = "\n".join(lines)
    if re.search(r"No space left on device|Disk quota exceeded", text):
        return f"The disk is full: free about {DISK}, then run the same command again."
    offline = (
        r"Retrying \(Retry|NewConnectionError|name resolution|Network is unreachable|Connection refused"
        r"|[Tt]imed out|ProxyError|Could not resolve|Unable to fetch|Failed to fetch"
    )
    if re.search(offline, text):
        return "The network does not answer and what is missing must come from it: connect, then run the same again."
    errors = [line for line in lines if re.match(r"(ERROR|E|Error|error):\s", line)] or [line for line in lines if line]
    told = re.sub(r"^\w+:\s+", "", errors[-1]).rstrip(".") if errors else "it said nothing"
    return f"Setup stopped because {program} failed ({told}); the whole story is in {LOG}."


# --- progress --------------------------------------------------------------------------------------------------


@dataclass
class Progress:
    """Shows each step as one line with its count: on a terminal the line is redrawn, elsewhere it grows."""

    total: int
    number: int = 0
    title: str = ""
    detail: str = ""
    live: bool = field(default_factory=lambda: sys.stdout.isatty())

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Shows a step from its start to its end."""
        self.number, self.title, self.detail = self.number + 1, f"[{self.number + 1}/{self.total}] {title}", ""
        print(self.title, end="", flush=True)
        started, done = time.monotonic(), threading.Event()
        ticker = threading.Thread(target=self._tick, args=(started, done), daemon=True)
        ticker.start()
        end = "stopped"
        try:
            yield
            end = "done"
        finally:
            done.set()
            ticker.join()
            self._show(f"{end} ({time.monotonic() - started:.0f} s)")
            print(flush=True)

    def _tick(self, started: float, done: threading.Event) -> None:
        while not done.wait(0.5 if self.live else 20):
            detail = f"{self.detail}, " if self.live and self.detail else ""
            self._show(f"{detail}{time.monotonic() - started:.0f} s")

    def _show(self, state: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        print(f"\r\033[K{f'{self.title} ... {state}'[:width]}" if self.live else f" ... {state}", end="", flush=True)


# --- steps -----------------------------------------------------------------------------------------------------


def install_system(packages: list[SystemPackage], progress: Progress, lock: int) -> None:
    """Installs system packages, each by itself; one that is wanted but not required may fail."""
    apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    apt += ["-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=30", "-o", "DPkg::Lock::Timeout=120"]
    failed = []

    def heard(line: str) -> None:
        match = re.match(r"(?:Unpacking|Setting up) (\S+)", line)
        progress.detail = match[1] if match else progress.detail

    for package in packages:
        with contextlib.suppress(Stop), progress.step(f"install {package.name} with apt-get"):
            failed.append(package)
            if package is packages[0]:
                with contextlib.suppress(Stop):  # a list that cannot be renewed may still serve
                    run([*apt, "update"], heard, lock)
            run([*apt, "install", "--yes", "--no-install-recommends", package.name], heard, lock)
            failed.pop()
    say_missing(failed)


def say_missing(packages: list[SystemPackage]) -> None:
    """Says what to install by hand; raises Stop if a verb cannot do without."""
    for package in packages:
        if package.required:
            raise Stop(f"{package.name} is needed: install it with your system's package manager, then run this again.")
        print(f"{package.name} is not installed, so {package.otherwise}; install it with your package manager.")


def need_ensurepip(progress: Progress, lock: int) -> None:
    """Has Debian's package for environments installed, where Python comes without it."""
    name = f"python{own_version()}-venv"
    package = SystemPackage(name, lambda: False, frozenset(), "", required=True)
    if not may_install() or sys.base_prefix != "/usr":
        say_missing([package])
    install_system([package], progress, lock)


def make_environment(lock: int) -> None:
    """Makes .venv anew, in place of one that setup itself had made."""
    for entry in VENV.iterdir():
        if entry in (MARK, LOG):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    run([base_python(), "-Im", "venv", str(VENV)], lambda _: None, lock)


def install_packages(progress: Progress, lock: int) -> None:
    """Installs what the lock file pins; what is there already is not fetched again."""
    seen = 0

    def heard(line: str) -> None:
        nonlocal seen
        found = re.match(r"(?:Collecting|Requirement already satisfied:) ([\w.-]+)", line)
        fetched = re.match(r"\s*Downloading (?:\S*/)?([^/\s]+?)-\d[^/\s]* \((.+)\)", line)
        if found:
            seen += 1
            progress.detail = f"{seen} found, {found[1]}"
        elif fetched:
            progress.detail = f"{seen} found, downloading {fetched[1]}, {fetched[2]}"
        elif line.startswith("Installing collected packages"):
            progress.detail = f"installing {line.count(',') + 1} packages"

    run([str(PYTHON), "-Im", "pip", "install", "-r", str(LOCK_FILE)], heard, lock)


def install_project(lock: int) -> None:
    """Installs the course's own package from this folder, in place, with the tools that are already there."""
    pip = [str(PYTHON), "-Im", "pip", "install", "--no-deps", "--no-build-isolation", "--editable", ROOT]
    run(pip, lambda _: None, lock)


def half_installed(site: Path) -> list[str]:
    """Returns the packages, as "name==version", that an interrupted pip left without some of their files."""
    broken = []
    for info in sorted(site.glob("*.dist-info")):
        try:
            with (info / "RECORD").open(newline="", encoding="utf-8") as record:
                files = [(site / row[0], row[2]) for row in csv.reader(record) if len(row) == 3]
            whole = all(path.stat().st_size == int(size or path.stat().st_size) for path, size in files)
        except (OSError, ValueError):
            whole = False
        name, _, version = info.name.removesuffix(".dist-info").partition("-")
        if not whole and name != "autograder":
            broken.append(f"{name}=={version.partition('+')[0]}")
    return broken


def repair_packages(progress: Progress, lock: int) -> None:
    """Installs again, over what is there, each package that an interrupted setup left incomplete."""
    for site in VENV.glob("lib/python*/site-packages"):
        broken = half_installed(site)
        if broken:
            progress.detail = f"installing {len(broken)} again"
            pip = [str(PYTHON), "-Im", "pip", "install", "--no-deps", "--ignore-installed", *broken]
            run(pip, lambda _: None, lock)


def must_make(mark: dict[str, Any], exact: bool) -> str:
    """Returns why .venv has to be made, empty if it serves; raises Stop if it is somebody else's and does not."""
    version = version_of(PYTHON)
    works = version is not None and tuple(map(int, version.split("."))) >= (3, 11) and has_pip()
    if not mark.get("made"):
        if not VENV.exists() or (VENV.is_dir() and not mark and not any(VENV.iterdir())):
            return "new"
        if works and (not exact or version == own_version()):
            return ""
        raise Stop(f"{VENV} was not made by this setup and does not serve it: move it away, then run this again.")
    if not works:
        return "incomplete"
    if mark.get("place") != str(VENV):
        return "moved"
    return "of another Python" if exact and version != own_version() else ""


def has_pip() -> bool:
    """Returns whether the environment can install packages."""
    return subprocess.run([PYTHON, "-Im", "pip", "--version"], capture_output=True, check=False).returncode == 0


# --- setup -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def alone() -> Iterator[int]:
    """Waits until no other setup runs in this folder; yields the lock, -1 where there is none to have."""
    lock = -1
    try:
        if fcntl is not None:
            lock = os.open(ROOT, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print("Another setup runs in this folder; waiting for it to end.", flush=True)
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError:  # a file system without locks
                os.close(lock)
                lock = -1
        yield lock
    finally:
        if lock >= 0:
            os.close(lock)


def set_up(verb: str, exact: bool) -> None:
    """Makes everything ready for a verb, and says so in a line if it is ready already."""
    missing = missing_packages(verb)
    if missing and not may_install():
        say_missing(missing)
        missing = []
    if not missing and is_ready(exact):
        print("Setup is up to date.", flush=True)
        return
    with alone() as lock:
        missing = [package for package in missing if not package.found()]
        ready = is_ready(exact)
        if ready and not missing:
            print("Setup is up to date.", flush=True)
            return
        started = time.monotonic()
        change(missing, ready, exact, lock)
        print(f"Setup is ready ({time.monotonic() - started:.0f} s).", flush=True)


def change(missing: list[SystemPackage], ready: bool, exact: bool, lock: int) -> None:
    """Does the steps that are needed, in order."""
    mark = read_mark()
    if VENV.is_symlink() or (VENV.exists() and not VENV.is_dir()):
        raise Stop(f"{VENV} should be a folder that setup makes: move it away, then run this again.")
    why = "" if ready else must_make(mark, exact)
    interrupted = mark.get("state") == "working"
    without_pip = bool(why) and importlib.util.find_spec("ensurepip") is None
    if interrupted:
        print("The last setup was interrupted; this one goes on from there.", flush=True)
    steps = (without_pip, why, interrupted and not why, not ready, not ready)
    progress = Progress(total=len(missing) + sum(map(bool, steps)))
    if not ready:
        if not VENV.exists():
            print(f"Setting up in .venv: this needs the network once, and {DISK} of disk or more.", flush=True)
            VENV.mkdir()
        made = bool(why) or bool(mark.get("made"))
        write_mark("working", made)
        LOG.write_text("", encoding="utf-8")
    if without_pip:
        need_ensurepip(progress, lock)
    if missing:
        install_system(missing, progress, lock)
    if ready:
        return
    if why:
        with progress.step(f"make .venv of Python {own_version()}" + (f" (it was {why})" if why != "new" else "")):
            make_environment(lock)
    elif interrupted:
        with progress.step("look for packages that are incomplete"):
            repair_packages(progress, lock)
    pins = len(re.findall(r"(?m)^[\w.-]+==", LOCK_FILE.read_text(encoding="utf-8")))
    with progress.step(f"install the {pins} packages of {LOCK_FILE.name}"):
        install_packages(progress, lock)
    with progress.step("install the course's own package in place"):
        install_project(lock)
    write_mark("ready", made, digest=digest(str(version_of(PYTHON))))


def _terminated(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """Sets up for one verb; returns the exit status."""
    parser = argparse.ArgumentParser(prog="bootstrap.py", description="Sets up what a verb of the Makefile needs.")
    parser.add_argument("verb", nargs="?", default="setup")
    parser.add_argument("--exact", action="store_true", help="make .venv of this Python, even if it is of another")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminated)
    try:
        set_up(options.verb, options.exact)
    except Stop as stop:
        print(stop, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nSetup was interrupted; run the same command to go on.", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"Setup cannot go on: {error.strerror or error} ({error.filename or ROOT}).", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
