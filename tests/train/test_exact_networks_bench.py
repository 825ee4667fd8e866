"""Exact networks give the integers of torch in float64 wherever they run; the measurement sees one that does not."""

from __future__ import annotations

import itertools
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from duoview import Profile
from duoview.backends import CpuBackend
from duoview.backends.onnxruntime_cpu import OPTIMISATIONS
from duoview.export.exact_eight_bits import exact_in_8_bits
from duoview.export.torch_backend import TorchBackend
from duoview.profile import EXACT, TEXTURE

ACCURACY = SimpleNamespace(**runpy.run_path(str(Path(__file__).resolve().parent.parent / "accuracy_bench.py")))
BENCH: Any = ACCURACY.module("bench.exact_networks")


@pytest.fixture(scope="module")
def profile() -> Profile:
    return Profile("s")


@pytest.mark.parametrize("name", EXACT)
def test_no_output_differs_from_float64_at_any_level_of_optimisation(profile: Profile, name: str) -> None:
    path = profile.path(name)
    reference = TorchBackend(double=True).load(path)
    others = {way: backend.load(path) for way, backend in BENCH.ways().items()}
    assert set(others) == {"torch float32", "onnxruntime all, 2 threads", *(f"onnxruntime {o}" for o in OPTIMISATIONS)}
    calls = list(BENCH.drawn(name, profile.manifest["sizes"], 450_000, reference))
    inputs = "hyper" if "hyper" in calls[0] else "decoded"
    assert not any(np.array_equal(a[inputs], b[inputs]) for a, b in itertools.pairwise(calls))
    found = BENCH.compare("base", name, "drawn", calls, reference, others)
    assert found.outputs >= 450_000 and found.calls == len(calls)
    assert found.differing == dict.fromkeys(others, 0)


def test_torch_in_double_precision_computes_in_double_precision(profile: Profile) -> None:
    z = np.random.default_rng(1).normal(size=(1, 48, 8, 8)).astype(np.float32)
    single, double = (TorchBackend(double=wide).load(profile.path("key_analysis"))(z=z, q=np.array([20]))[0]
                      for wide in (False, True))
    assert double.dtype == np.float64 and single.dtype == np.float32
    assert 0 < np.abs(single.astype(np.float64) - double.astype(np.float64)).max() < 1e-3


def test_every_output_that_differs_is_counted(profile: Profile) -> None:
    path = profile.path("key_hyper")
    reference, plain = TorchBackend(double=True).load(path), CpuBackend(1).load(path)

    def off(**inputs: NDArray[Any]) -> list[NDArray[Any]]:
        features, classes, means = plain(**inputs)
        features.ravel()[:3] += 1
        return [features, classes, means]

    calls = list(BENCH.drawn("key_hyper", profile.manifest["sizes"], 100, reference))
    assert BENCH.compare("base", "key_hyper", "drawn", calls, reference, {"off": off, "plain": plain}).differing == {
        "off": 3 * len(calls), "plain": 0}


def test_networks_that_are_exact_in_one_build_alone_get_drawn_inputs_there(
        profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BENCH, "ways", lambda: {"one": CpuBackend(1, optimise="none")})
    monkeypatch.setattr(BENCH, "recorded", lambda *_: {})
    other = Profile(profile.folder)
    other.manifest["golden"] = {name: other.manifest["golden"][name] for name in ("key_hyper", "key_context")}
    results = BENCH.run({"base": other, "int8": profile}, BENCH.Settings(outputs=10))
    assert {(one.build, one.network) for one in results.compared} == {
        ("base", "key_hyper"), ("base", "key_context"),
        *(("int8", name) for name in (*EXACT, *TEXTURE) if not name.startswith("key_"))}


class Rewritten(Profile):
    """The profile with another file for one network, under the same golden vectors."""

    file: Path

    def path(self, network: str) -> Path:
        return self.file if network == "key_context" else super().path(network)


@pytest.mark.parametrize("wrong", [False, True])
def test_a_network_that_is_written_in_another_way_is_compared_with_the_one_it_was_made_of(
        profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: bool) -> None:
    monkeypatch.setattr(BENCH, "ways", lambda: {"one": CpuBackend(1, optimise="none")})
    monkeypatch.setattr(BENCH, "recorded", lambda *_: {})
    base, other = Profile(profile.folder), Rewritten(profile.folder)
    for one in (base, other):
        one.manifest["golden"] = {"key_context": one.manifest["golden"]["key_context"]}
    model = exact_in_8_bits(onnx.load(str(profile.path("key_context"))))
    if wrong:
        bias = next(c for c in model.graph.initializer if c.name.endswith(".bias"))
        bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + 40, bias.name))
    other.file = tmp_path / "key_context.onnx"
    onnx.save(model, str(other.file))
    results = BENCH.run({"base": base, "int8": other}, BENCH.Settings(outputs=1000))
    assert [(one.build, one.inputs) for one in results.compared] == [("base", "drawn"), ("int8", "drawn")]
    assert results.passed is not wrong and results.compared[0].differing == {"one": 0}


def test_the_measurement_takes_in_what_a_coded_clip_leads_to(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BENCH, "ways", lambda: {"one": CpuBackend(1, optimise="none")})
    results = BENCH.run({"base": profile}, BENCH.Settings(outputs=1000, width=128, height=64, frames=2))
    assert results.passed and results.differing == 0
    assert {(one.network, one.inputs) for one in results.compared} == {
        *((name, kind) for name in EXACT for kind in ("drawn", "coded")),
        *((name, "drawn") for name in TEXTURE)}
    assert results.comparisons == results.outputs == sum(one.outputs for one in results.compared)
