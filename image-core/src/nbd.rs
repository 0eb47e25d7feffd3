//! NBD: an export of a server as a disk.
//!
//! ```text
//! Address ─► Socket ─► handshake ──────────────────────► session ─────────────────────────────► Export
//! nbd://…    TCP,      magic, STARTTLS, structured       requests of many threads at once,      BlockRead,
//!            unix      replies, base:allocation,         each thread reads the replies to its   BlockWrite
//!                      GO or EXPORT_NAME                 own, in turns, into its own buffer
//! ```
//!
//! Source: NetworkBlockDevice/nbd, `doc/proto.md`. The bytes are in `wire`, what a reply means in `reply`, both without
//! any I/O; every rule a server can break is a variant of [`Violation`]. Rules that hold throughout:
//!
//! - The server is not trusted: what it says is checked before anything is allocated, and what breaks a rule ends the
//!   connection. Only an error that it reports leaves it of use.
//! - Nobody waits for ever: see [`Timeouts`].
//! - What is to be encrypted is never sent otherwise. An address alone cannot ask for it: it needs [`TlsCredentials`].

mod address;
mod connection;
mod export;
mod handshake;
#[deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]
mod reply;
mod session;
mod socket;
mod tls;
mod violation;
mod wire;

pub use address::{Address, AddressRule, Server};
pub use connection::{ExportOptions, Timeouts};
pub use export::Export;
pub use tls::{TlsCredentials, TlsSession};
pub use violation::{NotConnected, Refusal, ServerError, Violation};
