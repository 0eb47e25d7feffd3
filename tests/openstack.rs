//! Uploads to a cloud: a made-up one that misbehaves on purpose, and a real Keystone with a real Glance.
//!
//! ```text
//! goldimg ─► hostile server (this process)               what a network and a broken server can do
//! goldimg ─► Keystone ─► Glance ─► openstack client      the services themselves, on loopback (openstack/services)
//! goldimg ─► cutting proxy ─► Glance                     a connection that breaks half-way
//! ```
//!
//! The services are installed once into a virtual environment (`openstack/requirements.txt`, pinned) beneath
//! `$XDG_CACHE_HOME/goldimg/openstack`; every test starts them anew in a folder of its own, in seconds.

mod authentication;
mod bases;
mod cloud;
mod drivers;
mod faults;
mod hostile;
mod library;
mod misbehaviour;
mod rotation;
mod uploads;
