"""Envoy's bootstrap: one listener, OAuth2 client credentials fetched and injected, routed to the backend.

See Envoy's "Credential injector" HTTP filter and its OAuth2 credential extension. Envoy reads JSON as YAML.
"""

import json
from typing import Any

TYPES = "type.googleapis.com/envoy.extensions"
CLIENT_ID = "bench"
CLIENT_SECRET = "bench-client-secret"


def bootstrap(port: int, backend_port: int, token_port: int) -> str:
    """The bootstrap document for a relay on 127.0.0.1:`port`.

    No admin interface and no access log; a request id for each call, as Envoy does by default and Mimic does, too.
    """
    document = {
        "static_resources": {
            "listeners": [_listener(port, token_port)],
            "clusters": [_cluster("backend", backend_port), _cluster("token", token_port)],
            "secrets": [
                {
                    "name": "client-secret",
                    "generic_secret": {"secret": {"inline_string": CLIENT_SECRET}},
                }
            ],
        },
    }
    return json.dumps(document, indent=1)


def _listener(port: int, token_port: int) -> dict[str, Any]:
    manager = {
        "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "codec_type": "HTTP1",
        "http_filters": [_injector(token_port), _router()],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "backend", "timeout": "600s"}}],
                }
            ]
        },
    }
    return {
        "name": "relay",
        "address": _address(port),
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }


def _injector(token_port: int) -> dict[str, Any]:
    oauth2 = {
        "@type": f"{TYPES}.http.injected_credentials.oauth2.v3.OAuth2",
        "token_endpoint": {"cluster": "token", "timeout": "5s", "uri": f"http://127.0.0.1:{token_port}/token"},
        "client_credentials": {"client_id": CLIENT_ID, "client_secret": {"name": "client-secret"}},
    }
    return {
        "name": "envoy.filters.http.credential_injector",
        "typed_config": {
            "@type": f"{TYPES}.filters.http.credential_injector.v3.CredentialInjector",
            "overwrite": True,
            "credential": {"name": "envoy.http.injected_credentials.oauth2", "typed_config": oauth2},
        },
    }


def _router() -> dict[str, Any]:
    return {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"{TYPES}.filters.http.router.v3.Router", "suppress_envoy_headers": True},
    }


def _cluster(name: str, port: int) -> dict[str, Any]:
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}],
        },
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
