"""The output of ``duoview encode``: access units and what passes through beside them, in a container."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import duoview
from duoview.errors import Error
from duoview.plugins.filters.dv_encode import UNKNOWN_RATE
from duoview.plugins.links import Link

from .credentials import Credentials, redact_url
from .errors import MediaError


class AccessUnitOutput:
    """The output container, created with the first packet, so that a bad input leaves an existing file alone."""

    def __init__(self, url: str, format: str | None, copied: Sequence[Any]) -> None:
        self.name = redact_url(url)
        self._url = url
        self.packets = 0
        self.size = 0
        self.failed = False
        self._format = format
        self._copied = copied
        self._container: Any = None
        self._targets: dict[int, Any] = {}
        self._early: list[Any] = []

    def write(self, packet: Any, link: Link) -> None:
        """Write one access unit of a link. Raises ContainerError."""
        if self._container is None:
            self._open(packet, link)
        self._mux(packet)
        self.packets += 1
        self.size += packet.size

    def copy(self, packet: Any) -> None:
        """Write a packet of a stream that is passed through."""
        if self._container is None:
            self._early.append(packet)
            return
        packet.stream = self._targets[packet.stream_index]
        self._mux(packet)

    def close(self) -> None:
        """Finish the file. Raises ContainerError, and MediaError where it is no file."""
        if self._container is not None:
            container, self._container = self._container, None
            with self._guarded():
                container.close()

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """Keep a URL's credentials out of what is raised: containers name what they were opened with."""
        try:
            yield
        except Error as error:
            if "://" not in self._url:
                raise
            raise MediaError(Credentials(self._url, {}).scrub(str(error))) from None

    def _open(self, packet: Any, link: Link) -> None:
        try:
            with self._guarded():
                self._create(packet, link)
        except Error:
            self.failed = True
            if self._container is not None:
                container, self._container = self._container, None
                container.discard()
            raise
        early, self._early = self._early, []
        for waiting in early:
            self.copy(waiting)

    def _create(self, packet: Any, link: Link) -> None:
        self._container = duoview.open(self._url, "w", format=self._format)
        self._container.add_stream(
            rate=link.rate or UNKNOWN_RATE, width=link.width, height=link.height, time_base=packet.time_base
        )
        for stream in self._copied:
            self._targets[stream.index] = self._container.add_stream_from_template(stream)

    def _mux(self, packet: Any) -> None:
        try:
            with self._guarded():
                self._container.mux(packet)
        except Error:
            self.failed = True
            raise
