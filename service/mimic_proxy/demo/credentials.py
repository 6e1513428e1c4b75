"""What a client of the demo's token service has to show, for each way of asking."""

import secrets
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, get_args

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
