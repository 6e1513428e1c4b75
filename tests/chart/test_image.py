"""The image's recipe: what any builder can follow, and what must not get into it. What it gives is tried by the e2e."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
IGNORED = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
INSTRUCTIONS = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE)).splitlines()


def instructions(word: str) -> list[str]:
    return [line.split(" ", 1)[1] for line in INSTRUCTIONS if line.startswith(f"{word} ")]


def test_docker_buildah_and_kaniko_read_it():
    assert not re.search(r"--mount|<<|--chmod|--link|^# syntax", DOCKERFILE, re.MULTILINE)


def test_both_stages_stand_on_the_base_of_the_users_choice():
    assert [line.split()[0] for line in instructions("FROM")] == ["${BASE_IMAGE}", "${BASE_IMAGE}"]
    assert INSTRUCTIONS[0].startswith("ARG BASE_IMAGE=")


def test_everything_from_an_index_is_checked_by_its_hash():
    for command in re.findall(r"-m pip .*?(?=&&|$)", "\n".join(instructions("RUN")), re.MULTILINE):
        assert "--require-hashes" in command or "--no-index" in command, command


def test_only_what_the_image_is_made_of_is_sent_to_the_builder():
    assert IGNORED[1] == "*"
    sent = {line.removeprefix("!") for line in IGNORED if line.startswith("!")}
    copied = {source for line in instructions("COPY") if "--from" not in line for source in line.split()[:-1]}
    roots = {entry.split("/")[0] for entry in sent}
    assert copied == roots
    for entry in sent:
        assert (ROOT / entry).exists(), entry


def test_it_runs_as_nobody_in_particular():
    assert instructions("USER") == ["65532:65532"]
    environment = " ".join(instructions("ENV"))
    assert "PYTHONSAFEPATH=1" in environment
    assert "PYTHONDONTWRITEBYTECODE=1" in environment
    assert instructions("CMD") == ['["mimic-proxy", "serve"]']
    assert instructions("ENTRYPOINT") == []
