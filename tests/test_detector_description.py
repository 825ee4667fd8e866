"""The file that describes a detector: every key, what is found beside the network, and errors that name the key."""

from __future__ import annotations

import runpy
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoview.detectors import (
    COCO,
    FAMILIES,
    NanoDet,
    PicoDet,
    Preparation,
    Ssd,
    YoloX,
    load,
    parse_description,
    read_description,
)
from duoview.errors import DetectorError, DetectorNotFoundError

FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("detector_files.py"))))

FULL = """
family = "nanodet"
model = "gate camera"
classes = ["person", "forklift"]
outputs = ["out"]

[input]
width = 320
height = 192
fit = "letterbox"
anchor = "centre"
padding = 0
colour = "rgb"
mean = [1, 2.5, 3]
std = [4, 5, 6]
layout = "nchw"
batch = 2

[decoding]
strides = [8, 16, 32]
bins = 17
offset = 0.5

[thresholds]
confidence = 0.35
iou = 0.5
limit = 40
"""


def test_every_key_of_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(FULL)
    read = read_description(tmp_path / "m.toml")
    assert read.family == NanoDet(strides=(8, 16, 32), bins=17, offset=0.5)
    assert read.preparation == Preparation(320, 192, "letterbox", "centre", 0, "rgb", (1, 2.5, 3), (4, 5, 6), "nchw", 2)
    assert (read.model, read.classes, read.outputs) == ("gate camera", ("person", "forklift"), ("out",))
    assert (read.confidence, read.iou, read.limit) == (0.35, 0.5, 40)


@pytest.mark.parametrize("family", [family.name for family in FAMILIES])
def test_the_family_alone_is_enough_and_brings_its_own_preparation(family: str) -> None:
    read = parse_description({"family": family, "classes": "coco", "input": {"width": 96}})
    assert read.family.name == family and read.classes == COCO
    assert read.preparation is not None and read.preparation.width == 96
    assert read.preparation.fit == read.family.preparation.fit and read.confidence is None


def test_the_file_beside_the_network_is_used_and_another_may_be_given(tmp_path: Path) -> None:
    output = np.zeros((84, 7), np.float32)
    output[0, 4:6] = 1
    path = FILES.constant_detector(tmp_path / "gate.onnx", {"out": output}, input_name="camera")
    with pytest.raises(DetectorError, match="its outputs name no family"):
        load(path)
    (tmp_path / "gate.toml").write_text('family = "yolox"\nclasses = ["hat", "vest"]\nmodel = "gate"\n')
    detector = load(path)
    assert (detector.model, detector.names, detector.description.family) == ("gate", ("hat", "vest"), YoloX())
    (tmp_path / "other.toml").write_text('family = "yolox"\n[thresholds]\nconfidence = 1')
    assert load(path, description=tmp_path / "other.toml").names == ("0", "1")
    with pytest.raises(DetectorNotFoundError, match=r"none\.toml: no such description file"):
        load(path, description=tmp_path / "none.toml")


def test_outputs_name_the_order_in_which_the_family_reads_them(tmp_path: Path) -> None:
    parts = {}
    for stride in (8, 16, 32, 64):  # as some exporters order them: a stride's two outputs side by side
        parts[f"c{stride}"] = np.zeros(((64 // stride) ** 2, 2), np.float32)
        parts[f"d{stride}"] = np.zeros(((64 // stride) ** 2, 32), np.float32)
    parts["c64"][0, 1] = 0.9
    path = FILES.constant_detector(tmp_path / "p.onnx", parts)
    with pytest.raises(DetectorError, match=r"`outputs` of a description puts them in this order"):
        load(path, description=parse_and_write(tmp_path, 'family = "picodet"'))
    order = [f"{side}{stride}" for side in "cd" for stride in (8, 16, 32, 64)]
    named = parse_and_write(tmp_path, f'family = "picodet"\noutputs = {order!r}')
    (found,) = load(path, description=named)([np.zeros((64, 64, 3), np.uint8)])
    assert found.boxes.tolist() == [[0, 0, 64, 64]] and found.classes.tolist() == [1]
    with pytest.raises(DetectorError, match="outputs names 'x'; the network has c8, d8"):
        load(path, description=parse_and_write(tmp_path, 'family = "picodet"\noutputs = ["x"]'))


def parse_and_write(folder: Path, text: str) -> Path:
    path = folder / "given.toml"
    path.write_text(text)
    return path


def test_names_that_are_not_the_networks_number_of_classes_are_refused(tmp_path: Path) -> None:
    path = FILES.constant_detector(tmp_path / "x.onnx", {"output": np.zeros((84, 8), np.float32)})
    with pytest.raises(DetectorError, match="the network has 3 classes, but classes names 2"):
        load(path, description=parse_and_write(tmp_path, 'family = "yolox"\nclasses = ["a", "b"]'))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'family is missing: write one of "yolox", "picodet"'),
        ("family = 3", "family = 3: expected one of"),
        ('family = "yolo8"', "no family 'yolo8'; did you mean 'yolov8'?; there are yolox, picodet"),
        ('family = "ssd"\nclases = []', "no key 'clases'; did you mean 'classes'?"),
        ('family = "ssd"\nclasses = "voc"', 'classes = "voc": expected a list of names, or "coco"'),
        ('family = "ssd"\nclasses = ["a", 1]', r"classes[1] = 1: expected a text"),
        ('family = "ssd"\ninput = 3', "input = 3: expected a table, [input]"),
        ('family = "ssd"\n[input]\nwith = 3', "no key 'input.with'; did you mean 'width'?"),
        ('family = "ssd"\n[input]\nwidth = "3"', "input.width = '3': expected a whole number"),
        ('family = "ssd"\n[input]\nwidth = true', "input.width = True: expected a whole number"),
        ('family = "ssd"\n[input]\nwidth = 99999', "input.width=99999: expected 0 to 8192"),
        ('family = "ssd"\n[input]\ncolour = "yuv"', "input.colour='yuv': expected one of 'rgb', 'bgr'"),
        ('family = "ssd"\n[input]\nfit = "crop"', "input.fit='crop': expected one of 'stretch', 'letterbox'"),
        ('family = "ssd"\n[input]\nmean = [1, 2]', "input.mean=(1.0, 2.0): expected three numbers"),
        ('family = "ssd"\n[input]\nmean = 1', "input.mean = 1: expected a list"),
        ('family = "ssd"\n[input]\nstd = [1, 0, 1]', "input.std=(1.0, 0.0, 1.0): expected no zero"),
        ('family = "ssd"\n[input]\nstd = [1, nan, 1]', "input.std=(1.0, nan, 1.0): expected three numbers"),
        ('family = "ssd"\n[input]\nbatch = 0', "input.batch=0: expected 1 to 256"),
        ('family = "ssd"\n[decoding]\nstrides = [8]', "no key 'decoding.strides'; there are first_class"),
        ('family = "ssd"\n[decoding]\nfirst_class = -1', "decoding.first_class=-1: expected a whole number from 0"),
        ('family = "yolox"\n[decoding]\nstrides = [16, 8]', "decoding.strides=[16, 8]: expected whole numbers"),
        ('family = "yolox"\n[decoding]\nstrides = [0]', "decoding.strides=[0]: expected whole numbers"),
        ('family = "picodet"\n[decoding]\nbins = 1', "decoding.bins=1: expected 2 to 64"),
        ('family = "ssd"\n[thresholds]\nconfidence = 2', "thresholds.confidence=2.0: expected 0 to 1"),
        ('family = "ssd"\n[thresholds]\nlimit = 0', "thresholds.limit=0: expected 1 to 100000"),
        ('family = "ssd"\n[thresholds]\nscore = 1', "no key 'thresholds.score'; there are confidence, iou, limit"),
        ("family =", "not a TOML file"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_its_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DetectorError) as caught:
        read_description(parse_and_write(tmp_path, text))
    assert message in str(caught.value) and str(tmp_path / "given.toml") in str(caught.value)


def test_files_that_are_no_text_or_far_too_long_are_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DetectorError, match=r"binary\.toml: not a TOML file"):
        read_description(tmp_path / "binary.toml")
    (tmp_path / "long.toml").write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(DetectorError, match="a description has at most"):
        read_description(tmp_path / "long.toml")
    with pytest.raises(DetectorError, match="cannot be read"):
        read_description(tmp_path)


VALUES = st.recursive(st.one_of(st.text(max_size=6), st.integers(), st.floats(), st.booleans()),
                      lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=6), part, max_size=3))
KEYS = st.sampled_from(["family", "model", "classes", "outputs", "input", "decoding", "thresholds"])
SOME_KEYS = st.sampled_from(["width", "mean", "strides", "confidence", "limit", "batch"])
TABLE = st.dictionaries(SOME_KEYS, VALUES, max_size=3)


@given(st.dictionaries(KEYS, VALUES | TABLE, max_size=5), st.sampled_from(["ssd", "yolox", "picodet", "nanodet"]))
def test_any_content_is_a_description_or_a_named_error(content: dict[str, object], family: str) -> None:
    for given_content in (content, content | {"family": family}):
        try:
            parse_description(given_content)
        except DetectorError as error:
            assert str(error)


def test_the_example_of_the_documentation_is_a_description() -> None:
    text = (Path(__file__).resolve().parent.parent / "docs" / "detectors.md").read_text(encoding="utf-8")
    read = parse_description(tomllib.loads(text.partition("```toml\n")[2].partition("```")[0]))
    assert read.family == YoloX() and read.classes == ("person", "forklift") and read.limit == 300
    assert all(f"| `{family.name}` |" in text for family in FAMILIES)


def test_families_compare_by_what_they_are() -> None:
    assert Ssd() == Ssd(first_class=1) and PicoDet() != NanoDet()
