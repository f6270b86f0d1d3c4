# The scheduler as an image: one static program, no shell, not root.
#
#   docker build -t docker-scheduler .
#
# Another base to build on, such as a mirror's (any with cargo and a C compiler will do):
#
#   docker build --build-arg BUILDER=mirror.lan/rust:1.95-alpine -t docker-scheduler .
#
# A program that was built elsewhere is packed by packaging/image/Dockerfile.
ARG BUILDER=rust:1.95-alpine
ARG RUNTIME=scratch

FROM ${RUNTIME} AS base
# Who owns this folder owns a new volume at its place.
COPY --chown=65532:65532 packaging/image/state /var/lib/docker-scheduler
# The operator's file is /etc/docker-scheduler/config.yaml, as in the Debian package.
ENV DOCKER_SCHEDULER_STATE=/var/lib/docker-scheduler HOME=/var/lib/docker-scheduler XDG_CONFIG_HOME=/etc
# Neither root nor in a group that can do anything: `--group-add` gives it that of the engine's socket.
USER 65532:65532
VOLUME /var/lib/docker-scheduler
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["/usr/bin/docker-scheduler", "health"]
ENTRYPOINT ["/usr/bin/docker-scheduler"]
CMD ["watch", "/schedules"]

FROM ${BUILDER} AS compiled
# The ledger is SQLite, compiled in.
RUN if command -v apk >/dev/null; then apk add --no-cache build-base; fi
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY tests tests
# With a target named, the flags are for the program alone, and not for what runs while it is built.
RUN target=$(rustc -vV | sed -n 's/^host: //p') && \
    RUSTFLAGS='-C target-feature=+crt-static -C strip=symbols' \
        cargo build --release --locked --bin docker-scheduler --target "$target" && \
    cp "target/$target/release/docker-scheduler" /docker-scheduler

FROM base
COPY --from=compiled /docker-scheduler /usr/bin/docker-scheduler
