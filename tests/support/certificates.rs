//! Certificates of an authority that exists for one test, made by OpenSSL.

use std::fs;
use std::path::{Path, PathBuf};

use super::peer::Peer;

/// An authority, and its folder.
pub(crate) struct Authority<'a> {
    openssl: &'a Peer,
    folder: PathBuf,
}

impl<'a> Authority<'a> {
    /// A new one in the new folder `folder`; its certificate ends after so many days, which may be over.
    pub(crate) fn new(openssl: &'a Peer, folder: &Path, days: i32) -> Self {
        fs::create_dir_all(folder).expect("a new folder");
        let authority = Self { openssl, folder: folder.to_owned() };
        let request = authority.request("ca", "/CN=authority");
        fs::write(authority.path("ca.ext"), "basicConstraints=critical,CA:true\n").expect("a new file");
        authority.sign(&request, &["-signkey", "ca-key.pem", "-extfile", "ca.ext"], days, "ca-cert.pem");
        authority
    }

    /// The path of a file in its folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A folder `name` as QEMU's tools take it, of a `server` or a `client` with these alternative names.
    pub(crate) fn issue(&self, name: &str, role: &str, names: &str, days: i32) -> PathBuf {
        let folder = self.trusting(name);
        let request = self.request(name, &format!("/CN={name}"));
        let extensions = format!("{name}.ext");
        let text = format!("extendedKeyUsage={role}Auth\nsubjectAltName={names}\n");
        fs::write(self.path(&extensions), text).expect("a new file");
        let words =
            ["-CA", "ca-cert.pem", "-CAkey", "ca-key.pem", "-CAcreateserial", "-extfile", &extensions];
        self.sign(&request, &words, days, &format!("{name}-cert.pem"));
        for part in ["cert", "key"] {
            let from = self.path(&format!("{name}-{part}.pem"));
            fs::copy(from, folder.join(format!("{role}-{part}.pem"))).expect("a copy");
        }
        folder
    }

    /// A folder `name` with nothing but whom to trust.
    pub(crate) fn trusting(&self, name: &str) -> PathBuf {
        let folder = self.path(name);
        fs::create_dir_all(&folder).expect("a new folder");
        fs::copy(self.path("ca-cert.pem"), folder.join("ca-cert.pem")).expect("a copy");
        folder
    }

    /// Adds to `folder` the list of what is revoked, with the certificate of `name` in it, if it is one.
    pub(crate) fn list_revoked(&self, folder: &Path, name: Option<&str>) {
        let text = "[ca]\ndefault_ca=a\n[a]\ndatabase=index.txt\ndefault_md=sha256\ndefault_crl_days=30\n\
                    certificate=ca-cert.pem\nprivate_key=ca-key.pem\ncrlnumber=number.txt\ncrl_extensions=e\n\
                    [e]\nauthorityKeyIdentifier=keyid\n";
        fs::write(self.path("ca.conf"), text).expect("a new file");
        fs::write(self.path("index.txt"), "").expect("a new file");
        fs::write(self.path("number.txt"), "01\n").expect("a new file");
        if let Some(name) = name {
            self.run(&["ca", "-config", "ca.conf", "-revoke", &format!("{name}-cert.pem")]);
        }
        self.run(&["ca", "-config", "ca.conf", "-gencrl", "-out", "crl.pem"]);
        fs::copy(self.path("crl.pem"), folder.join("ca-crl.pem")).expect("a copy");
    }

    fn request(&self, name: &str, subject: &str) -> String {
        let (key, request) = (format!("{name}-key.pem"), format!("{name}.csr"));
        let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let words = [&["req", "-new"][..], &curve, &["-keyout", &key, "-out", &request, "-subj", subject]];
        self.run(&words.concat());
        request
    }

    fn sign(&self, request: &str, words: &[&str], days: i32, certificate: &str) {
        let days = days.to_string();
        let start = ["x509", "-req", "-in", request, "-days", &days, "-out", certificate];
        self.run(&[&start[..], words].concat());
    }

    fn run(&self, words: &[&str]) {
        let outcome = self.openssl.command(words).folder(&self.folder).run();
        assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
    }
}
