"""Groups of pictures that nobody waits for any more: the picture that is being encoded is the last one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import av
import pytest
from av.video.frame import PictureType

from duoview import Encoder, Profile
from duoview.inner import InnerSettings
from duoview.inner.group import Group
from duoview.inner.standard import InnerPacket, StandardEncoder
from duoview.plugins.filters.dv_encode import Encode

WIDTH, HEIGHT, GOP = 96, 64, 12


class Held:
    """Encodes nothing before `gate` opens, and counts."""

    def __init__(self) -> None:
        self.gate, self.begun = threading.Event(), threading.Event()
        self.encoded = 0

    def encode(self, picture: Any, kind: PictureType = PictureType.NONE) -> list[InnerPacket]:
        if picture != "background":
            self.begun.set()
            assert self.gate.wait(60)
            self.encoded += 1
        return []

    def flush(self) -> list[InnerPacket]:
        self.encoded += 1
        return []


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("inner group")]


def ended() -> bool:
    for thread in workers():
        thread.join(60)
    return not workers()


@pytest.fixture
def gated(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Of all encoders: a gate before the pictures of a group, and how many pictures went through it."""
    kept: Callable[..., list[InnerPacket]] = StandardEncoder.encode
    held = SimpleNamespace(gate=threading.Event(), begun=threading.Event(), encoded=0)

    def encode(self: StandardEncoder, picture: av.VideoFrame, kind: PictureType = PictureType.NONE
               ) -> list[InnerPacket]:
        if kind is not PictureType.I:  # the background goes through
            held.begun.set()
            assert held.gate.wait(60)
            held.encoded += 1
        return kept(self, picture, kind)

    monkeypatch.setattr(StandardEncoder, "encode", encode)
    yield held
    held.gate.set()


def frames(count: int) -> Iterator[av.VideoFrame]:
    for index in range(count):
        frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.pts, frame.time_base = index, Fraction(1, 10)
        yield frame


def test_a_group_that_is_abandoned_encodes_the_picture_it_is_at_and_no_other() -> None:
    encoder: Any = Held()
    group = Group(encoder, 0, fresh=True, beside=True)
    background: Any = "background"
    group.start(background)
    for _ in range(5):
        group.put(background[:1], PictureType.NONE)
    group.end()
    assert encoder.begun.wait(60)
    group.abandon()
    encoder.gate.set()
    assert ended() and encoder.encoded == 1


def test_a_group_without_a_thread_may_be_abandoned_too() -> None:
    group = Group(Held(), 0, fresh=True, beside=False)  # type: ignore[arg-type]
    group.abandon()
    assert group.ended


def test_an_encoder_that_is_closed_does_not_encode_what_waits(gated: SimpleNamespace) -> None:
    settings = InnerSettings(codec="h264", preset="ultrafast", threads=2, simplify="off", background=60.0)
    encoder = Encoder(WIDTH, HEIGHT, rate=10, gop=GOP, profile=Profile("s"), machine="inner", inner=settings)
    for frame in frames(2 * GOP):
        assert not encoder.encode(frame)
    assert gated.begun.wait(60)
    encoder.close()
    gated.gate.set()
    assert ended() and gated.encoded <= 2  # one of each group that was under way
    with pytest.raises(av.EOFError):
        encoder.encode(None)


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_stage_that_is_closed_or_begins_anew_abandons_what_waits(gated: SimpleNamespace, how: str) -> None:
    stage = Encode(machine="inner", codec="h264", preset="ultrafast", threads=2, simplify="off", background=60.0,
                   latency="full", g=GOP)
    for frame in frames(2 * GOP):
        stage.push(frame)
        with pytest.raises(av.BlockingIOError):
            stage.pull()
    assert gated.begun.wait(60)
    getattr(stage, how)()
    gated.gate.set()
    assert ended() and gated.encoded <= 2
