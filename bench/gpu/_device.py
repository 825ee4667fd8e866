"""The machine a result is of: GPU, driver and versions, as a program in the measurement's environment sees them."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("duoview", "numpy", "torch", "onnx", "onnxruntime", "onnxruntime-gpu", "tensorrt", "pycuda", "cupy-cuda13x",
            "av", "pytest")


def _said(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip().splitlines()[-1].strip() if done.returncode == 0 and done.stdout.strip() else ""


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    nvcc = shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
    found["nvcc"] = _said([nvcc, "--version"]) if nvcc else "absent"
    return found


def seen() -> dict[str, Any]:
    """GPU, driver and versions here. gpu is ``none: REASON`` where torch finds none."""
    found: dict[str, Any] = {"gpu": "none: torch is absent", "driver": "none", "cpu": platform.machine(),
                             "cores": len(os.sched_getaffinity(0)), "system": platform.platform(),
                             "versions": _versions()}
    smi = shutil.which("nvidia-smi")
    if smi is not None:
        found["driver"] = _said([smi, "--query-gpu=driver_version", "--format=csv,noheader"]) or "nvidia-smi gives none"
    names = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
             if line.startswith("model name")] if Path("/proc/cpuinfo").is_file() else []
    found["cpu"] = names[0] if names else found["cpu"]
    if found["versions"]["torch"] == "absent":
        return found
    import torch

    if not torch.cuda.is_available():
        found["gpu"] = f"none: torch {torch.__version__} finds no CUDA device"
        return found
    properties = torch.cuda.get_device_properties(0)
    found |= {"gpu": properties.name, "capability": f"{properties.major}.{properties.minor}",
              "multiprocessors": properties.multi_processor_count,
              "memory_gib": round(properties.total_memory / 2**30, 1), "cuda_of_torch": torch.version.cuda,
              "cudnn_of_torch": torch.backends.cudnn.version()}
    return found


def describe(environment: dict[str, str] | None) -> dict[str, Any]:
    """The same, of a Python that is started with ``environment``; {"problem": ...} where it cannot say."""
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, env=environment)
    try:
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        return {"problem": f"exit {done.returncode}: {(done.stdout + done.stderr)[-500:]}"}
    return found


if __name__ == "__main__":
    print(json.dumps(seen()))
