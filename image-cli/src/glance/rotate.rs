//! A new image takes over a name, and the older ones make room.
//!
//! ```text
//! publish under the temporary name ─► rename the old ("NAME YYYYMMDD") ─► rename the new ─► hide the old ─► prune
//! ```
//!
//! Rules:
//! - Only images of this project are touched. A protected image is renamed and hidden, never deleted.
//! - Images keep their identifiers: servers and templates that name one by id go on working until it is pruned.
//! - Each step looks at what is there, so that a run that was cut off can be repeated.

use std::collections::BTreeSet;

use serde::Serialize;

use super::image_api::{Change, Image, NAME, Status};
use super::session::Session;
use crate::error::Context;
use crate::monitor::Monitor;

/// How many of the older images stay when a new one takes over their name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Keep {
    /// All of them.
    All,
    /// The newest ones, this many; protected ones stay, too.
    Newest(usize),
}

/// What happened to the older images.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rotated {
    /// They have another name now, with their date in it.
    pub renamed: Vec<Older>,
    /// They are in no list now.
    pub hidden: Vec<Older>,
    /// They are gone.
    pub deleted: Vec<Older>,
    /// Not deleted although there are more than were to be kept, with the reason.
    pub(crate) spared: Vec<Spared>,
}

/// An older image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Older {
    /// Its identifier, which stays.
    pub id: String,
    /// Its name now.
    pub name: String,
}

/// An older image that stays against the wish.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Spared {
    pub(crate) id: String,
    pub(crate) reason: String,
}

/// Gives `name` to the image `new`, which is published already. Of the older ones those that `keep` says stay.
///
/// # Errors
/// Where the cloud refuses a step; those before it stay done.
pub(crate) fn rotate(
    session: &Session<'_>,
    monitor: Monitor<'_>,
    new: &Image,
    name: &str,
    owner: &str,
    keep: Keep,
) -> crate::Result<(Image, Rotated)> {
    let mut older = generations(session, new, name, owner)?;
    let mut rotated = Rotated::default();
    let mut taken: BTreeSet<String> = older.iter().filter_map(|image| image.name.clone()).collect();
    for image in older.iter_mut().filter(|image| image.name.as_deref() == Some(name)) {
        let dated = dated_name(name, image, &taken);
        let changes = [Change::new("name", dated.as_str()), Change::new(NAME, name)];
        session.change_image(&image.id, &changes).context("renaming the older image")?;
        taken.insert(dated.clone());
        image.name = Some(dated);
        rotated.renamed.push(older_of(image));
    }
    let new = session
        .change_image(&new.id, &[Change::new("name", name)])
        .with_context(|| format!("giving the new image its name; until then no image is called {name:?}"))?;
    for image in older.iter().filter(|image| !image.os_hidden) {
        session
            .change_image(&image.id, &[Change::new("os_hidden", true)])
            .context("hiding the older image")?;
        rotated.hidden.push(older_of(image));
    }
    if let Keep::Newest(count) = keep {
        prune(session, monitor, &older, count, &mut rotated);
    }
    Ok((new, rotated))
}

/// The older images of a name, the newest first: those that have it, and those that had it.
fn generations(session: &Session<'_>, new: &Image, name: &str, owner: &str) -> crate::Result<Vec<Image>> {
    let mut found = session.images(&[("name", name), ("owner", owner)])?;
    found.extend(session.images(&[(NAME, name), ("owner", owner)])?);
    let mut seen = BTreeSet::from([new.id.clone()]);
    // The filter is the server's word; that nothing of others is touched is ours.
    found.retain(|image| image.owner.as_deref() == Some(owner) && seen.insert(image.id.clone()));
    // What is still being uploaded belongs to another run.
    found.retain(|image| {
        !matches!(image.status, Status::Saving | Status::Uploading | Status::Importing | Status::Queued)
    });
    found.sort_by(Image::newest_first);
    Ok(found)
}

/// "NAME YYYYMMDD" by the day an image was built, or created; unique among `taken`.
fn dated_name(name: &str, image: &Image, taken: &BTreeSet<String>) -> String {
    let built = image.property("image_build_date").unwrap_or(&image.created_at);
    let day: String = built.chars().take(10).filter(char::is_ascii_digit).collect();
    // Room for the date and for what makes it unique, within Glance's 255 characters.
    let stem: String = name.chars().take(230).collect();
    let dated = format!("{stem} {day}");
    if !taken.contains(&dated) {
        return dated;
    }
    let id: String = image.id.chars().take(8).collect();
    format!("{dated} {id}")
}

/// Deletes what is too old; what cannot be deleted is told, and no failure: the new image is in its place.
fn prune(session: &Session<'_>, monitor: Monitor<'_>, older: &[Image], keep: usize, rotated: &mut Rotated) {
    for image in older.iter().skip(keep) {
        let spared = if image.protected {
            Some("it is protected".to_owned())
        } else {
            session.delete_image(&image.id).err().map(|error| format!("{error:#}"))
        };
        match spared {
            None => rotated.deleted.push(older_of(image)),
            Some(reason) => {
                monitor.warning(&format!("the older image {} stays: {reason}", image.title()));
                rotated.spared.push(Spared { id: image.id.clone(), reason });
            }
        }
    }
}

fn older_of(image: &Image) -> Older {
    Older { id: image.id.clone(), name: image.name.clone().unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn image(extra: serde_json::Value) -> Image {
        let mut value = json!({ "id": "0123456789", "status": "active", "visibility": "private",
                                "created_at": "2026-11-23T05:00:00Z" });
        value.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn images_of_one_second_have_an_order() {
        let mut all = [
            image(json!({ "id": "a", "os_hidden": true, "image_build_date": "2026-01-01" })),
            image(json!({ "id": "b", "os_hidden": true, "image_build_date": "2026-02-01" })),
            image(json!({ "id": "c", "os_hidden": true, "image_build_date": "2026-02-01" })),
            image(json!({ "id": "d", "image_build_date": "2025-01-01" })),
            image(json!({ "id": "e", "os_hidden": true, "created_at": "2026-11-23T05:00:01Z" })),
        ];
        all.sort_by(Image::newest_first);
        assert_eq!(all.each_ref().map(|image| image.id.as_str()), ["e", "d", "b", "c", "a"]);
    }

    #[test]
    fn older_images_are_named_by_the_day_they_were_built() {
        let free = BTreeSet::new();
        assert_eq!(dated_name("D", &image(json!({})), &free), "D 20261123");
        let built = image(json!({ "image_build_date": "2026-10-01 12:00" }));
        assert_eq!(dated_name("D", &built, &free), "D 20261001");
        let taken = BTreeSet::from(["D 20261001".to_owned()]);
        assert_eq!(dated_name("D", &built, &taken), "D 20261001 01234567");
        assert!(dated_name(&"x".repeat(255), &built, &free).chars().count() <= 255);
    }
}
