//! Encryption, configured as in libpq: `sslmode` and `sslrootcert` in the connection URL.
//!
//! | `sslmode` | encrypts | checks the server's certificate | with `sslrootcert=FILE` |
//! |---|---|---|---|
//! | `disable` | no | | not read |
//! | `prefer`, the default; `allow` | if the server can | no | as `verify-ca`, where it encrypts |
//! | `require` | yes | no | as `verify-ca` |
//! | `verify-ca` | yes | that a trusted authority has signed it | trusts the authorities in the file |
//! | `verify-full` | yes | that, and that it names the host | trusts the authorities in the file |
//!
//! Without a file, the system's authorities are trusted: `SSL_CERT_FILE`, `SSL_CERT_DIR`, or the system's default location.
//! `sslrootcert=system` selects them, too, and implies `verify-full`, because any server can have a certificate from one of
//! them. A weaker mode with it is an error. All of this is as in libpq, with these differences:
//!
//! | libpq | here |
//! |---|---|
//! | reads `PGSSLMODE`, `PGSSLROOTCERT`, `~/.postgresql/root.crt` | only the URL counts |
//! | `require` with a missing file checks nothing | a file that cannot be read is an error |
//! | `prefer` continues without encryption if a certificate is wrong | that is an error |
//! | `allow` tries without encryption first | the same as `prefer` |
//!
//! Local sockets are never encrypted, whatever the mode.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres::config::{SslMode, SslNegotiation};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::Error;
use super::options::{Options, is_local, wrong_value};

/// What the server's certificate must prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    Nothing,
    Authority,
    AuthorityAndHost,
}

/// Where the trusted certificates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Roots {
    System,
    File(PathBuf),
}

/// The encryption options of a connection URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TlsOptions {
    mode: SslMode,
    negotiation: SslNegotiation,
    check: Check,
    roots: Roots,
}

impl TlsOptions {
    /// Reads them from a connection URL's options.
    ///
    /// # Errors
    ///
    /// [`Error::BadUrl`] if a value is wrong, or if they contradict each other.
    pub fn read(options: &Options) -> Result<Self, Error> {
        const MODES: [(&str, (SslMode, Check)); 6] = [
            ("disable", (SslMode::Disable, Check::Nothing)),
            ("allow", (SslMode::Prefer, Check::Nothing)),
            ("prefer", (SslMode::Prefer, Check::Nothing)),
            ("require", (SslMode::Require, Check::Nothing)),
            ("verify-ca", (SslMode::Require, Check::Authority)),
            ("verify-full", (SslMode::Require, Check::AuthorityAndHost)),
        ];
        const NEGOTIATIONS: [(&str, SslNegotiation); 2] =
            [("postgres", SslNegotiation::Postgres), ("direct", SslNegotiation::Direct)];
        let asked_for = options.one_of("sslmode", &MODES)?;
        let (mode, check, roots) = match (options.path("sslrootcert"), asked_for) {
            (Some(path), Some((_, Check::AuthorityAndHost)) | None) if path.as_os_str() == "system" => {
                (SslMode::Require, Check::AuthorityAndHost, Roots::System)
            }
            (Some(path), Some(_)) if path.as_os_str() == "system" => {
                return Err(wrong_value(
                    "sslmode",
                    "with sslrootcert=system, write sslmode=verify-full, or leave it out: any server can have a \
                     certificate from an authority of the system",
                ));
            }
            (Some(path), asked_for) => {
                let (mode, check) = asked_for.unwrap_or((SslMode::Prefer, Check::Nothing));
                let check = if mode != SslMode::Disable && check == Check::Nothing { Check::Authority } else { check };
                (mode, check, Roots::File(path))
            }
            (None, asked_for) => {
                let (mode, check) = asked_for.unwrap_or((SslMode::Prefer, Check::Nothing));
                (mode, check, Roots::System)
            }
        };
        let negotiation = options.one_of("sslnegotiation", &NEGOTIATIONS)?.unwrap_or(SslNegotiation::Postgres);
        if negotiation == SslNegotiation::Direct && mode != SslMode::Require {
            return Err(wrong_value(
                "sslnegotiation",
                "with sslnegotiation=direct, write sslmode=require, or verify-full",
            ));
        }
        Ok(Self { mode, negotiation, check, roots })
    }

    /// The driver's TLS connector. Also sets the mode in `config`.
    ///
    /// # Errors
    ///
    /// [`Error::Authorities`] if the certificates to trust cannot be read.
    pub fn connector(&self, config: &mut tokio_postgres::Config) -> Result<MakeRustlsConnect, Error> {
        let local = is_local(config);
        config.ssl_mode(if local { SslMode::Disable } else { self.mode }).ssl_negotiation(self.negotiation);
        let provider = Arc::new(ring::default_provider());
        let check = if local { Check::Nothing } else { self.check };
        let authority = match check {
            Check::Nothing => None,
            Check::Authority | Check::AuthorityAndHost => Some(self.authority(&provider)?),
        };
        let verifier = Arc::new(Verifier { provider: Arc::clone(&provider), check, authority });
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| self.roots.refuse(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        if self.negotiation == SslNegotiation::Direct {
            // With direct negotiation, the server requires ALPN.
            client.alpn_protocols = vec![b"postgresql".to_vec()];
        }
        Ok(MakeRustlsConnect::new(client))
    }

    fn authority(&self, provider: &Arc<CryptoProvider>) -> Result<Authority, Error> {
        let trusted = self.roots.read().map_err(|reason| self.roots.refuse(reason))?;
        let mut roots = RootCertStore::empty();
        let (usable, _) = roots.add_parsable_certificates(trusted.iter().cloned());
        if usable == 0 {
            return Err(self.roots.refuse("none of its certificates can be read".to_owned()));
        }
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
            .build()
            .map_err(|error| self.roots.refuse(error.to_string()))?;
        Ok(Authority { chain, trusted })
    }
}

impl Roots {
    /// The certificates, or why there are none.
    fn read(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        match self {
            Self::File(path) => from_file(path),
            Self::System => {
                let loaded = rustls_native_certs::load_native_certs();
                match loaded.errors.first() {
                    _ if !loaded.certs.is_empty() => Ok(loaded.certs),
                    Some(error) => Err(error.to_string()),
                    None => Err("there are none".to_owned()),
                }
            }
        }
    }

    fn refuse(&self, reason: String) -> Error {
        let (source_name, advice) = match self {
            Self::File(path) => (
                path.display().to_string(),
                "sslrootcert must be a file in PEM form (-----BEGIN CERTIFICATE-----) that this user may read, with the \
                 authority that signed the server's certificate",
            ),
            Self::System => (
                "this system".to_owned(),
                "install the package ca-certificates, or name a file: sslrootcert=/path/ca.pem",
            ),
        };
        Error::Authorities { source_name, reason, advice }
    }
}

fn from_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        std::io::ErrorKind::PermissionDenied => "this user may not read it".to_owned(),
        _ => error.to_string(),
    })?;
    if text.trim_ascii().is_empty() {
        return Err("the file is empty".to_owned());
    }
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err("there is no certificate in it".to_owned()),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(error.to_string()),
    }
}

/// The trusted certificates, and the verifier of chains.
#[derive(Debug)]
struct Authority {
    chain: Arc<WebPkiServerVerifier>,
    trusted: Vec<CertificateDer<'static>>,
}

/// Checks as much of a certificate as the mode requires.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    check: Check,
    authority: Option<Authority>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(authority) = &self.authority else { return Ok(ServerCertVerified::assertion()) };
        // A self-signed server certificate is trusted if it is itself in the file. The verifier of chains would refuse it as
        // a server's certificate.
        let verdict = if authority.trusted.iter().any(|trusted| trusted == end_entity) {
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)
                .map(|()| ServerCertVerified::assertion())
        } else {
            authority.chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        };
        match verdict {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.check == Check::Authority => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::super::conninfo::{self, Form};
    use super::*;

    fn read(options: &str) -> Result<TlsOptions, Error> {
        let url = format!("postgres://u:p@h/d?{options}");
        TlsOptions::read(&Options::new(conninfo::read(&url)?, Form::Url)?)
    }

    #[test]
    fn modes_and_files_mean_what_they_mean_to_libpq() {
        use Check::{Authority, AuthorityAndHost, Nothing};
        use SslMode::{Disable, Prefer, Require};
        let file = || Roots::File(PathBuf::from("/a b/ca.pem"));
        for (mode, alone, beside_file, beside_system) in [
            ("", (Prefer, Nothing), (Prefer, Authority), true),
            ("sslmode=disable", (Disable, Nothing), (Disable, Nothing), false),
            ("sslmode=allow", (Prefer, Nothing), (Prefer, Authority), false),
            ("sslmode=prefer", (Prefer, Nothing), (Prefer, Authority), false),
            ("sslmode=require", (Require, Nothing), (Require, Authority), false),
            ("ssl=true", (Require, Nothing), (Require, Authority), false),
            ("sslmode=verify-ca", (Require, Authority), (Require, Authority), false),
            ("sslmode=verify-full", (Require, AuthorityAndHost), (Require, AuthorityAndHost), true),
        ] {
            let joined =
                |more: &str| [mode, more].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("&");
            let parts = |options: TlsOptions| ((options.mode, options.check), options.roots);
            assert_eq!(parts(read(mode).unwrap()), (alone, Roots::System), "{mode}");
            let with_file = read(&joined("sslrootcert=%2Fa%20b%2Fca.pem")).unwrap();
            assert_eq!(parts(with_file), (beside_file, file()), "{mode}");
            match read(&joined("sslrootcert=system")) {
                Ok(options) => {
                    assert!(beside_system, "{mode}");
                    assert_eq!(parts(options), ((Require, AuthorityAndHost), Roots::System), "{mode}");
                }
                Err(error) => {
                    assert!(!beside_system && error.to_string().contains("option sslmode"), "{mode}: {error}");
                }
            }
        }
    }

    #[test]
    fn direct_encryption_is_not_a_preference() {
        assert!(read("sslnegotiation=direct").is_err());
        assert!(read("sslnegotiation=direct&sslmode=disable").is_err());
        assert_eq!(read("sslnegotiation=direct&sslmode=require").unwrap().negotiation, SslNegotiation::Direct);
    }
}
