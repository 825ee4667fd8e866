"""A camera that speaks RTSP: GStreamer's server on the loopback, one process, one stream.

    python rtsp_server.py PORT CLIP.ts [--user NAME --password WORD]

Runs under any Python that has GStreamer's bindings, and imports nothing of duoview. It prints "ready" when it listens,
and serves the clip at /live in real time, from its beginning for the first client; further clients join where it is.
"""

from __future__ import annotations

import argparse
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402


def protect(server: Any, factory: Any, user: str, password: str) -> None:
    """Ask for a name and a password, as cameras do."""
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string(GstRtspServer.RTSP_TOKEN_MEDIA_FACTORY_ROLE, "viewer")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    factory.add_role_from_structure(Gst.Structure.from_string(
        "viewer, media.factory.access=(boolean)true, media.factory.construct=(boolean)true")[0])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port")
    parser.add_argument("clip")
    parser.add_argument("--user")
    parser.add_argument("--password")
    options = parser.parse_args()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(options.port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        f'( filesrc location="{options.clip}" ! tsdemux ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=-1 )'
    )
    factory.set_shared(True)
    if options.user:
        protect(server, factory, options.user, options.password)
    server.get_mount_points().add_factory("/live", factory)
    if not server.attach(None):
        raise SystemExit(f"port {options.port}: cannot listen")
    print("ready", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
