"""The state machine of a connection: single steps, and rules that hold over any sequence of events."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from duoview.pipelines.backoff import Backoff
from duoview.pipelines.connection import CONNECTED, FINAL, Action, Cause, Connection, Event, Loss, State

LOSS = Loss(Cause.READ, "cam: cannot read: reset")


def connection(backoff: Backoff | None = None, *, stall_after: float = 2, stable_after: float = 10) -> Connection:
    return Connection(
        backoff or Backoff(first=1, factor=2, limit=8, jitter=0),
        lambda: 0.5,
        stall_after=stall_after,
        stable_after=stable_after,
    )


def running(now: float = 0, backoff: Backoff | None = None) -> Connection:
    machine = connection(backoff)
    machine.handle(Event.START, now)
    machine.handle(Event.OPENED, now)
    return machine


def lose(machine: Connection, now: float) -> None:
    assert machine.handle(Event.FAILED, now, LOSS) is Action.RELEASE
    machine.handle(Event.RELEASED, now)


def test_a_start_opens_and_an_answer_runs() -> None:
    machine = connection()
    assert (machine.handle(Event.START, 0), machine.state) == (Action.OPEN, State.CONNECTING)
    assert (machine.handle(Event.OPENED, 1), machine.state, machine.since) == (Action.READ, State.RUNNING, 1)


def test_silence_beyond_the_limit_is_a_stall_and_a_packet_ends_it() -> None:
    machine = running()
    machine.handle(Event.LISTEN, 10)
    machine.handle(Event.TICK, 11.9)
    assert machine.state is State.RUNNING
    machine.handle(Event.TICK, 12)
    assert (machine.state, machine.stalls) == (State.STALLED, 1)
    assert (machine.handle(Event.PACKET, 13), machine.state) == (Action.READ, State.RUNNING)


def test_packets_of_other_streams_do_not_end_a_silence() -> None:
    machine = running()
    machine.handle(Event.LISTEN, 10)
    machine.handle(Event.LISTEN, 11.5)  # something came that was no video
    machine.handle(Event.TICK, 12)
    assert machine.state is State.STALLED


def test_a_reader_that_waits_for_its_consumer_is_no_stall() -> None:
    machine = running()
    machine.handle(Event.LISTEN, 0)
    machine.handle(Event.PACKET, 0.1)
    machine.handle(Event.TICK, 1000)
    assert machine.state is State.RUNNING


def test_a_loss_is_released_before_the_wait_begins() -> None:
    machine = running()
    assert (machine.handle(Event.FAILED, 5, LOSS), machine.state, machine.loss) == (Action.RELEASE, State.LOST, LOSS)
    assert (machine.handle(Event.RELEASED, 6), machine.state) == (Action.WAIT, State.BACKOFF)
    assert machine.retry_at == 7
    assert machine.handle(Event.RETRY, 6.9) is Action.WAIT
    assert (machine.handle(Event.RETRY, 7), machine.state) == (Action.OPEN, State.CONNECTING)


def test_somebody_who_only_looks_begins_no_attempt() -> None:
    machine = running()
    lose(machine, 1)
    assert (machine.handle(Event.TICK, 100), machine.state) == (Action.NONE, State.BACKOFF)
    assert machine.handle(Event.RETRY, 100) is Action.OPEN


def test_delays_grow_while_connections_die_young() -> None:
    machine, now, delays = connection(), 0.0, []
    machine.handle(Event.START, now)
    for _ in range(5):
        machine.handle(Event.OPENED, now)
        lose(machine, now)
        delays.append(machine.retry_at - now)
        now = machine.retry_at
        machine.handle(Event.RETRY, now)
    assert delays == [1, 2, 4, 8, 8]


def test_delays_start_over_after_a_connection_that_lasted() -> None:
    machine = running()
    lose(machine, 1)
    machine.handle(Event.RETRY, 100)
    machine.handle(Event.OPENED, 100)
    lose(machine, 110)
    assert machine.retry_at == 111


def test_a_live_source_tries_for_ever_and_a_limited_one_ends() -> None:
    for attempts, last in ((None, State.BACKOFF), (3, State.ENDED)):
        machine, now = connection(Backoff(first=0, attempts=attempts)), 0.0
        machine.handle(Event.START, now)
        for _ in range(3 if attempts else 1000):
            lose(machine, now)
            if machine.state is State.BACKOFF:
                machine.handle(Event.RETRY, now)
        assert machine.lost_for_good == (attempts is not None)
        if attempts is None:
            lose(machine, now)
        assert machine.state is last


def test_what_can_never_succeed_is_not_tried_again() -> None:
    machine = running()
    machine.handle(Event.FAILED, 1, Loss(Cause.UNSUPPORTED, "cam: no such protocol"))
    assert (machine.handle(Event.RELEASED, 1), machine.lost_for_good) == (Action.FINISH, True)


def test_a_file_ends_at_its_end_and_has_no_second_attempt() -> None:
    machine = running()
    machine.finite = True
    assert (machine.handle(Event.END, 3), machine.state) == (Action.FINISH, State.ENDED)
    assert not machine.lost_for_good
    broken = running()
    broken.finite = True
    lose(broken, 1)
    assert (broken.state, broken.lost_for_good) == (State.ENDED, True)


def test_the_end_of_a_live_source_is_no_end() -> None:
    with pytest.raises(RuntimeError, match="end cannot happen while running"):
        running().handle(Event.END, 3)


@pytest.mark.parametrize("event", [Event.PACKET, Event.OPENED, Event.RELEASED, Event.LISTEN, Event.RETRY])
def test_an_event_that_cannot_happen_is_named(event: Event) -> None:
    with pytest.raises(RuntimeError, match=f"{event.value} cannot happen while idle"):
        connection().handle(event, 0)


@given(st.lists(st.sampled_from(list(Event))), st.booleans())
def test_after_a_stop_every_event_says_finish(events: list[Event], started: bool) -> None:
    machine = running() if started else connection()
    machine.handle(Event.STOP, 1)
    assert all(machine.handle(event, 2, LOSS) is Action.FINISH for event in events)
    assert machine.state is State.CLOSED


class Life(RuleBasedStateMachine):
    """An owner that carries out every action, with a peer and a caller that do anything at any moment."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.open = False
        self.heard = 0
        self.lost = 0
        self.listening_since: float | None = None

    @initialize(
        first=st.floats(0, 5), factor=st.floats(1, 4), limit=st.floats(5, 60), jitter=st.floats(0, 1),
        attempts=st.none() | st.integers(1, 4), stall=st.floats(0.1, 5), stable=st.floats(0, 20), finite=st.booleans(),
    )  # fmt: skip
    def begin(
        self, first: float, factor: float, limit: float, jitter: float, attempts: int | None, stall: float,
        stable: float, finite: bool,
    ) -> None:  # fmt: skip
        self.backoff = Backoff(first=first, factor=factor, limit=limit, jitter=jitter, attempts=attempts)
        self.stall = stall
        self.machine = Connection(self.backoff, lambda: 0.75, stall_after=stall, stable_after=stable)
        self.machine.finite = finite
        self.do(self.machine.handle(Event.START, self.now))

    def do(self, action: Action) -> None:
        self.action = action
        if action in (Action.RELEASE, Action.FINISH):
            self.open = False
            self.listening_since = None
        if action is Action.RELEASE:
            self.do(self.machine.handle(Event.RELEASED, self.now))

    @rule(seconds=st.floats(0, 30))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        before = self.machine.state
        answer = self.machine.handle(Event.TICK, self.now)
        assert answer is (Action.FINISH if before in FINAL else Action.NONE)
        assert self.machine.state is before or (before, self.machine.state) == (State.RUNNING, State.STALLED)

    @precondition(lambda self: self.action is Action.WAIT)
    @rule()
    def the_wait_ends(self) -> None:
        due = self.now >= self.machine.retry_at
        self.do(self.machine.handle(Event.RETRY, self.now))
        assert self.action is (Action.OPEN if due else Action.WAIT)

    @precondition(lambda self: self.action is Action.OPEN)
    @rule(answers=st.booleans())
    def open_ends(self, answers: bool) -> None:
        if answers:
            self.open = True
            self.do(self.machine.handle(Event.OPENED, self.now))
        else:
            self.lost += 1
            self.do(self.machine.handle(Event.FAILED, self.now, LOSS))

    @precondition(lambda self: self.open)
    @rule(seconds=st.floats(0, 10), fate=st.sampled_from(("packet", "failure", "end")))
    def a_read_ends(self, seconds: float, fate: str) -> None:
        self.do(self.machine.handle(Event.LISTEN, self.now))
        if self.listening_since is None:
            self.listening_since = self.now
        self.now += seconds
        self.machine.handle(Event.TICK, self.now)
        silent = self.now - self.listening_since >= self.stall
        assert self.machine.state is (State.STALLED if silent else State.RUNNING)
        if fate == "packet":
            self.listening_since = None
            self.heard += 1
            self.do(self.machine.handle(Event.PACKET, self.now))
            assert self.machine.state is State.RUNNING
        elif fate == "end" and self.machine.finite:
            self.do(self.machine.handle(Event.END, self.now))
        else:
            self.lost += 1
            self.do(self.machine.handle(Event.FAILED, self.now, LOSS))

    @precondition(lambda self: self.heard > 20)
    @rule()
    def the_caller_stops(self) -> None:
        self.do(self.machine.handle(Event.STOP, self.now))

    @invariant()
    def something_is_open_only_while_connected(self) -> None:
        if hasattr(self, "machine"):
            assert self.open == (self.machine.state in CONNECTED)

    @invariant()
    def a_wait_is_never_longer_than_the_jittered_limit(self) -> None:
        if hasattr(self, "machine") and self.machine.state is State.BACKOFF:
            longest = self.backoff.limit * (1 + self.backoff.jitter)
            assert 0 <= self.machine.retry_at - self.machine.since <= longest + 1e-9

    @invariant()
    def every_loss_is_counted_and_only_the_limit_or_an_end_stops(self) -> None:
        if not hasattr(self, "machine"):
            return
        machine = self.machine
        assert machine.losses == self.lost >= machine.failures
        assert (machine.state in FINAL) == (self.action is Action.FINISH)
        if machine.lost_for_good:
            assert machine.finite or machine.failures == self.backoff.attempts


TestLife = Life.TestCase
