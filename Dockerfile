# Images for a cluster's nodes: the same packages by the same command as everywhere.
#
#   docker build --target cpu -t stepmill:cpu .     the head, and nodes that run code
#   docker build --target gpu -t stepmill:gpu .     nodes with GPUs: NVIDIA driver 580 or newer
#
# KubeRay asks for the nodes' health with wget, and may start Ray from a login shell, which sets PATH.
FROM python:3.12-slim-bookworm AS base
RUN apt-get update -q \
    && apt-get install -yq --no-install-recommends bubblewrap docker.io gcc g++ libc6-dev make wget \
    && rm -rf /var/lib/apt/lists/* \
    && echo 'PATH=/opt/venv/bin:$PATH' > /etc/profile.d/stepmill.sh
WORKDIR /opt/stepmill
COPY . .
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1
ENTRYPOINT []
CMD ["stepmill", "doctor"]

FROM base AS cpu
RUN GPU=0 ./install.sh /opt/venv && rm -rf /root/.cache

FROM base AS gpu
RUN GPU=1 ./install.sh /opt/venv && rm -rf /root/.cache
