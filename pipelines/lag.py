"""How far decoding is behind a live peer, told apart from a peer or a network that is slow itself. Pure."""

from __future__ import annotations

_WAITED = 0.01  # seconds; a read that took less found its packet already there


class Lag:
    """Seconds by which the reader is behind.

    A read that had to wait for its packet found an empty line: the reader is up to date, however late the peer is. From
    then on it falls behind by the time that passes beyond the video's own.
    """

    def __init__(self) -> None:
        self._current: tuple[float, float] | None = None  # when and at which video time the reader was up to date
        self.seconds = 0.0

    def reset(self) -> None:
        """Forget, as after a reconnect."""
        self._current = None
        self.seconds = 0.0

    def note(self, arrival: float, media: float, waited: float) -> float:
        """A packet with video time `media` came at `arrival` after a read of `waited` seconds; return the lag."""
        if self._current is None or waited >= _WAITED:
            self._current = (arrival, media)
        behind = (arrival - self._current[0]) - (media - self._current[1])
        if behind < 0:  # a burst of more than real time: up to date as well
            self._current = (arrival, media)
        self.seconds = max(0.0, behind)
        return self.seconds
