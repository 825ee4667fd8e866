"""duoview: a scalable video codec for machines and people."""

from importlib.metadata import version

__version__ = version("duoview")
