"""A limit on the time of a block, for code that may never return."""

import contextlib
import ctypes
import signal
import threading
from collections.abc import Iterator
from types import FrameType

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

    def stop(number: int, frame: FrameType | None) -> None:
        if armed:
            raise TookTooLong

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        yield
    finally:
        armed = False  # first: a signal between here and the next line must not raise
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


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
