"""Integer kernels with the same bytes on every path: entropy coding, counter-based noise, checksums.

Nothing in here knows about frames, layers or networks, and nothing imports more than numpy.
"""

from __future__ import annotations

from duoview.kernels.checksum import crc32c, crc32c_paths
from duoview.kernels.errors import BitstreamError, Error

__all__ = ["BitstreamError", "Error", "crc32c", "crc32c_paths"]
