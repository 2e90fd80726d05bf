"""What the relay tells systemd, where systemd asked for it (sd_notify(3))."""

import contextlib
import socket

READY = "READY=1"
STOPPING = "STOPPING=1"
ALIVE = "WATCHDOG=1"


def notify(address: str, state: str) -> None:
    """Send `state` to the socket that systemd named; nothing where `address` is empty."""
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(address)
        sender.send(state.encode())
