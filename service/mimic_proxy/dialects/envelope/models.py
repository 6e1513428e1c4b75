"""The models of a gateway, made into OpenAI's list."""

from typing import Any

from mimic_proxy.dialects.base import Translated
from mimic_proxy.dialects.envelope.errors import bad_response, not_json, reported
from mimic_proxy.dialects.envelope.paths import Shape, first, keys_of
from mimic_proxy.dialects.envelope.text import read_json, write_json
from mimic_proxy.pointer import MISSING, written


def model_list(shape: Shape, status: int, body: bytes) -> Translated:
    """The list at `ENVELOPE_MODELS_PATH`, of ids or of objects with one; else an error."""
    try:
        document = read_json(body)
    except ValueError:
        return not_json(status, body).translated()
    trouble = reported(shape, shape.plan.walk(document), status)
    if trouble is not None:
        return trouble.translated()
    listed = document if isinstance(document, list) else _first_list(shape, document)
    names = None if listed is None else [_id(shape, item) for item in listed]
    if names is None or not all(names):
        places = " or ".join(map(written, shape.models))
        message = f"There is no list of models at {places} (ENVELOPE_MODELS_PATH) in the backend's answer"
        return bad_response(f"{message}; {keys_of(document)}. MODELS can name them instead.").translated()
    data = [{"id": name, "object": "model", "created": 0, "owned_by": "backend"} for name in dict.fromkeys(names)]
    return Translated(200, write_json({"object": "list", "data": data}))


def _first_list(shape: Shape, document: Any) -> list[Any] | None:
    for place in shape.models:
        found = first(document, (place,))
        if isinstance(found, list):
            return found
    return None


def _id(shape: Shape, item: Any) -> str:
    found = item if isinstance(item, str) else first(item, shape.model_id)
    return found if found is not MISSING and isinstance(found, str) else ""
