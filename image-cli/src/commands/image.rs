//! What commands that look at an image have in common: its name, its format, opening it, and how the answer is shown.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use goldimg::printable::printable;
use image_core::ErrorKind;
use image_core::format::{
    Format, FormatNode, Image, ImageWriter, OpenOptions, ProbeRule, ReferenceRule, References, Share,
    WriteOptions,
};
use image_core::free_space::FreeSpace;
use image_core::nbd::Address;
use image_core::new_file::NewFile;

use crate::failure::Advise;
use crate::ui::Ui;

/// The image, and how the answer is shown.
#[derive(Debug, clap::Args)]
pub(crate) struct ImageArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub(crate) path: PathBuf,
    /// The format: raw, qcow2, vmdk, vpc (vhd), vhdx, vdi, parallels, qcow, qed [default: what it looks like]
    #[arg(short = 'f', long, value_name = "FORMAT")]
    pub(crate) format: Option<Format>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// How the answer is shown
    #[arg(long, value_enum, value_name = "HOW", default_value_t)]
    output: Output,
    /// Look at it even if it is in use
    #[arg(short = 'U', long)]
    force_share: bool,
}

/// How an answer is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    #[default]
    Human,
    /// As JSON
    Json,
}

impl ImageArgs {
    /// Whether the answer is wanted as JSON.
    pub(crate) fn wants_json(&self) -> bool {
        self.json || self.output == Output::Json
    }

    /// What others may do while what it holds is read.
    pub(crate) fn share(&self) -> Share {
        if self.force_share { Share::Writers } else { Share::Readers }
    }

    /// How the image is opened for a look at it.
    pub(crate) fn options(&self) -> OpenOptions {
        // A raw image that somebody writes to is no riddle: what is shown of it are its sizes.
        let share = if self.force_share { Share::Writers } else { Share::RawWriters };
        OpenOptions { format: self.format, share, ..OpenOptions::default() }
    }
}

/// An image that is changed in place.
#[derive(Debug, clap::Args)]
pub(crate) struct WriteArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub(crate) path: PathBuf,
    /// The format: raw or qcow2 [default: what it looks like]
    #[arg(short = 'f', long, value_name = "FORMAT")]
    pub(crate) format: Option<Format>,
    /// Open the files that the image names, beneath its own folder
    #[arg(long)]
    pub(crate) allow_backing: bool,
}

impl WriteArgs {
    /// How it is opened.
    pub(crate) fn options(&self) -> WriteOptions {
        let references = if self.allow_backing { References::AllowBeneath } else { References::Refuse };
        WriteOptions { format: self.format, references, share: Share::RawWriters, parse_filename: None }
    }

    /// Opens it for writing.
    pub(crate) fn open(&self, ui: &Ui) -> anyhow::Result<ImageWriter> {
        let unclosed = self.unclosed();
        let image = advised(ImageWriter::open(&self.path, self.options()))?;
        unclosed.tell(ui);
        Ok(image)
    }

    /// Whether it was not closed.
    pub(crate) fn unclosed(&self) -> Unclosed {
        Unclosed::look(&self.path, self.format)
    }
}

/// An image that was not closed when it was written last. Whatever writes it next counts its refcounts again first, which
/// takes time and is worth knowing.
#[must_use]
pub(crate) struct Unclosed {
    name: Option<String>,
}

impl Unclosed {
    /// Looks whether the image at `path` is one. What else is wrong with it, who opens it for writing finds. An export is not
    /// looked at: its server may be there for one connection.
    pub(crate) fn look(path: &Path, format: Option<Format>) -> Self {
        if path.to_str().is_some_and(Address::is_meant_by) {
            return Self { name: None };
        }
        let look = OpenOptions {
            format,
            references: References::Refuse,
            share: Share::Writers,
            ..OpenOptions::default()
        };
        let header = FormatNode::open(path, look).ok().and_then(|member| member.header);
        let is_unclosed = header.is_some_and(|header| header.is_dirty() && !header.is_corrupt());
        Self { name: is_unclosed.then(|| printable(&path.display().to_string())) }
    }

    /// Says so, once it was opened for writing.
    pub(crate) fn tell(self, ui: &Ui) {
        if let Some(name) = self.name {
            ui.note(&format!("{name} was not closed: its refcounts were counted again"));
        }
    }
}

/// `image` as it was when the snapshot `name` was taken.
pub(crate) fn at_snapshot(image: &Image, name: &str) -> anyhow::Result<Image> {
    let there = image.at_snapshot(name);
    there.hint(|| format!("goldimg snapshot {} lists them", printable(&image.path().display().to_string())))
}

/// Adds what can be done about an image that is not written.
pub(crate) fn advised<T>(done: image_core::Result<T>) -> anyhow::Result<T> {
    let hint = match done.as_ref() {
        Err(error) if error.kind() == ErrorKind::InUse => "stop the program that uses it",
        Err(error) if error.cause::<ProbeRule>().is_some() => "-f qcow2 or -f raw says which it is",
        Err(error) if matches!(error.cause(), Some(ReferenceRule::NotAllowed { .. })) => {
            "--allow-backing opens files beneath the folder of IMAGE"
        }
        _ => return Ok(done?),
    };
    done.hint(|| hint)
}

/// Adds what can be done about an image that could not be opened because it is in use.
pub(crate) fn unless_shared<T>(opened: image_core::Result<T>) -> anyhow::Result<T> {
    match opened {
        Err(error) if error.kind() == ErrorKind::InUse => {
            Err(error).hint(|| "-U looks at it all the same; what it shows may be out of date or torn")
        }
        opened => Ok(opened?),
    }
}

/// Says which filesystems could not be looked into for free space.
pub(crate) fn tell_of_skipped(found: &FreeSpace, ui: &Ui) {
    for (place, why) in &found.skipped {
        let kind = place.signature.as_ref().map_or(String::new(), |own| format!("{} on ", own.kind));
        let at = place.offset;
        ui.warning(&printable(&format!(
            "all of the {kind}{place}, at offset {at:#x}, is taken as in use: {why}"
        )));
    }
}

/// Says that what is replaced stays under its other names.
pub(crate) fn tell_of_other_names(new: &NewFile, ui: &Ui) {
    let count = new.other_names();
    if count > 0 {
        let names = if count == 1 { "another name, which keeps" } else { "other names, which keep" };
        ui.warning(&format!("{} has {names} the old content (ls -i shows it)", new.place().display()));
    }
}

/// Whether files that an image names are opened.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(crate) struct Backing {
    /// Open the files that an image names, beneath its own folder
    #[arg(long = "allow-backing", alias = "backing")]
    pub(crate) allowed: bool,
    /// What the size of a VHD is from [default: as the program has it that made it]
    #[arg(long, value_enum, value_name = "WHAT")]
    pub(crate) size_from: Option<SizeFrom>,
}

/// What the size of a VHD is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SizeFrom {
    /// The size in its footer
    Footer,
    /// Cylinders, heads and sectors in its footer
    Chs,
}

impl From<SizeFrom> for image_core::foreign::SizeFrom {
    fn from(from: SizeFrom) -> Self {
        match from {
            SizeFrom::Footer => Self::Footer,
            SizeFrom::Chs => Self::Geometry,
        }
    }
}

impl Backing {
    /// Opens the image at `path` for reading.
    pub(crate) fn open(
        self,
        path: &Path,
        format: Option<Format>,
        share: Share,
        ui: &Ui,
    ) -> anyhow::Result<Image> {
        let references = if self.allowed { References::AllowBeneath } else { References::Refuse };
        let size_from = self.size_from.map(Into::into);
        let options = OpenOptions { format, references, share, parse_filename: None, size_from };
        let opened = Image::open(path, options);
        let hint = match opened.as_ref().map_err(image_core::Error::kind) {
            Err(ErrorKind::Refused) if self.allowed => {
                Some("move what it names beneath the folder of the image")
            }
            Err(ErrorKind::Refused) => Some("--allow-backing opens files beneath the folder of the image"),
            _ => None,
        };
        let image = match hint {
            Some(hint) => opened.hint(|| hint)?,
            None => unless_shared(opened)?,
        };
        if image.as_qcow2().is_some_and(|image| image.header().is_corrupt()) {
            ui.warning(&format!("{} is marked as damaged", printable(&path.display().to_string())));
        }
        Ok(image)
    }
}

/// A number of bytes for people: "197120 bytes", "10 MiB", "1.4 GiB".
pub(crate) fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let exponent = (bytes.ilog2() / 10).min(6);
    let value = bytes as f64 / f64::from(exponent * 10).exp2();
    let digits = if value.fract() < 0.005 || value >= 100.0 { 0 } else { 1 };
    format!("{value:.digits$} {}", UNITS[exponent as usize - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        let shown = [0, 1023, 1024, 197_120, 10 << 20, 1_503_238_553, u64::MAX].map(human_size);
        assert_eq!(shown, ["0 bytes", "1023 bytes", "1 KiB", "192 KiB", "10 MiB", "1.4 GiB", "16 EiB"]);
    }
}
