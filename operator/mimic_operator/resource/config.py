"""Renders a MimicBackend as the proxy's configuration file: settings by their lower-case names, and no secret.

The ports are in the container's environment instead, since injection may have to choose others.
"""

from collections.abc import Mapping
from typing import Any

import yaml

from mimic_operator.resource import mounts
from mimic_operator.resource.backend import Backend
from mimic_operator.resource.fields import amount
from mimic_operator.resource.mounts import ASSERTION_TYPE, FEDERATION, secret_settings
from mimic_operator.resource.naming import child_name
from mimic_operator.resource.spec import Grant
from mimic_operator.resource.spec.auth import Assertion, Pointers, Recipe
from mimic_operator.resource.spec.dialect import Envelope

Config = dict[str, Any]

GRANTS: dict[Grant, str] = {
    "AuthCode": "auth_code",
    "ClientCredentials": "client_credentials",
    "PrivateKeyJwt": "private_key_jwt",
    "TokenExchange": "token_exchange",
    "RefreshToken": "refresh_token",
    "Static": "static",
    "None": "none",
}
ANY_ADDRESS = ["0.0.0.0", "::"]
LOOPBACK = ["127.0.0.1", "::1"]
DEFAULT_BODY_BYTES = 33_554_432
MOST_BUFFERED_BYTES = 2**50
"""A limit may be any number; a setting has 18 digits."""
DRAIN_DELAY_SECONDS = 5
"""Time until no node routes calls to a pod that stops."""


DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""libyaml's, where PyYAML was built with it: ten times as fast, and each backend's file is written at each start."""


def config_of(backend: Backend, *, memory_limit: str) -> Config:
    """The settings, those aside that have the proxy's own default. memory_limit: of the container, a quantity."""
    wanted = _backend(backend) | _auth(backend) | _tls(backend) | _listening(backend) | _limits(backend, memory_limit)
    wanted |= {"log_level": backend.proxy.log_level, "log_format": backend.proxy.log_format}
    return {name: value for name, value in sorted(wanted.items()) if value is not None}


def config_yaml(config: Config) -> str:
    """The file's text; the same settings give the same bytes."""
    text: str = yaml.dump(config, Dumper=DUMPER, sort_keys=True, allow_unicode=True, width=1000)
    return text


def service_hosts(backend: Backend) -> list[str]:
    """The names by which the Service of a Deployment is called."""
    name = child_name(backend.name)
    return [name, *(f"{name}.{backend.namespace}{rest}" for rest in ("", ".svc", ".svc.cluster.local"))]


def _backend(backend: Backend) -> Config:
    return {
        "chat_api_url": backend.chat.url,
        "embedding_api_url": backend.embedding.url,
        "dialect": backend.dialect.type.lower(),
        "models": list(backend.models.static) or None,
        **(envelope_settings(backend.dialect.envelope) if backend.dialect.envelope else {}),
    }


def _auth(backend: Backend) -> Config:
    auth = backend.auth
    kept = auth.grant == "RefreshToken" or auth.single_use
    store = mounts.STORE if auth.token_store is not None else mounts.RUN
    return {
        "grant": GRANTS[auth.grant],
        "token_url": auth.token_url,
        "client_id": auth.client_id,
        "scope": auth.scope,
        "audience": auth.audience,
        "resource": auth.resource,
        "auth_code_single_use": True if auth.single_use and auth.grant == "AuthCode" else None,
        "token_store": f"{store}/{mounts.STORE_FILE}" if kept else None,
        **secret_settings(auth),
        **(federated_settings(auth.recipe) if auth.federated else recipe_settings(auth.recipe)),
    }


def _tls(backend: Backend) -> Config:
    tls = backend.tls
    certificate = tls.client_cert_secret_ref is not None
    # An inline bundle is in the ConfigMap, beside the configuration file.
    folder = mounts.CONFIG if tls.ca_bundle is not None else mounts.CA
    return {
        "verify_ssl": not tls.insecure_skip_verify,
        "ca_bundle": f"{folder}/{mounts.CA_FILE}" if tls.ca_bundle or tls.ca_bundle_from else None,
        "client_cert": f"{mounts.CLIENT_CERT}/tls.crt" if certificate else None,
        "client_key": f"{mounts.CLIENT_CERT}/tls.key" if certificate else None,
    }


def _listening(backend: Backend) -> Config:
    shared = backend.mode == "Deployment"
    return {
        "host": ANY_ADDRESS if shared else LOOPBACK,
        "admin_host": ANY_ADDRESS,
        "allowed_hosts": service_hosts(backend) if shared else None,
        "drain_delay": DRAIN_DELAY_SECONDS if shared else None,
        "drain_timeout": backend.proxy.drain_timeout,
        # A folder: one file for each key of the Secret.
        "client_keys_file": mounts.CLIENT_KEYS if backend.deployment.client_auth else None,
    }


def _limits(backend: Backend, memory_limit: str) -> Config:
    limits, timeouts = backend.call_limits, backend.timeouts
    body = limits.max_body_bytes or DEFAULT_BODY_BYTES
    return {
        "max_concurrency": limits.max_concurrency,
        "max_queue": limits.max_queue,
        "max_body_bytes": limits.max_body_bytes,
        # Bodies that wait may take a quarter of the memory, yet the largest one has to pass.
        "max_buffered_bytes": max(min(int(amount(memory_limit) / 4), MOST_BUFFERED_BYTES), body),
        "connect_timeout": timeouts.connect,
        "first_byte_timeout": timeouts.first_byte,
        "idle_timeout": timeouts.idle,
        "total_timeout": timeouts.total,
    }


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
    encoding = "query" if recipe.method == "GET" else "form"
    return {**FEDERATION, "token_encoding": encoding, **said, "token_fields": fields}


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
