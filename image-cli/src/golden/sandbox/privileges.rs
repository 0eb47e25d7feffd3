//! What a program may do: what a container's root may.

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set, set_capabilities,
    set_thread_groups,
};

use super::syscalls;
use crate::error::Context;

/// What packages' scripts need to make files of all kinds and owners, and to become other users. Docker's default
/// without CAP_NET_RAW. Nothing that reaches beyond the tree: no mounts, no network interfaces, no tracing, no clock.
const KEPT: CapabilitySet = CapabilitySet::from_bits_retain(
    CapabilitySet::AUDIT_WRITE.bits()
        | CapabilitySet::CHOWN.bits()
        | CapabilitySet::DAC_OVERRIDE.bits()
        | CapabilitySet::FOWNER.bits()
        | CapabilitySet::FSETID.bits()
        | CapabilitySet::KILL.bits()
        | CapabilitySet::MKNOD.bits()
        | CapabilitySet::NET_BIND_SERVICE.bits()
        | CapabilitySet::SETFCAP.bits()
        | CapabilitySet::SETGID.bits()
        | CapabilitySet::SETPCAP.bits()
        | CapabilitySet::SETUID.bits()
        | CapabilitySet::SYS_CHROOT.bits(),
);
/// Behind the last one that any kernel of today knows (capabilities(7)).
const CAPABILITIES: u32 = 64;

/// Gives away the caller's groups and all but [`KEPT`], for this process and all that it starts, and has system calls filtered.
///
/// # Errors
/// If the kernel does not take it.
pub(super) fn drop() -> crate::Result<()> {
    // This process has one thread.
    set_thread_groups(&[]).context("leaving the caller's groups")?;
    // A filter may be set by who may gain nothing any more, or by who may all: sudo would not work after the former.
    syscalls::filter().context("filtering system calls")?;
    for number in 0..CAPABILITIES {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if !KEPT.contains(capability) {
            match remove_capability_from_bounding_set(capability) {
                Ok(()) | Err(rustix::io::Errno::INVAL) => {} // one that this kernel does not know
                Err(error) => return Err(error).context("dropping capabilities"),
            }
        }
    }
    let kept = capabilities(None).context("dropping capabilities")?.permitted & KEPT;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).context("dropping capabilities")
}
