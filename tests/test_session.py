"""Cells run and show as in a notebook; what takes too long, dies, or lies is noticed, and what was known stays."""

import contextlib
import os
import socket
from collections.abc import Iterator
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autograder import pages, sandbox, wire
from autograder.errors import CourseError
from autograder.plain import Array, Plain, Raised, Timeout
from autograder.sandbox import MB, Limits, Sandbox
from autograder.session import Session, answer_of
from autograder.tasks import Sheet, Task
from tests.conftest import needs_sandbox

pytestmark = needs_sandbox

CASES = {
    False: "def visible(double, rng):\n    return double(rng.normal(size=3))\n",
    True: "def hidden(double, rng):\n    return double(rng.normal(size=(2, 2)))\n",
}


@pytest.fixture
def session() -> Iterator[Session]:
    with Sandbox(Limits(cell=3, submission=60)) as box:
        made = Session(box)
        yield made
        made.close()


def task(name: str = "double") -> Task:
    """A task with a visible and a hidden case."""
    made = Sheet("sheet").task(name, points=2, objects=["double"])
    made.case("doubles a vector", draws=2)(_named("visible"))
    made.case("doubles a matrix", hidden=True, draws=2, limit=1.0)(_named("hidden"))
    return made


def _named(name: str):  # type: ignore[no-untyped-def]
    def case(rng):
        raise AssertionError("cases run inside")

    case.__name__ = name
    return case


def asked(session: Session, *tasks: Task, seed: int = 3):  # type: ignore[no-untyped-def]
    for one in tasks:
        session.remember(one)
    return session.ask(lambda _, hidden: CASES[hidden], "sheet", seed)


def test_outputs_are_those_of_a_notebook(session: Session) -> None:
    assert session.run(0, "1 + 1").outputs[0]["data"] == {"text/plain": "2"}
    shown = session.run(1, "import sys; print('out'); print('err', file=sys.stderr); display('x'); 1 / 0").outputs
    kinds = [(o["output_type"], o.get("name", o.get("ename"))) for o in shown]
    assert kinds == [
        ("stream", "stdout"),
        ("stream", "stderr"),
        ("display_data", None),
        ("error", "ZeroDivisionError"),
    ]
    assert shown[0]["text"] == "out\n"


def test_names_live_on_and_magics_work(session: Session) -> None:
    session.run(0, "x = 20")
    assert session.run(1, "%timeit -n1 -r1 x\n!echo $((x+1)) and {x}").outputs[-1]["text"].endswith("1 and 20\n")
    assert session.run(2, "await __import__('asyncio').sleep(0, x)").outputs[0]["data"] == {"text/plain": "20"}


def test_figures_are_pictures(session: Session) -> None:
    shown = session.run(0, "import matplotlib.pyplot as plt\nplt.plot([1, 2]);").outputs
    assert shown[0]["data"]["image/png"].startswith("iVBOR")


def test_an_endless_cell_is_interrupted_and_the_notebook_goes_on(session: Session) -> None:
    stopped = session.run(0, "x = 5\nwhile True: pass")
    assert "longer than 3 seconds" in stopped.stopped
    assert session.run(1, "x").outputs[0]["data"] == {"text/plain": "5"}


def test_a_cell_that_cannot_be_interrupted_ends_the_notebook_and_keeps_what_was_remembered(session: Session) -> None:
    session.run(0, "def double(x): return 2 * x")
    session.remember(task())
    assert "ended there" in session.run(1, "sum(iter(int, 1))").stopped
    assert session.run(2, "1").outputs == []
    answers = session.ask(lambda _, hidden: CASES[hidden], "sheet", 3)["double"][1]
    assert all(isinstance(a.value, Array) for drawn in answers.values() for a in drawn)


@pytest.mark.parametrize(
    "end", ["import os; os._exit(0)", "import ctypes; ctypes.string_at(0)", "import os; os.abort()"]
)
def test_a_process_that_dies_keeps_what_was_remembered(session: Session, end: str) -> None:
    session.run(0, "def double(x): return 2 * x")
    session.remember(task())
    assert "ended by itself" in session.run(1, end).stopped
    session.remember(task("later"))
    answers = session.ask(lambda _, hidden: CASES[hidden], "sheet", 3)
    assert set(answers) == {"double"}
    assert len(answers["double"][1]["hidden"]) == 2


def test_each_check_sees_the_names_as_they_were_there(session: Session) -> None:
    session.run(0, "def double(x): return 2 * x")
    session.remember(task("first"))
    session.run(1, "def double(x): return 3 * x")
    answers = asked(session, task("second"))
    first, second = (answers[name][1]["visible"][0].value for name in ("first", "second"))
    assert first.values.shape == second.values.shape == (3,)
    assert not np.allclose(first.values, second.values)


def test_answers_are_those_of_the_same_draws_outside(session: Session) -> None:
    from autograder.running import generator

    session.run(0, "def double(x): return 2 * x")
    answers = asked(session, task(), seed=11)["double"][1]
    for name, shape in (("visible", 3), ("hidden", (2, 2))):
        for draw, answer in enumerate(answers[name]):
            expected = 2 * generator("sheet", "double", name, 11, draw).normal(size=shape)
            assert isinstance(answer.value, Array)
            assert np.array_equal(answer.value.values, expected)


OBJECTS = """
import torch

class Net(torch.nn.Module):
    def __init__(self, d, h):
        super().__init__()
        self.first, self.last = torch.nn.Linear(d, h), torch.nn.Linear(h, 1)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))

def train(net, x, y, steps):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = ((net(x) - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        yield loss.item()

class Counter:
    def __init__(self):
        self.n = 0
    def __call__(self):
        self.n += 1
        return self.n
"""
OBJECT_CASE = """
import torch

def trains(Net, train, Counter, rng):
    torch.manual_seed(int(rng.integers(1000)))
    net, count = Net(3, 4), Counter()
    x = torch.from_numpy(rng.normal(size=(8, 3))).float()
    losses = [(count(), loss) for loss in train(net, x, x.sum(1, keepdim=True), 5)]
    return {"losses": losses, "net": net, "shape": tuple(net(x).shape), "grad": net.last.weight.grad}
"""


def test_modules_stateful_objects_generators_and_trained_models_become_plain_data(session: Session) -> None:
    made = Sheet("sheet").task("objects", points=1, objects=["Net", "train", "Counter"])
    made.case("a net is trained", draws=1)(_named("trains"))
    assert session.run(0, OBJECTS).outputs == []
    session.remember(made)
    ((problem, answers),) = session.ask(lambda *_: OBJECT_CASE, "sheet", 3).values()
    assert problem == ""
    value: Any = answers["trains"][0].value
    assert [step for step, _ in value["losses"]] == [1, 2, 3, 4, 5]
    assert set(value["net"]) == {"first.weight", "first.bias", "last.weight", "last.bias"}
    assert value["shape"] == [8, 1]
    assert isinstance(value["grad"], Array)
    assert value["grad"].library == "torch"
    assert answers["trains"][0].calls


def test_what_is_missing_is_said(session: Session) -> None:
    session.run(0, "def doubles(x): return 2 * x")
    problem, _ = asked(session, task())["double"]
    assert "no `double`" in problem
    assert "`doubles`" in problem


def test_an_endless_answer_is_a_timeout_and_spares_the_other_task(session: Session) -> None:
    endless = "def double(x):\n    signal.setitimer(signal.ITIMER_REAL, 0)\n    while True: sum(range(9))"
    session.run(0, f"import signal\n{endless}")
    session.remember(task("endless"))
    session.run(1, "def double(x): return 2 * x")
    answers = asked(session, task("good"))
    assert all(isinstance(a.value, Timeout) for drawn in answers["endless"][1].values() for a in drawn)
    assert all(isinstance(a.value, Array) for drawn in answers["good"][1].values() for a in drawn)


def test_a_death_while_answering_keeps_the_answers_before_it(session: Session) -> None:
    session.run(0, "import os\ndef double(x):\n    return 2 * x if x.ndim == 1 else os._exit(1)")
    answers = asked(session, task())["double"][1]
    assert all(isinstance(a.value, Array) for a in answers["visible"])
    assert all(isinstance(a.value, Raised) and a.value.name == "NoAnswer" for a in answers["hidden"])


def test_a_hidden_question_cannot_be_shown(session: Session) -> None:
    """A notebook that waits for the questions, in any process, has nothing left to show them with."""
    session.run(0, "import os, threading\nr, w = os.pipe()")
    spy = """
def double(x):
    import sys
    code = sys._getframe(1).f_code
    os.write(w, f"SEEN {code.co_name} {x}".encode())
    print("SEEN", x)
    os.write(1, b"SEEN raw")
    return 2 * x
def tell():
    while True: print(os.read(r, 1000)); os.write(2, b"SEEN late")
threading.Thread(target=tell, daemon=True).start()
"""
    shown = [session.run(1, spy)]
    session.remember(task())
    shown += [session.run(2, "import time; time.sleep(0.5)")]
    answers = session.ask(lambda _, hidden: CASES[hidden], "sheet", 3)["double"][1]
    assert all(isinstance(a.value, Array) for drawn in answers.values() for a in drawn)
    assert "SEEN" not in str([one.outputs for one in shown])


@pytest.mark.parametrize(
    "forged",
    [
        "b'passed'",
        "(2**62).to_bytes(8, 'little') * 2",
        "(2**62).to_bytes(8, 'big') * 2",
        "bytes(64)",
        "b'\\xff' * 100000",
    ],
)
def test_bytes_forged_on_every_descriptor_earn_nothing(session: Session, forged: str) -> None:
    source = f"""
import os
def double(x):
    for fd in range(3, 64):
        try:
            os.write(fd, {forged})
        except OSError:
            pass
    return None
"""
    session.run(0, source)
    answers = asked(session, task())["double"][1]
    assert not any(isinstance(a.value, Array) for drawn in answers.values() for a in drawn)


def test_too_much_output_is_cut_and_far_too_much_ends_the_notebook() -> None:
    with Sandbox(Limits(cell=5, output=100_000)) as box:
        session = Session(box)
        cut = session.run(0, "print('x' * 150_000)")
        assert sum(len(o["text"]) for o in cut.outputs) < 100_200
        assert "the rest is left out" in cut.outputs[-1]["text"]
        ended = session.run(1, "import os\nwhile True: os.write(1, b'x' * 65536)")
        assert "showed more than" in ended.stopped
        session.close()


def test_the_whole_submission_has_a_limit() -> None:
    with Sandbox(Limits(cell=2, submission=3)) as box:
        session = Session(box)
        said = [session.run(number, "import time; time.sleep(1.5)").stopped for number in range(4)]
        session.close()
    assert said[0] == ""
    assert "whole notebook ran longer than 3 seconds" in said[-1]


def test_a_flood_of_messages_ends_the_notebook_and_fills_no_memory() -> None:
    flood = """
import os
from autograder import wire
frame = wire.frame({"x": 1}) * 500
while True:
    for fd in range(3, 12):
        try:
            os.write(fd, frame)
        except OSError:
            pass
"""
    before = psutil.Process().memory_info().rss
    with Sandbox(Limits(cell=8)) as box:
        session = Session(box)
        assert session.run(0, flood).stopped
        session.close()
    assert psutil.Process().memory_info().rss - before < 300 * MB


def test_more_answers_than_questions_are_no_answers(session: Session) -> None:
    session.run(0, "def double(x): return 2 * x")
    twice = """
import autograder.wire as wire
send = wire.send
def again(fd, message):
    send(fd, message)
    send(fd, message)
wire.send = again
"""
    session.run(1, f"{twice}\ndef double(x): return 2 * x")
    answers = asked(session, task())
    flat = [a for drawn in answers["double"][1].values() for a in drawn] if "double" in answers else []
    assert not any(isinstance(a.value, Array) for a in flat[1:])


def test_a_sandbox_that_does_not_start_grades_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_program", lambda *_: ["/bin/sh", "-c", "echo no such thing; exit 1"])
    with Sandbox(Limits(cell=2)) as box:
        session = Session(box)
        with pytest.raises(CourseError, match=r"did not start .* no such thing"):
            session.run(0, "1")
        session.close()


class Puppet:
    """A sandbox whose processes say what a test lets them say, and then are gone."""

    def __init__(self, notebook: list[Plain], keeper: list[Plain], raw: bytes) -> None:
        self.limits = Limits(cell=1, submission=2)
        self.keeper, ends = socket.socketpair()
        self.notebook, theirs = socket.socketpair()
        self.output, output = os.pipe()
        os.write(output, raw)
        os.close(output)
        for channel in (self.keeper, self.notebook):
            channel.setblocking(False)
        self._say(ends, keeper)
        ends.close()
        self._say(theirs, notebook)
        theirs.close()

    def _say(self, end: socket.socket, messages: list[Plain]) -> None:
        for message in messages:
            with contextlib.suppress(wire.BadFrame):
                end.sendall(wire.frame(message)[:60_000])

    def memory(self) -> int:
        return 0

    def kill(self) -> None:
        pass


WORDS = st.sampled_from(["ready", "done", "snapshot", "output", "cell", "ended", "problem", "value", "refused", "x"])
LEAVES = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5) | st.floats() | WORDS
PLAIN = st.recursive(
    LEAVES | st.builds(lambda b: Array(np.frombuffer(b, np.uint8)), st.binary(max_size=40)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
SAID = st.lists(st.dictionaries(WORDS, PLAIN, max_size=3) | PLAIN, max_size=6)


@settings(max_examples=int(os.environ.get("FUZZ_EXAMPLES", "150")), deadline=None)
@given(SAID, SAID, st.binary(max_size=50))
def test_whatever_a_process_says_the_session_comes_to_its_end(
    notebook: list[Plain], keeper: list[Plain], raw: bytes
) -> None:
    box = Puppet([{"ready": True}, *notebook], keeper, raw)
    session = Session(box)  # type: ignore[arg-type]
    with contextlib.suppress(CourseError):  # where it was gone before it was ready
        shown = session.run(0, "1")
        assert isinstance(shown.outputs, list)
        session.remember(task())
        answers = session.ask(lambda _, hidden: CASES[hidden], "sheet", 3)
        assert set(answers) <= {"double"}
        pages.safe_outputs(shown.outputs)
    session.close()
    for end in (box.keeper, box.notebook):
        end.close()
    os.close(box.output)


@settings(max_examples=int(os.environ.get("FUZZ_EXAMPLES", "150")), deadline=None)
@given(
    st.dictionaries(st.sampled_from([*"abc", "value", "calls", "changed", "views", "used", "printed", "warned"]), PLAIN)
)
def test_whatever_an_answer_holds_it_is_taken_or_refused(said: dict[str, Plain]) -> None:
    try:
        answer = answer_of({"value": None, **said})
    except wire.BadFrame:
        return
    assert all(isinstance(name, str) and len(name) <= 200 for name in answer.changed | answer.views | answer.used)
    assert all(isinstance(call.function, str) for call in answer.calls)
