"""README: from a cluster to a first answer by four commands, each as it is written there."""

import subprocess
from collections.abc import Iterator

import pytest

from e2e.cluster import ROOT, Cluster, run
from e2e.release import readme_commands

pytestmark = pytest.mark.timeout(200)


@pytest.fixture
def default(installed: Cluster) -> Iterator[Cluster]:
    """The namespace that the commands mean; the first of them was run for all tests."""
    yield Cluster("default")
    run(*("delete" if word == "apply" else word for word in readme_commands()[1]), "--wait=false")


def test_the_four_commands_of_the_readme_end_with_an_answer(default: Cluster):
    _, apply, wait, follow = readme_commands()
    run(*apply)
    run(*wait)
    with subprocess.Popen(follow, stdout=subprocess.PIPE, text=True, cwd=ROOT) as following:
        assert following.stdout is not None
        answer = following.stdout.readline()
        following.kill()
    assert 'You asked: "Why is the sky blue?"' in answer
