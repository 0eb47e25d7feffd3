//! An export of a server as QEMU's nbd driver is told of it: by a name, or by options.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use image_core::format::ProtocolNode;
use image_core::nbd::{Address, AddressRule, Export, ExportOptions, Refusal, Server};
use image_core::{Error, Result};

use crate::qemu_img::failure::Failure;
use crate::qemu_img::{bytes, objects};

/// Options of the driver, but for those below `server.`.
const OPTIONS: [&str; 9] = [
    "host",
    "port",
    "path",
    "export",
    "tls-creds",
    "tls-hostname",
    "x-dirty-bitmap",
    "reconnect-delay",
    "open-timeout",
];

/// An export, and the connection to it once there is one: a server may take no second one, and may end with the first.
#[derive(Debug, Clone)]
pub(super) struct Remote {
    address: Address,
    options: ExportOptions,
    connection: Arc<OnceLock<Arc<Export>>>,
}

impl PartialEq for Remote {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address
    }
}

impl Eq for Remote {}

impl Remote {
    fn new(address: Address) -> Self {
        Self { address, options: ExportOptions::default(), connection: Arc::default() }
    }

    /// What `name` means, if QEMU's driver for it is nbd.
    pub(super) fn parse(name: &str) -> Option<Result<Self, Failure>> {
        let scheme = name.split(':').next().unwrap_or_default();
        // Encrypted ones QEMU has no scheme for.
        let meant = Address::is_meant_by(name) && !scheme.starts_with("nbds");
        meant.then(|| Self::named(name))
    }

    /// What the driver makes of a file's name.
    pub(super) fn named(name: &str) -> Result<Self, Failure> {
        name.parse().map(Self::new).map_err(|rule| Failure::new(words_of(&rule)))
    }

    /// What the driver's options mean.
    pub(super) fn from_options(options: &BTreeMap<&str, String>) -> Result<Self, Failure> {
        let option = |key: &str| options.get(key).map(String::as_str);
        let export = option("export").unwrap_or_default().to_owned();
        let of_server = options.keys().any(|key| key.starts_with("server."));
        let (path, host, port) = (option("path"), option("host"), option("port"));
        let server = match (path, host, of_server) {
            (Some(_), Some(_), _) => {
                return Err(Failure::new("path and host may not be used at the same time"));
            }
            (Some(path), None, _) => Server::Unix(bytes::path(path)),
            (None, Some(host), _) => tcp(host, port.unwrap_or("10809"))?,
            (None, None, true) => server(&option)?,
            (None, None, false) => return Err(Failure::new(words_of(&AddressRule::NoServer))),
        };
        let address = Address::new(server, export).map_err(|rule| Failure::new(words_of(&rule)))?;
        let host = option("tls-hostname").or(match &address.server {
            Server::Tcp { host, .. } => Some(host.as_str()),
            Server::Unix(_) => None,
        });
        let credentials = option("tls-creds").map(|id| objects::credentials(id, host)).transpose()?;
        let options = ExportOptions {
            credentials,
            context: option("x-dirty-bitmap").map(str::to_owned),
            open_for: seconds("open-timeout", option("open-timeout"))?,
            reconnect_for: seconds("reconnect-delay", option("reconnect-delay"))?,
            ..ExportOptions::default()
        };
        Ok(Self { options, ..Self::new(address) })
    }

    /// The name of an option that the driver does not have.
    pub(super) fn unknown<'a>(mut options: impl Iterator<Item = &'a str>) -> Option<&'a str> {
        options.find(|key| !OPTIONS.contains(key) && !key.starts_with("server."))
    }

    /// The name as QEMU shows it.
    pub(super) fn shown(&self) -> String {
        self.address.to_string()
    }

    /// The connection.
    pub(super) fn medium(&self) -> Result<ProtocolNode> {
        if let Some(export) = self.connection.get() {
            return Ok(Arc::clone(export).into());
        }
        let export = Arc::new(Export::open(&self.address, &self.options)?);
        Ok(Arc::clone(self.connection.get_or_init(|| export)).into())
    }

    /// The connection, for writing too.
    pub(super) fn medium_to_write(&self) -> Result<ProtocolNode> {
        let medium = self.medium()?;
        match self.connection.get().is_some_and(|export| export.is_read_only()) {
            true => Err(Error::from(Refusal::ReadOnly)),
            false => Ok(medium),
        }
    }
}

/// The options below `server.`.
fn server<'a>(option: &impl Fn(&str) -> Option<&'a str>) -> Result<Server, Failure> {
    let needed = |key: &str| {
        option(&format!("server.{key}")).ok_or_else(|| Failure::new(format!("Parameter '{key}' is missing")))
    };
    match needed("type")? {
        "unix" => Ok(Server::Unix(bytes::path(needed("path")?))),
        "inet" => tcp(needed("host")?, needed("port")?),
        kind @ ("vsock" | "fd") => {
            Err(Failure::new(format!("goldimg does not connect to a server of type '{kind}'")))
        }
        kind => Err(Failure::new(format!("Parameter 'type' does not accept value '{kind}'"))),
    }
}

fn tcp(host: &str, port: &str) -> Result<Server, Failure> {
    let failed = || {
        Failure::new(format!(
            "address resolution failed for {host}:{port}: Servname not supported for ai_socktype"
        ))
    };
    Ok(Server::Tcp { host: host.to_owned(), port: port.parse().map_err(|_| failed())? })
}

/// A number of seconds; none where there is none. Of a larger number QEMU keeps 32 bits.
fn seconds(key: &str, value: Option<&str>) -> Result<Duration, Failure> {
    let value = value.unwrap_or("0");
    let number: i64 =
        value.parse().map_err(|_| Failure::new(format!("Parameter '{key}' expects a number")))?;
    Ok(Duration::from_secs((number as u32).into()))
}

/// QEMU's words.
fn words_of(rule: &AddressRule) -> String {
    match rule {
        AddressRule::Encryption { scheme } => format!("Unknown protocol '{scheme}'"),
        AddressRule::Scheme { .. } => "File name string for NBD must start with 'nbd:'".to_owned(),
        AddressRule::Url { .. } => "No valid URL specified".to_owned(),
        AddressRule::NoServer => "NBD server address missing".to_owned(),
        AddressRule::HostAndPort { text } => format!("error parsing address '{text}'"),
        AddressRule::ExportName { .. } => "export name too long to send to server".to_owned(),
        other => other.to_string(),
    }
}
