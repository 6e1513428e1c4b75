"""What must be set, and what must fit together, whatever each value is by itself."""

import ipaddress
from collections.abc import Callable, Container, Iterator, Mapping
from pathlib import Path
from typing import Any

from mimic_proxy.settings import grants, values
from mimic_proxy.settings.sources import Problem

FILES = ("TLS_CERT", "TLS_KEY", "CA_BUNDLE", "CLIENT_CERT", "CLIENT_KEY")
"""Have to be there at the start. The files of secrets may come later."""


def problems(
    found: Mapping[str, Any], defaults: Mapping[str, Any], is_file: Callable[[Path], bool]
) -> Iterator[Problem]:
    """What is missing, and what does not fit together. found, defaults: values by variable."""
    effective = {**defaults, **found}
    for name, purpose in grants.required(effective["GRANT"]).items():
        if name not in found:
            yield Problem(name, f"is missing: {purpose}")
    if effective["PORT"] == effective["ADMIN_PORT"] != 0:
        yield Problem("ADMIN_PORT", "must differ from PORT")
    if effective["MAX_BUFFERED_BYTES"] < effective["MAX_BODY_BYTES"]:
        yield Problem("MAX_BUFFERED_BYTES", "must be at least MAX_BODY_BYTES, or the largest bodies could never pass")
    for key, certificate in (("CLIENT_KEY", "CLIENT_CERT"), ("TLS_KEY", "TLS_CERT")):
        if key in found and certificate not in found:
            yield Problem(key, f"needs {certificate}")
    for name in FILES:
        if name in found and not is_file(found[name]):
            yield Problem(name, "must be the path of a file that is there")
    yield from _request_relations(effective)
    static = found.get("ACCESS_TOKEN")
    if static is not None and static.value is not None and not (static.value.isascii() and static.value.isprintable()):
        yield Problem("ACCESS_TOKEN", "must be printable ASCII, since it goes into a header field")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")


def _request_relations(effective: Mapping[str, Any]) -> Iterator[Problem]:
    """What must fit together for a token request."""
    grant = effective["GRANT"]
    if grant in grants.WITHOUT_SERVICE:
        return
    yield from _secret_relations(effective)
    encoding = effective["TOKEN_ENCODING"]
    if effective["TOKEN_METHOD"] == "GET" and encoding in ("json", "form"):
        yield Problem("TOKEN_ENCODING", "must be query with TOKEN_METHOD=GET, which has no body")
    nested = any(isinstance(value, (dict, list)) for _, value in effective["TOKEN_FIELDS"])
    if nested and encoding != "json" and (grant != "auth_code" or encoding is not None):
        yield Problem("TOKEN_FIELDS", "must hold plain values unless TOKEN_ENCODING=json")


def _secret_relations(effective: Mapping[str, Any]) -> Iterator[Problem]:
    """Who asks, and where the secret goes."""
    grant, place, name = effective["GRANT"], effective["TOKEN_SECRET_IN"], effective["TOKEN_SECRET_AS"]
    if place == "header" and name is None:
        yield Problem("TOKEN_SECRET_AS", "is missing: TOKEN_SECRET_IN=header needs the name of the header field")
    elif place == "header":
        try:
            values.header_name(name)
        except ValueError as wrong:
            yield Problem("TOKEN_SECRET_AS", str(wrong))
    if effective.get("CLIENT_ID") is not None:
        return
    if grant == "auth_code" and place == "basic" and name is None:
        yield Problem("TOKEN_SECRET_AS", "is missing: TOKEN_SECRET_IN=basic needs the name of a user")
    secret = effective.get("CLIENT_SECRET") is not None and grant in ("token_exchange", "refresh_token")
    if (
        secret
        or grant == "client_credentials"
        or (grant == "private_key_jwt" and effective["ASSERTION_AS"] == "client")
    ):
        yield Problem("CLIENT_ID", f"is missing: {grants.CLIENT_ID['CLIENT_ID']}")


def warnings(found: Mapping[str, Any], grant: str, given: Container[str]) -> Iterator[str]:
    """Sentences on what is allowed and odd. given: what somebody has set, by variable."""
    if "CLIENT_KEYS" not in found and not all(map(_is_loopback, found.get("HOST", ()))):
        yield (
            f"HOST={','.join(found['HOST'])} without CLIENT_KEYS: whoever reaches this port can use the backend with "
            "your access token. CLIENT_KEYS lets only callers with a key in"
        )
    if not found.get("VERIFY_SSL", True):
        yield "VERIFY_SSL=False: the certificates of backend and token service are not checked"
    yield from grants.unused(grant, given)
    if found.get("DIALECT") != "envelope":
        for name in sorted(name for name in found if name.startswith("ENVELOPE_")):
            yield f"{name} is set, but only DIALECT=envelope uses it"
    if grant == "auth_code" and "CLIENT_SECRET" in found and "CLIENT_ID" not in found:
        yield "CLIENT_SECRET is set, but GRANT=auth_code does not use it without CLIENT_ID"
    if grant == "refresh_token" and "TOKEN_STORE" not in found:
        yield "GRANT=refresh_token without TOKEN_STORE: a refresh token that is replaced is lost at the end"
