"""Detector families, on networks of the tests' own whose outputs are known: decoding, placing, batches, errors."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from duoview.backends.openvino_cpu import OpenVinoBackend
from duoview.detectors import (
    COCO,
    Description,
    Detector,
    FastestDet,
    NanoDet,
    PicoDet,
    Preparation,
    Ssd,
    YoloV8,
    YoloX,
    load,
)
from duoview.errors import BackendUnavailableError, DetectorError, DetectorNotFoundError

FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("detector_files.py"))))

#: Grids of 8, 4 and 2 cells for strides 8, 16 and 32 of a 64 x 64 input.
POINTS = 64 + 16 + 4


def picture(width: int = 64, height: int = 64, value: int = 128) -> NDArray[np.uint8]:
    return np.full((height, width, 3), value, np.uint8)


def logit(value: float) -> float:
    return float(np.log(value / (1 - value)))


def yolox_output(classes: int = 3) -> NDArray[np.float32]:
    """Two objects: one of stride 16, at column 2, row 1 of its grid; one of stride 8 at column 7, row 7."""
    output = np.zeros((POINTS, 5 + classes), np.float32)
    output[64 + 1 * 4 + 2] = [0.5, 0.25, np.log(2), np.log(0.5), 0.9, 0.1, 0.8, 0][:5 + classes]
    output[7 * 8 + 7] = [0, 0, 0, 0, 1.0, 0.5, 0, 0][:5 + classes]
    return output


def test_yolox_decodes_offsets_and_sizes_of_the_grid(tmp_path: Path) -> None:
    detector = load(FILES.constant_detector(tmp_path / "x.onnx", {"output": yolox_output()}))
    (found,) = detector([picture()])
    # Centre (2.5, 1.25) x 16 and size (2, 0.5) x 16; centre (7, 7) x 8 and size 8.
    assert found.boxes.tolist() == pytest.approx(np.array([[24, 16, 56, 24], [52, 52, 60, 60]]))
    assert found.scores.tolist() == pytest.approx([0.72, 0.5]) and found.classes.tolist() == [1, 0]
    assert (found.names, found.model, found.width, found.height) == (("0", "1", "2"), "x", 64, 64)


def picodet_outputs(classes: int = 2) -> dict[str, NDArray[np.float32]]:
    """One object at column 3, row 2 of stride 16: distances 2, 1, 3.5 and 0 cells; the network is 64 x 64."""
    outputs = {}
    for stride in (8, 16, 32, 64):
        outputs[f"score_{stride}"] = np.zeros(((64 // stride) ** 2, classes), np.float32)
    for stride in (8, 16, 32, 64):
        outputs[f"distance_{stride}"] = np.full(((64 // stride) ** 2, 32), -50, np.float32)
    outputs["score_16"][2 * 4 + 3, 1] = 0.75
    bins = outputs["distance_16"][2 * 4 + 3].reshape(4, 8)
    bins[0, 2] = bins[1, 1] = bins[2, 3] = bins[2, 4] = bins[3, 0] = 50
    return outputs


def test_picodet_takes_the_mean_of_each_distribution(tmp_path: Path) -> None:
    detector = load(FILES.constant_detector(tmp_path / "p.onnx", picodet_outputs(), input_name="image"))
    (found,) = detector([picture()])
    # The middle of the cell is (56, 40); left 2 x 16, up 16, right 3.5 x 16 (cut at the edge), down nothing.
    assert found.boxes.tolist() == [[24, 24, 64, 40]] and found.classes.tolist() == [1]
    assert found.scores.tolist() == [0.75]


def test_nanodet_has_both_in_one_output_and_its_points_in_the_corners(tmp_path: Path) -> None:
    parts = picodet_outputs(3)
    names = list(parts)
    joined = np.concatenate([np.concatenate([parts[name] for name in side]) for side in (names[:4], names[4:])], axis=1)
    (found,) = load(FILES.constant_detector(tmp_path / "n.onnx", {"output": joined}))([picture()])
    assert found.boxes.tolist() == [[16, 16, 64, 32]] and found.scores.tolist() == [0.75]
    middle = Description(NanoDet(offset=0.5))
    assert load(tmp_path / "n.onnx", description=middle)([picture()])[0].boxes.tolist() == [[24, 24, 64, 40]]


def test_fastestdet_reads_cells_of_one_grid(tmp_path: Path) -> None:
    output = np.full((5 + 2, 4, 4), 0, np.float32)
    output[:, 1, 2] = [0.81, np.arctanh(0.5), np.arctanh(-0.25), logit(0.25), logit(0.5), 0.1, 0.64]
    (found,) = load(FILES.constant_detector(tmp_path / "f.onnx", {"out": output}))([picture(128, 64)])
    # In the network: centre (2.5, 0.75) x 16, size (16, 32); the frame is twice as wide.
    assert found.boxes.tolist()[0] == pytest.approx([64, 0, 96, 28], abs=1e-4)
    assert found.scores.tolist() == pytest.approx([0.81**0.6 * 0.64**0.4]) and found.classes.tolist() == [1]


def yolov8_output(boxes: list[list[float]], scores: list[list[float]]) -> NDArray[np.float32]:
    output = np.zeros((4 + len(scores[0]), POINTS), np.float32)
    output[:, :len(boxes)] = np.concatenate([np.array(boxes), np.array(scores)], axis=1).T
    return output


def test_yolov8_reads_decoded_boxes_and_the_names_in_the_file(tmp_path: Path) -> None:
    output = yolov8_output([[32, 32, 20, 10], [33, 32, 20, 10], [10, 10, 4, 4]], [[0.9, 0], [0.8, 0.1], [0, 0.5]])
    path = FILES.constant_detector(tmp_path / "v8.onnx", {"output0": output},
                                   metadata={"names": "{0: 'cat', 1: 'owl'}", "task": "detect"})
    (found,) = load(path)([picture()])
    assert found.boxes.tolist() == [[22, 27, 42, 37], [8, 8, 12, 12]]  # the second of the two cats is suppressed
    assert [item.name for item in found] == ["cat", "owl"]


def test_a_yolov8_of_open_size_takes_the_size_it_was_exported_for(tmp_path: Path) -> None:
    output = yolov8_output([[32, 32, 20, 10]], [[0.9, 0]])
    metadata = {"names": "['cat', 'owl']", "task": "detect", "imgsz": "[64, 64]"}
    path = tmp_path / "v8.onnx"
    FILES.constant_detector(path, {"output0": output}, size=("w", "h"), batch="b", metadata=metadata)
    (found,) = load(path)([picture()])
    assert found.boxes.tolist() == [[22, 27, 42, 37]] and found.names == ("cat", "owl")
    FILES.constant_detector(path, {"output0": output}, size=("w", "h"), metadata=metadata | {"imgsz": "[64"})
    with pytest.raises(DetectorError, match="its outputs name no family"):
        load(path)
    FILES.constant_detector(path, {"output0": output}, size=("w", "h"), metadata=metadata | {"imgsz": "[64, 99999]"})
    with pytest.raises(DetectorError, match="width=99999: expected 0 to 8192"):
        load(path, description=Description(YoloV8()))
    FILES.constant_detector(path, {"output0": output}, metadata=metadata | {"task": "pose"})
    with pytest.raises(DetectorError, match="its outputs name no family"):
        load(path)


def test_yolov5_has_three_anchors_a_point_and_objectness(tmp_path: Path) -> None:
    output = np.zeros((3 * POINTS, 5 + 2), np.float32)
    output[200] = [30, 20, 10, 8, 0.9, 0.2, 1.0]
    (found,) = load(FILES.constant_detector(tmp_path / "v5.onnx", {"output0": output}))([picture()])
    assert found.boxes.tolist() == [[25, 16, 35, 24]] and found.scores.tolist() == pytest.approx([0.9])
    assert found.classes.tolist() == [1]


def ssd_file(path: Path) -> Path:
    rows = np.zeros((1, 5, 7), np.float32)  # the batch is the first of (1, 1, 5, 7)
    rows[0, 0] = [0, 2, 0.9, 0.25, 0.5, 0.75, 1]
    rows[0, 1] = [0, 0, 0.8, 0, 0, 1, 1]  # background
    rows[0, 2] = [0, 1, 0.1, 0, 0, 1, 1]
    rows[0, 3] = [-1, 0, 0, 0, 0, 0, 0]
    rows[0, 4] = [0, 1, 0.99, 0, 0, 1, 1]  # behind the end
    return Path(FILES.constant_detector(path, {"detection_out": rows}))


def test_ssd_reads_rows_up_to_their_end_and_leaves_the_background_out(tmp_path: Path) -> None:
    detector = load(ssd_file(tmp_path / "s.onnx"), description=Description(Ssd(), classes=("person", "vehicle")))
    (found,) = detector([picture(200, 100)])
    assert [(item.name, item.box) for item in found] == [("vehicle", (50, 50, 150, 100))]


def test_ssd_needs_its_class_names_written(tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match=r"does not tell how many classes it has; write classes = "):
        load(ssd_file(tmp_path / "s.onnx"))
    with pytest.raises(DetectorError, match="gives class 1, but there are names for 1 classes"):
        load(tmp_path / "s.onnx", description=Description(Ssd(), classes=("person",)))([picture()])


@pytest.mark.parametrize("size", [(64, 64), (128, 64), (64, 128), (640, 360), (33, 100), (5, 3), (1, 1), (1920, 1080)])
@pytest.mark.parametrize("anchor", ["corner", "centre"])
def test_a_letterboxed_frame_lies_where_it_should_and_comes_back_whole(size: tuple[int, int], anchor: str) -> None:
    width, height = size
    wanted = Preparation(width=64, height=64, fit="letterbox", anchor=anchor)
    place = wanted.place(width, height)
    ratio = min(64 / width, 64 / height)
    assert abs(place.width - width * ratio) <= 1 and abs(place.height - height * ratio) <= 1
    assert 0 <= place.left <= 64 - place.width and 0 <= place.top <= 64 - place.height
    if anchor == "corner":
        assert (place.left, place.top) == (0, 0)
    else:
        assert abs(64 - place.width - 2 * place.left) <= 1 and abs(64 - place.height - 2 * place.top) <= 1
    box = np.array([[place.left, place.top, place.left + place.width, place.top + place.height]])
    assert place.to_frame(box).tolist() == [[0, 0, width, height]]


def bright_box(width: int, height: int, box: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    frame = picture(width, height, 0)
    x0, y0, x1, y1 = box
    frame[y0:y1, x0:x1] = 255
    return frame


@pytest.mark.parametrize(("fit", "anchor"), [("letterbox", "corner"), ("letterbox", "centre"), ("stretch", "corner")])
@pytest.mark.parametrize(("size", "box"), [((256, 128), (64, 32, 192, 96)), ((90, 180), (30, 60, 60, 150)),
                                           ((100, 75), (20, 15, 80, 45))])
def test_what_is_seen_in_the_input_is_found_in_the_frame_to_a_pixel(
        tmp_path: Path, fit: str, anchor: str, size: tuple[int, int], box: tuple[int, int, int, int]) -> None:
    """The real path into the network: the input is kept, its bright part measured, and sent back as YOLOv8's box."""
    seen = spy_detector(tmp_path, Preparation(fit=fit, anchor=anchor, padding=0, colour="rgb"))
    seen([bright_box(*size, box)])
    (tensor,) = seen.inputs
    bright = tensor[0, 1] > 127
    columns, rows = np.flatnonzero(bright.any(0)), np.flatnonzero(bright.any(1))
    measured = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    centre = [(measured[0] + measured[2]) / 2, (measured[1] + measured[3]) / 2]
    output = yolov8_output([[*centre, measured[2] - measured[0], measured[3] - measured[1]]], [[0.9]])
    path = FILES.constant_detector(tmp_path / "known.onnx", {"output0": output})
    (found,) = load(path, description=Description(YoloV8(), Preparation(fit=fit, anchor=anchor)))([picture(*size)])
    pixel = max(size[0] / 64, size[1] / 64)  # one of the network's
    assert found.boxes[0] == pytest.approx(np.array(box), abs=pixel)


class Spy:
    """A detector that keeps the inputs its network was given."""

    def __init__(self, detector: Detector) -> None:
        self.detector, self.inputs, self.network = detector, [], detector._network  # type: ignore[var-annotated]
        detector._network = self

    @property
    def signature(self) -> Any:
        return self.network.signature

    def __call__(self, frames: Any = None, **inputs: Any) -> Any:
        if frames is not None:
            return self.detector(frames)
        self.inputs += [tensor.copy() for tensor in inputs.values()]
        return self.network(**inputs)


def spy_detector(tmp_path: Path, preparation: Preparation, **named: Any) -> Spy:
    output = yolov8_output([[1, 1, 1, 1]], [[0.0]])
    path = FILES.constant_detector(tmp_path / "spy.onnx", {"output0": output}, **named)
    return Spy(load(path, description=Description(YoloV8(), preparation)))


def test_colours_mean_deviation_and_padding_reach_the_network(tmp_path: Path) -> None:
    frame = picture(64, 32)
    frame[:] = (200, 100, 50)
    spy = spy_detector(tmp_path, Preparation(fit="letterbox", colour="bgr", mean=(10, 20, 30), std=(2, 4, 5)))
    spy([frame])
    (tensor,) = spy.inputs
    assert tensor.dtype == np.float32 and tensor.shape == (1, 3, 64, 64)
    assert tensor[0, :, 5, 5].tolist() == pytest.approx([(50 - 10) / 2, (100 - 20) / 4, (200 - 30) / 5], abs=0.6)
    assert tensor[0, :, 40, 5].tolist() == pytest.approx([(114 - 10) / 2, (114 - 20) / 4, (114 - 30) / 5])


def test_a_network_of_bytes_in_rows_of_pixels_is_fed_so(tmp_path: Path) -> None:
    spy = spy_detector(tmp_path, Preparation(colour="rgb"), layout="nhwc", dtype=np.uint8)
    spy([bright_box(64, 64, (0, 0, 64, 64))])
    assert spy.inputs[0].dtype == np.uint8 and spy.inputs[0].shape == (1, 64, 64, 3) and (spy.inputs[0] > 253).all()


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuvj420p", "nv12", "gray", "rgb24", "gbrp", "yuv420p10le"])
def test_every_usual_pixel_format_gives_nearly_the_same_input(tmp_path: Path, pixel_format: str) -> None:
    grey = np.full((48, 80, 3), 40, np.uint8)
    grey[10:30, 20:60] = 220
    frame = av.VideoFrame.from_ndarray(grey, "rgb24").reformat(format=pixel_format)
    spy = spy_detector(tmp_path, Preparation(colour="rgb"))
    spy([grey, frame])
    assert np.abs(spy.inputs[0] - spy.inputs[1]).max() <= 6


def test_a_frame_that_a_filter_turned_over_is_read_the_right_way_round(tmp_path: Path) -> None:
    graph = av.filter.Graph()
    nodes = [graph.add("buffer", video_size="64x64", pix_fmt="gbrp", time_base="1/25"), graph.add("vflip"),
             graph.add("buffersink")]
    graph.link_nodes(*nodes).configure()
    frame = av.VideoFrame.from_ndarray(bright_box(64, 64, (0, 0, 64, 16)), "rgb24").reformat(format="gbrp")
    frame.pts = 0
    nodes[0].push(frame)
    turned = nodes[-1].pull()
    spy = spy_detector(tmp_path, Preparation(colour="rgb"))
    spy([turned])
    assert (spy.inputs[0][0, :, :47] < 9).all() and (spy.inputs[0][0, :, 49:] > 246).all()


def coloured(red: int, blue: int, width: int, height: int) -> NDArray[np.uint8]:
    frame = picture(width, height, 0)
    frame[..., 0], frame[..., 2] = red, blue
    return frame


def test_a_batch_of_frames_of_many_sizes_gives_what_each_gives_alone(tmp_path: Path) -> None:
    plain = Preparation(fit="stretch", colour="rgb", std=(255, 255, 255), batch=3)
    path = FILES.looking_detector(tmp_path / "look.onnx")
    detector = load(path, confidence=0.1, description=Description(YoloV8(), plain))
    sizes = [(32, 32), (64, 20), (10, 40), (32, 32), (99, 33), (2, 2), (640, 360)]
    frames = [coloured(60 * (index % 4), 250 - 30 * index, *size) for index, size in enumerate(sizes)]
    together = detector(frames)
    assert together == [detector([frame])[0] for frame in frames]
    assert [(item.width, item.height) for item in together] == sizes
    for index, item in enumerate(together):
        (only,) = item
        red, blue = 60 * (index % 4) / 255, (250 - 30 * index) / 255
        assert only.name == ("red" if red >= blue else "blue") and only.score == pytest.approx(max(red, blue), abs=0.01)
        assert only.box == pytest.approx((0, 0, *sizes[index]), abs=1e-3)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_fixed_batch_takes_any_number_of_frames(tmp_path: Path, batch: int) -> None:
    path = FILES.constant_detector(tmp_path / "x.onnx", {"output": yolox_output()}, batch=batch)
    assert [len(item) for item in load(path)([picture()] * 6)] == [2] * 6
    assert load(path)([]) == []


def test_frames_are_not_altered(tmp_path: Path) -> None:
    frame = av.VideoFrame.from_ndarray(coloured(200, 10, 40, 30), "rgb24").reformat(format="gbrp")
    before = frame.to_ndarray()
    load(FILES.looking_detector(tmp_path / "look.onnx"))([frame])
    assert np.array_equal(frame.to_ndarray(), before)


def test_thresholds_and_classes_of_the_caller_come_before_the_models(tmp_path: Path) -> None:
    output = yolov8_output([[32, 32, 20, 20], [34, 32, 20, 20], [50, 50, 8, 8]], [[0.9, 0], [0.8, 0], [0, 0.3]])
    path = FILES.constant_detector(tmp_path / "v8.onnx", {"output0": output})
    own = Description(YoloV8(), confidence=0.2, iou=0.5, classes=("cat", "owl"))
    assert [round(item.score, 2) for item in load(path, description=own)([picture()])[0]] == [0.9, 0.3]
    assert [round(item.score, 2) for item in load(path, description=own, iou=0.99)([picture()])[0]] == [0.9, 0.8, 0.3]
    assert len(load(path, description=own, confidence=0.5)([picture()])[0]) == 1
    assert [item.name for item in load(path, description=own, classes=["owl"])([picture()])[0]] == ["owl"]
    assert [item.name for item in load(path, description=own, classes="owl")([picture()])[0]] == ["owl"]
    with pytest.raises(DetectorError, match="class 'dog': the model knows 2 classes: cat, owl"):
        load(path, description=own, classes=["dog"])
    with pytest.raises(ValueError, match=r"confidence=1\.5: expected 0 to 1"):
        load(path, description=own, confidence=1.5)


def test_eighty_classes_are_cocos_and_others_are_numbered(tmp_path: Path) -> None:
    output = np.zeros((POINTS, 85), np.float32)
    output[0, 4], output[0, 5 + 79] = 1, 1
    assert [i.name for i in load(FILES.constant_detector(tmp_path / "c.onnx", {"output": output}))([picture()])[0]] == [
        "toothbrush"]
    assert len(COCO) == 80 and len(set(COCO)) == 80


def test_more_objects_than_the_limit_are_cut_by_score(tmp_path: Path) -> None:
    boxes = [[3.0 + 6 * (i % 10), 3.0 + 6 * (i // 10), 4, 4] for i in range(60)]
    output = yolov8_output(boxes, [[0.3 + i / 100] for i in range(60)])
    path = FILES.constant_detector(tmp_path / "v8.onnx", {"output0": output})
    (found,) = load(path, description=Description(YoloV8(), limit=5))([picture()])
    assert found.scores.tolist() == pytest.approx([0.89, 0.88, 0.87, 0.86, 0.85])


@pytest.mark.parametrize(
    ("outputs", "family", "message"),
    [
        ({"a": np.zeros((POINTS, 8))}, None, r"its outputs name no family \(inputs: images float \[1, 3, 64, 64\]"),
        ({"a": np.zeros((POINTS - 1, 8))}, YoloX(), r"family yolox: outputs of shape \[1, 83, 8\]; expected .*84"),
        ({"a": np.zeros((6, 99))}, YoloV8(), r"family yolov8: outputs of shape \[1, 6, 99\]"),
        ({"a": np.zeros((7, 3, 4))}, FastestDet(), r"family fastestdet: .* one of \[batch, 5 \+ classes, 4, 4\]"),
        ({"a": np.zeros((64, 2))}, PicoDet(), "family picodet: outputs of shape"),
        ({"a": np.zeros((85, 33))}, NanoDet(offset=0.5, strides=(8, 16, 32)), "family nanodet: outputs of shape"),
        ({"a": np.zeros((5, 7))}, Ssd(), r"family ssd: outputs of shape \[1, 5, 7\]; expected one of \[1, 1, N, 7\]"),
    ],
)
def test_outputs_that_no_family_or_another_gives_are_refused_at_loading(
        tmp_path: Path, outputs: dict[str, NDArray[Any]], family: Any, message: str) -> None:
    path = FILES.constant_detector(tmp_path / "odd.onnx", outputs)
    with pytest.raises(DetectorError, match=message) as caught:
        load(path, description=Description(family) if family is not None else None)
    assert str(path) in str(caught.value)


def test_an_unknown_family_says_what_to_write(tmp_path: Path) -> None:
    path = FILES.constant_detector(tmp_path / "odd.onnx", {"a": np.zeros((7, 8, 9))})
    with pytest.raises(DetectorError, match=r'the same name ending in \.toml, with at least family = one of "yolox"'):
        load(path)


@pytest.mark.parametrize(
    ("value", "message"),
    [(3.0, "scores from 0 to 3; expected 0 to 1"), (np.nan, "scores from nan"), (-4.0, "scores from -4 to 0")],
)
def test_scores_that_are_none_are_refused(tmp_path: Path, value: float, message: str) -> None:
    path = FILES.constant_detector(tmp_path / "v8.onnx", {"output0": yolov8_output([[1, 1, 1, 1]], [[value]])})
    with pytest.raises(DetectorError, match=message):
        load(path)([picture()])


def test_boxes_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    path = FILES.constant_detector(tmp_path / "v8.onnx", {"output0": yolov8_output([[np.inf, 1, 1, 1]], [[0.9]])})
    with pytest.raises(DetectorError, match="boxes that are not finite"):
        load(path)([picture()])


def test_an_open_size_has_to_be_written_and_a_fixed_one_agrees(tmp_path: Path) -> None:
    path = FILES.constant_detector(tmp_path / "x.onnx", {"output": yolox_output()}, size=("width", "height"))
    with pytest.raises(DetectorError, match=r"its width is open; write width = \.\.\. under \[input\]"):
        load(path, description=Description(YoloX()))
    wanted = Description(YoloX(), Preparation(width=64, height=64, fit="letterbox"))
    assert len(load(path, description=wanted)([picture(100, 50)])[0]) == 1  # the other lies in the padding
    fixed = FILES.constant_detector(tmp_path / "y.onnx", {"output": yolox_output()})
    with pytest.raises(DetectorError, match=r"its width is 64, but input\.width says 96"):
        load(fixed, description=Description(YoloX(), Preparation(width=96, height=64)))


def test_files_that_are_not_there_or_no_networks_are_named(tmp_path: Path) -> None:
    with pytest.raises(DetectorNotFoundError, match=r"gone\.onnx: no such detector file") as caught:
        load(tmp_path / "gone.onnx")
    assert isinstance(caught.value, FileNotFoundError) and isinstance(caught.value, ValueError)
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(DetectorError, match=r"text\.onnx: onnxruntime .* cannot load this network"):
        load(tmp_path / "text.onnx")
    (tmp_path / "model.pt").write_bytes(b"x")
    with pytest.raises(DetectorError, match=r"an \.onnx file, or an \.xml file of OpenVINO"):
        load(tmp_path / "model.pt")
    path = FILES.constant_detector(tmp_path / "x.onnx", {"output": yolox_output()})
    with pytest.raises(BackendUnavailableError, match="'cuda'"):
        load(path, device="cuda")
    with pytest.raises(ValueError, match="device='gpu': expected one of"):
        load(path, device="gpu")


def test_openvino_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    (tmp_path / "m.xml").write_text("<net/>")
    with pytest.raises(BackendUnavailableError, match=r"need the package openvino.*pip install openvino"):
        load(tmp_path / "m.xml")
    with pytest.raises(BackendUnavailableError, match="'tensorrt'"):
        load(tmp_path / "m.xml", device="tensorrt")


def test_openvino_runs_the_same_detector_where_it_is_installed(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    path = FILES.constant_detector(tmp_path / "x.onnx", {"output": yolox_output()})
    openvino.save_model(openvino.Core().read_model(str(path)), str(tmp_path / "x.xml"), compress_to_fp16=False)
    (left,), (right,) = (load(tmp_path / name, threads=1)([picture(90, 50)]) for name in ("x.onnx", "x.xml"))
    assert left == right and len(left) == 1
    (tmp_path / "broken.xml").write_text("<net/>")
    with pytest.raises(DetectorError, match=r"broken\.xml: OpenVINO .* cannot load"):
        load(tmp_path / "broken.xml")
    with pytest.raises(ValueError, match="threads=-1"):
        OpenVinoBackend(-1)


@pytest.mark.parametrize(
    ("item", "error", "message"),
    [
        (picture()[..., :2], ValueError, r"frame 1: an array of shape \(64, 64, 2\)"),
        (picture().astype(np.float32), ValueError, "float32; expected"),
        (np.zeros((0, 5, 3), np.uint8), ValueError, r"shape \(0, 5, 3\)"),
        ("frame", TypeError, "frame 1: expected an av.VideoFrame or an array, not str"),
    ],
)
def test_what_is_no_frame_is_named(tmp_path: Path, item: Any, error: type[Exception], message: str) -> None:
    detector = load(FILES.constant_detector(tmp_path / "x.onnx", {"output": yolox_output()}))
    with pytest.raises(error, match=message):
        detector([picture(), item])


@given(st.integers(1, 4000), st.integers(1, 4000), st.sampled_from(["corner", "centre"]), st.integers(16, 1024))
def test_every_frame_fits_into_every_letterbox(width: int, height: int, anchor: str, side: int) -> None:
    place = Preparation(width=side, height=side, fit="letterbox", anchor=anchor).place(width, height)
    assert 1 <= place.width <= side - place.left and 1 <= place.height <= side - place.top
    assert place.left >= 0 and place.top >= 0
