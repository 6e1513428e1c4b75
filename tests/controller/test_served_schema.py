"""Whether the cluster's schema is as new as the operator."""

from copy import deepcopy

from mimic_operator.resource.crd import definition, missing_fields


def test_its_own_definition_lacks_nothing():
    assert missing_fields(definition()) == ()


def test_a_newer_one_lacks_nothing():
    newer = deepcopy(definition())
    newer["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["later"] = {}
    assert missing_fields(newer) == ()


def test_an_older_one_lacks_what_came_later():
    older = deepcopy(definition())
    spec = older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    del spec["suspend"]
    del spec["rollout"]["properties"]["policy"]
    assert missing_fields(older) == ("spec.suspend", "spec.rollout.policy")


def test_one_that_does_not_serve_this_version_lacks_everything():
    older = deepcopy(definition())
    older["spec"]["versions"][0]["served"] = False
    assert "spec" in missing_fields(older)
