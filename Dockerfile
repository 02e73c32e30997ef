# docker build --target cpu -t mcl:cpu .     or, with CUDA:     docker build --target cuda -t mcl:cuda .

FROM python:3.12-slim AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY conf conf
COPY experiments experiments
COPY hydra_plugins hydra_plugins
COPY mcl mcl
COPY packages packages
RUN pip install --no-cache-dir build && python -m build --wheel --outdir /dist

FROM python:3.12-slim AS cpu
COPY --from=wheel /dist /dist
RUN pip install --no-cache-dir torch torchvision --index-url https://download.pytorch.org/whl/cpu \
    && pip install --no-cache-dir /dist/*.whl
WORKDIR /work
ENTRYPOINT ["mcl"]
CMD ["--help"]

FROM nvidia/cuda:12.6.3-base-ubuntu24.04 AS cuda
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /venv
ENV PATH=/venv/bin:$PATH
COPY --from=wheel /dist /dist
RUN pip install --no-cache-dir torch torchvision --index-url https://download.pytorch.org/whl/cu126 \
    && pip install --no-cache-dir /dist/*.whl
WORKDIR /work
ENTRYPOINT ["mcl"]
CMD ["--help"]
