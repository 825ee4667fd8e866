"""Encoders leave the scheduling of threads as it was."""

from __future__ import annotations

import os
import threading
from fractions import Fraction
from pathlib import Path

import pytest

from duoview.inner import InnerSettings
from duoview.inner.priority import usual_priority
from duoview.inner.standard import StandardEncoder
from duoview.sequence import Colour


def policies() -> set[tuple[int, int]]:
    tasks = [int(entry.name) for entry in Path("/proc/self/task").iterdir()]
    return {(os.sched_getscheduler(task), os.sched_getparam(task).sched_priority) for task in tasks}


def test_threads_that_were_given_another_policy_have_their_own_again() -> None:
    before, leave = policies(), threading.Event()
    with usual_priority():
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        thread = threading.Thread(target=leave.wait)  # it begins with the policy of the thread that starts it
        thread.start()
        assert (os.SCHED_BATCH, 0) in policies()
    try:
        assert policies() == before
    finally:
        leave.set()
        thread.join()


def test_a_failure_within_comes_out_and_the_policy_is_restored() -> None:
    before = policies()
    with pytest.raises(RuntimeError, match="no encoder"), usual_priority():
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        raise RuntimeError("no encoder")
    assert policies() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="libsvtav1 asks for real-time threads as root only")
def test_the_av1_encoder_makes_no_thread_real_time() -> None:
    before = policies()
    encoder = StandardEncoder(InnerSettings("av1", threads=1), (64, 64), rate=Fraction(25), colour=Colour())
    assert policies() == before
    encoder.flush()
