"""Ctrl-C and SIGTERM: one line, soon, whatever the process does at that moment.

A signal raises KeyboardInterrupt, so that files are closed and temporary ones removed. What takes longer than
`GRACE_S` (a batch that is being computed, a thread that is waited for, a library that swallows the exception) is cut
off: nothing is lost by that, since records, stores and downloads hold at every moment.

Imported first by the programs of this package, and listens only there: their other imports take a while, too, so that
this needs few.
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

MESSAGE = "stopped; start the same command again, it goes on"
GRACE_S = 0.5
"""Seconds from a signal to the end of the process, at most."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_received: list[int] = []
_alone = threading.Lock()
_told = _listening = False


def listen() -> None:
    """Ends this process as described above from now on. A process that was started deaf to Ctrl-C stays so."""
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
    """Ends a program that is not of this package, snakemake, in the same way while it does what this context holds."""
    main = threading.current_thread() is threading.main_thread()  # no other may set a handler
    heard = [number for number in _SIGNALS if main and signal.getsignal(number) is not signal.SIG_IGN]
    before = [signal.signal(number, _interrupt) for number in heard]
    try:
        yield
    except BaseException:
        if received():  # also where a library made another error of the interrupt
            os._exit(_tell())
        raise
    finally:
        for number, handler in zip(heard, before, strict=True):
            signal.signal(number, handler)


def received() -> bool:
    """Whether a signal came, so that no error after it is worth a word."""
    return bool(_received)


def end() -> int:
    """Says that the process was stopped and ends it, where it listens; else the code to end with.

    At once: when Python ends by itself it takes our handlers back, so that one more signal would decide the code, and
    so would an interrupt that came while it executed a text (as dataclasses do).
    """
    code = _tell()
    if _listening:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(code)
    return code


def _tell() -> int:
    """Says it once; the code that the process ends with."""
    global _told
    with _alone:
        if not _told:
            _told = True
            cursor = "\x1b[?25h\r" if os.isatty(2) else ""  # which a bar may have hidden
            # Not through `sys.stderr`: what was interrupted may hold its lock. Whoever reads may have been stopped.
            with suppress(OSError):
                os.write(2, f"{cursor}symphony: {MESSAGE}\n".encode())
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what is torn down after it may complain
    return 128 + (_received or _SIGNALS)[0]


def _interrupt(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    if len(_received) == 1:  # a second one would interrupt the tidying up after the first
        raise KeyboardInterrupt


def _watch(reading: int) -> None:
    """Python's own handler runs between two steps of the main thread alone; this sees a signal at once."""
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
