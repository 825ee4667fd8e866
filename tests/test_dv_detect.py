"""dv_detect in graphs: frames pass unchanged, detections ride in frame.opaque beside what was there."""

from __future__ import annotations

import gc
import runpy
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

import duoview
from duoview.detectors import Detector
from duoview.errors import BackendUnavailableError, DetectorError, DetectorNotFoundError
from duoview.findings import FrameFindings, detections_of
from duoview.frame_origin import FrameOrigin
from duoview.pipelines.filters import filter_help
from duoview.plugins.errors import LinkError, OptionError
from duoview.plugins.filters.dv_detect import Detect
from duoview.plugins.links import LinkType

FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("detector_files.py"))))


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A detector that answers with the redness and blueness of what it sees, in a box over all of it."""
    return str(FILES.looking_detector(tmp_path / "look.onnx"))


def coloured(pts: int, red: int = 200, blue: int = 10, width: int = 64, height: int = 64) -> av.VideoFrame:
    samples = np.zeros((height, width, 3), np.uint8)
    samples[..., 0], samples[..., 2] = red, blue
    frame = av.VideoFrame.from_ndarray(samples, "rgb24").reformat(format="gbrp")
    frame.pts, frame.time_base, frame.duration = pts, Fraction(1, 25), 1
    return frame


def test_samples_times_and_colour_fields_are_the_inputs(model: str) -> None:
    frame = coloured(7)
    frame.colorspace, frame.color_range, frame.color_trc, frame.color_primaries = 1, 2, 1, 1
    frame.pict_type = 1
    (out,) = Detect(model).process([frame])
    assert (out.pts, out.time_base, out.duration, out.format.name) == (7, Fraction(1, 25), 1, "gbrp")
    assert (out.colorspace, out.color_range, out.color_trc, out.color_primaries, out.pict_type) == (1, 2, 1, 1, 0)
    assert np.array_equal(out.to_ndarray(), frame.to_ndarray()) and out is not frame
    assert out.planes[0].buffer_ptr == frame.planes[0].buffer_ptr  # shared, not copied


def test_the_input_frame_keeps_all_it_had(model: str) -> None:
    frame, marker = coloured(3), ("mine", 1)
    frame.opaque, frame.pict_type = marker, 2
    before = frame.to_ndarray()
    (out,) = Detect(model).process([frame])
    assert frame.opaque is marker and frame.pict_type == 2 and frame.pts == 3
    assert np.array_equal(frame.to_ndarray(), before) and out.opaque is not marker


def test_detections_are_found_through_the_frame_and_carry_its_size(model: str) -> None:
    (out,) = Detect(model).process([coloured(0, width=50, height=30)])
    found = detections_of(out)
    assert found is not None and out.opaque.detections == (found,)
    (only,) = found
    # The picture is letterboxed: half and a bit of the input's mean is its padding.
    assert (only.name, found.width, found.height, found.model) == ("red", 50, 30, "look")
    assert only.box == pytest.approx((0, 0, 50, 30), abs=1e-3)


def test_what_was_in_opaque_before_is_carried(model: str) -> None:
    marker = {"camera": 4}
    frames = [coloured(0), coloured(1), coloured(2)]
    frames[1].opaque = marker
    frames[2].opaque = FrameOrigin(concealed=True)
    plain, foreign, origin = (frame.opaque for frame in Detect(model).process(frames))
    assert (plain.carried, plain.concealed, plain.provenance) == (None, False, None)
    assert foreign.carried is marker and not foreign.concealed
    assert origin.concealed and origin.carried is None and isinstance(origin, FrameOrigin)


def test_opaque_outlives_the_frame_it_came_from_and_the_other_way_round(model: str) -> None:
    stage = Detect(model)
    for first_freed in ("source", "passed"):
        marker = ["marker"]
        source = coloured(0)
        source.opaque = marker
        (passed,) = stage.process([source])
        stage.reset()
        if first_freed == "source":
            del source
            gc.collect()
            assert passed.opaque.carried is marker
        else:
            del passed
            gc.collect()
            assert source.opaque is marker


def test_nothing_in_the_findings_can_be_changed(model: str) -> None:
    (out,) = Detect(model).process([coloured(0)])
    with pytest.raises(AttributeError):
        out.opaque.detections = ()
    with pytest.raises(ValueError, match="read-only"):
        out.opaque.detections[0].boxes[0] = 0


def test_in_a_graph_the_machine_views_origin_stays_and_scaling_scales_the_boxes(model: str) -> None:
    text = f"dv_encode=q=40,dv_machine,dv_detect=model={model}:confidence=0.3,scale=128:32,dv_detect@b={model}"
    frames = list(duoview.Graph.parse(text).process([coloured(pts) for pts in range(3)]))
    assert [frame.pts for frame in frames] == [0, 1, 2]
    for frame in frames:
        findings = frame.opaque
        assert isinstance(findings, FrameFindings) and isinstance(findings, FrameOrigin) and not findings.concealed
        first, second = findings.detections
        assert (first.width, first.height, second.width, second.height) == (64, 64, 128, 32)
        assert detections_of(frame) == second


def test_detections_of_scales_to_the_frame_and_picks_by_model(model: str) -> None:
    (out,) = duoview.Graph.parse(f"dv_detect={model},scale=128:32").process([coloured(0)])
    found = detections_of(out, "look")
    assert found is not None and (found.width, found.height) == (128, 32)
    assert found.boxes[0].tolist() == pytest.approx([0, 0, 128, 32])
    assert detections_of(out, "other") is None and detections_of(coloured(0)) is None


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
def test_a_batch_gives_what_single_frames_give_in_order_with_the_rest_at_the_end(model: str, batch: int) -> None:
    sizes = [(64, 64), (64, 64), (40, 90), (64, 64), (7, 5)]
    frames = [coloured(pts, 40 * pts + 30, 90, *size) for pts, size in enumerate(sizes)]
    alone = list(Detect(model, confidence=0.05).process(frames))
    out = list(Detect(model, confidence=0.05, batch=batch).process(frames))
    assert [(frame.pts, frame.width, frame.height) for frame in out] == [(i, *size) for i, size in enumerate(sizes)]
    assert [frame.opaque for frame in out] == [frame.opaque for frame in alone]
    assert all(np.array_equal(left.to_ndarray(), right.to_ndarray()) for left, right in zip(frames, out, strict=True))


def test_frames_come_only_when_their_batch_is_full(model: str) -> None:
    stage = Detect(model, batch=2)
    stage.push(coloured(0))
    with pytest.raises(av.error.BlockingIOError):
        stage.pull()
    stage.push(coloured(1))
    assert (stage.pull().pts, stage.pull().pts) == (0, 1)
    stage.push(coloured(2))
    stage.push(None)
    assert stage.pull().pts == 2
    with pytest.raises(av.error.EOFError):
        stage.pull()


def test_reset_forgets_a_batch_that_is_not_full(model: str) -> None:
    stage = Detect(model, batch=3)
    stage.push(coloured(0))
    with pytest.raises(av.error.BlockingIOError):
        stage.pull()
    stage.reset()
    assert [frame.pts for frame in stage.process([coloured(5)])] == [5]


def test_a_closed_stage_holds_no_network_and_can_be_used_again(model: str) -> None:
    stage = Detect(model)
    stage.close()
    assert stage.detector is None
    assert [frame.pts for frame in stage.process([coloured(1)])] == [1] and stage.detector is not None


@pytest.mark.parametrize("pixel_format", ["yuv420p", "nv12", "gray", "rgb24", "yuv422p10le"])
def test_every_usual_pixel_format_passes_as_it_is(model: str, pixel_format: str) -> None:
    frame = coloured(0, width=70, height=50).reformat(format=pixel_format)
    frame.pts = 4
    (out,) = Detect(model).process([frame])
    assert out.format.name == pixel_format and np.array_equal(out.to_ndarray(), frame.to_ndarray())


def test_a_frame_without_times_passes_without_times(model: str) -> None:
    frame = av.VideoFrame(32, 32, "gray")
    (out,) = Detect(model).process([frame])
    assert out.pts is None and not out.time_base and detections_of(out) is not None


def test_classes_and_thresholds_come_from_the_graph_string(model: str) -> None:
    frames = [coloured(0, red=250, blue=200)]
    for options, names in (("classes=blue", []), ("classes=0|blue", ["red"]), ("confidence=0.99", []), ("", ["red"])):
        text = f"dv_detect=model={model}" + (f":{options}" if options else "")
        (out,) = duoview.Graph.parse(text).process(frames)
        assert [item.name for item in out.opaque.detections[0]] == names
    assert Detect(model, confidence=0.5).options == Detect(model, 0.5).options


def test_a_description_file_is_taken_from_the_options(model: str, tmp_path: Path) -> None:
    (tmp_path / "given.toml").write_text('family = "yolov8"\nmodel = "gate"\nclasses = ["a", "b"]\n')
    (out,) = Detect(model, description=str(tmp_path / "given.toml")).process([coloured(0)])
    assert (out.opaque.detections[0].model, out.opaque.detections[0].names) == ("gate", ("a", "b"))


def test_what_is_wrong_with_the_model_is_said_when_the_graph_is_read(model: str, tmp_path: Path) -> None:
    with pytest.raises(DetectorNotFoundError, match=r"nowhere\.onnx: no such detector file"):
        duoview.Graph.parse(f"dv_detect=model={tmp_path}/nowhere.onnx")
    odd = FILES.constant_detector(tmp_path / "odd.onnx", {"a": np.zeros((3, 3), np.float32)})
    with pytest.raises(DetectorError, match=r"odd\.onnx: its outputs name no family"):
        duoview.Graph.parse(f"dv_detect={odd}")
    with pytest.raises(DetectorError, match="class 'dog': the model knows 2 classes: red, blue"):
        duoview.Graph.parse(f"dv_detect={model}:classes=dog")
    with pytest.raises(OptionError, match="option 'model' must be given"):
        duoview.Graph.parse("dv_detect")
    with pytest.raises(OptionError, match=r"confidence=2\.0: expected a number, 0 to 1"):
        duoview.Graph.parse(f"dv_detect={model}:confidence=2")
    with pytest.raises(BackendUnavailableError, match="'tensorrt'"):
        duoview.Graph.parse(f"dv_detect={model}:device=tensorrt")
    with pytest.raises(LinkError, match="dv_encode"):
        duoview.Graph.parse(f"dv_encode,dv_detect={model}")


def test_outputs_of_another_shape_at_run_time_are_refused_and_the_next_frame_comes(model: str) -> None:
    stage = Detect(model)
    assert isinstance(stage.detector, Detector)
    network = stage.detector._network
    stage.detector._network = lambda **inputs: [np.zeros((1, 6, 5), np.float32)]  # type: ignore[assignment]
    stage.push(coloured(0))
    stage.push(coloured(1))
    with pytest.raises(DetectorError, match=r"family yolov8: outputs of shape \[1, 6, 5\]"):
        stage.pull()
    stage.detector._network = network
    assert stage.pull().pts == 1


def test_the_help_shows_the_options() -> None:
    text = filter_help("dv_detect")
    assert "Find objects in frames and note them in frame.opaque." in text
    assert "model          path of the network: an .onnx file, or OpenVINO's .xml (a text; required)" in text
    assert "(a number, 0 to 1; default: none)" in text and "(an integer, 1 to 64; default 1)" in text
    assert (Detect.input, Detect.output) == (LinkType.VIDEO, LinkType.VIDEO)


def test_findings_of_a_foreign_origin_keep_it_whole() -> None:
    class Tracked(FrameOrigin):
        """Somebody else's origin."""

    origin = Tracked(concealed=True)
    none = duoview.Detections.none(("a",), "m", 8, 8)
    findings = FrameFindings.over(origin, none)
    assert findings.concealed and findings.carried is origin and findings == FrameFindings.over(origin, none)
    assert FrameFindings.over(findings, none).detections == (none, none)


def test_many_frames_leave_no_memory_behind(model: str) -> None:
    stage = Detect(model, batch=2)
    marker = object()
    count = sys.getrefcount(marker)
    for pts in range(60):
        frame = coloured(pts)
        frame.opaque = (marker,)
        stage.push(frame)
        for out in stage.ready():
            assert out.opaque.carried == (marker,)
    del frame, out
    gc.collect()
    assert sys.getrefcount(marker) == count
