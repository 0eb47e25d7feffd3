//! What can be done about causes that any work may meet.

use image_core::block::NotADisk;
use image_core::format::{ReferenceRule, UnsupportedFormat, UnsupportedKind};
use image_core::new_file::{PlaceError, PlaceRule};

use crate::size::Size;

/// A link of the chain of an error.
type Link = dyn std::error::Error + 'static;

/// What can be done about a cause that any work may meet, where it says nothing better itself: a file that is in the way, an
/// image of a format that is not read, a file that must not grow. `links` are an error and what it is caused by, link by link.
pub(super) fn advice_for<'a>(links: impl Iterator<Item = &'a Link> + Clone) -> Option<String> {
    if let Some(PlaceError { path, rule }) = links.clone().find_map(cause_of) {
        return hint_of_place(&path.display().to_string(), *rule);
    }
    if let Some(foreign) = links.clone().find_map(cause_of::<UnsupportedFormat>) {
        return Some(hint_of_foreign(foreign));
    }
    if let Some(ReferenceRule::NotAllowed { .. } | ReferenceRule::Export { .. }) =
        links.clone().find_map(cause_of)
    {
        return Some("goldimg convert --allow-backing -O qcow2 IMAGE WHOLE makes one file of it".to_owned());
    }
    if let Some(no_disk) = links.clone().find_map(cause_of::<NotADisk>) {
        let hint = match no_disk {
            NotADisk::Pipe | NotADisk::Unsized | NotADisk::MadeWhileRead => {
                "put all of it into a file first: cat THAT > disk.raw"
            }
            NotADisk::Folder => "name the image in it",
            NotADisk::CharacterDevice | NotADisk::Socket => return None,
        };
        return Some(hint.to_owned());
    }
    let too_large = rustix::io::Errno::FBIG.raw_os_error();
    (links.clone().find_map(cause_of::<std::io::Error>)?.raw_os_error() == Some(too_large))
        .then(hint_of_size_limit)
}

fn hint_of_place(path: &str, rule: PlaceRule) -> Option<String> {
    Some(match rule {
        PlaceRule::Exists => "--force replaces it".to_owned(),
        PlaceRule::Folder => "name the file in it".to_owned(),
        PlaceRule::MountPoint | PlaceRule::ReadOnlyFolder | PlaceRule::Sticky => {
            format!(
                "write to another place; or empty it (truncate -s 0 {path}): what is empty is written where it is"
            )
        }
        PlaceRule::Immutable => format!("lsattr -d {path} . shows it, chattr -ia takes it away"),
        PlaceRule::LinkOfOthers => "name the file itself".to_owned(),
        PlaceRule::Owner { .. } | PlaceRule::Attribute => {
            format!("to have a new file of your own: rm {path}")
        }
        PlaceRule::Changed => "see what it is now; nothing was changed there".to_owned(),
        PlaceRule::NoFile | PlaceRule::Links => return None,
    })
}

fn hint_of_foreign(foreign: &UnsupportedFormat) -> String {
    // Of a second image, or of one that is written to, other options say it.
    let raw =
        "given as raw (-f raw; of a second image as its own option says) it is taken as the bytes of a disk";
    match (foreign.kind, foreign.decompressor, foreign.name) {
        (_, Some(program), _) => format!("unpack it first ({program}); {raw}"),
        (UnsupportedKind::Disc, ..) => format!("{raw}; goldimg upload sends it as it is"),
        (.., "LUKS") => format!("open it first (cryptsetup open); {raw}"),
        (.., "an Android sparse image") => format!("unpack it first (simg2img); {raw}"),
        (UnsupportedKind::Image, None, name) if name != "an Apple sparse image" => {
            format!("convert it first with a program that reads it (qemu-img convert -O qcow2); {raw}")
        }
        _ => raw.to_owned(),
    }
}

/// A file may be no larger than the shell allows, or the filesystem.
fn hint_of_size_limit() -> String {
    match rustix::process::getrlimit(rustix::process::Resource::Fsize).current {
        Some(limit) => format!("files may have no more than {} here: ulimit -f unlimited", Size(limit)),
        None => "its filesystem has no larger files: write to another one".to_owned(),
    }
}

/// `link` itself, or the rule that an error of the library below has behind its words.
pub(super) fn cause_of<T: std::error::Error + 'static>(link: &Link) -> Option<&T> {
    let below = || link.downcast_ref::<image_core::Error>().and_then(image_core::Error::cause);
    link.downcast_ref().or_else(below)
}
