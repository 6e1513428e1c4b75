"""Ports for processes that are told where to listen."""

import random
import socket
from functools import cache
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST, _NODE_PORTS = 10_000, 30_000
"""Those of Kubernetes may lead elsewhere, though nobody listens."""
_given_out: set[int] = set()
# Not the module's generator: that one is seeded alike in all processes of a run.
_chance = random.SystemRandom()


def free_port() -> int:
    """A port that nobody listens on and nobody here was given.

    It is below those that the system gives to connections and to whoever binds to port 0: until its process has bound
    it, seconds later on a busy machine, any of those could have taken it.
    """
    while True:
        port = _chance.randrange(_LOWEST, _end()) if _end() > _LOWEST else 0
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            port = probe.getsockname()[1]
        if port not in _given_out:
            _given_out.add(port)
            return port


@cache
def _end() -> int:
    """Where the system's own begin (ip(7)), or others that are no good; 0 where it does not say."""
    return min(int(_RANGE.read_text().split()[0]), _NODE_PORTS) if _RANGE.exists() else 0
