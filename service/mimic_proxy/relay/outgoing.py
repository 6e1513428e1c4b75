"""The request as it goes to the backend. Pure."""

from mimic_proxy.http.body import BodyFields
from mimic_proxy.http.headers import head_end, head_start
from mimic_proxy.http.target import Base, operation_target
from mimic_proxy.relay.ports import Request
from mimic_proxy.relay.routes import Route
from mimic_proxy.tokens.token import AccessToken


def wants_usage(route: Route, fields: BodyFields) -> bool:
    """A chat stream whose caller has not said whether it wants to be told of usage."""
    return fields.stream and not fields.stream_options and route.operation == "chat"


def outgoing_head(
    request: Request,
    route: Route,
    base: Base,
    token: AccessToken,
    trace: bytes,
    *,
    length: int | None,
    identity: bool,
) -> bytes:
    """The backend's head, blank line included.

    trace: whole lines. length: bytes of the body where they are known. A body of none is declared only if the caller
    declared one.
    """
    chunked = request.fields.chunked
    if not length and not chunked and request.content_length is None:
        length = None
    start = _head_start(request, route, base, token, identity=identity)
    return start + head_end(trace, length=length, chunked=chunked)


def _head_start(request: Request, route: Route, base: Base, token: AccessToken, *, identity: bool) -> bytes:
    """Made once for a head that comes again, as long as the token stays."""
    fields = request.fields
    made = fields.prepared
    if made is not None and made[0] is token and made[1] is identity:
        return made[2]
    target = operation_target(base, route.suffix, request.query)
    start = head_start(request.method, target, base.host_field, fields, token.field, identity=identity)
    fields.prepared = (token, identity, start)
    return start
