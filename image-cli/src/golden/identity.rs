//! Names that must be unique and yet the same in every build of the same recipe: GUIDs, UUIDs, volume ids.
//!
//! ```text
//! recipe, as JSON ─ SHA-256 ─► recipe hash ─┐
//!                                           ├─ SHA-256 with a purpose ─► a UUID, a volume id
//!                 SOURCE_DATE_EPOCH ────────┘
//! ```
//!
//! A recipe built on two days gives two images with different names, unless the same date is asked for. The UUIDs
//! say of themselves that they are of version 8, "made in a way of the maker's own" (RFC 9562, 5.8).

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::epoch::Epoch;
use super::recipe::Recipe;

/// Where the names of one image come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    recipe_hash: [u8; 32],
    epoch: Epoch,
}

/// What a name is for. The words are part of what is hashed: changing one changes every image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The GUID of the partition table.
    Disk,
    /// The GUID of the partition with this number.
    Partition(u32),
    /// The UUID of the root filesystem.
    RootFilesystem,
    /// The seed of the root filesystem's directory hashes.
    DirectoryHash,
    /// The serial number of the EFI system partition's FAT.
    EspVolume,
}

impl Identity {
    /// The names of `recipe`, built at `epoch`.
    ///
    /// # Errors
    /// If the recipe cannot be written as JSON.
    pub(crate) fn new(recipe: &Recipe, epoch: Epoch) -> crate::Result<Self> {
        // Of the meaning, not of the file: a comment changes nothing.
        let recipe_hash = Sha256::digest(serde_json::to_vec(recipe)?).into();
        Ok(Self { recipe_hash, epoch })
    }

    /// The SHA-256 of what the recipe says, in hexadecimal digits.
    pub(crate) fn recipe_hash(&self) -> String {
        hex(&self.recipe_hash)
    }

    /// The UUID for `purpose`.
    pub(crate) fn uuid(&self, purpose: Purpose) -> Uuid {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.digest(purpose)[..16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }

    /// The 32 bits for `purpose`, for formats that have no room for a UUID. Never 0, which means "none".
    pub(crate) fn serial(&self, purpose: Purpose) -> u32 {
        let digest = self.digest(purpose);
        u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]]).max(1)
    }

    /// The EFI system partition's serial number as `/dev/disk/by-uuid` has it: `1234-ABCD`.
    pub(crate) fn fat_uuid(&self) -> String {
        let serial = self.serial(Purpose::EspVolume);
        format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff)
    }

    fn digest(&self, purpose: Purpose) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"goldimg identity\0");
        hash.update(self.recipe_hash);
        hash.update(self.epoch.seconds().to_le_bytes());
        match purpose {
            Purpose::Disk => hash.update(b"disk"),
            Purpose::Partition(number) => {
                hash.update(b"partition");
                hash.update(number.to_le_bytes());
            }
            Purpose::RootFilesystem => hash.update(b"root filesystem"),
            Purpose::DirectoryHash => hash.update(b"directory hash"),
            Purpose::EspVolume => hash.update(b"esp volume"),
        }
        hash.finalize().into()
    }
}

/// Bytes in hexadecimal digits, lower case.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::recipe::example;

    fn identity(change: impl FnOnce(&mut Recipe), seconds: u64) -> Identity {
        let mut recipe = example();
        change(&mut recipe);
        Identity::new(&recipe, Epoch::new(seconds).unwrap()).unwrap()
    }

    #[test]
    fn names_follow_from_recipe_date_and_purpose_alone() {
        let one = identity(|_| (), 1_760_000_000);
        let root = one.uuid(Purpose::RootFilesystem);
        assert_eq!(root, identity(|_| (), 1_760_000_000).uuid(Purpose::RootFilesystem));
        assert_ne!(root, identity(|_| (), 1_760_000_001).uuid(Purpose::RootFilesystem));
        assert_ne!(root, identity(|r| r.boot.timeout = 9, 1_760_000_000).uuid(Purpose::RootFilesystem));
        assert_ne!(root, one.uuid(Purpose::DirectoryHash));
        assert_ne!(one.uuid(Purpose::Partition(1)), one.uuid(Purpose::Partition(15)));
        assert_eq!(one.recipe_hash().len(), 64);
    }

    #[test]
    fn uuids_have_the_version_and_variant_of_rfc_9562() {
        let bytes = *identity(|_| (), 0).uuid(Purpose::Disk).as_bytes();
        assert_eq!(bytes[6] >> 4, 8);
        assert_eq!(bytes[8] >> 6, 0b10);
    }
}
