"""One shared proxy, and callers in another namespace, each with a key of its own."""

import json
from collections.abc import Iterator

import pytest
import yaml

from e2e.applications import ANSWERS, deployment, example, scripts
from e2e.cluster import Cluster, Failed, eventually, run

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def applied(installed: Cluster) -> Iterator[Cluster]:
    """The examples of the folder; gives the namespace of the callers."""
    for file in ("backend.yaml", "caller.yaml"):
        run("kubectl", "apply", "-f", "-", given=example(f"shared/{file}"))
    yield Cluster("search")
    run("kubectl", "delete", "namespace", "search", "llm", "--wait=false")


def test_callers_show_their_key_through_the_service_and_hold_no_credential(applied: Cluster):
    llm = Cluster("llm")
    eventually("the shared proxy serves", lambda: llm.condition("shared", "Available").get("status") == "True")
    applied.settled("deployment/chat-shared")
    template = yaml.safe_load(example("shared/caller.yaml").split("---")[-1])["spec"]["template"]
    annotations = template["metadata"]["annotations"]
    applied.apply(scripts(), deployment("asking", spec={"template": {"metadata": {"annotations": annotations}}}))
    applied.settled("deployment/asking")
    pod = applied.pod("asking")
    seen = json.loads(applied.execute(pod, *ANSWERS))
    assert seen["environment"]["OPENAI_BASE_URL"].startswith("http://mimic-shared.llm.svc")
    assert seen["streamed"] == seen["answer"]
    assert "initContainers" not in applied.get("pod", pod)["spec"]
    stranger = "import openai; openai.OpenAI(api_key='a-guess', max_retries=0).models.list()"
    with pytest.raises(Failed, match="401"):
        applied.execute(pod, "python", "-c", stranger)
