"""What is mounted into the proxy's container: paths, and which keys of the Secret each grant needs there."""

from mimic_operator.resource.spec import Auth, Grant

CONFIG = "/etc/mimic/config"
CONFIG_FILE = "mimic.yaml"
SECRET = "/etc/mimic/secret"
"""It has a folder of the Secret's name, so that a message about a missing file names the Secret."""
CA = "/etc/mimic/ca"
CA_FILE = "ca.crt"
CLIENT_CERT = "/etc/mimic/client-cert"
CLIENT_KEYS = "/etc/mimic/client-keys"
IDENTITY = "/var/run/secrets/mimic"
IDENTITY_FILE = "token"
RUN = "/run/mimic"
"""Memory, and the only writable folder besides the token store."""
STORE = "/var/lib/mimic"
STORE_FILE = "refresh-token"
API_SERVER_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"
"""Where the cluster would mount the token of the pod's service account."""


FILES: dict[Grant, dict[str, str]] = {
    "AuthCode": {"AUTH_CODE": "auth_code_file"},
    "ClientCredentials": {},
    "PrivateKeyJwt": {"PRIVATE_KEY": "private_key_file"},
    "TokenExchange": {},
    "RefreshToken": {"REFRESH_TOKEN": "refresh_token_file"},
    "Static": {"ACCESS_TOKEN": "access_token_file"},
    "None": {},
}
"""By grant: keys of the Secret, and the settings that name their files; the client's secret aside."""
FEDERATION: dict[str, str] = {
    "token_secret_in": "body",
    "token_secret_as": "client_assertion",
}
"""How a token of the pod's service account stands for the client's secret (RFC 7523, 2.2)."""
ASSERTION_TYPE = {"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}
CONFIDENTIAL = ("ClientCredentials", "RefreshToken")
"""Grants whose client has a secret unless the backend says otherwise."""


def mounted_keys(auth: Auth) -> tuple[str, ...]:
    """The keys of the Secret that the container gets as files, in the order of their names."""
    return tuple(sorted({key for key, _ in _files(auth)}))


def secret_keys(auth: Auth) -> tuple[str, ...]:
    """All keys of the Secret that the grant needs, those that become variables last."""
    client_id = [auth.secret_ref.keys.key_of("CLIENT_ID")] if auth.secret_ref and client_id_from_secret(auth) else []
    return (*mounted_keys(auth), *client_id)


def secret_settings(auth: Auth) -> dict[str, str]:
    """Settings that name the files of secrets, including the projected token."""
    found = {setting: f"{secret_folder(auth)}/{key}" for key, setting in _files(auth)}
    if auth.service_account_token is not None:
        setting = "client_secret_file" if auth.federated else "subject_token_file"
        found[setting] = f"{IDENTITY}/{IDENTITY_FILE}"
    return found


def secret_folder(auth: Auth) -> str:
    """The folder that the Secret is mounted at; the backend must have one."""
    assert auth.secret_ref is not None
    return f"{SECRET}/{auth.secret_ref.name}"


def has_client_secret(auth: Auth) -> bool:
    """Whether the token service requires a CLIENT_SECRET."""
    if auth.federated:
        return False
    return auth.client_type == "Confidential" or (auth.client_type is None and auth.grant in CONFIDENTIAL)


def client_id_from_secret(auth: Auth) -> bool:
    """Whether the Secret's CLIENT_ID becomes a variable: the grant needs one, and the resource does not have it."""
    named = has_client_secret(auth) or auth.federated or auth.grant == "PrivateKeyJwt"
    return named and auth.client_id is None and auth.secret_ref is not None


def used_names(auth: Auth) -> tuple[str, ...]:
    """The entries that the grant uses of the Secret, AUTH_CODE and so on, whatever their keys are."""
    names = sorted(_settings(auth)) if auth.secret_ref is not None else []
    return (*names, *(("CLIENT_ID",) if client_id_from_secret(auth) else ()))


def _files(auth: Auth) -> list[tuple[str, str]]:
    """Keys of the Secret with the settings that name their files."""
    if auth.secret_ref is None:
        return []
    return [(auth.secret_ref.keys.key_of(name), setting) for name, setting in _settings(auth).items()]


def _settings(auth: Auth) -> dict[str, str]:
    """Settings that name files, by the entry of the Secret."""
    files = dict(FILES[auth.grant])
    if has_client_secret(auth):
        files["CLIENT_SECRET"] = "client_secret_file"
    if auth.grant == "TokenExchange" and auth.service_account_token is None:
        files["SUBJECT_TOKEN"] = "subject_token_file"
    return files
