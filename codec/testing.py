"""The rules that every stage must keep, under the name that those who write stages type: ``duoview.testing``.

They stand in ``duoview.plugins.testing``, beside what they need of stages, and are resolved on first use, so that
imports still run downwards.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from duoview.plugins.testing import StageConformance, check_stage, looked_at, picture

__all__ = ["StageConformance", "check_stage", "looked_at", "picture"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("duoview.plugins.testing"), name)
    raise AttributeError(f"module 'duoview.testing' has no attribute {name!r}")
