//! Encrypted connections.
//!
//! Not the Redis client's own: that looks for the system's certificates anew for each connection, and relies on a choice of
//! cryptography that the whole process makes.

use std::fmt;
use std::io;
#[cfg(feature = "tls")]
use std::sync::Arc;

use tokio::net::TcpStream;
#[cfg(feature = "tls")]
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    },
};

/// Whom to trust, and what to show.
#[derive(Clone, Default)]
pub(crate) struct TlsSettings {
    /// Certificates in PEM of authorities to trust instead of those that the system trusts.
    #[cfg(feature = "tls")]
    pub(crate) roots: Option<Vec<u8>>,
    /// A certificate and its private key, in PEM, for servers that ask for one.
    #[cfg(feature = "tls")]
    pub(crate) client: Option<(Vec<u8>, Vec<u8>)>,
}

/// Encrypts connections.
#[derive(Clone)]
pub(crate) struct Tls {
    #[cfg(feature = "tls")]
    connector: TlsConnector,
}

/// An encrypted connection.
#[cfg(feature = "tls")]
pub(crate) type Encrypted = Box<TlsStream<TcpStream>>;
#[cfg(not(feature = "tls"))]
pub(crate) type Encrypted = TcpStream;

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

#[cfg(not(feature = "tls"))]
impl TlsSettings {
    #[allow(clippy::unused_self, reason = "so that callers need not know which features there are")]
    pub(crate) fn tls(&self, _: bool) -> Result<Tls, String> {
        Err("it asks for an encrypted connection; enable the feature `tls` of redlock-runtime".to_owned())
    }
}

#[cfg(not(feature = "tls"))]
impl Tls {
    #[allow(clippy::unused_async, reason = "so that callers need not know which features there are")]
    pub(crate) async fn encrypt(&self, _: &str, _: TcpStream) -> io::Result<Encrypted> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "the feature `tls` of redlock-runtime is not enabled"))
    }
}

#[cfg(feature = "tls")]
impl TlsSettings {
    /// Reads the certificates. If `is_insecure`, whoever answers is trusted.
    pub(crate) fn tls(&self, is_insecure: bool) -> Result<Tls, String> {
        if is_insecure && !cfg!(feature = "insecure-tls") {
            return Err(
                "#insecure trusts whoever answers; enable the feature `insecure-tls` of redlock-runtime if that is \
                        what you want, or name your own authority with .tls_roots(…)"
                    .to_owned(),
            );
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let roots = if is_insecure { RootCertStore::empty() } else { self.trusted()? };
        let builder = builder.with_root_certificates(roots);
        let mut config = match &self.client {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates("the client certificate", certificate)?;
                let key = PrivateKeyDer::from_pem_slice(key)
                    .map_err(|_| "the client certificate's private key is no private key in PEM".to_owned())?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| format!("the client certificate and its private key cannot be used: {error}"))?
            }
        };
        if is_insecure {
            insecure::trust_anybody(&mut config);
        }
        Ok(Tls { connector: Arc::new(config).into() })
    }

    fn trusted(&self) -> Result<RootCertStore, String> {
        let mut store = RootCertStore::empty();
        if let Some(roots) = &self.roots {
            for certificate in certificates("the root certificate", roots)? {
                store.add(certificate).map_err(|error| format!("a root certificate cannot be used: {error}"))?;
            }
            return Ok(store);
        }
        // What the system has in it that cannot be read is nothing that a server's certificate can rest on.
        let found = rustls_native_certs::load_native_certs();
        if let Some(error) = found.errors.iter().find(|error| is_for_now(error)) {
            return Err(format!("the certificates that this system trusts cannot be read now: {error}; try again"));
        }
        let (_, _) = store.add_parsable_certificates(found.certs);
        if store.is_empty() {
            return Err(
                "this system trusts no certificate authority (on Debian and Alpine these come with the package \
                        ca-certificates); install some, or name your own with .tls_roots(…)"
                    .to_owned(),
            );
        }
        Ok(store)
    }
}

/// Whether the process lacks what it takes to read a file, and so would trust less than the system does.
#[cfg(feature = "tls")]
fn is_for_now(error: &rustls_native_certs::Error) -> bool {
    /// `ENFILE`, `EMFILE` and `ENOMEM`, which have these numbers on every Unix.
    const OUT_OF: [i32; 3] = [23, 24, 12];

    match &error.kind {
        rustls_native_certs::ErrorKind::Io { inner, .. } => {
            cfg!(unix) && inner.raw_os_error().is_some_and(|number| OUT_OF.contains(&number))
        }
        _ => false,
    }
}

#[cfg(feature = "tls")]
fn certificates(what: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    certificates
        .ok()
        .filter(|certificates| !certificates.is_empty())
        .ok_or_else(|| format!("{what} is no certificate in PEM, which begins with -----BEGIN CERTIFICATE-----"))
}

#[cfg(feature = "tls")]
impl Tls {
    /// Encrypts a connection to this host.
    pub(crate) async fn encrypt(&self, host: &str, stream: TcpStream) -> io::Result<Encrypted> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        self.connector.connect(name, stream).await.map(Box::new)
    }
}

#[cfg(all(feature = "tls", not(feature = "insecure-tls")))]
mod insecure {
    use super::ClientConfig;

    pub(in crate::node) fn trust_anybody(_: &mut ClientConfig) {
        // Refused before.
    }
}

#[cfg(feature = "insecure-tls")]
mod insecure {
    use std::sync::Arc;

    use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use tokio_rustls::rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
    use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

    pub(in crate::node) fn trust_anybody(config: &mut ClientConfig) {
        let provider = Arc::clone(config.crypto_provider());
        config.dangerous().set_certificate_verifier(Arc::new(Anybody(provider)));
    }

    /// Trusts whatever certificate is shown; that its key is used is still checked.
    #[derive(Debug)]
    struct Anybody(Arc<CryptoProvider>);

    impl ServerCertVerifier for Anybody {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}
