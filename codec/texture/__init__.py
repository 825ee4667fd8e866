"""The texture layer: what machine views lack, as a Markov chain on palette trees (docs/texture.md, docs/bitstream.md).

At every position of the latent, every channel group has a node of a binary tree; depth d of it costs one binary
decision each. What was sent is decoded, what was not can be sampled from the same probabilities. After Guo et al. (ACM
MM 2023, 2410.06149), whose text leaves palettes, kernel and coding open: the construction is ours.
"""

from __future__ import annotations

from duoview.texture.depths import Depths
from duoview.texture.settings import FRAMES, TextureSettings

__all__ = ["FRAMES", "Depths", "TextureSettings"]
