"""The judges by name: detectors of bench/judges.py, the networks of bench/accuracy/networks/, or anybody's own file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import Any

import onnxruntime

from bench.accuracy.classification import ClassificationJudge
from bench.accuracy.detection import DetectionJudge
from bench.accuracy.judge import Judge
from bench.accuracy.landmarks import LandmarkJudge
from bench.accuracy.network import PictureNetwork, read_description
from bench.accuracy.segmentation import SegmentationJudge
from bench.judges import FLOOR, JUDGES, open_judge
from duoview.detectors import load

NETWORKS = {path.stem: path for path in sorted((Path(__file__).parent / "networks").glob("*.toml"))}
_JUDGES: dict[str, type[LandmarkJudge | SegmentationJudge | ClassificationJudge]] = {
    kind.task: kind for kind in (LandmarkJudge, SegmentationJudge, ClassificationJudge)}


def open_named(name: str, weights: Sequence[Path] = (), *, threads: int = 1, tracking: bool = False) -> Judge[Any]:
    """A judge by its name, its file in one of the folders `weights`; or by a file.

    Args:
        name: of JUDGES or NETWORKS; or a detector's file, its description beside it (docs/detectors.md), which never
            decides; or the .toml of a network of another task, which says itself whether it decides.
        weights: folders of networks.
        threads: of the network.
        tracking: detectors are judged by tracks too.

    Raises ValueError for a name that is nothing of these, FileNotFoundError, ModuleNotFoundError, and load()'s errors.
    """
    if name in NETWORKS or name.endswith(".toml"):
        path = NETWORKS.get(name, Path(name))
        if not path.is_file():
            raise ValueError(f"judge {name!r}: no such file")
        network = PictureNetwork(read_description(path, weights), threads=threads)
        return _JUDGES[network.description.task](network)
    if name in JUDGES:
        if not weights:
            raise ValueError(f"judge {name}: --weights, the folder of the networks, is needed")
        file, decides = JUDGES[name].file, JUDGES[name].decides
        folder = next((folder for folder in weights if (folder / file).is_file()), weights[0])
        path, detector = folder / file, open_judge(name, folder, threads=threads)
    else:
        path, decides = Path(name), False
        if not path.is_file():
            raise ValueError(f"judge {name!r}: expected one of {', '.join((*JUDGES, *NETWORKS))}, the file of a "
                             "detector, or the .toml of another network")
        detector = load(path, threads=threads, confidence=FLOOR)
    digest = hashlib.sha256()
    for part in (path, *(path.with_suffix(suffix) for suffix in (".bin", ".toml"))):
        if part.is_file():
            digest.update(part.read_bytes())
    version = f"{digest.hexdigest()[:12]}, {_runtime(path)}, from {FLOOR}, {detector.description!r}"
    if tracking:
        from bench.accuracy.tracking import packages

        version += f", {packages()}"
    return DetectionJudge(path.stem if name not in JUDGES else name, detector,
                          hashlib.sha256(version.encode()).hexdigest()[:16], decides=decides, tracking=tracking)


def _runtime(file: Path) -> str:
    if file.suffix == ".xml":
        return f"openvino {distribution_version('openvino')}"
    return f"onnxruntime {onnxruntime.__version__}"
