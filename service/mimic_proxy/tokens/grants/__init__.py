"""The grants by the names that GRANT takes; one module each, with one function of the settings."""

from collections.abc import Callable, Mapping

from mimic_proxy.settings import Settings
from mimic_proxy.tokens.grants import auth_code, none, static
from mimic_proxy.tokens.recipe import Grant

GRANTS: Mapping[str, Callable[[Settings], Grant]] = {
    "auth_code": auth_code.grant,
    "static": static.grant,
    "none": none.grant,
}


def choose(settings: Settings) -> Grant:
    """The grant that GRANT names."""
    return GRANTS[settings.grant](settings)
