//! Certificates for servers that speak TLS, and for their clients.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

/// An authority, a server's certificate that it signed, and a client's; each in PEM.
///
/// Another value is another authority: what one signed is worth nothing to those who trust the other.
#[derive(Clone)]
pub struct Certificates {
    authority: String,
    server: Signed,
    client: Signed,
}

/// A certificate and its private key, in PEM.
#[derive(Clone)]
pub struct Signed {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl Certificates {
    /// Makes an authority; the server's certificate is for `127.0.0.1`, `::1` and `localhost`.
    #[must_use]
    pub fn new() -> Self {
        Self::for_names(&["127.0.0.1", "::1", "localhost"])
    }

    /// Makes an authority; the server's certificate is for these names and addresses only.
    ///
    /// # Panics
    ///
    /// If one of them is not a name.
    #[must_use]
    pub fn for_names(names: &[&str]) -> Self {
        Self::made(names).unwrap_or_else(|error| panic!("no certificate for {names:?}: {error}"))
    }

    fn made(names: &[&str]) -> Result<Self, rcgen::Error> {
        let mut parameters = parameters("an authority of tests", &[])?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority = CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)?;
        Ok(Self {
            server: signed("a server of tests", names, &authority)?,
            client: signed("a client of tests", &[], &authority)?,
            authority: authority.pem(),
        })
    }

    /// The authority's certificate, which clients trust.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// What servers prove with who they are.
    #[must_use]
    pub fn server(&self) -> &Signed {
        &self.server
    }

    /// What a client proves with who it is, to a server that asks.
    #[must_use]
    pub fn client(&self) -> &Signed {
        &self.client
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}

// Private keys do not belong into a failed test's output.
impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Signed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signed").finish_non_exhaustive()
    }
}

fn signed(who: &str, names: &[&str], authority: &CertifiedIssuer<'_, KeyPair>) -> Result<Signed, rcgen::Error> {
    let mut parameters = parameters(who, names)?;
    // A server is a client too: a replica of its master, a Sentinel and a node of a cluster of all others.
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate()?;
    let certificate = parameters.signed_by(&key, authority)?;
    Ok(Signed { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn parameters(who: &str, names: &[&str]) -> Result<CertificateParams, rcgen::Error> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut parameters = CertificateParams::new(names)?;
    // With rcgen's own name for all of them, each certificate would seem to be its own issuer's.
    parameters.distinguished_name.push(DnType::CommonName, who);
    Ok(parameters)
}
