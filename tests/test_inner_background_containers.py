"""Backgrounds that groups of pictures have in common, through containers: every seek lands on one that is carried."""

from __future__ import annotations

import runpy
import struct
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

import duoview
from duoview import Profile
from duoview.access_unit import SectionType, parse
from duoview.pipelines.command import main
from duoview.unit_origin import is_discarded

STREAMS = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("background_streams.py"))))
WIDTH, HEIGHT, COUNT, GOP, RATE = STREAMS.WIDTH, STREAMS.HEIGHT, STREAMS.COUNT, STREAMS.GOP, STREAMS.RATE
encoder_for, encode, decode, key_units = STREAMS.encoder_for, STREAMS.encode, STREAMS.decode, STREAMS.key_units


@pytest.fixture(scope="module")
def profile() -> Profile:
    return Profile("s")


@pytest.fixture(scope="module")
def watched() -> list[av.VideoFrame]:
    found: list[av.VideoFrame] = STREAMS.watched_by_a_camera(STREAMS.photograph())
    return found


@pytest.mark.parametrize("extension", ["nut", "mov", "dv"])
def test_what_a_seek_lands_on_carries_its_background_and_can_begin_another_file(
        profile: Profile, watched: list[av.VideoFrame], tmp_path: Path, extension: str) -> None:
    path, part = tmp_path / f"a.{extension}", tmp_path / f"b.{extension}"
    # NUT tells no decode times, which another file would need.
    packets = encode(encoder_for(profile, background=1.8, b_frames=0 if extension == "nut" else None), watched)
    with duoview.open(path, "w") as sink:
        sink.add_stream(rate=RATE, width=WIDTH, height=HEIGHT, time_base=packets[0].time_base)
        sink.mux(packets)
    with duoview.open(path) as source:
        _, played = decode(profile, source.demux())
    for target in (3.0, 1.0, 0.0, 2.0):
        with duoview.open(path) as source, duoview.open(part, "w") as sink:
            source.seek(target)
            found = list(source.demux())
            assert found[0].is_keyframe and parse(bytes(found[0])).payload(SectionType.BACKGROUND) is not None
            sink.add_stream(rate=RATE, width=WIDTH, height=HEIGHT, time_base=found[0].time_base)
            sink.mux(found)
        with duoview.open(part) as source:
            _, shown = decode(profile, source.demux())
        assert len(shown) == COUNT - GOP * int(target / 0.9)
        last = played[COUNT - len(shown) :]
        assert all(np.array_equal(a.to_ndarray(), b.to_ndarray()) for a, b in zip(shown, last, strict=True))


def test_a_hidden_key_unit_that_a_seek_gives_its_background_stays_hidden(
        profile: Profile, watched: list[av.VideoFrame], tmp_path: Path) -> None:
    path = tmp_path / "edited.mov"
    packets = encode(encoder_for(profile, b_frames=0), watched)
    with duoview.open(path, "w") as sink:
        sink.add_stream(rate=RATE, width=WIDTH, height=HEIGHT, time_base=packets[0].time_base)
        sink.mux(packets)
    content = bytearray(path.read_bytes())
    place = content.find(b"elst") + 8  # behind version and flags
    ticks = struct.unpack_from(">I", content, content.find(b"mvhd") + 16)[0]
    scale = struct.unpack_from(">I", content, content.find(b"mdhd") + 16)[0]
    first = struct.unpack_from(">i", content, place + 8)[0]
    # Frames 0 to 5, then 20 to 35: those from the key frame 18 on are there for frame 20.
    edits = (6 * ticks // 10, first, 1 << 16, 16 * ticks // 10, first + 2 * scale, 1 << 16)
    content[place : place + 16] = struct.pack(">IIiIIiI", 2, *edits)
    for box in (b"elst", b"edts", b"trak", b"moov"):
        size = content.rfind(box, 0, place) - 4
        struct.pack_into(">I", content, size, struct.unpack_from(">I", content, size)[0] + 12)
    path.write_bytes(content)
    with duoview.open(path) as source:
        assert (source.seek(0.7) or 0) * source.stream.time_base == Fraction(4, 10)
        found = list(source.demux())
    assert parse(bytes(found[0])).payload(SectionType.BACKGROUND) is not None and found[0].is_keyframe
    assert [is_discarded(packet) for packet in found] == [True, True] + [False] * 16
    assert len(decode(profile, found)[1]) == 16


@pytest.mark.parametrize("late", [-2, 0, 2])
def test_a_container_that_rounds_times_does_not_hide_the_background(
        profile: Profile, watched: list[av.VideoFrame], tmp_path: Path, late: int) -> None:
    packets = encode(encoder_for(profile, background=1.8, latency="zero"), watched)
    for packet in packets:
        packet.pts = packet.dts = round((packet.pts or 0) * packet.time_base * 1000)
        packet.time_base, packet.duration = Fraction(1, 1000), 100
    packets[2 * GOP].pts = packets[2 * GOP].dts = 1800 + late  # the second unit that carries one
    with duoview.open(tmp_path / "a.nut", "w") as sink:
        sink.add_stream(rate=RATE, width=WIDTH, height=HEIGHT, time_base=Fraction(1, 1000))
        sink.mux(packets)
    with duoview.open(tmp_path / "a.nut") as source:
        assert (source.seek(3.0) or 0) * source.stream.time_base == Fraction(27, 10)
        found = next(source.demux())
    assert parse(bytes(found)).payload(SectionType.BACKGROUND) is not None


@pytest.mark.parametrize(("name", "words", "expected"), [
    ("a.nut", [], True), ("a.ts", [], False), ("a.nut", ["-background", "0"], False),
    ("a.ts", ["-background", "10"], True), ("a.nut", ["-b:v", "100k"], False),
])
def test_the_command_line_shares_backgrounds_where_readers_can_go_back_to_them(
        tmp_path: Path, name: str, words: list[str], expected: bool) -> None:
    path = tmp_path / name
    source = ["encode", "-f", "lavfi", "-i", "testsrc2=size=96x80:rate=10:duration=3"]
    assert main([*source, "-machine", "inner", "-simplify", "off", "-preset", "ultrafast", *words, str(path)]) == 0
    with duoview.open(path) as container:
        units = key_units(container.demux())
    carried = [unit.payload(SectionType.BACKGROUND) is not None for unit in units]
    assert carried == [expected, *[False] * (len(carried) - 1)]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_a_transport_stream_with_backgrounds_is_read_from_any_time_and_place(
        profile: Profile, watched: list[av.VideoFrame], tmp_path: Path, codec: str) -> None:
    # libavformat takes a private stream for the codec whose start codes it finds in it.
    path = tmp_path / "a.ts"
    packets = encode(encoder_for(profile, codec, background=1.8, b_frames=0), watched)
    for packet in packets:
        for name in ("pts", "dts"):
            setattr(packet, name, getattr(packet, name) + 7 * packet.time_base.denominator)
    with duoview.open(path, "w") as sink:
        sink.add_stream(rate=RATE, width=WIDTH, height=HEIGHT, time_base=packets[0].time_base)
        sink.mux(packets)
    with duoview.open(path) as source:
        assert len(decode(profile, source.demux())[1]) == COUNT
    data = path.read_bytes()
    path.write_bytes(data[188 * 6 :])
    with duoview.open(path) as source:
        _, shown = decode(profile, source.demux(), strict=False)
    assert len(shown) == 2 * GOP  # from the next background on
