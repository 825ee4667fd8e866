"""Keeping credentials out of everything that is printed: URLs, options and what libraries say about them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote, urlsplit

MASK = "***"
# The user part ends at the last @ before the path: passwords may hold an @ that nobody escaped.
_USER_INFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*://)[^/\s?#'\"]*@")
_QUERY = re.compile(r"(?P<lead>[?&;])(?P<name>[^=&;\s'\"?#]+)=(?P<value>[^&;\s'\"#]*)")
# Whoever knows the last part of an RTMP address may play it, and often publish to it.
_STREAM_KEY = re.compile(r"(?P<lead>rtmp[a-z]*://[^/\s?#'\"]+/[^\s?#'\"]+/)(?P<key>[^/\s?#'\"]+)")
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


def redact(text: str) -> str:
    """A URL, or a text with URLs in it, without user names, passwords, stream keys and unknown query values."""
    text = _USER_INFO.sub(lambda found: f"{found['scheme']}{MASK}@", text)
    text = _STREAM_KEY.sub(lambda found: f"{found['lead']}{MASK}", text)
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
        if "://" in url:
            user_info = url.partition("://")[2]
            user_info = re.split(r"[/?#]", user_info, maxsplit=1)[0].rpartition("@")[0]
            secrets |= {user_info, *user_info.split(":", 1)}
            query = urlsplit(url.replace(user_info + "@", "", 1) if user_info else url).query
            secrets |= {value for name, value in parse_qsl(query) if name.lower() not in _OPEN_PARAMETERS}
        secrets |= {found["key"] for found in _STREAM_KEY.finditer(url)}
        secrets |= {value for name, value in options.items() if any(word in name.lower() for word in _SECRET_OPTIONS)}
        secrets |= {unquote(secret) for secret in secrets}
        # The longest first, or a secret that begins with another would be left in part.
        self._secrets = sorted((secret for secret in secrets if len(secret) >= _SHORTEST), key=len, reverse=True)

    def scrub(self, text: str) -> str:
        """The text without secrets."""
        text = redact(text)
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text

    def __repr__(self) -> str:
        return f"<Credentials of {len(self._secrets)} secrets>"
