//! The networks of a build: one namespace for each kind of access, made when a step first asks for it.

use std::cell::OnceCell;
use std::ffi::OsString;

use super::{Access, Address, Network, Upstream};
use crate::error::err;

/// What the networks of a build have in common, and those that there are.
#[derive(Debug)]
pub(crate) struct Networks {
    usual: Access,
    archives: Vec<Address>,
    upstream: Upstream,
    path: OsString,
    full: OnceCell<Network>,
    packages: OnceCell<Network>,
    none: OnceCell<Network>,
}

impl Networks {
    /// `usual` is what a step has that asks for nothing else; `archives` are where packages come from, by way of
    /// `upstream` where this machine has proxies. Its own programs are in the folders of `path`.
    pub(crate) fn new(usual: Access, archives: Vec<Address>, upstream: Upstream, path: OsString) -> Self {
        let (full, packages, none) = Default::default();
        Self { usual, archives, upstream, path, full, packages, none }
    }

    /// What a step has that asks for nothing else.
    pub(crate) fn usual(&self) -> Access {
        self.usual
    }

    /// The network of a step with so much access.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(crate) fn of(&self, access: Access) -> crate::Result<&Network> {
        let cell = match access {
            Access::Full => &self.full,
            Access::Packages => &self.packages,
            Access::None => &self.none,
        };
        if cell.get().is_none() {
            let network = Network::begin(access, self.archives.clone(), self.upstream.clone(), &self.path)?;
            // It was empty, and this is the only thread.
            let _ = cell.set(network);
        }
        cell.get().ok_or_else(|| err!("the network that was made is gone"))
    }
}
