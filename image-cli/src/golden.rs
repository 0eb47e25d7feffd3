//! Building golden images.
//!
//! ```text
//! recipe ─► bootstrap ─► tree ─► steps ─► cloud-init ─► seal ─► disk ─► outputs ─► verified
//! ```
//!
//! A build is two processes: outer prepares a work directory, waits and tells (`build.rs`), inner builds inside namespaces of
//! its own (`inner.rs`, `namespace.rs`); what they say to each other is in `order.rs`.

pub(crate) mod bootcode;
pub(crate) mod bootloader;
pub(crate) mod bootstrap;
mod build;
mod cloud_init;
pub(crate) mod copies;
pub mod customize;
pub(crate) mod disk;
mod distribution;
mod environment;
pub(crate) mod epoch;
mod existing;
pub(crate) mod ext4;
pub(crate) mod identity;
pub(crate) mod inner;
mod layers;
pub mod load;
pub(crate) mod log;
pub(crate) mod manifest;
mod memory;
pub(crate) mod namespace;
pub(crate) mod network;
mod no_space;
mod openstack;
mod order;
mod outer;
pub(crate) mod outputs;
pub(crate) mod plan;
mod provenance;
pub mod recipe;
mod request;
pub(crate) mod sandbox;
mod seal;
pub(crate) mod secrets;
mod shell;
pub(crate) mod solver;
mod source;
mod stage;
mod stages;
mod steps;
pub(crate) mod tree;
pub(crate) mod verify;
mod work_directory;
mod workspace;

pub use build::{BaseLayer, Built, Consulted, build, check as check_base, consult};
pub use copies::{About, Copies, Remark};
pub use epoch::Epoch;
pub use layers::{Layer, Layers, usual_limit as layers_limit};
pub use load::{Examined, Loaded, check_step, examine, load, load_steps};
pub use plan::{Archive, Partition, Plan};
pub use recipe::schema::document as schema;
pub use request::Request;
pub use secrets::Asked;
pub use solver::Total;
