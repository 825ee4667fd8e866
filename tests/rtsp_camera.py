"""Cameras of GStreamer's RTSP server in processes of their own, and a line to them that can be slow or noisy."""

from __future__ import annotations

import contextlib
import functools
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

SERVER = Path(__file__).with_name("rtsp_server.py")
_IMPORTS = """
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
missing = [name for name in ("tsdemux", "h264parse", "rtph264pay") if Gst.ElementFactory.find(name) is None]
raise SystemExit("no GStreamer element " + ", ".join(missing) if missing else 0)
"""


@functools.cache
def interpreter() -> tuple[str | None, str]:
    """A Python that can run the server, or None and what is missing."""
    said = "no python3 on the path"
    system = shutil.which("python3", path="/usr/bin:/usr/local/bin:/bin")
    for candidate in (sys.executable, system, shutil.which("python3")):
        if candidate is None:
            continue
        done = subprocess.run([candidate, "-c", _IMPORTS], capture_output=True, text=True, timeout=60, check=False)
        if done.returncode == 0:
            return candidate, ""
        said = (done.stderr.strip().splitlines() or ["unknown reason"])[-1]
    needed = "python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good gstreamer1.0-plugins-bad"
    return None, f"GStreamer's RTSP server cannot be used ({said}); on Debian it needs {needed}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RtspCamera:
    """A server process. `password` makes it ask for user "admin" with that password."""

    def __init__(self, clip: Path, *, password: str | None = None) -> None:
        self.clip, self.password = clip, password
        self.port = free_port()
        self._process: subprocess.Popen[str] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/live"

    def start(self) -> None:
        """Come (back) up, at the same port."""
        python, missing = interpreter()
        if python is None:
            raise RuntimeError(missing)
        command = [python, str(SERVER), str(self.port), str(self.clip)]
        if self.password:
            command += ["--user", "admin", "--password", self.password]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise RuntimeError(f"the RTSP server did not start at port {self.port}")

    def kill(self) -> None:
        """As when the power goes."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def freeze(self) -> None:
        """Stop the process: its connections stay, and nothing comes."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> RtspCamera:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class Line:
    """A TCP line to a camera. What comes from the camera can be throttled and mixed with nonsense."""

    def __init__(self, camera: RtspCamera) -> None:
        self._camera = camera
        self.bytes_per_second: float | None = None
        self.noise = 0.0  # share of the chunks that are replaced by nonsense
        self._random = random.Random(1)
        self._closed = False
        self._sockets: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self._listener.getsockname()[1]}/live"

    def hang_up(self) -> None:
        """End all connections."""
        for one in list(self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._camera.port))
            except OSError:
                client.close()
                continue
            self._sockets |= {client, server}
            threading.Thread(target=self._pass_on, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pass_on, args=(server, client, True), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, from_camera: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(8192):
                if from_camera:
                    if self.noise and self._random.random() < self.noise:
                        data = self._random.randbytes(len(data))
                    if self.bytes_per_second:
                        time.sleep(len(data) / self.bytes_per_second)
                sink.sendall(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
            self._sockets.discard(one)
