"""One submission in one sandbox, as the grader sees it: cells run and show, checks are remembered, then asked.

Everything is enforced on this side: the time of a cell, of a case and of the submission, the memory of all processes,
the bytes that come out. What runs inside may say what it likes; it is believed only in what it shows to its own
student and in answers to questions, which are compared elsewhere.
"""

import contextlib
import json
import os
import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

import numpy as np

from autograder import wire
from autograder.errors import CourseError
from autograder.plain import Array, Plain, Raised, Timeout
from autograder.running import Answer, Answers, Call, generator_key
from autograder.sandbox import MB, Sandbox
from autograder.tasks import Case, Task

TICK = 0.1  # seconds between looks at the clock
WATCH = 0.25  # seconds between looks at the memory
GRACE = 2.0  # seconds that an interrupted cell has to end, and that a case has beyond its own limit
START = 60.0  # seconds until the first cell runs: a cold machine reads Python and its packages
ANSWER = 64 * MB
SHOWN = 16 * MB  # one output
PENDING = 20_000  # messages that wait: a cell that prints much sends many at once
NAMES = 32  # parameters or forbidden names in one answer
NONSENSE = "The notebook was ended: it sent what no notebook sends."
WORD = 200  # characters of a name, a warning, a message

T = TypeVar("T")


class Ended(Exception):
    """The student's process is gone, or was ended; the sentence says why."""


@dataclass
class Shown:
    """What one cell showed: nbformat's outputs as data, not yet cleaned, and whether it ran to its end."""

    outputs: list[dict[str, Any]] = field(default_factory=list)
    stopped: str = ""


@dataclass
class _Asked:
    """A snapshot that waits for questions, and what is known of its task so far."""

    task: Task
    channel: "_Channel"
    process: int
    answers: Answers = field(default_factory=dict)
    problem: str = ""
    silent: Plain = None  # a Timeout or Raised: what every further case of the task gets


class Session:
    """Drives one sandbox: `run` cells and `remember` checks in their order, then `ask` for everything remembered."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._box = sandbox
        self._limits = sandbox.limits
        self._deadline = time.monotonic() + sandbox.limits.submission + START
        self._started = False
        self._selector = selectors.DefaultSelector()
        self._keeper = _Channel(sandbox.keeper, MB, PENDING, self._selector)
        self._notebook = _Channel(sandbox.notebook, SHOWN, PENDING, self._selector)
        os.set_blocking(sandbox.output, False)
        self._selector.register(sandbox.output, selectors.EVENT_READ, None)
        self._cell: Shown | None = None
        self._interrupted = False
        self._word: Plain = None  # what the notebook said last
        self._before = b""  # what was said before the notebook process was ready
        self._bytes = 0  # that the notebook showed so far
        self._watched = 0.0
        self._remembered: dict[str, _Asked] = {}
        self._ended = ""  # why the notebook process is gone

    def close(self) -> None:
        """Forgets the channels; the sandbox is its maker's to close."""
        self._selector.close()

    def run(self, number: int, source: str) -> Shown:
        """Runs a cell and returns what it showed; after the end of the process every cell shows nothing."""
        shown = Shown(stopped=self._ended)
        if self._ended:
            return shown
        self._cell = shown
        try:
            self._begin()
            self._notebook.put({"run": packed(source), "cell": number})
            if not self._until_done(number, self._limits.cell):
                shown.stopped = f"This cell was stopped: it ran longer than {self._limits.cell:g} seconds."
                self._interrupt()
                if not self._until_done(number, GRACE):
                    self._end(f"{shown.stopped} It did not answer an interrupt, so the notebook ended there.")
        except Ended as ended:
            shown.stopped = self._ended = str(ended)
        finally:
            self._drain()
            self._cell = None
        return shown

    def remember(self, task: Task) -> None:
        """Keeps the notebook as it is now, to be asked about `task`."""
        if self._ended:
            return
        self._begin()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            self._notebook.put({"snapshot": task.name})
            self._flush(self._notebook)
            socket.send_fds(self._box.notebook, [b"."], [theirs.fileno()])
            if not self._heard("snapshot", self._limits.cell):
                self._end("The notebook did not answer at a check.")
            process = self._word if type(self._word) is int else 0
            self._remembered[task.name] = _Asked(task, _Channel(ours, ANSWER, 1, self._selector), process)
        except (Ended, OSError) as error:
            ours.close()
            self._ended = self._ended or str(error) or "The notebook ended before this check."
        finally:
            theirs.close()

    def ask(self, code: Callable[[Task, bool], str], sheet: str, seed: int) -> dict[str, tuple[str, Answers]]:
        """Asks all tasks their visible cases, then all their hidden ones; what the notebook shows must be final.

        `code(task, hidden)` is the text that defines those cases. Returns for each task that was remembered what is
        missing of its objects ("" where nothing is), and the answers: a case that got none answers with a Timeout,
        or with a Raised that says why.
        """
        self._quiet()
        for asked in self._remembered.values():
            self._guarded(asked, lambda asked=asked: self._look(asked))  # type: ignore[misc]
        for hidden in (False, True):
            for asked in self._remembered.values():
                cases = [case for case in asked.task.cases if case.hidden == hidden]
                text = code(asked.task, hidden) if cases and not asked.problem else ""
                self._questions(asked, cases, text, sheet, seed)
        return {name: (asked.problem, asked.answers) for name, asked in self._remembered.items()}

    @property
    def ended(self) -> str:
        """Why the notebook process is gone, "" while it is there."""
        return self._ended

    def _begin(self) -> None:
        """Waits, the first time, until the notebook process is ready: a slow machine costs no student a second."""
        if self._started:
            return
        try:
            ready = self._heard("ready", START)
        except Ended:
            ready = False
        if not ready:  # no student's code has run so far: nobody is graded for this
            said = " ".join(self._before.decode("utf-8", "replace").split())
            raise CourseError(f"The sandbox did not start within {START:g} seconds: {said or 'it said nothing'}.")
        self._started = True
        self._deadline = time.monotonic() + self._limits.submission

    # --- questions

    def _look(self, asked: _Asked) -> None:
        asked.channel.put({"look": asked.task.name, "objects": list(asked.task.objects)})
        found = self._next(asked, "problem", self._limits.cell)
        asked.problem = _text(found.get("problem"), 2 * WORD)

    def _questions(self, asked: _Asked, cases: Sequence[Case], code: str, sheet: str, seed: int) -> None:
        if code:
            self._guarded(asked, lambda: self._send_cases(asked, code))
        for case in cases:
            drawn = asked.answers.setdefault(case.name, [])
            for draw in range(case.draws):
                key = generator_key(sheet, asked.task.name, case.name, seed, draw)
                answer = self._guarded(asked, lambda case=case, key=key: self._one(asked, case, key))  # type: ignore[misc]
                drawn.append(answer or Answer(asked.silent))

    def _send_cases(self, asked: _Asked, code: str) -> None:
        asked.channel.put({"cases": packed(code)})
        self._next(asked, "ready", self._limits.cell)

    def _one(self, asked: _Asked, case: Case, key: int) -> Answer:
        names: dict[str, Plain] = {"objects": list(asked.task.objects), "forbids": list(asked.task.forbids)}
        asked.channel.put({"ask": case.name, "key": key, "limit": case.limit, **names})
        try:
            said = self._next(asked, "value", case.limit + GRACE)
        except TimeoutError:
            raise TimeoutError(case.limit) from None
        if "refused" in said:
            return Answer(Raised("NoAnswer", f"the answer cannot be compared: {_text(said['refused'], WORD)}"))
        answer = answer_of(said)
        if isinstance(answer.value, Timeout):
            asked.silent = Timeout(case.limit)  # the rest is not asked, as in a student's own check
        return answer

    def _guarded(self, asked: _Asked, question: Callable[[], T]) -> T | None:
        """Returns what `question` gives, or None where the snapshot fell silent, which is then recorded."""
        if asked.silent is not None:
            return None
        try:
            return question()
        except TimeoutError as error:
            asked.silent = Timeout(float(error.args[0]) if error.args else self._limits.cell)
        except (Ended, wire.BadFrame, EOFError, OSError) as error:
            asked.silent = Raised("NoAnswer", _why_silent(error))
        with contextlib.suppress(Ended, OSError):
            self._keeper.put({"kill": asked.process})
        return None

    def _next(self, asked: _Asked, key: str, seconds: float) -> dict[str, Plain]:
        """Returns the next message of a snapshot, which must hold `key` (or say that it refuses)."""
        channel = asked.channel
        if not self._wait(lambda: bool(channel.arrived) or channel.gone, seconds, channel):
            raise TimeoutError
        if not channel.arrived:
            raise EOFError
        said = channel.arrived.popleft()
        if not isinstance(said, dict) or not (key in said or "refused" in said):
            raise wire.BadFrame("the answer is not one to the question")
        return said

    # --- the loop

    def _until_done(self, number: int, seconds: float) -> bool:
        if not self._heard("done", seconds):
            return False
        if self._word != number:
            self._end(NONSENSE)
        return True

    def _interrupt(self) -> None:
        """Interrupts the running cell; returns when it has been done, so that it cannot hit the next cell."""
        self._interrupted = False
        self._keeper.put({"interrupt": None})
        self._wait(lambda: self._interrupted, GRACE)

    def _heard(self, key: str, seconds: float) -> bool:
        """Waits for the notebook's next word, which must be about `key`; keeps what it says of it."""
        if not self._wait(lambda: bool(self._notebook.arrived), seconds):
            return False
        said = self._notebook.arrived.popleft()
        if not isinstance(said, dict) or set(said) != {key}:
            self._end(NONSENSE)
        self._word = said[key]
        return True

    def _wait(self, done: Callable[[], bool], seconds: float, asked: "_Channel | None" = None) -> bool:
        """Moves bytes until `done` (True) or until `seconds` are over (False). Raises Ended where it cannot go on."""
        until = time.monotonic() + seconds
        while True:
            self._sort()
            if done():
                return True
            now = time.monotonic()
            if now >= self._deadline:
                self._end(f"The whole notebook ran longer than {self._limits.submission:g} seconds.")
            if asked is None and self._notebook.gone:
                self._wait_for_reason()
            if now >= until:
                return False
            self._look_after()
            for key, _ in self._selector.select(min(TICK, until - now)):
                self._move(key)

    def _move(self, key: selectors.SelectorKey) -> None:
        if key.data is None:
            self._read_raw()
            return
        channel: _Channel = key.data
        try:
            channel.move()
        except wire.BadFrame:
            channel.close()
            if channel is self._notebook:
                self._end(NONSENSE)

    def _sort(self) -> None:
        """Takes outputs of the running cell from the notebook's messages, and word of its end from the keeper's."""
        while self._notebook.arrived and "output" in self._notebook.first():
            self._take(self._notebook.arrived.popleft())
        while self._keeper.arrived:
            said: Any = self._keeper.arrived.popleft()
            self._interrupted |= isinstance(said, dict) and "interrupted" in said
            if isinstance(said, dict) and "ended" in said:
                self._notebook.gone = True
                self._ended = self._ended or _why_ended(said["ended"])
        if self._keeper.gone and not self._ended:
            self._notebook.gone = True
            self._ended = "The code ended every process that it could reach, its own too."

    def _take(self, said: Any) -> None:
        data = said.get("output")
        if self._cell is None or not isinstance(data, Array):
            return
        body = data.values.tobytes()
        self._count(len(body))
        if self._bytes > self._limits.output:
            self._leave_out()
            return
        try:
            output = json.loads(body)
        except (ValueError, RecursionError):
            return
        if not isinstance(output, dict):
            return
        if "clear" in output:
            self._cell.outputs.clear()
        else:
            _append(self._cell.outputs, output)

    def _read_raw(self) -> None:
        """Takes what was written to the standard streams around Python's own."""
        try:
            piece = os.read(self._box.output, 65_536)
        except BlockingIOError:
            return
        if not piece:
            self._selector.unregister(self._box.output)
        self._count(len(piece))
        if not self._started:
            self._before = (self._before + piece)[-WORD:]
        elif self._cell is not None and piece:
            if self._bytes > self._limits.output:
                self._leave_out()
            else:
                text = piece.decode("utf-8", "replace")
                _append(self._cell.outputs, {"output_type": "stream", "name": "stdout", "text": text})

    def _count(self, size: int) -> None:
        self._bytes += size
        if self._bytes > 10 * self._limits.output:
            self._end(f"The notebook was ended: it showed more than {10 * self._limits.output // MB} MB.")

    def _leave_out(self) -> None:
        assert self._cell is not None
        said = f"\n… the notebook showed more than {self._limits.output // MB} MB: the rest is left out.\n"
        if not any(said == output.get("text") for output in self._cell.outputs[-1:]):
            self._cell.outputs.append({"output_type": "stream", "name": "stderr", "text": said})

    def _look_after(self) -> None:
        now = time.monotonic()
        if now - self._watched < WATCH:
            return
        self._watched = now
        if self._box.memory() > self._limits.memory:
            self._box.kill()
            self._end(f"The notebook was ended: it used more than {self._limits.memory // MB:,} MB of memory.")

    def _drain(self) -> None:
        """Takes what has arrived already, without waiting."""
        with contextlib.suppress(Ended):
            for key, _ in self._selector.select(0):
                self._move(key)
            self._sort()

    def _flush(self, channel: "_Channel") -> None:
        self._wait(lambda: not channel.leaving, self._limits.cell)

    def _quiet(self) -> None:
        """Ends the notebook process: all that it shows has arrived."""
        self._ended = self._ended or "The notebook has been run."
        with contextlib.suppress(Ended, OSError):
            self._keeper.put({"kill": None})
        self._notebook.close()

    def _wait_for_reason(self) -> None:
        """Gives the keeper a moment to say how the notebook process ended, then raises."""
        until = time.monotonic() + GRACE
        while not self._ended and time.monotonic() < until and not self._keeper.gone:
            for key, _ in self._selector.select(TICK):
                self._move(key)
            self._sort()
        raise Ended(self._ended or "The notebook closed its connection to the grader.")

    def _end(self, reason: str) -> NoReturn:
        self._ended = self._ended or reason
        with contextlib.suppress(OSError):
            self._keeper.put({"kill": None})
            self._keeper.move()
        raise Ended(reason)


class _Channel:
    """A socket to a process inside: messages that leave and arrive, without ever waiting for it."""

    def __init__(self, end: socket.socket, limit: int, most: int, selector: selectors.BaseSelector) -> None:
        """`limit` is the size of a message in bytes, `most` how many may wait to be read."""
        self._socket = end
        self._most = most
        self._inbox = wire.Inbox(limit)
        self._selector = selector
        self.arrived: deque[Plain] = deque()
        self.leaving = bytearray()
        self.gone = False
        selector.register(end, selectors.EVENT_READ, self)

    def first(self) -> Mapping[str, Plain]:
        """Returns the first message that arrived, empty where there is none or it is no dictionary."""
        said = self.arrived[0] if self.arrived else {}
        return said if isinstance(said, dict) else {}

    def put(self, message: Plain) -> None:
        """Sends a message as soon as the other side reads."""
        if self.gone:
            raise Ended("The process that should answer is gone.")
        self.leaving += wire.frame(message)
        self._write()

    def move(self) -> None:
        """Writes and reads what can be without waiting. Raises BadFrame."""
        self._write()
        try:
            piece = self._socket.recv(262_144)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            self.close()
        while messages := self._inbox.feed(piece):  # what came before a bad frame counts; the frame is refused next
            self.arrived += messages
            piece = b""
            if len(self.arrived) > self._most:
                raise wire.BadFrame("there are more answers than questions")

    def close(self) -> None:
        if not self.gone:
            self.gone = True
            self._selector.unregister(self._socket)
            self._socket.close()

    def _write(self) -> None:
        try:
            while self.leaving:
                del self.leaving[: self._socket.send(self.leaving)]
        except BlockingIOError:
            pass
        except OSError:
            self.leaving.clear()
        if not self.gone:
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.leaving else 0)
            self._selector.modify(self._socket, wanted, self)


def packed(text: str) -> Array:
    """Returns a text of any length and any characters as bytes that a frame carries."""
    return Array(np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8))


def answer_of(said: Mapping[str, Plain]) -> Answer:
    """Returns the answer in a message. Raises BadFrame where a part of it is not what it must be."""
    calls = said.get("calls")
    return Answer(
        value=_shortened(said["value"]),
        calls=[_call(call) for call in _list(calls, NAMES)],
        changed=set(_texts(said.get("changed"))),
        views=set(_texts(said.get("views"))),
        used=set(_texts(said.get("used"))),
        printed="printed" if said.get("printed") is True else "",
        warned=_texts(said.get("warned")),
    )


def _shortened(value: Plain) -> Plain:
    """Returns the answer, with the words of an exception no longer than a line."""
    if isinstance(value, Raised):
        return Raised(_text(value.name, WORD), _text(value.message, WORD), _text(value.line, 2 * WORD))
    return value


def _call(said: Plain) -> Call:
    if isinstance(said, list) and len(said) == 2 and isinstance(said[0], str) and isinstance(said[1], dict):
        return Call(said[0][:WORD], {name[:WORD]: value for name, value in said[1].items()})
    raise wire.BadFrame("an answer tells of a call that is none")


def _list(said: Plain, most: int) -> list[Plain]:
    if not isinstance(said, list) or len(said) > most:
        raise wire.BadFrame("an answer holds something other than a short list")
    return said


def _texts(said: Plain) -> list[str]:
    return [_text(item, WORD) for item in _list(said, NAMES)]


def _text(said: Plain, most: int) -> str:
    if not isinstance(said, str):
        raise wire.BadFrame("an answer holds something other than a text")
    return " ".join(said[:most].split())


def _append(outputs: list[dict[str, Any]], output: dict[str, Any]) -> None:
    """Adds an output; pieces of one stream become one."""
    last = outputs[-1] if outputs else {}
    same = all(last.get(key) == output.get(key) for key in ("output_type", "name"))
    if output.get("output_type") == "stream" and same and isinstance(output.get("text"), str):
        last["text"] += output["text"]
    else:
        outputs.append(output)


def _why_ended(status: Plain) -> str:
    if type(status) is int and status < 0:
        with contextlib.suppress(ValueError):
            return f"The notebook's process ended by itself ({signal.Signals(-status).name}): does your code end it?"
    return "The notebook's process ended by itself: does your code call os._exit?"


def _why_silent(error: Exception) -> str:
    if isinstance(error, EOFError):
        return "the process ended before it answered"
    return str(error) or "the process did not answer"
