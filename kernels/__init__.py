"""Integer kernels with the same bytes on every path: entropy coding, palettes, counter-based noise, checksums, motion.

Nothing in here knows about frames, layers or networks, and nothing imports more than numpy.
"""

from __future__ import annotations

from duoview.kernels import checkerboard, noise, palette, rans
from duoview.kernels.checksum import crc32c, crc32c_paths
from duoview.kernels.errors import BitstreamError, DeviceError, Error
from duoview.kernels.latent_error import picture_error, picture_gain
from duoview.kernels.motion import VectorPrices, block_motion, choose_motion, luma
from duoview.kernels.noise import normals, philox
from duoview.kernels.rans import Decoder, encode, paths, tables_digest
from duoview.kernels.shift import ErrorForms, ShiftOperators

__all__ = [
    "BitstreamError",
    "Decoder",
    "DeviceError",
    "Error",
    "ErrorForms",
    "ShiftOperators",
    "VectorPrices",
    "block_motion",
    "checkerboard",
    "choose_motion",
    "crc32c",
    "crc32c_paths",
    "encode",
    "luma",
    "noise",
    "normals",
    "palette",
    "paths",
    "philox",
    "picture_error",
    "picture_gain",
    "rans",
    "tables_digest",
]
