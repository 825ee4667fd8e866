"""A live source with a scripted peer and a clock of its own: nothing here waits or opens a socket."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoview.detections import Detections
from duoview.errors import LimitError
from duoview.findings import FrameFindings, utc_of
from duoview.pipelines.backoff import Backoff
from duoview.pipelines.connection import Cause, Loss, State
from duoview.pipelines.errors import SourceLostError
from duoview.pipelines.live_packet import Capture, capture_of
from duoview.pipelines.live_source import LiveSource
from duoview.pipelines.peer import PeerError, PeerPacket, PeerSettings
from duoview.pipelines.source_status import DropCause
from duoview.pipelines.stream_layout import StreamInfo, StreamLayout
from duoview.plugins.analytics.record import Record

TIME_BASE = Fraction(1, 90000)
VIDEO = StreamInfo(0, "video", "h264", TIME_BASE, Fraction(25), 64, 48)
SOUND = StreamInfo(1, "audio", "aac", Fraction(1, 48000), Fraction(48000), 0, 0)
LAYOUT = StreamLayout((VIDEO, SOUND), b"")
URL = "rtsp://user:hunter2@cam/s0"


class Clock:
    """Moves when somebody waits or a peer says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def utc(self) -> int:
        return round(self.now * 1e6)

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now += seconds
        return stop.is_set()


@dataclass
class Step:
    """What a read gives after so many seconds: a packet (its frame number), a failure, or nothing but the end."""

    seconds: float = 0.04
    number: int | None = None
    key: bool = False
    size: int = 100
    sound: bool = False
    loss: Loss | None = None


def group(first: int, count: int, **values: Any) -> list[Step]:
    """Packets from a key frame on."""
    return [Step(number=first + n, key=n == 0, **values) for n in range(count)]


END = Step(seconds=0)


@dataclass
class Peer:
    clock: Clock
    steps: deque[Step]
    finite: bool = False
    decode_seconds: float = 0.0
    reorder: int = 0  # frames the decoder holds back
    layout: StreamLayout = LAYOUT
    closed: bool = field(default=False, init=False)
    decoded: list[int | None] = field(default_factory=list, init=False)
    held: list[av.VideoFrame] = field(default_factory=list, init=False)

    def read(self) -> PeerPacket | None:
        step = self.steps.popleft() if self.steps else END
        self.clock.now += step.seconds
        if step.loss is not None:
            raise PeerError(step.loss)
        if step.number is None:
            return None
        packet = av.Packet(bytes(step.size))
        info = SOUND if step.sound else VIDEO
        packet.time_base = info.time_base
        packet.pts = packet.dts = round(Fraction(step.number, 25) / info.time_base)
        packet.is_keyframe = step.key
        return PeerPacket(packet, info)

    def decode(self, packet: av.Packet[Any] | None) -> list[av.VideoFrame]:
        if packet is None:
            held, self.held = self.held, []
            return held
        self.clock.now += self.decode_seconds
        self.decoded.append(packet.pts)
        frame = av.VideoFrame(64, 48, "yuv420p")
        frame.pts, frame.time_base = packet.pts, packet.time_base
        self.held.append(frame)
        return [self.held.pop(0)] if len(self.held) > self.reorder else []

    def flush(self) -> None:
        self.decoded.append(None)

    def close(self) -> None:
        assert not self.closed
        self.closed = True


class Street:
    """Gives out peers in order; a Loss instead of one is a failure to open. Afterwards the source is stopped."""

    def __init__(self, script: Iterable[list[Step] | Loss], **peer: Any) -> None:
        self.clock = Clock()
        self.script = deque(script)
        self.peer = peer
        self.peers: list[Peer] = []
        self.source: LiveSource | None = None

    def open(self, settings: PeerSettings) -> Peer:
        if not self.script:
            raise PeerError(Loss(Cause.OPEN, "no more"))
        entry = self.script.popleft()
        if isinstance(entry, Loss):
            raise PeerError(entry)
        peer = Peer(self.clock, deque(entry), **self.peer)
        self.peers.append(peer)
        return peer

    def watch(self, **values: Any) -> LiveSource:
        usual: dict[str, Any] = {
            "mode": "every_frame",
            "reconnect": Backoff(jitter=0),
            "frames": False,
            "packets": True,
        }
        return LiveSource(URL, name="cam", clock=self.clock, opener=self.open, **(usual | values))


def limited(failures: int) -> Backoff:
    return Backoff(first=0.5, jitter=0, attempts=failures)


REFUSED = Loss(Cause.OPEN, "cam: cannot open: Connection refused")


def take(source: LiveSource, what: Callable[[LiveSource], Iterable[Any]] = LiveSource.packets) -> list[Any]:
    """All a source gives until it is lost for good."""
    taken: list[Any] = []
    with source, pytest.raises(SourceLostError):
        for item in what(source):
            taken.append(item)
    return taken


def numbers(packets: list[Any]) -> list[tuple[int, int]]:
    """Connection and key flag of each packet."""
    return [(packet.capture.connection, int(packet.packet.is_keyframe)) for packet in packets]


def test_attempts_go_on_with_growing_delays_until_a_peer_answers() -> None:
    street = Street([REFUSED, REFUSED, REFUSED, group(0, 3), *[REFUSED] * 9])
    source = street.watch(reconnect=limited(5), stable_after=0)
    assert len(take(source)) == 3
    assert street.clock.waits[:4] == [0.5, 1, 2, 0.5]
    assert source.status().losses == 3 + 1 + 4


def test_the_end_of_a_live_source_is_a_loss_and_it_comes_back() -> None:
    street = Street([group(0, 3), group(0, 2)])
    source = street.watch(reconnect=limited(2))
    packets = take(source)
    assert numbers(packets) == [(1, 1), (1, 0), (1, 0), (2, 1), (2, 0)]
    assert [packet.capture.discontinuity for packet in packets] == [True, False, False, True, False]
    status = source.status()
    assert (status.connections, status.reconnects) == (2, 1)
    assert all(peer.closed for peer in street.peers)


def test_times_go_on_over_a_reconnect_with_the_gap_there_was() -> None:
    street = Street([group(1000, 2), group(7, 2)])
    packets = take(street.watch(reconnect=limited(2)))
    times = [packet.seconds for packet in packets]
    # 0.5 s of waiting and one frame's time to read lie between.
    assert times == pytest.approx([0, 0.04, 0.58, 0.62], abs=1e-4)
    assert packets[2].capture.utc_us - packets[0].capture.utc_us == pytest.approx(580_000, abs=2)


def test_the_end_of_a_file_ends_the_iteration() -> None:
    street = Street([group(5, 3)])
    source = street.watch(live=False)
    with source:
        packets = list(source.packets())
    assert [packet.packet.pts for packet in packets] == [18000, 21600, 25200]  # a file's own times
    assert source.status().state is State.ENDED
    assert len(street.peers) == 1


def test_http_with_a_known_duration_is_a_file() -> None:
    street = Street([group(5, 3)], finite=True)
    source = LiveSource("http://host/clip.mp4", clock=street.clock, opener=street.open, frames=False, packets=True)
    with source:
        assert len(list(source.packets())) == 3
    assert source.status().state is State.ENDED


def test_a_file_that_breaks_off_gives_what_it_had_and_then_the_error() -> None:
    broken = Loss(Cause.READ, "clip.mp4: cannot read: Input/output error")
    street = Street([[*group(0, 2), Step(loss=broken)], group(0, 2)])
    source = street.watch(live=False)
    with source, pytest.raises(SourceLostError, match=r"clip\.mp4: cannot read: Input/output error"):
        assert [source.read_packet() is not None for _ in range(2)] == [True, True]
        source.read_packet()
    assert len(street.peers) == 1


def test_nothing_comes_before_a_key_frame() -> None:
    early = [Step(number=n) for n in range(4)]
    source = Street([[*early, *group(4, 2)]]).watch(reconnect=limited(1))
    assert numbers(take(source)) == [(1, 1), (1, 0)]
    assert source.status().dropped[DropCause.BEFORE_KEY] == 4


def test_a_camera_without_key_frames_is_connected_anew() -> None:
    street = Street([[Step(number=n, seconds=1) for n in range(100)], group(0, 1)])
    source = street.watch(reconnect=limited(2), key_frame_timeout=7)
    assert numbers(take(source)) == [(2, 1)]
    losses = [transition.loss for transition in source.status().transitions if transition.loss]
    assert losses[0] == Loss(Cause.NO_KEY_FRAME, "cam: no key frame within 7 s")
    assert source.status().dropped[DropCause.BEFORE_KEY] == 7


def test_sound_alone_is_no_video() -> None:
    sound = [Step(number=n, seconds=1, sound=True) for n in range(1, 100)]
    source = Street([[*group(0, 1), *sound]]).watch(reconnect=limited(1), timeout=(5, 4), audio=True)
    packets = take(source)
    assert [packet.stream.type for packet in packets] == ["video", "audio", "audio", "audio"]
    loss = source.status().loss
    assert loss == Loss(Cause.TIMEOUT, "cam: no video for 4 s, while other streams go on")


def test_a_full_packet_queue_drops_up_to_the_next_key_frame_and_counts() -> None:
    gate = threading.Event()
    street = Street([[*group(0, 10, size=100), *group(10, 5, size=100)]])
    opened = street.open

    def open_(settings: PeerSettings) -> Peer:
        peer = opened(settings)
        read = peer.read

        def wait_before_second_group() -> PeerPacket | None:
            if len(peer.steps) == 5:
                gate.wait(10)
            return read()

        peer.read = wait_before_second_group  # type: ignore[method-assign]
        return peer

    street.open = open_  # type: ignore[method-assign]
    source = street.watch(mode="freshest", packet_queue_bytes=600, reconnect=limited(1))
    with source:
        while source.status().dropped[DropCause.QUEUE_FULL] < 4:
            pass
        first = [source.read_packet(5) for _ in range(6)]
        gate.set()
        second = [source.read_packet(5) for _ in range(5)]
    taken: list[Any] = [*first, *second]
    assert [packet.packet.pts // 3600 for packet in taken] == [0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14]
    assert [packet.capture.discontinuity for packet in taken] == [True, *[False] * 5, True, *[False] * 4]
    assert source.status().dropped[DropCause.QUEUE_FULL] == 4


def test_every_frame_waits_for_a_slow_consumer() -> None:
    street = Street([group(0, 200, size=1000)])
    source = street.watch(packet_queue_bytes=3000, reconnect=limited(1))
    packets = take(source)
    assert [packet.packet.pts // 3600 for packet in packets] == list(range(200))
    assert not any(source.status().dropped.values())


READS = st.lists(
    st.builds(
        Step,
        seconds=st.floats(0, 1),
        number=st.integers(0, 1 << 30),
        key=st.booleans(),
        size=st.integers(1, 400),
        sound=st.booleans(),
    )
    | st.builds(Step, loss=st.just(Loss(Cause.READ, "cam: cannot read: reset"))),
    max_size=30,
)


@given(st.lists(READS | st.just(REFUSED), max_size=6), st.sampled_from(("every_frame", "freshest")))
def test_every_packet_is_handed_out_in_order_or_counted(script: list[list[Step] | Loss], mode: str) -> None:
    street = Street(script)
    source = street.watch(mode=mode, audio=True, packet_queue_bytes=1000, reconnect=limited(len(script) + 1))
    packets = take(source)
    status = source.status()
    dropped = status.dropped
    assert status.packets == len(packets) + dropped[DropCause.BEFORE_KEY] + dropped[DropCause.QUEUE_FULL]
    assert mode == "freshest" or dropped[DropCause.QUEUE_FULL] == 0
    last: dict[int, int] = {}
    connection = 0
    for packet in packets:
        index, dts = packet.stream.index, packet.packet.dts
        assert index not in last or dts > last[index]
        assert packet.packet.pts >= dts
        last[index] = dts
        if packet.capture.discontinuity and packet.capture.connection != connection:
            assert packet.is_video_key
        assert packet.capture.connection >= connection
        connection = packet.capture.connection
    assert all(peer.closed for peer in street.peers)


def test_freshest_leaves_packets_undecoded_while_decoding_is_behind() -> None:
    # Everything has arrived already; decoding takes three times as long as a frame lasts.
    groups = [step for n in range(0, 200, 10) for step in group(n, 10, seconds=0)]
    street = Street([groups], decode_seconds=0.12)
    source = street.watch(mode="freshest", frames=True, packets=False, max_staleness=0.5, reconnect=limited(1))
    take(source, LiveSource.frames)
    (peer,) = street.peers
    status = source.status()
    decoded = [pts for pts in peer.decoded if pts is not None]
    assert status.dropped[DropCause.BEHIND] == 200 - len(decoded) > 100
    flushes = [index for index, pts in enumerate(peer.decoded) if pts is None]
    assert flushes and all((peer.decoded[index + 1] or 0) // 3600 % 10 == 0 for index in flushes)


@pytest.mark.parametrize("backlog", [1, 4])
def test_freshest_keeps_the_newest_frames_of_its_backlog(backlog: int) -> None:
    source = Street([group(0, 10)]).watch(mode="freshest", frames=True, packets=False, backlog=backlog,
                                          reconnect=limited(1))
    kept: list[int | None] = []
    with source, pytest.raises(SourceLostError):
        while source.status().frames < 10:
            time.sleep(0.01)
        for frame in source.frames():
            kept.append(frame.pts)
    assert kept == [3600 * number for number in range(10 - backlog, 10)]
    assert source.status().dropped[DropCause.REPLACED] == 10 - backlog


def test_a_late_network_is_no_reason_to_skip() -> None:
    groups = [step for n in range(0, 50, 10) for step in group(n, 10, seconds=0.5)]
    source = Street([groups]).watch(mode="freshest", frames=True, packets=False, reconnect=limited(1))
    take(source, LiveSource.frames)
    status = source.status()
    assert (status.frames, status.dropped[DropCause.BEHIND]) == (50, 0)


def test_frames_tell_where_they_come_from() -> None:
    source = Street([group(0, 3), group(0, 2)]).watch(frames=True, packets=False, reconnect=limited(2))
    frames = take(source, LiveSource.frames)
    captures = [frame.opaque for frame in frames]
    assert [(c.source, c.connection, c.discontinuity) for c in captures] == [
        ("cam", 1, True), ("cam", 1, False), ("cam", 1, False), ("cam", 2, True), ("cam", 2, False)
    ]  # fmt: skip
    assert captures[1].utc_us - captures[0].utc_us == pytest.approx(40_000, abs=2)


def test_frames_that_a_decoder_holds_back_keep_their_own_arrival_and_their_own_marks() -> None:
    jump = [Step(number=1_000_003, key=True), Step(number=1_000_004), Step(number=1_000_005)]
    street = Street([[*group(0, 3), *jump]], reorder=2)
    frames = take(street.watch(frames=True, packets=False, reconnect=limited(1)), LiveSource.frames)
    captures = [frame.opaque for frame in frames]
    assert [capture.discontinuity for capture in captures] == [True, False, False, True, False, False]
    arrivals = [(capture.utc_us - captures[0].utc_us) / 1e6 for capture in captures]
    assert arrivals == pytest.approx([0, 0.04, 0.08, 0.12, 0.16, 0.2], abs=1e-5)


def test_the_capture_is_found_behind_detections_too() -> None:
    (frame,) = take(Street([group(0, 1)]).watch(frames=True, packets=False, reconnect=limited(1)), LiveSource.frames)
    capture = capture_of(frame)
    assert capture is not None and capture is frame.opaque
    nothing = Detections.none(("person",), "a", 64, 48)
    frame.opaque = FrameFindings.over(FrameFindings.over(capture, nothing), nothing)
    assert capture_of(frame) == capture
    assert capture_of(av.VideoFrame(64, 48)) is None


def test_a_fault_in_the_reader_reaches_the_consumer() -> None:
    street = Street([])

    def broken(settings: PeerSettings) -> Peer:
        raise ZeroDivisionError("a fault of ours")

    street.open = broken  # type: ignore[method-assign]
    with street.watch() as source, pytest.raises(ZeroDivisionError, match="a fault of ours"):
        list(source.packets())


def test_closing_does_not_wait_for_the_next_attempt() -> None:
    refused = Street([REFUSED] * 3)
    source = LiveSource(URL, opener=refused.open, reconnect=Backoff(first=3600, limit=3600))
    source.start()
    while source.status().state is not State.BACKOFF:
        pass
    assert source.close(timeout=10)
    assert source.status().state is State.CLOSED and source.ended
    assert source.close()


def test_analytics_are_told_when_a_frame_was_taken() -> None:
    frame = av.VideoFrame(64, 48, "yuv420p")
    frame.opaque = Capture("cam", 1_700_000_000_000_000, 1, False)
    assert utc_of(frame) == Record.of(frame).utc_us == 1_700_000_000_000_000


def test_a_source_for_which_the_system_has_no_thread_is_closed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    source = LiveSource(URL)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="can't start new thread"):
        patch.setattr(threading.Thread, "start", refuse)
        source.start()
    assert source.close()


def test_a_source_is_started_once_and_before_it_is_read() -> None:
    source = Street([]).watch()
    with pytest.raises(RuntimeError, match="not started; use it in a with statement"):
        source.read_packet()
    with pytest.raises(RuntimeError, match="frames were not asked for"):
        source.read_frame()
    with source, pytest.raises(RuntimeError, match="started already"):
        source.start()


def test_nothing_a_source_says_holds_its_credentials() -> None:
    street = Street([REFUSED])
    source = LiveSource(URL, clock=street.clock, opener=street.open, reconnect=limited(1))
    with source, pytest.raises(SourceLostError) as error:
        list(source.frames())
    said = f"{error.value} {source!r} {source.status()} {source.name} {source._thread} {source._peer_settings!r}"
    assert "hunter2" not in said and "user" not in said
    assert source.name == "rtsp://***@cam/s0"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"mode": "fresh"}, "mode='fresh': expected auto, every_frame, freshest"),
        ({"timeout": (0, 1)}, r"timeout\[0\]=0: expected more than 0"),
        ({"timeout": (1, -1)}, r"timeout\[1\]=-1: expected more than 0"),
        ({"max_staleness": -1}, "max_staleness=-1: expected 0 or more"),
        ({"packet_queue_bytes": 0}, "packet_queue_bytes=0: expected more than 0"),
        ({"queue_size": 0}, "queue_size=0: expected more than 0"),
        ({"backlog": 0}, "backlog=0: expected more than 0"),
        ({"frames": False}, "frames and packets are both off"),
        ({"video": -1}, "video=-1: expected 0 or more"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(values: dict[str, Any], said: str) -> None:
    with pytest.raises(LimitError, match=said):
        LiveSource(URL, **values)


@pytest.mark.parametrize(
    ("url", "format_", "live"),
    [
        ("rtsp://cam/s0", None, True), ("srt://cam:9000", None, True), ("rtmp://host/live", None, True),
        ("udp://239.0.0.1:1234", None, True), ("/dev/video0", None, True), ("video0", "v4l2", True),
        ("http://cam/s.ts", None, None), ("https://cam/s.m3u8", None, None),
        ("clip.mp4", None, False), ("file:///data/clip.mp4", None, False), ("-", None, False),
    ],
)  # fmt: skip
def test_what_is_live_is_told_by_the_url_except_for_http(url: str, format_: str | None, live: bool | None) -> None:
    assert PeerSettings(url, format_).live is live
