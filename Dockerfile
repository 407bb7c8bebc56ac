# A small image with the one program. Build it with: docker build -t migrate .
#
#     docker run --rm -e DATABASE_URL=postgres://user:password@host/database migrate up
#
# A folder of your own:
#
#     docker run --rm -e DATABASE_URL -v "$PWD/migrations:/migrations:ro" migrate --dir /migrations up
#
# In the platform's image, copy /usr/local/bin/migrate from this one; it needs glibc, script/static makes one that does not.
# The entrypoint's one line, before the server is started, takes the platform's own migrations from nothing, or from any
# version, to the newest (docs/upgrading.md):
#
#     migrate --set platform --dir /migrations up
#
# It trusts the certificate authorities that Debian trusts: sslmode=verify-full works as it is. For an authority of your
# own, mount its certificate: docker run -v /path/ca.pem:/ca.pem:ro ... with sslrootcert=/ca.pem in the URL.

FROM rust:1-slim-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY Cargo.toml Cargo.lock build.rs ./
COPY src src
COPY hooks hooks
COPY migrations migrations
# Tests, benches and examples are not part of the image; their dependencies need not be built for it.
RUN cargo build --release --locked --bin migrate && strip target/release/migrate

FROM debian:bookworm-slim
# One file is all that is looked for; the package itself would bring a whole OpenSSL along.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /build/target/release/migrate /usr/local/bin/migrate
# A numeric user, so that an orchestrator can see that it is not root.
USER 65532:65532
ENTRYPOINT ["migrate"]
CMD ["up"]
