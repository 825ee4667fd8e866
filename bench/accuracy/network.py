"""Networks that judge and are no detectors: their description in a TOML file, and how pictures go through them."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from bench.accuracy.judge import version_of
from bench.accuracy.metric import TASKS
from bench.accuracy.squeezenet import SqueezeNet
from bench.accuracy.truth import POINTS
from duoview.backends import DescribedNetwork, open_backend
from duoview.detectors.preparation import PictureSampler, Preparation

Array = NDArray[np.float32]
#: The tasks that a description may have; a detector is described as docs/detectors.md says.
DESCRIBED = tuple(task for task in TASKS if task != "detection")


@dataclass(frozen=True)
class Description:
    """How a network is fed and read.

    task: one of DESCRIBED. file: of the network. decides: it was never trained on. margin, eyes: of landmarks, see
    `bench.accuracy.landmarks`.
    """

    name: str
    task: str
    file: Path
    preparation: Preparation
    decides: bool = False
    margin: float = 1.2
    eyes: tuple[int, int] = (36, 45)


def read_description(path: Path, weights: Iterable[Path] = ()) -> Description:
    """Read a description. Its network lies beside it, or in one of the folders `weights`.

    Raises ValueError that names the key, FileNotFoundError for a network that is nowhere.
    """
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        return _described(path, content, weights)
    except FileNotFoundError:
        raise
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None


def _described(path: Path, content: Mapping[str, Any], weights: Iterable[Path]) -> Description:
    task = content.get("task")
    if task not in DESCRIBED:
        raise ValueError(f"task = {task!r}: expected one of {', '.join(DESCRIBED)}; a detector is given by its "
                         "network's file")
    known: dict[str, tuple[type, ...]] = {"task": (str,), "network": (str,), "decides": (bool,), "input": (dict,)}
    if task == "landmarks":
        known |= {"margin": (int, float), "eyes": (list,)}
    for key, value in content.items():
        if key not in known:
            raise ValueError(f"no key {key!r}; there are {', '.join(known)}")
        if not isinstance(value, known[key]):
            words = " or ".join(kind.__name__ for kind in known[key])
            raise ValueError(f"{key} = {value!r}: expected a value of type {words}")
    if "network" not in content:
        raise ValueError("network is missing: write the name of its file")
    places = [folder / content["network"] for folder in (path.parent, *weights)]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise FileNotFoundError(f"judge {path.stem}: no {content['network']} in "
                                f"{', '.join(str(place.parent) for place in places)}; --weights takes its folder")
    preparation = _preparation(content.get("input", {}))
    eyes = content.get("eyes", [36, 45])
    if len(eyes) != 2 or not all(isinstance(at, int) and 0 <= at < POINTS for at in eyes) or eyes[0] == eyes[1]:
        raise ValueError(f"eyes = {eyes}: expected two different landmarks of 0 to {POINTS - 1}")
    margin = float(content.get("margin", 1.2))
    if not 0.5 <= margin <= 5:
        raise ValueError(f"margin = {margin}: expected 0.5 to 5")
    return Description(path.stem, task, file, preparation, content.get("decides", False), margin, (eyes[0], eyes[1]))


def _preparation(table: Mapping[str, Any]) -> Preparation:
    names = [field.name for field in fields(Preparation)]
    for key in table:
        if key not in names:
            raise ValueError(f"no key 'input.{key}'; there are {', '.join(names)}")
    given: dict[str, Any] = {"layout": "nchw"}
    try:
        given |= {key: tuple(map(float, value)) if isinstance(value, list) else value for key, value in table.items()}
        made = Preparation(**given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"input: {error}") from None
    if not made.width or not made.height or (made.fit, made.layout) != ("stretch", "nchw"):
        raise ValueError("input: width and height are needed, fit and layout are stretch and nchw for these tasks")
    return made


class PictureNetwork:
    """Pictures in, one output each. version: a digest of its weights and of how it is fed."""

    def __init__(self, description: Description, *, threads: int = 1) -> None:
        self.description = description
        self.version = version_of([description.file], description.preparation, description.margin, description.eyes)
        self._sampler = PictureSampler(description.preparation, np.float32)
        self._run = _opened(description.file, threads)

    def __call__(self, frame: av.VideoFrame) -> Array:
        """The output for one frame, without the batch. Raises ValueError when the network cannot take it."""
        tensor = self._sampler.empty(1)
        self._sampler.fill(tensor[0], frame)
        return self._run(tensor)


def _opened(file: Path, threads: int) -> Callable[[Array], Array]:
    if file.suffix == ".npz":
        arrays = SqueezeNet(file)
        return lambda tensor: arrays(tensor[0])
    network = open_backend("cpu", threads).load(file)
    if not isinstance(network, DescribedNetwork) or len(network.signature.inputs) != 1:
        raise ValueError(f"{file}: expected a network of one input, pictures")
    name = network.signature.inputs[0].name
    return lambda tensor: network(**{name: tensor})[0][0]
