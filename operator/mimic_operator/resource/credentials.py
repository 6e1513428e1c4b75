"""What a grant takes out of the backend's Secret: which keys, and as which setting of the proxy."""

from mimic_operator.resource import places
from mimic_operator.resource.spec import Auth, Grant

FILES: dict[Grant, dict[str, str]] = {
    "AuthCode": {"AUTH_CODE": "auth_code_file"},
    "ClientCredentials": {"CLIENT_SECRET": "client_secret_file"},
    "PrivateKeyJwt": {"PRIVATE_KEY": "private_key_file"},
    "TokenExchange": {"CLIENT_SECRET": "client_secret_file"},
    "RefreshToken": {"REFRESH_TOKEN": "refresh_token_file", "CLIENT_SECRET": "client_secret_file"},
    "Static": {"ACCESS_TOKEN": "access_token_file"},
    "None": {},
}
"""By grant: keys of the Secret, and the settings that name their files."""
CLIENTS = ("ClientCredentials", "PrivateKeyJwt", "TokenExchange", "RefreshToken")
"""Grants whose client has an id."""


def mounted_keys(auth: Auth) -> tuple[str, ...]:
    """The keys of the Secret that the container sees as files, in the order of their names."""
    return tuple(sorted(_files(auth)))


def secret_settings(auth: Auth) -> dict[str, str]:
    """Settings that name the files of secrets, the projected token included."""
    found = {setting: f"{places.SECRET}/{key}" for key, setting in _files(auth).items()}
    if auth.service_account_token is not None:
        found["subject_token_file"] = f"{places.IDENTITY}/{places.IDENTITY_FILE}"
    return found


def client_id_from_secret(auth: Auth) -> bool:
    """Whether the key CLIENT_ID of the Secret is asked for, as a variable: it is not given in the resource."""
    return auth.grant in CLIENTS and auth.client_id is None and auth.secret_ref is not None


def _files(auth: Auth) -> dict[str, str]:
    if auth.secret_ref is None:
        return {}
    files = dict(FILES[auth.grant])
    if auth.grant == "TokenExchange" and auth.service_account_token is None:
        files["SUBJECT_TOKEN"] = "subject_token_file"
    return files
