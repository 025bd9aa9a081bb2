//! TLS of SIP: certificates from files, whom a peer must prove to be (RFC 5922), and the settings of
//! each listener and trunk. Everything can be read again while connections live.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureScheme, SupportedProtocolVersion,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    server::danger::{ClientCertVerified, ClientCertVerifier},
    version::{TLS12, TLS13},
};
use sha2::{Digest, Sha256};
use tandem_proxy::connection::{Pin, Profile, TlsOptions, Verify};
use webpki::{EndEntityCert, KeyPurposeIdIter};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// The files of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Certificate chain, PEM.
    pub cert: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// Authorities of clients; with it every client must show a certificate of theirs.
    pub client_ca: Option<PathBuf>,
}

/// Which file is wrong, and what is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// The certificate chain.
    Cert(String),
    /// The key.
    Key(String),
    /// The authorities.
    Authorities(String),
}

impl Wrong {
    /// The words alone.
    pub fn what(self) -> String {
        match self {
            Self::Cert(what) | Self::Key(what) | Self::Authorities(what) => what,
        }
    }
}

/// Settings that are replaced while they are used: a handshake takes those of its moment.
#[derive(Debug, Default)]
pub struct Current<T>(RwLock<Arc<T>>);

impl<T> Current<T> {
    /// Begins with these.
    pub fn new(value: Arc<T>) -> Self {
        Self(RwLock::new(value))
    }

    /// Those of now.
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on these.
    pub fn set(&self, value: Arc<T>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = value;
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
const ONLY_13: &[&SupportedProtocolVersion] = &[&TLS13];

/// The settings of a listener.
///
/// # Errors
/// The file that cannot be used, and why.
pub fn server(files: &Files) -> Result<ServerConfig, Wrong> {
    let chain = chain(&files.cert).map_err(Wrong::Cert)?;
    let key = key(&files.key).map_err(Wrong::Key)?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(BOTH)
        .map_err(|error| Wrong::Cert(error.to_string()))?;
    let builder = match &files.client_ca {
        Some(path) => {
            let roots = roots(path).map_err(Wrong::Authorities)?;
            builder.with_client_cert_verifier(Arc::new(Clients { checks: Checks::new(roots) }))
        }
        None => builder.with_no_client_auth(),
    };
    let shown = files.key.display();
    builder.with_single_cert(chain, key).map_err(|error| {
        Wrong::Key(format!("{shown} does not fit {}: {error}", files.cert.display()))
    })
}

/// With what connections to a gateway are opened.
#[derive(Debug)]
pub struct Client {
    /// For the handshake.
    pub config: Arc<ClientConfig>,
    /// SNI; the expected name unless `verify` says otherwise.
    pub name: String,
    /// A certificate of ours is shown.
    pub has_certificate: bool,
}

/// The settings of a profile. The key's line where a file cannot be used; 0 for none of them.
///
/// # Errors
/// Line and reason.
pub fn client(profile: &Profile) -> Result<Client, (usize, String)> {
    let none = TlsOptions::default();
    let (options, folder) = match &profile.trunk {
        Some(trunk) => {
            let folder = Path::new(&trunk.file).parent().unwrap_or(Path::new(""));
            (&trunk.transport.tls, folder.to_owned())
        }
        None => (&none, PathBuf::new()),
    };
    let name = options.server_name.clone().unwrap_or_else(|| profile.host.clone());
    let roots = match (&options.ca_file, options.verify) {
        (Some(file), _) => roots(&folder.join(&file.path)).map_err(|e| (file.line, e))?,
        (None, Verify::Off) => RootCertStore::empty(),
        (None, Verify::Full | Verify::Ca) => system_roots().map_err(|e| (0, e))?,
    };
    let verifier = Servers {
        checks: Checks::new(roots),
        verify: options.verify,
        name: name.clone(),
        wildcard: options.wildcard,
        pins: options.pins.clone(),
    };
    let versions = if options.only_tls13 { ONLY_13 } else { BOTH };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .map_err(|error| (0, error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match (&options.client_cert, &options.client_key) {
        (Some(cert), Some(key_file)) => {
            let chain = chain(&folder.join(&cert.path)).map_err(|e| (cert.line, e))?;
            let key = key(&folder.join(&key_file.path)).map_err(|e| (key_file.line, e))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| {
                (key_file.line, format!("{} does not fit {}: {error}", key_file.path, cert.path))
            })?
        }
        (_, _) => builder.with_no_client_auth(),
    };
    config.alpn_protocols = options.alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    let has_certificate = options.client_cert.is_some();
    Ok(Client { config: Arc::new(config), name, has_certificate })
}

// ---- files ---------------------------------------------------------------------------------------

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("{shown}: {error}; name a PEM file with the certificate"))?;
    if found.is_empty() {
        return Err(format!("{shown}: no certificate in it; name a PEM file with one"));
    }
    Ok(found)
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path)
        .map_err(|error| format!("{}: {error}; name a PEM file with the key", path.display()))
}

fn roots(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(chain(path)?);
    if roots.is_empty() {
        return Err(format!("{}: no authority in it can be used", path.display()));
    }
    Ok(roots)
}

/// The bundle that OpenSSL would take.
fn system_roots() -> Result<RootCertStore, String> {
    const BUNDLES: [&str; 3] = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/cert.pem",
    ];
    let found = BUNDLES.iter().map(Path::new).find(|path| path.exists());
    let what = "no trusted authorities on this system; install ca-certificates, or write ca_file";
    roots(found.ok_or(what)?)
}

/// Days until a certificate file's leaf ends, negative when it has.
///
/// # Errors
/// The file cannot be read.
pub fn days_left(path: &Path, now: i64) -> Result<i64, String> {
    let chain = chain(path)?;
    let leaf = chain.first().ok_or("no certificate")?;
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|error| error.to_string())?;
    Ok((parsed.validity().not_after.timestamp() - now).div_euclid(86_400))
}

// ---- whom a certificate proves -------------------------------------------------------------------

/// The SIP identities of a certificate (RFC 5922 §7.1): its `sip:` URIs without user; if there are
/// none its DNS names; if it has neither and no other alternative name, its common name. Lower case.
pub fn names(certificate: &[u8]) -> Vec<String> {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let alternatives = parsed.subject_alternative_name().ok().flatten();
    let (mut uris, mut hosts) = (Vec::new(), Vec::new());
    for name in alternatives.iter().flat_map(|alternatives| &alternatives.value.general_names) {
        if let GeneralName::URI(uri) = name {
            uris.extend(sip_domain(uri));
        } else if let GeneralName::DNSName(host) = name {
            hosts.push(host.to_ascii_lowercase());
        } else if let GeneralName::IPAddress(bytes) = name {
            hosts.extend(address(bytes));
        }
    }
    if !uris.is_empty() {
        return uris;
    }
    if alternatives.is_some() {
        return hosts;
    }
    let common = parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    common.map(str::to_ascii_lowercase).collect()
}

/// RFC 5922 §7.1: a SIP URI with a user part is no identity of a domain.
fn sip_domain(uri: &str) -> Option<String> {
    match tandem_sip::Uri::parse(uri)? {
        tandem_sip::Uri::Sip(sip) if sip.user.is_none() && !sip.secure => {
            Some(sip.host.to_ascii_lowercase())
        }
        tandem_sip::Uri::Sip(_) | tandem_sip::Uri::Tel(_) | tandem_sip::Uri::Other(_) => None,
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    let v4: Option<[u8; 4]> = bytes.try_into().ok();
    let v6: Option<[u8; 16]> = bytes.try_into().ok();
    v4.map(|v4| std::net::Ipv4Addr::from(v4).to_string())
        .or_else(|| v6.map(|v6| std::net::Ipv6Addr::from(v6).to_string()))
}

/// RFC 5922 §7.2: the whole name, in any case; a star only where the trunk allows it.
pub(super) fn holds(names: &[String], wanted: &str, wildcard: bool) -> bool {
    names.iter().any(|name| {
        name.eq_ignore_ascii_case(wanted)
            || wildcard
                && name.strip_prefix("*.").is_some_and(|domain| {
                    wanted
                        .split_once('.')
                        .is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(domain))
                })
    })
}

/// Chains and signatures.
#[derive(Debug)]
struct Checks {
    roots: RootCertStore,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Checks {
    fn new(roots: RootCertStore) -> Self {
        Self { roots, algorithms: aws_lc_rs::default_provider().signature_verification_algorithms }
    }

    fn chain(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let leaf = EndEntityCert::try_from(leaf).map_err(refused)?;
        let (roots, algorithms) = (&self.roots.roots, self.algorithms.all);
        leaf.verify_for_usage(algorithms, roots, intermediates, now, SipUsage, None, None)
            .map(|_| ())
            .map_err(refused)
    }
}

fn refused(error: webpki::Error) -> rustls::Error {
    rustls::Error::General(format!("the certificate is refused: {error}"))
}

/// RFC 5924, and by our policy: a server's certificate serves as a client's and the other way
/// round, as it does with every carrier; one for anything else (mail, code) does not.
#[derive(Debug, Clone, Copy)]
struct SipUsage;

impl webpki::ExtendedKeyUsageValidator for SipUsage {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        const FIT: [&[usize]; 4] = [
            &[1, 3, 6, 1, 5, 5, 7, 3, 1],
            &[1, 3, 6, 1, 5, 5, 7, 3, 2],
            &[1, 3, 6, 1, 5, 5, 7, 3, 20],
            &[2, 5, 29, 37, 0],
        ];
        let mut any = false;
        for purpose in purposes {
            any = true;
            let purpose: Vec<usize> = purpose?.to_decoded_oid();
            if FIT.contains(&purpose.as_slice()) {
                return Ok(());
            }
        }
        if any { Err(webpki::Error::UnknownIssuer) } else { Ok(()) }
    }
}

/// Checks servers that we connect to.
#[derive(Debug)]
struct Servers {
    checks: Checks,
    verify: Verify,
    name: String,
    wildcard: bool,
    pins: Vec<Pin>,
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.verify {
            Verify::Full | Verify::Ca => self.checks.chain(leaf, intermediates, now)?,
            Verify::Off => {}
        }
        let shown = names(leaf);
        if self.verify == Verify::Full && !holds(&shown, &self.name, self.wildcard) {
            let (wanted, shown) = (&self.name, shown.join(", "));
            return Err(rustls::Error::General(format!(
                "the certificate is for {shown}, not for {wanted}"
            )));
        }
        if !self.pins.is_empty() && !pinned(leaf, &self.pins) {
            return Err(rustls::Error::General("the certificate is not a pinned one".to_owned()));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signature, &self.checks.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signature, &self.checks.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.checks.algorithms.supported_schemes()
    }
}

fn pinned(leaf: &CertificateDer<'_>, pins: &[Pin]) -> bool {
    let whole: [u8; 32] = Sha256::digest(leaf).into();
    let key: Option<[u8; 32]> = X509Certificate::from_der(leaf)
        .ok()
        .map(|(_, parsed)| Sha256::digest(parsed.public_key().raw).into());
    pins.iter().any(|pin| match pin {
        Pin::Certificate(hash) => *hash == whole,
        Pin::Key(hash) => Some(*hash) == key,
    })
}

/// Checks clients that connect to us.
#[derive(Debug)]
struct Clients {
    checks: Checks,
}

impl ClientCertVerifier for Clients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.checks.chain(leaf, intermediates, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signature, &self.checks.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signature, &self.checks.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.checks.algorithms.supported_schemes()
    }
}

/// The name for SNI; an address has none, and is checked all the same.
///
/// # Errors
/// The name cannot stand in a handshake.
pub fn server_name(name: &str) -> io::Result<ServerName<'static>> {
    ServerName::try_from(name.to_owned()).map_err(io::Error::other)
}
