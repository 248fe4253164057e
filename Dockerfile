# syntax=docker/dockerfile:1
# reelmill with ffmpeg. The same image is the api and the worker: `docker run IMAGE worker …`.

FROM rust:1-bookworm AS build
# What librdkafka is built with; the rest is in the image.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libssl-dev pkg-config zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The caches live on the machine that builds, so that a change of one line compiles one crate.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin reelmill && cp target/release/reelmill /usr/local/bin/

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates curl ffmpeg libssl3 zlib1g \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /data reelmill \
    && install --directory --owner reelmill /data
COPY --from=build /usr/local/bin/reelmill /usr/local/bin/reelmill
USER reelmill
# What is being worked on: give it a volume with room.
VOLUME /data
ENV REELMILL_DATA=/data/reelmill REELMILL_LOG_FORMAT=json
# Of each thread's arena glibc keeps what was once needed: with two, a worker has half the memory.
ENV MALLOC_ARENA_MAX=2
# reelmill ends on SIGTERM by itself and leaves no children behind, so that it may be process 1.
STOPSIGNAL SIGTERM
ENTRYPOINT ["reelmill"]
CMD ["--help"]
