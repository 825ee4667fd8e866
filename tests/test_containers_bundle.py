"""Bundles: the framing of access units in MPEG-TS packets."""

from __future__ import annotations

import itertools
import random
import runpy
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from duoview import varint
from duoview.errors import BitstreamError
from duoview.kernels import crc32c
from duoview.plugins import containers
from duoview.plugins.containers.bundle import CLOCK_WRAP, MAX_UNITS, PIECE_BYTES, Bundler, Piece, Unbundler, Unit

STREAM = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("golden") / "access_unit_stream.py")))
TICK = Fraction(1, 30)


def unit(n: int, size: int = 100, *, key: bool = False, time_base: Fraction = TICK) -> Unit:
    """Unit number n, one frame after the one before."""
    step = round(Fraction(1, 30) / time_base)
    return Unit(random.Random(n).randbytes(size), n * step, n * step, step, key)


def bundled(units: list[Unit], time_base: Fraction = TICK, **options: Any) -> list[Piece]:
    """All pieces of some units."""
    bundler = Bundler(time_base, **options)
    return [piece for one in units for piece in bundler.add(one)] + bundler.flush()


def unbundled(pieces: list[Piece], moved: int = 0) -> list[Unit]:
    """The units of some pieces, whose clock was moved on the way."""
    unbundler = Unbundler()
    units = [one for piece in pieces for one in unbundler.feed(piece.data, piece.pts + moved)]
    return units + unbundler.finish()


def plain(units: list[Unit]) -> list[tuple[bytes, int, int, int]]:
    return [(one.data, one.pts, one.dts, one.duration) for one in units]


@pytest.mark.parametrize("time_base", [TICK, Fraction(1, 1_000_000), Fraction(1, 7), Fraction(1001, 30000)])
@pytest.mark.parametrize("moved", [0, 126_000, -5, CLOCK_WRAP - 7])
def test_units_and_their_times_survive_whatever_happens_to_the_clock(time_base: Fraction, moved: int) -> None:
    units = [Unit(bytes([n]) * n, 3 * n * n, 3 * n * n - n % 2, n, n % 10 == 0) for n in range(40)]
    assert plain(unbundled(bundled(units, time_base), moved)) == plain(units)


def test_small_units_share_a_packet_for_half_a_second_at_most() -> None:
    pieces = bundled([unit(n) for n in range(60)])
    assert [len(unbundled([piece])) for piece in pieces] == [15, 15, 15, 15]


def test_a_key_unit_starts_a_packet() -> None:
    pieces = bundled([unit(n, key=n % 10 == 0) for n in range(30)])
    assert [len(unbundled([piece])) for piece in pieces] == [10, 10, 10]
    assert all(piece.key for piece in pieces)


def test_a_unit_of_a_slow_stream_does_not_wait_for_the_next() -> None:
    bundler = Bundler(Fraction(1))
    assert len(bundler.add(Unit(b"a", 0, 0, 1))) == 1


def test_no_bundling_time_means_one_unit_a_packet() -> None:
    assert len(bundled([unit(n) for n in range(9)], seconds=0)) == 9


def test_many_or_large_units_end_a_packet() -> None:
    slow = Fraction(1, 100_000)
    assert [len(unbundled([p])) for p in bundled([Unit(b"a", n, n, 1) for n in range(100)], slow)] == [MAX_UNITS, 36]
    assert [len(unbundled([p])) for p in bundled([Unit(bytes(9000), n, n, 1) for n in range(5)], slow)] == [2, 2, 1]


@pytest.mark.parametrize("size", [PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES, 1_000_000])
def test_a_large_unit_is_cut_into_pieces_below_64_kilobytes(size: int) -> None:
    pieces = bundled([unit(0, size, key=True), unit(1)])
    assert max(len(piece.data) for piece in pieces) < 65_000
    assert plain(unbundled(pieces)) == plain([unit(0, size), unit(1)])


def test_packets_have_times_of_their_own_that_never_fall() -> None:
    pieces = bundled([unit(0, 400_000, key=True), unit(1, 400_000), unit(2)])
    assert all(a.dts < b.dts and a.pts < b.pts for a, b in itertools.pairwise(pieces))


@pytest.mark.parametrize("lost", [1, 2])
def test_a_lost_piece_costs_the_bytes_in_it(lost: int) -> None:
    units = [unit(0, 2 * PIECE_BYTES + 50, key=True), unit(20), unit(40)]
    pieces = bundled(units)
    del pieces[lost]
    read = unbundled(pieces)
    assert [one.whole for one in read] == [False, True, True]
    assert plain(read[1:]) == plain(units[1:])
    assert len(read[0].data) == len(units[0].data)


def test_a_reader_that_joins_inside_a_large_unit_starts_with_the_next_bundle() -> None:
    pieces = bundled([unit(0, 200_000, key=True), unit(1)])
    unbundler = Unbundler()
    with pytest.raises(BitstreamError, match="whose start was lost"):
        unbundler.feed(pieces[1].data, 0)
    assert len(unbundler.feed(pieces[-1].data, 0)) == 1


def test_joined_streams_keep_the_containers_distance() -> None:
    pieces = bundled([unit(n) for n in range(15)])
    unbundler = Unbundler()
    first = unbundler.feed(pieces[0].data, 126_000)
    second = unbundler.feed(pieces[0].data, 126_000 + 10 * 90_000)
    assert [one.pts for one in first] == list(range(15))
    assert [one.pts for one in second] == [n + 300 for n in range(15)]


def test_any_damage_of_a_head_is_noticed() -> None:
    piece = bundled([unit(n, 5) for n in range(3)])[0]
    head = len(piece.data) - 15
    for bit in range(head * 8):
        damaged = bytearray(piece.data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BitstreamError):
            Unbundler().feed(bytes(damaged), 0)


def test_bundling_saves_most_of_what_transport_packets_add(tmp_path: Path) -> None:
    data = STREAM.units(300, sizes=(200,))
    payload = sum(map(len, data))
    sizes = {}
    for seconds in ("0", "0.5"):
        path = tmp_path / f"{seconds}.ts"
        STREAM.write(path, data, options={"bundle_seconds": seconds})
        sizes[seconds] = path.stat().st_size
        assert [s.data for s in STREAM.read(path)] == data
    assert sizes["0"] > 1.6 * payload
    assert sizes["0.5"] < 1.25 * payload


def test_a_transport_stream_past_the_wrap_of_its_clock_reads_on(tmp_path: Path) -> None:
    start = CLOCK_WRAP // 90_000 * 30 - 60  # two seconds before the 33-bit clock starts again
    data = STREAM.units(120, sizes=(300,))
    STREAM.write(tmp_path / "a.ts", data, pts=range(start, start + 120))
    with containers.open(tmp_path / "a.ts") as source:
        read = STREAM.samples(source)
    assert [s.data for s in read] == data
    assert [s.pts * STREAM.RATE for s in read] == list(range(start, start + 120))


def sealed(*values: int) -> bytes:
    """Piece 0 of a bundle whose head holds these varints after the piece's number and clock."""
    head = bytearray((0xD6, 1, 0, 0))
    for value in values:
        varint.write(head, value, (1 << 64) - 1)
    return bytes(head) + crc32c(head).to_bytes(4, "little")


@pytest.mark.parametrize("terms", [(0, 1), (0, 30), (1, 0), (2, 60)])
def test_a_time_base_of_0_or_not_in_lowest_terms_is_damage(terms: tuple[int, int]) -> None:
    with pytest.raises(BitstreamError, match="time base of a bundle is"):
        Unbundler().feed(sealed(*terms, 1, 0, 0, 0, 1), 0)


@pytest.mark.parametrize("times", [((1 << 64) - 1, 0, 1), (0, (1 << 64) - 1, 1), (0, 0, (1 << 64) - 1)])
def test_times_beyond_64_bits_are_damage(times: tuple[int, int, int]) -> None:
    with pytest.raises(BitstreamError, match="bundle has a pts, dts or duration beyond"):
        Unbundler().feed(sealed(1, 30, 1, 0, *times), 0)
