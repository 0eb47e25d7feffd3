//! `goldimg`: builds, audits, seals, boots and uploads golden disk images.
//!
//! ```text
//! golden::recipe::Recipe ─► golden::Loaded ─┬─► golden::Plan        what would be done
//!  in a file, or made by calls              └─► golden::build ─► golden::Built: images, their manifests, a log
//!
//! an image's file ─┬─► audit::Audit ─► audit::Report                 fit to be cloned? Rules of one's own count, too
//!                  ├─► seal::plan, seal::seal ─► seal::Sealed        what must not be cloned is gone
//!                  ├─► trial::run ─► trial::Outcome                  boots of it, looked at from inside
//!                  └─► upload::run ─► glance::Outcome                in a cloud (glance::clouds), hash compared
//!
//! an image's files ─► system::System ─┬─► inspect::Inspection         partitions, filesystems, system, packages
//!                                     ├─► files                       listed, found, copied out, packed, compared
//!                                     ├─► change::Editor              changed in place, all or nothing
//!                                     └─► guest::apply                by the image's own kernel, where only that writes
//!
//! monitor   who hears of all that (Reporter), and what stops it     variables   what the caller's environment says
//! error     what went wrong, whose turn it is, and a hint            mistake     what is wrong with a recipe, and where
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
pub mod change;
mod download;
mod entry;
pub mod error;
pub mod files;
pub mod glance;
pub mod golden;
pub mod guest;
pub mod inspect;
mod kernel;
mod links;
pub mod manifest;
pub mod mistake;
mod mode_change;
pub mod monitor;
mod name_pattern;
mod os_text;
pub mod packages;
mod packed;
mod programs;
mod properties;
mod qemu;
mod reexec;
mod room;
pub mod seal;
mod selinux;
pub mod size;
mod substitution;
pub mod system;
pub mod trial;
pub mod upload;
pub mod variables;

// What the engine shares with the program that it comes with, so that both word things alike: for nobody else, and free to
// change.
#[doc(hidden)]
pub mod facts;
#[doc(hidden)]
pub mod nearest;
#[doc(hidden)]
pub mod printable;
#[doc(hidden)]
pub mod target_name;

pub use entry::run_as_helper;
pub use error::{Error, ErrorKind, Result};
pub use monitor::{CancellationToken, Event, Monitor, Reporter};
pub use variables::Variables;
