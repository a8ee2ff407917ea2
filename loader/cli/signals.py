"""SIGTERM and SIGINT: a command that is stopped leaves in time, whatever it waits for."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from loader.errors import Interrupted

# A stopped command has 10 seconds to leave.
_SECONDS_TO_LEAVE = 9.0


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGINT into `Interrupted`, once; while it is handled they are ignored.

    Python hears a signal only between two steps of the main thread, which may wait in the client
    library for a server that is silent. So a thread looks too, and sees to it that we leave.
    """

    def stop(number: int, _frame: FrameType | None) -> None:
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(number)

    left = threading.Event()
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    threading.Thread(target=_leave_in_time, args=(receiver, left), daemon=True).start()
    wakeup = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    before = {each: signal.signal(each, stop) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        left.set()
        signal.set_wakeup_fd(wakeup)
        sender.close()  # the thread ends
        for each, handler in before.items():
            signal.signal(each, handler)


def _leave_in_time(receiver: socket.socket, left: threading.Event) -> None:
    with receiver:
        while number := receiver.recv(1):
            if number[0] in (signal.SIGTERM, signal.SIGINT) and not left.wait(_SECONDS_TO_LEAVE):
                os._exit(128 + number[0])


def signal_of(error: BaseException) -> int | None:
    """The number of the signal that raised an error, if one did."""
    if isinstance(error, KeyboardInterrupt):
        return int(signal.SIGINT)
    return error.signal_number if isinstance(error, Interrupted) else None
