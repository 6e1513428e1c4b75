"""`helm test`: asks the webhook through its Service, as the API server does, about a pod whose backend does not exist.

Arguments: URL of the Service, namespace of the pod, file with the issuers of the certificate. It is a dry run.
"""

import json
import ssl
import sys
import urllib.request
import uuid
from pathlib import Path

base, namespace, issuers = sys.argv[1:]
BACKEND = "helm-test-names-no-backend"
uid = str(uuid.uuid4())
pod = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "helm-test",
        "namespace": namespace,
        "labels": {"mimic.dev/inject": "true"},
        "annotations": {"mimic.dev/backend": BACKEND},
    },
    "spec": {"containers": [{"name": "application", "image": "application"}]},
}
review = {
    "apiVersion": "admission.k8s.io/v1",
    "kind": "AdmissionReview",
    "request": {
        "uid": uid,
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
        "requestResource": {"group": "", "version": "v1", "resource": "pods"},
        "name": "helm-test",
        "namespace": namespace,
        "operation": "CREATE",
        "userInfo": {"username": "helm-test"},
        "object": pod,
        "oldObject": None,
        "dryRun": True,
        "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"},
    },
}
# An issuer that everybody trusts does not put itself into the Secret.
context = ssl.create_default_context(cafile=issuers if Path(issuers).exists() else None)
request = urllib.request.Request(
    f"{base}/pods?timeout=5s", json.dumps(review).encode(), {"content-type": "application/json"}
)
with urllib.request.urlopen(request, timeout=10, context=context) as answer:
    response = json.load(answer)["response"]
said = (response.get("status") or {}).get("message", "")
print(f"allowed: {response['allowed']}; {said}")
if response["uid"] != uid or response["allowed"] or BACKEND not in said:
    sys.exit("The webhook answers, but not as Mimic's: it should have refused this pod and named the backend.")
