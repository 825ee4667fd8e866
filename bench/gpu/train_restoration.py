"""GPU backlog: train the restoration network of the inner codec on a CUDA device, going on from a checkpoint.

One call: builds the project from this checkout into a temporary folder, trains, and writes checkpoint, log and what the
network changes in profile ``s`` (the network itself, manifest, model card) to the output folder with a result file.

    python bench/gpu/train_restoration.py --videos FOLDER --weights FOLDER --wheels WHEELS --out "$OUT" --minutes 8
    python bench/gpu/train_restoration.py --videos FOLDER --weights FOLDER --out /tmp/dry --minutes 0.2 --device cpu \
        --batch 2 --crop 96

``--weights`` holds yolox_nano_416.onnx and FastestDet_352.onnx. What the machine lacks (av) is installed from
``--wheels`` (no network needed).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _checkout import ROOT, commit, install


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--videos", type=Path, required=True, help="folder of videos")
    p.add_argument("--weights", type=Path, required=True, help="folder of the detectors")
    p.add_argument("--wheels", type=Path, help="folder of wheels to install first")
    p.add_argument("--resume", type=Path, help="restoration.pt of an earlier run")
    p.add_argument("--hold", nargs="+", default=["straigen_pedestrian", "abhishek_highway", "rfmanz_night_ir"])
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--minutes", type=float, default=8.0, help="with --resume those of that run included")
    p.add_argument("--batch", type=int, default=64)
    p.add_argument("--crop", type=int, default=256)
    p.add_argument("--device", default="cuda")
    return p


def main() -> int:
    given = parser().parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    began = time.time()
    with tempfile.TemporaryDirectory() as folder:
        site, profile, work = Path(folder, "site"), Path(folder, "profile"), given.out / "run"
        environment = install(site, given.wheels)
        work.mkdir(exist_ok=True)
        if given.resume is not None:
            shutil.copy(given.resume, work / "restoration.pt")
        shutil.copytree(ROOT / "codec" / "profiles" / "s", profile)
        code = subprocess.run(
            [sys.executable, "-m", "duoview.models.restoration_command", "--videos", given.videos.resolve(),
             "--yolox", (given.weights / "yolox_nano_416.onnx").resolve(),
             "--fastestdet", (given.weights / "FastestDet_352.onnx").resolve(), "--hold", *given.hold,
             "--minutes", str(given.minutes), "--batch", str(given.batch), "--crop", str(given.crop),
             "--qualities", "0", "40", "--report", "120", "--device", given.device, "--profile", profile,
             "--out", work.resolve()], env=environment, cwd=folder).returncode
        if code == 0:
            for name in ("restoration.onnx", "profile.json", "MODEL_CARD.md"):
                shutil.copy(profile / name, given.out)
    result = {"script": "train_restoration", "exit": code, "minutes": given.minutes, "device": given.device,
              "seconds": round(time.time() - began), "commit": commit()}
    (given.out / "train_restoration.json").write_text(json.dumps(result, indent=1) + "\n")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
