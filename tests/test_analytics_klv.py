"""KLV in MPEG-TS: the datalink set that others read, and the record that comes back whole."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from duoview.errors import ContainerError, ContainerFormatError
from duoview.plugins.analytics import KlvSink, Record, open_sink, read_records
from duoview.plugins.analytics.key_length_value import (
    DUOVIEW_KEY,
    UAS_KEY,
    checksum,
    read_items,
    read_sets,
    sets_of,
)
from duoview.plugins.errors import FrameError
from duoview.plugins.graph import Graph
from duoview.plugins.testing import looked_at, picture

START = 1_700_000_000_000_000


def seen(pts: int, objects: int = 2) -> av.VideoFrame:
    boxes = [((10.0 + 20 * index, 8.0, 20.5 + 20 * index, 40.0), index % 2) for index in range(objects)]
    return looked_at(picture(pts), boxes, ids=[300 + index for index in range(objects)])


def written(path: Path, count: int = 5) -> Path:
    with open_sink(path, "klv", source="cam1", start_utc_us=START) as sink:
        for pts in range(count):
            sink.write(seen(pts, pts))
    return path


def packets(path: Path) -> list[tuple[Fraction, bytes]]:
    with av.open(str(path)) as container:
        (stream,) = container.streams
        return [(Fraction(packet.pts or 0) * Fraction(packet.time_base or 1), bytes(packet))
                for packet in container.demux(stream) if packet.size]


def test_records_come_back_whole_at_their_times(tmp_path: Path) -> None:
    found = list(read_records(written(tmp_path / "out.ts")))
    expected = [Record.of(seen(pts, pts), "cam1", START).to_dict() for pts in range(5)]
    assert [json.loads(json.dumps(record)) for record in expected] == [record for _, record in found]
    assert [time - found[0][0] for time, _ in found] == [Fraction(pts, 10) for pts in range(5)]


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="needs ffprobe")
def test_ffprobe_sees_a_klv_stream_with_a_packet_for_each_frame(tmp_path: Path) -> None:
    command = ["ffprobe", "-v", "error", "-of", "json", "-show_streams", "-show_packets"]
    told = json.loads(subprocess.run([*command, str(written(tmp_path / "out.ts"))], capture_output=True, check=True)
                      .stdout)
    assert [(one["codec_name"], one["codec_tag_string"]) for one in told["streams"]] == [("klv", "KLVA")]
    times = [int(one["pts"]) for one in told["packets"]]
    assert [time - times[0] for time in times] == [0, 9000, 18000, 27000, 36000]


def test_the_datalink_set_begins_with_utc_and_ends_with_its_checksum(tmp_path: Path) -> None:
    _, data = packets(written(tmp_path / "out.ts"))[3]
    assert data.startswith(bytes.fromhex("060e2b34020b01010e01030101000000"))
    length = data[17] if data[16] == 0x81 else int.from_bytes(data[17:19], "big")
    begin = 16 + 1 + (data[16] & 0x7F)
    whole = data[:begin + length]
    assert whole[begin:begin + 2] == bytes([2, 8])
    assert int.from_bytes(whole[begin + 2:begin + 10], "big") == START + 300_000
    assert whole[-4:-2] == bytes([1, 2])
    total = sum(byte << 8 * ((index + 1) % 2) for index, byte in enumerate(whole[:-2])) & 0xFFFF  # as ST 0601 has it
    assert int.from_bytes(whole[-2:], "big") == total == checksum(whole[:-2])


def targets(series: bytes) -> Iterator[tuple[int, dict[int, bytes]]]:
    """Numbers and items of the targets of a VMTI set, as ST 0903 has it, where both fit into short forms."""
    while series:
        size, high, low = series[0], series[1], series[2]
        assert size < 128 <= high and low < 128
        yield (high & 127) << 7 | low, dict(read_items(series[3:1 + size]))
        series = series[1 + size:]


def test_objects_are_targets_with_pixel_numbers_confidence_and_class() -> None:
    datalink, _ = read_sets(sets_of(Record.of(seen(0), "cam1", START)))
    vmti = dict(read_items(datalink.items()[74]))
    assert (int.from_bytes(vmti[8], "big"), int.from_bytes(vmti[9], "big"), vmti[10]) == (160, 96, b"cam1")
    assert (vmti[5], vmti[6]) == (b"\x02", b"\x02")
    (first, one), (second, two) = targets(vmti[101])
    assert (first, second) == (300, 301)
    top_left, bottom_right = (int.from_bytes(one[tag], "big") - 1 for tag in (2, 3))
    assert divmod(top_left, 160) == (8, 10) and divmod(bottom_right, 160) == (39, 20)
    assert one[5] == bytes([90]) and dict(read_items(one[102])) == {2: b"person"}
    assert dict(read_items(two[102])) == {2: b"car"}


def test_klv_goes_beside_pictures_in_one_transport_stream(tmp_path: Path) -> None:
    path = str(tmp_path / "out.ts")
    with av.open(path, "w", format="mpegts") as container:
        stream: Any = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        sink = KlvSink(container, start_utc_us=START)
        for pts in range(6):
            frame = seen(pts)
            sink.write(frame)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(path) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert [round(float(time), 4) for time, _ in read_records(path)] == [round(time, 4) for time in times]


def test_a_graph_string_writes_klv(tmp_path: Path) -> None:
    path = tmp_path / "out.ts"
    graph = Graph.parse(f"dv_metadata={path}:format=klv:source=cam1:start_utc=2023-11-14T22\\\\:13\\\\:20Z")
    assert len(list(graph.process([seen(pts) for pts in range(3)]))) == 3
    assert next(record["utc"] for _, record in read_records(path)) == "2023-11-14T22:13:20.000000Z"


def with_packets(path: Path, contents: Sequence[bytes]) -> Path:
    """A transport stream with a KLV packet of each content, ten a second."""
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_data_stream("klv")
        stream.time_base = Fraction(1, 90000)
        for pts, data in enumerate(contents):
            packet: av.Packet[Any] = av.Packet(data)
            packet.stream, packet.time_base = stream, Fraction(1, 90000)
            packet.pts = packet.dts = 9000 * pts
            container.mux(packet)
    return path


def ours(pts: int) -> bytes:
    return sets_of(Record.of(seen(pts), "cam1", START))


def test_datalink_sets_of_others_are_passed_over_and_counted(tmp_path: Path) -> None:
    datalink = ours(0)[:ours(0).index(DUOVIEW_KEY)]
    records = read_records(with_packets(tmp_path / "theirs.ts", (datalink, ours(1), datalink)))
    assert ([record["pts"] for _, record in records], records.skipped) == ([1], 2)


@st.composite
def foreign(draw: st.DrawFn) -> bytes:
    """A set of another maker: any universal key but ours, a length in any of BER's forms, anything in it."""
    key = b"\x06\x0e\x2b\x34" + draw(st.binary(min_size=12, max_size=12))
    value = draw(st.binary(max_size=300))
    forms = [bytes([0x80 | size]) + len(value).to_bytes(size, "big") for size in range(1 + (len(value) > 255), 9)]
    length = draw(st.sampled_from([bytes([len(value)]), *forms] if len(value) < 128 else forms))
    whole = key + length + value
    assume(DUOVIEW_KEY not in whole)
    return whole


@given(st.lists(foreign(), max_size=5))
def test_sets_of_any_key_and_length_are_given_as_they_stand(theirs: list[bytes]) -> None:
    found = list(read_sets(b"".join(theirs) + ours(0)))
    assert [one.data for one in found[:-2]] == theirs
    assert all(one.data.startswith(one.key) and one.data.endswith(one.value) for one in found)
    assert [one.key for one in found[-2:]] == [UAS_KEY, DUOVIEW_KEY] and found[-1].items().keys() == {2, 3}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(foreign() | st.none(), min_size=1, max_size=8))
def test_records_are_read_from_among_sets_of_others(tmp_path: Path, theirs: list[bytes | None]) -> None:
    contents = [ours(pts) if one is None else one for pts, one in enumerate(theirs)]
    records = read_records(with_packets(tmp_path / "mixed.ts", contents))
    assert [record["pts"] for _, record in records] == [pts for pts, one in enumerate(theirs) if one is None]
    assert records.skipped == len(theirs) - theirs.count(None)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(foreign(), st.data())
def test_a_set_of_others_that_is_cut_off_is_passed_over(tmp_path: Path, theirs: bytes, more: st.DataObject) -> None:
    cut = theirs[:more.draw(st.integers(1, len(theirs) - 1))]
    records = read_records(with_packets(tmp_path / "cut.ts", (ours(0), cut, ours(2))))
    assert ([record["pts"] for _, record in records], records.skipped) == ([0, 2], 1)


@settings(max_examples=20)
@given(foreign())
def test_ours_is_found_behind_a_set_of_others_in_one_packet(theirs: bytes) -> None:
    with TemporaryDirectory() as folder:
        ((_, record),) = read_records(with_packets(Path(folder) / "both.ts", (theirs + ours(4),)))
    assert record["pts"] == 4


def test_what_is_no_klv_in_a_klv_stream_is_passed_over(tmp_path: Path) -> None:
    # A metadata access unit cell of ST 1402's synchronous carriage, in front of a set of another maker.
    cell = bytes([0, 0, 0xDF, 0, 20]) + UAS_KEY + bytes([3, 65, 1, 19])
    records = read_records(with_packets(tmp_path / "cells.ts", (cell, ours(1))))
    assert ([record["pts"] for _, record in records], records.skipped) == ([1], 1)


def wrong(pts: int) -> bytes:
    """Ours, with another checksum."""
    return ours(pts)[:-1] + bytes([ours(pts)[-1] ^ 1])


def test_ours_with_a_wrong_checksum_is_an_error_of_its_packet_only(tmp_path: Path) -> None:
    records = read_records(with_packets(tmp_path / "out.ts", (ours(0), wrong(1), ours(2))))
    assert next(records)[1]["pts"] == 0
    with pytest.raises(ContainerError, match=r"out\.ts: the data at .* s: KLV: the checksum of .* is wrong"):
        next(records)
    assert [record["pts"] for _, record in records] == [2] and records.skipped == 0


def test_a_loop_goes_on_where_somebody_is_told_of_damage(tmp_path: Path) -> None:
    told: list[ContainerError] = []
    cut = ours(3)[:-9]
    path = with_packets(tmp_path / "out.ts", (wrong(0), ours(1), wrong(2), cut, ours(4)))
    assert [record["pts"] for _, record in read_records(path, damaged=told.append)] == [1, 4]
    assert [str(one).partition(": KLV: ")[2].partition(" ")[0] for one in told] == ["the", "the", "byte"]


def test_a_reader_that_was_closed_gives_no_more(tmp_path: Path) -> None:
    with read_records(written(tmp_path / "out.ts")) as records:
        next(records)
    assert list(records) == []


def test_klv_needs_utc_and_says_so(tmp_path: Path) -> None:
    with open_sink(tmp_path / "out.ts", "klv") as sink, pytest.raises(FrameError, match="a frame without UTC"):
        sink.write(seen(0))


def test_klv_goes_into_a_transport_stream_only(tmp_path: Path) -> None:
    with pytest.raises(ContainerFormatError, match=r"mp4 holds no KLV: expected \.ts"):
        open_sink(tmp_path / "out.mp4", "klv")


@given(st.data())
def test_damaged_sets_are_refused_or_read_and_nothing_else(data: st.DataObject) -> None:
    whole = bytearray(sets_of(Record.of(seen(0), "cam1", START)))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    try:
        found = {one.key: one.items() for one in read_sets(bytes(whole))}
    except ContainerError as error:
        assert "KLV" in str(error)
    else:  # the damage is in a key, which makes it somebody else's
        assert found.keys() != {UAS_KEY, DUOVIEW_KEY}


@given(st.binary(max_size=80))
def test_any_bytes_are_sets_or_a_container_error(data: bytes) -> None:
    try:
        for one in read_sets(UAS_KEY + data):
            assert isinstance(one.items(), dict)
    except ContainerError as error:
        assert str(error).startswith("KLV")
