# The gateway's image: built from this tree, run as nobody in particular, with its state in one volume.
FROM rust:1.95.0-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY benches benches
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin tidegate && cp target/release/tidegate /usr/local/bin/tidegate

FROM debian:12-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --user-group --no-create-home --home-dir /nonexistent tidegate \
 && install -d -o tidegate -g tidegate -m 0700 /var/lib/tidegate
COPY --from=build /usr/local/bin/tidegate /usr/local/bin/tidegate
USER tidegate
ENV STATE_DIRECTORY=/var/lib/tidegate \
    TIDEGATE_CONFIG=/etc/tidegate/gateway.toml
VOLUME /var/lib/tidegate
EXPOSE 8443
STOPSIGNAL SIGTERM
ENTRYPOINT ["tidegate"]
CMD ["run"]
