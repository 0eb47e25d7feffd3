//! Converts any image to a compressed qcow2, says how far it is, and prints the SHA-256 of the disk:
//!
//! ```text
//! cargo run --release --package image-core --example convert -- SOURCE TARGET.qcow2
//! ```

use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::Duration;

use image_core::block::BlockRead;
use image_core::convert::{Options, convert};
use image_core::digest::Algorithm;
use image_core::format::{Image, OpenOptions};
use image_core::new_file::{Existing, NewFile};
use image_core::progress::Counter;
use image_core::qcow2::{Codec, NewImage, Qcow2Sink};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [source, target] = arguments.as_slice() else { return Err("two files, please".into()) };
    let source = Image::open(source, OpenOptions::default())?;
    let image = NewImage::new(source.size())?.with_codec(Codec::default(), true)?;
    // Nothing has the target's name before it is whole.
    let new = NewFile::at(Path::new(target), Existing::Refuse)?;
    let mut sink = Qcow2Sink::new(new.disk(), image)?;
    let progress = Counter::default();
    let options = Options { digests: &[Algorithm::Sha256], progress: &progress, ..Options::default() };
    let summary = thread::scope(|scope| {
        let work = scope.spawn(|| convert(&source, &mut sink, &options));
        while !work.is_finished() {
            let _ = write!(std::io::stderr(), "\r{} of {} bytes ", progress.done(), source.size());
            thread::sleep(Duration::from_millis(200));
        }
        work.join().map_err(|_| "a thread panicked")
    })??;
    new.keep()?;
    writeln!(std::io::stdout(), "{}  {} bytes stored", summary.digests[0].hex, summary.stored)?;
    Ok(())
}
