"""Threads keep their scheduling while an encoder opens.

libsvtav1, opened by root, makes the thread that opens it and all of its own threads real-time (SCHED_FIFO, 99), and
leaves them so: they then starve everything else on the machine, this process's other threads too.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

#: Two at once would each take what the other's encoder did for what was before.
_ONE = threading.Lock()


@contextlib.contextmanager
def usual_priority() -> Iterator[None]:
    """Within the block, threads may be given another scheduling policy; at its end they have that of before again.

    Threads that began within it get that of the calling thread.
    """
    with _ONE:
        own = os.sched_getscheduler(0), os.sched_getparam(0)
        before = dict(_threads())
        try:
            yield
        finally:
            for thread, now in _threads():
                policy, parameters = before.get(thread, own)
                if (now[0], now[1].sched_priority) != (policy, parameters.sched_priority):
                    with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                        os.sched_setscheduler(thread, policy, parameters)


def _threads() -> Iterator[tuple[int, tuple[int, os.sched_param]]]:
    """The threads of this process, their policies and parameters."""
    for entry in Path("/proc/self/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            thread = int(entry.name)
            yield thread, (os.sched_getscheduler(thread), os.sched_getparam(thread))
