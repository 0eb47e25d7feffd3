//! How an image gets into a cloud: by which method, from where, into which stores.

use serde::Serialize;
use serde_json::{Value, json};

use super::image_api::Offer;
use crate::error::{Advise, err};

/// How the bytes get to the cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Method {
    /// Straight into a store (PUT)
    Direct,
    /// Staged first, then imported, as the cloud's operator may demand
    GlanceDirect,
    /// The cloud fetches it from --uri itself
    WebDownload,
}

/// Where a cloud keeps an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stores {
    /// Where it usually does.
    #[default]
    Usual,
    /// In these, by their names.
    Named(Vec<String>),
    /// In all that it has.
    All,
}

/// The way that is asked for: one that some cloud could offer.
#[derive(Debug, Clone, Default)]
pub struct Way {
    method: Option<Method>,
    uri: Option<String>,
    stores: Stores,
}

impl Way {
    /// By `method`, or the one that suits the rest, from the address `uri` if the cloud itself fetches the image, into `stores`.
    ///
    /// # Errors
    /// Where that does not go together in any cloud: wrong usage.
    pub fn new(method: Option<Method>, uri: Option<String>, stores: Stores) -> crate::Result<Self> {
        let way = Self { method, uri, stores };
        let (wrong, hint) = match (way.chosen(), &way.uri) {
            (Method::WebDownload, None) => {
                ("web-download needs the address that the cloud fetches the image from", "give it with --uri")
            }
            (Method::Direct | Method::GlanceDirect, Some(_)) => (
                "an address is of use only where the cloud fetches the image",
                "--method web-download does that",
            ),
            (Method::Direct, None) if way.several() => {
                ("a direct upload goes to one store", "--method glance-direct reaches several")
            }
            _ => return Ok(way),
        };
        Err(crate::Error::failed(wrong)).hint(|| hint).invalid()
    }

    /// The method that was asked for, or the simplest one.
    fn chosen(&self) -> Method {
        self.method.unwrap_or(if self.uri.is_some() {
            Method::WebDownload
        } else if self.several() {
            Method::GlanceDirect
        } else {
            Method::Direct
        })
    }

    fn several(&self) -> bool {
        self.stores == Stores::All || self.named_stores().len() > 1
    }

    /// The names of the stores that are asked for.
    pub(crate) fn named_stores(&self) -> &[String] {
        match &self.stores {
            Stores::Named(names) => names,
            Stores::Usual | Stores::All => &[],
        }
    }

    /// The method to be used in a cloud that offers this.
    ///
    /// # Errors
    /// Where it offers something else.
    pub(crate) fn method_for(&self, offer: &Offer) -> crate::Result<Method> {
        let chosen = self.chosen();
        let offers = |method: &str| offer.import_methods.iter().any(|offered| offered == method);
        if let Some(needed) = chosen.import_name().filter(|needed| !offers(needed)) {
            return Err(err!("this cloud does not offer {needed}")).hint(
                || match &offer.import_methods[..] {
                    [] => "it offers: direct".to_owned(),
                    methods => format!("it offers: direct, {}", methods.join(", ")),
                },
            );
        }
        for store in self.named_stores() {
            if !offer.stores.contains(store) {
                return Err(err!("this cloud has no store {store:?}")).hint(|| match &offer.stores[..] {
                    [] => "it tells of no stores: leave --store out".to_owned(),
                    stores => format!("its stores are: {}", stores.join(", ")),
                });
            }
        }
        Ok(chosen)
    }

    /// What the cloud is told to import.
    pub(super) fn import(&self, method: Method) -> Value {
        let mut how = json!({ "name": method.import_name() });
        if let Some(uri) = &self.uri {
            how["uri"] = json!(uri);
        }
        let mut body = json!({ "method": how });
        match &self.stores {
            Stores::All => body["all_stores"] = json!(true),
            Stores::Named(names) if !names.is_empty() => body["stores"] = json!(names),
            Stores::Named(_) | Stores::Usual => {}
        }
        if self.several() {
            body["all_stores_must_succeed"] = json!(true);
        }
        body
    }
}

impl Method {
    /// Glance's name of it, where it is an import.
    pub(super) fn import_name(self) -> Option<&'static str> {
        match self {
            Self::Direct => None,
            Self::GlanceDirect => Some("glance-direct"),
            Self::WebDownload => Some("web-download"),
        }
    }
}
