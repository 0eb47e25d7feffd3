//! HTTP that really sends: ureq over rustls, with the cloud's certificates and limits on all that is waited for.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector, DefaultConnector};
use ureq::{Agent, SendBody};

use super::early_response::EarlyResponse;
use super::exchange::{Answer, Exchange, Lost, Request, Stream};
use super::route::Route;
use crate::error::{Advise, Context, bail};

/// A catalog or a page of 1000 images with long properties stays below.
const ANSWER_LIMIT: u64 = 64 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// A peer that takes not a byte for so long is gone.
const STALL_TIMEOUT: Duration = Duration::from_secs(120);
/// After the last byte Glance may still copy the image to its store before it answers.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1800);

/// Whom to trust, and how to be trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Trust {
    /// Accepts any certificate.
    pub(crate) insecure: bool,
    /// Certificates (PEM) to trust instead of the system's.
    pub(crate) ca_file: Option<PathBuf>,
    /// The client's own certificate chain (PEM) and key; the key may lie in the same file.
    pub(crate) client_cert: Option<(PathBuf, Option<PathBuf>)>,
}

/// The network.
#[derive(Debug)]
pub(crate) struct Http {
    agent: Agent,
    last_words: EarlyResponse,
}

impl Http {
    /// Prepares connections; nothing is sent yet.
    ///
    /// # Errors
    /// Where a certificate or key cannot be read.
    pub(crate) fn new(trust: &Trust, route: &Route) -> crate::Result<Self> {
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .disable_verification(trust.insecure)
            .root_certs(roots(trust, route)?)
            .client_cert(client_cert(trust)?)
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            // Without this line it would be as the environment of this process says.
            .proxy(route.proxy())
            .http_status_as_error(false)
            // A token must not follow a redirect to another host.
            .max_redirects(0)
            .max_redirects_will_error(false)
            // A connection kept open may be closed by the server just when it is used again.
            .max_idle_connections(0)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_per_write(Some(STALL_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .timeout_recv_body(Some(STALL_TIMEOUT))
            .user_agent(concat!("goldimg/", env!("CARGO_PKG_VERSION")))
            .build();
        let last_words = EarlyResponse::default();
        let connector = DefaultConnector::new().chain(last_words.clone());
        let agent = Agent::with_parts(config, connector, DefaultResolver::default());
        Ok(Self { agent, last_words })
    }

    fn transmit(&self, request: &Request, stream: Option<Stream<'_>>) -> Result<Answer, ureq::Error> {
        let mut builder = ureq::http::Request::builder().method(request.verb.name()).uri(&request.url);
        for (name, value) in &request.headers {
            builder = builder.header(*name, value.expose());
        }
        let response = match (stream, &request.body) {
            (Some(stream), _) => {
                if let Some(len) = stream.len {
                    builder = builder.header("Content-Length", len);
                }
                self.agent.run(builder.body(SendBody::from_reader(stream.reader))?)
            }
            (None, Some(json)) => self.agent.run(builder.body(json.to_string())?),
            (None, None) => self.agent.run(builder.body(())?),
        }?;
        let status = response.status().as_u16();
        let headers = headers(response.headers());
        let body = response.into_body().into_with_config().limit(ANSWER_LIMIT).read_to_vec()?;
        Ok(Answer { status, headers, body })
    }
}

/// An answer whose body comes as it is read.
pub(crate) struct Incoming {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Box<dyn Read>,
}

impl Incoming {
    /// The text of the header `name`, which is given in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl Http {
    /// Asks for something large. Every status is an answer, and no redirect is followed; a body may take as long as it likes,
    /// as long as something comes.
    ///
    /// # Errors
    /// Where no answer came.
    pub(crate) fn receive(&self, request: &Request) -> Result<Incoming, Lost> {
        self.last_words.clear();
        let mut builder = ureq::http::Request::builder().method(request.verb.name()).uri(&request.url);
        for (name, value) in &request.headers {
            builder = builder.header(*name, value.expose());
        }
        let asked = || {
            let request = builder.body(())?;
            let config = self.agent.configure_request(request);
            let config = config.timeout_recv_body(None).timeout_per_read(Some(STALL_TIMEOUT));
            self.agent.run(config.build())
        };
        let response = asked().map_err(|error| lost(error, &host_of(&request.url)))?;
        let status = response.status().as_u16();
        let headers = headers(response.headers());
        let body = response.into_body().into_with_config().limit(u64::MAX).reader();
        Ok(Incoming { status, headers, body: Box::new(body) })
    }
}

fn headers(headers: &ureq::http::HeaderMap) -> Vec<(String, String)> {
    let text = |value: &ureq::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

impl Exchange for Http {
    fn send(&self, request: &Request, stream: Option<Stream<'_>>) -> Result<Answer, Lost> {
        self.last_words.clear();
        let result = self.transmit(request, stream);
        let answer = result.or_else(|error| match self.last_words.answer() {
            Some(answer) => Ok(answer),
            None => Err(lost(error, &host_of(&request.url))),
        });
        answer.map(|answer| answer.hiding_secrets_of(request))
    }
}

/// `host:port` of a URL.
pub(crate) fn host_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or(rest).to_owned()
}

/// Sorts a failure by what can be done about it.
fn lost(source: ureq::Error, host: &str) -> Lost {
    let host = host.to_owned();
    match &source {
        ureq::Error::Io(error) if is_tls(error) => Lost::Untrusted { host, source },
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::TlsRequired => {
            Lost::Untrusted { host, source }
        }
        ureq::Error::Io(_)
        | ureq::Error::Timeout(_)
        | ureq::Error::ConnectionFailed
        | ureq::Error::HostNotFound
        | ureq::Error::Protocol(_)
        | ureq::Error::BodyStalled
        | ureq::Error::ConnectProxyFailed(_) => Lost::Connection { host, source },
        _ => Lost::Impossible { host, source },
    }
}

fn is_tls(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

fn roots(trust: &Trust, route: &Route) -> crate::Result<RootCerts> {
    if trust.insecure {
        return Ok(RootCerts::new_with_certs(&[]));
    }
    let Some(path) = &trust.ca_file else {
        // As requests and curl on a Debian machine do: what the administrator trusts.
        let certs: Vec<_> =
            route.certificates().iter().map(|cert| Certificate::from_der(cert).to_owned()).collect();
        return Ok(RootCerts::new_with_certs(&certs));
    };
    let certs: Vec<_> = pem_items(path)?
        .into_iter()
        .filter_map(|item| match item {
            PemItem::Certificate(cert) => Some(cert),
            _ => None,
        })
        .collect();
    if certs.is_empty() {
        bail!("{} holds no certificate in PEM form", path.display());
    }
    Ok(RootCerts::new_with_certs(&certs))
}

fn client_cert(trust: &Trust) -> crate::Result<Option<ClientCert>> {
    let Some((cert_path, key_path)) = &trust.client_cert else { return Ok(None) };
    let mut chain = Vec::new();
    let mut key = None;
    for item in pem_items(cert_path)? {
        match item {
            PemItem::Certificate(cert) => chain.push(cert),
            PemItem::PrivateKey(found) => key = Some(found),
            _ => {}
        }
    }
    if let Some(path) = key_path {
        key = Some(private_key(path)?);
    }
    let key = key.with_context(|| format!("{} holds no private key", cert_path.display()));
    let key = key.hint(|| "name its file as `key:` beside `cert:` in clouds.yaml")?;
    if chain.is_empty() {
        bail!("{} holds no certificate in PEM form", cert_path.display());
    }
    check_pair(&chain, &key)
        .with_context(|| format!("using the client certificate {}", cert_path.display()))?;
    Ok(Some(ClientCert::new_with_certs(&chain, key)))
}

/// Tries certificate and key together: the HTTP library would panic on a pair that does not fit.
fn check_pair(chain: &[Certificate<'static>], key: &PrivateKey<'static>) -> crate::Result<()> {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = chain.iter().map(|cert| CertificateDer::from(cert.der().to_vec())).collect();
    let key = PrivateKeyDer::try_from(key.der().to_vec()).map_err(crate::Error::failed)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_client_auth_cert(chain, key)?;
    Ok(())
}

fn private_key(path: &Path) -> crate::Result<PrivateKey<'static>> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    PrivateKey::from_pem(&bytes).with_context(|| format!("reading the private key in {}", path.display()))
}

fn pem_items(path: &Path) -> crate::Result<Vec<PemItem<'static>>> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    ureq::tls::parse_pem(&bytes)
        .collect::<Result<_, _>>()
        .with_context(|| format!("reading the certificates in {}", path.display()))
}
