"""Settings that all tests share. Fixtures live beside the tests that use them."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Telemetry of onnxruntime starts at its import (1.30 and later) and is never wanted in a test run.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Same examples in every run, and no deadline: a shared two-core machine may stall for longer than any sensible one.
settings.register_profile(
    "duoview",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("duoview")
