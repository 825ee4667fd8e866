"""Analytics output: each format is read back by somebody else's reader, and says what was found."""

from __future__ import annotations

import dataclasses
import io
import json
import random
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from duoview.errors import ContainerError, ContainerFormatError, ContainerNotFoundError, LimitError
from duoview.events import Event
from duoview.findings import FrameFindings
from duoview.frame_origin import FrameOrigin
from duoview.plugins.analytics import (
    JsonLinesSink,
    OnvifSink,
    Record,
    TimedDataSink,
    WebVttSink,
    open_sink,
    read_records,
)
from duoview.plugins.analytics.onvif import NAMESPACES
from duoview.plugins.errors import FrameError, OptionError
from duoview.plugins.testing import looked_at, picture

START = 1_700_000_000_000_000  # 2023-11-14T22:13:20Z
EVENT = Event("dv_trigger", 1, "dwell", 0, 2, Fraction(1, 10), zone="gate", track_ids=(3,), labels=("person",))


def seen(pts: int, *, events: tuple[Event, ...] = (), objects: int = 1) -> av.VideoFrame:
    boxes = [((40.0 + index, 24.0, 80.0 + index, 72.0), index % 2) for index in range(objects)]
    frame = looked_at(picture(pts), boxes, ids=[3 + index for index in range(objects)])
    frame.opaque = FrameFindings.of(frame.opaque).with_events(*events)
    return frame


def test_a_record_tells_times_objects_and_events() -> None:
    frame = seen(5, events=(EVENT,))
    frame.opaque = dataclasses.replace(FrameFindings.of(frame.opaque), utc_us=START, concealed=True)
    assert Record.of(frame, "cam1").to_dict() == {
        "source": "cam1", "pts": 5, "time_base": "1/10", "time": 0.5, "utc": "2023-11-14T22:13:20.000000Z",
        "width": 160, "height": 96, "concealed": True, "model": "test", "events": [EVENT.to_dict()],
        "objects": [{"track": 3, "label": "person", "score": 0.9, "box": [40.0, 24.0, 80.0, 72.0]}]}


def test_a_frame_that_nobody_looked_at_has_a_record_too() -> None:
    frame = av.VideoFrame(32, 16, "gray")
    assert Record.of(frame).to_dict() == {"width": 32, "height": 16, "objects": []}
    frame.opaque = FrameOrigin(concealed=True)
    assert Record.of(frame).concealed


def test_utc_is_the_frames_own_or_counted_from_the_streams_start() -> None:
    frame = seen(25, events=(EVENT,))
    record = Record.of(frame, start_utc_us=START)
    assert (record.utc, record.utc_us) == ("2023-11-14T22:13:22.500000Z", START + 2_500_000)
    assert (record.events[0].start_utc_us, record.events[0].end_utc_us) == (START, START + 200_000)
    frame.opaque = dataclasses.replace(FrameFindings.of(frame.opaque), utc_us=START + 7)
    assert Record.of(frame, start_utc_us=START).utc_us == START + 7
    with pytest.raises(LimitError, match="expected microseconds since 1970, within years 1 to 9999"):
        _ = dataclasses.replace(record, utc_us=1 << 62).utc


def test_boxes_are_in_pixels_of_the_frame_after_scaling() -> None:
    frame = picture(0, 320, 192)
    frame.opaque = seen(0).opaque
    assert Record.of(frame).to_dict()["objects"][0]["box"] == [80, 48, 160, 144]


def test_json_lines_hold_one_object_a_frame_and_are_there_at_once(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with JsonLinesSink(path, source="cam1") as sink:
        for pts in range(3):
            sink.write(seen(pts, objects=pts))
            assert [json.loads(line)["pts"] for line in path.read_text().splitlines()] == list(range(pts + 1))
    assert [len(json.loads(line)["objects"]) for line in path.read_text().splitlines()] == [0, 1, 2]


def test_json_lines_go_on_where_a_file_ended_and_a_torn_line_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text('{"pts":0}\n{"pts":1,"obj')
    with JsonLinesSink(path) as sink:
        sink.write(seen(2))
    first, torn, last = path.read_text().splitlines()
    assert json.loads(first)["pts"] == 0 and json.loads(last)["pts"] == 2
    with pytest.raises(json.JSONDecodeError):
        json.loads(torn)


def test_frames_without_anything_are_left_out_where_that_is_asked_for() -> None:
    file = io.BytesIO()
    sink = JsonLinesSink(file, empty=False)
    for frame in (seen(0, objects=0), seen(1), seen(2, objects=0, events=(EVENT,))):
        sink.write(frame)
    sink.close()
    assert [json.loads(line)["pts"] for line in file.getvalue().splitlines()] == [1, 2]


@given(st.text(), st.text())
def test_any_text_stays_one_line_and_is_read_back(source: str, label: str) -> None:
    if any("\ud800" <= letter <= "\udfff" for letter in source + label):
        return
    file = io.BytesIO()
    frame = seen(0)
    found = FrameFindings.of(frame.opaque).detections[0]
    frame.opaque = FrameFindings.over(None, dataclasses.replace(found, names=(label,) * 3))
    JsonLinesSink(file, source=source).write(frame)
    (line,) = file.getvalue().split(b"\n")[:-1]
    content = json.loads(line)
    assert content.get("source", "") == source and content["objects"][0]["label"] == label


def test_a_name_that_is_no_unicode_is_written_as_jsons_escape(tmp_path: Path) -> None:
    frame = seen(0)
    found = FrameFindings.of(frame.opaque).detections[0]
    frame.opaque = FrameFindings(detections=(dataclasses.replace(found, names=("half \ud800", "car", "face")),))
    for name in ("a.jsonl", "a.vtt", "a.ts"):
        with open_sink(tmp_path / name) as sink:
            sink.write(frame)
    line = json.loads((tmp_path / "a.jsonl").read_bytes())
    cue = json.loads((tmp_path / "a.vtt").read_text().splitlines()[3])
    ((_, record),) = read_records(tmp_path / "a.ts")
    for content in (line, cue, record):
        assert content["objects"][0]["label"] == "half \ud800"


def test_webvtt_is_read_by_libavformat_with_its_times_and_payload(tmp_path: Path) -> None:
    path = tmp_path / "out.vtt"
    with WebVttSink(path, source="a --> b") as sink:
        for pts in (0, 36_000, 36_001):  # an hour, in tenths of a second
            sink.write(seen(pts))
    with av.open(str(path)) as container:
        assert container.streams[0].codec_context.name == "webvtt"
        cues = [(float((packet.pts or 0) * packet.time_base), float((packet.duration or 0) * packet.time_base),
                 json.loads(bytes(packet))) for packet in container.demux(container.streams[0]) if packet.size]
    assert [(start, length) for start, length, _ in cues] == [(0.0, 0.1), (3600.0, 0.1), (3600.1, 0.1)]
    assert [content["pts"] for *_, content in cues] == [0, 36_000, 36_001]
    assert all(content["source"] == "a --> b" and content["objects"][0]["track"] == 3 for *_, content in cues)
    assert path.read_text().startswith("WEBVTT\n\n00:00:00.000 --> 00:00:00.100\n")


def test_a_cue_without_duration_lasts_to_the_next_frame(tmp_path: Path) -> None:
    path = tmp_path / "out.vtt"
    with WebVttSink(path) as sink:
        for pts in (0, 3):
            frame = seen(pts)
            frame.duration = 0
            sink.write(frame)
    assert "00:00:00.000 --> 00:00:00.300\n" in path.read_text() and "00:00:00.300 --> 00:00:00.340" in path.read_text()


def test_a_cue_never_ends_where_it_starts() -> None:
    file, frame = io.BytesIO(), picture(0)
    frame.time_base, frame.pts, frame.duration = Fraction(1, 90000), 90000, 1
    with WebVttSink(file) as sink:
        sink.write(frame)
    assert "00:00:01.000 --> 00:00:01.001" in file.getvalue().decode()


def test_webvtt_has_no_times_before_zero_and_none_without() -> None:
    for pts in (-1, None):
        frame = seen(0)
        frame.pts = pts
        with pytest.raises(FrameError, match=r"WebVTT: a frame has (no time|the time -0\.100 s): expected 0 or later"):
            WebVttSink(io.BytesIO()).write(frame)


def onvif(frames: list[av.VideoFrame], **options: Any) -> etree._Element:
    file = io.BytesIO()
    with OnvifSink(file, **{"start_utc_us": START, **options}) as sink:
        for frame in frames:
            sink.write(frame)
    return etree.fromstring(file.getvalue())


def test_onvif_boxes_are_normalised_with_y_upwards() -> None:
    root = onvif([seen(0, objects=2), seen(1, objects=0)], source="cam1")
    frames = root.findall("tt:VideoAnalytics/tt:Frame", NAMESPACES)
    assert root.tag == f"{{{NAMESPACES['tt']}}}MetadataStream"
    assert [frame.get("UtcTime") for frame in frames] == ["2023-11-14T22:13:20.000000Z", "2023-11-14T22:13:20.100000Z"]
    assert frames[0].get("Source") == "cam1" and not frames[1].findall("tt:Object", NAMESPACES)
    first, second = frames[0].findall("tt:Object", NAMESPACES)
    box = first.find("tt:Appearance/tt:Shape/tt:BoundingBox", NAMESPACES)
    centre = first.find("tt:Appearance/tt:Shape/tt:CenterOfGravity", NAMESPACES)
    assert {key: float(value) for key, value in box.items()} == {"left": -0.5, "top": 0.5, "right": 0, "bottom": -0.5}
    assert {key: float(value) for key, value in centre.items()} == {"x": -0.25, "y": 0}
    assert (first.get("ObjectId"), second.get("ObjectId")) == ("3", "4")
    kinds = [item.find("tt:Appearance/tt:Class/tt:Type", NAMESPACES) for item in (first, second)]
    assert [(kind.text, float(kind.get("Likelihood"))) for kind in kinds] == [("Human", 0.9), ("Vehicle", 0.9)]
    assert second.findtext("tt:Appearance/tt:VehicleInfo/tt:Type", namespaces=NAMESPACES) == "Car"


def items_of(message: etree._Element, part: str) -> dict[str, str]:
    return {item.get("Name"): item.get("Value") for item in message.findall(f"tt:{part}/tt:SimpleItem", NAMESPACES)}


def test_onvif_events_are_told_when_they_begin_change_and_end() -> None:
    def at(end: int, ids: tuple[int, ...], ongoing: bool = True) -> tuple[Event, ...]:
        return (dataclasses.replace(EVENT, end_pts=end, track_ids=ids, ongoing=ongoing),)

    root = onvif([seen(0, events=at(0, (3,))), seen(1, events=at(1, (3,))), seen(2, events=at(2, (3, 5))),
                  seen(3, events=at(2, (3, 5), ongoing=False))])
    told = [(item.findtext("wsnt:Topic", namespaces=NAMESPACES), item.find(".//tt:Message", NAMESPACES))
            for item in root.findall("tt:Event/wsnt:NotificationMessage", NAMESPACES)]
    assert {topic for topic, _ in told} == {"tns1:RuleEngine/LoiteringDetector/ObjectIsLoitering"}
    states = [(message.get("UtcTime")[18:22], message.get("PropertyOperation"), *items_of(message, "Data").values())
              for _, message in told]
    since = "2023-11-14T22:13:20.000000Z"
    assert states == [("0.00", "Initialized", "3", since), ("0.20", "Changed", "3 5", since),
                      ("0.20", "Deleted", "3 5", since)]
    assert items_of(told[0][1], "Source") == {"VideoSource": "1", "Rule": "gate"}


def test_onvif_events_of_a_trigger_that_was_reset_begin_again() -> None:
    later = dataclasses.replace(EVENT, start_pts=50, end_pts=50)
    root = onvif([seen(0, events=(EVENT,)), seen(50, events=(later,)), seen(51, events=(later,))])
    operations = [item.get("PropertyOperation") for item in root.findall(".//tt:Message", NAMESPACES)]
    assert operations == ["Initialized", "Initialized"]


def test_an_event_gets_each_of_its_utc_times_where_it_has_none() -> None:
    event = dataclasses.replace(EVENT, start_utc_us=START + 7)  # the camera told its clock when it began only
    (found,) = Record.of(seen(2, events=(event,)), start_utc_us=START).events
    assert (found.start_utc_us, found.end_utc_us) == (START + 7, START + 200_000)


@pytest.mark.parametrize(("kind", "topic", "data"), [
    ("present", "tns1:RuleEngine/FieldDetector/ObjectsInside", [{"IsInside": "true"}, {"IsInside": "false"}]),
    ("cross", "tns1:RuleEngine/LineDetector/Crossed", [{"duoview:Direction": "left"}]),
    ("motion", "tns1:RuleEngine/CellMotionDetector/Motion", [{"IsMotion": "true"}, {"IsMotion": "false"}]),
    ("tamper", "duoview:Event/tamper", [{"duoview:State": "true"}, {"duoview:State": "false"}]),
])
def test_onvif_has_a_topic_and_a_state_for_every_kind(kind: str, topic: str, data: list[dict[str, str]]) -> None:
    event = dataclasses.replace(EVENT, kind=kind, track_ids=(), direction="left" if kind == "cross" else "")
    root = onvif([seen(2, events=(event,)), seen(3, events=(dataclasses.replace(event, ongoing=False),))])
    topics = [item.text for item in root.findall(".//wsnt:Topic", NAMESPACES)]
    assert topics == [topic] * len(data)
    assert [items_of(message, "Data") for message in root.findall(".//tt:Message", NAMESPACES)] == data


@given(st.text(min_size=1, max_size=20))
def test_onvif_is_well_formed_whatever_the_names_are(name: str) -> None:
    frame = seen(0, events=(dataclasses.replace(EVENT, zone=name),))
    found = FrameFindings.of(frame.opaque).detections[0]
    frame.opaque = dataclasses.replace(FrameFindings.of(frame.opaque),
                                       detections=(dataclasses.replace(found, names=(name,) * 3),))
    root = onvif([frame], source=name)
    assert len(root.findall(".//tt:Object", NAMESPACES)) == 1 and root.findall(".//wsnt:Topic", NAMESPACES)


def test_onvif_wants_utc_and_says_how_to_give_it() -> None:
    with pytest.raises(FrameError, match="the frame of pts 0 has no UTC: give start_utc_us, the UTC of the stream's"):
        OnvifSink(io.BytesIO()).write(seen(0))


@pytest.mark.parametrize("name", ["out.ts", "out.mp4"])
def test_timed_data_comes_back_at_its_times(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with TimedDataSink(path, source="cam1", start_utc_us=START) as sink:
        for pts in range(10):
            sink.write(seen(pts, objects=pts))
    found = list(read_records(path))
    assert [content["pts"] for _, content in found] == list(range(10))
    assert [round(float(time - found[0][0]), 4) for time, _ in found] == [pts / 10 for pts in range(10)]
    assert [len(content["objects"]) for _, content in found] == list(range(10))
    assert found[3][1]["utc"] == "2023-11-14T22:13:20.300000Z" and found[3][1]["source"] == "cam1"


@pytest.mark.parametrize(("name", "kept"), [("a.ts", 20), ("a.mp4", 19)])
def test_timed_data_that_nobody_closed_is_read_up_to_its_end(tmp_path: Path, name: str, kept: int) -> None:
    code = ("import os\nfrom duoview.plugins.analytics import open_sink\n"
            "from duoview.plugins.testing import looked_at, picture\n"
            f"sink = open_sink({str(tmp_path / name)!r})\n"
            "for pts in range(20):\n    sink.write(looked_at(picture(pts), []))\n"
            "os._exit(0)")
    subprocess.run([sys.executable, "-c", code], check=True)
    assert [record["pts"] for _, record in read_records(tmp_path / name)] == list(range(kept))


@pytest.mark.parametrize("name", ["a.ts", "a.mp4"])
def test_timed_data_that_is_damaged_gives_records_or_a_container_error(tmp_path: Path, name: str) -> None:
    with open_sink(tmp_path / name) as sink:
        for pts in range(20):
            sink.write(seen(pts))
    whole, broken = (tmp_path / name).read_bytes(), 0
    for seed in range(300):
        rng, damaged = random.Random(seed), bytearray(whole)
        for _ in range(8):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        (tmp_path / name).write_bytes(damaged)
        try:
            list(read_records(tmp_path / name))
        except ContainerError:
            broken += 1
    assert broken


@pytest.mark.parametrize("name", ["a.ts", "a.mp4"])
def test_timed_data_that_is_cut_off_gives_records_or_a_container_error(tmp_path: Path, name: str) -> None:
    with open_sink(tmp_path / name) as sink:
        for pts in range(12):
            sink.write(seen(pts))
    whole = (tmp_path / name).read_bytes()
    for size in range(0, len(whole), 97):
        (tmp_path / name).write_bytes(whole[:size])
        found = []
        try:
            for _, record in read_records(tmp_path / name):
                found.append(record["pts"])
        except ContainerError:
            pass
        assert found == list(range(len(found)))
    assert len(found) >= 10


@pytest.mark.parametrize("name", ["out.ts", "out.mp4"])
def test_timed_data_goes_beside_the_pictures_at_the_same_times(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=10, options={"preset": "ultrafast", "tune": "zerolatency"})
        video.width, video.height, video.pix_fmt = 160, 96, "yuv420p"
        sink = TimedDataSink(container)
        for pts in range(10):
            frame = seen(pts)
            sink.write(frame)
            container.mux(video.encode(frame))
        sink.close()
        container.mux(video.encode(None))
    with av.open(str(path)) as container:
        shown = [frame.pts * frame.time_base for frame in container.decode(video=0)
                 if frame.pts is not None and frame.time_base is not None]
    assert [time for time, _ in read_records(path)] == shown and len(shown) == 10


def test_what_timed_data_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContainerFormatError, match=r"out\.mkv: expected a name that ends in \.ts or \.mp4"):
        TimedDataSink(tmp_path / "out.mkv")
    with av.open(str(tmp_path / "out.mkv"), "w") as container, \
            pytest.raises(ContainerFormatError, match="matroska holds no timed data"):
        TimedDataSink(container)
    with TimedDataSink(tmp_path / "out.ts") as sink:
        sink.write(seen(3))
        with pytest.raises(FrameError, match=r"a frame of 0\.300 s after one of 0\.300 s: expected times that rise"):
            sink.write(seen(3))
        big = Record.of(seen(4))
        with pytest.raises(FrameError, match=r"timed data: [0-9]{6,} bytes .* pts 4: expected at most 200000"):
            sink.write_record(dataclasses.replace(big, objects=big.objects * 5000))
        with pytest.raises(FrameError, match="a frame without pts"):
            sink.write_record(dataclasses.replace(big, pts=None))
    with pytest.raises(ContainerError, match="written to after close"):
        sink.write(seen(5))


def test_timed_data_that_is_no_record_says_so(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.ts"), "w") as container:
        stream: Any = container.add_data_stream("bin_data")
        packet: av.Packet[Any] = av.Packet(b"[1]")
        packet.stream, packet.pts, packet.dts, packet.time_base = stream, 0, 0, Fraction(1, 90000)
        container.mux(packet)
    with pytest.raises(ContainerError, match="is no record: it is list, expected an object"):
        list(read_records(tmp_path / "a.ts"))


def test_a_file_without_timed_data_says_so(tmp_path: Path) -> None:
    path = tmp_path / "out.vtt"
    with WebVttSink(path) as sink:
        sink.write(seen(0))
    with pytest.raises(ContainerFormatError, match="it has no stream of timed data"):
        list(read_records(path))


@pytest.mark.parametrize(("name", "kind"), [("a.jsonl", JsonLinesSink), ("a.vtt", WebVttSink), ("a.xml", OnvifSink),
                                            ("a.TS", TimedDataSink), ("a.mp4", TimedDataSink)])
def test_the_format_is_told_by_the_name(tmp_path: Path, name: str, kind: type) -> None:
    with open_sink(tmp_path / name, start_utc_us=START) as sink:
        assert type(sink) is kind
        sink.write(seen(0))
    assert (tmp_path / name).stat().st_size


def test_a_name_that_tells_no_format_is_refused_unless_it_is_given(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"expected mqtt://, a name that ends in \.jsonl, .*, or a format, one of"):
        open_sink(tmp_path / "a.csv")
    with pytest.raises(OptionError, match=r"analytics format 'webvt': expected one of .*; did you mean 'webvtt'"):
        open_sink(tmp_path / "a.csv", "webvt")
    with open_sink(tmp_path / "a.csv", "jsonl") as sink:
        assert isinstance(sink, JsonLinesSink)


@pytest.mark.parametrize("make", [JsonLinesSink, WebVttSink, OnvifSink, lambda path: TimedDataSink(path / "out.ts")])
def test_a_folder_that_does_not_exist_is_named(tmp_path: Path, make: Callable[[Path], object]) -> None:
    with pytest.raises(ContainerNotFoundError, match="nowhere"):
        make(tmp_path / "nowhere" / "out")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk is /dev/full")
@pytest.mark.parametrize("name", ["a.xml", "a.vtt"])
def test_a_file_whose_end_cannot_be_written_is_closed_all_the_same(tmp_path: Path, name: str) -> None:
    sink: Any = open_sink(tmp_path / name, start_utc_us=START)
    sink.write(seen(0))
    text_file = sink._file
    text_file._file.close()
    with Path("/dev/full").open("wb", buffering=0) as full:
        text_file._file = full
        with pytest.raises(ContainerError, match="no space left"):
            sink.close()
        assert full.closed
    sink.close()


def test_sinks_may_be_closed_twice(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.vtt", "a.xml", "a.ts"):
        sink = open_sink(tmp_path / name, start_utc_us=START)
        sink.close()
        sink.close()
        with pytest.raises((ContainerError, FrameError), match="after close"):
            sink.write(seen(0))
            sink.write(seen(1))
