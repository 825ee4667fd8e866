"""``dv_encode`` of pipelines that run: no frame waits for others, since a crash would take all that wait with it."""

from __future__ import annotations

from typing import ClassVar

from duoview.plugins.filters.dv_encode import Encode


class LiveEncode(Encode):
    """Encode frames for machines: every frame becomes an access unit at once, unless latency=full is asked for."""

    latency: ClassVar[str] = "zero"
