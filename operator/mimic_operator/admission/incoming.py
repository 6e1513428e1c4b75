"""What comes over the wire as an AdmissionReview (admission.k8s.io/v1), held against what the handlers rely on.

An API server sends no other. Whoever else calls gets 400 and a sentence, without a word of what was sent.
"""

import asyncio
from typing import Any

import msgspec
from aiohttp import web

READ_SECONDS = 10.0
"""For a whole body; an API server has it at hand."""
RESOURCES = {"pods": "pods", "namespace-pods": "pods", "backends": "mimicbackends"}
"""By handler: what it is asked about."""
OPERATIONS = ("CREATE", "UPDATE")


class Resource(msgspec.Struct):
    resource: str
    version: str
    group: str = ""


class Request(msgspec.Struct):
    """Of the review's request what must be there; all else may be."""

    uid: str
    resource: Resource
    operation: str
    object: dict[str, Any]
    oldObject: dict[str, Any] | None = None  # noqa: N815 - the API's name
    namespace: str = ""
    dryRun: bool | None = None  # noqa: N815 - the API's name
    userInfo: dict[str, Any] | None = None  # noqa: N815 - the API's name


class Review(msgspec.Struct):
    request: Request


async def read_review(request: web.Request, handler: str) -> dict[str, Any]:
    """The review, its object in the request's namespace. Raises HTTPException."""
    body = await _body(request)
    try:
        review: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
        read = msgspec.convert(review, Review).request
    except msgspec.ValidationError as wrong:
        raise web.HTTPBadRequest(text=f"the body is no AdmissionReview: {wrong}") from None
    except (msgspec.DecodeError, RecursionError):
        raise web.HTTPBadRequest(text="the body is no JSON") from None
    if read.resource.resource != RESOURCES[handler] or read.operation not in OPERATIONS:
        raise web.HTTPBadRequest(text=f"this webhook is for {RESOURCES[handler]} that are made or changed")
    given = review["request"]
    given.setdefault("userInfo", {})
    for written in filter(None, (given["object"], given.get("oldObject"))):
        if not isinstance(written.setdefault("metadata", {}), dict):
            raise web.HTTPBadRequest(text="the body is no AdmissionReview: its object's metadata is no mapping")
        if read.namespace:
            written["metadata"]["namespace"] = read.namespace
    return review


async def _body(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(READ_SECONDS):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(text=f"the body did not come within {READ_SECONDS:g} s") from None
    except (OSError, web.RequestPayloadError):
        raise web.HTTPBadRequest(text="the body cannot be read") from None
