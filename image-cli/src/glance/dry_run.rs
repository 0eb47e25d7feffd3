//! The exchange behind `--plan`: every request is noted, none is sent, and the answers are those of a cloud where
//! all goes well.

use std::cell::RefCell;
use std::time::Duration;

use serde_json::{Value, json};

use super::clouds::Cloud;
use super::exchange::{Answer, Exchange, HeaderText, Lost, Request, Stream, Verb};
use super::secret::HIDDEN;

/// Stands for the address that the catalog would give.
const IMAGE_SERVICE: &str = "http://image-service.invalid";
const IMAGE_SERVICE_SHOWN: &str = "{image service}";

/// The project of the dry run's token.
const PROJECT: &str = "00000000000000000000000000000000";

/// A request, as it would be sent.
#[derive(Debug, Clone, serde::Serialize)]
#[non_exhaustive]
pub struct Shown {
    /// HTTP's.
    pub method: &'static str,
    /// The address; what only the cloud's catalog tells stands in braces.
    pub url: String,
    /// Without secrets.
    pub headers: Vec<(String, String)>,
    /// JSON, without secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// "197120 bytes", where the image itself is the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

/// What is offered and found in the made-up cloud.
#[derive(Debug, Default)]
pub(crate) struct DryRun {
    noted: RefCell<Vec<Shown>>,
    /// The image created last, as Glance would describe it.
    image: RefCell<Value>,
    /// The stores that were asked for, so that the cloud has them.
    stores: Vec<String>,
    /// The name of an older image, until it has been listed.
    older: RefCell<Option<String>>,
    region: Option<String>,
    interface: String,
    /// How one logs in is known.
    shows_tokens: bool,
}

impl DryRun {
    /// `cloud` with these stores, and with one older image where it is to be replaced. Of a cloud that is not known no
    /// request for a token is shown.
    pub(crate) fn new(cloud: &Cloud, is_known: bool, stores: &[String], older: Option<&str>) -> Self {
        Self {
            stores: stores.to_vec(),
            older: RefCell::new(older.map(str::to_owned)),
            region: cloud.region.clone(),
            interface: cloud.interfaces.first().cloned().unwrap_or_default(),
            shows_tokens: is_known,
            ..Self::default()
        }
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<Shown> {
        self.noted.borrow().clone()
    }

    fn note(&self, request: &Request, stream: Option<&Stream<'_>>) {
        let headers = request
            .headers
            .iter()
            .map(|(name, value)| match value {
                HeaderText::Plain(text) => ((*name).to_owned(), text.clone()),
                HeaderText::Secret(_) => ((*name).to_owned(), HIDDEN.to_owned()),
            })
            .collect();
        self.noted.borrow_mut().push(Shown {
            method: request.verb.name(),
            url: request.url.replace(IMAGE_SERVICE, IMAGE_SERVICE_SHOWN),
            headers,
            body: request.shown_body.clone().or_else(|| request.body.clone()),
            data: stream.map(|stream| match stream.len {
                Some(len) => format!("{len} bytes"),
                None => "the image, converted on the way, in chunks".to_owned(),
            }),
        });
    }

    fn answer(&self, request: &Request) -> (u16, Value) {
        let path = request.url.split_once("/v2/").map_or("", |(_, path)| path);
        let path = path.split('?').next().unwrap_or(path);
        match (request.verb, path) {
            (Verb::Post | Verb::Get, "") => (201, self.token()),
            (Verb::Get, "info/import") => {
                (200, json!({ "import-methods": { "value": ["glance-direct", "web-download"] } }))
            }
            (Verb::Get, "info/stores") => {
                let stores: Vec<Value> = self.stores.iter().map(|id| json!({ "id": id })).collect();
                (200, json!({ "stores": stores }))
            }
            (Verb::Get, "images") => (200, json!({ "images": self.older_images(&request.url) })),
            (Verb::Post, "images") => {
                self.image.replace(described(request.body.clone().unwrap_or_default()));
                (201, self.image.borrow().clone())
            }
            (Verb::Put, _) => {
                self.settle(if path.ends_with("/stage") { "uploading" } else { "active" });
                (204, Value::Null)
            }
            (Verb::Post, _) => {
                self.settle("active");
                (202, Value::Null)
            }
            (Verb::Delete, _) => (204, Value::Null),
            (Verb::Get, tasks) if tasks.ends_with("/tasks") => (200, json!({ "tasks": [] })),
            (Verb::Get | Verb::Patch, _) => (200, self.image.borrow().clone()),
        }
    }

    fn settle(&self, status: &str) {
        self.image.borrow_mut()["status"] = json!(status);
    }

    /// The older image, once, where the search is for a name.
    fn older_images(&self, url: &str) -> Vec<Value> {
        if !url.contains("&name=") || !url.contains("os_hidden=false") {
            return Vec::new();
        }
        let Some(name) = self.older.take() else { return Vec::new() };
        let mut older =
            described(json!({ "id": "ID-OF-AN-OLDER-IMAGE", "name": name, "visibility": "private" }));
        older["status"] = json!("active");
        vec![older]
    }

    fn token(&self) -> Value {
        json!({ "token": {
            "project": { "id": PROJECT, "name": "dry-run" },
            "catalog": [{ "type": "image", "endpoints": [
                { "interface": self.interface, "region_id": self.region, "url": IMAGE_SERVICE },
            ] }],
        } })
    }
}

fn described(mut image: Value) -> Value {
    image["status"] = json!("queued");
    image["owner"] = json!(PROJECT);
    image["created_at"] = json!("2026-01-01T00:00:00Z");
    image
}

impl Exchange for DryRun {
    fn send(&self, request: &Request, stream: Option<Stream<'_>>) -> Result<Answer, Lost> {
        if self.shows_tokens || request.url.contains("/v2/") {
            self.note(request, stream.as_ref());
        }
        let (status, body) = self.answer(request);
        let headers = vec![("x-subject-token".to_owned(), "dry-run".to_owned())];
        Ok(Answer { status, headers, body: body.to_string().into_bytes() })
    }

    fn is_dry_run(&self) -> bool {
        true
    }

    fn pause(&self, _: Duration) {}
}
