//! Waiting for an image to become what it should.

use std::time::{Duration, Instant};

use crate::error::{Advise, bail, err};
use crate::glance::image_api::{Image, Status};
use crate::glance::session::Session;

/// The first pause between looks, and the longest.
const SHORTEST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(5);

/// How long Glance may take to notice that a sender is gone.
const SETTLING: Duration = Duration::from_secs(60);

/// How long an uploader may take from the end of staging to its request for the import: it asks at once, and again
/// for some seconds where no answer comes.
const TO_IMPORT: Duration = Duration::from_secs(30);

/// The deadline passed while the cloud was still at work.
#[derive(Debug, thiserror::Error)]
#[error("image {id} is still {status} after {} s", waited.as_secs())]
pub(crate) struct Overdue {
    id: String,
    status: String,
    waited: Duration,
}

impl From<Overdue> for crate::Error {
    fn from(overdue: Overdue) -> Self {
        Self::failed(overdue)
    }
}

/// Looks until the image is active and complete in all stores.
///
/// # Errors
/// Where it fails, disappears, or takes longer than `deadline` ([`Overdue`]).
pub(super) fn until_active(session: &Session<'_>, id: &str, deadline: Duration) -> crate::Result<Image> {
    let started = Instant::now();
    let mut pause = SHORTEST;
    loop {
        let image = session.image(id)?;
        // The task may fail, or still be writing to a second store, whatever the status says.
        if let Some(store) = image.property("os_glance_failed_import") {
            return failed_import(session, id, &format!("into store {store}"));
        }
        match image.status {
            Status::Active if image.property("os_glance_importing_to_stores").is_none() => return Ok(image),
            Status::Active | Status::Saving | Status::Uploading | Status::Importing => {}
            // Where an import begins, and where a failed web-download goes back to: its task tells which.
            Status::Queued => match import_state(session, id)? {
                ImportState::Failed => return failed_import(session, id, "of the data"),
                ImportState::Untold if started.elapsed() > SETTLING => {
                    return failed_import(session, id, "of the data");
                }
                ImportState::AtWork | ImportState::Untold => {}
            },
            other => bail!("image {id} became {} instead of active", other.name()),
        }
        if image.status == Status::Importing && import_state(session, id)? == ImportState::Failed {
            return failed_import(session, id, "of the data");
        }
        if started.elapsed() > deadline {
            return Err(Overdue { id: id.to_owned(), status: image.status.name(), waited: started.elapsed() })
                .hint(|| format!("it is left at work: the same command again goes on from there, openstack image delete {id} ends it"));
        }
        session.pause(pause)?;
        pause = (pause * 2).min(LONGEST);
    }
}

/// What the tasks of an import say.
#[derive(Debug, PartialEq, Eq)]
enum ImportState {
    AtWork,
    Failed,
    /// There are none, or the cloud does not tell.
    Untold,
}

fn import_state(session: &Session<'_>, id: &str) -> crate::Result<ImportState> {
    let tasks = session.image_tasks(id)?;
    Ok(match tasks.iter().any(|task| task.status == "failure") {
        true => ImportState::Failed,
        false if tasks.is_empty() => ImportState::Untold,
        false => ImportState::AtWork,
    })
}

fn failed_import<T>(session: &Session<'_>, id: &str, what: &str) -> crate::Result<T> {
    let tasks = session.image_tasks(id).unwrap_or_default();
    let told: Vec<&str> =
        tasks.iter().filter_map(|task| task.message.as_deref()).filter(|m| !m.is_empty()).collect();
    let told = if told.is_empty() { String::new() } else { format!(": {}", told.join("; ")) };
    Err(err!("the cloud's import {what} failed{told}"))
        .hint(|| "a wrong format fails like this, and so does an address that the cloud cannot reach; --method direct says more")
}

/// Looks until the image is no longer being received.
///
/// # Errors
/// Where no answer comes, or it does not settle.
pub(super) fn until_settled(session: &Session<'_>, id: &str) -> crate::Result<Option<Image>> {
    let started = Instant::now();
    let mut pause = SHORTEST;
    loop {
        let image = session.find_image(id)?;
        match &image {
            Some(image) if image.status == Status::Saving && started.elapsed() < SETTLING => {}
            _ => return Ok(image),
        }
        session.pause(pause)?;
        pause = (pause * 2).min(LONGEST);
    }
}

/// Whether all of an image lies in the staging area and nobody has asked for its import. Glance tells the size of a
/// staged image when it has all of it (`stage` in glance/api/v2/image_data.py); until then it is unknown.
pub(super) fn is_staged(image: &Image) -> bool {
    image.status == Status::Uploading && image.size.is_some()
}

/// Gives an uploader the time to ask for the import of what it has staged. An image that is still staged afterwards
/// has no uploader any more.
///
/// # Errors
/// Where no answer comes.
pub(super) fn until_imported(session: &Session<'_>, image: Image) -> crate::Result<Option<Image>> {
    let mut image = Some(image);
    let mut waited = Duration::ZERO;
    while let Some(staged) = image.as_ref().filter(|image| is_staged(image))
        && waited < TO_IMPORT
    {
        session.pause(SHORTEST)?;
        waited += SHORTEST;
        image = session.find_image(&staged.id)?;
    }
    Ok(image)
}

/// Whether nothing has happened to an image for longer than `deadline`: its uploader is gone.
pub(super) fn is_stale(image: &Image, deadline: Duration) -> bool {
    let touched = image.property("updated_at").unwrap_or(&image.created_at);
    let Ok(touched) = touched.parse::<jiff::Timestamp>() else { return false };
    let idle = jiff::Timestamp::now().duration_since(touched);
    idle.as_secs() > i64::try_from(deadline.as_secs()).unwrap_or(i64::MAX)
}
