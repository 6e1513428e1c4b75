"""Signs JWTs that buy a token (RFC 7523, 3), and reads the keys for them."""

import base64
import json
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mimic_proxy.tokens.recipe import Fields

KEY_BLOCK = re.compile(r"-----BEGIN ([A-Z ]*)PRIVATE KEY-----.*?-----END \1PRIVATE KEY-----", re.DOTALL)
CERTIFICATE_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
SLOW_CLOCK_SECONDS = 10
CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


@dataclass(frozen=True, slots=True)
class Key:
    """A private key and what its file says besides: the fitting algorithm, header fields, the issuer's name."""

    key: Any
    algorithm: str
    header: dict[str, str]
    issuer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """Signs assertions. issuer, algorithm, key_id: None takes those of the key's file. lifetime: seconds.

    claims: added, replaced, or removed where null. identify: makes the `jti` of each one.
    """

    issuer: str | None
    audience: str
    lifetime: float
    algorithm: str | None = None
    key_id: str | None = None
    claims: Fields = ()
    identify: Callable[[], str] = lambda: str(uuid.uuid4())

    def __call__(self, secret: str, wall: float) -> str:
        """Returns an assertion signed at Unix time `wall` with the key in `secret`.

        Raises ValueError that says what is wrong with the key, without any part of it.
        """
        # Imported at the first signature: it takes longer than the rest of the start.
        import jwt

        key = read_key(secret)
        issuer = self.issuer or key.issuer
        if issuer is None:
            raise ValueError("does not say whose key it is: set CLIENT_ID")
        lifetime = max(int(self.lifetime), 1)
        # A token service whose clock is a little slow would refuse an assertion of the future.
        issued = int(wall) - min(SLOW_CLOCK_SECONDS, lifetime // 4)
        claims: dict[str, object] = {"iss": issuer, "sub": issuer, "aud": self.audience}
        claims |= {"iat": issued, "exp": issued + lifetime, "jti": self.identify(), **dict(self.claims)}
        claims = {name: value for name, value in claims.items() if value is not None}
        header = key.header if self.key_id is None else {**key.header, "kid": self.key_id}
        algorithm = self.algorithm or key.algorithm
        try:
            return jwt.encode(claims, key.key, algorithm=algorithm, headers=header)
        except (jwt.PyJWTError, TypeError, ValueError, NotImplementedError):
            raise ValueError(f"is no key for {algorithm}: ASSERTION_ALGORITHM must fit the key") from None


def read_key(secret: str) -> Key:
    """Reads a key from PEM, from a cloud's JSON key file, or from a JWK. Raises ValueError as `Assertion` does."""
    if secret.lstrip().startswith("{"):
        return _from_json(secret)
    # Variables often hold a PEM text on one line.
    return _from_pem(secret if "\n" in secret else secret.replace("\\n", "\n"))


def _from_pem(text: str) -> Key:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    block = KEY_BLOCK.search(text)
    if block is None:
        raise ValueError("holds no private key in PEM (-----BEGIN PRIVATE KEY-----), and no JSON")
    try:
        key = load_pem_private_key(block.group().encode(), password=None)
    except TypeError:
        raise ValueError("holds a key that a passphrase protects: store it without one") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("holds a private key that cannot be read") from None
    header = {}
    certificate = CERTIFICATE_BLOCK.search(text)
    if certificate is not None:
        try:
            read = x509.load_pem_x509_certificate(certificate.group().encode())
        except ValueError:
            raise ValueError("holds a certificate that cannot be read") from None
        # RFC 7515, 4.1.7 and 4.1.8; SHA-1 only names the certificate.
        header = {
            "x5t": _base64url(read.fingerprint(hashes.SHA1())),  # noqa: S303
            "x5t#S256": _base64url(read.fingerprint(hashes.SHA256())),
        }
    return Key(key, _algorithm(key), header)


def _from_json(text: str) -> Key:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("begins with { and is not JSON") from None
    if isinstance(document.get("private_key"), str):
        key = _from_pem(document["private_key"])
        # Google's names, then those of Yandex Cloud.
        kid = document.get("private_key_id", document.get("id"))
        issuer = document.get("client_email", document.get("service_account_id"))
        header = {**key.header, "kid": kid} if isinstance(kid, str) else key.header
        return Key(key.key, key.algorithm, header, issuer if isinstance(issuer, str) else None)
    return _from_jwk(document)


def _from_jwk(document: dict[str, Any]) -> Key:
    import jwt

    wrong = "is JSON and neither a JWK with a private key nor a key file with private_key"
    try:
        key = jwt.PyJWK(document)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        raise ValueError(wrong) from None
    if not hasattr(key.key, "private_bytes"):
        raise ValueError(wrong)
    kid = document.get("kid")
    return Key(key.key, key.algorithm_name, {"kid": kid} if isinstance(kid, str) else {})


def _algorithm(key: object) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

    if isinstance(key, rsa.RSAPrivateKey):
        return "RS256"
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in CURVES:
        return CURVES[key.curve.name]
    if isinstance(key, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)):
        return "EdDSA"
    raise ValueError("holds a key of a kind that signs no assertions: RSA, a P curve, or Ed25519 does")


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
