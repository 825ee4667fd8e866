"""Captions: short texts on what is where, for the human view. Sent in a dozen bytes, or made where they are needed."""

from .caption import Caption, Phrase
from .captioner import Captioner

__all__ = ["Caption", "Captioner", "Phrase"]
