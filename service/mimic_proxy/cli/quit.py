"""`mimic-proxy quit`: asks the Mimic that runs on this machine to drain and end, and waits until it has."""

import http.client
import json
import time
from collections.abc import Callable, Mapping

from mimic_proxy.cli.command import DOTENV, Say, say
from mimic_proxy.settings.fields import load_port

ADDRESSES = ("127.0.0.1", "::1")
CALL_SECONDS = 5.0
POLL_SECONDS = 0.05


def run(environ: Mapping[str, str]) -> bool:
    """The command."""
    return stop(load_port("ADMIN_PORT", environ, DOTENV), say=say, clock=time.monotonic, sleep=time.sleep)


def stop(port: int, *, say: Say, clock: Callable[[], float], sleep: Callable[[float], None]) -> bool:
    """Asks the one whose admin port this is; True once nothing answers there any more.

    say: gets a sentence on what happened. clock: seconds, monotonic. sleep: waits so many seconds.
    """
    for address in ADDRESSES:
        try:
            status, body = _call(address, port, "POST", "/quit")
        except (OSError, http.client.HTTPException):
            continue
        within = _accepted(status, body)
        if within is None:
            say(f"What answers on port {port} is not a Mimic that can be stopped (status {status}).")
            return False
        say(f"Mimic on port {port} finishes what it has begun and ends.")
        deadline = clock() + within
        while _answers(address, port):
            if clock() > deadline:
                say(f"Mimic is still there after {within:g} s. A second SIGTERM ends it at once.")
                return False
            sleep(POLL_SECONDS)
        say("Mimic has ended.")
        return True
    say(f"No Mimic answers on port {port} of this machine. ADMIN_PORT says which port is asked.")
    return False


def _accepted(status: int, body: bytes) -> float | None:
    """Seconds within which it will have ended, infinite if it does not know; None if this was no Mimic."""
    try:
        document = json.loads(body)
        if status != 202 or document["stopping"] is not True:
            return None
        within = document["within_seconds"]
        return float("inf") if within is None else float(within)
    except (ValueError, KeyError, TypeError):
        return None


def _answers(address: str, port: int) -> bool:
    try:
        _call(address, port, "GET", "/livez")
    except ConnectionRefusedError:
        return False
    except (OSError, http.client.HTTPException):
        # A connection that breaks off is a process on its way out, not one that is gone.
        return True
    return True


def _call(address: str, port: int, method: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(address, port, timeout=CALL_SECONDS)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read(65536)
    finally:
        connection.close()
