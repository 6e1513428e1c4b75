"""PRESET: what one word stands for. Data, as the public documentation of each service has it.

A preset gives variables their values where nobody has set them. `{NAME}` in a value is the value of another variable:
where that has none either, it is asked for by its name.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

PLACE = re.compile(r"\{([A-Z_]+)\}")
FORM = {"TOKEN_ENCODING": "form"}
BASIC = {"GRANT": "client_credentials", **FORM, "TOKEN_SECRET_IN": "basic"}
POST = {"GRANT": "client_credentials", **FORM, "TOKEN_SECRET_IN": "body"}
ENTRA = {"TOKEN_URL": "https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/token"}
AZURE_OPENAI = {"SCOPE": "https://cognitiveservices.azure.com/.default"}
GOOGLE = {
    "GRANT": "private_key_jwt",
    "TOKEN_URL": "https://oauth2.googleapis.com/token",
    "ASSERTION_AS": "grant",
    "ASSERTION_LIFETIME": "3600",
    "TOKEN_FIELDS": '{"scope": null, "audience": null}',
}
DISPENSABLE = frozenset({"ASSERTION_AUDIENCE"})
"""Nobody is asked for a variable that only these are made of."""


@dataclass(frozen=True, slots=True)
class Preset:
    """values: by variable. asked: what has to be set besides, for people. source: where all that is documented."""

    meaning: str
    values: Mapping[str, str]
    asked: tuple[str, ...]
    source: str


PRESETS: Mapping[str, Preset] = {
    "original": Preset(
        "an in-house gateway with an API of its own: a code buys tokens, which go without a scheme",
        {"GRANT": "auth_code", "DIALECT": "envelope", "TOKEN_POINTER": "data.access_token", "TOKEN_FORMAT": "{token}"},
        ("TOKEN_URL", "AUTH_CODE"),
        "",
    ),
    "oauth2": Preset(
        "client credentials at any OAuth 2.0 server, by basic authentication",
        BASIC,
        ("TOKEN_URL", "CLIENT_ID", "CLIENT_SECRET"),
        "https://www.rfc-editor.org/rfc/rfc6749#section-4.4",
    ),
    "entra-id": Preset(
        "an application's secret at Microsoft Entra ID, by default for Azure OpenAI",
        {**POST, **ENTRA, **AZURE_OPENAI},
        ("TENANT", "CLIENT_ID", "CLIENT_SECRET"),
        "https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow",
    ),
    "entra-workload-identity": Preset(
        "a pod's federated service-account token at Microsoft Entra ID, by default for Azure OpenAI",
        {
            **POST,
            **ENTRA,
            **AZURE_OPENAI,
            "CLIENT_SECRET_FILE": "/var/run/secrets/azure/tokens/azure-identity-token",
            "TOKEN_SECRET_AS": "client_assertion",
            "TOKEN_FIELDS": "client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        },
        ("TENANT", "CLIENT_ID"),
        "https://azure.github.io/azure-workload-identity/docs/",
    ),
    "keycloak": Preset(
        "client credentials at Keycloak; with GRANT another of its grants",
        {
            **BASIC,
            "TOKEN_URL": "{ISSUER}/protocol/openid-connect/token",
            "ASSERTION_AUDIENCE": "{ISSUER}",
            "SUBJECT_TOKEN_TYPE": "access_token",
        },
        ("ISSUER", "CLIENT_ID", "CLIENT_SECRET"),
        "https://www.keycloak.org/securing-apps/oidc-layers",
    ),
    "okta": Preset(
        "client credentials at an authorization server of Okta's",
        {**BASIC, "TOKEN_URL": "{ISSUER}/v1/token"},
        ("ISSUER", "CLIENT_ID", "CLIENT_SECRET", "SCOPE"),
        "https://developer.okta.com/docs/guides/implement-grant-type/clientcreds/main/",
    ),
    "auth0": Preset(
        "client credentials at Auth0",
        {**POST, "TOKEN_URL": "{ISSUER}/oauth/token"},
        ("ISSUER", "CLIENT_ID", "CLIENT_SECRET", "AUDIENCE"),
        "https://auth0.com/docs/get-started/authentication-and-authorization-flow/client-credentials-flow",
    ),
    "aws-cognito": Preset(
        "client credentials at a user pool of Amazon Cognito",
        {**BASIC, "TOKEN_URL": "{ISSUER}/oauth2/token"},
        ("ISSUER", "CLIENT_ID", "CLIENT_SECRET"),
        "https://docs.aws.amazon.com/cognito/latest/developerguide/token-endpoint.html",
    ),
    "databricks": Preset(
        "a service principal of Databricks",
        {**BASIC, "TOKEN_URL": "{ISSUER}/oidc/v1/token", "SCOPE": "all-apis"},
        ("ISSUER", "CLIENT_ID", "CLIENT_SECRET"),
        "https://docs.databricks.com/en/dev-tools/auth/oauth-m2m.html",
    ),
    "sap-btp": Preset(
        "a service key of SAP BTP, such as one of AI Core",
        {**BASIC, "TOKEN_URL": "{ISSUER}/oauth/token"},
        ("ISSUER", "CLIENT_ID", "CLIENT_SECRET"),
        "https://help.sap.com/docs/btp",
    ),
    "ibm-cloud": Preset(
        "an API key of IBM Cloud, for watsonx among others",
        {
            "GRANT": "auth_code",
            **FORM,
            "TOKEN_URL": "https://iam.cloud.ibm.com/identity/token",
            "TOKEN_SECRET_AS": "apikey",
            "TOKEN_FIELDS": "grant_type=urn:ibm:params:oauth:grant-type:apikey",
        },
        ("AUTH_CODE",),
        "https://cloud.ibm.com/docs/account?topic=account-iamtoken_from_apikey",
    ),
    "yandex-cloud": Preset(
        "an authorized key of a Yandex Cloud service account",
        {
            "GRANT": "private_key_jwt",
            "TOKEN_URL": "https://iam.api.cloud.yandex.net/iam/v1/tokens",
            "TOKEN_ENCODING": "json",
            "TOKEN_FIELDS": '{"grant_type": null}',
            "TOKEN_SECRET_AS": "jwt",
            "TOKEN_POINTER": "iamToken",
            "TOKEN_EXPIRY_POINTER": "expiresAt",
            "ASSERTION_AS": "grant",
            "ASSERTION_ALGORITHM": "PS256",
            "ASSERTION_LIFETIME": "3600",
            "ASSERTION_CLAIMS": '{"sub": null}',
        },
        ("PRIVATE_KEY_FILE",),
        "https://yandex.cloud/en/docs/iam/operations/iam-token/create-for-sa",
    ),
    "google-service-account": Preset(
        "an access token for a service account of Google Cloud, by its JSON key file",
        {
            **GOOGLE,
            "SCOPE": "https://www.googleapis.com/auth/cloud-platform",
            "ASSERTION_CLAIMS": '{"sub": null, "scope": "{SCOPE}"}',
        },
        ("PRIVATE_KEY_FILE",),
        "https://developers.google.com/identity/protocols/oauth2/service-account",
    ),
    "google-id-token": Preset(
        "an ID token for a service account of Google Cloud, as Cloud Run and Identity-Aware Proxy want it",
        {
            **GOOGLE,
            "TOKEN_POINTER": "id_token",
            "ASSERTION_CLAIMS": '{"sub": null, "target_audience": "{AUDIENCE}"}',
        },
        ("PRIVATE_KEY_FILE", "AUDIENCE"),
        "https://cloud.google.com/run/docs/authenticating/service-to-service",
    ),
}


def completed(preset: str, given: Mapping[str, object]) -> tuple[dict[str, object], dict[str, str]]:
    """What `preset` sets beside `given` variables; and those that it misses, each with what it is for."""
    found: dict[str, object] = {}
    missing: dict[str, str] = {}
    for name, value in PRESETS[preset].values.items():
        if name in given or name.removesuffix("_FILE") in given or f"{name}_FILE" in given:
            continue
        known = {**found, **given}
        lacking = [place for place in PLACE.findall(value) if place not in known]
        if not lacking:
            found[name] = _filled(value, known)
        elif name not in DISPENSABLE:
            missing.update((place, f"PRESET={preset} makes {name} of it; or set {name}") for place in lacking)
    return found, missing


def _filled(value: str, known: Mapping[str, object]) -> str:
    """`value` with the variables in their places, where it is JSON as JSON has them."""
    texts = {place: str(known[place]).strip() for place in PLACE.findall(value)}
    for place, text in texts.items():
        texts[place] = json.dumps(text)[1:-1] if value.startswith('{"') else text.rstrip("/")
    return PLACE.sub(lambda match: texts[match[1]], value)
