"""``frame.opaque`` of a decoded frame: where its picture came from."""

from __future__ import annotations

from dataclasses import dataclass

from duoview.human import Provenance


@dataclass(frozen=True)
class FrameOrigin:
    """Where a picture came from.

    ``concealed``: it repeats an earlier picture, because its own data was damaged or lost. ``provenance``: how a
    generated view was made, None for the machine view and for a texture view of which nothing was sampled.
    ``generated_share``: of a human view, the share of this picture's detail that was generated, as
    `duoview.generated.generated_share` counts it; None for other views.
    """

    concealed: bool
    provenance: Provenance | None = None
    generated_share: float | None = None
