"""Profiles at another precision: proof that one shares with its base profile all that a stream depends on.

``duoview export`` writes a profile whose float networks have another precision beside the manifest of the profile it
was made of. Streams name the base, and either of the two decodes what the other encoded: exact networks, tables, and
the networks that make what is handed on from frame to frame are the same files, which is checked here, not believed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from duoview.errors import ProfileError
from duoview.golden import STATE_NETWORKS

#: Entries of a manifest that both have to have alike.
SHARED_ENTRIES = ("format", "name", "sizes", "shape", "state", "coder_tables", "tables", "golden", "texture",
                  "motion")


def shared_networks(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Networks of a manifest that no other precision may touch: exact ones, and those that make what is handed on."""
    return tuple(dict.fromkeys((*sorted(manifest["golden"]), *STATE_NETWORKS)))


def base_sha256(manifest: Mapping[str, Any], folder: Path) -> bytes | None:
    """The digest that streams name: that of the base's manifest, 32 bytes; None for a profile without a base.

    Raises ProfileError when the base's manifest is missing or another, and where this profile differs from it in
    anything that a stream depends on.
    """
    entry = manifest.get("base")
    if entry is None:
        return None
    where = folder / "profile.json"
    try:
        name, expected = str(entry["file"]), str(entry["sha256"])
        if name != Path(name).name or name in ("", ".."):
            raise ProfileError(f"{where}: its base is in {name!r}, expected a file in {folder}")
        raw = (folder / name).read_bytes()
        digest = hashlib.sha256(raw)
        if digest.hexdigest() != expected:
            raise ProfileError(f"{folder / name} has sha256 {digest.hexdigest()[:12]}..., the manifest says "
                               f"{expected[:12]}...; export the profile anew")
        base = json.loads(raw)
        if "base" in base:
            raise ProfileError(f"{folder / name}: is at another precision itself; export from its own base")
        differing = [key for key in SHARED_ENTRIES if manifest.get(key) != base.get(key)]
        for network in shared_networks(base):
            if manifest["networks"].get(network) != base["networks"][network]:
                differing.append(network)
    except ProfileError:
        raise
    except OSError as error:
        raise ProfileError(f"{where}: cannot read the manifest of its base ({error.strerror})") from None
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ProfileError(f"{where}: unusable base ({type(error).__name__}: {error})") from None
    if differing:
        raise ProfileError(f"{where}: differs from its base in {', '.join(differing)}, which streams depend on; "
                           "export the profile anew")
    return digest.digest()
