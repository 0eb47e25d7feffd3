//! The way to a cloud, as the caller's variables say: through which proxy, and whose certificates are believed.
//!
//! ```text
//! proxy          ALL_PROXY, HTTPS_PROXY, HTTP_PROXY, each in lower case too: the first that names one
//! without it     NO_PROXY, else no_proxy: hosts, .suffixes, *
//! certificates   SSL_CERT_FILE and SSL_CERT_DIR, else what this machine's administrator trusts
//! ```

use std::env;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls_native_certs::load_certs_from_paths;
use ureq::Proxy;

use crate::variables::Variables;

const PROXIES: [&str; 6] =
    ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];
const DIRECT: [&str; 2] = ["NO_PROXY", "no_proxy"];
const FILE: &str = "SSL_CERT_FILE";
const FOLDERS: &str = "SSL_CERT_DIR";

/// Where distributions keep what the administrator trusts, in one file: Debian, RHEL, Fedora, SUSE, Alpine.
const FILES_OF_MACHINES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// And where in a file for each.
const FOLDERS_OF_MACHINES: [&str; 2] = ["/etc/ssl/certs", "/etc/pki/tls/certs"];

/// What variables say of the way, and nothing else of them. It shows their names alone: a proxy's address may hold a password.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Route(Variables);

impl Route {
    /// As `variables` say.
    pub(crate) fn new(variables: &Variables) -> Self {
        let names = PROXIES.iter().chain(&DIRECT).chain([&FILE, &FOLDERS]);
        Self(names.filter_map(|name| Some((*name, variables.value(name)?))).collect())
    }

    /// The proxy, which knows what is reached without it; none if no variable names one that can be used.
    pub(crate) fn proxy(&self) -> Option<Proxy> {
        let said = PROXIES.iter().filter_map(|name| self.0.text(name));
        let proxy = said.filter_map(|address| Proxy::new(address).ok()).next()?;
        let direct = DIRECT.iter().find_map(|name| self.0.text(name)).unwrap_or_default();
        let mut builder = Proxy::builder(proxy.protocol()).host(proxy.host()).port(proxy.port());
        if let Some(username) = proxy.username() {
            builder = builder.username(username);
        }
        if let Some(password) = proxy.password() {
            builder = builder.password(password);
        }
        let hosts = direct.split(',').map(str::trim).filter(|host| !host.is_empty());
        hosts.fold(builder, |builder, host| builder.no_proxy(host)).build().ok()
    }

    /// The certificates that are believed. What cannot be read is left out: a server that only it vouches for is not believed.
    pub(crate) fn certificates(&self) -> Vec<CertificateDer<'static>> {
        let file = self.0.value(FILE).map(PathBuf::from);
        let folders = self.0.value(FOLDERS).unwrap_or_default();
        let folders: Vec<PathBuf> =
            env::split_paths(folders).filter(|path| !path.as_os_str().is_empty()).collect();
        if file.is_some() || !folders.is_empty() {
            return read(file.as_deref(), &folders);
        }
        let there = |path: &&&str| Path::new(path).exists();
        let file = FILES_OF_MACHINES.iter().find(there).map(Path::new);
        let folders: Vec<PathBuf> = FOLDERS_OF_MACHINES.iter().filter(there).map(PathBuf::from).collect();
        read(file, &folders)
    }
}

/// The certificates of a file and of the files in some folders, each once.
fn read(file: Option<&Path>, folders: &[PathBuf]) -> Vec<CertificateDer<'static>> {
    let mut certificates = load_certs_from_paths(file, None).certs;
    for folder in folders {
        certificates.extend(load_certs_from_paths(None, Some(folder)).certs);
    }
    certificates.sort_unstable_by(|one, other| one.as_ref().cmp(other.as_ref()));
    certificates.dedup();
    certificates
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(variables: &[(&str, &str)]) -> Route {
        Route::new(&variables.iter().copied().collect())
    }

    #[test]
    fn the_first_proxy_that_can_be_used_is_and_what_is_reached_without_it_is_known() {
        let proxy = |variables| route(variables).proxy();
        assert!(proxy(&[("NO_PROXY", "*"), ("SSL_CERT_FILE", "/a")]).is_none());
        assert!(proxy(&[("https_proxy", "")]).is_none());
        let found = proxy(&[
            ("http_proxy", "http://second:1"),
            ("HTTPS_PROXY", "http://ann:s%40c@[::1]:3128"),
            ("ALL_PROXY", "what://is this"),
            ("no_proxy", ".example.com, glance"),
        ])
        .unwrap();
        assert_eq!((found.host(), found.port()), ("[::1]", 3128));
        assert_eq!((found.username(), found.password()), (Some("ann"), Some("s@c")));
        let direct = |url: &str| found.is_no_proxy(&url.parse().unwrap());
        assert!(direct("https://glance/v2") && direct("https://a.example.com/"));
        assert!(!direct("https://example.com/"));
        // Upper case counts first, even if it says nothing.
        let both = proxy(&[("all_proxy", "p:1"), ("NO_PROXY", ""), ("no_proxy", "*")]).unwrap();
        assert!(!both.is_no_proxy(&"http://a/".parse().unwrap()));
    }

    #[test]
    fn nothing_else_is_kept_and_no_password_shown() {
        let route = route(&[("https_proxy", "http://ann:secret@p"), ("OS_PASSWORD", "secret")]);
        assert_eq!(format!("{route:?}"), r#"Route({"https_proxy"})"#);
    }

    #[test]
    fn certificates_are_those_of_the_variables_or_the_machines() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().to_str().unwrap();
        assert_eq!(route(&[("SSL_CERT_DIR", folder)]).certificates(), []);
        assert_eq!(route(&[("SSL_CERT_FILE", "/nowhere/a.pem")]).certificates(), []);
        let machines = Route::default().certificates();
        let Some(certificate) = machines.first() else { return };
        let pem = |bytes: &[u8]| {
            use base64::Engine;
            let text = base64::engine::general_purpose::STANDARD.encode(bytes);
            format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
        };
        std::fs::write(dir.path().join("a.pem"), pem(certificate)).unwrap();
        let twice = format!(":{folder}:{folder}");
        assert_eq!(route(&[("SSL_CERT_DIR", &twice)]).certificates(), std::slice::from_ref(certificate));
        let file = dir.path().join("a.pem");
        let file = route(&[("SSL_CERT_FILE", file.to_str().unwrap())]);
        assert_eq!(file.certificates(), std::slice::from_ref(certificate));
    }
}
