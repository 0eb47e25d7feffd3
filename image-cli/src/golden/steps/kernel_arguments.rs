//! Words of the kernel's command line: for the menus that are there, and for those that are made after each new kernel.
//!
//! ```text
//! Debian, Ubuntu   /etc/default/grub.d/zz-goldimg-arguments.cfg    read after all others by update-grub
//! Fedora, RHEL     /etc/default/grub, /etc/kernel/cmdline          what new kernels get
//!                  /boot/loader/entries/*.conf, /boot/grub2/grubenv     what those that are there have (BLS)
//! ```
//!
//! The menu itself is written after all steps, by whoever runs them. A word that goes is named as it is, or without its value:
//! `quiet` is `quiet` and `quiet=…`, as grubby(8) has it.

use std::path::PathBuf;

use super::text::{put, text};
use crate::error::{Advise, err};
use crate::golden::tree::Tree;

const OWN: &str = "/etc/default/grub.d/zz-goldimg-arguments.cfg";
const SETTINGS: &str = "/etc/default/grub";
const COMMAND_LINE: &str = "/etc/kernel/cmdline";
const ENTRIES: &str = "/boot/loader/entries";
/// A block of 1024 bytes, filled with `#` (GRUB manual, "The GRUB environment block").
const ENVIRONMENT: &str = "/boot/grub2/grubenv";
const ENVIRONMENT_SIZE: usize = 1024;
/// What entries have in place of words, in releases where these are in the environment block.
const REFERENCE: &str = "$kernelopts";

/// Adds the words, or takes away those behind a `-`; answers with the files that say so.
///
/// # Errors
/// If the image has no such files.
pub(super) fn kernel_arguments(words: &[String], tree: &Tree) -> crate::Result<Vec<PathBuf>> {
    if tree.exists("/var/lib/dpkg/status") || tree.exists("/usr/sbin/update-grub") {
        let before = text(OWN, tree)?.unwrap_or_else(|| "# Written by goldimg.\n".into());
        return put(OWN, &(before + &script(words)), 0o644, tree);
    }
    let mut written = Vec::new();
    let mut change = |path: &str, changed: Option<String>| -> crate::Result<()> {
        if let Some(changed) = changed {
            written.extend(put(path, &changed, 0o644, tree)?);
        }
        Ok(())
    };
    if let Some(before) = text(SETTINGS, tree)? {
        change(SETTINGS, Some(settings(&before, words)))?;
    }
    if let Some(before) = text(COMMAND_LINE, tree)? {
        change(COMMAND_LINE, Some(changed(before.trim_end(), words) + "\n"))?;
    }
    let mut by_reference = false;
    for name in tree.list(ENTRIES)? {
        let Some(name) = name.to_str().filter(|name| name.ends_with(".conf")) else { continue };
        let path = format!("{ENTRIES}/{name}");
        let before = text(&path, tree)?.unwrap_or_default();
        by_reference |= before.contains(REFERENCE);
        change(&path, Some(entry(&before, words)))?;
    }
    if by_reference && let Some(before) = text(ENVIRONMENT, tree)? {
        change(ENVIRONMENT, Some(environment(&before, words)?))?;
    }
    if written.is_empty() {
        return Err(err!("the image has no settings of a boot loader that is known here")).hint(|| {
            format!("known are {SETTINGS}, {COMMAND_LINE} and {ENTRIES}/*.conf; `edit` changes other files")
        });
    }
    Ok(written)
}

/// `line` with the words added, each once, and those behind a `-` taken away.
fn changed(line: &str, words: &[String]) -> String {
    let mut all: Vec<&str> = line.split_whitespace().collect();
    for word in words {
        match word.strip_prefix('-') {
            Some(gone) => {
                all.retain(|own| *own != gone && own.split_once('=').is_none_or(|(name, _)| name != gone))
            }
            None if all.contains(&word.as_str()) => {}
            None => all.push(word),
        }
    }
    all.join(" ")
}

/// The same in the words of a shell, for a file that is read after others. No word has a quote in it.
fn script(words: &[String]) -> String {
    let mut text = String::new();
    let gone: Vec<&str> = words.iter().filter_map(|word| word.strip_prefix('-')).collect();
    if !gone.is_empty() {
        let patterns: Vec<String> = gone.iter().map(|word| format!("'{word}'|'{word}='*")).collect();
        text.push_str(&format!(
            "set -f\n\
             for goldimg_name in GRUB_CMDLINE_LINUX GRUB_CMDLINE_LINUX_DEFAULT; do\n\
             \x20   goldimg_kept=\n\
             \x20   for goldimg_word in $(eval \"printf '%s' \\\"\\${{$goldimg_name-}}\\\"\"); do\n\
             \x20       case \"$goldimg_word\" in\n\
             \x20           {}) ;;\n\
             \x20           *) goldimg_kept=\"${{goldimg_kept:+$goldimg_kept }}$goldimg_word\" ;;\n\
             \x20       esac\n\
             \x20   done\n\
             \x20   eval \"$goldimg_name=\\$goldimg_kept\"\n\
             done\n\
             set +f\n",
            patterns.join("|")
        ));
    }
    for word in words.iter().filter(|word| !word.starts_with('-')) {
        text.push_str(&format!(
            "GRUB_CMDLINE_LINUX=\"${{GRUB_CMDLINE_LINUX:+$GRUB_CMDLINE_LINUX }}\"'{word}'\n"
        ));
    }
    text
}

/// The settings of GRUB, with what new kernels get.
fn settings(before: &str, words: &[String]) -> String {
    const KEYS: [&str; 2] = ["GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT"];
    let (added, gone): (Vec<String>, Vec<String>) =
        words.iter().cloned().partition(|word| !word.starts_with('-'));
    let mut found = false;
    let mut text = String::new();
    for line in before.lines() {
        let own = line.split_once('=').filter(|(key, _)| KEYS.contains(key));
        let Some((key, value)) = own else {
            text.push_str(&format!("{line}\n"));
            continue;
        };
        let value = value.trim().trim_matches(['"', '\'']);
        let mut value = changed(value, &gone);
        if key == KEYS[0] {
            value = changed(&value, &added);
            found = true;
        }
        text.push_str(&format!("{key}=\"{value}\"\n"));
    }
    if !found && !added.is_empty() {
        text.push_str(&format!("{}=\"{}\"\n", KEYS[0], changed("", &added)));
    }
    text
}

/// An entry of the menu (Boot Loader Specification, type 1). What it takes from elsewhere is changed there.
fn entry(before: &str, words: &[String]) -> String {
    let line = |line: &str| match line.split_once(char::is_whitespace) {
        Some(("options", options)) if !options.contains(REFERENCE) => {
            format!("options {}\n", changed(options, words))
        }
        _ => format!("{line}\n"),
    };
    before.lines().map(line).collect()
}

/// GRUB's environment block.
fn environment(before: &str, words: &[String]) -> crate::Result<String> {
    let mut text: String = before
        .lines()
        .filter(|line| !line.starts_with("##"))
        .map(|line| match line.strip_prefix("kernelopts=") {
            Some(options) => format!("kernelopts={}\n", changed(options, words)),
            None => format!("{line}\n"),
        })
        .collect();
    let Some(missing) = ENVIRONMENT_SIZE.checked_sub(text.len()) else {
        return Err(err!("the words do not fit into {ENVIRONMENT} of the image, which has 1024 bytes"));
    };
    text.extend(std::iter::repeat_n('#', missing));
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::tree::tests::scratch;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn words_are_added_once_and_taken_away_with_any_value() {
        let line = "root=UUID=1 ro quiet console=tty0 console=ttyS0";
        assert_eq!(
            changed(line, &words(&["-quiet", "ro", "a=b"])),
            "root=UUID=1 ro console=tty0 console=ttyS0 a=b"
        );
        assert_eq!(changed(line, &words(&["-console"])), "root=UUID=1 ro quiet");
        assert_eq!(changed(line, &words(&["-console=tty0"])), "root=UUID=1 ro quiet console=ttyS0");
        assert_eq!(changed("", &words(&["a"])), "a");
    }

    #[test]
    fn debians_settings_are_a_file_that_a_shell_reads() {
        let (_dir, tree) = scratch();
        tree.write("/var/lib/dpkg/status", "", 0o644).unwrap();
        assert_eq!(kernel_arguments(&words(&["a=b*", "-quiet"]), &tree).unwrap(), [PathBuf::from(OWN)]);
        kernel_arguments(&words(&["mitigations=auto,nosmt"]), &tree).unwrap();
        let file = tree.path(OWN).unwrap();
        let read = format!(
            "set -eu; GRUB_CMDLINE_LINUX='console=tty0 quiet'; GRUB_CMDLINE_LINUX_DEFAULT='quiet=1 splash *'\n\
             . '{}'\nprintf '%s|%s' \"$GRUB_CMDLINE_LINUX\" \"$GRUB_CMDLINE_LINUX_DEFAULT\"",
            file.display()
        );
        let told = std::process::Command::new("/bin/sh").args(["-c", &read]).output().unwrap();
        let told = (String::from_utf8_lossy(&told.stdout).into_owned(), told.status.success());
        assert_eq!(told, ("console=tty0 a=b* mitigations=auto,nosmt|splash *".to_owned(), true));
    }

    #[test]
    fn fedoras_settings_and_entries_are_changed_in_place() {
        let (_dir, tree) = scratch();
        assert!(kernel_arguments(&words(&["a"]), &tree).unwrap_err().to_string().contains("no settings"));
        tree.write(SETTINGS, "GRUB_TIMEOUT=1\nGRUB_CMDLINE_LINUX=\"rhgb quiet\"\n", 0o644).unwrap();
        tree.write(COMMAND_LINE, "root=UUID=1 quiet\n", 0o644).unwrap();
        let own = format!("{ENTRIES}/1.conf");
        tree.write(&own, "title x\noptions root=UUID=1 quiet\ngrub_class x\n", 0o644).unwrap();
        let by_reference = format!("{ENTRIES}/2.conf");
        tree.write(&by_reference, "title y\noptions $kernelopts $tuned_params\n", 0o644).unwrap();
        let mut block = "# GRUB Environment Block\nkernelopts=root=UUID=1 quiet\n".to_owned();
        block.extend(std::iter::repeat_n('#', ENVIRONMENT_SIZE - block.len()));
        tree.write(ENVIRONMENT, block, 0o600).unwrap();
        let put = kernel_arguments(&words(&["-quiet", "a=b"]), &tree).unwrap();
        assert_eq!(put.len(), 5);
        let read = |path: &str| tree.text(path).unwrap().unwrap();
        assert_eq!(read(SETTINGS), "GRUB_TIMEOUT=1\nGRUB_CMDLINE_LINUX=\"rhgb a=b\"\n");
        assert_eq!(read(COMMAND_LINE), "root=UUID=1 a=b\n");
        assert_eq!(read(&own), "title x\noptions root=UUID=1 a=b\ngrub_class x\n");
        assert_eq!(read(&by_reference), "title y\noptions $kernelopts $tuned_params\n");
        let block = read(ENVIRONMENT);
        assert_eq!(block.len(), ENVIRONMENT_SIZE);
        assert!(block.starts_with("# GRUB Environment Block\nkernelopts=root=UUID=1 a=b\n###"), "{block}");
    }
}
