"""Handles Ctrl-C and SIGTERM: the process prints one line and ends soon, whatever it is doing.

A signal raises KeyboardInterrupt, so that files are closed and temporary ones removed. Anything that takes longer than
`GRACE_S` (a batch being computed, a thread being waited for, a library that swallows the exception) is cut off. Nothing
is lost, since records, stores and downloads are consistent at every moment.

The programs of this package import this module first, and it listens only in them. Their other imports take a while and
must be interruptible too, so this module imports little.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType

MESSAGE = "stopped; run the same command again to continue"
GRACE_S = 0.5
"""Maximum seconds from a signal to the end of the process."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_received: list[int] = []
_alone = threading.Lock()
_announced = _listening = False


def listen() -> None:
    """Makes signals end this process as described above. A process started to ignore Ctrl-C keeps ignoring it."""
    global _listening
    _listening = True
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    sys.excepthook = _except
    sys.unraisablehook = _unraisable
    threading.Thread(target=_watch, args=(reading,), name="stop", daemon=True).start()
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in _SIGNALS:  # last: from here on a signal may come at any line
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


@contextmanager
def listening() -> Iterator[None]:
    """Within this context, lets signals end a program from outside this package (snakemake) in the same way."""
    main = threading.current_thread() is threading.main_thread()  # only it may set handlers
    heard = [number for number in _SIGNALS if main and signal.getsignal(number) is not signal.SIG_IGN]
    before = [signal.signal(number, _interrupt) for number in heard]
    try:
        yield
    except BaseException:
        if received():  # even if a library turned the interrupt into another error
            os._exit(_tell())
        raise
    finally:
        for number, handler in zip(heard, before, strict=True):
            signal.signal(number, handler)


def received() -> bool:
    """Whether a signal came; errors after it are not worth reporting."""
    return bool(_received)


def end() -> int:
    """Says that the process was stopped and ends it if it listens; otherwise returns the exit code to use.

    It ends at once: when Python exits by itself it removes our handlers, so another signal would set the exit code, and
    so would an interrupt that came while Python executed source text (as dataclasses do).
    """
    code = _tell()
    if _listening:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(code)
    return code


def _tell() -> int:
    """Prints the message once; returns the exit code."""
    global _announced
    with _alone:
        if not _announced:
            _announced = True
            cursor = "\x1b[?25h\r" if os.isatty(2) else ""  # a progress bar may have hidden it
            # Not through `sys.stderr`: the interrupted code may hold its lock. The reader may have been stopped too.
            with suppress(OSError):
                os.write(2, f"{cursor}symphony: {MESSAGE}\n".encode())
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # teardown may still complain
    return 128 + (_received or _SIGNALS)[0]


def _interrupt(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    if len(_received) == 1:  # a second one would interrupt the cleanup after the first
        raise KeyboardInterrupt


def _watch(reading: int) -> None:
    """Sees a signal at once; Python's own handler runs only between two steps of the main thread."""
    while True:
        for number in os.read(reading, 1):
            if number in _SIGNALS:
                time.sleep(GRACE_S)
                _received.append(number)
                os._exit(_tell())


def _except(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if received():
        os._exit(_tell())
    sys.__excepthook__(kind, error, trace)


def _unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    if not received():
        sys.__unraisablehook__(unraisable)


*_folders, _program = (sys.argv or [""])[0].split(os.sep)
if _program == "symphony" or (_program == "__main__.py" and "symphony" in _folders[-2:]):
    listen()
