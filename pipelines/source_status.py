"""What a live source tells about itself, for dashboards, metrics and the command line."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from .connection import Loss, State


class DropCause(enum.Enum):
    """Why something the peer sent was not handed out. All but DAMAGED only happen to live sources."""

    BEFORE_KEY = "before_key"  # packets before the first key frame of a connection
    REPLACED = "replaced"  # frames that a newer one overtook before they were taken
    BEHIND = "behind"  # packets not decoded because decoding was behind by more than `max_staleness`
    QUEUE_FULL = "queue_full"  # packets nobody took in time, up to the next key frame
    DAMAGED = "damaged"  # packets that could not be decoded


@dataclass(frozen=True)
class Transition:
    """A change of state: when (seconds of the source's clock), what to, and the loss that led there, if one did."""

    at: float
    state: State
    loss: Loss | None


@dataclass(frozen=True)
class SourceStatus:
    """A moment of a source.

    Attributes:
        name: of the source.
        state: of its connection.
        seconds: for how long it has been in that state.
        connections: how often it connected; the first counts.
        reconnects: connections after the first.
        losses: attempts and connections that failed.
        stalls: silences longer than `stall_after`.
        packets: packets of the chosen streams that arrived.
        frames: frames that were handed out to the queue.
        dropped: what was not handed out, by cause; causes that did not occur are 0.
        corrupt: packets the demuxer marked as damaged; they are handed out all the same.
        lag: seconds by which decoding is behind the peer.
        loss: the last one.
        transitions: the last changes of state, oldest first.
    """

    name: str
    state: State
    seconds: float
    connections: int
    reconnects: int
    losses: int
    stalls: int
    packets: int
    frames: int
    dropped: Mapping[DropCause, int]
    corrupt: int
    lag: float
    loss: Loss | None
    transitions: tuple[Transition, ...]
