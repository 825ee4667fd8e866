"""GPU backlog: train profile ``s`` on a CUDA device, as long as the given minutes allow, going on from a checkpoint.

One call: builds the project from this checkout into a temporary folder, trains the three stages, writes the profile,
its curves and its checkpoints to the output folder with a result file.

    python bench/gpu/train_profile.py --data FOLDER [--data FOLDER] --out "$OUT" --minutes 6,2,1.5
    python bench/gpu/train_profile.py --data FOLDER --out /tmp/dry --minutes 0.05,0.05,0.05 --device cpu   # dry run

What the machine lacks (av) is installed from ``--wheels FOLDER`` (no network needed).
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

from _checkout import commit, install


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", action="append", required=True, help="folder of images and videos")
    p.add_argument("--wheels", type=Path, help="folder of wheels to install first")
    p.add_argument("--resume", type=Path, help="folder with still.pt, inter.pt, denoiser.pt of an earlier run")
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--minutes", default="6,2,1.5", help="of the three stages, with --resume those of that run included")
    p.add_argument("--device", default="cuda")
    p.add_argument("--workers", type=int, default=12)
    return p


def main() -> int:
    options = parser().parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    began = time.time()
    with tempfile.TemporaryDirectory() as folder:
        site, work = Path(folder, "site"), Path(folder, "runs")
        environment = install(site, options.wheels)
        if options.resume is not None:
            shutil.copytree(options.resume, work)
        workers = options.workers if options.device.startswith("cuda") else 0
        sources = [part for data in options.data for part in ("-i", data)]
        command = [sys.executable, "-m", "duoview.pipelines", "train", *sources, "-work", str(work), "-minutes",
                   options.minutes, "-device", options.device, "-workers", str(workers), str(Path(folder, "profile"))]
        code = subprocess.run(command, env=environment, cwd=folder).returncode
        for path in [*work.glob("*.pt"), *work.glob("*.jsonl")]:
            shutil.copy(path, options.out)
        if code == 0:
            # One archive: what may be brought back is limited in files, not in kinds.
            shutil.make_archive(str(options.out / "profile"), "gztar", Path(folder, "profile"))
        version = [sys.executable, "-c", "import torch; print(torch.__version__, torch.cuda.get_device_name()"
                   " if torch.cuda.is_available() else 'cpu')"]
        torch_device = subprocess.run(version, capture_output=True, text=True, env=environment).stdout.strip()
    result = {"script": "train_profile", "exit": code, "minutes": options.minutes,
              "seconds": round(time.time() - began), "torch": torch_device, "commit": commit()}
    (options.out / "train_profile.json").write_text(json.dumps(result, indent=1) + "\n")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
