"""Writes texture_*.dv, streams with every option of the texture layer, and texture*.json: what stands in them.

    python tests/golden/make_texture.py

To be run only when the format is meant to change.
"""

from __future__ import annotations

import json
import runpy
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

HERE = Path(__file__).parent
STREAM = SimpleNamespace(**runpy.run_path(str(HERE / "texture_stream.py")))
REFERENCE = SimpleNamespace(**runpy.run_path(str(HERE.parent / "texture_reference.py")))


def main() -> None:
    """Write the files; what texture*.json tell is what the reference decoder says."""
    content: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in STREAM.NAMES:
            profile = STREAM.write_profile(Path(folder) / name, name)
            units = STREAM.stream(profile, name)
            data = STREAM.write(units, STREAM.motion_of(name))
            (HERE / f"texture_{name}.dv").write_bytes(data)
            reference = REFERENCE.Reference(profile.folder)
            content[name] = []
            for unit, frame in zip(units, STREAM.machine_frames(name), strict=True):
                reference.unit(unit, frame.decoded, frame.moved, frame.means)
                depths = [tile.depth for tile in reference.tiles]
                content[name].append({
                    "depths": depths, "map": reference.depth_map, "palettes": STREAM.digest(reference.palettes),
                    "nodes": STREAM.digest([tile.nodes for tile in reference.tiles], depths)})
            print(f"{name}: {len(data)} bytes")
    # A file that is frozen takes no more streams.
    for file in {STREAM.told_in(name) for name in STREAM.NAMES}:
        lines = [f' "{name}": [\n' + ",\n".join(f"  {json.dumps(unit)}" for unit in units) + "\n ]"
                 for name, units in content.items() if STREAM.told_in(name) == file]
        (HERE / file).write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
