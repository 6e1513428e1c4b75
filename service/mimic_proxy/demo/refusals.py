"""How the backend refuses: OpenAI's error object, and requests checked as OpenAI checks them."""

import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec
from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

T = TypeVar("T")

INVALID_REQUEST: Final = "invalid_request_error"

_PLACE = re.compile(r" - at `\$\.?(.*)`$")
_MISSING = re.compile(r"missing required field `(\w+)`")
_EMPTY_ARRAY = re.compile(r"Expected `array` of length >= (\d+)")
_MISSING_MODEL: Final = "you must provide a model parameter"


class Refusal(Exception):
    """A request the backend answers with an error object; `headers` go with it."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = INVALID_REQUEST,
        param: str | None = None,
        code: str | int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind = kind
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    def document(self) -> dict[str, Any]:
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}


def read(body: bytes, shape: type[T]) -> T:
    """The body as `shape`. Raises Refusal (400), worded like OpenAI's, naming the parameter at fault."""
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        raise _misfit(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Refusal(
            "We could not parse the JSON body of your request. The API expects a JSON payload, "
            "but what was sent was not valid JSON."
        ) from None


def model_name(model: str | None) -> str:
    """The model asked for. Raises Refusal: 400 if there is none, 404 for a name that starts with `missing-`."""
    if not model:
        raise Refusal(_MISSING_MODEL)
    if model.startswith("missing-"):
        raise model_not_found(model)
    return model


def model_not_found(model: str) -> Refusal:
    message = f"The model '{model}' does not exist or you do not have access to it."
    return Refusal(message, status=404, param="model", code="model_not_found")


def server_error(status: int, message: str, *, headers: Mapping[str, str] | None = None) -> Refusal:
    """An answer of `status` with the type and code OpenAI gives it."""
    kinds: dict[int, tuple[str, str | None]] = {
        401: (INVALID_REQUEST, "invalid_api_key"),
        403: (INVALID_REQUEST, "unsupported_country_region_territory"),
        404: (INVALID_REQUEST, "model_not_found"),
        429: ("requests", "rate_limit_exceeded"),
    }
    kind, code = kinds.get(status, ("server_error" if status >= 500 else INVALID_REQUEST, None))
    return Refusal(message, status=status, kind=kind, code=code, headers=headers)


async def answer_refusal(request: Request, error: Exception) -> JSONResponse:
    """FastAPI's handler for Refusal."""
    assert isinstance(error, Refusal)
    return JSONResponse(error.document(), error.status, headers=error.headers)


async def answer_http_error(request: Request, error: Exception) -> JSONResponse:
    """FastAPI's handler for its own 404 and 405, in OpenAI's shape."""
    assert isinstance(error, HTTPException)
    place = f"{request.method} {request.url.path}"
    if error.status_code == 405:
        refusal = Refusal(f"Not allowed to {place}.", status=405, code="method_not_allowed")
    elif error.status_code == 404:
        refusal = Refusal(f"Invalid URL ({place})", status=404, code="unknown_url")
    else:
        refusal = Refusal(str(error.detail), status=error.status_code)
    return JSONResponse(refusal.document(), refusal.status, headers=dict(error.headers or {}))


def _misfit(report: str) -> Refusal:
    place = _PLACE.search(report)
    param = place[1] if place else ""
    reason = report[: place.start()] if place else report
    if missing := _MISSING.search(reason):
        name = f"{param}.{missing[1]}" if param else missing[1]
        if name == "model":
            return Refusal(_MISSING_MODEL)
        return Refusal(f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")
    if not param:
        return Refusal("The body of your request is not a JSON object.")
    if shortest := _EMPTY_ARRAY.search(reason):
        message = f"Invalid '{param}': expected an array with at least {shortest[1]} element(s)."
        return Refusal(message, param=param, code="empty_array")
    kind, code = ("type", "invalid_type") if ", got `" in reason else ("value", "invalid_value")
    return Refusal(f"Invalid {kind} for '{param}': {_plain(reason)}.", param=param, code=code)


def _plain(reason: str) -> str:
    text = reason.replace("`", "").removeprefix("Object ")
    return text[:1].lower() + text[1:]
