# docker build -t gifine .    and how it is used, with GPUs, on clusters and offline: docs/containers.md
ARG BASE=docker.io/library/debian:bookworm-slim
FROM ${BASE}

ARG TORCH_INDEX=
ARG EXTRAS=wandb
COPY pyproject.toml constraints.txt /opt/gifine/
COPY containers/install.sh /opt/gifine/containers/
# pip's own configuration (an index of yours, say) is a secret: it is in no layer.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    TORCH_INDEX="$TORCH_INDEX" EXTRAS="$EXTRAS" /opt/gifine/containers/install.sh packages

ARG COMMIT=
COPY README.md LICENSE /opt/gifine/
COPY conf /opt/gifine/conf
COPY src /opt/gifine/src
RUN COMMIT="$COMMIT" /opt/gifine/containers/install.sh gifine \
    && useradd --uid 1000 --home-dir /cache --no-create-home gifine \
    && install -d -m 1777 /cache /workspace

# Whoever runs it, also a user id that has no name here, keeps all caches (Hub, datasets, tokens, wandb, matplotlib) below
# its home, and may write there.
ENV PATH=/opt/venv/bin:$PATH HOME=/cache USER=gifine \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
VOLUME /cache
WORKDIR /workspace
USER 1000:1000
ENTRYPOINT ["gifine"]
