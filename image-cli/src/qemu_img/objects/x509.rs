//! `tls-creds-x509`: a folder of certificates, as QEMU's tools take it.
//!
//! ```text
//! ca-cert.pem                       whom to trust
//! ca-crl.pem                        whom not any more, if it is there
//! client-cert.pem, client-key.pem   who this is, if both are there
//! ```
//!
//! Source: QEMU, `docs/system/tls.rst`. A host's name has to stand among the certificate's alternative names; that of its
//! subject is of no account. QEMU reads `ca-crl.pem` for servers only; a list that is there and cannot be read is a failure here.

use std::sync::Arc;

use image_core::nbd::TlsCredentials;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::cipher::{AnyPeer, ForHost};
use super::validity::Validity;
use crate::qemu_img::failure::Failure;
use crate::qemu_img::{bytes, words};

/// Certificates, loaded.
#[derive(Debug)]
pub(super) struct X509 {
    config: Arc<ClientConfig>,
    verifies: bool,
}

impl X509 {
    /// From the files of `folder`. With `verifies` off, every server is trusted; with `sane` off, certificates of ours that
    /// are out of date are used all the same.
    pub(super) fn load(folder: &str, verifies: bool, sane: bool) -> Result<Self, Failure> {
        let file = |name: &str| format!("{folder}/{name}");
        let authority = authority(&file("ca-cert.pem"), sane)?;
        let revoked = revoked(&file("ca-crl.pem"))?;
        let own = own(&file("client-cert.pem"), &file("client-key.pem"), sane)?;
        let provider = Arc::new(default_provider());
        let failed =
            |error: &dyn std::fmt::Display| Failure::new(format!("Unable to use credentials: {error}"));
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().map_err(|error| failed(&error))?;
        let builder = match verifies {
            true => {
                let verifier = verifier(authority, revoked, provider).map_err(|error| failed(&error))?;
                builder.with_webpki_verifier(verifier)
            }
            false => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyPeer::new(&provider))),
        };
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => builder.with_client_auth_cert(own.certificates, own.key).map_err(|error| {
                let (certificate, key) = (file("client-cert.pem"), file("client-key.pem"));
                let error = match error {
                    rustls::Error::InconsistentKeys(_) => {
                        "The certificate and the given key do not match.".to_owned()
                    }
                    other => other.to_string(),
                };
                Failure::new(format!("Cannot load certificate '{certificate}' & key '{key}': {error}"))
            })?,
        };
        config.enable_sni = verifies;
        Ok(Self { config: Arc::new(config), verifies })
    }

    /// For a connection to `host`; where there is no name, nobody is trusted, unless everybody is.
    pub(super) fn for_host(&self, host: Option<&str>) -> Arc<dyn TlsCredentials> {
        Arc::new(ForHost::new(Arc::clone(&self.config), host, self.verifies))
    }
}

/// Who this is.
struct Own {
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

fn verifier(
    authority: RootCertStore,
    revoked: Vec<CertificateRevocationListDer<'static>>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, rustls::client::VerifierBuilderError> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(authority), provider)
        .with_crls(revoked)
        // An authority need not have a list, and an old list is better than none.
        .allow_unknown_revocation_status()
        .build()
}

fn authority(path: &str, sane: bool) -> Result<RootCertStore, Failure> {
    let unusable = || Failure::new(format!("Unable to import CA certificate list {path}"));
    let text = read(path)?.ok_or_else(|| {
        Failure::new(format!("Unable to access credentials {path}: No such file or directory"))
    })?;
    let mut store = RootCertStore::empty();
    for certificate in certificates(&text).ok_or_else(unusable)? {
        if sane {
            Validity::of(&certificate).ok_or_else(unusable)?.check("CA", path)?;
        }
        store.add(certificate).map_err(|_| unusable())?;
    }
    match store.is_empty() {
        true => Err(unusable()),
        false => Ok(store),
    }
}

fn revoked(path: &str) -> Result<Vec<CertificateRevocationListDer<'static>>, Failure> {
    let Some(text) = read(path)? else { return Ok(Vec::new()) };
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&text).collect();
    match lists {
        Ok(lists) if !lists.is_empty() => Ok(lists),
        _ => Err(Failure::new(format!("Unable to import certificate revocation list {path}"))),
    }
}

fn own(certificate_path: &str, key_path: &str, sane: bool) -> Result<Option<Own>, Failure> {
    let (Some(text), Some(key)) = (read(certificate_path)?, read(key_path)?) else { return Ok(None) };
    let unusable = |path: &str| Failure::new(format!("Unable to import {path}"));
    let certificates = certificates(&text).ok_or_else(|| unusable(certificate_path))?;
    if sane {
        let first = certificates.first().and_then(Validity::of);
        first.ok_or_else(|| unusable(certificate_path))?.check("client", certificate_path)?;
    }
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| unusable(key_path))?;
    Ok(Some(Own { certificates, key }))
}

fn certificates(text: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>().ok()
}

/// What is in a file, if there is one.
fn read(path: &str) -> Result<Option<Vec<u8>>, Failure> {
    match std::fs::read(bytes::path(path)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let words = words::of_system(&error);
            Err(Failure::new(format!("Unable to access credentials {path}: {words}")))
        }
    }
}
