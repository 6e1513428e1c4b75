"""/v1/responses: created in one piece or in events, kept in memory, retrieved, deleted."""

from dataclasses import dataclass, field
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from mimic_proxy.demo.desk import Desk, identity
from mimic_proxy.demo.refusals import Refusal, model_name, not_found, read
from mimic_proxy.demo.response_answer import document, error_event, frames, output
from mimic_proxy.demo.response_request import Item, ResponseRequest, conversation, input_items, input_tokens
from mimic_proxy.demo.steps import Stream

_MOST_KEPT: Final = 256


@dataclass(frozen=True, slots=True)
class _Kept:
    """A response, and the items of the conversation up to it."""

    document: dict[str, Any]
    items: tuple[Item, ...]


@dataclass(slots=True)
class _Archive:
    kept: dict[str, _Kept] = field(default_factory=dict)

    def keep(self, response: _Kept) -> None:
        """The oldest goes when there are too many."""
        self.kept[response.document["id"]] = response
        if len(self.kept) > _MOST_KEPT:
            self.kept.pop(next(iter(self.kept)))

    def items_before(self, name: str | None) -> tuple[Item, ...]:
        """The conversation that ends with the response of that id. Raises Refusal (400) if it is not kept."""
        if name is None:
            return ()
        if name not in self.kept:
            message = f"Previous response with id '{name}' not found."
            raise Refusal(message, param="previous_response_id", code="previous_response_not_found")
        before = self.kept[name]
        return (*before.items, *before.document["output"])

    def find(self, name: str) -> _Kept:
        if name not in self.kept:
            raise not_found("response", name)
        return self.kept[name]


def response_router(desk: Desk) -> APIRouter:
    router = APIRouter(prefix="/responses")
    archive = _Archive()

    @router.post("")
    async def create(request: Request) -> Response:
        body = await request.body()
        asked = read(body, ResponseRequest)
        faults = desk.faults(request, model_name(asked.model))
        items = (*archive.items_before(asked.previous_response_id), *input_items(asked))
        name = identity("resp_", body)
        talk = conversation(items, asked.instructions)
        said = output(asked, talk, name.removeprefix("resp_"), faults)
        prompt = input_tokens(items, asked.instructions)
        finished = document(asked, name, desk.now(), said, prompt)
        if asked.store is not False:
            archive.keep(_Kept(finished, items))
        reply = Stream(frames(finished, said.pieces), error_event) if asked.stream else finished
        return desk.answer(faults, reply)

    @router.get("/{name}")
    async def retrieve(request: Request, name: str) -> Response:
        return desk.answer(desk.faults(request), archive.find(name).document)

    @router.get("/{name}/input_items")
    async def list_input(request: Request, name: str) -> Response:
        faults = desk.faults(request)
        data = [{"id": f"item_{place}", **item} for place, item in enumerate(archive.find(name).items)][::-1]
        ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]}
        return desk.answer(faults, {"object": "list", "data": data, **ends, "has_more": False})

    @router.delete("/{name}")
    async def delete(request: Request, name: str) -> Response:
        faults = desk.faults(request)
        archive.find(name)
        del archive.kept[name]
        return desk.answer(faults, {"id": name, "object": "response", "deleted": True})

    return router
