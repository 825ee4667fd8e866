"""Writes the golden noise: ``python tests/golden/make_noise.py`` (anywhere, duoview installed).

Run it only when generated pictures are meant to change; tests/test_noise.py then shows that they do.
"""

from __future__ import annotations

from pathlib import Path

from duoview.kernels import noise


def main() -> None:
    values = noise.normals(0x0123456789ABCDEF, stream=7, offset=(1 << 34) + 5, count=257, path="scalar")
    Path(__file__).resolve().with_name("noise_normals.bin").write_bytes(values.astype("<f4").tobytes())


if __name__ == "__main__":
    main()
