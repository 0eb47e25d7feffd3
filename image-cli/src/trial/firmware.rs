//! What starts the boot loader: SeaBIOS (QEMU's own), or OVMF with a store of variables that is thrown away.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Context, Result};
use crate::programs::not_installed;
use crate::qemu::option;

/// What starts the boot loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Firmware {
    /// A PC BIOS
    Bios,
    /// UEFI
    Uefi,
    /// UEFI that starts nothing without Microsoft's signature
    SecureBoot,
}

/// Code and variables, as Debian and Ubuntu, Fedora, and Arch install them; 4 MiB ones first.
const UEFI: [(&str, &str); 4] = [
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
];
/// The same with Secure Boot, and variables that hold Microsoft's keys.
const SECURE_BOOT: [(&str, &str); 3] = [
    ("/usr/share/OVMF/OVMF_CODE_4M.ms.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"),
    ("/usr/share/OVMF/OVMF_CODE.ms.fd", "/usr/share/OVMF/OVMF_VARS.ms.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd", "/usr/share/edk2/ovmf/OVMF_VARS.secboot.fd"),
];

impl Firmware {
    /// Its name in the table and in file names.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bios => "bios",
            Self::Uefi => "uefi",
            Self::SecureBoot => "secure-boot",
        }
    }

    /// Finds its files.
    ///
    /// # Errors
    /// Names the package if they are not there.
    pub(super) fn files(self) -> Result<Option<(&'static Path, &'static Path)>> {
        let places: &[_] = match self {
            Self::Bios => return Ok(None),
            Self::Uefi => &UEFI,
            Self::SecureBoot => &SECURE_BOOT,
        };
        let paths = places.iter().map(|(code, variables)| (Path::new(*code), Path::new(*variables)));
        match paths.into_iter().find(|(code, variables)| code.exists() && variables.exists()) {
            Some(found) => Ok(Some(found)),
            None => not_installed("the UEFI firmware for virtual machines (OVMF)", "ovmf"),
        }
    }

    /// QEMU's arguments; the variables are copied to `folder`.
    pub(super) fn arguments(self, folder: &Path) -> Result<Vec<String>> {
        let Some((code, variables)) = self.files()? else { return Ok(Vec::new()) };
        let copy: PathBuf = folder.join("variables.fd");
        fs::copy(variables, &copy).with_context(|| format!("copying {}", variables.display()))?;
        let flash = |unit: u8, path: &Path, more: &str| {
            ["-drive".to_owned(), format!("if=pflash,format=raw,unit={unit},file={}{more}", option(path))]
        };
        let mut arguments = Vec::new();
        if self == Self::SecureBoot {
            // Without these a guest could write the variables that hold the keys.
            arguments.extend(["-global", "driver=cfi.pflash01,property=secure,value=on"].map(String::from));
        }
        arguments.extend(flash(0, code, ",readonly=on"));
        arguments.extend(flash(1, &copy, ""));
        Ok(arguments)
    }

    /// What QEMU's machine needs besides.
    pub(super) fn machine_options(self) -> &'static str {
        match self {
            Self::Bios | Self::Uefi => "",
            Self::SecureBoot => ",smm=on",
        }
    }
}
