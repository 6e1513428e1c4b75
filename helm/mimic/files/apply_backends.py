"""After an install or upgrade: apply the MimicBackends of the values, the same again and again.

As resources of a hook they would be deleted and made anew at each upgrade, and with them what they injected.
"""

import json
import sys
import time

from lightkube import ApiError, Client
from lightkube.generic_resource import create_namespaced_resource

PATIENCE_SECONDS = 60
"""For the CRD to be served, and for the webhook that looks at MimicBackends."""

MimicBackend = create_namespaced_resource("mimic.dev", "v1alpha1", "MimicBackend", "mimicbackends")
client = Client(timeout=15, field_manager="mimic-chart")
deadline = time.monotonic() + PATIENCE_SECONDS
refused = 0
for backend in json.loads(sys.argv[1]):
    named = "{namespace}/{name}".format(**backend["metadata"])
    while True:
        try:
            client.apply(MimicBackend(backend), force=True)
            print(f"MimicBackend {named}: applied")
            break
        except ApiError as error:
            if (
                error.status.code == 404
                and "namespaces" not in (error.status.message or "")
                and time.monotonic() < deadline
            ):
                time.sleep(1)
                continue
            print(f"MimicBackend {named}: {error.status.message}")
            refused += 1
            break
sys.exit(1 if refused else 0)
