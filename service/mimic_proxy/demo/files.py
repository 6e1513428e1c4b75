"""/v1/files: upload, list, retrieve, content, delete; kept in memory."""

import itertools
from dataclasses import dataclass, field
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from mimic_proxy.demo.desk import Desk, identity
from mimic_proxy.demo.multipart import form, required, text
from mimic_proxy.demo.refusals import Refusal, not_found

_MOST_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _File:
    document: dict[str, Any]
    content: bytes


@dataclass(slots=True)
class _Shelf:
    """Files by id, the newest last; the oldest go when they are too many bytes together."""

    files: dict[str, _File] = field(default_factory=dict)
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def keep(self, file: _File) -> None:
        self.files[file.document["id"]] = file
        while sum(len(kept.content) for kept in self.files.values()) > _MOST_BYTES and len(self.files) > 1:
            self.files.pop(next(iter(self.files)))

    def find(self, name: str) -> _File:
        if name not in self.files:
            raise not_found("File object", name)
        return self.files[name]


def file_router(desk: Desk) -> APIRouter:
    router = APIRouter(prefix="/files")
    shelf = _Shelf()

    @router.post("")
    async def upload(request: Request) -> Response:
        parts = form(request.headers.get("content-type", ""), await request.body())
        faults = desk.faults(request)
        file, purpose = required(parts, "file"), text(parts, "purpose")
        if not purpose:
            raise Refusal("Missing required parameter: 'purpose'.", param="purpose", code="missing_required_parameter")
        document = {
            "id": identity("file-", b"%d %b" % (next(shelf.numbers), file.content)),
            "object": "file",
            "bytes": len(file.content),
            "created_at": desk.now(),
            "filename": file.filename or "file",
            "purpose": purpose,
            "status": "processed",
        }
        shelf.keep(_File(document, file.content))
        return desk.answer(faults, document)

    @router.get("")
    async def list_files(request: Request) -> Response:
        found = [file.document for file in reversed(shelf.files.values())]
        wanted = request.query_params.get("purpose")
        data = [document for document in found if wanted in (None, document["purpose"])]
        ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
        return desk.answer(desk.faults(request), {"object": "list", "data": data, **ends, "has_more": False})

    @router.get("/{name}")
    async def retrieve(request: Request, name: str) -> Response:
        return desk.answer(desk.faults(request), shelf.find(name).document)

    @router.get("/{name}/content")
    async def content(request: Request, name: str) -> Response:
        return desk.answer(desk.faults(request), shelf.find(name).content, media_type="application/octet-stream")

    @router.delete("/{name}")
    async def delete(request: Request, name: str) -> Response:
        faults = desk.faults(request)
        shelf.find(name)
        del shelf.files[name]
        return desk.answer(faults, {"id": name, "object": "file", "deleted": True})

    return router
