"""The example of docs/export.md runs as it is printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from duoview.export.variant import write_fp32
from duoview.profile import Profile

TEXT = (Path(__file__).resolve().parent.parent / "docs" / "export.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_ten_lines_encode_and_decode_a_frame_with_onnxruntime_alone(tmp_path: Path) -> None:
    write_fp32(Profile("s"), tmp_path / "profile_fp32")
    check = "\nimport sys; print([name for name in sys.modules if name.partition('.')[0] == 'duoview'])"
    done = subprocess.run([sys.executable, "-c", EXAMPLE + check], cwd=tmp_path, capture_output=True, text=True,
                          env=os.environ | {"ORT_DISABLE_TELEMETRY": "1"})
    assert done.returncode == 0, done.stderr
    said, imported = done.stdout.splitlines()
    found = re.fullmatch(r"(\d+) coded symbols, ([\d.]+) dB", said)
    assert found and int(found[1]) > 500 and float(found[2]) > 33
    assert imported == "[]"


def test_the_example_has_ten_lines() -> None:
    statements = [line for line in EXAMPLE.splitlines() if not line.startswith(" ")]
    assert len(statements) == 10
