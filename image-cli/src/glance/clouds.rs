//! Which cloud, and as whom: `clouds.yaml`, `secure.yaml` and the `OS_*` variables.
//!
//! ```text
//! argument ─► OS_CLOUD ─► "envvars" if an OS_* authentication variable is set ─► the only cloud of the file
//!                                                                                      │
//! clouds-public.yaml (profile)  ◄── clouds.yaml (first found) ◄── secure.yaml (first found, found by itself)
//! ```
//!
//! The rules are those of openstacksdk's `OpenStackConfig`: a cloud that is named comes from the file, and the
//! `OS_*` variables beside it are ignored. The `openstack` command lets them override the file; who has both set
//! is warned.

mod files;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::http::Trust;
use super::route::Route;
use super::secret::Secret;
use crate::error::{Advise, Context, bail, err};
use crate::variables::Variables;
use files::Files;

/// The name of the cloud that the `OS_*` variables describe.
const ENVIRONMENT_CLOUD: &str = "envvars";

/// The variables that say who one is.
const AUTH_VARIABLES: &[&str] = &[
    "OS_AUTH_URL",
    "OS_AUTH_TYPE",
    "OS_USERNAME",
    "OS_USER_ID",
    "OS_PASSWORD",
    "OS_PROJECT_NAME",
    "OS_PROJECT_ID",
    "OS_TENANT_NAME",
    "OS_TENANT_ID",
    "OS_DOMAIN_NAME",
    "OS_DOMAIN_ID",
    "OS_USER_DOMAIN_NAME",
    "OS_USER_DOMAIN_ID",
    "OS_PROJECT_DOMAIN_NAME",
    "OS_PROJECT_DOMAIN_ID",
    "OS_TOKEN",
    "OS_APPLICATION_CREDENTIAL_ID",
    "OS_APPLICATION_CREDENTIAL_NAME",
    "OS_APPLICATION_CREDENTIAL_SECRET",
    "OS_SYSTEM_SCOPE",
];

/// A cloud, and who one is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cloud {
    pub(crate) name: String,
    /// Keystone's address, without `/v3` and without a slash at its end.
    pub(crate) auth_url: String,
    pub(crate) auth: Auth,
    pub(crate) scope: Scope,
    pub(crate) region: Option<String>,
    /// In the order of preference.
    pub(crate) interfaces: Vec<String>,
    /// Glance's address, instead of the catalog's.
    pub(crate) image_endpoint: Option<String>,
    pub(crate) trust: Trust,
    pub(crate) route: Route,
}

/// How one proves who one is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Auth {
    Password { user: Named, password: Secret },
    ApplicationCredential { credential: Credential, secret: Secret },
    Token(Secret),
}

impl Auth {
    /// What nobody else may know.
    pub(crate) fn secret(&self) -> &Secret {
        match self {
            Self::Password { password: secret, .. }
            | Self::ApplicationCredential { secret, .. }
            | Self::Token(secret) => secret,
        }
    }
}

/// Which application credential: by its own id, or by its name and its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Credential {
    Id(String),
    Name { name: String, user: Named },
}

/// Something with an id of its own, or a name that is unique in a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    Id(String),
    Name { name: String, domain: Domain },
}

/// A domain, by id or name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Domain {
    Id(String),
    Name(String),
}

/// What the token is to be good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    Project(Named),
    Domain(Domain),
    System,
    /// Whatever the credential itself says.
    Unsaid,
}

/// What the machine has to say: variables and folders. Made up in tests.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    pub(crate) variables: Variables,
    pub(crate) current_dir: PathBuf,
    pub(crate) home: Option<PathBuf>,
    /// `/etc/xdg/openstack` and `/etc/openstack`.
    pub(crate) system_dirs: Vec<PathBuf>,
}

impl Cloud {
    /// One of which nothing is known, for plans.
    pub(crate) fn unknown() -> Self {
        Self {
            name: String::new(),
            auth_url: "http://identity-service.invalid".into(),
            auth: Auth::Token(Secret::new("")),
            scope: Scope::Unsaid,
            region: None,
            interfaces: vec!["public".into()],
            image_endpoint: None,
            trust: Trust::default(),
            route: Route::default(),
        }
    }
}

impl Environment {
    /// What `variables` say, and files in the folders where clouds.yaml is looked for: `current_dir`, beneath `home`, and the
    /// system's.
    pub fn new(variables: &Variables, current_dir: PathBuf, home: Option<PathBuf>) -> Self {
        Self {
            variables: variables.clone(),
            current_dir,
            home,
            system_dirs: vec!["/etc/xdg/openstack".into(), "/etc/openstack".into()],
        }
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.variables.text(name).filter(|value| !value.is_empty())
    }
}

/// A cloud, and what the user should know about how it was found.
#[non_exhaustive]
pub struct Found {
    /// The cloud.
    pub cloud: Cloud,
    /// What may not be as it was meant, for people.
    pub warnings: Vec<String>,
}

/// Whether [`find`] would have a cloud to look for: one is named, described by variables, or the only one there is.
///
/// # Errors
/// Where a file cannot be read.
pub fn is_chosen(wanted: Option<&str>, environment: &Environment) -> crate::Result<bool> {
    let named = wanted.is_some() || environment.variable("OS_CLOUD").is_some();
    let described = || AUTH_VARIABLES.iter().any(|name| environment.variable(name).is_some());
    Ok(named || described() || Files::read(environment)?.only_cloud().is_ok())
}

/// Finds the cloud called `wanted`, or the one that the environment means.
///
/// # Errors
/// Where there is none, several, or one that is not complete.
pub fn find(wanted: Option<&str>, environment: &Environment) -> crate::Result<Found> {
    let files = Files::read(environment)?;
    let set: Vec<&str> =
        AUTH_VARIABLES.iter().copied().filter(|name| environment.variable(name).is_some()).collect();
    let mut warnings = Vec::new();
    let named = wanted.or_else(|| environment.variable("OS_CLOUD"));
    let name = match named {
        Some(name) => name.to_owned(),
        None if !set.is_empty() => ENVIRONMENT_CLOUD.to_owned(),
        None => files.only_cloud()?,
    };
    let entry = if name == ENVIRONMENT_CLOUD && !files.has(&name) {
        from_variables(environment)
    } else {
        if !set.is_empty() {
            warnings.push(format!(
                "{} set, and ignored: cloud {name:?} is taken from {} alone (the openstack command would let \
                 the variables override it)",
                list_of_variables(&set),
                files.place(),
            ));
        }
        files.entry(&name)?
    };
    let cloud = Reader { entry: &entry, environment }
        .cloud(&name)
        .with_context(|| format!("reading cloud {name:?}"))?;
    if cloud.trust.insecure {
        warnings.push(format!(
            "cloud {name:?} turns the verification of certificates off: anyone on the way can read the \
             password and change the image; name the cloud's CA as `cacert:` instead"
        ));
    }
    Ok(Found { cloud, warnings })
}

fn list_of_variables(set: &[&str]) -> String {
    match set {
        [one] => format!("{one} is"),
        [first, .., last] => format!("{first} … {last} are"),
        [] => String::new(),
    }
}

/// The `OS_*` variables in the form of a clouds.yaml entry.
fn from_variables(environment: &Environment) -> Map<String, Value> {
    const TOP: &[(&str, &str)] = &[
        ("OS_AUTH_TYPE", "auth_type"),
        ("OS_REGION_NAME", "region_name"),
        ("OS_INTERFACE", "interface"),
        ("OS_ENDPOINT_TYPE", "interface"),
        ("OS_CACERT", "cacert"),
        ("OS_CERT", "cert"),
        ("OS_KEY", "key"),
        ("OS_INSECURE", "insecure"),
        ("OS_IMAGE_ENDPOINT_OVERRIDE", "image_endpoint_override"),
    ];
    let mut entry = Map::new();
    let mut auth = Map::new();
    for (variable, key) in TOP {
        if let Some(value) = environment.variable(variable) {
            entry.entry(*key).or_insert_with(|| Value::from(value));
        }
    }
    for variable in AUTH_VARIABLES.iter().filter(|name| **name != "OS_AUTH_TYPE") {
        if let Some(value) = environment.variable(variable) {
            let key = variable.trim_start_matches("OS_").to_ascii_lowercase();
            auth.insert(key, Value::from(value));
        }
    }
    entry.insert("auth".into(), Value::Object(auth));
    entry
}

/// Reads one entry of `clouds:`.
struct Reader<'a> {
    entry: &'a Map<String, Value>,
    environment: &'a Environment,
}

impl Reader<'_> {
    fn cloud(&self, name: &str) -> crate::Result<Cloud> {
        let auth_url = self.auth("auth_url").context("it has no auth_url").hint(
            || "the address of Keystone belongs to the cloud's `auth:` in clouds.yaml, or into OS_AUTH_URL",
        )?;
        if !auth_url.starts_with("http://") && !auth_url.starts_with("https://") {
            bail!("its auth_url {auth_url:?} is no http or https address");
        }
        Ok(Cloud {
            name: name.to_owned(),
            auth_url: without_version(&auth_url, &["/v3", "/v2.0"]),
            auth: self.credentials()?,
            scope: self.scope()?,
            region: self.region(),
            interfaces: self.interfaces(),
            image_endpoint: self
                .text("image_endpoint_override")
                .map(|url| without_version(&url, IMAGE_VERSIONS)),
            trust: self.trust(),
            route: Route::new(&self.environment.variables),
        })
    }

    fn text(&self, key: &str) -> Option<String> {
        self.entry.get(key).and_then(scalar)
    }

    /// From `auth:`; the SDK takes these keys from the entry itself as well.
    fn auth(&self, key: &str) -> Option<String> {
        self.entry.get("auth").and_then(|auth| auth.get(key)).and_then(scalar).or_else(|| self.text(key))
    }

    fn credentials(&self) -> crate::Result<Auth> {
        let has = |key: &str| self.auth(key).is_some();
        let said = self.text("auth_type");
        let kind = said.as_deref().unwrap_or(match () {
            () if has("application_credential_id") || has("application_credential_name") => {
                "v3applicationcredential"
            }
            () if has("token") => "v3token",
            () => "password",
        });
        match kind {
            "password" | "v3password" => {
                Ok(Auth::Password { user: self.user()?, password: self.required_secret("password")? })
            }
            "v3applicationcredential" => {
                let credential = match self.auth("application_credential_id") {
                    Some(id) => Credential::Id(id),
                    None => Credential::Name {
                        name: self.auth("application_credential_name").context(
                            "it has neither application_credential_id nor application_credential_name",
                        )?,
                        user: self.user()?,
                    },
                };
                let secret = self.required_secret("application_credential_secret")?;
                Ok(Auth::ApplicationCredential { credential, secret })
            }
            "token" | "v3token" => Ok(Auth::Token(self.required_secret("token")?)),
            other => Err(err!("its auth_type {other:?} is not supported")).hint(|| {
                "password, v3applicationcredential and v3token are; an application credential replaces \
                          single sign-on: openstack application credential create goldimg"
            }),
        }
    }

    fn required_secret(&self, key: &str) -> crate::Result<Secret> {
        self.auth(key).map(Secret::new).with_context(|| format!("it has no {key}")).hint(|| {
            format!("put it into secure.yaml beside clouds.yaml, under the same cloud's `auth: {key}:`")
        })
    }

    fn domain(&self, prefix: &str) -> Option<Domain> {
        let by_id = self.auth(&format!("{prefix}_id")).map(Domain::Id);
        by_id.or_else(|| self.auth(&format!("{prefix}_name")).map(Domain::Name))
    }

    /// The domain where none is said: `default_domain`, else the one every Keystone has.
    fn default_domain(&self) -> Domain {
        let shared = self.auth("default_domain").or_else(|| self.auth("default_domain_id")).map(Domain::Id);
        shared.unwrap_or_else(|| Domain::Id("default".into()))
    }

    fn user(&self) -> crate::Result<Named> {
        if let Some(id) = self.auth("user_id") {
            return Ok(Named::Id(id));
        }
        let name = self.auth("username").or_else(|| self.auth("user_name")).context("it has no username")?;
        Ok(Named::Name { name, domain: self.domain("user_domain").unwrap_or_else(|| self.default_domain()) })
    }

    fn scope(&self) -> crate::Result<Scope> {
        if self.auth("system_scope").is_some() {
            return Ok(Scope::System);
        }
        if let Some(id) = self.auth("project_id").or_else(|| self.auth("tenant_id")) {
            return Ok(Scope::Project(Named::Id(id)));
        }
        if let Some(name) = self.auth("project_name").or_else(|| self.auth("tenant_name")) {
            let domain = self.domain("project_domain").or_else(|| self.domain("user_domain"));
            let domain = domain.unwrap_or_else(|| self.default_domain());
            return Ok(Scope::Project(Named::Name { name, domain }));
        }
        Ok(self.domain("domain").map_or(Scope::Unsaid, Scope::Domain))
    }

    fn region(&self) -> Option<String> {
        self.text("region_name").or_else(|| match self.entry.get("regions")?.as_array()?.first()? {
            Value::Object(region) => region.get("name").and_then(scalar),
            name => scalar(name),
        })
    }

    /// "public" also where it is written "publicURL", as older files do.
    fn interfaces(&self) -> Vec<String> {
        let said =
            ["image_interface", "interface", "endpoint_type"].iter().find_map(|key| self.entry.get(*key));
        let names: Vec<String> = match said {
            Some(Value::Array(names)) => names.iter().filter_map(scalar).collect(),
            Some(name) => scalar(name).into_iter().collect(),
            None => Vec::new(),
        };
        let names: Vec<String> =
            names.iter().map(|name| name.strip_suffix("URL").unwrap_or(name).to_owned()).collect();
        if names.is_empty() { vec!["public".into()] } else { names }
    }

    fn trust(&self) -> Trust {
        let truth = |key: &str| self.text(key).map(|text| is_true(&text));
        let insecure = truth("insecure") == Some(true) || truth("verify") == Some(false);
        let path = |key: &str| self.text(key).map(|text| self.expand(&text));
        Trust {
            insecure,
            ca_file: path("cacert").filter(|_| !insecure),
            client_cert: path("cert").map(|cert| (cert, path("key"))),
        }
    }

    /// With a leading `~` replaced by the home directory.
    fn expand(&self, path: &str) -> PathBuf {
        match (path.strip_prefix("~/"), &self.environment.home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => self.environment.current_dir.join(Path::new(path)),
        }
    }
}

/// The versions that Glance's address may end in.
pub(crate) const IMAGE_VERSIONS: &[&str] = &["/v1", "/v2"];

/// An address without its version and without a slash at its end.
pub(crate) fn without_version(url: &str, versions: &[&str]) -> String {
    let url = url.trim_end_matches('/');
    let bare = versions.iter().find_map(|version| url.strip_suffix(version)).unwrap_or(url);
    bare.trim_end_matches('/').to_owned()
}

/// YAML reads `password: 123456` as a number; it is meant as text.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

fn is_true(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "true" | "1" | "yes" | "on")
}

#[cfg(test)]
mod tests;
