"""Before an uninstall: no pod waits any more for a webhook that is going. Never in the way of the uninstall itself."""

import sys

import httpx2
from lightkube import ApiError, Client
from lightkube.core.exceptions import ConfigError
from lightkube.resources.admissionregistration_v1 import MutatingWebhookConfiguration, ValidatingWebhookConfiguration

name = sys.argv[1]
try:
    client = Client(timeout=10)
    for kind in (MutatingWebhookConfiguration, ValidatingWebhookConfiguration):
        try:
            client.delete(kind, name)
            print(f"{kind.__name__} {name}: deleted")
        except ApiError as error:
            print(f"{kind.__name__} {name}: {error.status.message}")
except (ConfigError, httpx2.HTTPError) as error:  # a failed hook would keep the release; helm deletes what is left here
    print(f"{name}: left to helm: {type(error).__name__}: {error}")
