"""Damaged and unfinished files: what is whole is read, nothing but our errors is raised, nothing hangs."""

from __future__ import annotations

import contextlib
import io
import random
import runpy
import time
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import pytest

from duoview.errors import ContainerError, ContainerFormatError
from duoview.kernels import crc32c
from duoview.plugins import containers
from duoview.plugins.containers import salvage
from duoview.plugins.containers.records import MAGIC, Record, file_head, record_head
from duoview.plugins.containers.salvage import whole_units

STREAM = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("golden") / "access_unit_stream.py")))
NAMES = {"nut": "nut", "ts": "mpegts", "dv": "dv", "mov": "mov", "avi": "avi", "mp4": "mp4"}


def coded(data: list[bytes], extension: str) -> bytes:
    """The bytes of a container that holds the units."""
    file = io.BytesIO()
    STREAM.write(file, data, format=NAMES[extension])
    return file.getvalue()


@pytest.mark.parametrize("extension", ["nut", "ts", "dv", "avi"])
def test_a_file_cut_at_any_byte_gives_every_unit_before_the_cut(extension: str) -> None:
    data = STREAM.units(20, sizes=(400, 30, 60, 50, 90))
    whole = coded(data, extension)
    # Where each unit's last byte is. MPEG-TS cuts units up: there the count must not fall as the cut moves on.
    ends = []
    if extension != "ts":
        at = 0
        for unit in data:
            at = whole.index(unit, at) + len(unit)
            ends.append(at)
    least = 0
    for cut in range(0, len(whole), 7 if extension != "dv" else 3):
        expected = sum(end <= cut for end in ends)
        try:
            read = [s.data for s in STREAM.read(io.BytesIO(whole[:cut]))]
        except ContainerError:
            assert expected == 0 and least == 0, f"cut at {cut} of {len(whole)}"
            continue
        assert read == data[: len(read)], f"cut at {cut} of {len(whole)}"
        assert len(read) >= max(expected, least), f"cut at {cut} of {len(whole)}"
        least = len(read)


@pytest.mark.parametrize("extension", ["nut", "ts", "dv"])
def test_what_is_muxed_is_in_the_file_before_it_is_closed(tmp_path: Path, extension: str) -> None:
    data = STREAM.units(40)
    path = tmp_path / f"a.{extension}"
    with containers.open(path, "w") as out:
        out.add_stream(rate=STREAM.RATE, width=640, height=360)
        out.mux(STREAM.packet(unit, n, 1 / STREAM.RATE) for n, unit in enumerate(data))
        read = [s.data for s in STREAM.read(path)]
        # In MPEG-TS the last bundle may still be gathering, for half a second or until a key unit comes.
        assert read == data[: 30 if extension == "ts" else 40]


@pytest.mark.parametrize("extension", list(NAMES))
def test_a_damaged_unit_in_the_middle_stops_nothing(extension: str) -> None:
    data = STREAM.units(40, sizes=(300,))
    whole = bytearray(coded(data, extension))
    # MPEG-TS cuts units up every 184 bytes: some part of it stands whole.
    at = max(whole.find(data[15][start : start + 20]) for start in (4, 30))
    whole[at : at + 20] = bytes(20)
    read = [s.data for s in STREAM.read(io.BytesIO(bytes(whole)))]
    assert len(read) >= 38
    assert sum(a in data for a in read) >= 38
    assert read[-1] == data[-1]


@pytest.mark.parametrize("extension", ["nut", "ts", "dv"])
def test_a_hole_in_the_file_costs_what_was_in_it(extension: str) -> None:
    data = STREAM.units(60, sizes=(700,))
    whole = bytearray(coded(data, extension))
    at = len(whole) // 2
    whole[at : at + 3000] = bytes(3000)
    read = [s.data for s in STREAM.read(io.BytesIO(bytes(whole)))]
    intact = [unit for unit in read if unit in data]
    assert intact[-1] == data[-1]
    # A bundle of MPEG-TS holds fifteen frames at thirty frames a second.
    assert len(intact) >= 60 - (32 if extension == "ts" else 12)


@pytest.mark.parametrize("extension", list(NAMES))
def test_random_damage_raises_nothing_but_container_errors(extension: str) -> None:
    data = STREAM.units(30, sizes=(300, 40))
    whole = coded(data, extension)
    source = random.Random(extension)
    for _ in range(40):
        damaged = bytearray(whole)
        at = source.randrange(len(damaged))
        kind = source.choice(("flip", "zero", "cut out", "splice"))
        if kind == "flip":
            for _ in range(source.randrange(1, 20)):
                damaged[source.randrange(len(damaged))] ^= 1 << source.randrange(8)
        elif kind == "zero":
            damaged[at : at + 200] = bytes(len(damaged[at : at + 200]))
        elif kind == "cut out":
            del damaged[at : at + source.randrange(1, 2000)]
        else:
            damaged[at:at] = damaged[: source.randrange(1, 2000)]
        with contextlib.suppress(ContainerError), containers.open(io.BytesIO(bytes(damaged))) as opened:
            assert len(STREAM.samples(opened)) <= 200
            opened.seek(0.7)
            next(opened.demux(), None)


@pytest.mark.parametrize("options", [{}, {"bundle_seconds": "0"}])
def test_a_reader_that_joins_a_transport_stream_between_key_units_waits_for_its_header(options: dict[str, str]) -> None:
    data = STREAM.units(60, sizes=(700,))
    file = io.BytesIO()
    STREAM.write(file, data, format="mpegts", options=options)
    whole = file.getvalue()
    with containers.open(io.BytesIO(whole[len(whole) // 3 :])) as source:
        assert (source.stream.width, source.stream.average_rate) == (640, Fraction(30))
        read = [s.data for s in STREAM.samples(source)]
    assert read == data[-len(read) :]
    assert len(read) >= 30


@pytest.mark.parametrize("change", [-3, 3])
def test_a_file_whose_first_unit_has_bytes_too_many_or_too_few_is_read_from_the_next_key_unit_on(change: int) -> None:
    data = STREAM.units(40, sizes=(300, 50))
    whole = coded(data, "nut")
    at = whole.index(data[0]) + 40
    torn = whole[:at] + bytes(max(0, change)) + whole[at - min(0, change) :]
    with containers.open(io.BytesIO(torn)) as source:
        assert source.stream.width == 640
        assert {s.data for s in STREAM.samples(source)} >= set(data[STREAM.GOP :])


def test_long_packets_of_another_codec_are_not_taken_for_torn_units(tmp_path: Path) -> None:
    content = random.Random(3)
    path = tmp_path / "foreign.mp4"
    with av.open(str(path), "w") as sink:
        stream = sink.add_data_stream("bin_data")
        for number in range(40):
            packet = STREAM.packet(content.randbytes(60_000), number, Fraction(1, 10))
            packet.stream = stream
            sink.mux(packet)
    with pytest.raises(ContainerFormatError, match="no duoview stream"):
        containers.open(path)


def test_a_cut_off_last_unit_is_dropped_and_counted() -> None:
    data = STREAM.units(5, sizes=(500,))
    whole = coded(data, "nut")
    end = whole.index(data[4]) + 300
    with containers.open(io.BytesIO(whole[:end])) as source:
        assert [s.data for s in STREAM.samples(source)] == data[:4]
        assert source.damaged == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the input is empty, expected a duoview stream"),
        (b"\x00" * 5000, "cannot read"),
        (b"this is a text, not a video\n" * 50, "cannot read"),
        (b"DUOVIEW\x01", "head of the raw file is damaged"),
        (b"DUOVIEW\x01" + bytes(100), "head of the raw file is damaged"),
    ],
)
def test_a_foreign_or_empty_file_is_one_clear_error(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.nut"
    path.write_bytes(content)
    with pytest.raises(ContainerFormatError, match=message) as caught:
        containers.open(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def record(unit: bytes, pts: int, dts: int, duration: int) -> bytes:
    """A record of a raw .dv file with times that no writer of ours lets through."""
    return record_head(Record(unit, pts, dts, duration, key=True)) + unit


@pytest.mark.parametrize(
    ("pts", "dts", "duration"),
    [(-(1 << 63), -(1 << 63), 1), (-5, -(1 << 63) - 1, 1), (0, 0, (1 << 64) - 1), (1 << 62, 0, 1)],
)
def test_a_record_with_times_beyond_64_bits_is_damage(pts: int, dts: int, duration: int) -> None:
    good = STREAM.units(1)[0]
    content = file_head(Fraction(1, 30)) + record(good, pts, dts, duration) + record(good, 7, 7, 1)
    with containers.open(io.BytesIO(content)) as source:
        assert [s.pts for s in STREAM.samples(source)] == [Fraction(7, 30)]
        assert source.damaged > 0


@pytest.mark.parametrize(("terms", "message"), [((2, 60), "2/60, expected its lowest terms, 1/30"), ((0, 1), "0")])
def test_a_raw_file_whose_time_base_no_writer_of_ours_makes_is_refused(terms: tuple[int, int], message: str) -> None:
    head = MAGIC + bytes(terms)
    content = head + crc32c(head).to_bytes(4, "little") + record(STREAM.units(1)[0], 0, 0, 1)
    with pytest.raises(ContainerFormatError, match=f"head of the raw file is damaged: time base is {message}"):
        containers.open(io.BytesIO(content))


def test_a_raw_file_before_time_zero_knows_its_duration() -> None:
    unit = STREAM.units(1)[0]
    content = file_head(Fraction(1, 30)) + record(unit, -50, -50, 1) + record(unit, -49, -49, 1)
    with containers.open(io.BytesIO(content)) as source:
        assert (source.stream.start_time, source.stream.duration) == (-50, 2)


def test_the_search_for_units_in_a_torn_packet_gives_up_on_false_starts() -> None:
    unit = STREAM.units(1)[0]
    false_start = bytes.fromhex("d5 02 00 01 80 80 01")  # announces 16,384 sections, and is an entry of such a table
    assert whole_units(false_start * 10 + unit) == [(70, 70 + len(unit))]
    assert whole_units(false_start * 6000 + unit) == []


def test_the_search_for_units_in_a_torn_packet_finds_them_all_between_any_bytes() -> None:
    source = random.Random(5)
    data, places = b"", []
    for unit in STREAM.units(200, sizes=(0, 1, 50, 200, 700)):
        data += source.randbytes(source.randrange(9))
        places.append((len(data), len(data) + len(unit)))
        data += unit
    assert whole_units(data) == places
    at = places[100][0] + 3
    assert whole_units(data[:at] + b"\x55" + data[at:]) == [
        place if place < places[100] else (place[0] + 1, place[1] + 1) for place in places if place != places[100]]


def test_a_packet_of_many_possible_units_is_searched_in_bounded_time() -> None:
    # Each of these is a unit, and so are many runs of them up to the end of another.
    unit = bytes.fromhex("8001") + crc32c(bytes.fromhex("d58001")).to_bytes(4, "little")
    began = time.perf_counter()
    found = whole_units(unit * 30_000)
    assert time.perf_counter() - began < 10
    assert found[:100] == [(6 * n, 6 * n + 6) for n in range(100)]


@pytest.mark.parametrize("pattern", ["8000a048fc20", "8001a3cb97d2"])
def test_places_that_reach_to_one_end_are_not_all_read(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The register is after the pattern what it was before: so the checksum at the end is right from every one of them.
    # Units with an index of 0 are none; the others are, and the last and shortest is taken.
    assert crc32c(bytes.fromhex("d5" + pattern)) == crc32c(b"\xd5")
    data = bytes.fromhex(pattern) * 20_000 + crc32c(b"\xd5").to_bytes(4, "little")
    sizes: list[int] = []
    real = salvage.header_of

    def counted(part: bytes) -> object:
        sizes.append(len(part))
        return real(part)

    monkeypatch.setattr(salvage, "header_of", counted)
    assert whole_units(data) == ([] if pattern.startswith("8000") else [(len(data) - 10, len(data))])
    assert sum(sizes) < len(data)
