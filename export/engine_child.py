"""The process that builds one engine: ``python -m duoview.export.engine_child JOB``, started by ``export.engines``.

It reads a job, builds, opens what it built, compares that with the CPU, and writes the engine's file. Exit code 0 means
that all of it went well; what did not is the last line of stderr.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from duoview.backends import CpuBackend
from duoview.backends.engine import EngineHeader, written
from duoview.backends.engine_shapes import golden
from duoview.backends.tensorrt_cuda import check_engine
from duoview.backends.tensorrt_toolkit import Progress, TensorRt, Toolkit
from duoview.errors import EngineError, Error
from duoview.export.engines import Job


def build(job: Job, toolkit: Toolkit, tell: Callable[[Progress], None]) -> None:
    """Builds, checks and writes. Raises EngineError."""
    if toolkit.machine != job.machine:
        raise EngineError(f"this process finds {toolkit.machine}, the one that started it {job.machine}")
    expected = golden(job.network, CpuBackend().load(Path(job.file)), job.rows, job.columns, exact=job.exact,
                      sizes=job.sizes)
    identity = job.identity()
    began = time.monotonic()
    built = toolkit.build(job.graph(), identity.profiles, Path(job.timing).read_bytes(), job.level, tell)
    header = EngineHeader(identity, expected, len(built.plan), hashlib.sha256(built.plan).hexdigest(),
                          round(time.monotonic() - began, 1), datetime.now(UTC).isoformat(timespec="seconds"))
    tell(Progress("golden inference", "", 0, 1))
    check_engine(toolkit.open(built.plan), header, "the engine just built")
    Path(job.timing).write_bytes(built.timing)
    Path(job.output).write_bytes(written(header, built.plan))


class Speaker:
    """Tells progress as lines of JSON on stdout, from any thread, as long as somebody reads."""

    def __init__(self) -> None:
        self._lock, self._gone = threading.Lock(), False

    def __call__(self, progress: Progress) -> None:
        with self._lock:
            if self._gone:
                return
            try:
                sys.stdout.write(json.dumps(asdict(progress)) + "\n")
                sys.stdout.flush()
            except BrokenPipeError:
                self._gone = True
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left is not written at exit


def main(arguments: list[str], open_toolkit: Callable[[int], Toolkit] = TensorRt) -> int:
    """Runs a job; the exit code."""
    job = Job.read(Path(arguments[0]).read_text())
    try:
        build(job, open_toolkit(job.index), Speaker())
    except Error as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
