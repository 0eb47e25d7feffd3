//! Unpacks an archive into filesystems of a raw image that only a kernel writes (XFS, Btrfs), by the image's own kernel in a guest that is
//! thrown away. A word for each volume: its number among those of the image, counted from 0, where it is mounted, and its options; and one
//! for each path that is removed before; `memory=MIB` gives the guest more or less of that:
//!
//! ```text
//! cargo run --release --package image-cli --example unpack -- IMAGE ARCHIVE 0=/,subvol=@ 0=/home,subvol=@home -/etc/motd
//! ```

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use goldimg::guest::{GuestVolume, Request, apply};
use goldimg::monitor::Silent;
use goldimg::system::System;
use goldimg::{CancellationToken, Error, Monitor, Variables};
use image_core::block::FileDisk;

fn main() -> ExitCode {
    if let Some(code) = goldimg::run_as_helper() {
        return code;
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error:?}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> goldimg::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [image, archive, changes @ ..] = words.as_slice() else {
        return Err(Error::failed("an image, an archive and where volumes are mounted, please"));
    };
    let system = System::open(Arc::new(FileDisk::open(image)?))?;
    let variables: Variables = std::env::vars_os().collect();
    let folder = variables.folder("TMPDIR").unwrap_or_else(|| "/tmp".into());
    let (mut volumes, mut removed, mut memory) = (Vec::new(), Vec::new(), None);
    for change in changes {
        if let Some(path) = change.strip_prefix('-') {
            removed.push(path.as_bytes().to_vec());
            continue;
        }
        if let Some(size) = change.strip_prefix("memory=") {
            memory = size.parse().ok();
            continue;
        }
        let (number, place) = change.split_once('=').unwrap_or(("", change));
        let (mount, options) = place.split_once(',').unwrap_or((place, ""));
        let found = number.parse().ok().and_then(|number: usize| system.volumes().get(number));
        let volume = found.ok_or_else(|| Error::failed(format!("{change}: there is no such volume")))?;
        volumes.push(GuestVolume::of(volume, mount, options)?);
    }
    let mut request =
        Request::new(Path::new(image), &system, volumes, Path::new(archive), &folder, variables.clone());
    request.removed = removed;
    request.memory_mib = memory.unwrap_or(request.memory_mib);
    let cancel = CancellationToken::new();
    let applied = apply(&request, Monitor::new(&Silent, &cancel))?;
    let [began, took] = [applied.began, applied.took].map(|time| time.as_millis());
    writeln!(
        std::io::stdout(),
        "{} removed, {} unpacked by {} ({:?}): first word after {began} ms, over after {took} ms",
        applied.removed,
        applied.unpacked,
        applied.kernel,
        applied.accelerator
    )?;
    Ok(())
}
