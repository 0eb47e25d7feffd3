//! The files that describe clouds: where they are looked for, and how they are laid over each other.
//!
//! Of each kind the *first* file found counts; files of one kind are not merged. `secure.yaml` is looked for by
//! itself: it may come from another folder than `clouds.yaml`, and is laid over it, key by key.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::Environment;
use crate::error::{Advise, Context, bail, err};

/// As written by people and by other programs.
const SUFFIXES: &[&str] = &["yaml", "yml", "json"];

/// A description of clouds is some kilobytes.
const SIZE_LIMIT: u64 = 4 << 20;

/// What was found.
#[derive(Debug)]
pub(super) struct Files {
    clouds: Map<String, Value>,
    public: Map<String, Value>,
    path: Option<PathBuf>,
    searched: Vec<PathBuf>,
}

impl Files {
    /// Looks for all three kinds and reads what is there.
    pub(super) fn read(environment: &Environment) -> crate::Result<Self> {
        let dirs = search_path(environment);
        let clouds = find(environment, "OS_CLIENT_CONFIG_FILE", "clouds", &dirs)?;
        let secure = find(environment, "OS_CLIENT_SECURE_FILE", "secure", &dirs)?;
        let public = find(environment, "OS_CLIENT_VENDOR_FILE", "clouds-public", &dirs)?;
        let mut all = clouds.as_ref().map(|path| load(path)).transpose()?.unwrap_or_default();
        if let Some(path) = &secure {
            merge(&mut all, load(path)?);
        }
        Ok(Self {
            clouds: section(all, "clouds"),
            public: public
                .as_ref()
                .map(|path| load(path))
                .transpose()?
                .map(|all| section(all, "public-clouds"))
                .unwrap_or_default(),
            path: clouds,
            searched: dirs,
        })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.clouds.contains_key(name)
    }

    /// Where the clouds come from, for messages.
    pub(super) fn place(&self) -> String {
        self.path.as_ref().map_or_else(|| "secure.yaml".to_owned(), |path| path.display().to_string())
    }

    pub(super) fn only_cloud(&self) -> crate::Result<String> {
        let mut names = self.clouds.keys();
        match (names.next(), names.next()) {
            (Some(name), None) => Ok(name.clone()),
            (None, _) => self.none(),
            (Some(_), Some(_)) => Err(err!("{} describes several clouds", self.place()))
                .hint(|| format!("choose one with --cloud or OS_CLOUD: {}", self.names())),
        }
    }

    /// The entry of a cloud, laid over the profile it names.
    pub(super) fn entry(&self, name: &str) -> crate::Result<Map<String, Value>> {
        let Some(entry) = self.clouds.get(name) else {
            if self.clouds.is_empty() {
                return self.none();
            }
            let nearest = self
                .clouds
                .keys()
                .max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
            return Err(err!("cloud {name:?} was not found in {}", self.place())).hint(|| {
                let meant = nearest.map_or(String::new(), |near| format!("did you mean {near:?}? "));
                format!("{meant}it describes: {}", self.names())
            });
        };
        let Value::Object(entry) = entry else { bail!("cloud {name:?} in {} is no table", self.place()) };
        let Some(profile) = entry.get("profile").or_else(|| entry.get("cloud")).and_then(Value::as_str)
        else {
            return Ok(entry.clone());
        };
        let Some(Value::Object(below)) = self.public.get(profile) else {
            return Err(err!("cloud {name:?} is based on the profile {profile:?}, which was not found"))
                .hint(|| {
                    format!(
                        "describe it in a clouds-public.yaml, or write its auth_url into {}",
                        self.place()
                    )
                });
        };
        let mut merged = below.clone();
        merge(&mut merged, entry.clone());
        Ok(merged)
    }

    fn none<T>(&self) -> crate::Result<T> {
        let searched: Vec<String> = self.searched.iter().map(|dir| dir.display().to_string()).collect();
        Err(err!("no cloud is described: there is no clouds.yaml in {}", searched.join(", ")))
            .hint(|| "download clouds.yaml from your cloud's dashboard to ~/.config/openstack, or source its openrc file")
    }

    fn names(&self) -> String {
        self.clouds.keys().cloned().collect::<Vec<_>>().join(", ")
    }
}

/// Where files are looked for, the first place first.
fn search_path(environment: &Environment) -> Vec<PathBuf> {
    let config = environment.variable("XDG_CONFIG_HOME").map(PathBuf::from);
    let config = config.or_else(|| environment.home.as_ref().map(|home| home.join(".config")));
    let mut dirs = vec![environment.current_dir.clone()];
    dirs.extend(config.map(|dir| dir.join("openstack")));
    dirs.extend(environment.system_dirs.iter().cloned());
    dirs
}

/// The file that a variable names, else the first in the search path.
fn find(
    environment: &Environment,
    variable: &str,
    stem: &str,
    dirs: &[PathBuf],
) -> crate::Result<Option<PathBuf>> {
    if let Some(named) = environment.variable(variable) {
        let path = environment.current_dir.join(named);
        if path.is_file() {
            return Ok(Some(path));
        }
    }
    let candidates =
        dirs.iter().flat_map(|dir| SUFFIXES.iter().map(move |s| dir.join(format!("{stem}.{s}"))));
    Ok(candidates.into_iter().find(|path| path.is_file()))
}

fn load(path: &Path) -> crate::Result<Map<String, Value>> {
    let size = std::fs::metadata(path).with_context(|| format!("reading {}", path.display()))?.len();
    if size > SIZE_LIMIT {
        bail!("{} is {size} bytes long: no description of clouds is", path.display());
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    // The parser's own message would quote the lines around a mistake, and passwords stand there.
    let value: Value = serde_saphyr::from_str(&text).map_err(|error| {
        let place = error.location().map_or(String::new(), |at| format!(", line {}", at.line()));
        err!("{}{place}: this is no YAML", path.display())
    })?;
    match value {
        Value::Object(map) => Ok(map),
        Value::Null => Ok(Map::new()),
        _ => bail!("{} is no table of clouds", path.display()),
    }
}

fn section(mut all: Map<String, Value>, name: &str) -> Map<String, Value> {
    match all.remove(name) {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// Lays `over` over `below`: tables key by key, everything else as a whole.
fn merge(below: &mut Map<String, Value>, over: Map<String, Value>) {
    for (key, value) in over {
        match (below.get_mut(&key), value) {
            (Some(Value::Object(below)), Value::Object(over)) => merge(below, over),
            (_, value) => drop(below.insert(key, value)),
        }
    }
}
