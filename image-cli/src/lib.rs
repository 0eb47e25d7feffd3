//! `goldimg`: builds, audits, seals, boots and uploads golden disk images.
//!
//! ```text
//! recipe ─► golden ─────────────► image ─► audit ─► trial ─► glance ─► an image of a cloud
//!           base, steps, seal,    qcow2,   rules    boots    hash compared,
//!           disk, outputs         raw      over it  of it    then published
//!                                   │
//!                                   └────► seal ─► what must not be cloned is gone
//! ```
//!
//! All of it reads and writes disks with [`image_core`]. Nothing here knows a terminal, a command line or an exit code:
//! what long work tells goes to a [`Reporter`], what stops it is a [`CancellationToken`], and what it needs of the
//! caller's machine (folders, variables, credentials) are values.
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use goldimg::audit::{Audit, Profile};
//! use goldimg::golden::recipe::{Distribution, Recipe, Step};
//! use goldimg::golden::{Loaded, Request, build};
//! use goldimg::monitor::Silent;
//! use goldimg::{CancellationToken, Monitor, Variables};
//!
//! fn main() -> goldimg::Result<ExitCode> {
//!     if let Some(code) = goldimg::run_as_helper() {
//!         return Ok(code);
//!     }
//!     let variables: Variables = std::env::vars_os().collect();
//!     let cancel = CancellationToken::new();
//!     let monitor = Monitor::new(&Silent, &cancel);
//!
//!     let recipe = Recipe::new("web", Distribution::Debian, "bookworm")
//!         .step(Step::Install(vec!["nginx-light".into()]));
//!     let loaded = Loaded::new(&recipe, ".".as_ref(), monitor)?;
//!     let built = build(&loaded, &Request::new("out", "/var/cache/goldimg", variables)?, monitor)?;
//!     let report = Audit::new(Profile::Openstack).image(&built.files[0], monitor)?;
//!     Ok(if report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
//! }
//! ```

pub mod audit;
mod entry;
pub mod error;
pub mod facts;
pub mod glance;
pub mod golden;
mod links;
pub mod mistake;
pub mod monitor;
mod name_pattern;
pub mod nearest;
mod os_text;
pub mod printable;
pub mod programs;
pub mod properties;
mod reexec;
pub mod seal;
pub mod size;
pub mod target_name;
pub mod trial;
pub mod upload;
pub mod variables;

pub use entry::run_as_helper;
pub use error::{Error, ErrorKind, Result};
pub use monitor::{CancellationToken, Event, Monitor, Reporter};
pub use variables::Variables;
