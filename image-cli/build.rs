//! Tells the program which code makes a base, and links GCC's unwinder into the program, where the compiler has it as an archive.
//!
//! As a shared library it would be the only one besides those of the C library. Looking for it, and what it asks
//! the processor about when it is loaded, is a tenth of the time that a short command takes.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::process::Command;

/// All that a base is made by.
const GOLDEN: &str = "src/golden";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={GOLDEN}");
    println!("cargo::rustc-env=GOLDIMG_CODE={}", code());
    let native = told("HOST") == told("TARGET");
    let gnu = told("CARGO_CFG_TARGET_OS") == "linux" && told("CARGO_CFG_TARGET_ENV") == "gnu";
    if native && gnu && compiler_has("libgcc_eh.a") {
        println!("cargo::rustc-link-lib=static:-bundle=gcc_eh");
    }
}

/// What tells the code that builds from any other: a layer that other code made is not taken.
fn code() -> String {
    let mut files = vec![format!("{GOLDEN}.rs")];
    let mut folders = vec![GOLDEN.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.path().to_string_lossy().into_owned();
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder { folders.push(name) } else { files.push(name) }
        }
    }
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        (&file, std::fs::read(&file).unwrap_or_default()).hash(&mut hasher);
    }
    format!("{}-{:016x}", told("CARGO_PKG_VERSION"), hasher.finish())
}

fn told(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// Whether the C compiler, which links, knows where `library` is: of what it does not know it repeats the name.
fn compiler_has(library: &str) -> bool {
    let output = Command::new("cc").arg(format!("-print-file-name={library}")).output();
    output.is_ok_and(|output| output.status.success() && output.stdout.starts_with(b"/"))
}
