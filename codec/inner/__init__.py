"""The inner machine codec: a standard codec (H.264, HEVC, AV1, through PyAV) inside our access units."""

from duoview.inner.decoder import InnerDecoder
from duoview.inner.encoder import InnerEncoder
from duoview.inner.settings import InnerCodec, InnerSettings

__all__ = ["InnerCodec", "InnerDecoder", "InnerEncoder", "InnerSettings"]
