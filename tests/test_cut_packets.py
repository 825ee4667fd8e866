"""What packets say beside their bytes stays when a unit is read, cut and written."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

import duoview
from duoview import Decoder, Encoder, UnitOrigin
from duoview.pipelines.command import main
from duoview.pipelines.live_packet import detached
from duoview.plugins.containers.packet import with_payload
from duoview.unit_origin import is_discarded

FRAMES, SHOWN = 6, 4


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MOV file whose edit list shows the first four of six frames."""
    path = tmp_path_factory.mktemp("edited") / "edited.mov"
    encoder = Encoder(64, 64, rate=25, gop=FRAMES, profile="s", threads=1)
    with duoview.open(str(path), "w") as output:
        output.add_stream(rate=Fraction(25), width=64, height=64, time_base=Fraction(1, 25))
        for number in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 30 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            for packet in encoder.encode(frame):
                output.mux(packet)
    content = bytearray(path.read_bytes())
    place = content.find(b"elst") + 12  # behind version, flags and count: duration
    duration = struct.unpack_from(">I", content, place)[0]
    struct.pack_into(">I", content, place, duration * SHOWN // FRAMES)
    path.write_bytes(content)
    return path


def test_a_packet_with_another_payload_says_what_the_first_one_said() -> None:
    packet: av.Packet = av.Packet(b"one")
    packet.time_base, packet.pts, packet.dts, packet.duration = Fraction(1, 90000), 1800, -900, 3600
    packet.is_keyframe, packet.is_corrupt, packet.opaque = True, True, "mine"
    copy = with_payload(packet, b"another")
    assert bytes(copy) == b"another" and copy.stream is None
    assert (copy.time_base, copy.pts, copy.dts, copy.duration) == (Fraction(1, 90000), 1800, -900, 3600)
    assert copy.is_keyframe and copy.is_corrupt and copy.opaque == UnitOrigin(discard=False, carried="mine")
    del copy
    assert packet.opaque == "mine", "PyAV would have forgotten one object on two packets"


def test_times_that_are_not_known_stay_so() -> None:
    packet: av.Packet = av.Packet(b"one")
    packet.time_base, packet.pts, packet.dts = Fraction(1, 25), None, None
    copy = with_payload(packet, b"another")
    assert copy.pts is None and copy.dts is None and not copy.is_keyframe and copy.opaque is None


def test_side_data_goes_along(tmp_path: Path) -> None:
    path = tmp_path / "sound.ts"
    with av.open(str(path), "w") as container:  # MPEG-TS marks its packets with the id of their stream
        stream = container.add_stream("mp2", rate=48000)
        frame = av.AudioFrame(format="s16", layout="stereo", samples=1152)
        frame.sample_rate, frame.pts = 48000, 0
        container.mux([*stream.encode(frame), *stream.encode(None)])
    with av.open(str(path)) as container:
        packet = next(one for one in container.demux() if one.size)
        kinds = [one.data_type for one in packet.iter_sidedata()]
        assert kinds
        copy = with_payload(packet, b"another")
        assert [one.data_type for one in copy.iter_sidedata()] == kinds


def test_units_behind_the_end_of_an_edit_list_are_marked_and_not_shown(edited: Path) -> None:
    with av.open(str(edited)) as container:
        marked = [packet.is_discard for packet in container.demux() if packet.size]
    assert marked == [False] * SHOWN + [True] * (FRAMES - SHOWN)
    decoder = Decoder(threads=1)
    with duoview.open(str(edited)) as source:
        packets = list(source.demux())
    assert [is_discarded(packet) for packet in packets] == marked
    assert packets[-1].opaque == UnitOrigin(discard=True)
    assert sum(len(decoder.decode(packet)) for packet in [*packets, None]) == SHOWN


def test_hidden_units_that_are_found_in_one_packet_stay_hidden(edited: Path, tmp_path: Path) -> None:
    path = tmp_path / "merged.mov"
    content = bytearray(edited.read_bytes())
    place = content.find(b"stsz") + 16 + 4 * (FRAMES - 2)  # behind version, flags, common size, count
    sizes = struct.unpack_from(">II", content, place)
    struct.pack_into(">I", content, place, sum(sizes))
    path.write_bytes(content)
    with duoview.open(str(path)) as source:
        packets = list(source.demux())
    assert [packet.size for packet in packets[SHOWN:FRAMES]] == [*sizes]
    assert [is_discarded(packet) for packet in packets[:FRAMES]] == [False] * SHOWN + [True] * (FRAMES - SHOWN)


def test_a_unit_with_an_object_of_ones_own_in_its_origin_stays_hidden() -> None:
    encoder = Encoder(64, 64, rate=25, gop=2, profile="s", threads=1)
    decoder = Decoder(threads=1)
    shown = []
    for number in range(2):
        frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90 * number, np.uint8), format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, 25)
        (packet,) = encoder.encode(frame)
        packet.opaque = UnitOrigin(number == 0, carried="mine")
        shown += [one.pts for one in decoder.decode(packet)]
        assert packet.opaque.carried == "mine"
    assert shown == [1]


def test_a_live_packet_that_gets_other_times_wraps_what_it_carries() -> None:
    packet: av.Packet = av.Packet(b"one")
    packet.time_base, packet.pts, packet.dts, packet.opaque = Fraction(1, 25), 3, 3, "mine"
    assert detached(packet, 7, 6).opaque == UnitOrigin(discard=False, carried="mine")


def test_what_a_packet_carries_stays_beside_the_mark(edited: Path) -> None:
    with av.open(str(edited)) as container:
        packet = [one for one in container.demux() if one.size][-1]
        packet.opaque = "mine"
        copy = with_payload(with_payload(packet, b"once"), b"twice")
    assert copy.opaque == UnitOrigin(discard=True, carried="mine") and is_discarded(copy)


def test_cut_keeps_times_and_says_which_marks_a_file_cannot_hold(edited: Path, tmp_path: Path,
                                                                 capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "cut.nut"
    assert main(["cut", "-layers", "machine", "-i", str(edited), str(target)]) == 0
    assert f"{FRAMES - SHOWN} access units that {edited} keeps from being shown" in capsys.readouterr().err
    with duoview.open(str(edited)) as source, duoview.open(str(target)) as cut:
        for before, after in zip(source.demux(), cut.demux(), strict=True):
            assert bytes(before) == bytes(after) and before.is_keyframe == after.is_keyframe
            for time in ("pts", "dts", "duration"):
                assert getattr(before, time) * before.time_base == getattr(after, time) * after.time_base
