# A small image with the one program. Build it with: docker build -t migrate .
#
#     docker run --rm -e DATABASE_URL=postgres://user:password@host/database migrate up

FROM rust:1-slim-bookworm AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock build.rs ./
COPY src src
COPY hooks hooks
COPY migrations migrations
# Tests, benches and examples are not part of the image; their dependencies need not be built for it.
RUN cargo build --release --locked --bin migrate && strip target/release/migrate

FROM debian:bookworm-slim
COPY --from=build /build/target/release/migrate /usr/local/bin/migrate
# A numeric user, so that an orchestrator can see that it is not root.
USER 65532:65532
ENTRYPOINT ["migrate"]
CMD ["up"]
