"""The realm that Keycloak imports: one client for each way to get a token, and a gateway for which the tokens are."""

import base64
import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt.algorithms
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

REALM = "company"
GATEWAY = {"client_id": "model-gateway", "client_secret": "secret-of-the-gateway"}
"""The audience of the tokens; it may ask Keycloak whether a token still counts (RFC 7662)."""
ARCHIVE = {"client_id": "archive", "client_secret": "secret-of-the-archive"}
"""Another audience, for which tokens may be exchanged."""
SERVICE = {"client_id": "service", "client_secret": "secret of the+service/&%"}
"""client_credentials, by basic and by post. Its secret has characters that each of them has to write in its own way."""
ROTATED = {"client_id": "rotated", "client_secret": "the-first-secret"}
SHORT_LIVED = {"client_id": "short-lived", "client_secret": "secret-of-the-short-lived"}
SHORT_LIFE_SECONDS = 10
"""Of its tokens. Keycloak counts whole seconds: the last one may be missing, and they are replaced before that."""
KEYS, CERTIFICATE = "keys", "certificate"
"""private_key_jwt: with a set of public keys, and with one certificate."""
LAPTOP = {"client_id": "laptop"}
"""A public client with refresh tokens; each may be used once."""
DAEMON = {"client_id": "daemon", "client_secret": "secret-of-the-daemon"}
"""A confidential one."""
JOB = {"client_id": "job", "client_secret": "secret-of-the-job"}
"""Its users' tokens may be exchanged by EXCHANGE."""
EXCHANGE = {"client_id": "exchange", "client_secret": "secret-of-the-exchange"}
PASSWORD = "a password of the tests"
USERS = ("ada", "grace", "joan", "katherine")
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Keys:
    """The private keys of the clients that sign their requests."""

    rsa: rsa.RSAPrivateKey
    ec: ec.EllipticCurvePrivateKey
    certified: rsa.RSAPrivateKey

    @classmethod
    def made(cls) -> "Keys":
        return cls(
            rsa.generate_private_key(65537, 2048),
            ec.generate_private_key(ec.SECP256R1()),
            rsa.generate_private_key(65537, 2048),
        )


RSA_ID, EC_ID = "rsa-1", "ec-1"
"""Key ids (`kid`) of the client KEYS."""


def pem(key: Key) -> bytes:
    """The private key as it stands in a file (PKCS #8)."""
    none = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, none)


def key_set(rsa_key: rsa.RSAPrivateKey, ec_key: ec.EllipticCurvePrivateKey) -> str:
    """The two public keys as a JSON Web Key Set (RFC 7517)."""
    of_rsa = jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key.public_key(), as_dict=True)
    of_ec = jwt.algorithms.ECAlgorithm.to_jwk(ec_key.public_key(), as_dict=True)
    signing = {"use": "sig"}
    keys = [of_rsa | signing | {"kid": RSA_ID, "alg": "RS256"}, of_ec | signing | {"kid": EC_ID, "alg": "ES256"}]
    return json.dumps({"keys": keys})


def company(keys: Keys) -> dict[str, Any]:
    """The realm's representation, as the import takes it."""
    public_keys = {"use.jwks.string": "true", "jwks.string": key_set(keys.rsa, keys.ec)}
    certificate = {"jwt.credential.certificate": _certificate(keys.certified)}
    return {
        "realm": REALM,
        "enabled": True,
        "sslRequired": "none",
        "accessTokenLifespan": 300,
        "revokeRefreshToken": True,
        "refreshTokenMaxReuse": 0,
        "users": [_user(name) for name in USERS],
        "clients": [
            _client(GATEWAY),
            _client(ARCHIVE),
            _client(SERVICE, serviceAccountsEnabled=True),
            _client(ROTATED, serviceAccountsEnabled=True),
            _client(
                SHORT_LIVED, serviceAccountsEnabled=True, attributes={"access.token.lifespan": str(SHORT_LIFE_SECONDS)}
            ),
            _signing(KEYS, public_keys),
            _signing(CERTIFICATE, certificate),
            _client(LAPTOP, publicClient=True, directAccessGrantsEnabled=True),
            _client(DAEMON, directAccessGrantsEnabled=True),
            _client(JOB, EXCHANGE["client_id"], directAccessGrantsEnabled=True),
            _client(EXCHANGE, ARCHIVE["client_id"], attributes={"standard.token.exchange.enabled": "true"}),
        ],
    }


def _client(who: Mapping[str, str], *audiences: str, **more: Any) -> dict[str, Any]:
    """A client whose tokens are for the gateway, and for the `audiences`."""
    return {
        "clientId": who["client_id"],
        "secret": who.get("client_secret"),
        "enabled": True,
        "protocol": "openid-connect",
        "standardFlowEnabled": False,
        "protocolMappers": [_audience(name) for name in (GATEWAY["client_id"], *audiences)],
        **more,
    }


def _signing(client_id: str, attributes: Mapping[str, str]) -> dict[str, Any]:
    return _client(
        {"client_id": client_id},
        serviceAccountsEnabled=True,
        clientAuthenticatorType="client-jwt",
        attributes=dict(attributes),
    )


def _audience(client_id: str) -> dict[str, Any]:
    config = {"included.client.audience": client_id, "access.token.claim": "true", "introspection.token.claim": "true"}
    return {
        "name": f"for {client_id}",
        "protocol": "openid-connect",
        "protocolMapper": "oidc-audience-mapper",
        "config": config,
    }


def _user(name: str) -> dict[str, Any]:
    return {
        "username": name,
        "enabled": True,
        "email": f"{name}@example.com",
        "emailVerified": True,
        "firstName": name,
        "lastName": "Example",
        "credentials": [{"type": "password", "value": PASSWORD, "temporary": False}],
    }


def _certificate(key: rsa.RSAPrivateKey) -> str:
    """A self-signed certificate, the base64 of its DER."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, CERTIFICATE)])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .sign(key, hashes.SHA256())
    )
    return base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()
