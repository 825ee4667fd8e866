"""Writes texture.json: texture sections of made-up frames for every option, and digests of the nodes they stand for.

    python tests/golden/make_texture.py

To be run only when the format is meant to change.
"""

from __future__ import annotations

import json
import runpy
import tempfile
from pathlib import Path
from types import SimpleNamespace

HERE = Path(__file__).parent
STREAM = SimpleNamespace(**runpy.run_path(str(HERE / "texture_stream.py")))
REFERENCE = SimpleNamespace(**runpy.run_path(str(HERE.parent / "texture_reference.py")))


def main() -> None:
    """Write the file; the digests are those of the reference decoder."""
    content = {}
    with tempfile.TemporaryDirectory() as folder:
        profile = STREAM.FILES.write_profile(Path(folder) / "profile")
        for name, settings in STREAM.OPTIONS.items():
            reference = REFERENCE.Reference(profile.folder, STREAM.WIDTH, STREAM.HEIGHT, settings.tile_log2)
            units = []
            for frame, sections in zip(STREAM.machine_frames(), STREAM.encode(profile, name), strict=True):
                texture = {(one.sub_index >> 16, one.sub_index & 65535): one.payload
                           for one in sections if one.type == 17}
                reference.unit(texture, frame.decoded, frame.moved, STREAM.Q, frame.key)
                units.append({"sections": [[int(one.type), one.sub_index, one.payload.hex()] for one in sections],
                              "nodes": STREAM.digest([tile.nodes for tile in reference.tiles],
                                                     [tile.depth for tile in reference.tiles])})
            content[name] = units
    (HERE / "texture.json").write_text(json.dumps(content, indent=1) + "\n")
    print({name: sum(len(s[2]) // 2 for unit in units for s in unit["sections"]) for name, units in content.items()})


if __name__ == "__main__":
    main()
