"""What a change of the settings means for a Mimic that runs. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from mimic_proxy.settings.fields import APPLIES, Applies


@dataclass(frozen=True, slots=True)
class Change:
    """Names of what is another value now."""

    names: frozenset[str]
    late: frozenset[str]
    """Of these, those that hold after a restart."""

    @property
    def now(self) -> frozenset[str]:
        """Those that hold from now on."""
        return self.names - self.late

    @property
    def tokens(self) -> bool:
        """Tokens are obtained in another way."""
        return Applies.TOKENS in {APPLIES[name] for name in self.names}

    @property
    def connections(self) -> bool:
        """The backend or the token service is reached in another way."""
        return Applies.CONNECTIONS in {APPLIES[name] for name in self.names}


def compare(old: Mapping[str, object], new: Mapping[str, object]) -> Change:
    """Compares all settings by their names."""
    names = frozenset(name for name, value in new.items() if old.get(name) != value)
    return Change(names, frozenset(name for name in names if APPLIES[name] is Applies.RESTART))
