"""Which cluster it is."""

from lightkube import ConfigError, KubeConfig

from mimic_operator.errors import Problem, SettingsError


def cluster_config() -> KubeConfig:
    """The pod's service account, else the file that KUBECONFIG names. Raises SettingsError."""
    try:
        return KubeConfig.from_env()
    except ConfigError as error:
        raise SettingsError([Problem("KUBECONFIG", f"leads to no cluster: {error}")]) from error
