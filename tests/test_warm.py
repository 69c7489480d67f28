"""Warm starts: what is forked from the template is what a cold start is, is alone, and gets the same grade."""

import contextlib
import errno
import json
import logging
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import psutil
import pytest
from nbgrader.api import Gradebook

from autograder import graded, intake, jobs, pools, preloaded, results, sandbox, template, wire, worker
from autograder.course import Course, SheetPlace
from autograder.demo import CONFIG, SampleClass
from autograder.errors import CourseError
from autograder.jobs import Job
from autograder.rebuilding import rebuilt, submitted
from autograder.sandbox import DATA, MB, Limits, Sandbox
from autograder.session import Session, Shown
from autograder.template import Connection, Template
from tests import warm_probe
from tests.conftest import needs_sandbox
from tests.oddities import ODDITIES
from tests.test_seccomp import CASES, EPERM, calls, number_of

pytestmark = needs_sandbox

ROOT = Path(__file__).resolve().parent.parent
CANARY = "canary-outside-1701"
PATIENCE = 20.0
SEED = 7

Inside = dict[str, Any]


@pytest.fixture(scope="module")
def made() -> Iterator[Template]:
    """Returns a template, which was made by a grader with a secret in its environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SECRET_TOKEN", CANARY)
        started = template.start().wait()
    with started:
        yield started


@pytest.fixture(scope="module")
def warm(made: Template) -> Connection:
    return Connection(made.address)


@contextlib.contextmanager
def opened(way: Connection | None, limits: Limits | None = None, **more: Any) -> Iterator[Callable[[str], Shown]]:
    """Returns a function that runs a cell in one sandbox, warm or cold."""
    with (
        Sandbox(limits or Limits(cell=20), template=way, **more) as box,
        contextlib.closing(Session(box)) as session,
    ):
        yield lambda source: session.run(0, source)


def text(shown: Shown) -> str:
    """Returns what a cell printed, and the name of the exception that ended it."""
    parts = [output.get("text", output.get("ename", "")) for output in shown.outputs]
    return "".join(map(str, parts)) + shown.stopped


def said(way: Connection | None, *sources: str, **more: Any) -> list[str]:
    """Returns what each of some cells printed, in one sandbox."""
    with opened(way, **more) as run:
        return [text(run(source)) for source in sources]


def until(holds: Callable[[], bool]) -> bool:
    """Waits until something holds; returns whether it does."""
    end = time.monotonic() + PATIENCE
    while not holds() and time.monotonic() < end:
        time.sleep(0.02)
    return holds()


# ---- what a process is


@pytest.fixture(scope="module")
def insides(warm: Connection) -> tuple[Inside, Inside]:
    """Returns what a cold and a warm process found out about themselves."""
    source = Path(warm_probe.__file__).read_text() + "\nprint(found_out())"
    cold, forked = (json.loads(said(way, source)[0]) for way in (None, warm))
    return cold, forked


DIFFERENT = {
    "capabilities": "a warm process has none that it could get back, where root grades, either",
    "limits": "what was imported already does not count as the student's data",
    "room for data": "likewise",
    "processes": "one more holds the walls until the warm one is in",
    "keeper's files": "its standard input is the sandbox's /dev/null, not the grader's",
    "program": "the system's loader where Python is the grader's own: it would be seen without the walls around it",
    "command line": "that of the template",
    "namespaces": "each sandbox has its own",
    "keeper's namespaces": "likewise",
    "numbers that should be new": "they should",
}


def test_a_warm_process_finds_what_a_cold_one_finds(insides: tuple[Inside, Inside]) -> None:
    cold, forked = insides
    different = {name: (cold[name], forked.get(name)) for name in cold if cold[name] != forked.get(name)}
    assert {name: values for name, values in different.items() if name not in DIFFERENT} == {}
    assert cold.keys() == forked.keys()
    assert cold["mapped but not there"] == cold["shared memory"] == []


def test_it_has_no_capability_in_any_set(insides: tuple[Inside, Inside]) -> None:
    cold, forked = insides
    assert forked["capabilities"] == dict.fromkeys(cold["capabilities"], "0" * 16)
    assert all(cold["capabilities"][name] == "0" * 16 for name in ("CapPrm", "CapEff", "CapAmb"))


def test_its_limits_are_the_same_but_for_the_data_that_the_template_has(insides: tuple[Inside, Inside]) -> None:
    cold, forked = (dict(re.findall(r"^(Max [a-z ]+?)  +(.*)", inside["limits"], re.MULTILINE)) for inside in insides)
    more = int(forked.pop("Max data size").split()[0]) - int(cold.pop("Max data size").split()[0])
    assert cold == forked
    assert 0 < more < 800 * MB
    assert 0 <= insides[1]["room for data"] - insides[0]["room for data"] < 200 * MB


def test_it_is_in_namespaces_of_its_own_and_so_is_its_keeper(insides: tuple[Inside, Inside]) -> None:
    outside = {path.name: str(path.readlink()) for path in Path("/proc/self/ns").iterdir()}
    shared = [{name for name in outside if inside["namespaces"][name] == outside[name]} for inside in insides]
    assert shared[0] == shared[1]
    assert not shared[1] & {"mnt", "pid", "net", "ipc", "uts"}
    assert ("user" in shared[1]) == (os.geteuid() == 0)
    for inside in insides:
        assert inside["keeper's namespaces"] == inside["namespaces"]


def test_it_sees_its_own_processes_and_one_that_holds_the_walls(insides: tuple[Inside, Inside]) -> None:
    cold, forked = (inside["processes"] for inside in insides)
    assert [name for name in forked if not name.startswith("cat ")] == cold
    assert len(forked) == len(cold) + 1 == 4


def test_its_command_line_says_nothing_of_the_grader(insides: tuple[Inside, Inside], made: Template) -> None:
    line = insides[1]["command line"]
    assert [word for word in line if not word.isdigit()][-5:] == ["-s", "-P", "-m", "autograder.preloaded", ""]
    assert str(Path(made.address).parent) not in json.dumps(insides[1])


def test_every_refused_call_is_refused(warm: Connection) -> None:
    refused = [(name, arguments) for name, arguments, answer in CASES if answer == EPERM]
    asked: dict[str, tuple[int, ...]]
    asked = {name: (number, 0, 0, 0) for name, (number, _) in calls(platform.machine()).items()}
    asked |= {f"{name} {arguments}": (number_of(name), *arguments) for name, arguments in refused}
    source = f"""
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
allowed = []
for name, numbers in {asked!r}.items():
    ctypes.set_errno(0)
    result = libc.syscall(*map(ctypes.c_long, numbers))
    if name.startswith("clone") and result == 0:
        os._exit(0)
    if result != -1 or ctypes.get_errno() not in {(errno.EPERM, errno.ENOSYS)}:
        allowed.append(name)
print(len({asked!r}), allowed)
"""
    assert said(warm, source) == [f"{len(asked)} []\n"]


CHANGES = """
import os

program = [f"/proc/{number}/exe" for number in (1, os.getppid(), "self")]
mapped = [f"/proc/self/map_files/{name}" for name in os.listdir("/proc/self/map_files")]
changed = []
for path in program + mapped:
    for change in (
        lambda: os.chmod(path, 0o4755),
        lambda: os.utime(path),
        lambda: os.setxattr(path, "user.x", b"x"),
        lambda: os.truncate(path, 0),
        lambda: open(path, "r+b"),
        lambda: os.link(path, "/tmp/linked", follow_symlinks=True),
    ):
        try:
            change()
            changed.append(path)
        except OSError:
            continue
print(len(mapped) > 50, changed)
"""


def test_the_program_that_it_is_a_copy_of_cannot_be_changed(warm: Connection) -> None:
    """The template's files were opened where the walls are not; the program of a process can be reached from inside."""
    assert said(None, CHANGES) == said(warm, CHANGES) == ["True []\n"]


def test_a_program_of_the_graders_own_is_not_forked() -> None:
    code = """
import os
from types import SimpleNamespace
from autograder import preloaded
preloaded.PROGRAM = SimpleNamespace(stat=lambda: SimpleNamespace(st_uid=77), readlink=lambda: "/home/me/python")
os.access = lambda path, how: mode
for user, mode in ((0, True), (76, False), (76, True), (77, False)):
    os.geteuid = lambda: user
    print(preloaded._problem(set(range(1000))))
"""
    done = python(code, OMP_NUM_THREADS="1")
    refused = "a submission could change /home/me/python, which belongs to you\n"
    assert done.stdout == f"\n\n{refused}{refused}", done.stderr


def test_a_program_of_the_graders_own_is_loaded_by_the_systems_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preloaded, "may_be_changed", lambda path: True)
    look = "import os, sys; print(os.readlink('/proc/self/exe'), sys.executable, sys.prefix, *open('/proc/self/comm'))"
    with template.start().wait() as own:
        program, *known = said(Connection(own.address), look)[0].split()
    assert Path(program) != Path(sys.executable).resolve()
    assert [program, *known] == [template._loader(), *said(None, look)[0].split()[1:]]


def python(code: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    known = {**os.environ, **environment}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=known)


SCAN = """
import re

found = set()
for line in open("/proc/self/maps"):
    where, rights, *_, file = f"{line} -".split(maxsplit=5)
    if "rw" in rights and file.strip()[0] in "-[":
        begin, end = (int(word, 16) for word in where.split("-"))
        with open("/proc/self/mem", "rb", 0) as memory:
            memory.seek(begin)
            found |= set(re.findall(rb"canar[y]-[a-z]+-17", memory.read(end - begin)))
print(sorted(found))
"""


def test_its_memory_holds_nothing_of_the_graders_or_of_another_submission(warm: Connection) -> None:
    said(warm, "canary = 'canary-' + 'earlier-1701'; print(canary)")
    assert said(warm, SCAN, "canary = 'canary-' + 'own-1701'", SCAN) == ["[]\n", "", "[b'canary-own-17']\n"]


@pytest.mark.parametrize("way", ["cold", "warm"])
def test_data_sets_are_found(warm: Connection, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox.data, "originals", lambda: [tmp_path / "digits.gz"])
    (tmp_path / "digits.gz").write_bytes(b"digits")
    look = "from autograder.data import data_directory; print([str(path) for path in data_directory().iterdir()])"
    assert said(warm if way == "warm" else None, look) == [f"['{DATA}/digits.gz']\n"]


# ---- apart from the others

MEET = """
import os, pathlib, socket

meeting = socket.socket(socket.AF_UNIX)
meeting.bind("\\0meet")
meeting.listen()
server = socket.create_server(("127.0.0.1", 4711))
for folder in ("/tmp", "/dev/shm", ".", "/home/student"):
    pathlib.Path(folder, "left-by-the-first").write_text("x")
os.environ["LEFT"] = "x"
print("ready")
"""
SEEK = """
import os, pathlib, socket

found = [str(path) for folder in ("/tmp", "/dev/shm", "/home/student") for path in pathlib.Path(folder).rglob("left-*")]
for family, address in ((socket.AF_UNIX, "\\0meet"), (socket.AF_INET, ("127.0.0.1", 4711)), (socket.AF_UNIX, ORDERS)):
    try:
        socket.socket(family).connect(address)
        found.append(address)
    except OSError:
        pass
found += [name for name in os.environ if name == "LEFT"]
for number in NUMBERS:
    try:
        os.kill(number, 0)
        found.append(number)
    except OSError:
        pass
print(found)
"""


def test_two_at_once_cannot_meet_and_neither_reaches_the_template(warm: Connection, made: Template) -> None:
    with opened(warm) as first, opened(warm) as second:
        assert text(first(MEET)) == "ready\n"
        assert text(second("import torch")) == ""
        others = [process.pid for process in psutil.Process(made.process.pid).children(recursive=True)]
        assert len(others) >= 6
        seek = SEEK.replace("ORDERS", repr(made.address)).replace("NUMBERS", repr([made.process.pid, *others]))
        assert text(second(seek)) == "[]\n"


KILL = """
import os, signal

for number in [-1, *range(1, 1000), *NUMBERS]:
    if number != os.getpid():
        for reached in (os.kill, os.killpg):
            try:
                reached(number, signal.SIGKILL)
            except (OSError, OverflowError):
                pass
print("killed")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_who_kills_everything_kills_only_themselves(warm: Connection, made: Template) -> None:
    numbers = [made.process.pid, *(process.pid for process in psutil.Process(made.process.pid).children())]
    with opened(warm) as other, opened(warm) as killer:
        assert text(other("x = 5")) == ""
        assert "ended" in text(killer(KILL.replace("NUMBERS", repr(numbers))))
        assert text(other("print(x)")) == "5\n"
    assert said(warm, "print(1)") == ["1\n"]


SPOIL = """
import builtins, ctypes, gc, os, random, sys, warnings
import matplotlib, matplotlib.pyplot as plt, numpy, torch

numpy.mean = torch.nn.functional.relu = lambda x: 0
torch.Tensor.sum = lambda self: 0
builtins.abs = lambda x: -1
builtins.spoiled = sys.modules["spoiled"] = 1
matplotlib.rcParams["lines.linewidth"] = 77
torch.set_default_dtype(torch.float64)
numpy.seterr(all="ignore")
sys.path.insert(0, "/spoiled")
gc.disable()
os.environ["PATH"] = os.environ["SPOILED"] = "/spoiled"
get_ipython().events.register("pre_run_cell", lambda *_: 1 / 0)
warnings.simplefilter("error")
ctypes.memset(id(251) + 24, 252, 1)  # the one 251 that all of Python uses
print(250 + 1)
"""
PRISTINE = """
import builtins, gc, os, sys, warnings
import matplotlib, numpy, torch

print(numpy.mean([1, 3]), torch.nn.functional.relu(torch.ones(2)).sum(), abs(3), hasattr(builtins, "spoiled"))
print("spoiled" in sys.modules, matplotlib.rcParams["lines.linewidth"], torch.get_default_dtype(), numpy.geterr())
print("/spoiled" in sys.path, gc.isenabled(), "SPOILED" in os.environ, os.environ["PATH"] == "/spoiled", 250 + 1)
print(warnings.filters[0][0] == "error" and warnings.filters[0][2] is Warning)
"""


def test_what_one_spoils_is_whole_for_the_next(warm: Connection) -> None:
    assert said(warm, SPOIL) == ["252\n"]
    assert said(warm, PRISTINE) == said(None, PRISTINE)


RANDOM = """
import random, numpy as np, sklearn.utils, torch
from multiprocessing import current_process

print(random.random(), np.random.rand(), torch.rand(1).item(), torch.initial_seed(), current_process().authkey)
print(np.random.default_rng().random(), sklearn.utils.check_random_state(None).rand())
"""
SEEDED = """
import random, numpy as np, torch

random.seed(3), np.random.seed(3), torch.manual_seed(3)
print(random.random(), np.random.rand(), torch.rand(1), np.random.default_rng(3).random(), torch.randperm(9))
print(list({"ab", "cd", "ef", "gh"}), hash("x"))
"""


def test_random_numbers_are_new_in_each_and_the_same_for_the_same_seed(warm: Connection) -> None:
    drawn = [said(warm, RANDOM)[0].split() for _ in range(2)]
    assert len(drawn[0]) == 7
    assert not set(drawn[0]) & set(drawn[1])
    assert said(warm, SEEDED) == said(None, SEEDED)


# ---- the template lives on, and leaves nothing

ENDS = {
    "exit": "import os; os._exit(3)",
    "segmentation fault": "import ctypes; ctypes.string_at(0)",
    "too much memory": "import os\nblocks = []\nwhile True: blocks.append(os.urandom(2**24))",
    "too many processes": "import os\nfor _ in range(200): os.fork()",
    "endless": "sum(iter(int, 1))",
    "closed files": "import os; os.closerange(0, 999)",
    "nonsense": "import os\nfor fd in range(3, 64):\n  try: os.write(fd, b'x' * 9999)\n  except OSError: pass",
}


@pytest.mark.parametrize("source", ENDS.values(), ids=ENDS)
def test_the_template_survives(source: str, warm: Connection, made: Template) -> None:
    with opened(warm, Limits(cell=2, submission=20, memory=500 * MB, processes=20)) as run:
        shown = run(source)
        assert shown.stopped or shown.outputs
    assert made.process.poll() is None
    assert said(warm, "print(6 * 7)") == ["42\n"]


def test_many_forks_leave_no_process_and_no_open_file(made: Template) -> None:
    way, grader, process = Connection(made.address), psutil.Process(), psutil.Process(made.process.pid)
    said(way, "1")
    before = (process.num_fds(), grader.num_fds(), len(grader.children(recursive=True)))
    for number in range(50):
        with opened(way) as run:
            assert number % 10 or text(run("print(1)")) == "1\n"
    assert until(lambda: not alive(process.children(recursive=True)))
    assert len(process.children()) <= 2  # who ended last is waited for when the next one is ordered
    assert len(grader.children(recursive=True)) <= before[2] + 2
    assert (process.num_fds(), grader.num_fds()) == before[:2]
    way.close()
    assert until(lambda: process.num_fds() < before[0])


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if sandbox._lives(process)]


def test_what_was_forked_ends_with_its_sandbox(warm: Connection, made: Template) -> None:
    process = psutil.Process(made.process.pid)
    assert until(lambda: not alive(process.children(recursive=True)))
    with opened(warm) as run:
        run("import subprocess\nfor _ in range(3): subprocess.Popen(['sleep', '300'], start_new_session=True)")
        inside = process.children(recursive=True)
        assert len(inside) >= 6
    assert not alive(inside[1:])
    assert until(lambda: not alive(inside))


def test_a_sandbox_goes_on_when_its_template_has_died_and_the_next_order_is_told() -> None:
    with template.start().wait() as own, open(os.devnull) as file:
        way = Connection(own.address)
        with opened(way) as run:
            own.process.kill()
            own.process.wait()
            assert text(run("print(1)")) == "1\n"
        for _ in range(2):
            with pytest.raises(CourseError, match="The process with all packages does not answer"):
                way.fork([file.fileno()], {}, 0, "/")
    assert not Path(own.address).parent.exists()
    with pytest.raises(CourseError, match="does not answer"):
        Connection(own.address)


OWNER = """
import time
import psutil
from autograder import template
from autograder.sandbox import Limits, Sandbox
from autograder.session import Session

made = template.start().wait()
with Sandbox(Limits(), template=template.Connection(made.address)) as box:
    Session(box).run(0, "import subprocess; subprocess.Popen(['sleep', '300'], start_new_session=True)")
    print(made.address, *(process.pid for process in psutil.Process().children(recursive=True)), flush=True)
    time.sleep(300)
"""


def test_a_grader_that_is_killed_leaves_neither_template_nor_sandbox() -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        address, *numbers = owner.stdout.readline().split()
        left = [psutil.Process(int(number)) for number in numbers]
        assert len(left) >= 7
        owner.kill()
    assert until(lambda: not alive(left))
    assert until(lambda: not Path(address).parent.exists())


# ---- the same results


SHOWN = {
    "a part that was not imported": "import matplotlib; matplotlib.pyplot",
    "a figure that nobody asks to show": "import matplotlib.pyplot as plt\nplt.plot([1, 2]);",
    "figures": "fig, ax = plt.subplots(); ax.set_title('$x^2$ and $y_1$'); plt.show()\nplt.hist([1, 2, 2]); fig",
    "a style": "from autograder import figures; figures.use_style(); plt.bar(['a', 'b'], [1, 2]);",
    "a font that is not there": "plt.title('x', family='no such font')\nplt.show()",
    "an interactive figure": "plt.ion(); plt.plot([3, 1]); plt.ioff(); print(plt.get_backend(), plt.get_fignums())",
    "folders": "import matplotlib as mpl; print(mpl.get_cachedir(), mpl.get_configdir())",
    "a tensor": "import torch; torch.manual_seed(0); torch.nn.Linear(2, 2), torch.randn(2, 2)",
    "a warning": "import warnings; warnings.warn('careful'); warnings.warn('old', DeprecationWarning)",
    "warnings of packages": "import numpy as np; np.log(0); torch.tensor(torch.ones(1))",
    "a logger": "import logging; logging.getLogger('mine').warning('careful')",
    "a logger of torch's": "logging.getLogger('torch.distributed').error('careful')",
    "an error": "def f(x): return x / 0\nf(1)",
    "an error in a package": "np.ones(2) @ np.ones(3)",
    "an error in torch": "torch.ones(2) @ torch.ones(3)",
    "a syntax error": "for x in",
    "input": "input('Name?')",
    "help": "help(np.ones_like)",
    "a question mark": "torch.nn.Linear?",
    "a magic": "%precision 3\n%matplotlib inline\n%who",
    "the shell": "!echo $HOME $AUTOGRADER_DATA $PWD; ls -a; env | sort | grep -v COLUMNS | grep -v LINES",
    "a bar": "from tqdm.auto import tqdm\nfor _ in tqdm(range(3), bar_format='{n}/{total}'): pass",
    "a widget": "import ipywidgets; ipywidgets.IntSlider()",
    "an interaction": "ipywidgets.interact(lambda n: print(n), n=3);",
    "a model": "import sklearn.linear_model; sklearn.linear_model.LinearRegression()",
    "a pool": "import multiprocessing\nwith multiprocessing.Pool(2) as pool: print(pool.map(abs, [-1, 2]))",
    "spawned": "with multiprocessing.get_context('spawn').Pool(1) as pool: print(pool.map(abs, [-1, 2]))",
    "a loader": "from torch.utils.data import *; print(list(DataLoader(torch.arange(8), 2, num_workers=2)))",
    "training": "w = torch.ones(2, requires_grad=True); (w * w).sum().backward(); torch.optim.Adam([w]).step(); w",
    "a compiled module": "torch.jit.script(torch.nn.Linear(1, 1))(torch.ones(1)).shape",
    "a thread": "import threading; t = threading.Thread(target=print, args=('x',)); t.start(); t.join()",
    "pickles": "import pickle\nclass A: pass\nprint(pickle.loads(pickle.dumps(A)) is A)",
    "raw output": "import os, sys; os.write(1, b'raw'); print('x', file=sys.__stdout__, flush=True)",
    "asynchronous": "import asyncio; await asyncio.sleep(0); print('later')",
    "many files": "kept = [open('/dev/null') for _ in range(60)]; plt.title('$z$'); plt.show(); kept[-1].read()",
}
CHANGING = re.compile(r"0x[0-9a-f]+|[0-9a-f]{32}|[EW]\d{4} [\d:.]+ \d+")  # addresses, names of widgets, torch's log


@pytest.fixture(scope="module")
def shown(warm: Connection) -> tuple[dict[str, str], dict[str, str]]:
    """Returns what the cells above show, cold and warm."""
    found = []
    for way in (None, warm):
        with opened(way, Limits(cell=60)) as run:
            found.append({name: CHANGING.sub("", json.dumps(run(source).outputs)) for name, source in SHOWN.items()})
    return found[0], found[1]


@pytest.mark.parametrize("name", SHOWN)
def test_cells_show_the_same(name: str, shown: tuple[dict[str, str], dict[str, str]]) -> None:
    cold, forked = shown
    assert forked[name] == cold[name]


def test_cells_show_something(shown: tuple[dict[str, str], dict[str, str]]) -> None:
    assert [name for name, outputs in shown[0].items() if outputs == "[]"] == []
    assert shown[0]["a figure that nobody asks to show"].count("image/png") == 1
    assert shown[0]["figures"].count("image/png") == 3


# ---- the same grades


@pytest.fixture(scope="module")
def mini(built_course: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Job]:
    """Returns the jobs of all honest oddities of the small course."""
    sample = SampleClass(Course(built_course).sheets[0])
    texts = {**sample.solutions, **sample.answers}

    def hand_in(submitted: Path) -> None:
        for oddity in ODDITIES:
            folder = submitted / oddity.name / sample.place.module
            folder.mkdir(parents=True)
            oddity.build(folder, json.loads(json.dumps(sample.release)), texts)

    return jobs_of(sample.place, tmp_path_factory.mktemp("mini"), hand_in)


@pytest.fixture(scope="module")
def course_jobs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Job]:
    """Returns the jobs of who solves each sheet of the course, in two styles, and of three who err."""
    found: dict[str, Job] = {}
    for place in Course(ROOT).sheets:
        members = [member for member in SampleClass(place).members() if member.student < "06"]

        def hand_in(submitted: Path, place: SheetPlace = place, members: Any = members) -> None:
            for member in members:
                folder = submitted / member.student / place.module
                folder.mkdir(parents=True)
                (folder / f"{place.notebook_name}.ipynb").write_bytes(member.file)

        of_sheet = jobs_of(place, tmp_path_factory.mktemp(place.name), hand_in)
        found |= {f"{place.name}: {student}": job for student, job in of_sheet.items()}
    return found


def jobs_of(place: SheetPlace, root: Path, hand_in: Callable[[Path], None]) -> dict[str, Job]:
    """Returns by student what is to be graded, in a course folder made at `root`."""
    shutil.copytree(place.root / "source" / place.module, root / "source" / place.module)
    (root / "nbgrader_config.py").write_text(CONFIG)
    hand_in(root / "submitted")
    call = [sys.executable, "-m", "nbgrader", "generate_assignment", place.module]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    subprocess.run(call, cwd=root, env={**os.environ, "PATH": path}, capture_output=True, check=True)
    source = root / "source" / place.module / f"{place.notebook_name}.ipynb"
    with Gradebook(f"sqlite:///{root / 'gradebook.db'}") as book:
        kit = jobs.read_kit(book.find_notebook(source.stem, place.module), source, Limits(), unsafe=False)
    names = {kit.sheet: {cell.metadata.nbgrader.grade_id for cell in kit.cells()}}
    folders = {folder.name: folder / place.module for folder in sorted((root / "submitted").iterdir())}
    return {
        student: intake.take_in(root / "submitted", folder, names, given=list(kit.public)).job(kit)
        for student, folder in folders.items()
    }


def distinct(found: dict[str, Job]) -> dict[str, Job]:
    """Returns one job for each notebook that is run: many oddities are mended before."""
    runs: dict[str, tuple[str, Job]] = {}
    for student, job in found.items():
        cells = rebuilt(submitted(job.data, job.name, job.notes), job.kit.cells()).cells
        runs.setdefault("\0".join(cell.source for cell in cells if cell.cell_type == "code"), (student, job))
    return dict(runs.values())


TIMES = re.compile(r"(CPU times|Wall time):.*?(?=\\n)")


def graded_as(job: Job, way: Connection | None) -> tuple[Any, ...]:
    """Returns all that a grading gives, but for the time that it took and the times that `%%time` shows."""
    result = graded.run(job, SEED, [], way)
    assert result.warm == (way is not None)
    notebook: Any = nbformat.reads(result.notebook, as_version=4)
    cells = [TIMES.sub("", json.dumps(cell, sort_keys=True)) for cell in notebook.cells]
    return result.key, result.ended, result.notes, dict(notebook.metadata), cells


@pytest.mark.slow
def test_every_honest_oddity_is_graded_the_same(mini: dict[str, Job], warm: Connection) -> None:
    chosen = distinct(mini)
    assert 20 <= len(chosen) <= len(mini) == len(ODDITIES)
    for student, job in chosen.items():
        assert graded_as(job, warm) == graded_as(job, None), student


@pytest.mark.slow
def test_a_class_of_each_sheet_is_graded_the_same(course_jobs: dict[str, Job], warm: Connection) -> None:
    assert len(course_jobs) >= 5
    for student, job in course_jobs.items():
        assert graded_as(job, warm) == graded_as(job, None), student


# ---- where there is no template


def test_a_package_that_starts_a_thread_is_not_forked(tmp_path: Path) -> None:
    hook = "import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
    assert why_not(tmp_path, hook) == "(a package that it imported started a thread)"


def test_a_package_that_keeps_a_file_open_is_not_forked(tmp_path: Path) -> None:
    assert why_not(tmp_path, "kept = open('/etc/passwd')") == "(a package that it imported keeps /etc/passwd open)"


def test_a_template_that_ends_says_why(tmp_path: Path) -> None:
    assert why_not(tmp_path, "import os; os.write(2, b'out of luck'); os._exit(1)") == "(out of luck)"


def why_not(folder: Path, hook: str) -> str:
    """Returns why no template can be made where Python runs `hook` as it starts, and has few packages."""
    without = "import sys; sys.modules.update(dict.fromkeys(['torch', 'sklearn', 'matplotlib', 'ipywidgets']))"
    (folder / "sitecustomize.py").write_text(f"{without}\n{hook}\n")
    environment = {**sandbox.environment(), "PYTHONPATH": str(folder)}
    with Template(environment, sandbox.font_lists()) as own, pytest.raises(CourseError) as refused:
        own.wait()
    assert not Path(own.address).parent.exists()
    return str(refused.value).removeprefix("No process with all packages can be kept ready ").removesuffix(".")


def test_walls_that_cannot_be_entered_are_a_reason_and_no_end(warm: Connection) -> None:
    with open("/proc/self/status") as none, socket.socket() as other:  # an old kernel takes no other walls, either
        for _ in range(2):
            with pytest.raises(CourseError, match=r"The walls of the sandbox cannot be entered \(.+\)"):
                warm.fork([none.fileno(), *[other.fileno()] * 3], {}, 0, "/")
    assert said(warm, "print(1)") == ["1\n"]


@pytest.fixture
def none_to_be_had(monkeypatch: pytest.MonkeyPatch) -> str:
    """Has no template be made; returns why."""
    monkeypatch.setattr(template, "_own", [])
    monkeypatch.setattr(template, "_refused", [])
    monkeypatch.setattr(template, "starting", lambda _: ["false"])
    return "No process with all packages can be kept ready"


@pytest.mark.parametrize(("students", "warned"), [(2, 0), (3, 1)])
def test_nbgraders_command_grades_cold_and_says_so_once(
    students: int, warned: int, none_to_be_had: str, caplog: pytest.LogCaptureFixture
) -> None:
    step = graded.Judged()
    step.log = logging.getLogger("of-the-step")
    owner = SimpleNamespace(assignments=range(students))
    assert step._template(owner) is None
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == warned
    assert all(line.startswith(none_to_be_had) and line.endswith("imports its packages itself.") for line in said)


def test_a_pool_says_why_it_is_cold(none_to_be_had: str) -> None:
    pool = pools.Local(1, warm=True)
    try:
        assert pool.problem().startswith(none_to_be_had)
    finally:
        pool.close()


@pytest.mark.slow
def test_a_worker_without_a_template_gives_the_same_result_and_says_why(
    mini: dict[str, Job], none_to_be_had: str
) -> None:
    job = mini["nothing_odd"]
    wanted, plain = (results.unpacked(worker.grade(worker.order(job, SEED, [], warm))) for warm in (True, False))
    assert wanted.cold_because.startswith(none_to_be_had)
    assert (wanted.warm, wanted.notebook) == (plain.warm, plain.notebook) == (False, plain.notebook)
    assert plain.cold_because == ""
    assert template._refused == [wanted.cold_because]


def test_it_is_tried_once_and_made_anew_when_it_has_died(made: Template, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = []

    def start() -> Any:
        starts.append(made)
        return SimpleNamespace(wait=lambda: made)

    monkeypatch.setattr(template, "start", start)
    monkeypatch.setattr(template, "_own", [])
    first = template.shared()
    assert template.shared() is first
    dead = SimpleNamespace(process=SimpleNamespace(poll=lambda: -9))
    monkeypatch.setattr(template, "_own", [(dead, first)])
    assert template.shared() is not first
    assert len(starts) == 2


def test_a_batch_whose_template_died_goes_on_cold_with_the_same_results(mini: dict[str, Job]) -> None:
    job = mini["nothing_odd"]
    with template.start().wait() as own:
        way = Connection(own.address)
        before = graded.run(job, SEED, [], way)
        own.process.kill()
        own.process.wait()
        after = graded.run(job, SEED, [], way)
    assert (before.warm, before.cold_because, after.warm) == (True, "", False)
    assert after.cold_because.startswith("The process with all packages does not answer")
    assert before.notebook == after.notebook


def test_a_kernel_without_pidfd_starts_cold(warm: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    before = len(psutil.Process().children(recursive=True))
    with Sandbox(Limits(), template=warm) as box, contextlib.closing(Session(box)) as session:
        assert text(session.run(0, "print(1)")) == "1\n"
        assert "Function not implemented" in box.cold_because
    assert len(alive(psutil.Process().children(recursive=True))) <= before


def test_an_answer_that_comes_too_late_is_not_taken_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template, "FORKED", 0.2)
    with socket.socket(socket.AF_UNIX) as listener, open(os.devnull) as file:
        listener.bind(str(tmp_path / "orders"))
        listener.listen()
        way = Connection(str(tmp_path / "orders"))
        ends = [listener.accept()[0]]
        with pytest.raises(CourseError, match="timed out"):
            way.fork([file.fileno()], {}, 0, "/")
        with contextlib.suppress(OSError):  # the first order was for process 1, and nobody waits any more
            wire.send(ends[0].fileno(), {"inside": 1})
        answers = threading.Thread(target=lambda: ends.append(answered(listener, {"inside": 2})))
        answers.start()
        assert way.fork([file.fileno()], {}, 0, "/") == 2
        answers.join()
        way.close()
        for end in ends:
            end.close()


def answered(listener: socket.socket, answer: dict[str, Any]) -> socket.socket:
    """Waits for somebody's order, and answers it."""
    end = listener.accept()[0]
    _, fds, _, _ = socket.recv_fds(end, 1, 1)
    os.close(fds[0])
    wire.receive(end.fileno())
    wire.send(end.fileno(), answer)
    return end
