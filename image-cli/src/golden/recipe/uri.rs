//! The address of an archive, and the name and password that let one in.
//!
//! ```text
//! https://ann:secret@packages.example/debian ─► https://packages.example/debian   in images, logs, plans, identities
//!                                            └► ann, secret                       for the build's apt alone
//! ```

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// An archive's address. Shown, written and compared in hashes without its credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Uri {
    plain: String,
    credentials: Option<Credentials>,
}

/// Who asks for packages.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Credentials {
    login: String,
    password: String,
}

/// Nothing of them: they are secret.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

impl Uri {
    /// Takes an address of sources.list(5) apart.
    pub fn new(text: &str) -> Self {
        let plain = |text: &str| Self { plain: text.to_owned(), credentials: None };
        let Some((scheme, rest)) = text.split_once("://") else { return plain(text) };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let Some((user, host)) = authority.rsplit_once('@') else { return plain(text) };
        let (login, password) = user.split_once(':').unwrap_or((user, ""));
        Self {
            plain: format!("{scheme}://{host}{path}"),
            credentials: Some(Credentials { login: decoded(login), password: decoded(password) }),
        }
    }

    /// The address without credentials.
    pub(crate) fn as_str(&self) -> &str {
        &self.plain
    }

    /// The credentials alone, if there are any.
    pub(crate) fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// `NAME:PASSWORD`, if there are credentials, as HTTP has them (RFC 7617, 2).
    pub(crate) fn name_and_password(&self) -> Option<String> {
        self.credentials.as_ref().map(|one| format!("{}:{}", one.login, one.password))
    }

    /// The same address with these credentials.
    pub(crate) fn with_credentials(self, credentials: Option<Credentials>) -> Self {
        Self { credentials, ..self }
    }

    /// Whether there are credentials.
    pub(crate) fn is_private(&self) -> bool {
        self.credentials.is_some()
    }

    /// Whether it names files of the machine that reads it.
    pub(crate) fn is_local(&self) -> bool {
        ["file:", "copy:"].iter().any(|scheme| self.plain.starts_with(scheme))
    }

    /// The same archive for a build: packages that are files of this machine are copied, for dpkg in the tree does not
    /// see the ones that `file:` leaves where they are (sources.list(5), "URI SPECIFICATION").
    pub(crate) fn for_build(&self) -> Self {
        match self.plain.strip_prefix("file:") {
            Some(path) => Self { plain: format!("copy:{path}"), credentials: None },
            None => self.clone(),
        }
    }

    /// The entry of apt_auth.conf(5) for it, if it has credentials.
    pub(crate) fn auth_entry(&self) -> Option<String> {
        let Credentials { login, password } = self.credentials.as_ref()?;
        // With its scheme: without one, apt gives passwords to https only.
        let machine = self.plain.trim_end_matches('/');
        Some(format!("machine {machine} login {login} password {password}\n"))
    }

    /// Whether the credentials can be written for apt: words between spaces.
    pub(crate) fn can_be_told(&self) -> bool {
        let word = |text: &str| {
            !text.is_empty()
                && !text.starts_with('#')
                && text.chars().all(|c| !c.is_whitespace() && !c.is_control())
        };
        self.credentials.as_ref().is_none_or(|one| word(&one.login) && word(&one.password))
    }
}

/// As it may be shown to anybody.
impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.plain)
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.plain)
    }
}

impl Serialize for Uri {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.plain)
    }
}

/// As [`Uri::new`] takes it: an address that was shown has no credentials any more.
impl<'de> Deserialize<'de> for Uri {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self::new(&text))
    }
}

/// The text with `%2f` and the like resolved (RFC 3986, 2.1). What is no UTF-8 then stays as it was.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        let byte = match (first, more) {
            (b'%', [high, low, ..]) => {
                std::str::from_utf8(&[*high, *low]).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok())
            }
            _ => None,
        };
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { more.get(2..).unwrap_or_default() } else { more };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// The text with a star for each byte of a password in an address: every place in it stays where it was.
pub(crate) fn masked(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        shown.push_str(before);
        shown.push_str("://");
        let end = after.find(|c: char| c == '/' || c == '"' || c == '\'' || c.is_whitespace());
        let (authority, more) = after.split_at(end.unwrap_or(after.len()));
        match authority.rsplit_once('@') {
            Some((user, host)) => {
                let (login, password) = user.split_once(':').unwrap_or((user, ""));
                shown.push_str(login);
                if user.len() > login.len() {
                    shown.push(':');
                }
                shown.push_str(&"*".repeat(password.len()));
                shown.push('@');
                shown.push_str(host);
            }
            None => shown.push_str(authority),
        }
        rest = more;
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_apts_alone() {
        let address = Uri::new("https://ann:s%40cr%2ft@packages.example:8443/debian/");
        assert_eq!(address.as_str(), "https://packages.example:8443/debian/");
        assert_eq!(
            address.auth_entry().unwrap(),
            "machine https://packages.example:8443/debian login ann password s@cr/t\n"
        );
        for shown in [format!("{address} {address:?}"), serde_json::to_string(&address).unwrap()] {
            assert!(!shown.contains("s@cr") && !shown.contains("s%40") && !shown.contains("ann"), "{shown}");
        }
        assert!(address.is_private() && address.can_be_told());
        for text in ["https://packages.example/a@b", "file:///srv/debian", "http://packages.example"] {
            let address = Uri::new(text);
            assert_eq!((address.as_str(), address.auth_entry(), address.is_private()), (text, None, false));
        }
        assert!(!Uri::new("http://a:b%20c@d/").can_be_told() && !Uri::new("http://a@d/").can_be_told());
        assert_eq!(decoded("100%, %zz, %4"), "100%, %zz, %4");
    }

    #[test]
    fn passwords_are_masked_in_their_places() {
        let text = "a = \"https://ann:sécret@host/x\" # http://b/c@d https://e:f@g";
        let shown = masked(text);
        assert_eq!(shown, "a = \"https://ann:*******@host/x\" # http://b/c@d https://e:*@g");
        assert_eq!(shown.len(), text.len());
    }
}
