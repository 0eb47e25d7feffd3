//! Keystone v3: a token, what it is good for, and where the services are.
//!
//! `POST {auth_url}/v3/auth/tokens` answers 201 with the token in the header `X-Subject-Token` and the catalog in
//! the body (Identity API v3, "Password authentication with scoped authorization" and its neighbours).

use serde::Deserialize;
use serde_json::{Value, json};

use super::clouds::{Auth, Cloud, Credential, Domain, IMAGE_VERSIONS, Named, Scope, without_version};
use super::exchange::{Answer, Exchange, Request, Verb};
use super::retry::patiently;
use super::secret::{HIDDEN, Secret};
use crate::error::{Advise, Context, bail, err};
use crate::monitor::CancellationToken;

/// A token and what Keystone said with it.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) value: Secret,
    pub(crate) facts: Facts,
}

/// The body of Keystone's answer, as far as it matters here.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Facts {
    #[serde(default)]
    catalog: Vec<Service>,
    pub(crate) project: Option<Project>,
}

/// What a token is scoped to.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Project {
    pub(crate) id: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Service {
    #[serde(rename = "type")]
    kind: String,
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Clone, Deserialize)]
struct Endpoint {
    interface: String,
    #[serde(default)]
    region_id: Option<String>,
    #[serde(default)]
    region: Option<String>,
    url: String,
}

/// Asks for a token.
///
/// # Errors
/// Where Keystone cannot be reached or does not believe us.
pub(crate) fn authenticate(
    exchange: &dyn Exchange,
    cloud: &Cloud,
    cancel: &CancellationToken,
) -> crate::Result<Token> {
    let doing = || format!("authenticating at {}", cloud.auth_url);
    let url = format!("{}/v3/auth/tokens", cloud.auth_url);
    let request = match (&cloud.auth, &cloud.scope) {
        // A token that is to stay what it is: asking for a new one would lose its scope.
        (Auth::Token(token), Scope::Unsaid) => Request::new(Verb::Get, url)
            .secret_header("X-Auth-Token", token)
            .secret_header("X-Subject-Token", token),
        (auth, _) => Request::new(Verb::Post, url).secret_json(
            body(cloud, Secret::expose),
            body(cloud, |_| HIDDEN),
            auth.secret(),
        ),
    };
    let answer = patiently(exchange, &request, cancel).with_context(doing)?;
    if !answer.is_success() {
        return refused(cloud, &answer).with_context(doing);
    }
    let value = match answer.header("x-subject-token") {
        Some(token) => Secret::new(token),
        None => bail!("{} answered without a token: is this Keystone?", cloud.auth_url),
    };
    #[derive(Deserialize)]
    struct Body {
        token: Facts,
    }
    let Body { token: facts } = answer.json().with_context(doing)?;
    Ok(Token { value, facts })
}

fn refused<T>(cloud: &Cloud, answer: &Answer) -> crate::Result<T> {
    let error = err!("{}", answer.message());
    match (answer.status, &cloud.auth) {
        (401, Auth::Password { .. }) => Err(error).hint(|| {
            format!("the user, the password or the project of cloud {:?} is wrong: openstack --os-cloud {} token issue",
                cloud.name, cloud.name)
        }),
        (401, Auth::ApplicationCredential { .. }) => Err(error).hint(|| {
            "the application credential is wrong, expired or deleted: openstack application credential list"
        }),
        (401 | 404, Auth::Token(_)) => Err(error).hint(|| "the token has expired: openstack token issue"),
        (404, _) => Err(error).hint(|| format!("is {} really Keystone's address?", cloud.auth_url)),
        _ => Err(error),
    }
}

fn body(cloud: &Cloud, show: impl Fn(&Secret) -> &str) -> Value {
    let identity = match &cloud.auth {
        Auth::Password { user, password } => {
            let mut user = named(user);
            user["password"] = json!(show(password));
            json!({ "methods": ["password"], "password": { "user": user } })
        }
        Auth::ApplicationCredential { credential, secret } => {
            let mut told = match credential {
                Credential::Id(id) => json!({ "id": id }),
                Credential::Name { name, user } => json!({ "name": name, "user": named(user) }),
            };
            told["secret"] = json!(show(secret));
            json!({ "methods": ["application_credential"], "application_credential": told })
        }
        Auth::Token(token) => json!({ "methods": ["token"], "token": { "id": show(token) } }),
    };
    let scope = match (&cloud.auth, &cloud.scope) {
        // It carries its own scope; Keystone refuses another.
        (Auth::ApplicationCredential { .. }, _) | (_, Scope::Unsaid) => None,
        (_, Scope::Project(project)) => Some(json!({ "project": named(project) })),
        (_, Scope::Domain(which)) => Some(json!({ "domain": domain(which) })),
        (_, Scope::System) => Some(json!({ "system": { "all": true } })),
    };
    let mut auth = json!({ "identity": identity });
    if let Some(scope) = scope {
        auth["scope"] = scope;
    }
    json!({ "auth": auth })
}

fn named(what: &Named) -> Value {
    match what {
        Named::Id(id) => json!({ "id": id }),
        Named::Name { name, domain: which } => json!({ "name": name, "domain": domain(which) }),
    }
}

fn domain(which: &Domain) -> Value {
    match which {
        Domain::Id(id) => json!({ "id": id }),
        Domain::Name(name) => json!({ "name": name }),
    }
}

impl Facts {
    /// Where Glance is: without version, without a slash at its end.
    ///
    /// # Errors
    /// Where the catalog has no such endpoint; the hint names what it has.
    pub(crate) fn image_endpoint(&self, cloud: &Cloud) -> crate::Result<String> {
        if let Some(endpoint) = &cloud.image_endpoint {
            return Ok(endpoint.clone());
        }
        if self.catalog.is_empty() {
            return Err(err!("the token of cloud {:?} comes without a catalog", cloud.name))
                .hint(|| "it is not scoped to a project: add project_name to the cloud's auth");
        }
        let endpoints: Vec<&Endpoint> = self
            .catalog
            .iter()
            .filter(|service| service.kind == "image")
            .flat_map(|service| &service.endpoints)
            .collect();
        if endpoints.is_empty() {
            bail!("the catalog of cloud {:?} has no image service", cloud.name);
        }
        let in_region: Vec<&Endpoint> =
            endpoints.iter().copied().filter(|endpoint| endpoint.is_in(cloud.region.as_deref())).collect();
        if in_region.is_empty() {
            let region = cloud.region.as_deref().unwrap_or_default();
            return Err(err!("the image service has no endpoint in region {region:?}"))
                .hint(|| format!("its regions are: {}", distinct(&endpoints, |e| e.region())));
        }
        let found = cloud
            .interfaces
            .iter()
            .find_map(|wanted| in_region.iter().find(|endpoint| endpoint.interface == *wanted));
        match found {
            Some(endpoint) => Ok(without_version(&endpoint.url, IMAGE_VERSIONS)),
            None => Err(err!("the image service has no {} endpoint", cloud.interfaces.join(" or ")))
                .hint(|| format!("its interfaces are: {}", distinct(&in_region, |e| &e.interface))),
        }
    }
}

impl Endpoint {
    fn region(&self) -> &str {
        self.region_id.as_deref().or(self.region.as_deref()).unwrap_or_default()
    }

    fn is_in(&self, region: Option<&str>) -> bool {
        region.is_none_or(|region| self.region() == region)
    }
}

fn distinct<'a>(endpoints: &[&'a Endpoint], what: impl Fn(&'a Endpoint) -> &'a str) -> String {
    let names: std::collections::BTreeSet<&str> = endpoints.iter().map(|endpoint| what(endpoint)).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::glance::http::Trust;
    use crate::glance::route::Route;

    fn cloud() -> Cloud {
        Cloud {
            name: "c".into(),
            auth_url: "http://k".into(),
            auth: Auth::Password {
                user: Named::Name { name: "u".into(), domain: Domain::Id("default".into()) },
                password: Secret::new("hunter2"),
            },
            scope: Scope::Project(Named::Id("p".into())),
            region: None,
            interfaces: vec!["public".into()],
            image_endpoint: None,
            trust: Trust::default(),
            route: Route::default(),
        }
    }

    fn facts() -> Facts {
        serde_json::from_value(json!({ "catalog": [
            { "type": "identity", "endpoints": [] },
            { "type": "image", "endpoints": [
                { "interface": "internal", "region_id": "R1", "region": "R1", "url": "http://in:9292" },
                { "interface": "public", "region_id": "R1", "region": "R1", "url": "http://pub:9292/v2/" },
                { "interface": "public", "region_id": "R2", "region": "R2", "url": "http://two:9292/" },
            ] },
        ] }))
        .unwrap()
    }

    #[test]
    fn an_application_credential_never_sends_a_scope() {
        let mut cloud = cloud();
        assert!(body(&cloud, Secret::expose)["auth"]["scope"]["project"]["id"] == "p");
        cloud.auth = Auth::ApplicationCredential {
            credential: Credential::Id("id".into()),
            secret: Secret::new("hunter2"),
        };
        let sent = body(&cloud, Secret::expose);
        assert!(sent["auth"].get("scope").is_none());
        assert_eq!(
            sent["auth"]["identity"]["application_credential"],
            json!({ "id": "id", "secret": "hunter2" })
        );
        assert!(!body(&cloud, |_| HIDDEN).to_string().contains("hunter2"));
    }

    #[test]
    fn the_endpoint_follows_region_interface_and_override() {
        let mut cloud = cloud();
        assert_eq!(facts().image_endpoint(&cloud).unwrap(), "http://pub:9292");
        cloud.region = Some("R2".into());
        assert_eq!(facts().image_endpoint(&cloud).unwrap(), "http://two:9292");
        cloud.region = Some("r2".into());
        assert!(facts().image_endpoint(&cloud).unwrap_err().to_string().contains("region \"r2\""));
        cloud.region = Some("R1".into());
        cloud.interfaces = vec!["admin".into(), "internal".into()];
        assert_eq!(facts().image_endpoint(&cloud).unwrap(), "http://in:9292");
        cloud.interfaces = vec!["admin".into()];
        assert!(facts().image_endpoint(&cloud).unwrap_err().to_string().contains("no admin endpoint"));
        cloud.image_endpoint = Some("http://here".into());
        assert_eq!(facts().image_endpoint(&cloud).unwrap(), "http://here");
        cloud.image_endpoint = None;
        let unscoped: Facts = serde_json::from_value(json!({})).unwrap();
        assert!(unscoped.image_endpoint(&cloud).is_err());
    }
}
