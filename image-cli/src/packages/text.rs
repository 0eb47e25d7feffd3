//! Names and versions as text.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::rule::DatabaseRule;

/// What a name or a version may have, in bytes: together with the release it is the name of a file.
const FIELD_MAX: usize = 512;

/// `bytes` as text.
pub(super) fn text_of(bytes: &[u8]) -> Result<String, DatabaseRule> {
    match bytes.len() > FIELD_MAX {
        true => Err(DatabaseRule::FieldTooLong { len: bytes.len(), limit: FIELD_MAX }),
        false => Ok(String::from_utf8_lossy(bytes).into_owned()),
    }
}
