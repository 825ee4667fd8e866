"""duoview: a scalable video codec for machines and people.

``Encoder`` and ``Decoder`` turn frames into access units and back; ``open``, ``Graph`` and ``Stage`` come from
``duoview.plugins`` and are loaded when first used.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import Any

from duoview.captions import Caption
from duoview.decoder import Decoder
from duoview.decoder_stats import DecoderStats
from duoview.detections import Detection, Detections
from duoview.encoder import Encoder
from duoview.errors import (
    BackendUnavailableError,
    BitstreamError,
    ContainerError,
    DetectorError,
    Error,
    LimitError,
    ProfileError,
)
from duoview.events import Event
from duoview.findings import FrameFindings, detections_of, events_of
from duoview.frame_origin import FrameOrigin
from duoview.inner import InnerSettings
from duoview.profile import Profile
from duoview.texture import Depths, TextureSettings
from duoview.unit_origin import UnitOrigin

__version__ = version("duoview")

#: Names of the facade that live above this package: resolved on first use, so that imports still run downwards.
_ABOVE = {"open": "duoview.plugins.containers", "Graph": "duoview.plugins.graph", "Stage": "duoview.plugins.stage"}

__all__ = [
    "BackendUnavailableError",
    "BitstreamError",
    "Caption",
    "ContainerError",
    "Decoder",
    "DecoderStats",
    "Depths",
    "Detection",
    "Detections",
    "DetectorError",
    "Encoder",
    "Error",
    "Event",
    "FrameFindings",
    "FrameOrigin",
    "Graph",
    "InnerSettings",
    "LimitError",
    "Profile",
    "ProfileError",
    "Stage",
    "TextureSettings",
    "UnitOrigin",
    "detections_of",
    "events_of",
    "open",
]


def __getattr__(name: str) -> Any:
    if name in _ABOVE:
        return getattr(import_module(_ABOVE[name]), name)
    raise AttributeError(f"module 'duoview' has no attribute {name!r}")
