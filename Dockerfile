# Two targets: the service (`service`, the last one and so the default), and the sandbox for development (`sandbox`).
# Base images are pinned by version. For production, also pin their digests, and scan the images that you build.
ARG PYTHON=python:3.13.9-slim-bookworm

FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /source

# Only wheels with the hashes in requirements/ are installed. Nothing is compiled.
FROM build AS build-service
RUN python -m venv --without-pip /opt/calsync
COPY requirements/service.txt requirements/
RUN pip --python /opt/calsync/bin/python install --require-hashes --only-binary :all: -r requirements/service.txt
RUN python -m venv /opt/build
COPY requirements/dev.txt requirements/
RUN /opt/build/bin/pip install --require-hashes --only-binary :all: -r requirements/dev.txt
COPY pyproject.toml README.md ./
COPY consumer consumer
COPY schemas schemas
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && pip --python /opt/calsync/bin/python install --no-deps --no-index /wheels/*.whl

FROM build AS build-sandbox
RUN python -m venv --without-pip /opt/sandbox
COPY requirements/dev.txt requirements/
RUN pip --python /opt/sandbox/bin/python install --require-hashes --only-binary :all: -r requirements/dev.txt

FROM ${PYTHON} AS sandbox
RUN apt-get update \
 && apt-get install --yes --no-install-recommends postgresql-client \
 && rm -rf /var/lib/apt/lists/*
# (A new volume that is mounted on /world takes its owner from this folder.)
RUN useradd --uid 10002 --user-group --no-create-home --shell /usr/sbin/nologin sandbox \
 && install --directory --owner=sandbox --group=sandbox /world
COPY --from=build-sandbox /opt/sandbox /opt/sandbox
WORKDIR /app
COPY schemas schemas
COPY sandbox sandbox
RUN python -m compileall -q schemas sandbox
ENV PATH=/opt/sandbox/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10002:10002

FROM ${PYTHON} AS service
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin calsync
COPY --from=build-service /opt/calsync /opt/calsync
ENV PATH=/opt/calsync/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
EXPOSE 9464
STOPSIGNAL SIGTERM
ENTRYPOINT ["calsync"]
CMD ["run"]
