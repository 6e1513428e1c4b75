"""FastAPI app of the API port: what is not relayed as bytes. All errors in the OpenAI shape."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mimic_proxy.errors import InvalidRequest, MethodNotAllowed, MimicError, ShuttingDown, UnknownRoute
from mimic_proxy.http.headers import REQUEST_ID, RequestFields, read_request
from mimic_proxy.relay.ports import Services
from mimic_proxy.relay.request import CALLER, CALLER_LEFT
from mimic_proxy.telemetry.observation import Operation, Outcome
from mimic_proxy.telemetry.port import NoSpans, WebSpans
from mimic_proxy.telemetry.propagation import unsampled
from mimic_proxy.telemetry.record import NO_STATUS_SENT, Record, outcome_of_error, outcome_of_status
from mimic_proxy.web.errors import FAILURE, error_response, mimic_error
from mimic_proxy.web.models import Models, ModelsAnswer


class Answering:
    """Belongs to the task that answers. left: whether the caller has gone."""

    given_up = False
    """It was cancelled from here, not by whoever runs the task."""

    def __init__(self, task: "asyncio.Task[None]", left: Callable[[], bool]) -> None:
        self._task = task
        self._left = left

    def tick(self) -> None:
        """Nobody works on for a caller who has left, nor holds up the stop."""
        if self._left():
            self.drain()

    def drain(self) -> None:
        """The process stops now."""
        if not self.given_up:
            self.given_up = True
            self._task.cancel()

    def took(self, cancelled: asyncio.CancelledError) -> None:
        """The cancellation has arrived. Raises it again where it is not ours."""
        if not self.given_up:
            raise cancelled
        self._task.uncancel()


CALL = "mimic.call"
"""Key of the scope: the Record of a request."""

logger = logging.getLogger("mimic.web")


def create_api(services: Services, models: Models, version: str, spans: WebSpans | None = None) -> FastAPI:
    """The app; `services` and `models` are the process's own. spans: what its instrumentation opens."""
    app = FastAPI(
        title="Mimic",
        version=version,
        description="The OpenAI API on localhost, carried to the configured backend with a valid access token.",
        redoc_url=None,
        # The instrumentation makes the spans; FastAPI's own would stand beside them.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        exception_handlers={MimicError: mimic_error, HTTPException: _http_errors(models)},
    )
    app.add_middleware(Observed, services=services, spans=spans or NoSpans())

    @app.head("/v1/models", include_in_schema=False)
    @app.get("/v1/models", tags=["models"], summary="List the models")
    async def list_models(request: Request) -> Response:
        return _answer(await models.list(*_asked(request, models.services)))

    @app.head("/v1/models/{model:path}", include_in_schema=False)
    @app.get("/v1/models/{model:path}", tags=["models"], summary="One model")
    async def one_model(request: Request, model: str) -> Response:
        raw_path = request.scope["raw_path"]
        refusal = models.services.routes.match(b"GET", raw_path)
        if isinstance(refusal, MimicError):
            # `..` and its like: the backend might see another route there than this one.
            raise refusal
        raw_id = raw_path.removeprefix(b"/v1/models/")
        return _answer(await models.one(raw_id, *_asked(request, models.services)))

    return app


def _asked(request: Request, services: Services) -> tuple[RequestFields, bytes, Record]:
    """What the caller's head says, its query, and where the call to the backend is noted."""
    scope = request.scope
    return _fields(scope, services), scope["query_string"], scope[CALL]


def _fields(scope: Scope, services: Services) -> RequestFields:
    return read_request(list(scope["headers"]), services.request_names)


def _answer(answer: ModelsAnswer) -> Response:
    response = Response(answer.body, status_code=answer.status)
    if answer.lines:
        pairs = [tuple(line[:-2].split(b": ", 1)) for line in answer.lines]
        response.raw_headers.extend((name.lower(), value) for name, value in pairs if name.lower() != b"date")
    else:
        response.headers["content-type"] = "application/json"
    return response


def _http_errors(models: Models) -> Callable[[Request, Exception], Coroutine[Any, Any, Response]]:
    """The handler of Starlette's own refusals: unknown path, wrong method."""

    async def answer(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        method, path = request.method, request.scope["raw_path"]
        found = models.services.routes.match(method.encode("ascii"), path)
        if not isinstance(found, MimicError):
            found = _refusal(error, method)
        return await mimic_error(request, found)

    return answer


def _refusal(error: HTTPException, method: str) -> MimicError:
    if error.status_code == 405:
        return MethodNotAllowed(f"{method} is not allowed here.", allowed=["GET"])
    if error.status_code == 404:
        return UnknownRoute(f"Mimic does not serve {method} on this path. The API is below /v1.")
    return InvalidRequest(str(error.detail))


class Observed:
    """Makes one closing observation of each answer, and gives it an x-request-id."""

    def __init__(self, app: ASGIApp, services: Services, spans: WebSpans) -> None:
        self.app = app
        self.services = services
        self.spans = spans

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        record = scope[CALL] = self._begin(scope)
        self.services.in_web[record.operation] += 1
        left: Callable[[], bool] = scope.get(CALLER_LEFT, _stays)

        async def send_observed(message: Message) -> None:
            if left():
                return
            if message["type"] == "http.response.start":
                record.status = message["status"]
                self._finish(scope, record)
                kept = [item for item in message["headers"] if item[0].lower() != b"x-request-id"]
                own = (b"x-request-id", record.request_id.encode("ascii"))
                message = {**message, "headers": [*kept, own, *_cors(scope)]}
            else:
                record.response_bytes += len(message.get("body", b""))
            await send(message)

        answering = Answering(_this_task(), left)
        self.services.ticker.add(answering)
        try:
            error = await self._answered(scope, receive, send_observed, answering, record.request_id)
            if error is not None and record.status == NO_STATUS_SENT and not left():
                scope[FAILURE] = error
                await error_response(error)(scope, receive, send_observed)
        finally:
            self.services.ticker.discard(answering)
            self.services.in_web[record.operation] -= 1
            if record.status == NO_STATUS_SENT:
                self._finish(scope, record)
            record.end(record.outcome, self.services.clock())
            self.services.observe(record)

    async def _answered(
        self, scope: Scope, receive: Receive, send: Send, answering: Answering, request_id: str
    ) -> MimicError | None:
        """Runs the app; the error to answer with if it was ended or broke, whose cause then stands in the log."""
        try:
            await self.app(scope, receive, send)
        except asyncio.CancelledError as cancelled:
            answering.took(cancelled)
            return ShuttingDown("Mimic is shutting down. Try again shortly.", retry_after=1)
        except Exception:
            logger.exception("A fault while answering %s", request_id)
            return MimicError("Mimic could not answer this; its log says why.")
        return None

    def _begin(self, scope: Scope) -> Record:
        path: Any = scope.get("raw_path") or b""
        record = Record(self.services.clock(), _operation(scope), scope["method"], path.decode("ascii", "replace"))
        record.request_id = _request_id(scope, self.services.new_trace)
        record.caller = scope.get(CALLER)
        if record.operation == "models":
            record.route = "/v1/models" if path == b"/v1/models" else "/v1/models/{model}"
        record.trace = self.spans.current()
        if record.trace is not None:
            record.traced = True
            return record
        lines = [(name, value) for name, value in scope["headers"] if name == b"traceparent"]
        fields = read_request(lines, self.services.request_names)
        record.trace = unsampled(fields.traceparent, self.services.new_trace())
        return record

    def _finish(self, scope: Scope, record: Record) -> None:
        """Before the answer: with its last byte the span is closed."""
        error: MimicError | None = scope.get(FAILURE)
        if error is not None:
            record.failed(error)
        record.outcome = _outcome(record.status, error)
        self.spans.finish(record.outcome, record.request_id, record.error_code)


def _operation(scope: Scope) -> Operation:
    path: Any = scope.get("raw_path") or b""
    return "models" if path == b"/v1/models" or path.startswith(b"/v1/models/") else "unmatched"


def _this_task() -> "asyncio.Task[None]":
    task = asyncio.current_task()
    assert task is not None, "an ASGI application runs in a task"
    return task


def _stays() -> bool:
    return False


def _cors(scope: Scope) -> list[tuple[bytes, bytes]]:
    """The protocol has refused every origin that is not allowed."""
    origin = next((value for name, value in scope["headers"] if name == b"origin"), None)
    if origin is None:
        return []
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", b"*"),
        (b"vary", b"origin"),
    ]


def _request_id(scope: Scope, new_trace: Callable[[], str]) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
            return bytes(value).decode("ascii")
    return "req_" + new_trace()[:32]


def _outcome(status: int, error: MimicError | None) -> Outcome:
    if status == NO_STATUS_SENT:
        return "client_disconnect"
    return outcome_of_status(status) if error is None else outcome_of_error(error)
