//! Every rule, by what it is about.

use super::rule::Rule;
use super::{
    access, boot, cloud_init, file, identities, kernel, network, secrets, services, table, traces, unused,
};

/// Every rule, in the order in which they are told.
pub const RULES: &[(&str, &[Rule])] = &[
    ("the file", file::RULES),
    ("the disk", table::RULES),
    ("booting", boot::RULES),
    ("the kernel", kernel::RULES),
    ("the first boot", cloud_init::RULES),
    ("the network", network::RULES),
    ("services", services::RULES),
    ("traces of other machines", traces::RULES),
    ("services of other machines", identities::RULES),
    ("access", access::RULES),
    ("secrets", secrets::RULES),
    ("unused space", unused::RULES),
];
