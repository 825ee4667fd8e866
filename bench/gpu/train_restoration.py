"""GPU backlog: train the restoration network of the inner codec on a CUDA device, going on from a checkpoint.

One call: builds the project from this checkout into a temporary folder, trains, and writes checkpoint and log
(``OUT/run``), what the network changes in the profile (``OUT/profile``) and a result file to the output folder.

    python bench/gpu/train_restoration.py --videos FOLDER --weights FOLDER --wheels WHEELS --out "$OUT" --minutes 8
    python bench/gpu/train_restoration.py --videos FOLDER --weights FOLDER --out /tmp/dry --minutes 0.2 --device cpu \
        --batch 2 --crop 96

``--weights`` holds yolox_nano_416.onnx and FastestDet_352.onnx. What the machine lacks (av) is installed from
``--wheels`` (no network needed).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from _training import FASTESTDET, YOLOX, add_options, network, train


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--videos", type=Path, required=True, help="folder of videos")
    p.add_argument("--weights", type=Path, required=True, help="folder of the detectors")
    p.add_argument("--minutes", type=float, default=8.0, help="with --resume those of that run included")
    p.add_argument("--batch", type=int, default=64)
    p.add_argument("--crop", type=int, default=256)
    add_options(p)
    return p


def main() -> int:
    given = parser().parse_args()
    yolox, fastestdet = (network(given.weights, name) for name in (YOLOX, FASTESTDET))

    def words(profile: Path) -> Sequence[object]:
        return ["--videos", given.videos.resolve(), "--yolox", yolox, "--fastestdet", fastestdet, "--minutes",
                given.minutes, "--batch", given.batch, "--crop", given.crop, "--qualities", 0, 40, "--report", 120,
                "--profile", profile]

    return train("train_restoration", given, "duoview.models.restoration_command", words)


if __name__ == "__main__":
    raise SystemExit(main())
