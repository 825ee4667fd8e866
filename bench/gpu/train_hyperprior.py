"""GPU backlog: train the learned baseline of `bench accuracy` (a scale hyperprior per lambda) on a CUDA device.

One call: installs compressai from wheels, trains, and writes a network per lambda to the output folder with a result
file. Networks that --resume holds are taken over and not trained again.

    python bench/gpu/train_hyperprior.py --pictures FOLDER --wheels WHEELS --out "$OUT" --steps 20000
    python bench/gpu/train_hyperprior.py --pictures FOLDER --out /tmp/dry --steps 3 --device cpu --batch 1 --patch 64 \
        --channels 8 12 --lambdas 0.01
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
    p.add_argument("--pictures", nargs="+", type=Path, required=True, help="folders of photographs")
    p.add_argument("--wheels", type=Path, help="folder of wheels to install first: compressai, av and what they need")
    p.add_argument("--resume", type=Path, help="folder of networks of an earlier run, its OUT/hyperprior")
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--lambdas", nargs="+", type=float, help="default: those of bench.accuracy.train_hyperprior")
    p.add_argument("--steps", type=int, default=20_000, help="of the first network; the others get a quarter")
    p.add_argument("--batch", type=int, default=16)
    p.add_argument("--patch", type=int, default=256)
    p.add_argument("--channels", nargs=2, type=int, default=(128, 192), metavar=("N", "M"))
    p.add_argument("--workers", type=int, default=12, help="processes that read pictures")
    p.add_argument("--device", default="cuda")
    return p


def main() -> int:
    options = parser()
    given = options.parse_args()
    networks = given.out / "hyperprior"
    earlier = sorted(given.resume.glob("*.pt")) if given.resume is not None else []
    if given.resume is not None and not earlier:
        options.error(f"--resume {given.resume}: no LAMBDA.pt in it; expected the folder hyperprior below an "
                      "earlier --out")
    networks.mkdir(parents=True, exist_ok=True)
    for path in earlier:
        shutil.copy(path, networks)
    began = time.time()
    with tempfile.TemporaryDirectory() as folder:
        environment = install(Path(folder, "site"), given.wheels, bench=True)
        command = [sys.executable, "-m", "bench.accuracy.train_hyperprior", "--pictures",
                   *(path.resolve() for path in given.pictures), "--out", networks.resolve(), "--steps",
                   str(given.steps), "--batch", str(given.batch), "--patch", str(given.patch), "--channels",
                   *map(str, given.channels), "--workers", str(given.workers), "--device", given.device]
        if given.lambdas:
            command += ["--lambdas", *map(str, given.lambdas)]
        code = subprocess.run(command, env=environment, cwd=folder).returncode
    result = {"script": "train_hyperprior", "exit": code, "steps": given.steps, "channels": list(given.channels),
              "device": given.device, "seconds": round(time.time() - began), "commit": commit(),
              "networks": sorted(path.name for path in networks.glob("*.pt"))}
    (given.out / "train_hyperprior.json").write_text(json.dumps(result, indent=1) + "\n")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
