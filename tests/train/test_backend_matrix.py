"""A stream encoded on any backend decodes to the same symbols on every other, and machine views stay together.

What the machine lacks is skipped with the reason. 250 P frames here; ``python -m bench.backend_matrix`` does 2,000.
"""

from __future__ import annotations

import itertools
import json
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from duoview import Profile
from duoview.backends import CpuBackend
from duoview.export import variant
from duoview.export.calibration import Clip, pixels
from duoview.export.precision import PLANS
from duoview.export.variant import Tolerance, write_int8

ACCURACY = SimpleNamespace(**runpy.run_path(str(Path(__file__).resolve().parent.parent / "accuracy_bench.py")))
BENCH: Any = ACCURACY.module("bench.backend_matrix")
SETTINGS = BENCH.Settings(width=64, height=64, frames=251, q=30)
NAMES = ("torch-cpu", "onnxruntime-cpu", "onnxruntime-cpu-int8", "onnxruntime-cuda", "tensorrt")
EXACT_NAMES = ("torch-cpu", "torch-cuda", "onnxruntime-cpu", "onnxruntime-cuda", "tensorrt")


Found = tuple[dict[tuple[str, str], Any], dict[str, str]]


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    frames = tuple(itertools.islice(BENCH.scene(BENCH.Settings(width=192, height=128, frames=3)), 3))
    clip = Clip("scene", frames, tuple(pixels(frame) for frame in frames))
    folder = tmp_path_factory.mktemp("int8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(variant, "PLANS", PLANS[1:2])
        patch.setattr(variant, "TIMED_CALLS", 1)
        write_int8(Profile("s"), folder / "profile", [clip], [clip], Tolerance(bits=10.0, view=45.0), folder)
    return Profile(folder / "profile")


@pytest.fixture(scope="module")
def results(int8: Profile, tmp_path_factory: pytest.TempPathFactory) -> Found:
    found, lacking = BENCH.ways(SETTINGS, int8=int8, cache=tmp_path_factory.mktemp("engines"), wanted=NAMES)
    pairs = {(pair.encoder, pair.decoder): pair for pair in BENCH.matrix(found, SETTINGS)}
    return pairs, {one.name: one.reason for one in lacking}


@pytest.mark.parametrize(("encoder", "decoder"), list(itertools.product(NAMES, repeat=2)))
def test_symbols_are_equal_and_views_agree_at_45_db_after_250_p_frames(
        results: Found, encoder: str, decoder: str) -> None:
    pairs, lacking = results
    for name in (encoder, decoder):
        if name in lacking:
            pytest.skip(f"not run: {name}: {lacking[name]}")
    pair = pairs[encoder, decoder]
    assert pair.frames == 251 and pair.symbols_equal
    assert pair.least_db >= 45, pair


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """A profile whose state is exact, its activations as TensorRT takes them, on all that runs here."""
    frames = tuple(itertools.islice(BENCH.scene(BENCH.Settings(width=192, height=128, frames=3)), 3))
    clip = Clip("scene", frames, tuple(pixels(frame) for frame in frames))
    folder = tmp_path_factory.mktemp("exact")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(variant, "ENCODER_NETWORKS", ())
        patch.setattr(variant, "PLANS", ())
        patch.setattr(variant, "TIMED_CALLS", 1)
        write_int8(Profile("s"), folder / "profile", [clip], [clip], Tolerance(bits=10.0), folder, state=True,
                   signed=True)
    found, lacking = BENCH.ways(SETTINGS, int8=None, cache=folder, profile=str(folder / "profile"), wanted=EXACT_NAMES)
    assert all(way.profile.name == "s-int8" for way in found)
    pairs = {(pair.encoder, pair.decoder): pair for pair in BENCH.matrix(found, SETTINGS)}
    return pairs, {one.name: one.reason for one in lacking}


@pytest.mark.parametrize(("encoder", "decoder"), list(itertools.product(EXACT_NAMES, repeat=2)))
def test_what_exact_networks_hand_on_does_not_drift(exact: Found, encoder: str, decoder: str) -> None:
    pairs, lacking = exact
    for name in (encoder, decoder):
        if name in lacking:
            pytest.skip(f"not run: {name}: {lacking[name]}")
    pair = pairs[encoder, decoder]
    # The decoder network is in float32: a value now and then is rounded to the next level.
    assert pair.frames == pair.handed_on == 251 and pair.symbols_equal and pair.least_db > 60, pair


def test_a_pair_that_drifts_or_differs_does_not_pass() -> None:
    assert BENCH.Pair("a", "b", 2001, True, 50.0, -0.5).passed and BENCH.Pair("a", "b", 251, True, 50.0, -1.5).passed
    for bad in (BENCH.Pair("a", "b", 9, False, 99.0, 0.0), BENCH.Pair("a", "b", 9, True, 44.9, 0.0),
                BENCH.Pair("a", "b", 2001, True, 50.0, -1.5), BENCH.Pair("a", "b", 2001, True, 50.0, -1.5, (), 2000)):
        assert not bad.passed
    # A trend in how many values are rounded otherwise is none of what is handed on.
    assert BENCH.Pair("a", "b", 2001, True, 50.0, -1.5, (), 2001).passed


def test_what_the_machine_lacks_is_not_run_and_the_command_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]
                                                                   ) -> None:
    words = ["--frames", "3", "--width", "64", "--height", "64", "--out", str(tmp_path / "matrix.json"),
             "--only", "onnxruntime-cpu", "onnxruntime-cpu-int8"]
    assert BENCH.main(words) == 0
    said = capsys.readouterr().out
    assert "onnxruntime-cpu -> onnxruntime-cpu: symbols equal, views agree at 99.0 dB" in said
    assert "onnxruntime-cpu-int8: not run: no profile in 8 bits was given" in said
    assert BENCH.main([*words[:-2], "onnxruntime-cpu-int8"]) == 1


def test_backends_that_were_not_asked_for_are_in_the_results_as_not_run(tmp_path: Path) -> None:
    out = tmp_path / "matrix.json"
    assert BENCH.main(["--frames", "2", "--width", "64", "--height", "64", "--out", str(out), "--only",
                       "onnxruntime-cpu"]) == 0
    not_run = json.loads(out.read_text())["results"]["not_run"]
    assert {one["name"]: one["reason"] for one in not_run} == dict.fromkeys(
        set(BENCH.NAMES) - {"onnxruntime-cpu"}, "not asked for (--only)")


class Failing:
    """The CPU, until a network is run (or loaded)."""

    name = "failing"

    def __init__(self, what: str) -> None:
        self.what = what

    def load(self, path: Path) -> Any:
        if self.what == "load":
            raise RuntimeError("no\nmemory")
        network = CpuBackend(1).load(path)

        def call(**inputs: Any) -> Any:
            if path.stem == self.what:
                raise RuntimeError("no\nmemory")
            return network(**inputs)

        return call


@pytest.mark.parametrize(("network", "broken"), [
    ("decoder", {("whole", "failing"), ("failing", "whole"), ("failing", "failing")}),
    ("encoder", {("failing", "whole"), ("failing", "failing")}),
])
def test_a_pair_that_breaks_off_is_a_failed_one_and_the_others_are_run(network: str, broken: set[tuple[str, str]]
                                                                       ) -> None:
    small = BENCH.Settings(width=64, height=64, frames=2)
    found = [BENCH.Way("whole", Profile("s"), CpuBackend(1)), BENCH.Way("failing", Profile("s"), Failing(network))]
    pairs = {(pair.encoder, pair.decoder): pair for pair in BENCH.matrix(found, small)}
    assert {names for names, pair in pairs.items() if not pair.passed} == broken
    assert all(pairs[names].failure == "RuntimeError: no memory" for names in broken) and len(pairs) == 4


def test_a_backend_that_cannot_load_networks_fails_the_matrix_and_not_the_run(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BENCH, "open_backend", lambda name: Failing("load"))
    out = tmp_path / "matrix.json"
    assert BENCH.main(["--frames", "2", "--width", "64", "--height", "64", "--out", str(out), "--only",
                       "onnxruntime-cuda", "onnxruntime-cpu"]) == 1
    results = json.loads(out.read_text())["results"]
    assert len(results["pairs"]) == 1 and results["not_run"][0] == {
        "name": "onnxruntime-cuda", "reason": "RuntimeError: no memory", "broken": True}


def test_a_pair_of_a_backend_with_itself_decodes_twice() -> None:
    calls = itertools.count()

    class Restless(CpuBackend):
        def load(self, path: Path) -> Any:
            network = super().load(path)
            if path.stem != "decoder":
                return network
            return lambda **inputs: [output + (next(calls) > 0) for output in network(**inputs)]

    (pair,) = BENCH.matrix([BENCH.Way("restless", Profile("s"), Restless(1))],
                           BENCH.Settings(width=64, height=64, frames=1))
    assert pair.least_db < BENCH.EQUAL_DB
