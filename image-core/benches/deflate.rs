//! Speed and size of the deflate encoder beside zlib, one thread, by CPU time.
//!
//! `cargo bench -p image-core --bench deflate [-- FILE …]`: each file in clusters of 64 KiB, all levels. Without files,
//! data made here: words, numbers, machine code of this program, random bytes. zlib runs in the same round, with what QEMU
//! uses: level 6, a window of 4 KiB, memory level 9. Clusters of zeroes are left out, as a converter does.

use std::io::Write;

use image_core::deflate::{Encoder, Level};

const CLUSTER: usize = 65_536;
const ROUNDS: usize = 5;

/// One input, with a name to print.
struct Corpus {
    name: String,
    bytes: Vec<u8>,
}

/// What one encoder did with a corpus: the best CPU time of the rounds, and the size of all clusters.
struct Outcome {
    seconds: f64,
    size: usize,
}

fn main() -> std::io::Result<()> {
    let files: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let corpora = if files.is_empty() { made_here()? } else { read(&files)? };
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{:<20} {:>7} {:>8} {:>8} {:>8} {:>8}",
        "corpus", "encoder", "MB/s", "ratio", "vs zlib", "speed"
    )?;
    for corpus in &corpora {
        let clusters: Vec<&[u8]> =
            corpus.bytes.chunks(CLUSTER).filter(|cluster| cluster.iter().any(|&byte| byte != 0)).collect();
        let total: usize = clusters.iter().map(|cluster| cluster.len()).sum();
        let zlib = measure(&clusters, zlib_size);
        let mut line = |encoder: &str, outcome: &Outcome| {
            writeln!(
                out,
                "{:<20} {:>7} {:>8.1} {:>8.4} {:>8.4} {:>7.1}x",
                corpus.name,
                encoder,
                total as f64 / outcome.seconds / 1e6,
                outcome.size as f64 / total as f64,
                outcome.size as f64 / zlib.size as f64,
                zlib.seconds / outcome.seconds,
            )
        };
        line("zlib-6", &zlib)?;
        for number in 1..=9 {
            let Some(level) = Level::new(number) else { continue };
            let mut encoder = Encoder::new(level);
            let mut stream = Vec::new();
            let outcome = measure(&clusters, |cluster| {
                stream.clear();
                if encoder.encode(cluster, &mut stream, cluster.len() - 1) {
                    stream.len()
                } else {
                    cluster.len()
                }
            });
            line(&format!("level {number}"), &outcome)?;
        }
    }
    Ok(())
}

/// Runs `size_of` over all clusters, several times.
fn measure(clusters: &[&[u8]], mut size_of: impl FnMut(&[u8]) -> usize) -> Outcome {
    let mut best = Outcome { seconds: f64::MAX, size: 0 };
    for _ in 0..ROUNDS {
        let before = thread_seconds();
        let size = clusters.iter().map(|cluster| size_of(cluster)).sum();
        best = Outcome { seconds: best.seconds.min(thread_seconds() - before), size };
    }
    best
}

/// CPU time of this thread.
fn thread_seconds() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9
}

/// The size of a cluster by zlib as QEMU calls it; the cluster's own if that is smaller.
fn zlib_size(cluster: &[u8]) -> usize {
    let mut out = vec![0u8; CLUSTER];
    let mut stream = std::mem::MaybeUninit::<libz_sys::z_stream>::zeroed();
    let stream = stream.as_mut_ptr();
    // SAFETY: deflateInit2_ asks for a z_stream of zeroes (null allocators mean zlib's own) and for the version and size of
    // the library linked. Fields are reached through the pointer only. The pointers and lengths are those of slices that
    // live until deflateEnd, which frees everything.
    unsafe {
        let (version, size) = (libz_sys::zlibVersion(), size_of::<libz_sys::z_stream>() as i32);
        let strategy = libz_sys::Z_DEFAULT_STRATEGY;
        assert_eq!(libz_sys::deflateInit2_(stream, 6, 8, -12, 9, strategy, version, size), libz_sys::Z_OK);
        (*stream).next_in = cluster.as_ptr().cast_mut();
        (*stream).avail_in = cluster.len() as u32;
        (*stream).next_out = out.as_mut_ptr();
        (*stream).avail_out = out.len() as u32;
        let ended = libz_sys::deflate(stream, libz_sys::Z_FINISH) == libz_sys::Z_STREAM_END;
        let written = (*stream).total_out as usize;
        libz_sys::deflateEnd(stream);
        if ended { written.min(cluster.len()) } else { cluster.len() }
    }
}

fn read(files: &[String]) -> std::io::Result<Vec<Corpus>> {
    files.iter().map(|file| Ok(Corpus { name: base_name(file), bytes: std::fs::read(file)? })).collect()
}

fn base_name(file: &str) -> String {
    file.rsplit('/').next().unwrap_or(file).to_owned()
}

/// Data that needs no file but this program.
fn made_here() -> std::io::Result<Vec<Corpus>> {
    let mut state = 1u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let words: Vec<String> = (0..800)
        .map(|_| (0..2 + next() % 8).map(|_| char::from(b'a' + (next() % 26) as u8)).collect())
        .collect();
    let mut text = String::new();
    let mut records = String::new();
    while text.len() < 8 << 20 {
        text.push_str(&words[(next() % 800).min(next() % 800) as usize]);
        text.push(if next() % 12 == 0 { '\n' } else { ' ' });
    }
    while records.len() < 8 << 20 {
        let (name, size, time) =
            (&words[(next() % 800) as usize], next() % 1_000_000, 1_700_000_000 + next() % 10_000);
        records.push_str(&format!("{{\"name\": \"{name}\", \"size\": {size}, \"time\": {time}}}\n"));
    }
    let mut program = std::fs::read(std::env::current_exe()?)?;
    program.truncate(16 << 20);
    let random = (0..8 << 20).map(|_| next() as u8).collect();
    let corpus = |name: &str, bytes| Corpus { name: name.to_owned(), bytes };
    Ok(vec![
        corpus("words", text.into_bytes()),
        corpus("records", records.into_bytes()),
        corpus("this program", program),
        corpus("random", random),
    ])
}
