//! Which permission bits what is copied has in the image.
//!
//! ```text
//!                 new                                           in place of a file
//! mode = …        that                                          that
//! preserve mode   the source's                                  the source's
//! neither         0755 if its owner may execute it, else 0644   those that were there, execution as in the source
//! ```
//!
//! The umask of whoever made the source does not show: git keeps no more of a mode than whether a file is executable.

use crate::golden::recipe::{Copy, Preserve};

/// The owner's right to execute.
const EXECUTABLE: u32 = 0o100;

/// The mode of a file that is made from one with the mode `source`.
pub(crate) fn file_mode(step: &Copy, source: u32) -> u32 {
    match step.mode {
        Some(mode) => mode,
        None if step.preserves(Preserve::Mode) => source & 0o7777,
        None if source & EXECUTABLE != 0 => 0o755,
        None => 0o644,
    }
}

/// The mode of a folder that is made from one with the mode `source`.
pub(crate) fn folder_mode(step: &Copy, source: u32) -> u32 {
    match step.folder_mode {
        Some(mode) => mode,
        None if step.preserves(Preserve::Mode) => source & 0o7777,
        None => 0o755,
    }
}

/// The mode of a file in place of one with the mode `there`, as `rsync --executability` has it: whoever may read it may
/// execute it if the source's owner may, and nobody otherwise. Special bits were for what was there.
pub(super) fn kept_mode(there: u32, source: u32) -> u32 {
    let (there, readers) = (there & 0o666, there & 0o444);
    if source & EXECUTABLE == 0 { there } else { there | readers >> 2 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::steps::copy::tests::step;

    #[test]
    fn of_a_mode_only_execution_counts() {
        let plain = step("x", "/x");
        for (umask, (file, program)) in
            [(0o022, (0o644, 0o755)), (0o002, (0o664, 0o775)), (0o077, (0o600, 0o700))]
        {
            assert_eq!(file_mode(&plain, file), 0o644, "{umask:o}");
            assert_eq!(file_mode(&plain, program), 0o755, "{umask:o}");
            assert_eq!(folder_mode(&plain, 0o777 & !umask), 0o755, "{umask:o}");
        }
        assert_eq!(file_mode(&plain, 0o4711), 0o755);
    }

    #[test]
    fn what_the_recipe_says_counts_more() {
        let exact = Copy { mode: Some(0o600), folder_mode: Some(0o700), ..step("x", "/x") };
        assert_eq!((file_mode(&exact, 0o755), folder_mode(&exact, 0o755)), (0o600, 0o700));
        let kept = Copy { preserve: vec![Preserve::Mode], ..step("x", "/x") };
        assert_eq!((file_mode(&kept, 0o4711), folder_mode(&kept, 0o3770)), (0o4711, 0o3770));
    }

    #[test]
    fn a_file_in_place_of_another_is_open_to_nobody_else() {
        assert_eq!(kept_mode(0o440, 0o644), 0o440);
        assert_eq!(kept_mode(0o640, 0o755), 0o750);
        assert_eq!(kept_mode(0o4755, 0o644), 0o644);
        assert_eq!(kept_mode(0o4755, 0o755), 0o755);
    }
}
