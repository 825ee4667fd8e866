"""A stream encoded on any backend decodes to the same symbols on every other, and machine views stay together.

What the machine lacks is skipped with the reason. 250 P frames here; ``python -m bench.backend_matrix`` does 2,000.
"""

from __future__ import annotations

import itertools
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from duoview import Profile
from duoview.export import variant
from duoview.export.calibration import Clip, pixels
from duoview.export.precision import PLANS
from duoview.export.variant import Tolerance, write_int8

ACCURACY = SimpleNamespace(**runpy.run_path(str(Path(__file__).resolve().parent.parent / "accuracy_bench.py")))
BENCH: Any = ACCURACY.module("bench.backend_matrix")
SETTINGS = BENCH.Settings(width=64, height=64, frames=251, q=30)
NAMES = ("torch-cpu", "onnxruntime-cpu", "onnxruntime-cpu-int8", "onnxruntime-cuda", "tensorrt")


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


Found = tuple[dict[tuple[str, str], Any], dict[str, str]]


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


def test_a_pair_that_drifts_or_differs_does_not_pass() -> None:
    assert BENCH.Pair("a", "b", 2001, True, 50.0, -0.5).passed and BENCH.Pair("a", "b", 251, True, 50.0, -1.5).passed
    for bad in (BENCH.Pair("a", "b", 9, False, 99.0, 0.0), BENCH.Pair("a", "b", 9, True, 44.9, 0.0),
                BENCH.Pair("a", "b", 2001, True, 50.0, -1.5)):
        assert not bad.passed


def test_what_the_machine_lacks_is_not_run_and_the_command_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]
                                                                   ) -> None:
    words = ["--frames", "3", "--width", "64", "--height", "64", "--out", str(tmp_path / "matrix.json"),
             "--only", "onnxruntime-cpu", "onnxruntime-cpu-int8"]
    assert BENCH.main(words) == 0
    said = capsys.readouterr().out
    assert "onnxruntime-cpu -> onnxruntime-cpu: symbols equal, views agree at 99.0 dB" in said
    assert "onnxruntime-cpu-int8: not run: no profile in 8 bits was given" in said
    assert BENCH.main([*words[:-2], "onnxruntime-cpu-int8"]) == 1
