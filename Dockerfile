FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /oktasync ./cmd/oktasync && mkdir /data

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /oktasync /oktasync
# oktasync.db, unless OKTASYNC_SINKS says otherwise, is written here.
COPY --from=build --chown=nonroot:nonroot /data /data
WORKDIR /data
VOLUME /data
EXPOSE 8080
ENTRYPOINT ["/oktasync"]
CMD ["serve"]
