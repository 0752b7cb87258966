# syntax=docker/dockerfile:1
#
#   docker build -f server/Dockerfile -t ml-trainer-env .
#   docker run --rm -p 8000:8000 -e ML_TRAINER_TOKEN=a-secret-of-16-characters-or-more ml-trainer-env
#
# The image runs as any user, with a read-only root and a small tmpfs at /tmp. It brings its data along and needs no
# network: to let it download at run time, mount a writable volume at /data and set ML_TRAINER_DOWNLOAD=true.
# server/Dockerfile is a copy, written by scripts/shipped.py.

# 3.11 or 3.12.
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim-bookworm AS builder

ARG UV_VERSION=0.13.8
# Which build of torch, as uv's --torch-backend names them: cpu, or cu130 for a GPU.
ARG TORCH_BACKEND=cpu
# Optional parts of the package, as uv names them: "--extra objects --extra postgresql" for several servers.
ARG EXTRAS=
# Whether to fetch the full data sets. Without them tasks use the bundled ones, and a stand-in for CIFAR-10.
ARG FETCH_DATA=true

ENV PIP_NO_CACHE_DIR=1 \
    UV_COMPILE_BYTECODE=1 \
    UV_HTTP_TIMEOUT=300 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_PYTHON_DOWNLOADS=never \
    VIRTUAL_ENV=/opt/venv \
    PATH=/opt/venv/bin:$PATH

WORKDIR /build

# For the native kernels. Without a compiler the image is built all the same, and torch computes everything.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*

RUN pip install "uv==${UV_VERSION}" && uv venv "$VIRTUAL_ENV"

# Dependencies first: they change less often than the code.
COPY pyproject.toml constraints.txt ./
RUN uv pip install --torch-backend "$TORCH_BACKEND" --constraints constraints.txt --requirements pyproject.toml $EXTRAS

COPY . .
RUN uv pip install --no-deps .

# Best effort: a build without network is a build all the same.
RUN mkdir -p /data \
    && if [ "$FETCH_DATA" = true ]; then python scripts/fetch_data.py /data --timeout-s 120 || true; fi \
    && find /data -mindepth 1 ! -name '*.npz' -delete \
    && chmod -R a+rX /data


FROM python:${PYTHON_VERSION}-slim-bookworm

LABEL org.opencontainers.image.title="ML Training Optimizer" \
      org.opencontainers.image.description="An OpenEnv environment in which AI agents learn to train real PyTorch models on a budget" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="0.3.0"

# bubblewrap and libseccomp are for the sandbox of `permuted-mnist`. Without the container options that docs/server.md names they
# are not permitted to work, and the rest of the image does not need them.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends bubblewrap libseccomp2 \
    && rm -rf /var/lib/apt/lists/*

COPY --from=builder /opt/venv /opt/venv
COPY --from=builder /data /data
# For a volume with the episodes: -v runs:/state -e ML_TRAINER_STATE_DIR=/state
RUN install -d -m 1777 /state

# Whatever wants to write a cache writes it to /tmp: there may be no home, and no name for the user's number.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    USER=trainer \
    XDG_CACHE_HOME=/tmp/cache \
    HF_HOME=/tmp/huggingface \
    MPLCONFIGDIR=/tmp/matplotlib \
    TORCHINDUCTOR_CACHE_DIR=/tmp/torchinductor \
    ML_TRAINER_DATA_DIR=/data \
    ML_TRAINER_DOWNLOAD=false

WORKDIR /tmp

USER 65532:65532

EXPOSE 8000

HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=4)"]

CMD ["server", "--host", "0.0.0.0", "--port", "8000"]
