"""The sockets that Mimic listens on."""

import errno
import logging
import socket
from collections.abc import Sequence

BACKLOG = 2048
MISSING_FAMILY = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})

logger = logging.getLogger("mimic")


class CannotListen(Exception):
    """No address could be bound; the message says which and why."""


def bind(hosts: Sequence[str], port: int, setting: str) -> list[socket.socket]:
    """One bound socket for each address. A machine without an address's family skips it with a warning.

    port: 0 takes any free one, the same for all addresses. setting: the variable that names the port, for messages.
    Raises CannotListen.
    """
    sockets: list[socket.socket] = []
    skipped: list[str] = []
    for host in hosts:
        wanted = sockets[0].getsockname()[1] if sockets and not port else port
        try:
            sockets.extend(_bind_one(host, wanted))
        except OSError as error:
            if error.errno in MISSING_FAMILY or isinstance(error, socket.gaierror):
                skipped.append(f"{host} ({error.strerror})")
                continue
            for made in sockets:
                made.close()
            hint = f" Is another Mimic running? {setting} sets the port." if error.errno == errno.EADDRINUSE else ""
            raise CannotListen(f"Cannot listen on {host} port {wanted}: {error.strerror}.{hint}") from error
    if not sockets:
        raise CannotListen(f"Cannot listen on any of {', '.join(skipped)}.")
    for what in skipped:
        logger.warning("Not listening on %s", what)
    return sockets


def _bind_one(host: str, port: int) -> list[socket.socket]:
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = infos[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return [made]
