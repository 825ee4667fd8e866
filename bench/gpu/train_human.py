"""GPU backlog: train the human view's conditional denoiser on a CUDA device, going on from a checkpoint.

One call: builds the project from this checkout into a temporary folder, trains, and writes checkpoint, log and what the
networks change in the profile (the networks themselves, manifest, model card) to the output folder with a result file.

    python bench/gpu/train_human.py -i FOLDER --profile FOLDER --detector FILE --wheels WHEELS --out "$OUT" --minutes 8
    python bench/gpu/train_human.py -i FOLDER --out /tmp/dry --minutes 0.3 --device cpu --batch 2 --crop 64 \
        --channels 16,24,32 --blocks 1,1,1

The profile is ``s`` where none is given; from texture the denoiser can start where the profile has a texture layer.
What the machine lacks (av) is installed from ``--wheels`` (no network needed).
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
    p.add_argument("-i", dest="folders", action="append", type=Path, required=True, help="folder of images and videos")
    p.add_argument("--profile", type=Path, default=ROOT / "codec" / "profiles" / "s", help="what is trained for")
    p.add_argument("--detector", type=Path, help="network for captions; none without it")
    p.add_argument("--wheels", type=Path, help="folder of wheels to install first")
    p.add_argument("--resume", type=Path, help="human.pt of an earlier run")
    p.add_argument("--hold", nargs="+", default=["straigen_pedestrian", "abhishek_highway", "rfmanz_night_ir"])
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--minutes", type=float, default=8.0, help="with --resume those of that run included")
    p.add_argument("--batch", type=int, default=64)
    p.add_argument("--crop", type=int, default=256)
    p.add_argument("--channels", default="192,288,384")
    p.add_argument("--blocks", default="3,3,4")
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
            shutil.copy(given.resume, work / "human.pt")
        shutil.copytree(given.profile, profile)
        detector = ["--detector", given.detector.resolve()] if given.detector is not None else []
        sources = [word for source in given.folders for word in ("-i", source.resolve())]
        code = subprocess.run(
            [sys.executable, "-m", "duoview.models.human_command", *sources, "--profile", profile, *detector,
             "--hold", *given.hold, "--minutes", str(given.minutes), "--batch", str(given.batch),
             "--crop", str(given.crop), "--channels", given.channels, "--blocks", given.blocks,
             "--device", given.device, "--out", work.resolve()], env=environment, cwd=folder).returncode
        if code == 0:
            for name in ("denoiser.onnx", "caption.onnx", "profile.json", "MODEL_CARD.md"):
                if (profile / name).is_file():
                    shutil.copy(profile / name, given.out)
    result = {"script": "train_human", "exit": code, "minutes": given.minutes, "device": given.device,
              "seconds": round(time.time() - began), "commit": commit()}
    (given.out / "train_human.json").write_text(json.dumps(result, indent=1) + "\n")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
