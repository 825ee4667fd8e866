"""The state of a connection to a camera: events in, states and actions out.

Pure: no thread, no clock, no input or output; the time comes with each event. `LiveSource` carries out the actions.

    IDLE -> CONNECTING -> RUNNING <-> STALLED
                 |           |           |
                 +---------> LOST <------+       anything -> CLOSED (stop)
                 ^            |                  RUNNING, STALLED -> ENDED (a file's end)
                 +- BACKOFF <-+ -> ENDED (no attempt left)
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from .backoff import Backoff


class State(enum.Enum):
    """Where a connection stands."""

    IDLE = "idle"  # not started
    CONNECTING = "connecting"  # opening, or finding out what streams there are
    RUNNING = "running"  # packets come
    STALLED = "stalled"  # connected, but silent for longer than `stall_after`
    LOST = "lost"  # given up; what it holds is being released
    BACKOFF = "backoff"  # waiting for the next attempt
    ENDED = "ended"  # a file's end, or no attempt left
    CLOSED = "closed"  # stopped by the caller


FINAL = frozenset((State.ENDED, State.CLOSED))
CONNECTED = frozenset((State.RUNNING, State.STALLED))


class Event(enum.Enum):
    """What happened."""

    START = "start"
    OPENED = "opened"  # the peer answered and its streams are known
    LISTEN = "listen"  # the reader begins to wait for the peer
    PACKET = "packet"  # the peer sent something
    TICK = "tick"  # somebody looks at the time: the reader may sit in a read, and silence has to be noticed
    RETRY = "retry"  # the owner has waited
    FAILED = "failed"  # opening or reading failed, or the end of a live source
    RELEASED = "released"  # what the connection held is closed
    END = "end"  # the end of a source that is not live
    STOP = "stop"  # the caller wants no more


class Cause(enum.Enum):
    """Why a connection was lost."""

    OPEN = "open"  # it could not be opened: refused, unknown host, wrong password, timeout
    TIMEOUT = "timeout"  # nothing came for as long as the read timeout
    END = "end"  # the peer ended the stream; a dead peer looks the same
    READ = "read"  # reading failed
    DAMAGE = "damage"  # nothing but errors, packet after packet
    NO_KEY_FRAME = "no_key_frame"  # no picture to begin with for as long as the key frame timeout
    UNSUPPORTED = "unsupported"  # no such protocol or format here: no attempt will ever succeed
    STREAMS = "streams"  # connected, but without the video stream that was asked for, or one that cannot be decoded


class Action(enum.Enum):
    """What the owner of the connection does next."""

    NONE = "none"
    OPEN = "open"
    READ = "read"
    RELEASE = "release"  # close what is open, then report RELEASED
    WAIT = "wait"  # until `retry_at`, then report RETRY
    FINISH = "finish"  # close what is open; no event matters any more


@dataclass(frozen=True)
class Loss:
    """A lost connection. `reason` is one line without credentials."""

    cause: Cause
    reason: str


class Connection:
    """The state machine.

    Attributes:
        state: now.
        since: time of the event that led to it.
        connections: how often a peer was opened.
        losses: how often an attempt or a connection failed.
        stalls: how often a connection went silent for longer than `stall_after`.
        failures: losses since the last connection that ran for `stable_after` seconds; decides the delay.
        retry_at: in BACKOFF, when the next attempt is due.
        loss: the last one, None before the first.
        lost_for_good: it ended because there was no further attempt.
        finite: the source has an end of its own, as a file has: there is no second attempt. Set by the owner.
    """

    def __init__(
        self,
        backoff: Backoff,
        uniform: Callable[[], float],
        *,
        stall_after: float,
        stable_after: float,
    ) -> None:
        """`uniform` gives random numbers in [0, 1) for the jitter; the others are seconds."""
        self._backoff = backoff
        self._uniform = uniform
        self._stall_after = stall_after
        self._stable_after = stable_after
        self._opened_at: float | None = None
        self._listening_since: float | None = None
        self.state = State.IDLE
        self.since = 0.0
        self.connections = 0
        self.losses = 0
        self.stalls = 0
        self.failures = 0
        self.retry_at = 0.0
        self.loss: Loss | None = None
        self.lost_for_good = False
        self.finite = False

    @property
    def reconnects(self) -> int:
        """Connections after the first."""
        return max(0, self.connections - 1)

    def handle(self, event: Event, now: float, loss: Loss | None = None) -> Action:
        """Take an event, move on, and say what is to be done. `loss` belongs to FAILED.

        After the end every event is answered by FINISH: the caller may stop at any moment, and the reader learns of it
        with its next event. Raises RuntimeError for an event that cannot happen in this state.
        """
        if event is Event.STOP:
            if self.state not in FINAL:
                self._enter(State.CLOSED, now)
            return Action.FINISH
        if self.state in FINAL:
            return Action.FINISH
        if event is Event.TICK:
            # Whoever looks gets nothing to do: attempts are begun by the owner alone.
            self._notice_silence(now)
            return Action.NONE
        if event is Event.START and self.state is State.IDLE:
            return self._connect(now)
        if event is Event.OPENED and self.state is State.CONNECTING:
            self.connections += 1
            self._opened_at, self._listening_since = now, None
            self._enter(State.RUNNING, now)
            return Action.READ
        if event is Event.FAILED and loss is not None and self.state in CONNECTED | {State.CONNECTING}:
            return self._lose(loss, now)
        if event is Event.RETRY and self.state is State.BACKOFF:
            return self._connect(now) if now >= self.retry_at else Action.WAIT
        if event is Event.RELEASED and self.state is State.LOST:
            return self._back_off(now)
        if self.state in CONNECTED:
            if event is Event.LISTEN:
                # Not anew: packets of streams that do not matter do not end a silence.
                if self._listening_since is None:
                    self._listening_since = now
                return Action.READ
            if event is Event.PACKET:
                self._listening_since = None
                if self.state is State.STALLED:
                    self._enter(State.RUNNING, now)
                return Action.READ
            if event is Event.END and self.finite:
                self._enter(State.ENDED, now)
                return Action.FINISH
        raise RuntimeError(f"connection: {event.value} cannot happen while {self.state.value}")

    def _notice_silence(self, now: float) -> None:
        silent = self._listening_since is not None and now - self._listening_since >= self._stall_after
        if self.state is State.RUNNING and silent:
            self.stalls += 1
            self._enter(State.STALLED, now)

    def _connect(self, now: float) -> Action:
        self._enter(State.CONNECTING, now)
        return Action.OPEN

    def _lose(self, loss: Loss, now: float) -> Action:
        # A peer that accepts and dies at once has not recovered: only one that ran for a while starts over.
        if self._opened_at is not None and now - self._opened_at >= self._stable_after:
            self.failures = 0
        self._opened_at = self._listening_since = None
        self.failures += 1
        self.losses += 1
        self.loss = loss
        self._enter(State.LOST, now)
        return Action.RELEASE

    def _back_off(self, now: float) -> Action:
        hopeless = self.loss is not None and self.loss.cause is Cause.UNSUPPORTED
        if self.finite or hopeless or self._backoff.exhausted(self.failures):
            self.lost_for_good = True
            self._enter(State.ENDED, now)
            return Action.FINISH
        self.retry_at = now + self._backoff.delay(self.failures, self._uniform())
        self._enter(State.BACKOFF, now)
        return Action.WAIT

    def _enter(self, state: State, now: float) -> None:
        self.state, self.since = state, now
