//! Prints a file out of an image, which is neither mounted nor changed:
//!
//! ```text
//! cargo run --release --package image-core --example read_file -- IMAGE /etc/os-release
//! ```

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use image_core::block::{BlockRead, Window};
use image_core::format::{Image, OpenOptions};
use image_core::fs::{self, Files};
use image_core::partition::PartitionTable;

/// No larger file is read.
const LIMIT: u64 = 64 << 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [image, path] = arguments.as_slice() else { return Err("an image and a path, please".into()) };
    let disk: Arc<dyn BlockRead> = Arc::new(Image::open(image, OpenOptions::default())?);
    let ranges = match PartitionTable::read(&*disk)? {
        Some(table) => table.partitions.iter().map(|partition| partition.range).collect(),
        None => vec![image_core::block::ByteRange::whole(disk.size())],
    };
    for range in ranges {
        // What cannot be read here (swap, boot code, another filesystem) does not have it.
        let Ok(files) = fs::open(Arc::new(Window::new(Arc::clone(&disk), range)?)) else { continue };
        if let Some(content) = files.read(Path::new(path), LIMIT)? {
            std::io::stdout().write_all(&content)?;
            return Ok(());
        }
    }
    Err(format!("{image} has no file {path}").into())
}
