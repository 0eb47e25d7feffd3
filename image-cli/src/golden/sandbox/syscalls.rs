//! The filter of system calls (seccomp(2)): what container runtimes refuse to who has few capabilities.
//!
//! ```text
//! architecture ─► its table of numbers ─► refused: EPERM
//!      │                              └─► an argument decides: clone (namespaces), ioctl (the terminal), socket (VSOCK)
//!      └─ x32, clone3 ─► ENOSYS, as by a kernel without it: the C library then calls clone
//! ```
//!
//! The list is what the default profiles of Docker and Podman allow only with a capability that is not there, or not at
//! all: keyrings, mounting, tracing the kernel, loading code into it, other namespaces. Programs of 32 bits are filtered
//! too. Most of it fails without the filter as well; with it, errors in the kernel's own checks are out of reach.

use std::io;

use nix::libc::{self, sock_filter, sock_fprog};

/// `offsetof(struct seccomp_data, …)`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
/// The lower half of the first and second argument, which are little-endian on all that goldimg runs on.
const FIRST: u32 = 16;
const SECOND: u32 = 24;

/// A new namespace of any kind for the child (clone(2)): CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
const NAMESPACES: u32 = 0x7e02_0000;
/// What types into a terminal, and what a virtual console obeys (ioctl_tty(2), ioctl_console(2)).
const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541c;
/// Sockets to the hypervisor of this machine.
const AF_VSOCK: u32 = 40;

/// An architecture's numbers.
struct Table {
    /// AUDIT_ARCH_… of linux/audit.h.
    architecture: u32,
    /// Numbers above it are another ABI's.
    highest: Option<u32>,
    refused: Vec<u32>,
    clone: u32,
    clone3: u32,
    ioctl: u32,
    socket: u32,
}

/// Filters the system calls of this process and all that it starts. Needs CAP_SYS_ADMIN in its user namespace.
///
/// # Errors
/// If the kernel does not take the filter.
pub(super) fn filter() -> io::Result<()> {
    let program = program();
    let length = u16::try_from(program.len()).map_err(io::Error::other)?;
    let program = sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel copies `len` instructions from `filter`, which lives until the end of this function, and
    // writes nothing (seccomp(2)).
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The filter for this machine's architecture, and for its 32-bit one.
fn program() -> Vec<sock_filter> {
    let mut program = vec![load(ARCHITECTURE)];
    for table in tables() {
        let part = part(&table);
        // Over this part, unless it is this architecture. A part is far shorter than the longest jump of an `if`, 255.
        program.push(jump(libc::BPF_JEQ, table.architecture, 1, 0));
        program.push(jump(libc::BPF_JA, part.len() as u32, 0, 0));
        program.extend(part);
    }
    program.push(answer(libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32));
    program
}

/// What is done for one architecture. It always ends with an answer.
fn part(table: &Table) -> Vec<sock_filter> {
    let refuse = answer(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32);
    let absent = answer(libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32);
    let allow = answer(libc::SECCOMP_RET_ALLOW);
    let mut part = vec![load(NUMBER)];
    if let Some(highest) = table.highest {
        part.extend([jump(libc::BPF_JGT, highest, 0, 1), absent]);
    }
    part.extend([jump(libc::BPF_JEQ, table.clone3, 0, 1), absent]);
    for number in &table.refused {
        part.extend([jump(libc::BPF_JEQ, *number, 0, 1), refuse]);
    }
    part.extend([
        jump(libc::BPF_JEQ, table.clone, 0, 4),
        load(FIRST),
        jump(libc::BPF_JSET, NAMESPACES, 0, 1),
        refuse,
        allow,
    ]);
    part.extend([
        jump(libc::BPF_JEQ, table.ioctl, 0, 5),
        load(SECOND),
        jump(libc::BPF_JEQ, TIOCSTI, 1, 0),
        jump(libc::BPF_JEQ, TIOCLINUX, 0, 1),
        refuse,
        allow,
    ]);
    part.extend([
        jump(libc::BPF_JEQ, table.socket, 0, 3),
        load(FIRST),
        jump(libc::BPF_JEQ, AF_VSOCK, 0, 1),
        refuse,
    ]);
    part.push(allow);
    part
}

pub(crate) fn load(offset: u32) -> sock_filter {
    sock_filter { code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, jt: 0, jf: 0, k: offset }
}

/// A comparison with `value`; or, with `BPF_JA`, a jump over so many instructions.
fn jump(comparison: u32, value: u32, over_if: u8, over_if_not: u8) -> sock_filter {
    let code = (libc::BPF_JMP | comparison | libc::BPF_K) as u16;
    sock_filter { code, jt: over_if, jf: over_if_not, k: value }
}

fn answer(action: u32) -> sock_filter {
    sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: action }
}

/// Those that every architecture has under one number (Linux 5.1 and newer).
const EVERYWHERE: [u32; 13] = [
    425, // io_uring_setup
    426, // io_uring_enter
    427, // io_uring_register
    428, // open_tree
    429, // move_mount
    430, // fsopen
    431, // fsconfig
    432, // fsmount
    433, // fspick
    442, // mount_setattr
    443, // quotactl_fd
    447, // memfd_secret
    467, // open_tree_attr
];

fn tables() -> Vec<Table> {
    let mut tables = vec![native()];
    if cfg!(target_arch = "x86_64") {
        tables.push(i386());
    }
    tables
}

fn native() -> Table {
    let number = |number: libc::c_long| u32::try_from(number).unwrap_or(u32::MAX);
    let mut refused: Vec<u32> = [
        libc::SYS_acct,
        libc::SYS_add_key,
        libc::SYS_adjtimex,
        libc::SYS_bpf,
        libc::SYS_clock_adjtime,
        libc::SYS_clock_settime,
        libc::SYS_delete_module,
        libc::SYS_finit_module,
        libc::SYS_init_module,
        libc::SYS_kexec_file_load,
        libc::SYS_kexec_load,
        libc::SYS_keyctl,
        libc::SYS_lookup_dcookie,
        libc::SYS_mbind,
        libc::SYS_migrate_pages,
        libc::SYS_mount,
        libc::SYS_move_pages,
        libc::SYS_nfsservctl,
        libc::SYS_open_by_handle_at,
        libc::SYS_perf_event_open,
        libc::SYS_pidfd_getfd,
        libc::SYS_pivot_root,
        libc::SYS_quotactl,
        libc::SYS_reboot,
        libc::SYS_request_key,
        libc::SYS_set_mempolicy,
        libc::SYS_setns,
        libc::SYS_settimeofday,
        libc::SYS_swapoff,
        libc::SYS_swapon,
        libc::SYS_syslog,
        libc::SYS_umount2,
        libc::SYS_unshare,
        libc::SYS_userfaultfd,
        libc::SYS_vhangup,
    ]
    .map(number)
    .into();
    refused.extend(EVERYWHERE);
    #[cfg(target_arch = "x86_64")]
    refused.extend(
        [libc::SYS_ioperm, libc::SYS_iopl, libc::SYS_sysfs, libc::SYS_uselib, libc::SYS_ustat].map(number),
    );
    Table {
        architecture: if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 },
        // The x32 ABI has a bit of its own in its numbers.
        highest: cfg!(target_arch = "x86_64").then_some(0x3fff_ffff),
        refused,
        clone: number(libc::SYS_clone),
        clone3: number(libc::SYS_clone3),
        ioctl: number(libc::SYS_ioctl),
        socket: number(libc::SYS_socket),
    }
}

/// The same for programs of 32 bits (arch/x86/entry/syscalls/syscall_32.tbl of Linux).
fn i386() -> Table {
    let mut refused = vec![
        21,  // mount
        22,  // umount
        25,  // stime
        51,  // acct
        52,  // umount2
        62,  // ustat
        79,  // settimeofday
        86,  // uselib
        87,  // swapon
        88,  // reboot
        101, // ioperm
        103, // syslog
        110, // iopl
        111, // vhangup
        113, // vm86old
        115, // swapoff
        124, // adjtimex
        127, // create_module
        128, // init_module
        129, // delete_module
        131, // quotactl
        135, // sysfs
        166, // vm86
        169, // nfsservctl
        217, // pivot_root
        253, // lookup_dcookie
        264, // clock_settime
        274, // mbind
        276, // set_mempolicy
        283, // kexec_load
        286, // add_key
        287, // request_key
        288, // keyctl
        294, // migrate_pages
        310, // unshare
        317, // move_pages
        336, // perf_event_open
        342, // open_by_handle_at
        343, // clock_adjtime
        346, // setns
        350, // finit_module
        357, // bpf
        374, // userfaultfd
        404, // clock_settime64
        405, // clock_adjtime64
        438, // pidfd_getfd
    ];
    refused.extend(EVERYWHERE);
    Table {
        architecture: 0x4000_0003,
        highest: None,
        refused,
        clone: 120,
        clone3: 435,
        ioctl: 54,
        socket: 359,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The filter's answer to a call, by an interpreter of the few instructions that it has.
    fn ask(architecture: u32, number: u32, first: u32, second: u32) -> u32 {
        let program = program();
        let (mut at, mut loaded) = (0, 0);
        loop {
            let step = program[at];
            at += 1;
            let class = u32::from(step.code) & 0x07;
            match class {
                libc::BPF_LD => {
                    loaded = match step.k {
                        NUMBER => number,
                        ARCHITECTURE => architecture,
                        FIRST => first,
                        SECOND => second,
                        other => panic!("loads {other}"),
                    }
                }
                libc::BPF_RET => return step.k,
                _ => {
                    let holds = match u32::from(step.code) & 0xf0 {
                        libc::BPF_JA => {
                            at += step.k as usize;
                            continue;
                        }
                        libc::BPF_JEQ => loaded == step.k,
                        libc::BPF_JGT => loaded > step.k,
                        libc::BPF_JSET => loaded & step.k != 0,
                        other => panic!("compares by {other}"),
                    };
                    at += usize::from(if holds { step.jt } else { step.jf });
                }
            }
        }
    }

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

    #[test]
    fn each_architecture_is_asked_by_its_own_numbers() {
        for table in tables() {
            let ask = |number, first, second| ask(table.architecture, number, first, second);
            for number in &table.refused {
                assert_eq!(ask(*number, 0, 0), EPERM, "{:x} {number}", table.architecture);
            }
            assert_eq!(ask(table.clone, 0x0120_0011, 0), ALLOW);
            for namespace in [0x0002_0000, 0x1000_0000, 0x4000_0000] {
                assert_eq!(ask(table.clone, namespace | 17, 0), EPERM);
            }
            assert_eq!(ask(table.clone3, 0, 0), ENOSYS);
            assert_eq!(ask(table.ioctl, 0, 0x5401), ALLOW);
            assert_eq!(ask(table.ioctl, 0, TIOCSTI), EPERM);
            assert_eq!(ask(table.ioctl, 0, TIOCLINUX), EPERM);
            assert_eq!(ask(table.socket, 1, 0), ALLOW);
            assert_eq!(ask(table.socket, AF_VSOCK, 0), EPERM);
        }
    }

    #[test]
    fn what_programs_need_is_allowed_and_unknown_machines_have_nothing() {
        let native = native();
        for number in [libc::SYS_read, libc::SYS_execve, libc::SYS_mknodat, libc::SYS_chroot, libc::SYS_wait4]
        {
            assert_eq!(ask(native.architecture, number as u32, 0, 0), ALLOW);
        }
        assert_eq!(ask(0xdead_beef, 0, 0, 0), ENOSYS);
        if cfg!(target_arch = "x86_64") {
            // Of the x32 ABI.
            assert_eq!(ask(native.architecture, 0x4000_0000 | libc::SYS_read as u32, 0, 0), ENOSYS);
        }
    }
}
