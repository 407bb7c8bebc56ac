//! Encryption, asked for as libpq users know it: `sslmode` and `sslrootcert` in the connection URL.
//!
//! | `sslmode` | encrypts | checks the server's certificate |
//! |---|---|---|
//! | `disable` | no | |
//! | `prefer`, the default | if the server can | no |
//! | `require` | yes | no |
//! | `verify-ca` | yes | that an authority we trust has signed it |
//! | `verify-full` | yes | that, and that it names the host we connect to |
//!
//! Trusted are the authorities in the file `sslrootcert`, or those of the system.

use std::path::PathBuf;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::Error;

/// What has to be true of the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    Nothing,
    Authority,
    AuthorityAndHost,
}

/// The part of a connection URL that is about certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TlsOptions {
    check: Check,
    root_cert: Option<PathBuf>,
}

impl TlsOptions {
    /// Takes out of a connection URL, or keyword string, what the driver does not know, and returns the rest.
    pub fn take_from(url: &str) -> (String, Self) {
        let mut options = Self { check: Check::Nothing, root_cert: None };
        let is_url = url.starts_with("postgres://") || url.starts_with("postgresql://");
        let (head, settings, separator) = match url.split_once('?') {
            Some((head, query)) if is_url => (format!("{head}?"), query, '&'),
            _ if is_url => return (url.to_owned(), options),
            _ => (String::new(), url, ' '),
        };
        let mut kept: Vec<&str> = Vec::new();
        for setting in settings.split(separator) {
            match setting.split_once('=') {
                Some(("sslmode", "verify-ca")) => options.check = Check::Authority,
                Some(("sslmode", "verify-full")) => options.check = Check::AuthorityAndHost,
                Some(("sslrootcert", path)) => {
                    let path = percent_decode_str(path).decode_utf8_lossy();
                    options.root_cert = Some(PathBuf::from(path.as_ref()));
                }
                _ => {
                    kept.push(setting);
                    continue;
                }
            }
            if setting.starts_with("sslmode") {
                kept.push("sslmode=require");
            }
        }
        (head + &kept.join(&separator.to_string()), options)
    }

    /// What the driver connects with.
    ///
    /// # Errors
    ///
    /// [`Error::BadUrl`] if the certificates to trust cannot be read.
    pub fn connector(&self) -> Result<MakeRustlsConnect, Error> {
        let provider = Arc::new(ring::default_provider());
        let authority = match self.check {
            Check::Nothing => None,
            Check::Authority | Check::AuthorityAndHost => Some(self.authority(&provider)?),
        };
        let verifier = Arc::new(Verifier { provider: Arc::clone(&provider), check: self.check, authority });
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::BadUrl { reason: error.to_string() })?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(MakeRustlsConnect::new(config))
    }

    fn authority(&self, provider: &Arc<CryptoProvider>) -> Result<Authority, Error> {
        let (loaded, source) = match &self.root_cert {
            Some(path) if path.as_os_str() != "system" => {
                (rustls_native_certs::load_certs_from_paths(Some(path), None), path.display().to_string())
            }
            _ => (rustls_native_certs::load_native_certs(), "the system".to_owned()),
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(loaded.certs.iter().cloned());
        if roots.is_empty() {
            let why = loaded.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
            return Err(Error::BadUrl {
                reason: format!("sslmode asks for trusted certificates, {source} has none{why}"),
            });
        }
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
            .build()
            .map_err(|error| Error::BadUrl { reason: error.to_string() })?;
        Ok(Authority { chain, trusted: loaded.certs })
    }
}

/// Whom we trust.
#[derive(Debug)]
struct Authority {
    chain: Arc<WebPkiServerVerifier>,
    trusted: Vec<CertificateDer<'static>>,
}

/// Checks as much of a certificate as the mode asks for.
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
        // A server that signed its own certificate is trusted by naming that very certificate, which the chain's
        // verifier does not take for a server's.
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
    use super::*;

    #[test]
    fn options_the_driver_does_not_know_are_taken_out() {
        let (url, options) =
            TlsOptions::take_from("postgres://u:p@h/d?sslmode=verify-full&application_name=a&sslrootcert=%2Fca.pem");
        assert_eq!(url, "postgres://u:p@h/d?sslmode=require&application_name=a");
        assert_eq!(options, TlsOptions { check: Check::AuthorityAndHost, root_cert: Some(PathBuf::from("/ca.pem")) });

        let (keywords, options) = TlsOptions::take_from("host=h sslmode=verify-ca dbname=d");
        assert_eq!((keywords.as_str(), options.check), ("host=h sslmode=require dbname=d", Check::Authority));

        for unchanged in ["postgres://u:p@h/d", "postgres://u:p@h/d?sslmode=prefer", "host=h dbname=d"] {
            assert_eq!(TlsOptions::take_from(unchanged).0, unchanged);
        }
    }
}
