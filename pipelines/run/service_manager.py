"""What a service manager is told: that all runs, or that it ends. As sd_notify(3), without its library."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

_PATIENCE = 1.0  # seconds for one that takes nothing, as its queue is full


def notify(state: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whoever started this process, as ``READY=1``; whether somebody wants to know.

    Raises OSError where it cannot be told.
    """
    address = environment.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address[0] not in "/@":
        raise OSError(f"NOTIFY_SOCKET={address}: expected a path, or a name that begins with @")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
        to.settimeout(_PATIENCE)
        to.sendto(state.encode(), b"\0" + os.fsencode(address[1:]) if address[0] == "@" else os.fsencode(address))
    return True
