"""XML as text: elements with their attributes and what is in them, escaped (XML 1.0, fifth edition)."""

from __future__ import annotations

from collections.abc import Mapping
from xml.sax.saxutils import escape, quoteattr


def element(name: str, attributes: Mapping[str, str] | None = None, *content: str) -> str:
    """An element; `content` is XML already, as this function and `text` give it."""
    given = "".join(f" {key}={quoteattr(clean(value))}" for key, value in (attributes or {}).items())
    inner = "".join(content)
    return f"<{name}{given}>{inner}</{name}>" if inner else f"<{name}{given}/>"


def text(value: str) -> str:
    """Any text as the content of an element."""
    return escape(clean(value))


def clean(value: str) -> str:
    """Without what XML has no way to write: control characters, lone surrogates, U+FFFE and U+FFFF."""
    return "".join(letter for letter in value if letter in "\t\n\r" or " " <= letter <= "\ud7ff"
                   or "\ue000" <= letter <= "\ufffd" or letter >= "\U00010000")
