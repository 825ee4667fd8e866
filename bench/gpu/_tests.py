"""Tests of the repository, run by pytest; what was skipped is listed with the reason and never counted as passed."""

from __future__ import annotations

import importlib.util
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _checkout import ROOT

#: All that touches CUDA: the kernels, the backends, pictures on a device, the engines, what doctor says.
CUDA = ("test_cuda_checkerboard", "test_cuda_loader", "test_cuda_motion", "test_cuda_order", "test_cuda_palette",
        "test_cuda_pictures", "test_cuda_planes", "test_cuda_rans", "test_cuda_shift", "test_cuda_texture",
        "test_cuda_windows", "test_device_pictures", "test_device_motion", "test_device_texture", "test_device_human",
        "test_device_frames", "test_hwaccel", "test_onnxruntime_cuda", "test_onnxruntime_graphs",
        "test_device_failures", "test_tensorrt_toolkit", "test_engine_files", "test_engines", "test_engines_command",
        "test_doctor", "train/test_torch_backend", "train/test_device_codec", "train/test_backend_matrix")
NEEDED = ("pytest", "hypothesis")


def command(names: Sequence[str], report: Path) -> list[str]:
    """What follows the interpreter. Raises FileNotFoundError for a test file that the checkout lacks."""
    files = [ROOT / "tests" / f"{name}.py" for name in names]
    for path in files:
        if not path.is_file():
            raise FileNotFoundError(f"{path.relative_to(ROOT)}: no such file of tests")
    return ["-m", "pytest", "-q", "-rs", "--import-mode=importlib", "-c", str(ROOT / "pyproject.toml"), "-p",
            "no:cacheprovider", f"--rootdir={ROOT}", f"--junitxml={report}", *map(str, files)]


def absent() -> list[str]:
    """Packages that the tests are run with, and that are not here."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def counted(report: Path) -> dict[str, Any]:
    """What a JUnit report says: how many tests passed, failed and were not run, the latter two by name with the reason.

    Raises ValueError where there is no report, as after a run that was ended.
    """
    try:
        cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    except (OSError, ElementTree.ParseError) as error:
        raise ValueError(f"pytest left no report ({type(error).__name__})") from None
    passed, failed, skipped = 0, {}, {}
    for case in cases:
        name = f"{case.get('classname', '')}::{case.get('name', '')}".removeprefix("tests.")
        wrong = [one for one in case if one.tag in ("failure", "error")]
        left = case.find("skipped")
        if wrong:
            failed[name] = (wrong[0].get("message") or wrong[0].text or "")[:500]
        elif left is not None:
            skipped[name] = (left.get("message") or "")[:300]
        else:
            passed += 1
    return {"passed": passed, "failed": len(failed), "skipped": len(skipped), "failures": failed, "not_run": skipped,
            "good": passed > 0 and not failed}
