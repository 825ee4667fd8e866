"""The other end of a connection, read through PyAV: opening, packets, decoding, and one clear reason for every failure.

PyAV's reads and opens release the interpreter lock and end after their timeouts, also when the peer is frozen; opening
may take the open timeout twice, since finding out about streams is timed by itself. What libavformat does outside of
its own polling is not timed: name look-ups and V4L2 devices.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import av

from duoview.errors import Error
from duoview.plugins.containers.failure import FAILURES

from .connection import Cause, Loss
from .credentials import Credentials, redact_url
from .errors import reason
from .stream_layout import StreamInfo, StreamLayout, layout_of

MAX_SIDE = 16384  # pixels; what the stream syntax holds
_MAX_ERRORS = 50  # failed reads without a packet between them
_GROWTH = 4  # by which pictures may grow within a connection, in pixels, ...
_ANY_CAMERA = 4096 * 2304  # ... or up to this
_PROBED = 5.0  # seconds of a stream, and megabytes, FFmpeg looks at by itself
_TIMED_OUT = av.error.ExitError


@dataclass(frozen=True)
class PeerSettings:
    """How to connect. `timeout` is in seconds: for opening, then for each read."""

    url: str = field(repr=False)
    format: str | None = None
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: tuple[float, float] = (5.0, 10.0)
    video: int = 0
    audio: bool = False
    threads: int = 1

    @property
    def live(self) -> bool | None:
        """Whether the source goes on for ever; None where only opening it can tell."""
        if self.format in ("v4l2", "video4linux2") or self.url.startswith("/dev/"):
            return True
        scheme, found, _ = self.url.partition("://")
        if not found or scheme == "file":
            return False
        return None if scheme in ("http", "https") else True


class PeerError(Error, ConnectionError):
    """Opening or reading failed."""

    def __init__(self, loss: Loss) -> None:
        super().__init__(loss.reason)
        self.loss = loss


@dataclass(frozen=True)
class PeerPacket:
    """A packet with the stream it belongs to; `stream` is None where nobody asked for it."""

    packet: av.Packet[Any]
    stream: StreamInfo | None

    @property
    def times(self) -> av.Packet[Any]:
        """What holds its pts, dts and duration."""
        return self.packet

    @property
    def reorders(self) -> bool:
        """Whether frames of its stream may be shown in another order than they are decoded in."""
        return self.stream is not None and self.stream.type == "video"


class Peer(Protocol):
    """An open connection."""

    layout: StreamLayout
    finite: bool

    def read(self) -> PeerPacket | None:
        """The next packet, None at the end. Raises PeerError."""

    def decode(self, packet: av.Packet[Any] | None) -> list[av.VideoFrame]:
        """Frames of a packet of the video stream; of None: those that are left. Raises what PyAV raises."""

    def flush(self) -> None:
        """Forget what earlier packets left in the decoder."""

    def close(self) -> None:
        """Release everything."""


class MediaPeer:
    """A peer that PyAV reads.

    `layout` has the video stream and, if asked for, the audio streams; `finite`: it has an end, as a file has.
    """

    def __init__(self, settings: PeerSettings) -> None:
        """Open. Raises PeerError, with a reason that holds no credentials."""
        self._settings = settings
        self._credentials = Credentials(settings.url, settings.options)
        failure: Loss | None = None
        try:
            self._container = _open(settings)
        except FAILURES as error:
            failure = self._loss(Cause.UNSUPPORTED if _unsupported(error) else Cause.OPEN, "cannot open", error)
        if failure is not None:  # outside of the handler: the context of the new error would print the URL
            raise PeerError(failure)
        try:
            self._adopt()
        except BaseException:
            self._container.close()
            raise
        self._packets = self._demux()
        self._expired = False

    def _adopt(self) -> None:
        settings, videos = self._settings, self._container.streams.video
        found = ", ".join(stream.type for stream in self._container.streams) or "nothing"
        if settings.video >= len(videos):
            raise self._unusable(f"no video stream {settings.video}; there is {found}")
        video = videos[settings.video]
        context = video.codec_context
        if context is None:
            raise self._unusable(f"no decoder for its video stream {settings.video}")
        if not (0 < context.width <= MAX_SIDE and 0 < context.height <= MAX_SIDE):
            raise self._unusable(
                f"pictures of {context.width}x{context.height}: expected 1x1 to {MAX_SIDE}x{MAX_SIDE} "
                "(0x0: no parameters of the picture came within the time to open)"
            )
        # Not a thread per frame: each would add a frame of delay, and tell an error only with a later packet.
        video.thread_type = "SLICE"
        context.thread_count = settings.threads
        # A damaged header may claim pictures of gigabytes; a camera may change to another resolution, within reason.
        limit = max(_GROWTH * context.width * context.height, _ANY_CAMERA)
        context.options = {**context.options, "max_pixels": str(limit)}
        audios = [stream for stream in self._container.streams.audio if stream.codec_context is not None]
        chosen: list[Any] = [video, *(audios if settings.audio else [])]
        try:
            self.layout = layout_of(chosen)
        except FAILURES as error:
            raise self._unusable(self._credentials.scrub(reason(error))) from None
        self._video = video
        self._infos = {stream.index: info for stream, info in zip(chosen, self.layout.streams, strict=True)}
        # A device that sleeps may be slow to wake; only libavformat's protocols look at the time.
        self._timed = "://" in settings.url
        self.finite = settings.live is False or (settings.live is None and self._container.duration is not None)

    def read(self) -> PeerPacket | None:
        errors = 0
        silent = Loss(Cause.TIMEOUT, f"{self.name}: nothing came for {self._settings.timeout[1]:g} s")
        if self._expired:
            raise PeerError(silent)
        while True:
            failure: Loss
            began = time.monotonic()
            try:
                packet = next(self._packets, None)
            except av.error.InvalidDataError as error:
                # One bad packet is no lost connection; the generator ended with its error, the demuxer did not.
                errors += 1
                self._packets = self._demux()
                if errors < _MAX_ERRORS:
                    continue
                failure = self._loss(Cause.DAMAGE, f"{errors} reads failed in a row, the last", error)
            except _TIMED_OUT:
                failure = silent
            except FAILURES as error:
                failure = self._loss(Cause.READ, "cannot read", error)
            else:
                if packet is None:
                    return None
                # When a read times out, libavformat first gives the packet its parser still held. It came long before,
                # and the next read would wait for another timeout.
                self._expired = self._timed and time.monotonic() - began >= self._settings.timeout[1]
                if packet.size:  # PyAV ends with an empty packet for each decoder
                    return PeerPacket(packet, self._infos.get(packet.stream_index))
                continue
            raise PeerError(failure)

    def decode(self, packet: av.Packet[Any] | None) -> list[av.VideoFrame]:
        frames = self._video.decode(packet)
        for frame in frames:
            if not frame.time_base:
                frame.time_base = self.layout.video.time_base
        return frames

    def flush(self) -> None:
        self._video.codec_context.flush_buffers()

    def close(self) -> None:
        self._container.close()

    @property
    def name(self) -> str:
        """The URL without credentials."""
        return redact_url(self._settings.url)

    def _demux(self) -> Iterator[av.Packet[Any]]:
        # All streams, not only those asked for: each packet restarts the read timeout, and a camera that sends nothing
        # but sound would keep us waiting inside for ever.
        return self._container.demux()

    def _loss(self, cause: Cause, doing: str, error: BaseException) -> Loss:
        if isinstance(error, _TIMED_OUT):
            return Loss(cause, f"{self.name}: {doing}: no answer within {self._settings.timeout[0]:g} s")
        return Loss(cause, f"{self.name}: {doing}: {self._credentials.scrub(reason(error))}")

    def _unusable(self, why: str) -> PeerError:
        return PeerError(Loss(Cause.STREAMS, f"{self.name}: {why}"))


def _unsupported(error: BaseException) -> bool:
    """Whether PyAV lacks the protocol or format: FFmpeg says so itself, of a format's name PyAV does."""
    if isinstance(error, av.error.ProtocolNotFoundError | av.error.DemuxerNotFoundError):
        return True
    return isinstance(error, ValueError) and not isinstance(error, av.error.FFmpegError)


def _open(settings: PeerSettings) -> av.container.InputContainer:
    options = dict(settings.options)
    scheme = settings.url.partition("://")[0].lower() if "://" in settings.url else ""
    if scheme in ("rtsp", "rtsps"):
        # UDP loses packets without a word, and passes few firewalls.
        options.setdefault("rtsp_transport", "tcp")
    # A transport stream whose tables change goes on under the numbers its streams had: PyAV passes over packets of
    # streams that come up after opening, and does not return while there are no others. Other formats ignore this.
    options.setdefault("merge_pmt_versions", "1")
    if scheme.startswith("rtmp"):
        # Parameters come before the first packet; FFmpeg would go on for five seconds to see whether there is sound.
        options.setdefault("analyzeduration", "1000000")
    elif settings.live is not False and settings.timeout[0] > _PROBED:
        # Who waits longer for an answer also waits longer for a key frame, which alone tells the size of the pictures.
        options.setdefault("analyzeduration", str(round(settings.timeout[0] * 1e6)))
        options.setdefault("probesize", str(round(1e6 * min(settings.timeout[0], 32))))
    format_ = settings.format
    if format_ is None and settings.url.startswith("/dev/video"):
        format_ = "v4l2"
    url = "pipe:0" if settings.url == "-" else settings.url
    return av.open(url, "r", format=format_, options=options, timeout=settings.timeout)
