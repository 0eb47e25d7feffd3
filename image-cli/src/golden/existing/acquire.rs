//! Getting hold of what a base begins with, and making sure that it is that: done by outer, whose network and rights are the caller's.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base64::Engine;
use image_core::block::{BlockRead, FileDisk};
use image_core::digest::{Algorithm, Digest, digests_of};

use super::{cloud, sums};
use crate::download::{self, Store, Wanted};
use crate::error::{Advise, Context, err};
use crate::glance::http::{Http, Trust};
use crate::glance::route::Route;
use crate::glance::secret::Secret;
use crate::golden::load::Loaded;
use crate::golden::provenance::Acquired;
use crate::golden::recipe::{Existing, Location, Proof, Uri};
use crate::golden::request::Request;
use crate::monitor::Monitor;

/// The stage, as it is told.
pub(in crate::golden) const STAGE: &str = "get the base";

/// What the recipe's base begins with, here and verified; `None` if it begins with nothing.
///
/// # Errors
/// If it cannot be had, or is another file than the recipe says.
pub(in crate::golden) fn acquire(
    loaded: &Loaded,
    request: &Request,
    monitor: Monitor<'_>,
) -> crate::Result<Option<Acquired>> {
    let Some(existing) = &loaded.recipe.base.existing else { return Ok(None) };
    let stage = monitor.stage(STAGE);
    let (location, proof) = match existing {
        Existing::Image(file) => (&file.image, &file.proof),
        Existing::Tar(file) => (&file.tar, &file.proof),
        Existing::Oci(image) => {
            let path = beside(&loaded.folder, &image.oci)?;
            let source = Location::Beside(image.oci.clone());
            // What is in a folder says its digests itself.
            let acquired = match path.is_dir() {
                true => Acquired::new(path, source.to_string(), None, &[]),
                false => verified(path, &source, &Proof::default(), monitor)?,
            };
            stage.done();
            return Ok(Some(acquired));
        }
    };
    let path = match location {
        Location::Beside(relative) => beside(&loaded.folder, relative)?,
        Location::Uri(uri) => fetched(uri, proof, &loaded.folder, request, monitor)?,
        Location::Glance(name) => cloud::fetched(name, request, monitor)?,
    };
    let digests = digests(proof);
    let acquired = match location {
        // It was held against all of them when it was fetched, or taken from the cache.
        Location::Uri(_) if !digests.is_empty() => {
            let size = FileDisk::open(&path)?.size();
            Acquired::new(path, location.to_string(), Some(size), &digests)
        }
        _ => verified(path, location, proof, monitor)?,
    };
    stage.done();
    Ok(Some(acquired))
}

/// The digests that the recipe asks for.
fn digests(proof: &Proof) -> Vec<Digest> {
    let of =
        |algorithm, hex: &Option<String>| Some(Digest { algorithm, hex: hex.as_ref()?.to_ascii_lowercase() });
    [of(Algorithm::Sha256, &proof.sha256), of(Algorithm::Sha512, &proof.sha512)]
        .into_iter()
        .flatten()
        .collect()
}

/// A file or folder beneath the recipe's folder, as it is now.
fn beside(folder: &Path, relative: &Path) -> crate::Result<PathBuf> {
    let doing = || format!("looking for {}", relative.display());
    let path = fs::canonicalize(folder.join(relative)).with_context(doing)?;
    if !path.starts_with(folder) {
        return Err(err!("{} leads out of the recipe's folder", relative.display()))
            .hint(|| "put the file itself there");
    }
    Ok(path)
}

/// A file of a server's, in the cache.
fn fetched(
    uri: &Uri,
    proof: &Proof,
    folder: &Path,
    request: &Request,
    monitor: Monitor<'_>,
) -> crate::Result<PathBuf> {
    let store = Store::open(&request.cache, SystemTime::now())?;
    let http = Http::new(&Trust::default(), &Route::new(&request.variables))?;
    let credentials = uri.name_and_password().map(|words| {
        let encoded = base64::engine::general_purpose::STANDARD.encode(words);
        ("Authorization", Secret::new(format!("Basic {encoded}")))
    });
    let mut digests = digests(proof);
    if let Some(sums) = &proof.sums {
        let signed = sums::digest(sums, uri.as_str(), folder, (&http, &request.variables), monitor)?;
        if !digests.contains(&signed) {
            digests.push(signed);
        }
    }
    let wanted = Wanted { url: uri.as_str().to_owned(), secret: credentials, digests };
    download::fetch(&wanted, &store, &http, monitor)
}

/// The file `path`, if it has the digests that are asked for.
fn verified(
    path: PathBuf,
    location: &Location,
    proof: &Proof,
    monitor: Monitor<'_>,
) -> crate::Result<Acquired> {
    let asked = digests(proof);
    let mut algorithms: Vec<Algorithm> = asked.iter().map(|digest| digest.algorithm).collect();
    if algorithms.is_empty() {
        algorithms.push(Algorithm::Sha256);
    }
    let disk = FileDisk::open(&path)?;
    let watch = monitor.bytes("verifying", disk.size());
    let found = digests_of(&disk, &algorithms, &watch).with_context(|| format!("reading {}", path.display()));
    drop(watch);
    monitor.check()?;
    let found = found?;
    if let Some((asked, found)) = asked.iter().zip(&found).find(|(asked, found)| asked != found) {
        return Err(err!(
            "{location} is not the file that the recipe means: its {} is {}",
            found.algorithm,
            found.hex
        ))
        .hint(|| format!("the recipe says {}", asked.hex));
    }
    Ok(Acquired::new(path, location.to_string(), Some(disk.size()), &found))
}
