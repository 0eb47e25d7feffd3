//! `qemu-img bitmap`: changes to a persistent bitmap, one after the other; those before one that fails stay made.

use image_core::format::FormatNode;
use image_core::qcow2::bitmap::{self, Bits};
use image_core::qcow2::write::{BitmapChange, BitmapRule, change_bitmaps};
use image_core::{Error, ErrorKind};

use super::failure::Failure;
use super::node::{Node, Wanted};
use super::options::{Given, Opt, flag, long_flag, long_valued, valued};
use super::{Call, bytes, size, words};

pub(super) const OPTIONS: &[Opt] = &[
    flag('h', "help"),
    long_valued("object"),
    long_flag("image-opts"),
    long_flag("add"),
    long_flag("remove"),
    long_flag("clear"),
    long_flag("enable"),
    long_flag("disable"),
    long_valued("merge"),
    valued('g', "granularity"),
    valued('b', "source-file"),
    valued('F', "source-format"),
    valued('f', "format").only_in_full(),
];

/// One change, as it was asked for.
struct Asked {
    what: &'static str,
    /// What is merged.
    source: String,
}

/// What the options say, besides the changes.
#[derive(Default)]
struct Chosen {
    wanted: Wanted,
    granularity: Option<u64>,
    source_file: Option<String>,
    source_format: Option<String>,
}

pub(super) fn run(call: &mut Call) -> Result<u8, Failure> {
    let (mut given, mut asked) = (Chosen::default(), Vec::new());
    while let Some(option) = call.option()? {
        match option.name {
            what @ ("add" | "remove" | "clear" | "enable" | "disable" | "merge") => {
                asked.push(Asked { what, source: option.value });
            }
            _ => given.take(option)?,
        }
    }
    given.check(&asked)?;
    let names = call.names();
    let [file, name] = names.as_slice() else {
        return Err(Failure::new("Expecting filename and bitmap name"));
    };
    let node = Node::parse(file, &given.wanted)?;
    let mut image = node.member_to_write(call)?;
    let source = match &given.source_file {
        Some(file) => {
            let wanted = Wanted { format: given.source_format.clone(), ..Wanted::default() };
            Some(Node::parse(file, &wanted)?.member()?)
        }
        None => None,
    };
    for one in &asked {
        make(&mut image, source.as_ref(), (name, one, given.granularity))
            .map_err(|why| Failure::new(format!("Operation {} on bitmap {name} failed: {why}", one.what)))?;
    }
    Ok(0)
}

impl Chosen {
    fn take(&mut self, option: Given) -> Result<(), Failure> {
        match option.name {
            "granularity" => {
                // 0 is none that was asked for.
                self.granularity =
                    Some(size::argument("granularity", &option.value)?).filter(|&size| size != 0);
            }
            "source-file" => self.source_file = Some(option.value),
            "source-format" => self.source_format = Some(option.value),
            _ => self.wanted.take(option),
        }
        Ok(())
    }

    fn check(&self, asked: &[Asked]) -> Result<(), Failure> {
        let asks = |what: &str| asked.iter().any(|one| one.what == what);
        if asked.is_empty() {
            return Err(Failure::new(
                "Need at least one of --add, --remove, --clear, --enable, --disable, or --merge",
            ));
        }
        if self.granularity.is_some() && !asks("add") {
            return Err(Failure::new("granularity only supported with --add"));
        }
        if self.source_format.is_some() && self.source_file.is_none() {
            return Err(Failure::new("-F only supported with -b"));
        }
        if self.source_file.is_some() && !asks("merge") {
            return Err(Failure::new("Merge bitmap source file only supported with --merge"));
        }
        Ok(())
    }
}

/// Makes one change; what is wrong is said in QEMU's words.
fn make(
    image: &mut FormatNode,
    source: Option<&FormatNode>,
    (shown, asked, granularity): (&str, &Asked, Option<u64>),
) -> Result<(), String> {
    let name = bytes::of_text(shown);
    let Some(header) = &image.header else {
        return Err(match asked.what {
            "add" => "the image format has no persistent bitmaps: Operation not supported".to_owned(),
            _ => format!("Dirty bitmap '{shown}' not found"),
        });
    };
    if asked.what != "add" {
        // Whatever else is wrong: where the change would be made is looked at first.
        let all = bitmap::list(&image.file, header).map_err(|error| words::of_opening(&error))?;
        if !all.iter().any(|bitmap| bitmap.name == name) {
            return Err(format!("Dirty bitmap '{shown}' not found"));
        }
    }
    let change = match asked.what {
        "add" => BitmapChange::Add { name, granularity_bits: granularity_bits(granularity)? },
        "remove" => BitmapChange::Remove(name),
        "clear" => BitmapChange::Clear(name),
        "enable" => BitmapChange::Enable(name),
        "disable" => BitmapChange::Disable(name),
        _ => match source {
            Some(source) => BitmapChange::Merge { name, source: bits_of(source, &asked.source)? },
            None => BitmapChange::MergeOwn { name, source: bytes::of_text(&asked.source) },
        },
    };
    let changed = change_bitmaps(&image.file, header, &[change]);
    image.header = Some(changed.map_err(|error| match error.cause() {
        // In the error a name is text.
        Some(BitmapRule::Exists(_)) => format!("Bitmap already exists: {shown}"),
        _ => why(&error),
    })?);
    Ok(())
}

/// A granularity, as a power of two.
fn granularity_bits(size: Option<u64>) -> Result<Option<u8>, String> {
    match size {
        None => Ok(None),
        Some(size) if size.is_power_of_two() && (512..=1 << 31).contains(&size) => {
            Ok(Some(size.trailing_zeros() as u8))
        }
        Some(_) => Err("Granularity must be power of 2 and at least 512".to_owned()),
    }
}

fn bits_of(source: &FormatNode, name: &str) -> Result<Bits, String> {
    let missing = || format!("Dirty bitmap '{name}' not found");
    let header = source.header.as_ref().ok_or_else(missing)?;
    let bitmaps = bitmap::list(&source.file, header).map_err(|error| words::of_opening(&error))?;
    let found = bitmaps.iter().find(|bitmap| bitmap.name == bytes::of_text(name)).ok_or_else(missing)?;
    if found.is_in_use() {
        return Err(inconsistent(name));
    }
    Bits::read(&source.file, header, found).map_err(|error| words::of_opening(&error))
}

/// What is said of a bitmap that was not saved properly.
pub(super) fn inconsistent(name: &str) -> String {
    format!(
        "Bitmap '{name}' is inconsistent and cannot be used\nTry block-dirty-bitmap-remove to delete this bitmap from disk"
    )
}

fn why(error: &Error) -> String {
    match error.cause::<BitmapRule>() {
        Some(BitmapRule::Missing(name)) => format!("Dirty bitmap '{name}' not found"),
        Some(BitmapRule::Inconsistent(name)) => inconsistent(name),
        Some(BitmapRule::NameLen(0)) => "Bitmap name cannot be empty".to_owned(),
        Some(BitmapRule::NameLen(_)) => "Bitmap name is longer than 1023 bytes".to_owned(),
        Some(BitmapRule::Version) => "Cannot store dirty bitmaps in qcow2 v2 files".to_owned(),
        _ if error.kind() == ErrorKind::Invalid => words::of_chain(error),
        _ => words::of_opening(error),
    }
}
