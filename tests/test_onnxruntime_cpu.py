"""Sessions of onnxruntime on the CPU: how their threads wait."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest

from duoview import Profile
from duoview.backends import CpuBackend, onnxruntime_cpu
from duoview.backends.onnxruntime_cpu import SPIN_MICROSECONDS

SPINNING = "session.intra_op.allow_spinning", "session.intra_op.spin_duration_us", "session.force_spinning_stop"


@pytest.mark.parametrize(("version", "expected"), [
    ("1.26.0", ("1", str(SPIN_MICROSECONDS), "1")), ("1.32.0", ("1", str(SPIN_MICROSECONDS), "1")),
    ("2.0.0", ("1", str(SPIN_MICROSECONDS), "1")), ("1.25.1", ("0", "0", "1")), ("1.9.0", ("0", "0", "1"))])
def test_threads_wait_awake_for_a_moment_and_not_at_all_where_that_cannot_be_limited(
        monkeypatch: pytest.MonkeyPatch, version: str, expected: tuple[str, ...]) -> None:
    given: list[onnxruntime.SessionOptions] = []

    def kept(path: Path, options: onnxruntime.SessionOptions) -> None:
        given.append(options)

    monkeypatch.setattr(onnxruntime_cpu.onnxruntime, "__version__", version)
    monkeypatch.setattr(onnxruntime_cpu, "CpuNetwork", kept)
    CpuBackend(2).load(Profile("s").path("encoder"))
    assert tuple(given[0].get_session_config_entry(name) for name in SPINNING) == expected
