"""A limit on the time of a block, for code that may never return."""

import contextlib
import ctypes
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

AGAIN = 0.2  # seconds between further signals, for code that swallows the first


class TookTooLong(BaseException):
    """The block ran longer than its limit. Not an Exception: `except Exception` in a student's loop must not eat it."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises TookTooLong inside the block once `seconds` have passed.

    Uses the interval timer where there is one (POSIX, main thread), else an asynchronous exception.
    Code that stays inside one C call is interrupted when that call returns.
    """
    if hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread():
        yield from _by_signal(seconds)
    else:
        yield from _by_thread(seconds)


def _by_signal(seconds: float) -> Iterator[None]:
    armed = True
    swallowed = False
    tracing = sys.gettrace()
    outside = _caller()

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal swallowed
        if not armed:
            return
        if swallowed:  # a bare `except:` eats the exception, so that the handler's own next line has to raise another
            again = frame
            while again and again is not outside:
                again.f_trace = _raise_at_line
                again = again.f_back
            sys.settrace(_raise_at_line)
        swallowed = True
        raise TookTooLong

    previous = signal.signal(signal.SIGALRM, stop)
    began = time.monotonic()
    outer, interval = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        yield
    finally:
        armed = False  # first: a signal between here and the next line must not raise
        signal.setitimer(signal.ITIMER_REAL, 0)
        if swallowed:
            sys.settrace(tracing)
        signal.signal(signal.SIGALRM, previous if previous is not None else signal.SIG_DFL)
        if outer:  # somebody else's limit goes on
            signal.setitimer(signal.ITIMER_REAL, max(outer - (time.monotonic() - began), 0.001), interval)


def _caller() -> FrameType | None:
    frame: FrameType | None = sys._getframe()
    while frame and frame.f_code.co_filename in (__file__, contextlib.__file__):
        frame = frame.f_back
    return frame


def _raise_at_line(frame: FrameType, event: str, argument: Any) -> Any:
    """Raises at the next line of a student's frame, so also inside the handler that swallowed the last exception."""
    if event == "line" and frame.f_code.co_filename not in (__file__, contextlib.__file__):
        raise TookTooLong
    return _raise_at_line


def _by_thread(seconds: float) -> Iterator[None]:
    target = threading.get_ident()
    done = threading.Event()

    def stop() -> None:
        wait = seconds
        while not done.wait(wait):
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(target), ctypes.py_object(TookTooLong))
            wait = AGAIN

    watcher = threading.Thread(target=stop, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
