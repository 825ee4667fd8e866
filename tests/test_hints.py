"""What a stream tells human views, captions and seeds, holds for the frames that it was sent for."""

from __future__ import annotations

import dataclasses
import runpy
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from skimage import data

import duoview
from duoview import Decoder, Detections, Encoder, FrameOrigin, InnerSettings, Profile
from duoview.access_unit import AccessUnit, Section, SectionType, parse, serialize
from duoview.captions import Caption
from duoview.captions.section import read_caption, write_caption
from duoview.captions.told import FoundCaption
from duoview.errors import LimitError, ProfileError
from duoview.pipelines.command import main
from duoview.plugins.containers.packet import with_payload
from duoview.plugins.errors import OptionError
from duoview.plugins.filters.dv_encode import Encode
from duoview.plugins.filters.dv_human import Human
from duoview.sequence import PaletteGeometry

HERE = Path(__file__)
FILES = SimpleNamespace(**runpy.run_path(str(HERE.with_name("human_profile.py"))))
TEXTURE = SimpleNamespace(**runpy.run_path(str(HERE.with_name("texture_profile.py"))))
SAID, OTHER = Caption.parse("1 person left"), Caption.parse("many car right moving left")


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    """With texture, captions and all starts."""
    folder = tmp_path_factory.mktemp("hints") / "profile"
    TEXTURE.write_profile(folder)
    found: Profile = FILES.add_human(folder, levels=(1.0, 0.9, 0.7, 0.5, 0.3))
    return found


def clip(count: int, *, speed: int = 3) -> list[av.VideoFrame]:
    """A camera that pans over a photograph."""
    frames = []
    for n in range(count):
        picture = np.ascontiguousarray(data.astronaut()[60:140, 150 + speed * n:246 + speed * n])
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = n, Fraction(1, 10)
        frames.append(frame)
    return frames


def encoder(profile: Profile, **options: Any) -> Encoder:
    return Encoder(96, 80, rate=10, profile=profile, threads=1, q=20, **options)


def captions(packets: list[Any]) -> list[str | None]:
    payloads = [parse(bytes(packet)).payload(SectionType.CAPTION) for packet in packets]
    return [None if payload is None else str(read_caption(payload)) for payload in payloads]


def changed(unit: AccessUnit, **values: Any) -> bytes:
    return serialize(dataclasses.replace(unit, **values))


def found(score: float) -> Detections:
    return Detections(np.array([[0, 0, 20, 20]], np.float32), np.array([score], np.float32), np.zeros(1, np.int32),
                      ("car",), "tests", 96, 80)


def test_a_caption_of_a_frame_that_repeats_the_one_before_is_shown(profile: Profile) -> None:
    coding, packets = encoder(profile, caption=SAID), []
    for n, frame in enumerate(clip(3, speed=0)):
        if n == 2:
            coding._captions.caption = OTHER
        packets += coding.encode(frame)
    assert [parse(bytes(packet)).payload(SectionType.MACHINE) for packet in packets[1:]] == [b"", b""]
    decoder = Decoder(profile=profile, threads=1, view="human", start="slim", steps=1, strict=True)
    frames = [frame for packet in packets for frame in decoder.decode(packet)]
    origins: list[Any] = [frame.opaque for frame in frames]
    assert [origin.provenance.caption for origin in origins] == [str(SAID), str(SAID), str(OTHER)]
    pictures = [frame.to_ndarray(format="rgb24") for frame in frames]
    assert np.array_equal(pictures[0], pictures[1]) and not np.array_equal(pictures[1], pictures[2])


def test_a_seed_holds_for_the_frames_of_its_own_key_unit_also_where_frames_are_reordered(profile: Profile) -> None:
    coding = encoder(profile, machine="inner", gop=3)
    packets = [packet for frame in [*clip(6), None] for packet in coding.encode(frame)]
    seeds = iter((5, 9))
    decoder = Decoder(profile=profile, threads=1, view="human", steps=1, strict=True)
    frames: list[av.VideoFrame] = []
    for packet in packets:
        unit = parse(bytes(packet))
        if unit.key:
            told = Section(SectionType.SEED, None, bytes((next(seeds),)))
            frames += decoder.decode(changed(unit, sections=(*unit.sections, told)))
        else:
            frames += decoder.decode(packet)
    frames += decoder.decode(None)
    origins: list[Any] = [frame.opaque for frame in frames]
    assert [origin.provenance.seed for origin in origins] == [5, 5, 5, 9, 9, 9]


def test_an_inner_stream_that_claims_texture_and_brings_none_is_shown_from_noise(profile: Profile) -> None:
    coding, tables = encoder(profile, machine="inner"), profile.texture()
    packets = [packet for frame in [*clip(2), None] for packet in coding.encode(frame)]
    unit = parse(bytes(packets[0]))
    assert unit.sequence is not None
    claimed = dataclasses.replace(unit.sequence, palette=PaletteGeometry(tables.groups, tables.depth, 6))
    shown = []
    for start in ("texture", "guided"):
        decoder = Decoder(profile=profile, threads=1, view="human", start=start, steps=1, caption="auto")
        frames = decoder.decode(changed(unit, sequence=claimed)) + decoder.decode(None)
        shown.append([frame.to_ndarray() for frame in frames])
    assert len(shown[0]) == 1 and np.array_equal(shown[0], shown[1])


@pytest.mark.parametrize("start", ["slim", "texture"])
def test_a_picture_repeated_after_a_change_of_codec_says_how_it_was_made(profile: Profile, start: str) -> None:
    neural = encoder(profile, caption=SAID, seeds=2, texture=2)
    (packet,) = neural.encode(clip(1)[0])
    inner = encoder(profile, machine="inner", inner=InnerSettings(latency="zero", background=0, threads=1), texture=2)
    unit = parse(bytes(inner.encode(clip(1)[0])[0]))
    lost = tuple(section for section in unit.sections if section.type != SectionType.INNER)
    decoder = Decoder(profile=profile, view="human", start=start, steps=1, threads=1)
    (shown,), (repeated,) = decoder.decode(packet), decoder.decode(changed(unit, sections=lost))
    before, after = shown.opaque, repeated.opaque
    assert isinstance(before, FrameOrigin) and before.provenance is not None
    assert after == dataclasses.replace(before, concealed=True) and "caption" in before.provenance.coded_layers


def test_a_frame_that_is_refused_leaves_the_captions_of_frames_that_wait(profile: Profile) -> None:
    coding, packets = encoder(profile, machine="inner", gop=50, caption=SAID), []
    for n, frame in enumerate(clip(5)):
        packets += coding.encode(frame)
        if n == 3:
            coding._captions.caption = OTHER
            with pytest.raises(LimitError, match="frames must come in ascending time"):
                coding.encode(frame)
            coding._captions.caption = SAID
    packets += coding.encode(None)
    assert len(packets) == 5 and captions(packets) == [str(SAID), None, None, None, None]


@pytest.mark.parametrize("score", [0.2, 0.9])
def test_all_that_a_decoders_detector_gives_is_told_of(score: float) -> None:
    (frame,) = clip(1)
    assert str(FoundCaption(lambda frames: [found(score)]).of(frame)) == "1 car top-left"


@pytest.mark.parametrize("caption", ["none", SAID])
def test_a_detector_beside_another_caption_is_refused(profile: Profile, caption: str | Caption) -> None:
    with pytest.raises(ValueError, match=r"detector=.*: belongs to caption='auto'"):
        Decoder(profile=profile, view="human", start="slim", caption=caption, detector=lambda frames: [found(0.9)])


def test_a_detector_for_a_denoiser_without_captions_is_refused(tmp_path: Path) -> None:
    TEXTURE.write_profile(tmp_path / "profile")
    plain = FILES.add_human(tmp_path / "profile", captions=False)
    with pytest.raises(ProfileError, match=r"detector, to make captions of: the denoiser .* takes none"):
        Decoder(profile=plain, threads=1, view="human", start="slim", detector=lambda frames: [found(0.9)])


def damaged_caption(profile: Profile, path: Path) -> None:
    """A file of one frame with texture, whose caption is damaged."""
    (packet,) = encoder(profile, caption=OTHER, texture=4).encode(clip(1)[0])
    payload, raw = write_caption(OTHER), bytearray(bytes(packet))
    raw[raw.rindex(payload)] ^= 255
    (damage,) = parse(bytes(raw)).damaged
    assert damage.type == SectionType.CAPTION
    with duoview.open(str(path), "w") as output:
        output.add_stream(rate=Fraction(10), width=96, height=80, time_base=Fraction(1, 10))
        output.mux(with_payload(packet, bytes(raw)))


def test_a_damaged_caption_is_left_out_and_told_by_the_command(profile: Profile, tmp_path: Path,
                                                               capsys: pytest.CaptureFixture[str]) -> None:
    damaged_caption(profile, tmp_path / "in.nut")
    words = ["-profile", str(profile.folder), "-i", str(tmp_path / "in.nut"), "-view", "human", "-steps", "1"]
    assert main(["decode", "-loglevel", "warning", *words, str(tmp_path / "out.mkv")]) == 0
    assert "1 captions or seeds left out; last: caption section: CRC-32C" in capsys.readouterr().err


def test_a_damaged_caption_keeps_nothing_else_from_being_cut(profile: Profile, tmp_path: Path) -> None:
    damaged_caption(profile, tmp_path / "in.nut")
    assert main(["cut", "-loglevel", "error", "-layers", "machine", str(tmp_path / "in.nut"),
                 str(tmp_path / "out.nut")]) == 0
    (plain,) = encoder(profile).encode(clip(1)[0])
    with duoview.open(str(tmp_path / "out.nut")) as source:
        assert [bytes(packet) for packet in source.demux()] == [bytes(plain)]


@pytest.mark.parametrize("options", [{"detector": "x.onnx", "caption": "none"}, {"confidence": 0.9}])
def test_options_that_nothing_would_come_of_are_refused_by_the_filter(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="expected"):
        Human(start="slim", **options)


def test_a_detector_beside_another_caption_is_refused_by_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["-view", "human", "-start", "slim", "-detector", "x.onnx", "-caption", "1 car left"]
    assert main(["decode", "-i", "a.nut", *words, "b.mkv"]) == 2
    assert "expected -caption auto with it, not 1 car left" in capsys.readouterr().err


def test_a_caption_costs_its_bytes_and_those_of_the_units_other_form(profile: Profile) -> None:
    sizes: list[list[int]] = []
    for told in (False, True):
        coding, packets = encoder(profile, caption=SAID if told else "none"), []
        for n, frame in enumerate(clip(3)):
            if told and n == 2:
                coding._captions.caption = OTHER
            packets += coding.encode(frame)
        sizes.append([len(bytes(packet)) for packet in packets])
    key, same, other = (b - a for a, b in zip(*sizes, strict=True))
    assert key - len(write_caption(SAID)) in (22, 23) and same == 0
    assert 15 <= other - len(write_caption(OTHER)) <= 17


def test_seeds_take_neural_where_the_codec_is_left_open(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert Encode(machine="auto", seeds=2).machine == "neural" and Encode(machine="auto").machine == "inner"
    missing = str(tmp_path / "in.mkv")
    assert main(["encode", "-i", missing, "-machine", "auto", "-seeds", "2", str(tmp_path / "out.nut")]) == 1
    assert "machine codec neural, chosen by auto: -seeds is coded beside it" in capsys.readouterr().err
