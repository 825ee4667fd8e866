"""Keeping credentials out of everything that is printed: URLs, options and what libraries say about them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote, unquote_plus

MASK = "***"
# The user part ends at the last @ before the path: passwords may hold an @ that nobody escaped.
_USER_INFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*://)(?P<user>[^/\s?#'\"]*)@")
_QUERY = re.compile(r"(?P<lead>[?&;])(?P<name>[^=&;\s'\"?#]+)=(?P<value>[^&;\s'\"#]*)")
# Whoever knows the last part of an RTMP address may play it, and often publish to it.
_STREAM_KEY = re.compile(r"(?P<lead>rtmp[a-z]*://[^/\s?#'\"]+/[^\s?#'\"]+/)(?P<key>[^/\s?#'\"]+)")
# Parameters that many cameras take in the path: /user=admin_password=secret_channel=1_stream=0.sdp
_PATH_SECRET = re.compile(
    r"(?P<lead>[/_&;](?:user|username|usr|pass|passwd|password|pwd|token|auth|key|secret)=)"
    r"[^&;/?#\s'\"]+?(?=_[A-Za-z]+=|[&;/?#\s'\"]|$)",
    re.IGNORECASE,
)
# A host and a port; what else stands before the first / ? or # was meant to be part of a password.
_HOST = re.compile(r"(\[[^\]@]*\]|[^\s:@\[\]]*)(:\d*)?")
# What cameras take in a query and is no secret. All else is masked: nobody can list every name of a password.
# fmt: off
_OPEN_PARAMETERS = frozenset((
    "audio", "bitrate", "camera", "channel", "codec", "format", "fps", "height", "latency", "listen", "mode",
    "overrun_nonfatal", "pkt_size", "profile", "proto", "rate", "resolution", "reuse", "stream", "streamtype",
    "subtype", "timeout", "transmode", "transport", "transtype", "ttl", "type", "unicast", "video", "width",
))
# fmt: on
# Options of libavformat and its protocols that hold secrets.
_SECRET_OPTIONS = ("auth", "conn", "cookie", "headers", "key", "pass", "post_data", "secret", "streamid", "token",
                   "user")
_SHORTEST = 3  # shorter secrets cannot be told from ordinary text outside of a URL


@dataclass(frozen=True)
class _Parts:
    """A URL in pieces that are "" where it lacks them. `query` and `fragment` are without their first character."""

    scheme: str  # with ://
    user_info: str  # with the @ after it
    address: str  # host and path
    query: str
    fragment: str


def _parts(url: str) -> _Parts:
    """Take a URL apart. What may be part of a password that nobody escaped counts as one, up to its last @."""
    scheme, found, rest = url.partition("://")
    if not found or scheme.lower() == "file":
        return _Parts("", "", url, "", "")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    plain = "@" in authority or _HOST.fullmatch(authority)
    reach = re.split(r"[?#]", rest, maxsplit=1)[0] if plain else rest
    user, at, _ = reach.rpartition("@")
    rest = rest.removeprefix(user + at)
    address, _, fragment = rest.partition("#")
    address, _, query = address.partition("?")
    return _Parts(scheme + found, user + at, address, query, fragment)


def redact_url(url: str) -> str:
    """One whole URL without its secrets: as `redact`, and whatever stands in it unescaped, or in its fragment."""
    parts = _parts(url)
    text = redact(parts.scheme + parts.address)
    if parts.user_info:
        text = text.replace(parts.scheme, f"{parts.scheme}{MASK}@", 1)
    if parts.query:
        text += "?" + re.sub(r"[^&;]+", lambda found: _mask_value(found[0]), parts.query)
    return f"{text}#{MASK}" if parts.fragment else text


def _mask_value(parameter: str) -> str:
    name, found, value = parameter.partition("=")
    if not found:
        return MASK
    return parameter if name.lower() in _OPEN_PARAMETERS or not value else f"{name}={MASK}"


def redact(text: str) -> str:
    """A text with URLs in it, without user names, passwords, stream keys and unknown query values.

    Where a URL ends can only be guessed: of a whole one, `redact_url` finds more.
    """
    text = _USER_INFO.sub(lambda found: f"{found['scheme']}{MASK}@", text)
    text = _STREAM_KEY.sub(lambda found: f"{found['lead']}{MASK}", text)
    text = _PATH_SECRET.sub(lambda found: f"{found['lead']}{MASK}", text)
    return _QUERY.sub(_mask_parameter, text)


def _mask_parameter(found: re.Match[str]) -> str:
    if found["name"].lower() in _OPEN_PARAMETERS or not found["value"]:
        return found[0]
    return f"{found['lead']}{found['name']}={MASK}"


class Credentials:
    """The secrets of one source, to be taken out of any text about it."""

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        """Collect what is secret in a URL and in libavformat's options."""
        secrets: set[str] = set()
        parts = _parts(url)
        secrets.add(parts.fragment)
        # Of URLs within the URL too, as with concat:
        for user_info in (parts.user_info.removesuffix("@"), *(found["user"] for found in _USER_INFO.finditer(url))):
            secrets |= {user_info, *user_info.split(":", 1)}
        for parameter in re.split("[&;]", parts.query):
            name, found, value = parameter.partition("=")
            if name.lower() not in _OPEN_PARAMETERS:
                secrets.add(value if found else name)
        secrets |= {found["key"] for found in _STREAM_KEY.finditer(url)}
        secrets |= {value for name, value in options.items() if any(word in name.lower() for word in _SECRET_OPTIONS)}
        secrets |= {decode(secret) for secret in secrets for decode in (unquote, unquote_plus)}
        secrets |= {quote(secret, safe="") for secret in secrets}
        # The longest first, or a secret that begins with another would be left in part.
        self._secrets = sorted((secret for secret in secrets if len(secret) >= _SHORTEST), key=len, reverse=True)

    def scrub(self, text: str) -> str:
        """The text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return redact(text)

    def __repr__(self) -> str:
        return f"<Credentials of {len(self._secrets)} secrets>"
