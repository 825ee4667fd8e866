"""MQTT output, against a broker of a few lines that speaks MQTT 3.1.1 as its standard writes it."""

from __future__ import annotations

import dataclasses
import json
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest

from duoview.errors import BackendUnavailableError, LimitError
from duoview.events import Event
from duoview.findings import FrameFindings
from duoview.plugins.analytics import MqttSink, open_sink
from duoview.plugins.errors import PublishError
from duoview.plugins.testing import looked_at, picture

CONNECT, CONNACK, PUBLISH, PUBACK, DISCONNECT = 1, 2, 3, 4, 14
EVENT = Event("dv_trigger", 1, "dwell", 0, 2, Fraction(1, 10), zone="gate", track_ids=(3,))


class Broker:
    """Takes connections one after the other, answers, and keeps what was published."""

    def __init__(self, *, code: int = 0, silent: bool = False, drop_after: int = 1 << 30) -> None:
        self.messages: list[tuple[str, int, bool, bytes]] = []
        self.users: list[tuple[str, str]] = []
        self.left = 0
        self._code, self._silent, self._drop_after = code, silent, drop_after
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(5)
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._server.accept()
            except OSError:
                return
            with peer, peer.makefile("rb") as stream:
                count = 0
                while (head := stream.read(1)):
                    kind, flags = head[0] >> 4, head[0] & 15
                    body = stream.read(_length(stream))
                    if kind == CONNECT:
                        self._note_user(body)
                        if not self._silent:
                            peer.sendall(bytes((CONNACK << 4, 2, 0, self._code)))
                    elif kind == PUBLISH:
                        self._take(peer, flags, body)
                        count += 1
                        if count >= self._drop_after:
                            break
                    elif kind == DISCONNECT:
                        self.left += 1
                        break

    def _take(self, peer: socket.socket, flags: int, body: bytes) -> None:
        (size,) = struct.unpack_from(">H", body)
        topic, at, qos = body[2:2 + size].decode(), 2 + size, flags >> 1 & 3
        if qos:
            peer.sendall(bytes((PUBACK << 4, 2)) + body[at:at + 2])
            at += 2
        self.messages.append((topic, qos, bool(flags & 1), body[at:]))

    def _note_user(self, body: bytes) -> None:
        texts, at = [], 10  # behind the protocol's name and level, flags and keep-alive
        while at < len(body):
            (size,) = struct.unpack_from(">H", body, at)
            texts.append(body[at + 2:at + 2 + size].decode())
            at += 2 + size
        if body[7] & 0xC0 == 0xC0:
            self.users.append((texts[-2], texts[-1]))


def _length(stream: object) -> int:
    value, shift = 0, 0
    while True:
        (byte,) = stream.read(1)  # type: ignore[attr-defined]
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value


@pytest.fixture
def broker() -> Iterator[Broker]:
    made = Broker()
    yield made
    made.close()


def frame_of(pts: int, *events: Event, objects: int = 1) -> object:
    frame = looked_at(picture(pts), [((1.0, 2.0, 30.0, 40.0), 0)] * objects)
    frame.opaque = FrameFindings.of(frame.opaque).with_events(*events)
    return frame


@pytest.mark.parametrize("qos", [0, 1])
def test_frames_and_events_have_topics_of_their_own(broker: Broker, qos: int) -> None:
    over = dataclasses.replace(EVENT, ongoing=False)
    with MqttSink(f"mqtt://127.0.0.1:{broker.port}", topic="site/a", source="cam1", qos=qos) as sink:
        for frame in (frame_of(0, EVENT), frame_of(1, EVENT), frame_of(2, objects=0), frame_of(3, over)):
            sink.write(frame)  # type: ignore[arg-type]
    broker.close()
    assert [(topic, found, retained) for topic, found, retained, _ in broker.messages] == [
        (f"site/a/cam1/{kind}", qos, False) for kind in ("frame", "event", "frame", "frame", "event")]
    contents = [json.loads(payload) for *_, payload in broker.messages]
    assert [contents[at]["pts"] for at in (0, 2, 3)] == [0, 1, 3] and contents[0]["objects"][0]["label"] == "person"
    assert (contents[1]["ongoing"], contents[4]["ongoing"], contents[1]["zone"]) == (True, False, "gate")
    assert broker.left == 1


def test_user_and_password_go_to_the_broker_and_into_no_error(broker: Broker) -> None:
    MqttSink(f"mqtt://cam:p%40ss@127.0.0.1:{broker.port}").close()
    assert broker.users == [("cam", "p@ss")]
    with pytest.raises(LimitError) as caught:
        MqttSink("http://cam:secret@host")
    assert "secret" not in str(caught.value) and "expected mqtt://host[:port]" in str(caught.value)


@pytest.mark.parametrize("url", ["mqtt://cam:sec#ret@host", "mqtt://cam:sec/ret@host", "mqtt://cam:sec?ret@host:1",
                                 "mqtt://cam#sec:ret@host", "mqtt://cam:sec@ret@host:99999", "mqtt://[sec@ret",
                                 "mqtt:/cam:sec@ret"])
def test_a_url_that_cannot_be_read_is_a_limit_error_that_shows_no_password(url: str) -> None:
    with pytest.raises(LimitError, match=r"expected mqtt://host\[:port\]") as caught:
        MqttSink(url, timeout=0.1)
    assert "sec" not in str(caught.value)
    assert caught.value.__context__ is None


def test_events_of_a_trigger_that_was_reset_begin_again(broker: Broker) -> None:
    later = dataclasses.replace(EVENT, start_pts=50, end_pts=50)
    with MqttSink(f"mqtt://127.0.0.1:{broker.port}") as sink:
        for frame in (frame_of(0, EVENT), frame_of(50, later), frame_of(51, later), frame_of(52)):
            sink.write(frame)  # type: ignore[arg-type]
        assert not sink._told  # nor is what never ended kept for ever
    broker.close()
    events = [json.loads(payload) for topic, *_, payload in broker.messages if topic.endswith("event")]
    assert [event["start_pts"] for event in events] == [0, 50]


def test_an_event_whose_begin_could_not_be_sent_is_told_with_the_next_frame(broker: Broker,
                                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise PublishError("it took too long")

    with MqttSink(f"mqtt://127.0.0.1:{broker.port}") as sink:
        with monkeypatch.context() as failing:
            failing.setattr(sink, "_publish", fail)
            with pytest.raises(PublishError):
                sink.write(frame_of(0, EVENT))  # type: ignore[arg-type]
            failing.undo()
            failing.setattr(sink, "_wait", fail)
            with pytest.raises(PublishError):
                sink.write(frame_of(1, EVENT))  # type: ignore[arg-type]
        sink.write(frame_of(2, EVENT))  # type: ignore[arg-type]
    broker.close()
    assert [topic for topic, *_ in broker.messages].count("duoview/event") == 2


def test_no_thread_is_started(broker: Broker) -> None:
    before = threading.active_count()
    with MqttSink(f"mqtt://127.0.0.1:{broker.port}") as sink:
        sink.write(frame_of(0))  # type: ignore[arg-type]
        assert threading.active_count() == before


def test_after_a_lost_connection_the_next_frame_connects_again() -> None:
    broker = Broker(drop_after=1)
    with MqttSink(f"mqtt://127.0.0.1:{broker.port}", qos=1) as sink:
        for pts in range(4):
            sink.write(frame_of(pts))  # type: ignore[arg-type]
            sink._client._sock.settimeout(2)
            assert sink._client._sock.recv(1, socket.MSG_PEEK) == b""  # the broker has hung up
    broker.close()
    assert [json.loads(payload)["pts"] for *_, payload in broker.messages] == [0, 1, 2, 3]


def test_a_broker_that_refuses_or_is_silent_or_absent_is_named() -> None:
    refusing, silent = Broker(code=5), Broker(silent=True)
    with pytest.raises(PublishError, match=r"MQTT broker 127.0.0.1:\d+ refused the connection: Not authorized"):
        MqttSink(f"mqtt://127.0.0.1:{refusing.port}")
    with pytest.raises(PublishError, match=r"took more than 0.2 s to accept the connection"):
        MqttSink(f"mqtt://127.0.0.1:{silent.port}", timeout=0.2)
    port = refusing.port
    refusing.close()
    silent.close()
    with pytest.raises(PublishError, match=rf"MQTT broker 127.0.0.1:{port}: .*refused"):
        MqttSink(f"mqtt://127.0.0.1:{port}")


@pytest.mark.parametrize(("options", "message"), [
    ({"qos": 3}, "MQTT qos=3: expected 0, 1 or 2"), ({"topic": "a/#"}, r"MQTT topic 'a/#'.*no \+, # or NUL"),
    ({"topic": ""}, "expected a topic"), ({"source": "a+b"}, "source 'a\\+b'"),
])
def test_options_that_cannot_be_are_refused_before_any_connection(options: dict[str, Any], message: str) -> None:
    with pytest.raises(LimitError, match=message):
        open_sink("mqtt://127.0.0.1:1", **options)


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt", None)
    with pytest.raises(BackendUnavailableError, match=r"pip install 'duoview\[live\]'"):
        MqttSink("mqtt://127.0.0.1:1")
