"""`spec.auth.recipe` and `spec.dialect.envelope` as settings of the proxy: TOKEN_*, ASSERTION_* and ENVELOPE_*."""

from collections.abc import Mapping
from typing import Any

from mimic_operator.resource.credentials import ASSERTION_TYPE, FEDERATION
from mimic_operator.resource.spec.auth import Assertion, Pointers, Recipe
from mimic_operator.resource.spec.dialect import Envelope

Config = dict[str, Any]


def recipe_settings(recipe: Recipe) -> Config:
    """What is left out is None: the grant's own way."""
    return {
        "token_method": recipe.method,
        "token_encoding": _word(recipe.encoding),
        "token_secret_in": _word(recipe.secret_in),
        "token_secret_as": recipe.secret_as,
        "token_secret_format": recipe.secret_format,
        "token_refresh_as": recipe.refresh_as,
        "token_fields": _mapping(recipe.fields),
        "token_request_headers": _mapping(recipe.headers),
        "subject_token_type": recipe.subject_token_type,
        "requested_token_type": recipe.requested_token_type,
        "token_header": recipe.header,
        "token_format": recipe.format,
        "token_default_lifetime": recipe.default_lifetime,
        "token_timeout": recipe.timeout,
        **(_pointers(recipe.pointers) if recipe.pointers else {}),
        **(_assertion(recipe.assertion) if recipe.assertion else {}),
    }


def federated_settings(recipe: Recipe) -> Config:
    """The same for a client that shows a token of its pod's service account; what the recipe says counts first."""
    said = {name: value for name, value in recipe_settings(recipe).items() if value is not None}
    fields = {**ASSERTION_TYPE, **recipe.fields}
    return {**FEDERATION, **said, "token_fields": fields}


def envelope_settings(envelope: Envelope) -> Config:
    """What is left out is None: the original gateway's way."""
    request, answer, errors = envelope.request, envelope.answer, envelope.errors
    stream, embedding, models = envelope.stream, envelope.embedding, envelope.models
    found: Config = {
        "request_under": request.under,
        "request_rename": _mapping(request.rename),
        "request_add": request.add,
        "history": _word(request.history),
        "text_path": answer.text_path,
        "tool_calls_path": answer.tool_calls_path,
        "finish_reason_path": answer.finish_reason_path,
        "usage_path": answer.usage_path,
        "model_path": answer.model_path,
        "error_code_path": errors.code_path,
        "error_message_path": errors.message_path,
        "success_codes": errors.success_codes,
        "refused_codes": errors.refused_codes,
        "stream": _word(stream.form),
        "stream_text": _word(stream.text),
        "stream_end": _word(stream.end),
        "done_path": stream.done_path,
        "embedding_input": embedding.input,
        "embedding_batch": embedding.batch,
        "embedding_concurrency": embedding.concurrency,
        "embedding_encoding": _word(embedding.encoding),
        "embedding_path": embedding.path,
        "embedding_item_path": embedding.item_path,
        "models_url": models.url,
        "models_path": models.path,
        "model_id_path": models.id_path,
    }
    return {f"envelope_{name}": list(value) if isinstance(value, tuple) else value for name, value in found.items()}


def _pointers(pointers: Pointers) -> Config:
    return {
        "token_pointer": list(pointers.token) or None,
        "token_lifetime_pointer": list(pointers.lifetime) or None,
        "token_expiry_pointer": list(pointers.expiry) or None,
        "token_error_pointer": list(pointers.error) or None,
        "token_refresh_pointer": list(pointers.refresh_token) or None,
    }


def _assertion(assertion: Assertion) -> Config:
    return {
        "assertion_as": _word(assertion.as_),
        "assertion_algorithm": assertion.algorithm,
        "private_key_id": assertion.key_id,
        "assertion_audience": assertion.audience,
        "assertion_lifetime": assertion.lifetime,
        "assertion_claims": _mapping(assertion.claims),
    }


def _word(word: str | None) -> str | None:
    return None if word is None else word.lower()


def _mapping(pairs: Mapping[str, str]) -> dict[str, str] | None:
    return dict(pairs) or None
