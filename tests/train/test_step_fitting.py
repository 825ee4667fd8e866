"""Scales that steps of powers of two fit: what a network computes stays, what 8 bits lose of it does not grow."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from onnx import numpy_helper

from duoview import Profile
from duoview.backends import CpuBackend
from duoview.export import step_fitting
from duoview.export.calibration import distinct, samples
from duoview.export.equalisation import Sample, observed
from duoview.export.exact_synthesis import SLOPE
from duoview.export.parity import difference, drawn_clip
from duoview.export.precision import LARGE, chosen, folded
from duoview.export.step_fitting import FACTORS, Seen, fitted, step_and_zero


@pytest.fixture(scope="module")
def calls() -> list[Sample]:
    found = samples(Profile("s"), [drawn_clip(frames=4, width=128, height=80)], only=("inter_synthesis",))
    return list(distinct(found["inter_synthesis"]))


@pytest.fixture(scope="module")
def network() -> onnx.ModelProto:
    """With nodes that have names."""
    model = folded(onnx.load(str(Profile("s").path("inter_synthesis"))))
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}.{number}"
    return model


def values(model: onnx.ModelProto, calls: list[Sample], tensors: list[str]) -> dict[str, Seen]:
    given: dict[str, list[NDArray[np.float32]]] = {name: [] for name in tensors}
    for found in observed(model, tensors, calls):
        for name, value in found.items():
            given[name].append(value.ravel())
    return {name: Seen.of(parts) for name, parts in given.items()}


def test_a_fitted_network_computes_the_same_and_its_8_bits_lose_no_more(network: onnx.ModelProto, calls: list[Sample],
                                                                        tmp_path: Path) -> None:
    eight = set(chosen(network, LARGE))
    sites = {name: slope for one in step_fitting._between(network, eight, SLOPE) for name, slope in one.tensors.items()}
    assert len(sites) > 20
    before = values(network, calls, list(sites))
    made = fitted(network, before, eight, SLOPE)
    after = values(made, calls, list(sites))

    def lost(of: dict[str, Seen], name: str) -> float:
        return step_and_zero(of[name], sites[name])[2] / float((of[name].weights * np.square(of[name].values)).mean())

    for one in step_fitting._between(network, eight, SLOPE):
        assert sum(lost(after, name) for name in one.tensors) < 1.02 * sum(lost(before, name) for name in one.tensors)
    assert sum(lost(after, name) for name in sites) < 0.95 * sum(lost(before, name) for name in sites)
    for number, model in enumerate((network, made)):
        onnx.save(model, f"{tmp_path}/{number}.onnx")
    first, second = (CpuBackend(1).load(tmp_path / f"{number}.onnx") for number in range(2))
    assert all(difference(first(**call)[0], second(**call)[0]) < 1e-2 for call in calls)
    weights = [{c.name: numpy_helper.to_array(c) for c in model.graph.initializer} for model in (network, made)]
    factors = {float(np.median(other[value != 0] / value[value != 0])) for name, value in weights[0].items()
               if value.ndim == 4 for other in [weights[1][name]]}
    assert len(factors) > 3


def test_a_sample_of_much_noise_counts_by_the_root_of_it() -> None:
    random = np.random.default_rng(5)
    quiet, loud = (random.normal(0, sigma, 4000).astype(np.float32) for sigma in (1.0, 3.0))
    seen = Seen.of([quiet, loud])
    assert seen.weights[0] / seen.weights[-1] == pytest.approx(3, rel=0.05)
    assert float(seen.weights.mean()) == pytest.approx(1)
    # What was never anything but 0 does not count without end.
    assert np.isfinite(Seen.of([np.zeros(5, np.float32), quiet]).weights).all()
    assert np.isfinite(Seen.of([np.zeros(5, np.float32)]).weights).all()


def test_few_values_of_many_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_fitting, "MOST_VALUES", 100)
    some = Seen.of([np.arange(1000, dtype=np.float32)]).scaled(FACTORS[0])
    assert some.values.size == some.weights.size == 100 and some.values[1] == 10 * np.float32(FACTORS[0])


@settings(deadline=None)
@given(hnp.arrays(np.float32, st.integers(2, 40), elements=st.floats(-1e4, 1e4, width=32)), st.booleans())
def test_a_step_is_a_power_of_two_and_no_worse_than_one_that_holds_all(values: NDArray[np.float32], signed: bool
                                                                       ) -> None:
    step, zero, least = step_and_zero(Seen(values, np.ones_like(values)), signed=signed)
    assert step > 0 and math.log2(step) == round(math.log2(step)) and 0 <= zero <= 255 and (zero == 128 or not signed)

    def error(step: float, zero: int) -> float:
        made = (np.clip(np.rint(values / step) + zero, 0, 255) - zero) * step
        return float(np.square(made - values).mean())

    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    span = max(2 * max(high, -low) if signed else high - low, 1e-20)
    holds = 2.0 ** math.ceil(math.log2(span / 255))
    assert error(step, zero) == least <= error(holds, 128 if signed else min(255, math.ceil(-low / holds)))
