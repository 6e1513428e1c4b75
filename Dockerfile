# One image for both roles: `mimic-proxy ...` and `mimic-operator ...`. Built by docker, buildah and kaniko alike:
# no mounts, no heredocs, no network beside the package index (and, for the compiler, the distribution's packages).
ARG BASE_IMAGE=docker.io/library/python:3.11-slim

FROM ${BASE_IMAGE} AS build
# 1 compiles the proxy's hot modules, 0 leaves them as they are: the same answers at about twice the instructions.
ARG MIMIC_COMPILE=1
WORKDIR /src
RUN if [ "${MIMIC_COMPILE}" = 1 ]; then \
        python -c 'import os, sysconfig; raise SystemExit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' \
            || headers=python3-dev; \
        apt-get update -q && apt-get install -q -y --no-install-recommends gcc libc6-dev ${headers}; \
    fi
COPY requirements.lock requirements-build.lock ./
# Every package is checked against the lock's hashes here; what follows takes nothing but these wheels.
RUN python -m venv /build \
    && /build/bin/python -m pip install --disable-pip-version-check --no-cache-dir -q --require-hashes -r requirements-build.lock \
    && /build/bin/python -m pip wheel --disable-pip-version-check --no-cache-dir -q --require-hashes --no-deps \
        -w /wheels -r requirements.lock
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY service service
COPY operator operator
ARG SOURCE_DATE_EPOCH=315532800
# Bytecode is never checked against its source again: the image does not change.
RUN MIMIC_COMPILE=${MIMIC_COMPILE} /build/bin/python -m hatchling build -t wheel -d /dist \
    && python -m venv --without-pip /opt/mimic \
    && /build/bin/python -m pip --python /opt/mimic/bin/python install --disable-pip-version-check -q --no-compile \
        --no-index --find-links /wheels --find-links /dist 'mimic[operator]' \
    && /opt/mimic/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/mimic/lib

FROM ${BASE_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="Mimic" \
      org.opencontainers.image.description="An OpenAI-compatible proxy with fresh access tokens, and its Kubernetes operator" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Official Python images carry no bytecode of the standard library, and nobody could write it here at the start.
# pip and its kin are of no use in an image that installs nothing.
RUN python -m compileall -q --invalidation-mode unchecked-hash \
        -x '/(site-packages|dist-packages|test|tests|idlelib|lib2to3|tkinter|turtledemo|ensurepip|config-[^/]*)/' \
        "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
    && python -c 'import glob, os, shutil, sysconfig; \
        places = {sysconfig.get_path("purelib"), "/usr/lib/python3/dist-packages"}; \
        names = ("pip", "pip-*", "setuptools", "setuptools-*", "wheel", "wheel-*", "pkg_resources", "_distutils_hack"); \
        [shutil.rmtree(found) for place in places for name in names for found in glob.glob(f"{place}/{name}")]; \
        [os.remove(found) for place in places for found in glob.glob(f"{place}/distutils-precedence.pth")]; \
        [os.remove(found) for place in ("/usr/local/bin", "/usr/bin") for found in glob.glob(f"{place}/pip*")]'
COPY --from=build /opt/mimic /opt/mimic
ENV PATH=/opt/mimic/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1
# Any other uid does as well: nothing is written, and everything can be read.
USER 65532:65532
WORKDIR /
EXPOSE 8000 8001
# Both programs are on the PATH, as are their arguments in a pod: `args: [mimic-operator, webhook]`.
CMD ["mimic-proxy", "serve"]
