//! The images that a cloud has.

use super::clouds::Cloud;
use super::http::Http;
use super::image_api::Image;
use super::session::Session;
use crate::monitor::Monitor;

/// Which images are meant.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Those that have this name, or had it before they were replaced.
    pub name: Option<String>,
    /// Those with this tag.
    pub tag: Option<String>,
    /// Those of other projects as well.
    pub of_all_projects: bool,
}

/// The images of `cloud` that `filter` lets through, as Glance lists them.
///
/// # Errors
/// If the cloud does not answer, or refuses.
pub fn images(cloud: &Cloud, filter: &Filter, monitor: Monitor<'_>) -> crate::Result<Vec<Image>> {
    let http = Http::new(&cloud.trust, &cloud.route)?;
    let session = Session::open(&http, cloud, monitor.cancel())?;
    let project = session.project().map(|project| project.id);
    let mut filters: Vec<(&str, &str)> = Vec::new();
    if let Some(tag) = &filter.tag {
        filters.push(("tag", tag));
    }
    if let (Some(project), false) = (&project, filter.of_all_projects) {
        filters.push(("owner", project));
    }
    let mut images = session.images(&filters)?;
    if let Some(name) = &filter.name {
        images.retain(|image| image.name.as_ref() == Some(name) || image.replaced_name() == Some(name));
    }
    Ok(images)
}
