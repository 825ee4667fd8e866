"""A camera, or anything else PyAV opens, that comes back by itself: frames for detectors, packets for recorders.

A LiveSource has one thread of its own. It starts with `start` (or ``with``), ends with `close`, and does all reading
and decoding, so that a slow consumer never makes a camera wait, nor one camera another.
"""

from __future__ import annotations

import random
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import av

from duoview.errors import LimitError

from .backoff import Backoff
from .bounded_queue import BoundedQueue, Overflow
from .clock import Clock, SystemClock
from .connection import Action, Cause, Connection, Event, Loss
from .credentials import redact_url
from .decode_times import DecodeTimes
from .errors import SourceLostError
from .live_decoder import LiveDecoder
from .live_packet import Capture, LivePacket, Taken, detached
from .peer import MediaPeer, Peer, PeerError, PeerPacket, PeerSettings
from .source_status import DropCause, SourceStatus, Transition
from .stream_layout import StreamInfo, StreamLayout
from .thinning import Thinning
from .timeline import Stamp, Timeline

MODES = ("auto", "every_frame", "freshest")
_TRANSITIONS = 64  # remembered
_PACKETS = 1 << 16  # most packets in a queue, however small
_WATCH = 0.25  # seconds between two looks at the time while a consumer waits


class LiveSource:
    """Frames and packets of one camera, for ever; of a file, to its end."""

    def __init__(
        self,
        url: str,
        *,
        name: str | None = None,
        format: str | None = None,
        options: Mapping[str, str] | None = None,
        timeout: tuple[float, float] = (5.0, 10.0),
        stall_after: float = 2.0,
        stable_after: float = 10.0,
        key_frame_timeout: float = 60.0,
        reconnect: Backoff | None = None,
        live: bool | None = None,
        mode: str = "auto",
        frames: bool = True,
        packets: bool = False,
        video: int = 0,
        audio: bool = False,
        queue_size: int = 8,
        backlog: int = 1,
        packet_queue_bytes: int = 32 << 20,
        max_staleness: float = 0.5,
        rate: float | None = None,
        threads: int = 1,
        clock: Clock | None = None,
        opener: Callable[[PeerSettings], Peer] = MediaPeer,
        uniform: Callable[[], float] | None = None,
    ) -> None:
        """Describe a source; nothing is opened before `start`.

        Args:
            url: what PyAV opens: rtsp://, rtmp://, srt://, http://, a file, /dev/video0, ...
            name: how messages call it; by default the URL without credentials.
            format: libavformat's name of the format, where the URL does not tell it.
            options: libavformat's options. RTSP goes over TCP unless rtsp_transport says otherwise.
            timeout: seconds to open (twice that at most, as streams are found out about afterwards) and to read.
            stall_after: seconds of silence after which the state is STALLED.
            stable_after: seconds a connection must have run for the delays to start over.
            key_frame_timeout: seconds to wait for a key frame before connecting anew; many cameras then send one.
            reconnect: delays between attempts.
            live: whether the source goes on for ever, so that its end is a loss. None: a file does not; HTTP does
                unless its duration is known; all else does.
            mode: what gives way when the consumer is slower than the camera. ``every_frame``: nothing, the reader
                waits (and the camera, or its network, drops); ``freshest``: the oldest waiting frame gives way
                to a newer one, packets are refused up to the next key frame when their queue is full, and packets are
                left undecoded up to a key frame while decoding is behind; ``auto``: ``freshest`` for live sources,
                ``every_frame`` for files. Files never drop.
            frames: whether frames are decoded.
            packets: whether packets are kept for `packets`. With both, consume both, each in a thread.
            video: which of the video streams, from 0.
            audio: whether packets of audio streams are given too.
            queue_size: frames held for the consumer where none is replaced.
            backlog: frames held in ``freshest``: with 1 the consumer gets the newest there is; more of them bridge a
                moment in which it is slow.
            packet_queue_bytes: bytes of packets held.
            max_staleness: seconds decoding may be behind in ``freshest``.
            rate: frames a second to hand out at most; the others are decoded, and are no drops. None: all.
            threads: of the decoder; 0 for as many as there are cores.
            clock: the time; for tests.
            opener: what connects; for tests.
            uniform: random numbers in [0, 1) for the jitter; for tests.

        Raises LimitError for a value outside its limits.
        """
        _check(
            mode=mode, timeout=timeout, stall_after=stall_after, stable_after=stable_after, threads=threads,
            video=video, key_frame_timeout=key_frame_timeout, max_staleness=max_staleness,
            packet_queue_bytes=packet_queue_bytes, queue_size=queue_size, backlog=backlog,
        )  # fmt: skip
        if not frames and not packets:
            raise LimitError("live source: frames and packets are both off; expected at least one")
        self.name = name or redact_url(url)
        self._peer_settings = PeerSettings(url, format, dict(options or {}), timeout, video, audio, threads)
        self._live = live if live is not None else self._peer_settings.live
        self._mode = mode
        self._queue_size, self._backlog = queue_size, backlog
        self._key_frame_timeout = key_frame_timeout
        thinning = Thinning(rate) if rate is not None else None
        self._clock = clock or SystemClock()
        self._opener = opener
        self._connection = Connection(
            reconnect or Backoff(),
            uniform or random.Random().random,
            stall_after=stall_after,
            stable_after=stable_after,
        )
        self._connection.finite = self._live is False
        self._lock = threading.Lock()  # guards the connection, the counters and the transitions
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._transitions: deque[Transition] = deque(maxlen=_TRANSITIONS)
        self._dropped: Counter[DropCause] = Counter()
        self._packet_count = self._corrupt = 0
        self._frames: BoundedQueue[Taken] | None = None
        self._decoder: LiveDecoder | None = None  # of the reader's thread alone
        self._packets: BoundedQueue[Taken] | None = None
        if frames:
            self._frames = BoundedQueue(
                queue_size, Overflow.WAIT, dropped=lambda taken: self._drop(DropCause.REPLACED)
            )
            self._decoder = LiveDecoder(self._frames, max_staleness=max_staleness, thinning=thinning, drop=self._drop)
        if packets:
            self._packets = BoundedQueue(
                _PACKETS, Overflow.WAIT, bytes=packet_queue_bytes, size=lambda taken: taken.item.size
            )
        # Of the reader's thread alone, from here on.
        self._peer: Peer | None = None
        self._layout: StreamLayout | None = None
        self._timeline = Timeline()
        self._decode_times: DecodeTimes[PeerPacket] = DecodeTimes()
        self._packet_epoch = 0
        self._waiting_for_key = self._refused = False
        self._heard_at = self._key_awaited_since = 0.0
        # Of the consumers' threads.
        self._frame_epoch_given = self._packet_epoch_given = 0

    def __repr__(self) -> str:
        return f"<LiveSource {self.name} {self._connection.state.value}>"

    def start(self) -> Self:
        """Start the reader's thread. A source starts once."""
        if self._thread is not None:
            raise RuntimeError(f"{self.name}: started already; a closed source is not started again, make another")
        thread = threading.Thread(target=self._run, name=f"live source {self.name}", daemon=True)
        self._thread = thread  # before it runs: whoever closes meanwhile waits for it
        try:
            thread.start()
        except RuntimeError:  # the system has no thread left
            self._thread = None
            raise
        return self

    def close(self, timeout: float | None = None, *, discard: bool = True) -> bool:
        """Stop, and wait until the reader's thread has ended; return whether it has.

        A read or open that is under way ends with its own timeout at the latest, and so does this, unless `timeout`
        (seconds) is shorter: then the thread ends by itself later. False also where the system does not come back (a
        V4L2 device, a name look-up). What was not consumed is discarded unless `discard` is False: then it can still
        be read, until a later close. May be called more than once.
        """
        self._stop.set()
        self._report(Event.STOP)
        for queue in (self._frames, self._packets):
            if queue is not None:
                queue.close(discard=discard)
        if self._thread is None:
            return True
        opening, reading = self._peer_settings.timeout
        self._thread.join(timeout if timeout is not None else 2 * opening + reading + 1)
        return not self._thread.is_alive()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def frames(self) -> Iterator[av.VideoFrame]:
        """Frames until the source ends or is closed, a Capture in each one's ``opaque``.

        Their pts rise over all connections. For one consumer. Raises SourceLostError at the end if the
        source was lost for good.
        """
        while True:
            frame = self.read_frame()
            if frame is None:
                return
            yield frame

    def packets(self) -> Iterator[LivePacket]:
        """Packets of the chosen streams as they came; otherwise like `frames`."""
        while True:
            packet = self.read_packet()
            if packet is None:
                return
            yield packet

    def read_frame(self, timeout: float | None = None) -> av.VideoFrame | None:
        """The next frame; None when none comes within `timeout` seconds, and at the end: see `frames_ended`."""
        taken = self._get(self._frames, "frames", timeout)
        if taken is None:
            return None
        discontinuity, self._frame_epoch_given = taken.epoch != self._frame_epoch_given, taken.epoch
        frame: av.VideoFrame = taken.item
        frame.opaque = Capture(self.name, taken.utc, taken.connection, discontinuity)
        return frame

    def read_packet(self, timeout: float | None = None) -> LivePacket | None:
        """The next packet, as `read_frame`; `packets_ended` tells of their end."""
        taken = self._get(self._packets, "packets", timeout)
        if taken is None:
            return None
        discontinuity, self._packet_epoch_given = taken.epoch != self._packet_epoch_given, taken.epoch
        assert taken.stream is not None and taken.layout is not None
        capture = Capture(self.name, taken.utc, taken.connection, discontinuity)
        return LivePacket(taken.item, taken.stream, taken.layout, capture)

    @property
    def ended(self) -> bool:
        """Whether nothing more comes: all queues are closed and empty."""
        return self.frames_ended and self.packets_ended

    @property
    def frames_ended(self) -> bool:
        """Whether no more frames come, while others may still take packets."""
        return self._frames is None or self._frames.finished

    @property
    def packets_ended(self) -> bool:
        """Whether no more packets come, while others may still take frames."""
        return self._packets is None or self._packets.finished

    @property
    def layout(self) -> StreamLayout | None:
        """The streams of the last connection: their sizes and nominal rates; None before the first."""
        return self._layout

    @property
    def finite(self) -> bool:
        """Whether the source has an end of its own, as a file has; of some this is known once they are open."""
        return self._connection.finite

    def waiting(self) -> tuple[int, int]:
        """Frames and packets that nobody took yet."""
        return len(self._frames or ()), len(self._packets or ())

    def status(self) -> SourceStatus:
        """The present state and all counters."""
        self._report(Event.TICK)
        with self._lock:
            connection = self._connection
            return SourceStatus(
                self.name,
                connection.state,
                max(0.0, self._clock.monotonic() - connection.since),
                connection.connections,
                connection.reconnects,
                connection.losses,
                connection.stalls,
                self._packet_count,
                self._decoder.frames if self._decoder is not None else 0,
                {cause: self._dropped[cause] for cause in DropCause},
                self._corrupt,
                self._decoder.lag if self._decoder is not None else 0.0,
                connection.loss,
                tuple(self._transitions),
            )

    def _get(self, queue: BoundedQueue[Taken] | None, what: str, timeout: float | None) -> Taken | None:
        if queue is None:
            raise RuntimeError(f"{self.name}: {what} were not asked for; make the source with {what}=True")
        if self._thread is None and not self._stop.is_set():
            raise RuntimeError(f"{self.name}: not started; use it in a with statement, or call start()")
        left = timeout
        while True:
            step = _WATCH if left is None else min(_WATCH, left)
            taken = queue.get(step)
            if taken is not None or queue.finished:
                return taken
            # The reader may sit in a read: whoever waits notices that the peer is silent.
            self._report(Event.TICK)
            if left is not None:
                left -= step
                if left <= 0:
                    return None

    # What follows runs in the reader's thread.

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            action = self._report(Event.START)
            while action is not Action.FINISH:
                action = self._carry_out(action)
            if self._connection.lost_for_good and self._connection.loss is not None:
                error = SourceLostError(f"{self.name}: lost for good: {self._connection.loss.reason}")
        except BaseException as raised:  # noqa: BLE001 - handed to whoever consumes: a thread has nobody to raise to
            error = raised
        finally:
            self._release()
            self._report(Event.STOP)
            for queue in (self._frames, self._packets):
                if queue is not None:
                    queue.close(error)

    def _carry_out(self, action: Action) -> Action:
        if action is Action.OPEN:
            return self._open()
        if action is Action.READ:
            return self._read()
        if action is Action.RELEASE:
            self._release()
            return self._report(Event.RELEASED)
        if action is Action.WAIT:
            self._clock.wait(self._stop, self._connection.retry_at - self._clock.monotonic())
            return self._report(Event.RETRY)
        raise RuntimeError(f"{self.name}: nothing to do while {self._connection.state.value}")

    def _open(self) -> Action:
        try:
            peer = self._opener(self._peer_settings)
        except PeerError as error:
            return self._report(Event.FAILED, error.loss)
        self._peer, self._layout = peer, peer.layout
        finite = peer.finite if self._live is None else not self._live
        self._connection.finite = finite
        waits = finite or self._mode == "every_frame"
        if self._frames is not None:
            self._frames.configure(
                self._queue_size if waits else self._backlog, Overflow.WAIT if waits else Overflow.DROP_OLDEST
            )
        if self._packets is not None:
            self._packets.configure(_PACKETS, Overflow.WAIT if waits else Overflow.REFUSE)
        self._timeline.begin()
        self._decode_times = DecodeTimes()
        self._waiting_for_key, self._refused = not finite, False
        self._heard_at = self._key_awaited_since = self._clock.monotonic()
        self._packet_epoch += 1
        action = self._report(Event.OPENED)
        if self._decoder is not None:
            self._decoder.begin(self._connection.connections, skips=not waits)
        return action

    def _read(self) -> Action:
        peer = self._peer
        assert peer is not None
        action = self._report(Event.LISTEN)
        if action is not Action.READ:
            return action
        asked = self._clock.monotonic()
        loss: Loss | None = None
        try:
            read = peer.read()
        except PeerError as error:
            loss, read = error.loss, None
        now = self._clock.monotonic()
        if read is None:
            self._drain(peer)
            if loss is None and self._connection.finite:
                return self._report(Event.END)
            ended = Loss(Cause.END, f"{self.name}: the peer ended the stream")
            return self._report(Event.FAILED, loss or ended)
        if read.stream is not None and read.stream.type == "video":
            self._heard_at = now
        elif now - self._heard_at >= self._peer_settings.timeout[1]:
            silent = f"{self.name}: no video for {self._peer_settings.timeout[1]:g} s, while other streams go on"
            return self._report(Event.FAILED, Loss(Cause.TIMEOUT, silent))
        else:
            return self._take(peer, read, now, now - asked) if read.stream is not None else Action.READ
        action = self._report(Event.PACKET)
        if action is not Action.READ:
            return action
        return self._take(peer, read, now, now - asked)

    def _take(self, peer: Peer, read: PeerPacket, now: float, waited: float) -> Action:
        """Hand on a packet of a chosen stream once a key frame came and its times are known."""
        packet, video = read.packet, read.stream is not None and read.stream.type == "video"
        with self._lock:
            self._packet_count += 1
            self._corrupt += packet.is_corrupt
        if self._waiting_for_key:
            if not (video and packet.is_keyframe):
                self._drop(DropCause.BEFORE_KEY)
                if now - self._key_awaited_since < self._key_frame_timeout:
                    return Action.READ
                late = f"{self.name}: no key frame within {self._key_frame_timeout:g} s"
                return self._report(Event.FAILED, Loss(Cause.NO_KEY_FRAME, late))
            self._waiting_for_key = False
        for ready in self._decode_times.add(read):
            self._hand_on(peer, ready, now, waited)
        return Action.READ

    def _hand_on(self, peer: Peer, read: PeerPacket, now: float, waited: float) -> None:
        packet, stream = read.packet, read.stream
        assert stream is not None
        base = stream.time_base
        stamp = self._timeline.place(stream.index, base, packet.pts, packet.dts, now)
        if self._connection.finite and packet.pts is not None and packet.dts is not None:
            stamp = Stamp(packet.pts, packet.dts, False)  # a file has a line of time of its own
        if stamp.jump:
            self._packet_epoch += 1
            if self._decoder is not None:
                self._decoder.jump()
        utc = self._clock.utc()
        if self._packets is not None:
            self._put_packet(detached(packet, stamp.pts, stamp.dts), stream, peer.layout, utc)
        if self._decoder is not None and stream.type == "video":
            packet.pts, packet.dts = stamp.pts, stamp.dts
            self._decoder.note(now, float(stamp.dts * base), waited)
            self._decoder.decode(peer, packet, utc)

    def _put_packet(self, packet: av.Packet[Any], stream: StreamInfo, layout: StreamLayout, utc: int) -> None:
        assert self._packets is not None
        if self._refused and not (stream.type == "video" and packet.is_keyframe):
            self._drop(DropCause.QUEUE_FULL)
            return
        epoch = self._packet_epoch + self._refused
        if self._packets.put(Taken(packet, utc, self._connection.connections, epoch, stream, layout)):
            self._packet_epoch, self._refused = epoch, False
        elif not self._stop.is_set():
            self._refused = True
            self._drop(DropCause.QUEUE_FULL)

    def _drain(self, peer: Peer) -> None:
        """What was held back, and the frames the decoder still holds, when a connection ends."""
        for read in self._decode_times.release():
            self._hand_on(peer, read, self._clock.monotonic(), 0.0)
        if self._decoder is not None:
            self._decoder.drain(peer, self._clock.utc())

    def _release(self) -> None:
        if self._peer is not None:
            peer, self._peer = self._peer, None
            peer.close()

    def _drop(self, cause: DropCause) -> None:
        with self._lock:
            self._dropped[cause] += 1

    def _report(self, event: Event, loss: Loss | None = None) -> Action:
        with self._lock:
            connection, before = self._connection, self._connection.state
            action = connection.handle(event, self._clock.monotonic(), loss)
            if connection.state is not before:
                self._transitions.append(Transition(connection.since, connection.state, loss))
            return action


def _check(**values: Any) -> None:
    if values["mode"] not in MODES:
        raise LimitError(f"live source: mode={values['mode']!r}: expected {', '.join(MODES)}")
    opening, reading = values.pop("timeout")
    for name, value in (("timeout[0]", opening), ("timeout[1]", reading), *values.items()):
        if name == "mode":
            continue
        least = 0 if name in ("stable_after", "max_staleness", "threads", "video") else None
        if (least is not None and not value >= least) or (least is None and not value > 0):
            raise LimitError(f"live source: {name}={value}: expected {'0 or more' if least == 0 else 'more than 0'}")
