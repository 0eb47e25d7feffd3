//! Links GCC's unwinder into the program, where the compiler has it as an archive.
//!
//! As a shared library it would be the only one besides those of the C library. Looking for it, and what it asks
//! the processor about when it is loaded, is a tenth of the time that a short command takes.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let told = |name: &str| std::env::var(name).unwrap_or_default();
    let native = told("HOST") == told("TARGET");
    let gnu = told("CARGO_CFG_TARGET_OS") == "linux" && told("CARGO_CFG_TARGET_ENV") == "gnu";
    if native && gnu && compiler_has("libgcc_eh.a") {
        println!("cargo::rustc-link-lib=static:-bundle=gcc_eh");
    }
}

/// Whether the C compiler, which links, knows where `library` is: of what it does not know it repeats the name.
fn compiler_has(library: &str) -> bool {
    let output = Command::new("cc").arg(format!("-print-file-name={library}")).output();
    output.is_ok_and(|output| output.status.success() && output.stdout.starts_with(b"/"))
}
