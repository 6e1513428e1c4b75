"""The grants by the names that GRANT takes; one module each, with one function of the settings."""

from collections.abc import Callable, Mapping

from mimic_proxy.settings.fields import Settings
from mimic_proxy.tokens.grants import (
    auth_code,
    client_credentials,
    none,
    private_key_jwt,
    refresh_token,
    static,
    token_exchange,
)
from mimic_proxy.tokens.recipe import Grant

GRANTS: Mapping[str, Callable[[Settings], Grant]] = {
    "auth_code": auth_code.grant,
    "client_credentials": client_credentials.grant,
    "private_key_jwt": private_key_jwt.grant,
    "token_exchange": token_exchange.grant,
    "refresh_token": refresh_token.grant,
    "static": static.grant,
    "none": none.grant,
}


def choose(settings: Settings) -> Grant:
    """The grant that GRANT names."""
    return GRANTS[settings.grant](settings)
