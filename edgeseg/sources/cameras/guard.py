"""Run a program that ends with the process that started it, also where that one is killed.

A script of the standard library alone, started by its path, ``python guard.py PROGRAM ARGUMENT...``, in a session of
its own. When its standard input closes, which the system does for a killed process, everything in the session ends: the
program by SIGTERM where it takes that, and what it left by SIGKILL, this script too. Linux' ``PR_SET_PDEATHSIG`` would
end a program too early: with the thread that started it, and sources are opened on threads that end.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading

#: The exit status of a program that a signal ended is this and the signal's number, as in a shell.
SIGNALED = 128

#: How long a program may take to end in order.
_GRACE_S = 0.3


def main(command: list[str]) -> int:
    """Run the command and return its exit status, or ``SIGNALED`` and a number."""
    # A handler is not inherited, as an ignored signal is: the program ends by it, and this one after it.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    # Descriptors that this process was given are the program's too.
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL, close_fds=False)
    ending = threading.Thread(target=_end_with_parent, args=(program,), daemon=True)
    ending.start()
    status = program.wait()
    if sys.platform != "win32" and select.select([0], [], [], 0)[0]:  # it closed: the program may have left processes
        ending.join()
    return status if status >= 0 else SIGNALED - status


def _end_with_parent(program: subprocess.Popen[bytes]) -> None:
    while os.read(0, 4096):
        pass
    if sys.platform == "win32":
        program.terminate()
        return
    os.killpg(0, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        program.wait(_GRACE_S)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
