"""``-hwaccel cuda``: what of the command line a frame's whole way on a GPU has not, and which frames stay there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import av

from duoview.plugins.hwaccel import OF_ENCODERS, OF_VIEWS, HostOnly, check_host_only

from .errors import MediaError, UsageError
from .options import CommandOption, Scope, one_of

HWACCEL_OPTION = CommandOption("hwaccel", "name", "pictures are made and coded on a GPU, and stay there: none, cuda "
                               "(none)", Scope.INPUT, one_of("none", "cuda"))
#: Format of frames that stay on the GPU, as -pix_fmt names it.
HELD = "cuda"
#: Encoders of PyAV that take them.
NVENC = frozenset(("h264_nvenc", "hevc_nvenc", "av1_nvenc"))
_NO_DETECTOR = "no -vf with a dv_detect goes before it"
_ENCODE = {**OF_ENCODERS, "simplify": HostOnly(("auto", "off"), _NO_DETECTOR)}


def check_encode(given: Mapping[str, Any], filters: str, rate: Any) -> None:
    """Refuse options of ``encode`` that need frames of the host. given: values by the names of dv_encode's options.

    filters, rate: of the output. Raises UsageError or OptionError naming the option and what would be right.
    """
    check_host_only(given, _ENCODE, _written, "no -hwaccel cuda")
    if given.get("caption") == "auto":
        raise UsageError(f"-caption auto: {_NO_DETECTOR}; expected a text or none, or no -hwaccel cuda")
    for name, value in (("vf", filters), ("r", rate)):
        if value:
            raise UsageError(f"-{name} {value}: filters work on frames of the host; expected no -{name} before the "
                             "output, or no -hwaccel cuda")


def check_frame(frame: av.VideoFrame, turn: str, name: str) -> None:
    """Refuse an input by its first frame, which has to lie on the GPU. turn: filters that turn it upright.

    Raises MediaError where it lies on the host, UsageError where it is to be turned.
    """
    if frame.format.name != HELD:
        raise MediaError(f"{name}: its frames are {frame.format.name}, on the host: NVDEC decodes another stream of "
                         "it; expected another -map, or no -hwaccel")
    if turn:
        raise UsageError(f"{name}: its pictures are to be turned ({turn}), which filters do on frames of the host; "
                         "expected -noautorotate before -i, or no -hwaccel")


def check_decode(given: Mapping[str, Any]) -> None:
    """Refuse options of ``decode`` that need the host. given: values by the names of the stages' options.

    Raises OptionError naming the option and what would be right.
    """
    check_host_only(given, OF_VIEWS, _written, "no -hwaccel cuda")


def _written(name: str, value: Any) -> str:
    return f"-{name} {value}"


def stays(codec: str | None, pixel_format: str | None, filters: str, rate: Any, *, hwaccel: bool) -> bool:
    """Whether frames of a view go to the encoder where they are made, without a copy to the host.

    So it is with an encoder of NVENC and nothing in between. Raises UsageError where -pix_fmt asks for it in vain.
    """
    possible = hwaccel and codec in NVENC and not filters and rate is None
    if pixel_format == HELD and not possible:
        raise UsageError(f"-pix_fmt {HELD}: frames stay on the GPU with -hwaccel cuda, -c:v "
                         f"{' or '.join(sorted(NVENC))} and neither -vf nor -r; expected all of it, or another format")
    return possible and pixel_format in (None, HELD)
