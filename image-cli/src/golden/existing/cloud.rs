//! An image that a cloud has: found by its name, and fetched with the digest that Glance tells of it.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use image_core::digest::{Algorithm, Digest};

use crate::download::{self, Store, Wanted};
use crate::error::{Advise, Context, bail, err};
use crate::glance::clouds::{self, Environment, Found};
use crate::glance::http::Http;
use crate::glance::session::Session;
use crate::glance::{Image, Status};
use crate::golden::request::Request;
use crate::monitor::Monitor;

/// The image `name` of the cloud that the caller's variables and files mean, in the cache.
///
/// # Errors
/// If there is no such cloud or image, several have that name, or it cannot be fetched.
pub(super) fn fetched(name: &str, request: &Request, monitor: Monitor<'_>) -> crate::Result<PathBuf> {
    let here = std::path::absolute(Path::new(".")).context("looking for clouds.yaml")?;
    let environment = Environment::new(&request.variables, here, request.variables.folder("HOME"));
    let Found { cloud, warnings } = clouds::find(None, &environment)?;
    warnings.iter().for_each(|warning| monitor.warning(warning));
    let http = Http::new(&cloud.trust, &cloud.route)?;
    let session = Session::open(&http, &cloud, monitor.cancel())?;
    let image = one_of(session.images(&[("name", name)])?, name)?;
    let digest = digest_of(&image)?;
    monitor.note(&format!("{}: {} {}", image.title(), digest.algorithm, digest.hex));
    let (url, token) = session.data_of(&image)?;
    let wanted = Wanted { url, secret: Some(("X-Auth-Token", token)), digests: vec![digest] };
    download::fetch(&wanted, &Store::open(&request.cache, SystemTime::now())?, &http, monitor)
}

/// The one that can be used of those that a cloud lists.
fn one_of(images: Vec<Image>, name: &str) -> crate::Result<Image> {
    let is_meant = |image: &Image| {
        image.name.as_deref() == Some(name) && image.status == Status::Active && !image.os_hidden
    };
    let mut fitting: Vec<Image> = images.into_iter().filter(is_meant).collect();
    match (fitting.pop(), fitting.len()) {
        (None, _) => Err(err!("the cloud has no active image called {name:?}"))
            .hint(|| "openstack image list shows what it has"),
        (Some(image), 0) => Ok(image),
        (Some(_), others) => Err(err!("the cloud has {} active images called {name:?}", others + 1))
            .hint(|| "give one of them a name of its own: openstack image set --name NAME ID"),
    }
}

/// What Glance says of its data.
fn digest_of(image: &Image) -> crate::Result<Digest> {
    let algorithm = match image.os_hash_algo.as_deref() {
        Some("sha256") => Algorithm::Sha256,
        Some("sha512") => Algorithm::Sha512,
        other => bail!("the cloud tells no digest of {} that is trusted ({other:?})", image.title()),
    };
    let hex = image.os_hash_value.as_deref().unwrap_or_default().to_ascii_lowercase();
    if hex.is_empty() || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        bail!("what the cloud tells of {} is no digest", image.title());
    }
    Ok(Digest { algorithm, hex })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_image_is_meant_and_its_digest_is_one() {
        let image = |name: &str, status: &str, hidden: bool, hash: &str| -> Image {
            let text = serde_json::json!({
                "id": "1", "name": name, "status": status, "visibility": "private", "os_hidden": hidden,
                "os_hash_algo": "sha512", "os_hash_value": hash,
            });
            serde_json::from_value(text).unwrap()
        };
        let own = || image("web", "active", false, "0aF");
        let others = || {
            vec![
                image("web", "queued", false, ""),
                image("web", "active", true, ""),
                image("db", "active", false, ""),
            ]
        };
        assert!(one_of(others(), "web").unwrap_err().to_string().contains("no active image"));
        let found = one_of([others(), vec![own()]].concat(), "web").unwrap();
        assert_eq!(digest_of(&found).unwrap().hex, "0af");
        assert!(one_of(vec![own(), own()], "web").unwrap_err().to_string().contains("2 active images"));
        assert!(digest_of(&image("web", "active", false, "../x")).is_err());
    }
}
