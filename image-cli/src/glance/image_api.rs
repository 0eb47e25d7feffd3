//! Glance's Image API v2, as far as it is used here.
//!
//! ```text
//!                        ┌─ PUT file ───────────────► saving ─┐
//! POST images ─► queued ─┼─ PUT stage ─► uploading ─► import ─┼─► active
//!                        └─ import (web-download) ─► importing┘
//! ```
//!
//! A failed PUT returns to `queued` (there is no resuming); a failed import may stay `importing`, with the store in
//! `os_glance_failed_import`.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::exchange::{Answer, Request, Verb};
use super::secret::Secret;
use super::session::Session;
use crate::error::{Advise, Context, bail, err};

/// The media type of image patches: JSON Patch (RFC 6902) with some restrictions.
const PATCH_TYPE: &str = "application/openstack-images-v2.1-json-patch";

/// The property by which a second run finds what the first one began: the SHA-256 of the file, and the format sent.
pub(crate) const BUILD_ID: &str = "goldimg_build_id";
/// The property that says under which name an image is, or was, the current one.
pub(crate) const NAME: &str = "goldimg_name";

/// The largest page Glance gives by default configuration.
const PAGE_LEN: usize = 1000;

/// A list that goes on for more pages is a server going in circles.
const PAGE_LIMIT: usize = 1000;

/// An image's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Status {
    /// It has no data.
    Queued,
    /// Its data are being received.
    Saving,
    /// Its data are being staged, or are.
    Uploading,
    /// Staged data are being imported.
    Importing,
    /// It can be used.
    Active,
    /// An administrator keeps its data from being read.
    Deactivated,
    /// Receiving its data failed.
    Killed,
    /// It is deleted.
    Deleted,
    /// It is deleted, and its data are not yet.
    PendingDelete,
    /// One that Glance did not have when this was written.
    #[serde(untagged)]
    Other(String),
}

impl Status {
    /// As Glance writes it.
    pub fn name(&self) -> String {
        match serde_json::to_value(self) {
            Ok(Value::String(name)) => name,
            _ => String::new(),
        }
    }
}

/// Who sees an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Visibility {
    /// Everyone, in every list; an administrator's privilege by default
    Public,
    /// Everyone who knows its id
    Community,
    /// This project, and those it is shared with
    Shared,
    /// This project
    Private,
}

impl Visibility {
    /// As Glance writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Community => "community",
            Self::Shared => "shared",
            Self::Private => "private",
        }
    }
}

/// An image, as Glance describes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Image {
    /// Its identifier.
    pub id: String,
    /// Its name, which others may have too.
    pub name: Option<String>,
    /// Where it is on its way.
    pub status: Status,
    /// Who sees it.
    pub visibility: Visibility,
    pub(crate) owner: Option<String>,
    /// Whether nobody can delete it.
    #[serde(default)]
    pub protected: bool,
    /// Whether it is in no list.
    #[serde(default)]
    pub os_hidden: bool,
    /// The size of its data in bytes, once they are there.
    pub size: Option<u64>,
    pub(crate) virtual_size: Option<u64>,
    /// Glance's name of its format, once it has one.
    pub disk_format: Option<String>,
    pub(crate) container_format: Option<String>,
    #[serde(default)]
    pub(crate) min_disk: u64,
    #[serde(default)]
    pub(crate) min_ram: u64,
    pub(crate) checksum: Option<String>,
    /// The algorithm of its hash, such as `sha512`.
    pub os_hash_algo: Option<String>,
    pub(crate) os_hash_value: Option<String>,
    /// When it was created (ISO 8601, UTC).
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub(crate) tags: Vec<String>,
    /// Everything else: Glance keeps properties beside its own fields.
    #[serde(flatten)]
    pub(crate) properties: BTreeMap<String, Value>,
}

impl Image {
    /// A property's text, where it is one and not empty.
    pub(crate) fn property(&self, name: &str) -> Option<&str> {
        self.properties.get(name)?.as_str().filter(|text| !text.is_empty())
    }

    /// The name it had, or has, as the current one of its kind.
    pub(crate) fn replaced_name(&self) -> Option<&str> {
        self.property(NAME)
    }

    /// The newest first, and always in the same order: a cloud tells when an image was created to the second, and
    /// a script uploads several in one. Of those the one that no rotation has hidden is the newest, then the one
    /// that was built last.
    pub(crate) fn newest_first(a: &Self, b: &Self) -> Ordering {
        let built = |image: &Self| image.property("image_build_date").unwrap_or_default().to_owned();
        b.created_at
            .cmp(&a.created_at)
            .then_with(|| a.os_hidden.cmp(&b.os_hidden))
            .then_with(|| built(b).cmp(&built(a)))
            .then_with(|| a.id.cmp(&b.id))
    }

    /// "name (id)" for messages.
    pub fn title(&self) -> String {
        format!("{:?} ({})", self.name.as_deref().unwrap_or_default(), self.id)
    }
}

/// What a new image is to be.
#[derive(Debug, Clone)]
pub(crate) struct NewImage {
    /// Chosen by us, so that a repeated request cannot create a second image.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) disk_format: String,
    pub(crate) container_format: String,
    pub(crate) visibility: Visibility,
    /// In GiB.
    pub(crate) min_disk: u64,
    /// In MiB.
    pub(crate) min_ram: u64,
    pub(crate) tags: Vec<String>,
    pub(crate) properties: BTreeMap<String, String>,
}

impl NewImage {
    fn body(&self) -> Value {
        let mut body = Map::new();
        for (name, value) in &self.properties {
            body.insert(name.clone(), json!(value));
        }
        let own = json!({
            "id": self.id, "name": self.name, "visibility": self.visibility, "tags": self.tags,
            "disk_format": self.disk_format, "container_format": self.container_format,
            "min_disk": self.min_disk, "min_ram": self.min_ram,
        });
        if let Value::Object(own) = own {
            body.extend(own);
        }
        Value::Object(body)
    }
}

/// What became of a wish to create an image.
#[derive(Debug)]
pub(crate) enum Creation {
    New(Image),
    /// The identifier was used before: by this image, or by one that cannot be seen.
    Taken(Option<Image>),
}

/// One change to an image.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    name: &'static str,
    value: Value,
}

impl Change {
    pub(crate) fn new(name: &'static str, value: impl Into<Value>) -> Self {
        Self { name, value: value.into() }
    }

    fn operation(&self) -> Value {
        // "add" replaces what is there, and does not fail where nothing is.
        json!({ "op": "add", "path": format!("/{}", self.name), "value": self.value })
    }
}

/// A store that images can be put into.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Store {
    pub(crate) id: String,
    #[serde(default, rename = "read-only")]
    read_only: Value,
}

/// A task of an import.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Task {
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) message: Option<String>,
}

/// What the cloud offers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Offer {
    pub(crate) import_methods: Vec<String>,
    pub(crate) stores: Vec<String>,
}

/// Fails unless the answer is a success.
///
/// # Errors
/// With what the server says, and a hint where the status tells what to do.
pub(crate) fn expect_success(answer: Answer) -> crate::Result<Answer> {
    if answer.is_success() {
        return Ok(answer);
    }
    let error = err!("{}", answer.message());
    let Some(hint) = hint_for(answer.status) else { return Err(error) };
    Err(error).hint(|| hint)
}

/// What a user can do about a status of Glance.
pub(crate) fn hint_for(status: u16) -> Option<&'static str> {
    Some(match status {
        401 => "the token was refused: openstack token issue",
        403 => {
            "the cloud's policy does not allow this with your roles: creating needs the role member, publishing as \
             public usually an administrator (openstack role assignment list --user USER --names)"
        }
        413 => {
            "a quota or the cloud's size limit is reached: openstack limits show --absolute, or ask its operator"
        }
        415 => "Glance looked into the file and refused its format: goldimg check, or --convert qcow2",
        429 => "the cloud limits the rate of requests: wait a minute",
        _ => return None,
    })
}

/// Refuses an identifier that would change the meaning of a path.
fn checked(id: &str) -> crate::Result<&str> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match !id.is_empty() && id.len() <= 64 && id.chars().all(fine) && !id.starts_with('.') {
        true => Ok(id),
        false => bail!("{id:?} is no image id"),
    }
}

/// Percent-encodes what is not unreserved (RFC 3986, section 2.3).
pub(crate) fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut url, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => url.push(char::from(byte)),
            _ => url.push_str(&format!("%{byte:02X}")),
        }
        url
    })
}

impl Session<'_> {
    /// What this cloud can do; clouds without the interoperable import offer nothing but the direct upload.
    ///
    /// # Errors
    /// Where no answer comes.
    pub(crate) fn offer(&self) -> crate::Result<Offer> {
        #[derive(Deserialize)]
        struct Methods {
            value: Vec<String>,
        }
        #[derive(Deserialize)]
        struct Info {
            #[serde(rename = "import-methods")]
            import_methods: Methods,
        }
        #[derive(Deserialize)]
        struct Stores {
            stores: Vec<Store>,
        }
        let doing = "asking what the image service offers";
        let import = self.call(&self.request(Verb::Get, "/v2/info/import")).context(doing)?;
        let stores = self.call(&self.request(Verb::Get, "/v2/info/stores")).context(doing)?;
        let import_methods = match import.status {
            404 => Vec::new(),
            _ => expect_success(import).context(doing)?.json::<Info>().context(doing)?.import_methods.value,
        };
        let stores = match stores.status {
            404 => Vec::new(),
            _ => expect_success(stores).context(doing)?.json::<Stores>().context(doing)?.stores,
        };
        let usable = |store: &Store| {
            !store.id.starts_with("os_glance_")
                && !matches!(&store.read_only, Value::Bool(true))
                && store.read_only.as_str() != Some("true")
        };
        let stores = stores.into_iter().filter(usable).map(|store| store.id).collect();
        Ok(Offer { import_methods, stores })
    }

    /// Creates an image without data. Where one of its identifier is there, that one, or nothing if it is not shown
    /// to us (Glance remembers the identifiers of deleted images).
    ///
    /// # Errors
    /// Where Glance refuses.
    pub(crate) fn create_image(&self, new: &NewImage) -> crate::Result<Creation> {
        let doing = || format!("creating image {:?}", new.name);
        let answer =
            self.call(&self.request(Verb::Post, "/v2/images").json(new.body())).with_context(doing)?;
        if answer.status == 409 {
            return Ok(Creation::Taken(self.find_image(&new.id)?));
        }
        expect_success(answer).and_then(|answer| answer.json()).map(Creation::New).with_context(doing)
    }

    /// The image of an id.
    ///
    /// # Errors
    /// Where there is none, or it is not shown to us.
    pub(crate) fn image(&self, id: &str) -> crate::Result<Image> {
        self.find_image(id)?.with_context(|| format!("image {id} does not exist any more"))
    }

    /// The image of an id, if there is one.
    ///
    /// # Errors
    /// Where no answer comes.
    pub(crate) fn find_image(&self, id: &str) -> crate::Result<Option<Image>> {
        let doing = || format!("looking at image {id}");
        let answer = self.call(&self.request(Verb::Get, &image_path(id, "")?)).with_context(doing)?;
        match answer.status {
            404 => Ok(None),
            _ => expect_success(answer).and_then(|answer| answer.json()).map(Some).with_context(doing),
        }
    }

    /// Where the data of `image` are, and the token that lets one in.
    ///
    /// # Errors
    /// If its identifier is none.
    pub(crate) fn data_of(&self, image: &Image) -> crate::Result<(String, Secret)> {
        let request = self.request(Verb::Get, &format!("/v2/images/{}/file", checked(&image.id)?));
        Ok((request.url, self.token()))
    }

    /// All images that match the filters, hidden ones as well, the newest first.
    ///
    /// # Errors
    /// Where no answer comes, or pages without end.
    pub(crate) fn images(&self, filters: &[(&str, &str)]) -> crate::Result<Vec<Image>> {
        let mut found = self.list(filters, false)?;
        found.extend(self.list(filters, true)?);
        found.sort_by(Image::newest_first);
        Ok(found)
    }

    fn list(&self, filters: &[(&str, &str)], hidden: bool) -> crate::Result<Vec<Image>> {
        #[derive(Deserialize)]
        struct Page {
            images: Vec<Image>,
            next: Option<String>,
        }
        let mut query = format!("limit={PAGE_LEN}&os_hidden={hidden}");
        for (name, value) in filters {
            query.push_str(&format!("&{}={}", encoded(name), encoded(value)));
        }
        let mut found = Vec::new();
        for _ in 0..PAGE_LIMIT {
            let request = self.request(Verb::Get, &format!("/v2/images?{query}"));
            let page: Page = self
                .call(&request)
                .and_then(expect_success)
                .and_then(|answer| answer.json())
                .context("listing images")?;
            found.extend(page.images);
            // Only its query is taken: the token stays with the endpoint of the catalog.
            match page.next.as_deref().and_then(|next| next.split_once('?')) {
                Some((_, next)) => query = next.to_owned(),
                None => return Ok(found),
            }
        }
        bail!("listing images: the list goes on after {PAGE_LIMIT} pages")
    }

    /// Changes an image, all at once.
    ///
    /// # Errors
    /// Where Glance refuses.
    pub(crate) fn change_image(&self, id: &str, changes: &[Change]) -> crate::Result<Image> {
        let operations = changes.iter().map(Change::operation).collect();
        let request =
            self.request(Verb::Patch, &image_path(id, "")?).json_as(PATCH_TYPE, Value::Array(operations));
        self.call(&request)
            .and_then(expect_success)
            .and_then(|answer| answer.json())
            .with_context(|| format!("changing image {id}"))
    }

    /// Deletes an image; one that is gone already is no failure.
    ///
    /// # Errors
    /// Where Glance refuses: protected (403), in use (409).
    pub(crate) fn delete_image(&self, id: &str) -> crate::Result<()> {
        let answer = self
            .call(&self.request(Verb::Delete, &image_path(id, "")?))
            .with_context(|| format!("deleting image {id}"))?;
        match answer.status {
            404 | 410 => Ok(()),
            _ => expect_success(answer).map(drop).with_context(|| format!("deleting image {id}")),
        }
    }

    /// The tasks of an image's imports; none where the cloud does not tell.
    ///
    /// # Errors
    /// Where no answer comes.
    pub(crate) fn image_tasks(&self, id: &str) -> crate::Result<Vec<Task>> {
        #[derive(Deserialize)]
        struct Tasks {
            tasks: Vec<Task>,
        }
        let answer = self.call(&self.request(Verb::Get, &image_path(id, "/tasks")?))?;
        if !answer.is_success() {
            return Ok(Vec::new());
        }
        Ok(answer.json::<Tasks>().map(|told| told.tasks).unwrap_or_default())
    }

    /// The request that carries an image's bytes: `/file` or `/stage`.
    ///
    /// # Errors
    /// Where `id` is none.
    pub(crate) fn data_request(&self, id: &str, end: &str) -> crate::Result<Request> {
        Ok(self.request(Verb::Put, &image_path(id, end)?).header("Content-Type", "application/octet-stream"))
    }

    /// Starts an import.
    ///
    /// # Errors
    /// Where no answer comes; every status is an answer.
    pub(crate) fn import_image(&self, id: &str, body: Value) -> crate::Result<Answer> {
        self.call(&self.request(Verb::Post, &image_path(id, "/import")?).json(body))
    }
}

fn image_path(id: &str, end: &str) -> crate::Result<String> {
    Ok(format!("/v2/images/{}{end}", checked(id)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_cannot_leave_its_path() {
        assert!(image_path("0f7d2a3c-1a2b-4c3d-8e9f-aabbccddeeff", "/file").is_ok());
        for wrong in ["", "..", "a/b", "a?b", "a%2fb", "a b"] {
            assert!(image_path(wrong, "").is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn properties_cannot_replace_an_images_own_fields() {
        let new = NewImage {
            id: "i".into(),
            name: "n".into(),
            disk_format: "raw".into(),
            container_format: "bare".into(),
            visibility: Visibility::Private,
            min_disk: 3,
            min_ram: 512,
            tags: vec![],
            properties: BTreeMap::from([("name".into(), "x".into()), ("os_type".into(), "linux".into())]),
        };
        let body = new.body();
        assert_eq!(
            (&body["name"], &body["os_type"], &body["min_disk"]),
            (&json!("n"), &json!("linux"), &json!(3))
        );
    }

    #[test]
    fn an_unknown_status_is_kept() {
        let status: Status = serde_json::from_value(json!("frozen")).unwrap();
        assert_eq!((status.name().as_str(), &status), ("frozen", &Status::Other("frozen".into())));
        assert_eq!(serde_json::from_value::<Status>(json!("pending_delete")).unwrap(), Status::PendingDelete);
        assert_eq!(encoded("a b/ü&"), "a%20b%2F%C3%BC%26");
    }
}
