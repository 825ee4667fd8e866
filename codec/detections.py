"""What a detector found in one frame, as a value: nothing in it can be changed afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from duoview.boxes import checked_boxes

#: The largest width or height that a frame may have here, as in the stream syntax.
MAX_SIDE = 16384


@dataclass(frozen=True)
class Detection:
    """One object: box (x0, y0, x1, y1) in pixels of its frame, score 0 to 1, class id and its name.

    track_id: the number of its track, from 1 on; None where no tracker looked, or none has a track of it yet.
    """

    box: tuple[float, float, float, float]
    score: float
    class_id: int
    name: str
    track_id: int | None = None

    @property
    def width(self) -> float:
        """Width of the box in pixels."""
        return self.box[2] - self.box[0]

    @property
    def height(self) -> float:
        """Height of the box in pixels."""
        return self.box[3] - self.box[1]

    @property
    def centre(self) -> tuple[float, float]:
        """The middle of the box, x and y."""
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2


@dataclass(frozen=True, eq=False)
class Detections:
    """The objects of one frame, usually by falling score.

    boxes: (N, 4) float32, x0 y0 x1 y1 in pixels of the frame, which reaches from 0, 0 to width, height.
    scores: (N,) float32, 0 to 1. classes: (N,) int32, each an index of `names`.
    names: the class names of the model, all of them. model: its name. width, height: the frame's size in pixels.
    track_ids: (N,) int64, the number of each object's track from 1 on, no number twice, 0 for an object without one;
    None where no tracker looked.

    Any array or list is taken and copied; the arrays here cannot be written to. Two are equal when all of this is.
    Raises ValueError for shapes that do not agree, values that are not finite, scores, class or track ids out of range.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int32]
    names: tuple[str, ...]
    model: str
    width: int
    height: int
    track_ids: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        for side, value in (("width", self.width), ("height", self.height)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 1 <= value <= MAX_SIDE:
                raise ValueError(f"{side}={value!r}: expected a frame size of 1 to {MAX_SIDE} pixels")
            object.__setattr__(self, side, int(value))
        given: tuple[Any, Any] = (self.names, self.model)
        if isinstance(given[0], str) or not all(isinstance(name, str) for name in given[0]):
            raise ValueError(f"names={given[0]!r}: expected a tuple of texts, one per class")
        if not isinstance(given[1], str):
            raise ValueError(f"model={given[1]!r}: expected a text")
        names = tuple(self.names)
        with np.errstate(over="ignore"):
            boxes = checked_boxes(np.asarray(self.boxes, np.float32))
        scores, classes = np.asarray(self.scores), np.asarray(self.classes)
        for what, array in (("scores", scores), ("classes", classes)):
            if array.shape != (len(boxes),):
                raise ValueError(f"{what} of shape {array.shape} beside {len(boxes)} boxes: expected ({len(boxes)},)")
        finite = np.isfinite(boxes).all(axis=1)
        if not finite.all():
            raise ValueError(f"box {int(np.argmin(finite))} is {boxes[np.argmin(finite)].tolist()}: "
                             "expected values that are finite in float32")
        if not ((scores >= 0) & (scores <= 1)).all():
            raise ValueError(f"score {scores[~((scores >= 0) & (scores <= 1))][0]}: expected 0 to 1")
        if len(classes) and not np.issubdtype(classes.dtype, np.integer):
            raise ValueError(f"classes of dtype {classes.dtype}: expected integers")
        if len(classes) and (classes.min() < 0 or classes.max() >= len(names)):
            wrong = classes[(classes < 0) | (classes >= len(names))][0]
            raise ValueError(f"class id {wrong}: expected 0 to {len(names) - 1}, an index of the {len(names)} names")
        if self.track_ids is not None:
            object.__setattr__(self, "track_ids", _checked_tracks(self.track_ids, len(boxes)))
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "boxes", _frozen(boxes, np.float32))
        object.__setattr__(self, "scores", _frozen(scores, np.float32))
        object.__setattr__(self, "classes", _frozen(classes, np.int32))

    @classmethod
    def none(cls, names: Iterable[str], model: str, width: int, height: int) -> Self:
        """Nothing found."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), tuple(names), model,
                   width, height)

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Detection]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Detection:
        """One object; negative indices count from the end. Raises IndexError."""
        x0, y0, x1, y1 = self.boxes[index].tolist()
        class_id = int(self.classes[index])
        track_id = int(self.track_ids[index]) or None if self.track_ids is not None else None
        return Detection((x0, y0, x1, y1), float(self.scores[index]), class_id, self.names[class_id], track_id)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Detections):
            return NotImplemented
        return self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def __repr__(self) -> str:
        shown = ", ".join(f"{item.name} {item.score:.2f}" for item in list(self)[:4])
        more = f", and {len(self) - 4} more" if len(self) > 4 else ""
        return f"<Detections of {self.model!r} in {self.width}x{self.height}: {shown or 'none'}{more}>"

    def keep(self, which: ArrayLike) -> Self:
        """Those that a boolean mask (N,) or a list of indices selects, in its order."""
        index = np.asarray(which)
        if index.size == 0 and index.dtype != np.bool_:
            index = index.astype(np.intp)
        if index.dtype == np.bool_ and index.shape != (len(self),):
            raise ValueError(f"mask of shape {index.shape}: expected ({len(self)},)")
        return replace(self, boxes=self.boxes[index], scores=self.scores[index], classes=self.classes[index],
                       track_ids=None if self.track_ids is None else self.track_ids[index])

    def above(self, score: float) -> Self:
        """Those with at least this score."""
        return self.keep(self.scores >= np.float32(score))

    def of(self, classes: str | int | Iterable[str | int]) -> Self:
        """Those of one or some classes, given by name or id. Raises ValueError for a class the model does not know."""
        return self.keep(np.isin(self.classes, class_ids(classes, self.names)))

    def scaled(self, width: int, height: int) -> Self:
        """The same objects in the same picture at another size."""
        factors = np.array([width / self.width, height / self.height] * 2)
        return replace(self, boxes=self.boxes * factors, width=width, height=height)

    def clipped(self) -> Self:
        """Boxes cut at the frame's edges; those that lie outside it altogether are gone."""
        edges = np.array([self.width, self.height] * 2, np.float32)
        boxes = np.clip(self.boxes, np.float32(0), edges)
        inside = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        return replace(self, boxes=boxes).keep(inside)

    def to_json(self) -> str:
        """One line of JSON; `from_json` gives the same value again, bit for bit."""
        objects = [
            {"box": [_shortest(side) for side in box], "score": _shortest(score), "class": int(class_id),
             "name": self.names[class_id]}
            for box, score, class_id in zip(self.boxes, self.scores, self.classes, strict=True)
        ]
        content = {"model": self.model, "width": self.width, "height": self.height, "names": list(self.names),
                   "objects": objects}
        if self.track_ids is not None:
            content["tracked"] = True
            for item, track_id in zip(objects, self.track_ids.tolist(), strict=True):
                item["track"] = track_id
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote. Raises ValueError that says what is wrong or missing."""
        content = json.loads(text)
        if not isinstance(content, dict):
            raise ValueError(f"detections in JSON: expected an object, found {type(content).__name__}")
        objects, names = _field(content, "objects", list), _field(content, "names", list)
        boxes, scores, classes, tracks = [], [], [], []
        tracked = "tracked" in content and _field(content, "tracked", bool)
        for index, item in enumerate(objects):
            if not isinstance(item, dict):
                raise ValueError(f"detections in JSON: object {index} is {type(item).__name__}, expected an object")
            box = _field(item, "box", list, f"object {index}: ")
            if len(box) != 4 or not all(isinstance(side, (int, float)) and not isinstance(side, bool) for side in box):
                raise ValueError(f"detections in JSON: object {index}: box {box!r}, expected four numbers")
            boxes.append(box)
            scores.append(_field(item, "score", (int, float), f"object {index}: "))
            classes.append(_field(item, "class", int, f"object {index}: "))
            tracks.append(_field(item, "track", int, f"object {index}: ") if tracked else 0)
        try:
            arrays: tuple[Any, Any, Any] = (np.array(boxes, np.float64).reshape(-1, 4), np.array(scores, np.float64),
                                            np.array(classes, np.int64))
            return cls(boxes=arrays[0], scores=arrays[1], classes=arrays[2], names=tuple(names),
                       model=_field(content, "model", str), width=_field(content, "width", int),
                       height=_field(content, "height", int),
                       track_ids=np.array(tracks, np.int64) if tracked else None)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"detections in JSON: {error}") from None

    def _identity(self) -> tuple[Any, ...]:
        return (self.model, self.names, self.width, self.height, self.boxes.tobytes(), self.scores.tobytes(),
                self.classes.tobytes(), None if self.track_ids is None else self.track_ids.tobytes())


def class_ids(classes: str | int | Iterable[str | int], names: tuple[str, ...]) -> list[int]:
    """Ids of classes given by name or id, one or several. Raises ValueError that names what the model knows."""
    wanted = [classes] if isinstance(classes, (str, int)) else list(classes)
    found: list[int] = []
    for item in wanted:
        if isinstance(item, str) and item in names:
            found += [index for index, name in enumerate(names) if name == item]
        elif isinstance(item, (int, np.integer)) and not isinstance(item, bool) and 0 <= item < len(names):
            found.append(int(item))
        else:
            raise ValueError(f"class {item!r}: the model knows {len(names)} classes: {', '.join(names) or 'none'}")
    return found


def _checked_tracks(track_ids: NDArray[Any], count: int) -> NDArray[np.int64]:
    ids: NDArray[Any] = np.asarray(track_ids)
    if ids.shape != (count,):
        raise ValueError(f"track_ids of shape {ids.shape} beside {count} boxes: expected ({count},)")
    if count and not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"track_ids of dtype {ids.dtype}: expected integers")
    numbers, times = np.unique(ids[ids != 0], return_counts=True)
    if len(numbers) and (numbers[0] < 0 or times.max() > 1):
        wrong = numbers[0] if numbers[0] < 0 else numbers[np.argmax(times)]
        raise ValueError(f"track id {wrong}{'' if wrong < 0 else ' twice'}: expected each from 1 on once, or 0 for no "
                         "track")
    return _frozen(ids, np.int64)


def _frozen(array: NDArray[Any], dtype: type[np.generic]) -> NDArray[Any]:
    # Over bytes: nobody can make such an array writeable again. Adding 0 makes -0.0 and 0.0 one value.
    copy = np.asarray(array, dtype) + dtype(0)
    return np.frombuffer(copy.tobytes(), dtype).reshape(copy.shape)


def _shortest(value: np.float32) -> float:
    """The shortest decimal that reads back as the same float32."""
    return float(str(np.float32(value)))


def _field(content: dict[str, Any], key: str, kind: Any, where: str = "") -> Any:
    value = content.get(key)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        shown = "is missing" if key not in content else f"is {value!r}"
        raise ValueError(f"detections in JSON: {where}{key!r} {shown}")
    return value
