"""``hwaccel`` of the stages that code: pictures are made and coded on a device, and what that has not is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .errors import OptionError

#: What a stage has that does not say one; and ``cpu`` stands in for a device, lane by lane: to test graphs with.
OF_PROGRAM = "auto"
HWACCELS = (OF_PROGRAM, "none", "cuda", "cpu")
HWACCEL_HELP = ("a frame's whole way on a device: none, there are networks alone; cuda; cpu, which stands in for it in "
                "tests; auto: as the program says, else none")


@dataclass(frozen=True)
class HostOnly:
    """An option that the host alone can follow: the values that a device can follow too, and why not others."""

    able: tuple[Any, ...]
    reason: str


_NETWORKS = HostOnly(("cpu", "auto", "cuda"), "networks run where pictures lie")
#: Of ``dv_encode`` and ``duoview encode``, by the names that both have for them.
OF_ENCODERS = {
    "machine": HostOnly(("neural", "auto"), "standard codecs, and packets that are copied, have no pictures there"),
    "device": _NETWORKS,
    "seeds": HostOnly((0,), "they are tried on the host"),
    "simplify": HostOnly(("auto", "off", "detections"), "its network looks at frames of the host"),
    "texture_guide": HostOnly(("off",), "it looks at frames of the host"),
    "texture_roi": HostOnly(("",), "which regions go deeper is decided on the host"),
}
#: Of the stages of views and ``duoview decode``.
OF_VIEWS = {
    "device": _NETWORKS,
    "restore": HostOnly(("auto", "off"), "it belongs to inner streams, which are decoded on the host"),
    "text": HostOnly(("",), "latent diffusion models run on the host"),
    "detector": HostOnly(("",), "detectors look at frames of the host"),
}


def check_host_only(given: Mapping[str, Any], table: Mapping[str, HostOnly], written: Callable[[str, Any], str],
                    instead: str) -> None:
    """Refuse options that a device cannot follow.

    written: how the user wrote a name and its value. instead: how the host is asked for.

    Raises OptionError naming the option, why, and what would be right.
    """
    for name, one in table.items():
        if name in given and given[name] not in one.able:
            able = " or ".join(written(name, value) for value in one.able if value != "") or "it left out"
            raise OptionError(f"{written(name, given[name])}: {one.reason}; expected {able}, or {instead}")
