"""Before an uninstall: no pod waits any more for a webhook that is going. Never in the way of the uninstall itself."""

import sys

from lightkube import ApiError, Client
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
except Exception as error:  # helm would keep the release; what is left here it deletes itself
    print(f"{name}: left to helm: {type(error).__name__}: {error}")
