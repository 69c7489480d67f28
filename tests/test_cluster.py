"""Grading on a Dask cluster: the same gradebook, whatever dies; what is refused; and what is never sent or seen."""

import importlib
import platform
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import distributed
import pytest

from autograder import cluster as remote
from autograder import pools
from autograder.cli import main
from tests.cluster import MODULE, STUDENTS, Cluster, Room, at_work, end, keys, lives, told, until
from tests.conftest import needs_sandbox, tree

pytestmark = [
    pytest.mark.slow,
    needs_sandbox,
    pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not here, which makes the keys"),
]

MARK = "a-mark-in-the-environment-of-a-worker"
LOOK = """
import glob
import os
import socket

seen = [path for path in {paths!r} if os.path.exists(path)]
for folder in glob.glob("/proc/[0-9]*"):
    for path in {paths!r}:
        seen += [way for way in ("root", "cwd") if os.path.exists(folder + "/" + way + path)]
    for name in ("environ", "cmdline", "mounts"):
        try:
            said = open(folder + "/" + name, "rb").read()
        except OSError:
            continue
        seen += [folder + "/" + name for word in {words!r} if word.encode() in said]
    try:
        links = [os.readlink(link) for link in glob.glob(folder + "/fd/*")]
    except OSError:
        links = []
    seen += [link for link in links for word in {words!r} if word in link]
try:
    socket.create_connection({address!r}, 0.3).close()
    seen.append("the scheduler")
except OSError:
    pass
print("SEEN", seen)
"""
# programs that a worker runs first
POISONED = """
import os


def dask_setup(_):
    from autograder import jobs, worker

    graded = worker.grade

    def grade(order):
        if b"mercury" in jobs.unpacked(order.partition(b"\\n")[2]).data:
            os._exit(1)
        return graded(order)

    worker.grade = grade
"""
OTHER_VERSION = """
def dask_setup(_):
    from autograder import jobs

    jobs.engine = lambda: "of another version"
"""
NO_SANDBOX = """
def dask_setup(_):
    from autograder import sandbox

    sandbox.problem = lambda: "bubblewrap is not installed"
"""
NO_PACKAGE = """
import sys

sys.modules["autograder.cluster"] = None
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Gives a cluster of two workers, the first with a nanny, which starts it again when it dies."""
    with pytest.MonkeyPatch.context() as patch, Cluster(tmp_path_factory.mktemp("cluster")) as made:
        patch.setenv("MARK", MARK)
        made.worker()
        made.worker("--no-nanny")
        yield made


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Gives a cluster to which a test adds its workers; what was with one that died is not given to a second."""
    settings = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
    with Cluster(tmp_path_factory.mktemp("bare"), **settings) as made:
        yield made


@pytest.fixture(scope="module")
def handed_in(built_course: Path, tmp_path_factory: pytest.TempPathFactory) -> Room:
    """Returns a room in which everybody has handed in; tests copy it."""
    room = Room(built_course, tmp_path_factory.mktemp("handed_in") / "room")
    room.everybody_hands_in()
    return room


@pytest.fixture(scope="module")
def graded(handed_in: Room, tmp_path_factory: pytest.TempPathFactory) -> Room:
    """Returns the room, graded on this machine."""
    room = handed_in.copy(tmp_path_factory.mktemp("graded") / "room")
    status, lines = room.grade("--seed", "7")
    assert status == 0, lines
    return room


@pytest.fixture
def room(handed_in: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Room:
    """Returns a room in which everybody has handed in; it is the working folder."""
    room = handed_in.copy(tmp_path / "room")
    monkeypatch.chdir(room.root)
    return room


class Watched:
    """Counts, while this context is open, how many orders the scheduler holds at most, and of these how many done."""

    def __init__(self, cluster: Cluster) -> None:
        self.orders = self.done = 0
        self._cluster = cluster
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Watched":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        with self._cluster.client() as client:
            while not self._over.wait(0.05):
                states = client.run_on_scheduler(
                    lambda dask_scheduler: [t.state for t in dask_scheduler.tasks.values()]
                )
                self.orders = max(self.orders, len(states))
                self.done = max(self.done, states.count("memory"))


def test_it_writes_the_same_gradebook_and_sends_bytes_a_few_at_a_time(
    cluster: Cluster, room: Room, graded: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, came = [], []
    submit, settle = distributed.Client.submit, remote._settle

    def submitted(client: distributed.Client, call: Any, module: str, **options: Any) -> Any:
        (caller,) = call.funcs
        assert call.first is importlib.import_module
        _, (function, name, order) = caller.__reduce__()
        sent.append((module, function, name, type(order)))
        return submit(client, call, module, **options)

    def settled(future: Any, outcome: Any) -> None:
        came.append(outcome)
        settle(future, outcome)

    monkeypatch.setattr(distributed.Client, "submit", submitted)
    monkeypatch.setattr(remote, "_settle", settled)
    with Watched(cluster) as most:
        assert main(["grade", MODULE, "--seed", "7", *cluster.flags]) == 0
    assert room.recorded() == graded.recorded()
    assert set(sent) == {("autograder.cluster", "_answer", "autograder.worker:grade", bytes)}
    assert {type(outcome) for outcome in came} == {bytes}
    assert len(sent) == len(came) == len(room.recorded()["students"])
    assert 2 <= most.orders <= 2 * pools.AHEAD
    assert most.done <= 2 * pools.AHEAD


def test_an_interrupt_drops_what_waits(cluster: Cluster, room: Room) -> None:
    grading = room.start(*cluster.flags)
    until(room.results)
    grading.send_signal(signal.SIGINT)
    assert told(grading) == (130, ["autograder: stopped; what was finished is kept."])
    with cluster.client() as client:
        until(lambda: not client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)))
        until(lambda: not any(client.processing().values()))
    students = room.recorded()["students"]
    assert len(students) == len(set(students)) <= room.results() < STUDENTS


def test_a_sandbox_shows_nothing_of_its_worker(cluster: Cluster, room: Room) -> None:
    ca, cert, key = cluster.tls[1::2]
    host, port = cluster.address.removeprefix("tls://").split(":")
    paths = [ca, cert, key, str(cluster.folder), str(room.root)]
    look = LOOK.format(paths=paths, words=[MARK, *paths], address=(host, int(port)))
    outside = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout
    assert all(seen in outside for seen in (key, "environ", "the scheduler"))
    room.hands_in("curious", look)
    assert room.grade("--student", "curious", *cluster.flags)[0] == 0
    assert "SEEN []" in room.shown("curious")


def test_a_pickle_is_no_result(cluster: Cluster) -> None:
    pool = remote.Cluster(cluster.address, *cluster.tls[1::2])
    try:
        with pytest.raises(TypeError, match="only able to deserialize"):
            pool._client.submit(object, pure=False).result()
    finally:
        pool.close()


def test_what_cannot_be_reached_safely_is_refused(
    cluster: Cluster, room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(remote, "CONNECTION", 2.0)
    address, ours, others = cluster.address, cluster.tls, keys(tmp_path / "others")
    before = tree(room.root)
    for scheduler, options, said in (
        (address.replace("tls", "tcp"), ours, "is not encrypted"),
        ("tls://127.0.0.1", ours, "is no scheduler's address"),
        (address, [], "with --tls-ca-file, --tls-cert and --tls-key"),
        (address, [*ours[:5], str(tmp_path / "none.pem")], "none.pem cannot be read"),
        (address, [*ours[:5], others[5]], "are no certificates and key for a cluster"),
        (address, others, "cannot be reached with these certificates"),
        (address, [*ours[:2], *others[2:]], "cannot be reached with these certificates"),
        ("tls://127.0.0.1:1", ours, "cannot be reached with these certificates"),
        (address, ["--unsafe", *ours], "leave out --unsafe"),
    ):
        assert main(["grade", MODULE, "--scheduler", scheduler, *options]) == 1
        line = one_line(capsys)
        assert said in line
        assert tree(room.root) == before, said


def test_a_scheduler_without_workers_is_not_waited_for(
    bare: Cluster, room: Room, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(remote, "PATIENCE", 0.5)
    assert main(["grade", MODULE, *bare.flags]) == 1
    assert one_line(capsys) == f"autograder: The scheduler {bare.address} has no workers: start some, then run again."


@pytest.mark.parametrize(
    ("preload", "said"),
    [
        (OTHER_VERSION, f"{platform.node()}, a worker of the cluster: This worker has other versions than the grader"),
        (NO_SANDBOX, f"{platform.node()}, a worker of the cluster: Submissions cannot be run safely here, because"),
        (NO_PACKAGE, "cannot do what it is asked (import of autograder.cluster halted"),
    ],
    ids=["other version", "no sandbox", "no package"],
)
def test_a_worker_that_can_grade_nobody_stops_the_run(
    bare: Cluster, room: Room, capsys: pytest.CaptureFixture[str], preload: str, said: str
) -> None:
    unfit = bare.worker("--no-nanny", preload=preload)
    assert main(["grade", MODULE, *bare.flags]) == 1
    end(unfit)
    assert said in one_line(capsys)
    assert not room.results()


def test_a_cluster_that_has_lost_all_workers_is_given_up(
    bare: Cluster, room: Room, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    room.hands_in("poisoner", "# mercury")
    bare.worker("--no-nanny", preload=POISONED)
    with bare.client() as client:
        client.wait_for_workers(1)
    monkeypatch.setattr(remote, "PATIENCE", 1.0)
    assert main(["grade", MODULE, "--student", "poisoner", *bare.flags]) == 1
    assert f"The cluster {bare.address} has no workers any more: what was done is kept" in one_line(capsys)


def test_a_poisoned_order_is_set_aside_and_tried_again_by_the_next_run(
    cluster: Cluster, bare: Cluster, room: Room
) -> None:
    room.hands_in("poisoner", "# mercury")
    students = ["01_perfect", "03_wrong_axis", "poisoner"]
    chosen = [word for student in students for word in ("--student", student)]
    mortal = bare.worker(preload=POISONED)
    status, lines = room.grade(*chosen, *bare.flags)
    end(mortal)
    assert status == 1
    assert lines[0] == f"poisoner: 01_shapes: {pools.POISON}"
    assert lines[1].startswith(f"{MODULE}: 3 notebooks: 2 run, 0 from kept results, 0 unchanged, 1 ")
    assert len(lines) == 2
    assert room.recorded()["students"] == students[:2]
    assert room.grade(*chosen, *cluster.flags) == (
        0,
        [f"{MODULE}: 3 notebooks: 1 run, 0 from kept results, 2 unchanged."],
    )
    assert room.recorded()["students"] == students


def test_workers_killed_in_the_middle_change_nothing(cluster: Cluster, room: Room, graded: Room) -> None:
    grading = room.start("--seed", "7", *cluster.flags)
    gone = []
    for process in cluster.workers:
        until(partial(at_work, process))
        gone += (working := at_work(process))
        working[0].kill()
    assert told(grading)[0] == 0
    assert room.recorded() == graded.recorded()
    until(lambda: not any(map(lives, gone)))


def test_a_scheduler_that_dies_keeps_what_was_done(cluster: Cluster, room: Room) -> None:
    """The last test: it leaves no cluster behind."""
    grading = room.start(*cluster.flags)
    until(room.results)
    end(cluster.scheduler)
    status, lines = told(grading)
    assert status == 1
    gone = "does not answer any more: what was done is kept; run again."
    assert lines == [f"autograder: The cluster {cluster.address} {gone}"]
    kept = room.results()
    assert 0 < kept < STUDENTS
    status, lines = room.grade()
    assert status == 0
    assert lines[-1] == f"{MODULE}: {STUDENTS} notebooks: {STUDENTS - kept} run, 0 from kept results, {kept} unchanged."
    assert len(room.recorded()["students"]) == STUDENTS


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """Returns the only line that was printed, but for one of nbgrader's that only a second run in a process prints."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line and not line.startswith("Unwritable")]
    assert len(lines) == 1, lines
    return lines[0]
