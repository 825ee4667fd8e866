"""What has to be known of a detector beside its network, and the TOML file that says so. See docs/detectors.md."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duoview.detectors.coco import COCO
from duoview.detectors.family import Family
from duoview.detectors.fastestdet import FastestDet
from duoview.detectors.picodet import NanoDet, PicoDet
from duoview.detectors.preparation import Preparation
from duoview.detectors.ssd import Ssd
from duoview.detectors.yolov5 import YoloV5
from duoview.detectors.yolov8 import YoloV8
from duoview.detectors.yolox import YoloX
from duoview.errors import DetectorError, DetectorNotFoundError

FAMILIES: tuple[type[Family], ...] = (YoloX, PicoDet, NanoDet, FastestDet, YoloV8, YoloV5, Ssd)
#: Longer files are no descriptions.
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Description:
    """How a network is fed and read.

    family: how outputs become boxes, with what may vary in it. preparation: how pictures become inputs; None takes the
    family's. classes: the class names, by class id; empty takes COCO's where the network has 80 classes, and numbers
    otherwise. model: its name; empty takes the file's. confidence, iou: thresholds, 0 to 1; None takes the family's.
    outputs: names of the network's outputs in the order in which the family reads them; empty takes the file's order.
    limit: objects of one frame, at most.
    """

    family: Family
    preparation: Preparation | None = None
    classes: tuple[str, ...] = ()
    model: str = ""
    confidence: float | None = None
    iou: float | None = None
    outputs: tuple[str, ...] = ()
    limit: int = 300

    def __post_init__(self) -> None:
        for name in ("confidence", "iou"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name}={value}: expected 0 to 1")
        if not 1 <= self.limit <= 100_000:
            raise ValueError(f"limit={self.limit}: expected 1 to 100000")


def family_named(name: str) -> type[Family]:
    """The family of this name. Raises DetectorError with the nearest that exists."""
    for family in FAMILIES:
        if family.name == name:
            return family
    names = [family.name for family in FAMILIES]
    raise DetectorError(f"no family {name!r}{_nearest(name, names)}; there are {', '.join(names)}")


def read_description(path: Path) -> Description:
    """Read a description file. Raises DetectorNotFoundError, or DetectorError that names the key."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise DetectorNotFoundError(f"{path}: no such description file") from None
    except OSError as error:
        raise DetectorError(f"{path}: cannot be read: {error.strerror}") from error
    if len(raw) > _MAX_BYTES:
        raise DetectorError(f"{path}: {len(raw)} bytes; a description has at most {_MAX_BYTES}")
    try:
        return parse_description(tomllib.loads(raw.decode()))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DetectorError(f"{path}: not a TOML file: {error}") from error
    except DetectorError as error:
        raise DetectorError(f"{path}: {error}") from None


def parse_description(content: Mapping[str, Any]) -> Description:
    """A description from the content of its file. Raises DetectorError that names the key."""
    known = ("family", "model", "classes", "outputs", "input", "decoding", "thresholds")
    _check_keys(content, known, "")
    name = content.get("family")
    if not isinstance(name, str):
        names = ", ".join(f'"{family.name}"' for family in FAMILIES)
        raise DetectorError(f"family = {name!r}: expected one of {names}" if "family" in content else
                            f"family is missing: write one of {names}")
    kind = family_named(name)
    family = _build(kind, kind(), _table(content, "decoding"), "decoding.")
    preparation = _build(Preparation, kind.preparation, _table(content, "input"), "input.")
    classes = content.get("classes", ())
    if classes == "coco":
        classes = COCO
    elif isinstance(classes, str):
        raise DetectorError(f'classes = "{classes}": expected a list of names, or "coco"')
    thresholds = _table(content, "thresholds")
    _check_keys(thresholds, ("confidence", "iou", "limit"), "thresholds.")
    values = {
        "model": _value(str, content.get("model", ""), "model"),
        "classes": _value(tuple[str, ...], classes, "classes"),
        "outputs": _value(tuple[str, ...], content.get("outputs", ()), "outputs"),
    }
    for key, wanted in (("confidence", float), ("iou", float), ("limit", int)):
        if key in thresholds:
            values[key] = _value(wanted, thresholds[key], f"thresholds.{key}")
    try:
        return Description(family, preparation, **values)
    except ValueError as error:
        raise DetectorError(f"thresholds.{error}") from None


def _build(kind: type[Any], defaults: Any, table: Mapping[str, Any], where: str) -> Any:
    """A frozen dataclass with the values of a table over its defaults."""
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    _check_keys(table, names, where)
    values = {key: _value(hints[key], value, where + key) for key, value in table.items()}
    try:
        return dataclasses.replace(defaults, **values)
    except ValueError as error:
        raise DetectorError(f"{where}{error}") from None


def _value(kind: Any, value: Any, where: str) -> Any:
    """A TOML value as the type of a field: int, float, str or a tuple of one of these."""
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)[0]
        if not isinstance(value, (list, tuple)):
            raise DetectorError(f"{where} = {value!r}: expected a list")
        return tuple(_value(inner, item, f"{where}[{index}]") for index, item in enumerate(value))
    words = {int: "a whole number", float: "a number", str: "a text"}
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or isinstance(value, bool):
        raise DetectorError(f"{where} = {value!r}: expected {words[kind]}")
    return kind(value)


def _table(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = content.get(name, {})
    if not isinstance(table, Mapping):
        raise DetectorError(f"{name} = {table!r}: expected a table, [{name}]")
    return table


def _check_keys(content: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    known = list(known)
    for key in content:
        if key not in known:
            raise DetectorError(f"no key {where + key!r}{_nearest(key, known)}; there are {', '.join(known)}")


def _nearest(word: str, words: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(words), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
