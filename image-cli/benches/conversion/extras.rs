//! What is not a race: threads, memory, the committer by itself, and the encoder in instructions.

use std::fmt::Write;
use std::fs::{self, File};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use image_core::Result;
use image_core::block::{BlockRead, ByteRange, FileDisk};
use image_core::convert::{Encoder, Options, Piece, Sink, convert};

use super::data::Data;
use super::measure::{median, run};

const MIB: u64 = 1024 * 1024;

/// All of it, as Markdown.
pub(crate) fn all(data: &Data, folder: &Path) -> String {
    [threads(data, folder), memory(data, folder), committer(), instructions(data, folder)].concat()
}

fn words(arguments: &[&str]) -> Vec<String> {
    let program = [env!("CARGO_BIN_EXE_goldimg"), "convert", "-q", "--force"];
    program.iter().chain(arguments).map(|word| (*word).to_owned()).collect()
}

/// The first `size` bytes of the tree as a file of their own.
fn sample(data: &Data, folder: &Path, size: u64) -> String {
    let path = folder.join("sample.raw");
    let tree = FileDisk::open(&data.tree).unwrap();
    let mut bytes = vec![0; size.min(tree.size()) as usize];
    tree.read_at(&mut bytes, 0).unwrap();
    fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

fn threads(data: &Data, folder: &Path) -> String {
    let mut text = String::from(
        "## Threads\n\nMiB/s of 64 MiB of the tree, by wall time and by CPU time.\n\n\
         | threads | deflate: wall | CPU | zstd: wall | CPU |\n| --- | --- | --- | --- | --- |\n",
    );
    let source = sample(data, folder, 64 * MIB);
    let size = fs::metadata(&source).unwrap().len() as f64 / MIB as f64;
    let target = folder.join("target").to_str().unwrap().to_owned();
    for threads in ["1", "2", "4", "8", "16"] {
        let speeds = ["deflate", "zstd"].map(|codec| {
            let codec = format!("compression_type={codec}");
            let line = words(&["-c", "-o", &codec, "-m", threads, "-f", "raw", &source, &target]);
            let runs: Vec<_> = (0..3).map(|_| run(&line)).collect();
            let (wall, cpu) = (median(&runs, |taken| taken.wall), median(&runs, |taken| taken.cpu));
            format!("{:.0} | {:.0}", size / wall, size / cpu)
        });
        let _ = writeln!(text, "| {threads} | {} |", speeds.join(" | "));
    }
    text + "\n"
}

fn memory(data: &Data, folder: &Path) -> String {
    let mut text = String::from(
        "## Memory\n\nThe most that is resident, in MiB, at 2 threads; 64 MiB of data at the start of a disk of each size.\n\n\
         | virtual size | plain | deflate | zstd |\n| --- | --- | --- | --- |\n",
    );
    let source = sample(data, folder, 64 * MIB);
    let target = folder.join("target").to_str().unwrap().to_owned();
    for (name, size) in [("1 GiB", 1 << 30), ("64 GiB", 64 << 30), ("1 TiB", 1_u64 << 40)] {
        File::options().write(true).open(&source).unwrap().set_len(size).unwrap();
        let options: [&[&str]; 3] = [&[], &["-c"], &["-c", "-o", "compression_type=zstd"]];
        let figures = options.map(|options| {
            let ends = ["-m", "2", "-O", "qcow2", "-f", "raw", &source, &target];
            format!("{:.1}", run(&words(&[options, &ends].concat())).memory as f64 / MIB as f64)
        });
        let _ = writeln!(text, "| {name} | {} |", figures.join(" | "));
    }
    text + "\n"
}

/// Takes everything and keeps nothing.
struct Nowhere;

/// Takes a millisecond for each unit, and no core meanwhile: so that more workers than cores can be busy.
struct Patient;

impl Encoder for Patient {
    fn encode(&mut self, _unit: &[u8], packed: &mut Vec<u8>) -> Result<bool> {
        std::thread::sleep(Duration::from_millis(1));
        packed.push(1);
        Ok(true)
    }
}

impl Sink for Nowhere {
    fn unit_size(&self) -> u64 {
        65536
    }
    fn encoder(&self) -> Result<Option<Box<dyn Encoder>>> {
        Ok(Some(Box::new(Patient)))
    }
    fn put(&mut self, _range: ByteRange, _piece: Piece<'_>) -> Result<()> {
        Ok(())
    }
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

/// A disk that is all data, and quickly read.
struct Ones;

impl BlockRead for Ones {
    fn size(&self) -> u64 {
        128 * MIB
    }
    fn read_at(&self, buf: &mut [u8], _offset: u64) -> Result<()> {
        buf.fill(1);
        Ok(())
    }
}

fn committer() -> String {
    let mut text = String::from(
        "## The ordered line\n\nA sink that keeps nothing, and workers that take a millisecond for each cluster without \
         using a core: whether committing in order keeps them waiting.\n\n\
         | workers | clusters/s | of what one worker does, times their number |\n| --- | --- | --- |\n",
    );
    let mut alone = 0.0;
    for threads in [1, 2, 4, 8, 16] {
        let started = Instant::now();
        let options = Options { threads: NonZeroUsize::new(threads), ..Options::default() };
        convert(&Ones, &mut Nowhere, &options).unwrap();
        let speed = Ones.size() as f64 / 65536.0 / started.elapsed().as_secs_f64();
        if threads == 1 {
            alone = speed;
        }
        let _ =
            writeln!(text, "| {threads} | {speed:.0} | {:.0} % |", speed * 100.0 / alone / threads as f64);
    }
    text + "\n"
}

/// Instructions of the encoder, by callgrind: all of a conversion, without what one to plain clusters takes.
fn instructions(data: &Data, folder: &Path) -> String {
    let source = sample(data, folder, MIB);
    let target = folder.join("target").to_str().unwrap().to_owned();
    let size = fs::metadata(&source).unwrap().len() as f64;
    let count = |options: &[&str]| -> Option<f64> {
        let line = words(&[options, &["-m", "1", "-O", "qcow2", "-f", "raw", &source, &target]].concat());
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .args(line)
            .output()
            .ok()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok())
    };
    let mut text = String::from("## The deflate encoder in instructions\n\n");
    let Some(without) = count(&[]) else {
        return text + "Left out: valgrind is not here.\n\n";
    };
    text += "For each byte of 1 MiB of the tree, by callgrind: a slowdown shows on any machine.\n\n\
             | level | instructions/byte |\n| --- | --- |\n";
    for level in ["1", "2", "3", "4", "5", "6", "7", "8", "9"] {
        if let Some(with) = count(&["-c", "--level", level]) {
            let _ = writeln!(text, "| {level} | {:.1} |", (with - without) / size);
        }
    }
    text + "\n"
}
