# An image that loads into a server of yours (LOADER_WAREHOUSE_URL): docker build -t NAME .
# The first stage builds; the second one has Python and what was installed, and no compiler.

FROM python:3.13-slim AS build
WORKDIR /src
COPY . .
# Without pip of its own. The package is built from the clone, its C files by the compiler that the
# build fetches where a machine has none.
RUN python -m venv --without-pip /opt/customerio-loader \
    && pip --python /opt/customerio-loader/bin/python install --no-cache-dir -c constraints.txt '.[receive]'

FROM python:3.13-slim
COPY --from=build /opt/customerio-loader /opt/customerio-loader
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin loader
# A number, so that Kubernetes can see that it is not root.
USER 10001
ENV PATH=/opt/customerio-loader/bin:$PATH
# Where loader.toml is looked for; mount one there, or set the environment.
WORKDIR /etc/customerio-loader
ENTRYPOINT ["customerio-loader"]
CMD ["--help"]
