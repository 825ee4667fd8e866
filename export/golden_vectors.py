"""Golden vectors of exact networks, as a profile's manifest keeps them."""

from __future__ import annotations

import os
from collections.abc import Mapping

# onnxruntime 1.30 and later write files and phone home at import unless told not to; a user's own setting wins.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

from duoview.golden import GOLDEN_CASES, digest, exact_inputs, grid_of


def golden_digests(name: str, model: bytes, sizes: Mapping[str, int]) -> dict[str, str]:
    """Digests of an exact network's outputs for every golden case, by onnxruntime without any optimisation."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    found = {}
    for case in GOLDEN_CASES:
        inputs = exact_inputs(name, dict(sizes), case.height, case.width, case.saturate)
        found[case.name] = digest(session.run(None, inputs), grid_of(name))
    return found
