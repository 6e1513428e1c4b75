"""Errors of the web applications, in the OpenAI shape."""

from fastapi import Request, Response

from mimic_proxy.errors import MimicError

FAILURE = "mimic.error"
"""Key of the ASGI scope under which an answered error stands, for whoever observes the answer."""


def error_response(error: MimicError) -> Response:
    """The answer that the error stands for, with its hints on retrying."""
    response = Response(error.body(), status_code=error.status, media_type="application/json")
    response.raw_headers.extend(error.hints())
    return response


async def mimic_error(request: Request, error: Exception) -> Response:
    """FastAPI's handler for errors of ours."""
    assert isinstance(error, MimicError)
    request.scope[FAILURE] = error
    return error_response(error)
