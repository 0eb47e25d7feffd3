//! `goldimg amend`: options of a qcow2 image that is there.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use goldimg::printable::printable;
use image_core::block::BlockWrite;
use image_core::format::FormatNode;
use image_core::qcow2::Version;
use image_core::qcow2::write::{Amendment, amend, change_backing_file};

use super::image::{WriteArgs, advised};
use super::image_options::ImageOptions;
use crate::failure::{Advise, USAGE};
use crate::ui::Ui;

/// What can be changed.
const KEYS: [&str; 5] = ["compat", "refcount_bits", "lazy_refcounts", "backing_file", "backing_fmt"];

/// The command line of `goldimg amend`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  goldimg amend -o compat=1.1,lazy_refcounts=on disk.qcow2
  goldimg amend -o compat=0.10 disk.qcow2       for old programs: marked zeroes are written out
  goldimg amend -o refcount_bits=64 disk.qcow2

Each of these happens at one moment: a crash leaves the image as it was, or as it is after.")]
pub(crate) struct Args {
    #[command(flatten)]
    image: WriteArgs,
    /// What to change: compat, refcount_bits, lazy_refcounts, backing_file, backing_fmt
    #[arg(short = 'o', value_name = "KEY=VALUE,…", required = true)]
    options: Vec<String>,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    let mut options = ImageOptions::default();
    for list in &args.options {
        options.read(list).exit_code(USAGE)?;
    }
    options.refuse_all_but(&KEYS).exit_code(USAGE)?;
    let named = options.backing_file.as_ref().is_some_and(|name| !name.is_empty());
    if named && options.backing_format.is_none() {
        return Err(anyhow!("the backing file's format is missing"))
            .hint(|| "-o backing_fmt=raw or backing_fmt=qcow2 says what it is")
            .exit_code(USAGE);
    }
    let path = &args.image.path;
    let name = printable(&path.display().to_string());
    let unclosed = args.image.unclosed();
    let member = advised(FormatNode::open_writable(path, args.image.format))?;
    let header = member.header.ok_or_else(|| anyhow!("{name}: a raw image has no options"));
    let header = header.hint(|| format!("goldimg convert -O qcow2 {name} OUTPUT"))?;
    let amendment = Amendment {
        version: options.version,
        refcount_bits: options.refcount_bits,
        lazy_refcounts: options.lazy_refcounts,
    };
    let has_bitmaps = header.bitmaps().is_some();
    let file: Arc<dyn BlockWrite> = Arc::new(member.file);
    let header = amend(&file, &header, amendment).with_context(|| format!("amending {name}"))?;
    if let Some(backing) = &options.backing_file {
        let format = options.backing_format.map(|format| format.to_string());
        let new = (!backing.is_empty()).then_some((backing.as_slice(), format.as_deref()));
        change_backing_file(&*file, &header, new).with_context(|| format!("amending {name}"))?;
    }
    unclosed.tell(ui);
    if has_bitmaps && header.version == Version::V2 {
        ui.warning(&format!(
            "{name}: its persistent bitmaps are gone, which version 2 (compat 0.10) does not have"
        ));
    }
    ui.note(&format!("{name}: amended"));
    Ok(ExitCode::SUCCESS)
}
