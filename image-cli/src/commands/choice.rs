//! Values of the engine as words of options, with their help.

use clap::ValueEnum;
use clap::builder::PossibleValue;
use goldimg::audit::Profile;
use goldimg::glance::{Method, Visibility};
use goldimg::trial::{Accelerator, Cdrom, Firmware, Source};

/// One of the values of `T`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choice<T>(pub(super) T);

/// What an option takes: each value, its word, and what it means.
pub(super) trait Choices: Copy + Eq + 'static {
    const ALL: &'static [Choice<Self>];
    const WORDS: &'static [(&'static str, &'static str)];
}

impl<T: Choices> ValueEnum for Choice<T> {
    fn value_variants<'a>() -> &'a [Self] {
        T::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (_, (word, help)) = T::ALL.iter().zip(T::WORDS).find(|(value, _)| *value == self)?;
        Some(PossibleValue::new(*word).help(*help))
    }
}

macro_rules! choices {
    ($($of:ident { $($value:ident = $word:literal, $help:literal;)+ })+) => {
        $(impl Choices for $of {
            const ALL: &'static [Choice<Self>] = &[$(Choice($of::$value)),+];
            const WORDS: &'static [(&'static str, &'static str)] = &[$(($word, $help)),+];
        })+
    };
}

choices! {
    Profile {
        Any = "any", "Any cloud: it boots, and nothing in it belongs to one machine";
        Openstack = "openstack", "OpenStack: that, and Glance takes it, and each server is set up, reached and stopped as its image guide asks";
    }
    Accelerator {
        Kvm = "kvm", "The processor itself, through /dev/kvm";
        Tcg = "tcg", "QEMU's emulator";
    }
    Firmware {
        Bios = "bios", "A PC BIOS";
        Uefi = "uefi", "UEFI";
        SecureBoot = "secure-boot", "UEFI that starts nothing without Microsoft's signature";
    }
    Cdrom {
        Ide = "ide", "What a cloud does on a machine of type pc";
        Sata = "sata", "What a cloud does on a machine of type q35";
        Scsi = "scsi", "What a cloud does with hw_cdrom_bus=scsi and hw_scsi_model=virtio-scsi";
    }
    Source {
        Metadata = "metadata", "The metadata service at 169.254.169.254";
        ConfigDrive = "config-drive", "A config drive on a CD-ROM";
        Nothing = "nothing", "None at all";
    }
    Method {
        Direct = "direct", "Straight into a store (PUT)";
        GlanceDirect = "glance-direct", "Staged first, then imported, as the cloud's operator may demand";
        WebDownload = "web-download", "The cloud fetches it from --uri itself";
    }
    Visibility {
        Public = "public", "Everyone, in every list; an administrator's privilege by default";
        Community = "community", "Everyone who knows its id";
        Shared = "shared", "This project, and those it is shared with";
        Private = "private", "This project";
    }
}

/// The values themselves.
pub(super) fn values<T: Copy>(choices: &[Choice<T>]) -> Vec<T> {
    choices.iter().map(|choice| choice.0).collect()
}
