"""A MimicBackend as the configuration file of the proxy: its settings by their lower-case names, no secret among them.

Ports are missing: they stand in the container's environment, since injection may have to choose others.
"""

import yaml

from mimic_operator.resource import places
from mimic_operator.resource.backend import Backend
from mimic_operator.resource.config_recipes import Config, envelope_settings, federated_settings, recipe_settings
from mimic_operator.resource.credentials import secret_settings
from mimic_operator.resource.naming import child_name
from mimic_operator.resource.quantity import amount
from mimic_operator.resource.spec import Grant

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
DRAIN_DELAY_SECONDS = 5
"""Until the Service's endpoints everywhere have forgotten a pod that ends."""
DRAIN_SECONDS = 25


def config_of(backend: Backend, *, memory_limit: str) -> Config:
    """The settings, those aside that have the proxy's own default. memory_limit: of the container, a quantity."""
    wanted = _backend(backend) | _auth(backend) | _tls(backend) | _listening(backend) | _limits(backend, memory_limit)
    wanted |= {"log_level": backend.proxy.log_level, "log_format": backend.proxy.log_format}
    return {name: value for name, value in sorted(wanted.items()) if value is not None}


def config_yaml(config: Config) -> str:
    """The file's text; the same settings give the same bytes."""
    text: str = yaml.safe_dump(config, sort_keys=True, allow_unicode=True, width=1000)
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
    store = places.STORE if auth.token_store is not None else places.RUN
    return {
        "grant": GRANTS[auth.grant],
        "token_url": auth.token_url,
        "client_id": auth.client_id,
        "scope": auth.scope,
        "audience": auth.audience,
        "resource": auth.resource,
        "auth_code_single_use": True if auth.single_use and auth.grant == "AuthCode" else None,
        "token_store": f"{store}/{places.STORE_FILE}" if kept else None,
        **secret_settings(auth),
        **(federated_settings(auth.recipe) if auth.federated else recipe_settings(auth.recipe)),
    }


def _tls(backend: Backend) -> Config:
    tls = backend.tls
    certificate = tls.client_cert_secret_ref is not None
    return {
        "verify_ssl": tls.verify,
        "ca_bundle": f"{places.CA}/{places.CA_FILE}" if tls.ca_bundle else None,
        "client_cert": f"{places.CLIENT_CERT}/tls.crt" if certificate else None,
        "client_key": f"{places.CLIENT_CERT}/tls.key" if certificate else None,
    }


def _listening(backend: Backend) -> Config:
    shared = backend.mode == "Deployment"
    return {
        "host": ANY_ADDRESS if shared else LOOPBACK,
        "admin_host": ANY_ADDRESS,
        "allowed_hosts": service_hosts(backend) if shared else None,
        "drain_delay": DRAIN_DELAY_SECONDS if shared else None,
        "drain_timeout": DRAIN_SECONDS,
        # A folder: one file for each key of the Secret.
        "client_keys_file": places.CLIENT_KEYS if backend.deployment.client_auth else None,
    }


def _limits(backend: Backend, memory_limit: str) -> Config:
    limits, timeouts = backend.limits, backend.timeouts
    body = limits.max_body_bytes or DEFAULT_BODY_BYTES
    return {
        "max_concurrency": limits.max_concurrency,
        "max_queue": limits.max_queue,
        "max_body_bytes": limits.max_body_bytes,
        # Bodies that wait may take a quarter of the memory, yet the largest one has to pass.
        "max_buffered_bytes": max(int(amount(memory_limit) / 4), body),
        "connect_timeout": timeouts.connect,
        "first_byte_timeout": timeouts.first_byte,
        "idle_timeout": timeouts.idle,
        "total_timeout": timeouts.total,
    }
