//! Which cloud is meant, and how it is reached: files, variables and their precedence.

use std::fs;

use tempfile::TempDir;

use super::*;

const CLOUDS: &str = "
clouds:
  demo:
    auth:
      auth_url: http://keystone:5000/v3/
      username: demo
      project_name: demo
      user_domain_name: Default
      project_domain_name: Default
    region_name: RegionOne
  other:
    auth: { auth_url: 'https://other/identity', username: x, password: 12345, project_id: abc }
    interface: [internalURL, public]
    cacert: ~/ca.pem
";

/// A machine with these files (below its folder) and variables.
struct Machine {
    dir: TempDir,
    environment: Environment,
}

impl Machine {
    fn new(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Self {
        let dir = TempDir::new().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("cwd")).unwrap();
        let variables = variables
            .iter()
            .map(|(name, value)| (*name, value.replace("DIR", dir.path().to_str().unwrap())))
            .collect();
        let environment = Environment {
            variables,
            current_dir: at("cwd"),
            home: Some(at("home")),
            system_dirs: vec![at("etc")],
        };
        Self { dir, environment }
    }

    fn find(&self, wanted: Option<&str>) -> crate::Result<Found> {
        super::find(wanted, &self.environment)
    }
}

fn message(result: crate::Result<Found>) -> String {
    format!("{:#}", result.map(|found| found.cloud).unwrap_err())
}

const SECURE: &str = "clouds: { demo: { auth: { password: s3cret } } }";

#[test]
fn a_secret_file_is_laid_over_the_first_file_found() {
    let machine = Machine::new(
        &[
            ("home/.config/openstack/clouds.yaml", CLOUDS),
            ("cwd/secure.yaml", SECURE),
            ("etc/clouds.yaml", "clouds: {}"),
        ],
        &[],
    );
    let found = machine.find(Some("demo")).unwrap();
    assert!(found.warnings.is_empty());
    let domain = Domain::Name("Default".into());
    assert_eq!(
        found.cloud,
        Cloud {
            name: "demo".into(),
            auth_url: "http://keystone:5000".into(),
            auth: Auth::Password {
                user: Named::Name { name: "demo".into(), domain: domain.clone() },
                password: Secret::new("s3cret"),
            },
            scope: Scope::Project(Named::Name { name: "demo".into(), domain }),
            region: Some("RegionOne".into()),
            interfaces: vec!["public".into()],
            image_endpoint: None,
            trust: Trust::default(),
            route: Route::default(),
        }
    );
}

#[test]
fn numbers_are_text_and_interfaces_a_list() {
    let machine = Machine::new(&[("cwd/clouds.yml", CLOUDS)], &[]);
    let cloud = machine.find(Some("other")).unwrap().cloud;
    assert_eq!(cloud.interfaces, ["internal", "public"]);
    assert_eq!(cloud.auth_url, "https://other/identity");
    assert_eq!(cloud.trust.ca_file, Some(machine.dir.path().join("home/ca.pem")));
    assert!(matches!(cloud.auth, Auth::Password { password, .. } if password == Secret::new("12345")));
}

#[test]
fn a_named_cloud_ignores_the_variables_and_says_so() {
    let machine = Machine::new(
        &[("home/clouds.yaml", CLOUDS), ("cwd/secure.yaml", SECURE)],
        &[("OS_CLIENT_CONFIG_FILE", "DIR/home/clouds.yaml"), ("OS_CLOUD", "demo"), ("OS_USERNAME", "reader")],
    );
    let found = machine.find(None).unwrap();
    assert!(
        matches!(&found.cloud.auth, Auth::Password { user: Named::Name { name, .. }, .. } if name == "demo")
    );
    assert_eq!(found.warnings.len(), 1);
    assert!(found.warnings[0].starts_with("OS_USERNAME is set, and ignored"), "{}", found.warnings[0]);
}

#[test]
fn variables_alone_are_a_cloud() {
    let machine = Machine::new(
        &[("cwd/clouds.yaml", CLOUDS)],
        &[
            ("OS_AUTH_URL", "http://k:5000/v3"),
            ("OS_APPLICATION_CREDENTIAL_ID", "id"),
            ("OS_APPLICATION_CREDENTIAL_SECRET", "hush"),
            ("OS_REGION_NAME", "R"),
        ],
    );
    let found = machine.find(None).unwrap();
    assert_eq!(found.cloud.name, "envvars");
    assert_eq!(found.cloud.scope, Scope::Unsaid);
    assert_eq!(
        found.cloud.auth,
        Auth::ApplicationCredential { credential: Credential::Id("id".into()), secret: Secret::new("hush") }
    );
    assert!(!format!("{:?}", found.cloud).contains("hush"));
}

#[test]
fn what_is_missing_or_ambiguous_is_said() {
    let machine = Machine::new(&[("cwd/clouds.yaml", CLOUDS)], &[("OS_REGION_NAME", "R")]);
    assert!(message(machine.find(None)).contains("several clouds"));
    assert!(message(machine.find(Some("nope"))).contains("cloud \"nope\" was not found"));
    assert!(message(machine.find(Some("demo"))).ends_with("it has no password"));
    let empty = Machine::new(&[], &[]);
    assert!(message(empty.find(None)).starts_with("no cloud is described"));
    let only_user = Machine::new(&[], &[("OS_USERNAME", "demo")]);
    assert!(message(only_user.find(None)).ends_with("it has no auth_url"));
    let strange = Machine::new(
        &[("cwd/clouds.yaml", "clouds: { c: { auth_type: v3totp, auth: { auth_url: 'http://k' } } }")],
        &[],
    );
    assert!(message(strange.find(None)).contains("auth_type \"v3totp\" is not supported"));
}

#[test]
fn a_broken_file_is_named_without_quoting_it() {
    let machine = Machine::new(&[("cwd/clouds.yaml", "clouds:\n  a:\n    password: \"hunter2\n")], &[]);
    let error = message(machine.find(None));
    assert!(error.contains("clouds.yaml") && !error.contains("hunter2"), "{error}");
}

#[test]
fn insecure_is_believed_and_warned_about() {
    let entry = "clouds: { c: { verify: false, cacert: /ca, auth: { auth_url: 'https://k', username: u, \
                 password: p, project_name: p } } }";
    let found = Machine::new(&[("cwd/clouds.yaml", entry)], &[]).find(None).unwrap();
    assert!(found.cloud.trust.insecure && found.cloud.trust.ca_file.is_none());
    assert!(found.warnings[0].contains("verification of certificates off"));
}

#[test]
fn a_profile_lies_below_its_cloud() {
    let machine = Machine::new(
        &[
            ("cwd/clouds.yaml", "clouds: { c: { profile: big, auth: { username: u, password: p } } }"),
            (
                "etc/clouds-public.yaml",
                "public-clouds: { big: { auth: { auth_url: 'https://big' }, region_name: R1 } }",
            ),
        ],
        &[],
    );
    let cloud = machine.find(None).unwrap().cloud;
    assert_eq!((cloud.auth_url.as_str(), cloud.region.as_deref()), ("https://big", Some("R1")));
}

#[test]
fn addresses_lose_their_version() {
    for (url, bare) in
        [("http://a/v3", "http://a"), ("http://a/v3/", "http://a"), ("http://a:1/id/", "http://a:1/id")]
    {
        assert_eq!(without_version(url, &["/v3"]), bare);
    }
    assert_eq!(without_version("http://g:9292/v2/", IMAGE_VERSIONS), "http://g:9292");
}
