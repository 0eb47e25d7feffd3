//! What runs the guest's instructions: KVM where it really works, else QEMU's emulator.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::error::{Context, Result};
use crate::monitor::CancellationToken;
use crate::programs::Program;

/// Who runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Accelerator {
    /// The processor itself, through /dev/kvm
    Kvm,
    /// QEMU's emulator
    Tcg,
}

/// A disk whose boot sector enters protected mode, counts to a hundred million there, and ends QEMU by its debug port.
///
/// A processor does that in 0.1 s, and the emulator in a second; a KVM that only pretends does not come to an end.
/// ```text
/// 7c00  fa                    cli
/// 7c01  31 c0  8e d8          xor ax, ax; mov ds, ax
/// 7c05  66 0f 01 16 48 7c     lgdt [7c48]
/// 7c0b  0f 20 c0  0c 01       mov eax, cr0; or al, 1
/// 7c10  0f 22 c0              mov cr0, eax
/// 7c13  ea 18 7c 08 00        jmp 0008:7c18
/// 7c18  66 b8 10 00  8e d8    mov ax, 10; mov ds, ax      from here on 32 bits
/// 7c1e  b9 00 e1 f5 05        mov ecx, 100000000
/// 7c23  49  75 fd             dec ecx; jnz 7c23
/// 7c26  66 ba f4 00           mov dx, f4
/// 7c2a  b0 10  ee             mov al, 10; out dx, al
/// 7c2d  f4  eb fd             hlt; jmp 7c2d
/// 7c30                        segments: none, code, data
/// 7c48  17 00 30 7c 00 00     their table
/// ```
const PROBE: [u8; 78] = [
    0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x66, 0x0f, 0x01, 0x16, 0x48, 0x7c, 0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f,
    0x22, 0xc0, 0xea, 0x18, 0x7c, 0x08, 0x00, 0x66, 0xb8, 0x10, 0x00, 0x8e, 0xd8, 0xb9, 0x00, 0xe1, 0xf5,
    0x05, 0x49, 0x75, 0xfd, 0x66, 0xba, 0xf4, 0x00, 0xb0, 0x10, 0xee, 0xf4, 0xeb, 0xfd, 0, 0, 0, 0, 0, 0, 0,
    0, 0xff, 0xff, 0, 0, 0, 0x9a, 0xcf, 0, 0xff, 0xff, 0, 0, 0, 0x92, 0xcf, 0, 0x17, 0, 0x30, 0x7c, 0, 0,
];
/// QEMU's exit code when 0x10 was written to its debug port: 2 × 0x10 + 1.
const PROBE_EXIT: i32 = 33;
/// Long enough for a busy machine with KVM, too short for one that only pretends.
const PROBE_LIMIT: Duration = Duration::from_secs(5);

impl Accelerator {
    /// KVM if a small guest comes to its end with it, else the emulator.
    ///
    /// # Errors
    /// If the guest's disk cannot be written to `folder` or QEMU cannot be started.
    pub(crate) fn probe(folder: &Path, path: &OsStr, cancel: &CancellationToken) -> Result<Self> {
        let may_open = File::options().read(true).write(true).open("/dev/kvm").is_ok();
        if may_open && Self::Kvm.runs(folder, path, PROBE_LIMIT, cancel)? {
            Ok(Self::Kvm)
        } else {
            Ok(Self::Tcg)
        }
    }

    /// Whether a small guest comes to its end within `limit`.
    fn runs(self, folder: &Path, path: &OsStr, limit: Duration, cancel: &CancellationToken) -> Result<bool> {
        let disk_path = folder.join("probe.img");
        let write = || {
            let mut disk = File::create(&disk_path)?;
            disk.write_all(&PROBE)?;
            disk.seek(SeekFrom::Start(510))?;
            disk.write_all(&[0x55, 0xaa])?;
            // The firmware reads no smaller disk.
            disk.set_len(1 << 20)
        };
        write().with_context(|| format!("writing {}", disk_path.display()))?;
        let mut command = Program::Qemu.command(path);
        command.current_dir(folder).args(self.arguments()).args([
            "-m",
            "64",
            "-nodefaults",
            "-display",
            "none",
        ]);
        command.args([
            "-device",
            "isa-debug-exit,iobase=0xf4,iosize=4",
            "-device",
            "virtio-blk-pci,drive=probe",
        ]);
        command.args(["-drive", "file=probe.img,format=raw,if=none,id=probe,readonly=on"]);
        command.args(["-machine", "q35"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| Program::Qemu.not_started(error))?;
        let started = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break Some(status);
            }
            if started.elapsed() > limit || cancel.is_cancelled() {
                child.kill().and_then(|()| child.wait())?;
                break None;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        cancel.check()?;
        Ok(status.and_then(|status| status.code()) == Some(PROBE_EXIT))
    }

    /// QEMU's arguments. For the emulator those with which a Debian cloud image boots fastest: one processor, no
    /// instructions beyond SSE 4.2, room for translated code.
    pub(crate) fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Kvm => &["-accel", "kvm", "-cpu", "host", "-smp", "2"],
            Self::Tcg => &["-accel", "tcg,thread=multi,tb-size=512", "-cpu", "Nehalem", "-smp", "1"],
        }
    }

    /// How long a boot to the end of cloud-init, with all checks, may take.
    pub(crate) fn boot_limit(self) -> Duration {
        Duration::from_secs(match self {
            Self::Kvm => 240,
            Self::Tcg => 900,
        })
    }

    /// How long a boot without data may take: what takes two minutes on a processor.
    pub(crate) fn idle_boot_limit(self) -> Duration {
        Duration::from_secs(match self {
            Self::Kvm => 120,
            Self::Tcg => 360,
        })
    }

    /// How long the guest may take to switch itself off: what takes 30 s on a processor.
    pub(crate) fn power_off_limit(self) -> Duration {
        Duration::from_secs(match self {
            Self::Kvm => 30,
            Self::Tcg => 90,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probes_code_lies_where_it_jumps_to() {
        let at = |address: usize, bytes: &[u8]| assert_eq!(PROBE[address - 0x7c00..][..bytes.len()], *bytes);
        at(0x7c13, &[0xea, 0x18, 0x7c, 0x08, 0x00]);
        at(0x7c18, &[0x66, 0xb8]);
        at(0x7c1f, &100_000_000u32.to_le_bytes());
        at(0x7c48, &[0x17, 0x00, 0x30, 0x7c]);
        assert_eq!(PROBE.len(), 0x4e);
    }
}
