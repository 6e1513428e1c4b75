"""What a client of the demo's token service has to show for each grant, and the judge of it: a wrong client fails.

client_credentials   CLIENT_ID and CLIENT_SECRET, by basic authentication or in the form        RFC 6749, 4.4
private_key_jwt      an assertion signed with the client's key, used once                       RFC 7523, 2.2
token_exchange       a subject token that the demo's cluster has signed                         RFC 8693
refresh_token        replaced each time; one that is turned in twice ends the whole session     RFC 9700, 4.14.2
"""

import base64
import binascii
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, get_args
from urllib.parse import unquote_plus

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mimic_proxy.demo.options import Grant

GRANTS: Final = get_args(Grant)
KEY_ID: Final = "demo-key-1"
SUBJECT_ISSUER: Final = "https://kubernetes.demo.invalid"
SUBJECT_AUDIENCE: Final = "demo-token-service"


@dataclass
class Credentials:
    """Made anew for each process, but for the code. Keys are made when they are needed."""

    code: str = field(repr=False)
    client_id: str = "demo-client"
    client_secret: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    refresh_token: str = field(default_factory=lambda: f"refresh-{secrets.token_urlsafe(24)}", repr=False)
    access_token: str = field(default_factory=lambda: f"demo-{secrets.token_urlsafe(24)}", repr=False)

    @cached_property
    def client_key(self) -> ec.EllipticCurvePrivateKey:
        """Signs the assertions of the client."""
        return ec.generate_private_key(ec.SECP256R1())

    @cached_property
    def cluster_key(self) -> ec.EllipticCurvePrivateKey:
        """Signs subject tokens, as a cluster does those of its service accounts."""
        return ec.generate_private_key(ec.SECP256R1())

    def subject_token(self, wall: float, lifetime: float = 7 * 86400.0) -> str:
        """A token to exchange, issued at Unix time `wall`; lifetime: seconds."""
        claims: dict[str, Any] = {
            "iss": SUBJECT_ISSUER,
            "sub": "system:serviceaccount:demo:mimic",
            "aud": SUBJECT_AUDIENCE,
            "iat": int(wall),
            "exp": int(wall + lifetime),
        }
        return jwt.encode(claims, self.cluster_key, algorithm="ES256")

    def settings(self, grant: str, folder: Path, wall: float) -> dict[str, str]:
        """What a client is told to get tokens by `grant`, by the names of its variables; its files go to `folder`."""
        client = {"CLIENT_ID": self.client_id, "CLIENT_SECRET": self.client_secret}
        told: dict[str, dict[str, str]] = {
            "auth_code": {"AUTH_CODE": self.code},
            "client_credentials": client,
            "private_key_jwt": {"CLIENT_ID": self.client_id, "PRIVATE_KEY_ID": KEY_ID},
            "token_exchange": client,
            "refresh_token": {
                **client,
                "REFRESH_TOKEN": self.refresh_token,
                "TOKEN_STORE": str(folder / "refresh_token.json"),
            },
            "static": {"ACCESS_TOKEN": self.access_token},
            "none": {},
        }
        found = {"GRANT": grant, **told[grant]}
        if grant == "private_key_jwt":
            found["PRIVATE_KEY_FILE"] = str(folder / "private_key.pem")
            pem = self.client_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            Path(found["PRIVATE_KEY_FILE"]).write_bytes(pem)
        if grant == "token_exchange":
            found["SUBJECT_TOKEN_FILE"] = str(folder / "subject_token")
            Path(found["SUBJECT_TOKEN_FILE"]).write_text(self.subject_token(wall), "utf-8")
        return found


GRANT_TYPES: Final = {
    "client_credentials": "client_credentials",
    "private_key_jwt": "client_credentials",
    "token_exchange": "urn:ietf:params:oauth:grant-type:token-exchange",
    "refresh_token": "refresh_token",
}
CLIENT_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
JWT_TYPE: Final = "urn:ietf:params:oauth:token-type:jwt"
ACCESS_TOKEN_TYPE: Final = "urn:ietf:params:oauth:token-type:access_token"
LONGEST_ASSERTION_SECONDS: Final = 300


class OAuthError(Exception):
    """An answer of RFC 6749, 5.2."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.error = error
        self.description = description
        self.status = status


@dataclass(slots=True)
class OAuth:
    """Judges the requests for one grant. make: a refresh token that nobody can guess."""

    grant: str
    credentials: Credentials
    revoke_all: Callable[[], object]
    make: Callable[[], str] = lambda: f"refresh-{secrets.token_urlsafe(24)}"
    _current: str | None = field(default=None, repr=False)
    _assertions: set[str] = field(default_factory=set, repr=False)

    def judge(self, form: Mapping[str, str], authorization: str | None, url: str) -> dict[str, Any]:
        """What the answer holds beside the access token. Raises OAuthError.

        url: of this endpoint, for whom assertions must be made.
        """
        wanted = GRANT_TYPES[self.grant]
        if form.get("grant_type") != wanted:
            raise OAuthError("unsupported_grant_type", f"This demo takes grant_type={wanted} only.")
        if self.grant == "private_key_jwt":
            self._check_assertion(form, url)
            return {}
        self._check_client(form, authorization)
        if self.grant == "token_exchange":
            self._check_subject(form)
            return {"issued_token_type": ACCESS_TOKEN_TYPE}
        return {"refresh_token": self._rotate(form.get("refresh_token", ""))} if self.grant == "refresh_token" else {}

    def _check_client(self, form: Mapping[str, str], authorization: str | None) -> None:
        name, secret = form.get("client_id", ""), form.get("client_secret", "")
        if authorization is not None:
            if "client_secret" in form:
                raise OAuthError("invalid_request", "The client authenticates in two ways at once.")
            name, secret = _basic(authorization)
        known = secrets.compare_digest(name.encode(), self.credentials.client_id.encode())
        if not (secrets.compare_digest(secret.encode(), self.credentials.client_secret.encode()) and known):
            raise OAuthError("invalid_client", "The client or its secret is not known.", 401)

    def _check_assertion(self, form: Mapping[str, str], url: str) -> None:
        if form.get("client_assertion_type") != CLIENT_ASSERTION:
            raise OAuthError("invalid_client", "client_assertion_type is not that of a JWT.", 401)
        assertion = form.get("client_assertion", "")
        claims = _verified(assertion, self.credentials.client_key.public_key(), audience=url, error="invalid_client")
        if claims["iss"] != self.credentials.client_id or claims["sub"] != self.credentials.client_id:
            raise OAuthError("invalid_client", "iss and sub must be the client.", 401)
        if jwt.get_unverified_header(assertion).get("kid") != KEY_ID:
            raise OAuthError("invalid_client", "The key's id (kid) is not known.", 401)
        if claims["exp"] - claims["iat"] > LONGEST_ASSERTION_SECONDS:
            raise OAuthError("invalid_client", "The assertion is valid for too long.", 401)
        if claims["jti"] in self._assertions:
            raise OAuthError("invalid_client", "The assertion was used before.", 401)
        self._assertions.add(claims["jti"])

    def _check_subject(self, form: Mapping[str, str]) -> None:
        if form.get("subject_token_type") != JWT_TYPE:
            raise OAuthError("invalid_request", f"subject_token_type must be {JWT_TYPE}.")
        subject, key = form.get("subject_token", ""), self.credentials.cluster_key.public_key()
        claims = _verified(subject, key, audience=SUBJECT_AUDIENCE, error="invalid_grant")
        if claims["iss"] != SUBJECT_ISSUER:
            raise OAuthError("invalid_grant", "The subject token is of an issuer that is not trusted.")

    def _rotate(self, shown: str) -> str:
        current = self.credentials.refresh_token if self._current is None else self._current
        if not secrets.compare_digest(shown.encode(), current.encode()):
            # Whoever shows an old one may have stolen it: the session ends for both.
            self._current = ""
            self.revoke_all()
            raise OAuthError("invalid_grant", "The refresh token is not known, or was used before.")
        if not current:
            raise OAuthError("invalid_grant", "The session has ended.")
        self._current = self.make()
        return self._current


def _basic(authorization: str) -> tuple[str, str]:
    scheme, _, encoded = authorization.partition(" ")
    try:
        name, separator, secret = base64.b64decode(encoded, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        separator = name = secret = ""
    if scheme.lower() != "basic" or not separator:
        raise OAuthError("invalid_client", "The Authorization field is no basic authentication.", 401)
    return unquote_plus(name), unquote_plus(secret)


def _verified(token: str, key: Any, *, audience: str, error: str) -> dict[str, Any]:
    required = ["iss", "sub", "aud", "exp", "iat"] + (["jti"] if error == "invalid_client" else [])
    try:
        claims: dict[str, Any] = jwt.decode(
            token, key, algorithms=["ES256"], audience=audience, options={"require": required}, leeway=5
        )
    except jwt.PyJWTError as wrong:
        status = 401 if error == "invalid_client" else 400
        raise OAuthError(error, f"The token that was shown is not valid ({type(wrong).__name__}).", status) from None
    return claims
