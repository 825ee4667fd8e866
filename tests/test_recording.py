"""Recordings that outlive failures and pauses: what they cost is counted, and nothing is said to be well too early."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import pytest

from duoview.pipelines.errors import MediaError
from duoview.pipelines.live_packet import Capture, LivePacket
from duoview.pipelines.packet_ring import PacketRing
from duoview.pipelines.run.live_encode import LiveEncode
from duoview.pipelines.run.recording import ClipRecording, Origin, Recording
from duoview.pipelines.stream_layout import StreamInfo, StreamLayout
from duoview.plugins.graph import Graph
from duoview.plugins.stage import Stage
from duoview.plugins.testing import picture


class Disk:
    """A recorder whose disk is full at will; it needs a key packet ("k") after each failure, as Recorder does."""

    def __init__(self) -> None:
        self.full, self.begun, self.skipped = False, False, 0
        self.written: list[Any] = []
        self.gaps = 0

    def write(self, packet: Any) -> None:
        if self.full:
            self.begun = False
            raise MediaError("gate: no space")
        if not self.begun and packet != "k":
            self.skipped += 1
            return
        self.begun = True
        self.written.append(packet)

    def cut(self) -> None:
        self.begun = False

    def mark_gap(self) -> None:
        self.gaps += 1

    def close(self) -> None:
        self.cut()


def test_after_a_failure_packets_are_lost_and_it_lasts_until_the_next_key_frame() -> None:
    disk: Any = Disk()
    recording = Recording("gate", disk)
    packet: Any = "p"
    key: Any = "k"
    for one in (key, packet, packet):
        recording.write(one)
    disk.full = True
    recording.write(packet)
    disk.full = False
    recording.write(packet)
    assert recording.status().lost == 2 and recording.status().failure == "gate: no space"
    recording.write(key)
    assert recording.status().lost == 2 and not recording.status().failure


class Clip:
    """Stands for the recorder of events: what is asked of it."""

    def __init__(self) -> None:
        self.triggers = 0

    def trigger(self) -> None:
        self.triggers += 1

    def close(self) -> None:
        return None


def test_an_event_in_a_pause_writes_nothing_and_what_came_before_is_not_put_in_front_of_what_comes_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk: Any = Disk()
    taken: list[str] = []
    ring = PacketRing(5.0)
    packet: Any = "p"

    def take() -> list[Any]:
        taken.append("all")
        return []

    monkeypatch.setattr(ring, "take", take)
    recording = ClipRecording("gate.clips", disk, ring, after=1.0)
    events: Any = Clip()
    monkeypatch.setattr(recording, "_events", events)
    recording.pause("recording stopped")
    recording.trigger()
    recording.write(packet)
    assert taken == ["all"] and events.triggers == 0 and disk.gaps == 1 and recording.status().lost == 1


def live(number: int, size: int) -> LivePacket:
    """A second of video, alone in its group of pictures."""
    packet: av.Packet[Any] = av.Packet(bytes(size))
    packet.pts = packet.dts = number
    packet.is_keyframe = True
    stream = StreamInfo(0, "video", "h264", Fraction(1), Fraction(1), 64, 48)
    return LivePacket(packet, stream, StreamLayout((stream,), b""), Capture("gate", number, 1, False))


def test_packets_that_do_not_fit_before_an_event_are_counted_and_told_once_a_minute() -> None:
    disk: Any = Disk()
    told, now = [], 0.0
    recording = ClipRecording("gate.clips", disk, PacketRing(5.0, bytes=300), after=1.0, clock=lambda: now,
                              overflowed=lambda name, words: told.append((name, words)))
    for number in range(3):
        recording.write(live(number, 100))
    assert recording.status().overflowed == 0 and not told
    for number in range(3, 6):
        recording.write(live(number, 100))
    assert recording.status().overflowed == 3 and recording.status().lost == 0
    assert told == [("gate.clips", "1 packets before events were given up, as 5 s are more than 300 bytes; clips begin "
                                   "later: allow more memory")]
    now = 60.0
    recording.write(live(6, 100))
    assert [words.split()[0] for _, words in told] == ["1", "3"]


@pytest.mark.parametrize(("pts", "expected"), [(100, 1_000_000), (95, 500_000), (105, 1_000_000), (-900, 1_000_000)])
def test_an_access_unit_that_comes_late_has_the_utc_of_its_own_frame(pts: int, expected: int) -> None:
    packet: av.Packet[Any] = av.Packet(b"x")
    packet.pts, packet.time_base = pts, Fraction(1, 10)
    assert Origin(Capture("gate", 1_000_000, 1, False), 10.0, 1).utc_us(packet) == expected


def test_the_encoder_of_a_running_pipeline_holds_no_frame_back() -> None:
    text = "dv_encode=machine=inner:codec=hevc:preset=ultrafast:threads=1"
    ours: dict[str, type[Stage]] = {"dv_encode": LiveEncode}
    for stages, expected in ((None, 0), (ours, 3)):
        graph = Graph.parse(text, stages=stages)
        found = []
        for pts in range(3):
            graph.push(picture(pts))
            found += list(graph.ready())
        assert len(found) == expected
    asked = Graph.parse(text + ":latency=full", stages=ours)
    asked.push(picture(0))
    assert not list(asked.ready())
