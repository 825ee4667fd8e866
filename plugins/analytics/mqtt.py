"""MQTT: a message of JSON for every frame, and one for every begin and end of an event, by paho-mqtt."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from duoview.errors import BackendUnavailableError, LimitError
from duoview.plugins.errors import PublishError

from .record import AS_ESCAPE, Record
from .sink import Sink, without_password

_PORTS = {"mqtt": 1883, "mqtts": 8883}
#: Messages that wait for a broker that does not answer.
_MOST_QUEUED = 1000


class MqttSink(Sink):
    """Publishes frames to ``TOPIC/SOURCE/frame`` and events to ``TOPIC/SOURCE/event``; SOURCE is left out where empty.

    No thread runs: `write` talks to the broker, and returns when it has the messages (qos 0: when they are sent). After
    a lost connection, the next `write` connects again. Frames without objects and events are left out unless `empty`.
    MQTT's keep-alive is off, as nobody would send its pings between two frames.

    Args:
        url: ``mqtt://[user:password@]host[:port]``, or mqtts for TLS. topic: the first part of every topic.
        qos: 0 at most once, 1 at least once, 2 exactly once. retain: whether the broker keeps the last message.
        timeout: seconds to wait for the broker; then PublishError. options: of `Sink`.

    Raises BackendUnavailableError without paho-mqtt, LimitError for a url that is none, PublishError for no connection.
    """

    def __init__(self, url: str, *, topic: str = "duoview", qos: int = 0, retain: bool = False, timeout: float = 10.0,
                 **options: Any) -> None:
        super().__init__(**{"empty": False, **options})
        try:
            from paho.mqtt import client
        except ImportError as error:
            raise BackendUnavailableError(f"MQTT needs the package paho-mqtt, which cannot be imported ({error}): "
                                          "pip install 'duoview[live]'") from error
        parts, host, port = _parsed(url)
        if qos not in (0, 1, 2):
            raise LimitError(f"MQTT qos={qos}: expected 0, 1 or 2")
        if not topic or any(sign in topic + self._source for sign in "+#\0"):
            raise LimitError(f"MQTT topic {topic!r} and source {self._source!r}: expected a topic, and no +, # or NUL")
        self._where = f"{host}:{port}"
        self._address = host, port
        self._topic = "/".join(part for part in (topic.strip("/"), self._source) if part)
        self._qos, self._retain, self._timeout = qos, retain, timeout
        self._refused = ""
        #: The events that go on, by trigger, number and start: numbers begin again where a trigger is reset.
        self._told: set[tuple[str, int, int]] = set()
        self._client: Any = client.Client(client.CallbackAPIVersion.VERSION2)
        self._client.on_connect = self._on_connect
        self._client.connect_timeout = timeout
        self._client.max_queued_messages_set(_MOST_QUEUED)
        if parts.scheme == "mqtts":
            self._client.tls_set()
        if parts.username is not None:
            self._client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
        self._connect()

    def write_record(self, record: Record) -> None:
        self._client.loop(timeout=0)  # sees whether the broker closed the connection since the last frame
        if not self._client.is_connected():
            self._connect()
        sent = [self._publish("frame", record.to_json())]
        keys = [(event.trigger, event.number, event.start_pts) for event in record.events]
        for event, key in zip(record.events, keys, strict=True):
            if key not in self._told or not event.ongoing:
                sent.append(self._publish("event", event.to_json()))
        self._wait(lambda: all(message.is_published() for message in sent), "to take a message")
        # Those that no frame tells of any more are over too, and what could not be sent was not told.
        self._told = {key for event, key in zip(record.events, keys, strict=True) if event.ongoing}

    def close(self) -> None:
        self._client.disconnect()

    def _publish(self, kind: str, payload: str) -> Any:
        message = self._client.publish(f"{self._topic}/{kind}", payload.encode(errors=AS_ESCAPE), qos=self._qos,
                                       retain=self._retain)
        if message.rc != 0:
            raise PublishError(f"MQTT broker {self._where}: a message could not be queued (code {message.rc}): it may "
                               "have taken none for a while")
        return message

    def _connect(self) -> None:
        self._refused = ""
        try:
            self._client.connect(*self._address, keepalive=0)
        except OSError as error:
            raise PublishError(f"MQTT broker {self._where}: {error}") from error
        try:
            self._wait(self._client.is_connected, "to accept the connection")
        except PublishError:
            self._client.disconnect()  # closes the socket too
            raise

    def _wait(self, ready: Any, what: str) -> None:
        end = time.monotonic() + self._timeout
        while not ready():
            code = self._client.loop(timeout=max(0.0, min(0.05, end - time.monotonic())))
            if self._refused:
                raise PublishError(f"MQTT broker {self._where} refused the connection: {self._refused}")
            if code != 0 and not ready():
                raise PublishError(f"MQTT broker {self._where} closed the connection while it was {what}")
            if time.monotonic() > end:
                raise PublishError(f"MQTT broker {self._where} took more than {self._timeout:g} s {what}")

    def _on_connect(self, _client: object, _data: object, _flags: object, reason: Any, _properties: object) -> None:
        if reason.is_failure:
            self._refused = str(reason)


def _parsed(url: str) -> tuple[SplitResult, str, int]:
    """The url in parts, its host and its port. Raises LimitError that shows nothing of what may be a password."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    behind = parts.path + parts.query + parts.fragment
    if parts.scheme not in _PORTS or not host or "@" in behind:
        raise LimitError(f"MQTT url {without_password(url)!r}: expected mqtt://host[:port] or mqtts://host[:port], "
                         "ports up to 65535, and user:password@ before the host, with %23 for # and so on")
    return parts, host, port or _PORTS[parts.scheme]
