//! Lists of files on standard output, written in pieces: an image can have millions of them.

use std::process::ExitCode;

use image_core::fs::Time;
use serde::Serialize;

use super::inside::shown;
use crate::failure::FAILED;
use crate::interrupt;
use crate::ui::Ui;

/// So much is gathered before it is written, in bytes.
const PIECE: usize = 64 * 1024;

/// A list that is being written.
pub(super) struct Listing<'a> {
    ui: &'a Ui,
    text: Vec<u8>,
    /// Whether there is a group above the one that begins.
    is_begun: bool,
    /// How many files could not be read.
    unread: u64,
    /// Whether whoever reads it went away.
    is_over: bool,
}

impl<'a> Listing<'a> {
    pub(super) fn new(ui: &'a Ui) -> Self {
        Self { ui, text: Vec::new(), is_begun: false, unread: 0, is_over: false }
    }

    /// Says that what is at `path` could not be read: the list goes on without it.
    pub(super) fn unread(&mut self, path: &[u8], error: &goldimg::Error) {
        self.unread += 1;
        self.ui.warning(&format!("{}: {error:#}", shown(path)));
    }

    /// Says that something that was asked for is not there: the list goes on without it.
    pub(super) fn missing(&mut self, error: &anyhow::Error) {
        self.unread += 1;
        self.ui.warning(&crate::failure::render(error));
    }

    /// Whether nobody reads it any more, or the program is to stop.
    pub(super) fn is_over(&self) -> anyhow::Result<bool> {
        interrupt::token().check()?;
        Ok(self.is_over)
    }

    /// Begins a group of what is in the directory `path`.
    pub(super) fn heading(&mut self, path: &[u8]) -> anyhow::Result<()> {
        let gap = if self.is_begun { "\n" } else { "" };
        self.is_begun = true;
        self.push(&format!("{gap}{}:\n", shown(path)))
    }

    /// Writes cells in columns as wide as their widest one; one that begins with `>` goes to the right, and the last one has no end.
    pub(super) fn rows(&mut self, rows: &[Vec<String>]) -> anyhow::Result<()> {
        let mut widths: Vec<usize> = Vec::new();
        for row in rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.trim_start_matches('>').chars().count());
            }
        }
        for row in rows {
            let mut line = String::new();
            for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let is_last = index + 1 == row.len();
                match cell.strip_prefix('>') {
                    _ if is_last => line.push_str(cell),
                    Some(number) => line.push_str(&format!("{number:>width$} ")),
                    None => line.push_str(&format!("{cell:<width$} ")),
                }
            }
            line.push('\n');
            self.push(&line)?;
        }
        Ok(())
    }

    /// Writes `value` as JSON, on a line of its own.
    pub(super) fn json(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        let line = serde_json::to_string(value)?;
        self.push(&format!("{line}\n"))
    }

    /// Writes `text` as it is.
    pub(super) fn push(&mut self, text: &str) -> anyhow::Result<()> {
        self.bytes(text.as_bytes())
    }

    /// Writes `bytes` as they are.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.text.extend(bytes);
        if self.text.len() > PIECE {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        self.is_over |= !self.ui.data_wanted(&self.text)?;
        self.text.clear();
        Ok(())
    }

    /// Writes what is left. What could not be read makes it a failure.
    pub(super) fn end(mut self) -> anyhow::Result<ExitCode> {
        self.flush()?;
        Ok(if self.unread == 0 { ExitCode::SUCCESS } else { FAILED.into() })
    }
}

/// `time` to the minute, in UTC.
pub(super) fn minute(time: Time) -> String {
    match jiff::Timestamp::from_second(time.seconds) {
        Ok(stamp) => stamp.strftime("%Y-%m-%d %H:%M").to_string(),
        Err(_) => format!("@{}", time.seconds),
    }
}
