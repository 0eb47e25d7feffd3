//! The tests that need the whole program: one binary, so that it is linked once.
//!
//! ```text
//! support   the program under test, peers (other programs), folders, snapshots
//! tidy      the rules of the source tree, executed
//! cli       what a user sees: help, errors, exit codes                (snapshots)
//! recipes   the recipes of this project: understood, planned, in step with the schema
//! library   the examples of docs/library.md
//! install   what is installed, and the Debian package             (make, lintian)
//! interop   they write, we read; we write, they judge                 (qemu-img and others)
//! qemu_img  standing in for qemu-img: the same command lines, word for word  (qemu-img)
//! trial     booting images, good ones and bad ones                  (QEMU)
//! golden    a build, its parts and what it leaves behind
//! openstack uploads, against a broken cloud and a real one       (Keystone, Glance)
//! ```
//!
//! A peer that is not installed makes its test say so and end; with `GOLDIMG_PEERS=required` (as in CI) it fails.

mod cli;
mod golden;
mod install;
mod interop;
mod library;
mod openstack;
mod qemu_img;
mod recipes;
mod support;
mod tidy;
mod trial;
