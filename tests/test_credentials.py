"""Credentials are in nothing that is printed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoview.pipelines.credentials import Credentials, redact, redact_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://admin:pa55@10.0.0.2:554/s0", "rtsp://***@10.0.0.2:554/s0"),
        ("rtsp://admin@10.0.0.2/s0", "rtsp://***@10.0.0.2/s0"),
        ("rtsp://admin:p@ss:w@rd@cam/s0", "rtsp://***@cam/s0"),
        ("rtsp://cam/s0?channel=1&subtype=0", "rtsp://cam/s0?channel=1&subtype=0"),
        ("http://cam/video.cgi?user=admin&pwd=x&channel=2", "http://cam/video.cgi?user=***&pwd=***&channel=2"),
        ("srt://host:9000?mode=caller&passphrase=0123456789", "srt://host:9000?mode=caller&passphrase=***"),
        ("rtmp://host/live?sign=ab%2Fcd", "rtmp://host/live?sign=***"),
        ("rtmp://host/live/abcd-1234", "rtmp://host/live/***"),
        ("rtmps://u:p@host:443/app/x/abcd?t=1", "rtmps://***@host:443/app/x/***?t=***"),
        ("/data/clips/a@b.mp4", "/data/clips/a@b.mp4"),
        ("cannot open rtsp://u:p@a/ nor rtsp://v:q@b/", "cannot open rtsp://***@a/ nor rtsp://***@b/"),
    ],
)
def test_a_url_is_shown_without_what_is_secret(url: str, shown: str) -> None:
    assert redact(url) == shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://us er:pa ss@host/x", "rtsp://***@host/x"),
        ("rtsp://u:p/w@cam/s", "rtsp://***@cam/s"),
        ("rtsp://u:12/34@cam/s", "rtsp://***@cam/s"),
        ("rtsp://u:p?w=1@cam/s", "rtsp://***@cam/s"),
        ("rtsp://u:p#w@cam/s", "rtsp://***@cam/s"),
        ("rtsp://u:p'q\"z@cam/s", "rtsp://***@cam/s"),
        ("rtsp://\u00fc:p\u00e4ss w\u00f6rd@[fe80::1%25eth0]:554/s", "rtsp://***@[fe80::1%25eth0]:554/s"),
        ("rtsp://[::1]:554/s?token=a@b", "rtsp://[::1]:554/s?token=***"),
        ("http://cam/v?hunter2", "http://cam/v?***"),
        ("http://cam/v#token=hunter2", "http://cam/v#***"),
        ("srt://h:1?passphrase=hello world&mode=caller", "srt://h:1?passphrase=***&mode=caller"),
        ("srt://h:1?streamid=#!::s=hunter2", "srt://h:1?streamid=#***"),
        (
            "rtsp://h/user=admin_password=tlJwpbo6_channel=1_stream=0.sdp",
            "rtsp://h/user=***_password=***_channel=1_stream=0.sdp",
        ),
        ("rtsp://h/user=admin&password=hunter2&channel=1", "rtsp://h/user=***&password=***&channel=1"),
        ("file:///data/a@b/clip#1.mp4", "file:///data/a@b/clip#1.mp4"),
        ("http://[bad/x?token=abc", "http://[bad/x?token=***"),
    ],
)
def test_a_whole_url_is_shown_without_what_nobody_escaped(url: str, shown: str) -> None:
    assert redact_url(url) == shown
    scrubbed = Credentials(url, {}).scrub(f"cannot open {url}: refused")
    assert not any(secret in scrubbed for secret in ("hunter2", "p/w", "p?w", "p#w", "pa ss", "tlJw", "hello world"))


def test_each_user_of_a_list_of_urls_is_masked() -> None:
    said = Credentials("concat:http://u:first@h/a|http://u:second@h/b", {}).scrub("first and second")
    assert said == "*** and ***"


WORD = st.text(st.characters(codec="ascii", min_codepoint=33, exclude_characters="/?#'\"&;=*"), min_size=3, max_size=12)


@given(user=WORD, password=WORD)
def test_neither_user_nor_password_is_left_in_a_url(user: str, password: str) -> None:
    assert redact(f"rtsp://{user}:{password}@cam.local/s0") == "rtsp://***@cam.local/s0"


@given(user=WORD.filter(lambda word: ":" not in word), password=WORD)
def test_what_a_library_quotes_of_them_is_masked_too(user: str, password: str) -> None:
    credentials = Credentials(f"rtsp://{user}:{password}@cam/", {})
    mark = "\x00"
    said = credentials.scrub(f"{mark}{password}{mark}{user}{mark}")
    assert said == f"{mark}***{mark}***{mark}"


def test_escaped_passwords_are_masked_as_sent_and_as_meant() -> None:
    credentials = Credentials("http://u:p%40ss%2Fw@cam/", {})
    assert credentials.scrub("401 for p%40ss%2Fw, that is p@ss/w") == "401 for ***, that is ***"


def test_a_stream_key_is_masked_wherever_it_is_quoted() -> None:
    assert Credentials("rtmp://host/live/abcd-1234", {}).scrub("no stream abcd-1234") == "no stream ***"


def test_secrets_in_options_are_masked() -> None:
    options = {"headers": "Authorization: Bearer abcdef", "passphrase": "0123456789", "rtsp_transport": "tcp"}
    credentials = Credentials("srt://h:1", options)
    said = credentials.scrub("sent Authorization: Bearer abcdef and 0123456789 by tcp")
    assert said == "sent *** and *** by tcp"


def test_a_url_without_secrets_leaves_texts_as_they_are() -> None:
    said = "cam:554 refused channel=1"
    assert Credentials("rtsp://cam:554/s0?channel=1", {}).scrub(said) == said


def test_the_object_itself_shows_nothing() -> None:
    assert "hunter2" not in repr(Credentials("rtsp://me:hunter2@cam/", {}))
