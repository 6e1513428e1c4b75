"""Keycloak as Maven Central has it: downloaded once, its checksum verified, kept in the user's cache."""

import hashlib
import os
import re
import shutil
import subprocess
import urllib.request
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path

VERSION = "26.4.0"
SHA256 = "1b6a11a2726ac8a8dc9c91d5fafe989a75ce4f1622d7f7b45c21d5bc16629c0a"
CENTRAL = "https://repo1.maven.org/maven2"
LOWEST_JAVA = 17
SILENCE_SECONDS = 30.0
"""How long a download may bring nothing."""


class NotToBeHad(Exception):
    """Keycloak cannot be run on this machine; the message says what is missing and how to get it."""


def java() -> str:
    """The path of a Java that Keycloak takes. Raises NotToBeHad."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=None if home is None else str(Path(home, "bin")))
    hint = "Debian, Ubuntu: apt install openjdk-17-jre-headless"
    if found is None:
        raise NotToBeHad(f"Keycloak needs Java {LOWEST_JAVA} or newer, and there is none ({hint})")
    told = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', told)
    if version is None or int(version[1]) < LOWEST_JAVA:
        raise NotToBeHad(f"Keycloak needs Java {LOWEST_JAVA} or newer, {found} says {told.splitlines()[:1]} ({hint})")
    return found


def unpacked(folder: Path) -> Path:
    """Keycloak's own folder, unpacked in `folder`. Raises NotToBeHad."""
    with zipfile.ZipFile(_archive(_cache())) as archive:
        archive.extractall(folder)
    return folder / f"keycloak-{VERSION}"


def repository(settings_xml: Path) -> str:
    """Where this user's Maven fetches from: the mirror that its settings name for Central, else Central itself."""
    try:
        mirrors = ET.parse(settings_xml).getroot().iterfind(".//{*}mirror")
    except FileNotFoundError:
        return CENTRAL
    for mirror in mirrors:
        mirrored = (mirror.findtext("{*}mirrorOf") or "").split(",")
        url = mirror.findtext("{*}url")
        if url and not {"central", "*", "external:*"}.isdisjoint(name.strip() for name in mirrored):
            return url.strip().rstrip("/")
    return CENTRAL


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mimic" / "keycloak"


def _archive(cache: Path) -> Path:
    """The archive, from the cache or from the repository."""
    archive = cache / f"keycloak-quarkus-dist-{VERSION}.zip"
    if archive.exists() and _sha256(archive) == SHA256:
        return archive
    base = repository(Path.home() / ".m2" / "settings.xml")
    url = f"{base}/org/keycloak/keycloak-quarkus-dist/{VERSION}/{archive.name}"
    cache.mkdir(parents=True, exist_ok=True)
    part = cache / f"{archive.name}.{os.getpid()}"
    try:
        with urllib.request.urlopen(url, timeout=SILENCE_SECONDS) as answer, part.open("wb") as file:
            shutil.copyfileobj(answer, file, 1 << 20)
        found = _sha256(part)
        if found != SHA256:
            raise NotToBeHad(f"what came as Keycloak {VERSION} has SHA-256 {found}, expected is {SHA256}")
        part.replace(archive)
    except OSError as error:
        raise NotToBeHad(
            f"Keycloak {VERSION} cannot be had from Maven Central, or the mirror in ~/.m2/settings.xml: {error}"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return archive


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
