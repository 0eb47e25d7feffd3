//! The program `goldimg`: a command line over the engine, the library of this package.
//!
//! ```text
//! args ─► commands/* ─► goldimg (golden, audit, seal, trial, glance) ─► image-core
//!            │
//!            ├─ ui         all the talking: stages, bars, plain lines, JSON
//!            ├─ interrupt  signals cancel the work
//!            └─ failure    how an error is shown and which exit code it has
//! qemu_img ─► image-core                  the same operations behind the face of another program
//! ```

mod args;
mod commands;
mod failure;
mod interrupt;
mod qemu_img;
mod ui;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    if let Some(code) = goldimg::run_as_helper() {
        return code;
    }
    // Where it cannot be had the program ends as it would without.
    let _ = interrupt::survive_file_size_limit();
    if let Some(words) = qemu_img::words(std::env::args_os()) {
        return qemu_img::run(words);
    }
    let arguments = match args::Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return failure::report_usage(&error),
    };
    let ui = ui::Ui::new(&arguments.talk);
    match commands::run(arguments.command, &ui) {
        Ok(code) => code,
        Err(error) => failure::report(&error, &ui),
    }
}
