FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# The repository is not part of the build, so it is told what it builds:
#   docker build --build-arg VERSION=$(git describe --tags --always --dirty) \
#     --build-arg REVISION=$(git rev-parse HEAD) -t oktasync .
ARG VERSION=
ARG REVISION=
RUN CGO_ENABLED=0 go build -trimpath \
      -ldflags="-s -w -X main.stampedVersion=$VERSION -X main.stampedRevision=$REVISION" \
      -o /oktasync ./cmd/oktasync && mkdir /data

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /oktasync /oktasync
# oktasync.db, unless OKTASYNC_SINKS says otherwise, is written here.
COPY --from=build --chown=nonroot:nonroot /data /data
WORKDIR /data
VOLUME /data
EXPOSE 8080
# An orchestrator with probes of its own uses /readyz and /healthz instead.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/oktasync", "healthcheck"]
ENTRYPOINT ["/oktasync"]
CMD ["serve"]
