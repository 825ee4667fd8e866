"""What profiles at another precision cost: the loss of the streams is told from that of the view."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest

from duoview import Profile
from duoview.export import variant
from duoview.export.calibration import Clip, pixels, samples
from duoview.export.precision import PLANS, quantised
from duoview.export.variant import Tolerance, write_int8

ACCURACY = SimpleNamespace(**runpy.run_path(str(Path(__file__).resolve().parent.parent / "accuracy_bench.py")))
BENCH: Any = ACCURACY.module("bench.precision_speed")


@pytest.fixture(scope="module")
def clip() -> Clip:
    found = tuple(BENCH.frames(BENCH.clip(BENCH.NAME), limit=2, width=128, height=64))
    return Clip(BENCH.NAME, found, tuple(map(pixels, found)))


def test_a_profile_with_another_decoder_network_loses_nothing_in_its_streams(clip: Clip, tmp_path: Path,
                                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    profile = Profile("s")
    view = tmp_path / "view.onnx"
    calls = samples(profile, [clip])["decoder"]
    onnx.save(quantised(onnx.load(str(profile.path("decoder"))), calls, PLANS[0], clipped=False), str(view))
    monkeypatch.setattr(variant.Search, "__init__", lambda self, *_, **__: setattr(self, "trials", []))
    monkeypatch.setattr(variant.Search, "run", lambda self: {"decoder": view})
    write_int8(profile, tmp_path / "profile", [clip], [clip], Tolerance(), tmp_path)
    settings = BENCH.Settings(bits_qualities=(10, 26, 42))
    same, found = BENCH.bits([profile, profile, Profile(tmp_path / "profile")], [clip], settings)
    assert same.clips == same.streams == {BENCH.NAME: (0.0,)}
    assert found.streams == {BENCH.NAME: (0.0,)} and (found.mean,) == found.clips[BENCH.NAME] > (0.001,)
    assert found.mean_streams == 0
    assert BENCH.changed(profile) == {} and BENCH.changed(Profile(tmp_path / "profile")) == {"decoder": "int8"}


def test_bits_are_of_pieces_that_a_clip_is_long_enough_for(clip: Clip) -> None:
    frames = clip.frames * 5
    long = Clip("long", frames, clip.pixels * 5)
    settings = BENCH.Settings(bits_frames=4, bits_starts=(0, 3, 6, 7))
    found = BENCH.pieces(long, settings)
    assert [one.frames for one in found] == [frames[0:4], frames[3:7], frames[6:10]]
    assert [len(one.pixels) for one in BENCH.pieces(clip, settings)] == [2]


def test_a_piece_that_cannot_be_compared_is_left_out_of_the_mean(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    rising, flat = [(100.0, 20.0), (200.0, 25.0)], [(100.0, 20.0), (200.0, 20.0)]
    other = Clip("flat", clip.frames, clip.pixels)
    monkeypatch.setattr(BENCH, "curve", lambda profile, encoding, decoding, of, qualities:
                        flat if of.name == "flat" else rising)
    profile, settings = Profile("s"), BENCH.Settings()
    (found,) = BENCH.bits([profile, profile], [clip, other], settings)
    assert found.clips == found.streams == {BENCH.NAME: (0.0,), "flat": (None,)} and found.mean == 0
    (none,) = BENCH.bits([profile, profile], [other], settings)
    assert none.mean is none.mean_streams is None
