"""The judges of `bench accuracy`: four detectors, how each is fed, and what each finds on clips with ground truth.

    python -m bench.judges --weights FOLDER --clips FOLDER [--judges picodet yolox ...] [--out FILE]

The networks are no part of the repository; --weights is where their files lie. Prints average precision of persons on
every clip that has MOT15 ground truth beside it (NAME.mp4 and NAME.gt.txt), and CPU time of one frame at 640x360 on one
thread, its preparation and suppression included.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import av

from bench.average_precision import AveragePrecision, average_precision, read_mot
from duoview.detectors import Description, Detector, FastestDet, PicoDet, Ssd, YoloX, load

#: Scores from which detections are taken for curves: low, so that recall is not cut off.
FLOOR = 0.05


@dataclass(frozen=True)
class Judge:
    """A detector that judges codecs: its file, how it is read, and whether it may decide (never trained on)."""

    file: str
    description: Description
    decides: bool


# Suppression is milder than in use, as in the detectors' own evaluations: curves want every object of a crowd.
JUDGES: dict[str, Judge] = {
    "picodet": Judge("picodet_s_416_coco.onnx", Description(PicoDet(), model="PicoDet-S"), True),
    "crossroad": Judge("person-vehicle-bike-crossroad-0078.xml",
                       Description(Ssd(), classes=("person", "vehicle", "bike"), model="crossroad-0078"), True),
    "yolox": Judge("yolox_nano_416.onnx", Description(YoloX(), model="YOLOX-nano", iou=0.65), False),
    "fastestdet": Judge("FastestDet_352.onnx", Description(FastestDet(), model="FastestDet", iou=0.6), False),
}


@dataclass(frozen=True)
class Verdict:
    """Average precision of persons on one clip."""

    judge: str
    clip: str
    ap50: float
    ap75: float
    ap50_95: float


@dataclass(frozen=True)
class Pace:
    """CPU milliseconds of one frame at 640x360 on one thread, the least of several."""

    judge: str
    milliseconds: float


def open_judge(name: str, weights: Path, *, threads: int = 1, confidence: float = FLOOR) -> Detector:
    """Load a judge. Raises ValueError for a name that is none, and load()'s errors."""
    if name not in JUDGES:
        raise ValueError(f"judge {name!r}: expected one of {', '.join(JUDGES)}")
    judge = JUDGES[name]
    return load(weights / judge.file, description=judge.description, threads=threads, confidence=confidence)


def judge_clip(detector: Detector, clip: Path) -> AveragePrecision:
    """Average precision of persons on a clip against the ground truth beside it."""
    with av.open(str(clip)) as container:
        found = [detector([frame])[0] for frame in container.decode(video=0)]
    return average_precision(found, read_mot(clip.with_suffix(".gt.txt"), len(found)), classes=("person",))


def pace(detector: Detector, clip: Path, repeats: int = 15) -> float:
    """Least CPU milliseconds of one frame at 640x360."""
    with av.open(str(clip)) as container:
        frame = next(container.decode(video=0)).reformat(width=640, height=360, format="yuv420p")
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        detector([frame])
        times.append(time.process_time() - begin)
    return 1000 * min(times)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.judges", description="what the judges find in uncoded clips")
    parser.add_argument("--weights", type=Path, required=True, help="folder of the networks")
    parser.add_argument("--clips", type=Path, required=True, help="folder of NAME.mp4 with NAME.gt.txt beside it")
    parser.add_argument("--judges", nargs="+", choices=tuple(JUDGES), default=tuple(JUDGES))
    parser.add_argument("--out", type=Path, help="write the numbers there as JSON")
    wanted = parser.parse_args(arguments)
    clips = sorted(path for path in wanted.clips.glob("*.mp4") if path.with_suffix(".gt.txt").is_file())
    if not clips:
        parser.error(f"--clips {wanted.clips}: no NAME.mp4 with a NAME.gt.txt beside it")
    verdicts, paces = [], []
    for name in wanted.judges:
        detector = open_judge(name, wanted.weights)
        for clip in clips:
            result = judge_clip(detector, clip)
            verdicts.append(Verdict(name, clip.stem, result.ap50, result.ap75, result.ap50_95))
            print(f"{name:<11} {clip.stem:<16} AP50 {result.ap50:.3f}  AP75 {result.ap75:.3f}  "
                  f"AP50:95 {result.ap50_95:.3f}", flush=True)
        paces.append(Pace(name, pace(detector, clips[0])))
        print(f"{name:<11} {paces[-1].milliseconds:.1f} ms a frame of 640x360, one thread", flush=True)
    if wanted.out is not None:
        wanted.out.write_text(json.dumps({"verdicts": [asdict(item) for item in verdicts],
                                          "paces": [asdict(item) for item in paces]}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
