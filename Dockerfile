# CPU image. Build: docker build -t keshikaran .
# Use:   docker run --rm -v "$PWD:/data" keshikaran train FOLDER --positive NAME
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY src ./src
RUN python -m venv /opt/keshikaran \
    && /opt/keshikaran/bin/pip install --no-cache-dir -c constraints.txt ".[train]"

FROM python:3.13-slim
COPY --from=build /opt/keshikaran /opt/keshikaran
COPY LICENSE NOTICE /usr/share/doc/keshikaran/
RUN useradd --create-home --uid 10001 keshikaran && mkdir /data && chown keshikaran /data
USER keshikaran
WORKDIR /data
ENV PATH=/opt/keshikaran/bin:$PATH
ENTRYPOINT ["keshikaran"]
CMD ["--help"]
