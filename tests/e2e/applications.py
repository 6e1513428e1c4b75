"""Workloads that know the OpenAI SDK and nothing of Mimic, and MimicBackends in front of a demo backend."""

import os
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from e2e.cluster import ROOT, Manifest

IMAGE = os.environ.get("MIMIC_E2E_APPLICATION_IMAGE", "mimic-example-python")
"""That of examples/kubernetes/python: any image with Python and the SDK does."""
TYPESCRIPT_IMAGE = os.environ.get("MIMIC_E2E_TYPESCRIPT_IMAGE", "mimic-example-typescript")
"""That of examples/kubernetes/typescript."""
EXAMPLES = ROOT / "examples" / "kubernetes"
SCRIPTS = Path(__file__).parent / "app"
IDLE = ("python", "-c", "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit()); signal.pause()")
LOAD = ("python", "/e2e/load.py")
ANSWERS = ("python", "/e2e/answers.py")
DEMO = "http://mimic-demo.mimic-system.svc"


def example(file: str) -> str:
    """One of the examples as it stands, but for where its images are."""
    text = (EXAMPLES / file).read_text("utf-8")
    for name, image in (("mimic-example-python", IMAGE), ("mimic-example-typescript", TYPESCRIPT_IMAGE)):
        text = re.sub(rf"image: {name}$", f"image: {image}", text, flags=re.MULTILINE)
    return text


def scripts() -> Manifest:
    """The ConfigMap with what applications run."""
    data = {file.name: file.read_text("utf-8") for file in SCRIPTS.glob("*.py")}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "scripts"}, "data": data}


def secret(name: str = "demo", **content: str) -> Manifest:
    content = content or {"AUTH_CODE": "demo-code"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": content}


def backend(name: str = "demo", **spec: Any) -> Manifest:
    """That of examples/kubernetes/demo.yaml; `spec` is laid over its spec, field by field."""
    documents = yaml.safe_load_all((EXAMPLES / "demo.yaml").read_text("utf-8"))
    made: Manifest = next(document for document in documents if document["kind"] == "MimicBackend")
    made["metadata"]["name"] = name
    _lay_over(made["spec"], spec)
    return made


def template(app: str, command: tuple[str, ...] = IDLE, inject: bool = True, **pod: Any) -> Manifest:
    """A pod template that the restricted standard admits."""
    labels = {"app": app} | ({"mimic.dev/inject": "true"} if inject else {})
    spec = {
        "terminationGracePeriodSeconds": 30,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container("application", command)],
        "volumes": [{"name": "scripts", "configMap": {"name": "scripts"}}],
        **pod,
    }
    return {"metadata": {"labels": labels}, "spec": spec}


def container(name: str, command: tuple[str, ...]) -> Manifest:
    return {
        "name": name,
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": list(command),
        "env": [{"name": "PYTHONUNBUFFERED", "value": "1"}],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "scripts", "mountPath": "/e2e"}],
    }


def deployment(
    app: str, command: tuple[str, ...] = IDLE, *, replicas: int = 1, inject: bool = True, **more: Any
) -> Manifest:
    """labels: of the Deployment itself; everything else is laid over it."""
    made = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": app, "labels": more.pop("labels", {})},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": app}},
            "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": template(app, command, inject),
        },
    }
    _lay_over(made, more)
    return made


def _lay_over(below: dict[str, Any], above: dict[str, Any]) -> None:
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            _lay_over(below[key], value)
        else:
            below[key] = deepcopy(value)


def company(code: str, lifetime: int, image: str) -> list[Manifest]:
    """A company's token service, which takes this code alone, and its model, each a Deployment with a Service."""
    return [
        *_served("tokens", image, ["--lifetime", str(lifetime)], [{"name": "DEMO_CODE", "value": code}]),
        *_served("model", image, ["--any-token"], []),
    ]


COMPANY = {"chat": {"url": "http://model/v1"}, "auth": {"tokenURL": "http://tokens/token"}}
"""A backend's spec in front of it, from within its namespace."""


def _served(name: str, image: str, arguments: list[str], environment: list[Manifest]) -> list[Manifest]:
    made = deployment(name, inject=False)
    served = container("application", ("python", "-m", "mimic_proxy.demo", "--host", "0.0.0.0", "--port", "8080"))
    served["image"] = image
    served["command"] += arguments
    served["env"] += environment
    served["readinessProbe"] = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    # Until nobody is sent there any more.
    served["lifecycle"] = {"preStop": {"exec": {"command": ["sleep", "3"]}}}
    made["spec"]["template"]["spec"]["containers"] = [served]
    service = {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]}
    return [made, {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": service}]
