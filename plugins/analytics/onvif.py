"""ONVIF metadata: scene description and events as XML (ONVIF Analytics Service Specification, metadatastream.xsd).

Boxes are in the scene's normalised coordinates, -1 to 1 both ways, y upwards. Frames are told apart by UTC, not by pts.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, BinaryIO

from duoview.detections import Detection
from duoview.events import Event
from duoview.plugins.errors import FrameError

from .record import Record, utc_text
from .sink import Sink, TextFile
from .xml import element, text

#: Prefixes of the namespaces in use.
NAMESPACES = {"tt": "http://www.onvif.org/ver10/schema", "wsnt": "http://docs.oasis-open.org/wsn/b-2",
              "tns1": "http://www.onvif.org/ver10/topics", "duoview": "urn:x-duoview:topics"}
_DIALECT = "http://www.onvif.org/ver10/tev/topicExpression/ConcreteSet"
#: tt:ObjectType of the labels that have one; any other label is written as it is.
OBJECT_TYPES = {
    "person": "Human", "face": "HumanFace", "bicycle": "Bicycle", "license plate": "LicensePlate",
    **dict.fromkeys(("car", "truck", "bus", "motorcycle", "vehicle", "train", "boat", "airplane"), "Vehicle"),
    **dict.fromkeys(("animal", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe"),
                    "Animal"),
}
#: tt:VehicleType of the labels that have one.
VEHICLE_TYPES = {"car": "Car", "truck": "Truck", "bus": "Bus", "motorcycle": "Motorcycle", "bicycle": "Bicycle"}


@dataclass(frozen=True)
class Rule:
    """How a kind of event is told: its topic, its source's token, and its state, None where it is no property.

    state: the data item that is true while the event goes on; empty where the property is there or not.
    """

    topic: str
    token: str = "VideoSource"
    state: str | None = None


#: The specified rules of Annex A of the Analytics Service Specification, and the cell motion detector's.
RULES = {
    "present": Rule("tns1:RuleEngine/FieldDetector/ObjectsInside", state="IsInside"),
    "cross": Rule("tns1:RuleEngine/LineDetector/Crossed"),
    "dwell": Rule("tns1:RuleEngine/LoiteringDetector/ObjectIsLoitering", state=""),
    "motion": Rule("tns1:RuleEngine/CellMotionDetector/Motion", "VideoSourceConfigurationToken", "IsMotion"),
}


def rule_of(kind: str) -> Rule:
    """How a kind of event is told; one that the standard does not know has a topic and a state of ours."""
    return RULES.get(kind) or Rule(f"duoview:Event/{kind}", state="duoview:State")


class OnvifSink(Sink):
    """Writes one tt:MetadataStream: a tt:Frame for every frame, and a notification where an event changes.

    That is where it begins, where another object comes to it, and where it ends; a crossing is told when it happens and
    when another object crosses too. The file is one XML document, whose end is written by `close`; all before it is in
    the file at once. Every frame needs UTC, its own or by start_utc_us: without, FrameError.
    """

    def __init__(self, target: str | os.PathLike[str] | BinaryIO, **options: Any) -> None:
        super().__init__(**options)
        self._file: TextFile | None = TextFile(target)
        self._file.write(f'<?xml version="1.0" encoding="UTF-8"?>\n{_OPENING}\n')
        #: Of every event that goes on, by trigger, number and start, the objects that were told of. Numbers begin again
        #: where a trigger is reset.
        self._told: dict[tuple[str, int, int], tuple[int, ...]] = {}

    def write_record(self, record: Record) -> None:
        parts = [video_analytics(record)]
        for event in record.events:
            before = self._told.get((event.trigger, event.number, event.start_pts))
            if before != event.track_ids:
                parts.append(notification(event, record.source, "begin" if before is None else "change"))
            if not event.ongoing and rule_of(event.kind).state is not None:
                parts.append(notification(event, record.source, "end"))
        self._writable().write("".join(part + "\n" for part in parts))
        # Those that no frame tells of any more are over too, and what could not be written was not told.
        self._told = {(event.trigger, event.number, event.start_pts): event.track_ids
                      for event in record.events if event.ongoing}

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            try:
                file.write("</tt:MetadataStream>\n")
            finally:
                file.close()

    def _writable(self) -> TextFile:
        if self._file is None:
            raise FrameError("ONVIF metadata: a frame was written after close()")
        return self._file


def video_analytics(record: Record) -> str:
    """tt:VideoAnalytics with the frame's objects. Raises FrameError without UTC."""
    if record.utc is None:
        raise FrameError(f"ONVIF metadata: the frame of pts {record.pts} has no UTC: give start_utc_us, the UTC of the "
                         "stream's time 0")
    attributes = {"UtcTime": record.utc}
    if record.source or record.model:
        attributes["Source"] = record.source or record.model
    objects = (_object(item, record.width, record.height) for item in record.objects)
    return element("tt:VideoAnalytics", {}, element("tt:Frame", attributes, *objects))


def notification(event: Event, source: str, change: str) -> str:
    """The tt:Event that tells that an event begins, changes (has another object) or ends.

    change: ``begin``, ``change`` or ``end``. Raises FrameError without UTC.
    """
    rule = rule_of(event.kind)
    utc_us = event.start_utc_us if change == "begin" else event.end_utc_us
    if utc_us is None or event.start_utc_us is None:
        raise FrameError(f"ONVIF metadata: event {event.number} of {event.trigger} has no UTC: give start_utc_us")
    attributes, data = {"UtcTime": utc_text(utc_us)}, {}
    if event.track_ids:
        data["ObjectId"] = " ".join(str(track_id) for track_id in event.track_ids)  # a tt:StringList
    if rule.state:
        attributes["PropertyOperation"] = "Changed"
        data[rule.state] = "false" if change == "end" else "true"
    elif rule.state is not None:
        attributes["PropertyOperation"] = {"begin": "Initialized", "change": "Changed", "end": "Deleted"}[change]
        data["Since"] = utc_text(event.start_utc_us)
    if event.direction:
        data["duoview:Direction"] = event.direction  # the standard has none, and wants a prefix for what is ours
    told_by = {rule.token: source or "1", "Rule": event.zone or event.trigger}
    message = element("tt:Message", attributes, _items("tt:Source", told_by), _items("tt:Data", data))
    return element("tt:Event", {}, element(
        "wsnt:NotificationMessage", {}, element("wsnt:Topic", {"Dialect": _DIALECT}, text(rule.topic)),
        element("wsnt:Message", {}, message)))


def _object(item: Detection, width: int, height: int) -> str:
    (left, top), (right, bottom) = (_normalised(x, y, width, height) for x, y in (item.box[:2], item.box[2:]))
    x, y = _normalised(*item.centre, width, height)
    shape = element("tt:Shape", {},
                    element("tt:BoundingBox", {"left": left, "top": top, "right": right, "bottom": bottom}),
                    element("tt:CenterOfGravity", {"x": x, "y": y}))
    likelihood, label = {"Likelihood": f"{item.score:.4f}"}, item.name.lower()
    parts = [shape, element("tt:Class", {}, element("tt:Type", likelihood, text(OBJECT_TYPES.get(label, item.name))))]
    if label in VEHICLE_TYPES:
        parts.append(element("tt:VehicleInfo", {}, element("tt:Type", likelihood, text(VEHICLE_TYPES[label]))))
    attributes = {} if item.track_id is None else {"ObjectId": str(item.track_id)}
    return element("tt:Object", attributes, element("tt:Appearance", {}, *parts))


def _items(name: str, items: dict[str, str]) -> str:
    return element(name, {}, *(element("tt:SimpleItem", {"Name": key, "Value": value}) for key, value in items.items()))


def _normalised(x: float, y: float, width: int, height: int) -> tuple[str, str]:
    """A point in pixels as shares of the scene: -1, -1 is its lower left corner, 1, 1 its upper right one."""
    return f"{2 * x / width - 1:.5f}", f"{1 - 2 * y / height:.5f}"


_OPENING = "<tt:MetadataStream" + "".join(f' xmlns:{prefix}="{uri}"' for prefix, uri in NAMESPACES.items()) + ">"
