"""A detector: frames in, detections in the frames' own pixels out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from duoview.backends import Backend, DescribedNetwork, Signature, TensorSpec, open_backend
from duoview.backends.openvino_cpu import OpenVinoBackend
from duoview.boxes import suppress
from duoview.detections import Detections, class_ids
from duoview.detectors.coco import COCO
from duoview.detectors.description import FAMILIES, Description, read_description
from duoview.detectors.family import Candidates, Family
from duoview.detectors.preparation import PictureSampler, Placement, Preparation
from duoview.errors import BackendUnavailableError, DetectorError, DetectorNotFoundError, ProfileError
from duoview.literals import literal

#: Boxes that go into suppression, the best by score; more are noise, and time would grow with them.
_MAX_CANDIDATES = 3000

_DTYPES: dict[str, type[np.generic]] = {
    "float": np.float32, "float16": np.float16, "double": np.float64, "uint8": np.uint8}


class Detector:
    """Finds objects in frames. Made by `load`; not safe to be called from two threads at once.

    Args:
        network: the network, on whatever backend.
        description: how it is fed and read, complete: sizes, layout and class names as they are used.
        confidence: score from which objects are given. iou: overlap above which the lower of two boxes of a class goes.
        classes: names or ids of the classes to be given; None gives all.
    """

    def __init__(self, network: DescribedNetwork, description: Description, *, confidence: float | None = None,
                 iou: float | None = None, classes: Iterable[str | int] | None = None) -> None:
        self._network = network
        self._signature = network.signature
        self.description = description
        self._family = description.family
        self._confidence = _threshold("confidence", confidence, description.confidence, self._family.confidence)
        self._iou = _threshold("iou", iou, description.iou, self._family.iou)
        if description.preparation is None:
            raise DetectorError("a description without preparation: load() completes it")
        self._preparation = description.preparation
        self._wanted = None if classes is None else _wanted_ids(classes, description.classes)
        source = _picture_input(self._signature)
        if source.dtype not in _DTYPES:
            raise DetectorError(f"input {source}: its element type is none of {', '.join(_DTYPES)}")
        self._input = source
        self._sampler = PictureSampler(self._preparation, _DTYPES[source.dtype])
        self._order = _output_order(self._signature, description.outputs)
        self._batch = source.shape[0] or (self._preparation.batch if self._family.batched else 1)
        if not self._family.batched and self._batch != 1:
            raise DetectorError(f"input {source}: family {self._family.name} is read one picture at a time; "
                                "export the network for a batch of 1")
        self._check_outputs([self._signature.outputs[index].shape for index in self._order])

    @property
    def names(self) -> tuple[str, ...]:
        """The class names, by class id."""
        return self.description.classes

    @property
    def model(self) -> str:
        """The model's name, which its detections carry."""
        return self.description.model

    def __call__(self, frames: Sequence[av.VideoFrame | NDArray[np.uint8]]) -> list[Detections]:
        """Detect in frames of any sizes and pixel formats, or in pictures (H, W, 3), uint8 RGB; none is altered.

        As many go through the network at once as it takes. Raises DetectorError when its outputs are not its family's,
        TypeError and ValueError for what is no frame.
        """
        pictures = [_as_frame(item, index) for index, item in enumerate(frames)]
        found: list[Detections] = []
        for start in range(0, len(pictures), self._batch):
            found += self._run(pictures[start:start + self._batch])
        return found

    def __repr__(self) -> str:
        return (f"<duoview.Detector {self.model}: {self._family.name}, "
                f"{self._preparation.width}x{self._preparation.height}, {len(self.names)} classes>")

    def _run(self, frames: Sequence[av.VideoFrame]) -> list[Detections]:
        # A network of a fixed batch gets empty pictures beside the frames of a last, smaller one.
        tensor = self._sampler.empty(self._input.shape[0] or len(frames))
        places = [self._sampler.fill(target, frame) for target, frame in zip(tensor, frames, strict=False)]
        try:
            outputs = self._network(**{self._input.name: tensor})
        except Exception as error:  # the runtimes' errors have no nearer base class in common
            hint = "; if its batch is fixed inside, write batch = 1 under [input]" if len(tensor) > 1 else ""
            raise DetectorError(f"{self.model}: the network cannot take an input of shape {list(tensor.shape)}{hint} "
                                f"({error})") from error
        ordered = [outputs[index] for index in self._order]
        self._check_outputs([output.shape for output in ordered])
        for output in ordered:
            if self._family.batched and len(output) != len(tensor):
                raise DetectorError(f"{self.model}: an output of shape {list(output.shape)} for {len(tensor)} pictures")
        size = (self._preparation.width, self._preparation.height)
        candidates = self._family.decode(ordered, *size, self._confidence)
        return [self._select(*pair) for pair in zip(candidates, places, strict=False)]

    def _select(self, found: Candidates, place: Placement) -> Detections:
        """Suppression, and from the network's pixels to the frame's."""
        boxes, scores, classes = found.boxes, found.scores, found.classes
        if not np.isfinite(boxes).all():
            raise DetectorError(f"{self.model}: the network gives boxes that are not finite")
        if len(classes) and classes.max() >= len(self.names):
            raise DetectorError(f"{self.model}: the network gives class {int(classes.max())}, but there are names for "
                                f"{len(self.names)} classes only; write all under classes")
        if self._wanted is not None:
            mask = np.isin(classes, self._wanted)
            boxes, scores, classes = boxes[mask], scores[mask], classes[mask]
        if len(scores) > _MAX_CANDIDATES:
            best = np.argsort(-scores, kind="stable")[:_MAX_CANDIDATES]
            boxes, scores, classes = boxes[best], scores[best], classes[best]
        corners: NDArray[Any] = place.to_frame(boxes)
        kept = suppress(corners, scores, classes, iou=self._iou, limit=self.description.limit)
        detections = Detections(corners[kept].astype(np.float32), scores[kept], classes[kept].astype(np.int32),
                                self.names, self.model, place.frame_width, place.frame_height)
        return detections.clipped()

    def _check_outputs(self, shapes: Sequence[Sequence[int | None]]) -> None:
        count = self._family.class_count(shapes, self._preparation.width, self._preparation.height)
        if count is not None and count != len(self.names):
            raise DetectorError(f"{self.model}: the network has {count} classes, but classes names {len(self.names)}")


def load(path: str | Path, *, description: str | Path | Description | None = None, device: str | Backend = "cpu",
         threads: int = 0, confidence: float | None = None, iou: float | None = None,
         classes: Iterable[str | int] | None = None) -> Detector:
    """Load a detector from an .onnx file, or from OpenVINO's .xml where openvino is installed.

    Args:
        path: the network's file.
        description: how it is fed and read, or the file that says so; None takes the .toml of the same name beside the
            network where there is one, and what the network itself tells where that leaves no doubt.
        device: where it runs: ``auto``, ``cpu``, ``cuda`` or ``tensorrt``, or a Backend.
        threads: threads of the network, 0 for one per core.
        confidence: score from which objects are given; None takes the description's or the family's.
        iou: overlap above which the lower of two boxes of a class goes; None as before.
        classes: names or ids of the classes to be given; None gives all.

    Raises DetectorNotFoundError, DetectorError that says what to write, BackendUnavailableError for a device that
    cannot be had.
    """
    path = Path(path)
    if not path.is_file():
        raise DetectorNotFoundError(f"{path}: no such detector file")
    if description is None and path.with_suffix(".toml").is_file():
        description = path.with_suffix(".toml")
    if isinstance(description, (str, Path)):
        description = read_description(Path(description))
    network = _open(path, device, threads)
    try:
        complete = complete_description(network.signature, description, path.stem)
        return Detector(network, complete, confidence=confidence, iou=iou, classes=classes)
    except DetectorError as error:
        raise DetectorError(f"{path}: {error}") from None


def complete_description(signature: Signature, given: Description | None, name: str) -> Description:
    """A description with everything that the network itself tells. Raises DetectorError where something is missing."""
    source = _picture_input(signature)
    layout = given.preparation.layout if given is not None and given.preparation is not None else ""
    layout = layout or _layout(source)
    height, width = (source.shape[1:3] if layout == "nhwc" else source.shape[2:4])
    usual_height, usual_width = _size_in_metadata(signature)
    family = given.family if given is not None else _recognise(signature, width or usual_width, height or usual_height)
    preparation = (given.preparation if given is not None else None) or family.preparation
    width = _length(source, "width", width, preparation.width or usual_width)
    height = _length(source, "height", height, preparation.height or usual_height)
    try:
        preparation = dataclasses.replace(preparation, layout=layout, width=width, height=height)
    except ValueError as error:
        raise DetectorError(f"input {source}: {error}") from None
    classes = given.classes if given is not None else ()
    if not classes:
        classes = _class_names(signature, family, preparation, given.outputs if given is not None else ())
    base = given if given is not None else Description(family)
    return dataclasses.replace(base, preparation=preparation, classes=classes, model=base.model or name)


def _open(path: Path, device: str | Backend, threads: int) -> DescribedNetwork:
    backend: Backend | OpenVinoBackend
    if path.suffix.lower() == ".xml" and isinstance(device, str):
        open_backend(device, threads)  # the same errors for a device that does not exist or cannot be had
        if device not in ("auto", "cpu"):
            raise BackendUnavailableError(f"device {device!r}: OpenVINO's .xml networks run on the CPU only; use 'cpu'")
        backend = OpenVinoBackend(threads)
    elif path.suffix.lower() == ".onnx" or not isinstance(device, str):
        backend = open_backend(device, threads)
    else:
        raise DetectorError(f"{path}: a detector is an .onnx file, or an .xml file of OpenVINO with its .bin beside it")
    try:
        network = backend.load(path)
    except ProfileError as error:
        raise DetectorError(str(error)) from error
    if not isinstance(network, DescribedNetwork):
        raise DetectorError(f"{path}: networks of backend {backend.name} do not tell their inputs and outputs")
    return network


def _picture_input(signature: Signature) -> TensorSpec:
    pictures = [item for item in signature.inputs if len(item.shape) == 4]
    if len(signature.inputs) != 1 or len(pictures) != 1:
        raise DetectorError(f"a detector has one input, pictures of four dimensions; this network has {signature}. "
                            "Export it without scale factors and without its own post-processing")
    return pictures[0]


def _layout(source: TensorSpec) -> str:
    if source.shape[1] == 3 and source.shape[3] != 3:
        return "nchw"
    if source.shape[3] == 3 and source.shape[1] != 3:
        return "nhwc"
    raise DetectorError(f"input {source}: which dimension holds the three colours cannot be told; write layout = "
                        '"nchw" or "nhwc" under [input]')


def _length(source: TensorSpec, side: str, own: int | None, asked: int) -> int:
    if own is None and not asked:
        raise DetectorError(f"input {source}: its {side} is open; write {side} = ... under [input]")
    if own is not None and asked not in (0, own):
        raise DetectorError(f"input {source}: its {side} is {own}, but input.{side} says {asked}")
    return own or asked


def _size_in_metadata(signature: Signature) -> tuple[int, int]:
    """Height and width that YOLOv8's exporter writes for inputs of open size, 0 where there are none."""
    size = _literal(dict(signature.metadata).get("imgsz", ""))
    open_lengths = None in signature.inputs[0].shape[1:]
    if open_lengths and isinstance(size, list) and len(size) == 2 and all(type(side) is int for side in size):
        return size[0], size[1]
    return 0, 0


def _recognise(signature: Signature, width: int, height: int) -> Family:
    found = [family for family in (kind.recognise(signature, width, height) for kind in FAMILIES) if family is not None]
    if len(found) == 1:
        return found[0]
    names = ", ".join(f'"{kind.name}"' for kind in FAMILIES)
    said = f"it may be {' or '.join(family.name for family in found)}" if found else "its outputs name no family"
    raise DetectorError(
        f"{said} ({signature}). Write a description beside it, the same name ending in .toml, with at least family = "
        f"one of {names}; docs/detectors.md lists the other keys")


def _class_names(signature: Signature, family: Family, preparation: Preparation,
                 outputs: Sequence[str]) -> tuple[str, ...]:
    shapes = [signature.outputs[index].shape for index in _output_order(signature, outputs)]
    count = family.class_count(shapes, preparation.width, preparation.height)
    told = _names_in_metadata(dict(signature.metadata).get("names", ""))
    if told and count in (None, len(told)):
        return told
    if count is None:
        raise DetectorError("the network does not tell how many classes it has; write classes = [\"...\", ...], or "
                            'classes = "coco"')
    return COCO if count == len(COCO) else tuple(str(index) for index in range(count))


def _names_in_metadata(text: str) -> tuple[str, ...]:
    """Class names as YOLOv5 and YOLOv8 write them: ``{0: 'person', 1: ...}`` or a list; none where there are none."""
    value = _literal(text)
    if isinstance(value, dict) and sorted(value, key=str) == sorted(range(len(value)), key=str):
        value = [value[index] for index in range(len(value))]
    return tuple(value) if isinstance(value, list) and all(isinstance(name, str) for name in value) else ()


def _literal(text: str) -> object:
    """A Python literal of numbers, texts, lists and dictionaries; None for any other text."""
    try:
        return literal(text) if len(text) <= 1 << 20 else None
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def _output_order(signature: Signature, names: Sequence[str]) -> list[int]:
    present = [item.name for item in signature.outputs]
    if not names:
        return list(range(len(present)))
    for name in names:
        if name not in present:
            raise DetectorError(f"outputs names {name!r}; the network has {', '.join(present)}")
    return [present.index(name) for name in names]


def _threshold(name: str, given: float | None, described: float | None, default: float) -> float:
    value = next(value for value in (given, described, default) if value is not None)
    if not 0 <= value <= 1:
        raise ValueError(f"{name}={value}: expected 0 to 1")
    return value


def _wanted_ids(classes: Iterable[str | int], names: tuple[str, ...]) -> list[int]:
    try:
        return class_ids([classes] if isinstance(classes, str) else classes, names)
    except ValueError as error:
        raise DetectorError(f"classes: {error}") from None


def _as_frame(item: av.VideoFrame | NDArray[np.uint8], index: int) -> av.VideoFrame:
    if isinstance(item, av.VideoFrame):
        return item
    if not isinstance(item, np.ndarray):
        raise TypeError(f"frame {index}: expected an av.VideoFrame or an array, not {type(item).__name__}")
    if item.dtype != np.uint8 or item.ndim != 3 or item.shape[2] != 3 or 0 in item.shape:
        raise ValueError(f"frame {index}: an array of shape {item.shape}, {item.dtype}; expected (H, W, 3), uint8 RGB")
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(item), format="rgb24")


__all__ = ["Detector", "complete_description", "load"]
