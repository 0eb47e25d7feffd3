//! `goldimg dd`: a part of an image, counted in blocks. The operands are those of dd(1); the work is `convert`'s.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use goldimg::printable::printable;
use goldimg::size::Size;
use image_core::block::DdRange;
use image_core::format::Format;

use super::convert;
use super::image::Backing;
use crate::failure::{Advise, USAGE};
use crate::ui::Ui;

/// The bytes of a block where bs= does not say.
const BLOCK_LEN: u64 = 512;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Operands:
  if=IMAGE    the image to read
  of=IMAGE    the image to write; - is standard output
  bs=SIZE     the bytes of a block [default: 512]
  skip=N      blocks of the input that are left out in front [default: 0]
  count=N     blocks that are copied, at most [default: all]

Examples:
  goldimg dd if=disk.qcow2 of=mbr.bin count=1
  goldimg dd -O qcow2 bs=1M skip=128 count=512 if=disk.raw of=part.qcow2")]
pub(crate) struct Args {
    /// The format of the input [default: what it looks like]
    #[arg(short = 'f', long = "source-format", value_name = "FMT")]
    source_format: Option<Format>,
    /// The format of the output [default: qcow2 if its name ends so, else raw; a name that says something else is refused]
    #[arg(short = 'O', long = "target-format", value_name = "FMT")]
    target_format: Option<Format>,
    #[command(flatten)]
    backing: Backing,
    /// Read the input even if it is in use
    #[arg(short = 'U', long)]
    force_share: bool,
    /// Replace the output, or write onto it if it is a device
    #[arg(long)]
    force: bool,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
    /// What is copied, in any order
    #[arg(value_name = "OPERAND=VALUE", required = true)]
    operands: Vec<OsString>,
}

/// Copies.
pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    let Operands { input, output, excerpt } = Operands::parse(&args.operands).exit_code(USAGE)?;
    let conversion = convert::Args {
        source_format: args.source_format,
        target_format: args.target_format,
        backing: args.backing,
        force_share: args.force_share,
        force: args.force,
        json: args.json,
        source: vec![input],
        target: output,
        excerpt: Some(excerpt),
        ..convert::Args::default()
    };
    convert::run(&conversion, ui)
}

/// The operands, understood.
#[derive(Debug)]
struct Operands {
    input: PathBuf,
    output: PathBuf,
    excerpt: DdRange,
}

impl Operands {
    /// Reads `words`; of two of a name the later one counts.
    fn parse(words: &[OsString]) -> anyhow::Result<Self> {
        let (mut input, mut output) = (None, None);
        let mut excerpt = DdRange { block_len: BLOCK_LEN, skip: 0, count: None };
        for word in words {
            let bytes = word.as_bytes();
            let at = bytes.iter().position(|&byte| byte == b'=').unwrap_or(bytes.len());
            let (name, value) = bytes.split_at(at);
            let value = value.strip_prefix(b"=").map(OsStr::from_bytes);
            let value = value.filter(|value| !value.is_empty());
            let value = value.ok_or_else(|| anyhow!("{} has no value", shown(word)));
            let value = value.hint(|| "an operand is NAME=VALUE")?;
            match name {
                b"if" => input = Some(path(value)),
                b"of" => output = Some(path(value)),
                b"bs" => excerpt.block_len = block_len(word, value)?,
                b"skip" => excerpt.skip = number(word, value)?,
                b"count" => excerpt.count = Some(number(word, value)?),
                b"seek" | b"oseek" | b"conv" => {
                    return Err(anyhow!("{}: the output is always a new image", shown(word)))
                        .hint(|| "goldimg convert -n writes into one that is there");
                }
                _ => {
                    return Err(anyhow!("there is no operand {}", shown(OsStr::from_bytes(name))))
                        .hint(|| "there are bs, count, if, of and skip");
                }
            }
        }
        match (input, output) {
            (Some(input), Some(output)) => Ok(Self { input, output, excerpt }),
            (None, _) => Err(anyhow!("there is no input")).hint(|| "if=IMAGE names it"),
            (_, None) => Err(anyhow!("there is no output")).hint(|| "of=IMAGE names it"),
        }
    }
}

fn path(value: &OsStr) -> PathBuf {
    PathBuf::from(OsString::from_vec(value.as_bytes().to_vec()))
}

fn block_len(word: &OsStr, value: &OsStr) -> anyhow::Result<u64> {
    let size =
        value.to_string_lossy().parse::<Size>().map_err(|error| anyhow!("{}: {error}", shown(word)))?;
    match size {
        Size(0) => Err(anyhow!("{}: a block has at least one byte", shown(word))),
        Size(bytes) => Ok(bytes),
    }
}

fn number(word: &OsStr, value: &OsStr) -> anyhow::Result<u64> {
    let number =
        value.to_string_lossy().parse().map_err(|_| anyhow!("{} is no number of blocks", shown(word)));
    number.hint(|| "skip and count are in blocks of bs bytes")
}

fn shown(word: &OsStr) -> String {
    printable(&word.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> anyhow::Result<Operands> {
        Operands::parse(&words.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn operands_are_those_of_dd() {
        let operands = parse("count=3 if=a=b bs=1M of=c skip=2 bs=4K").unwrap();
        assert_eq!((operands.input, operands.output), ("a=b".into(), "c".into()));
        assert_eq!(operands.excerpt, DdRange { block_len: 4096, skip: 2, count: Some(3) });
        assert_eq!(parse("if=a of=b").unwrap().excerpt.block_len, 512);
        for (wrong, told) in [
            ("of=b", "there is no input"),
            ("if=a", "there is no output"),
            ("a b", "a has no value"),
            ("if= of=b", "if= has no value"),
            ("bs=0", "bs=0: a block has at least one byte"),
            ("count=1k", "count=1k is no number of blocks"),
            ("seek=1", "seek=1: the output is always a new image"),
            ("ibs=1", "there is no operand ibs"),
        ] {
            assert_eq!(parse(wrong).unwrap_err().to_string(), told);
        }
        let name = OsString::from_vec(b"if=\xff".to_vec());
        let operands = Operands::parse(&[name, "of=b".into()]).unwrap();
        assert_eq!(operands.input.as_os_str().as_bytes(), b"\xff");
    }
}
