//! Who gets in at a console: nobody without a password, and nobody by a word on the kernel's command line.

use std::path::Path;

use super::super::menu::entries;
use super::super::rule::{Finding, Judgement};
use super::super::services::enabled;
use super::super::subject::Subject;
use super::super::view::View;

/// Units that ask for a login, and what is added to them.
const UNITS: [&str; 6] = [
    "getty@*.service",
    "serial-getty@*.service",
    "console-getty.service",
    "container-getty@*.service",
    "autovt@*.service",
    "rescue.service",
];
const FOLDERS: [&str; 3] = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
/// Displays that log somebody in: files, the key, and what it means there.
const DISPLAYS: [(&str, &str); 8] = [
    ("/etc/gdm3/daemon.conf", "AutomaticLoginEnable=true"),
    ("/etc/gdm3/custom.conf", "AutomaticLoginEnable=true"),
    ("/etc/gdm/custom.conf", "AutomaticLoginEnable=true"),
    ("/etc/lightdm/lightdm.conf", "autologin-user="),
    ("/etc/lightdm/lightdm.conf.d/*", "autologin-user="),
    ("/usr/share/lightdm/lightdm.conf.d/*", "autologin-user="),
    ("/etc/sddm.conf", "User="),
    ("/etc/sddm.conf.d/*", "User="),
];
/// Words of the kernel's command line that open a shell (systemd-debug-generator(8), dracut.cmdline(7), systemd(1)).
const WORDS: [&str; 7] = [
    "systemd.debug-shell",
    "systemd.debug_shell",
    "rd.break",
    "systemd.unit=emergency.target",
    "systemd.unit=rescue.target",
    "init=/bin/sh",
    "init=/bin/bash",
];

pub(super) fn logins(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let view = subject.view;
    let mut findings = Vec::new();
    for folder in FOLDERS {
        for unit in UNITS {
            let mut paths = view.matches(&format!("{folder}/{unit}"))?;
            paths.extend(view.matches(&format!("{folder}/{unit}.d/*"))?);
            for path in paths {
                findings.extend(unit_finding(view, &path)?);
            }
        }
    }
    for path in view.matches("/etc/inittab")? {
        let text = view.text(&path)?.unwrap_or_default();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        for line in lines.filter(|line| line.split(':').nth(3).is_some_and(logs_in)) {
            findings.push(Finding::new(path.display().to_string(), line.trim(), "let it ask for a login"));
        }
    }
    for (pattern, key) in DISPLAYS {
        for path in view.matches(pattern)? {
            let text = view.text(&path)?.unwrap_or_default();
            if let Some(line) = text.lines().find(|line| sets(line, key)) {
                let fix = "take the line out";
                findings.push(Finding::new(path.display().to_string(), line.trim(), fix));
            }
        }
    }
    if let Some(place) = enabled(view, &["debug-shell.service"])? {
        let found = "a shell of root without a password on the ninth console";
        findings.push(Finding::new(place, found, "systemctl disable debug-shell"));
    }
    for entry in entries(view)? {
        let opens = |word: &&String| WORDS.iter().any(|known| word.as_str() == *known || is_on(word, known));
        if let Some(word) = entry.options.iter().find(opens) {
            let found = format!("the kernel's command line has {word}");
            findings.push(Finding::new(entry.place, found, "take it out of the boot loader's settings"));
        }
    }
    findings.retain(|finding| !subject.is_asked_for(Path::new(&finding.place)));
    findings.dedup();
    Ok(Judgement::of(findings, "none"))
}

/// `NAME=yes` and the like.
fn is_on(word: &str, known: &str) -> bool {
    word.strip_prefix(known).is_some_and(|rest| ["=1", "=yes", "=true", "=on"].contains(&rest))
}

fn unit_finding(view: &View, path: &Path) -> crate::Result<Option<Finding>> {
    const FIX: &str = "take it out";
    let text = view.text(path)?.unwrap_or_default();
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    let opens = |line: &&str| {
        line.strip_prefix("ExecStart=").is_some_and(logs_in)
            || (line.starts_with("Environment=") && line.contains("SYSTEMD_SULOGIN_FORCE=1"))
    };
    let found = lines.into_iter().find(opens);
    Ok(found.map(|line| Finding::new(path.display().to_string(), line, FIX)))
}

/// Whether a command logs somebody in by itself: agetty(8), mingetty(8), or a shell.
fn logs_in(command: &str) -> bool {
    let mut words = command.split_whitespace();
    let program = words.next().unwrap_or_default().trim_start_matches(['-', '@', '+', '!', ':']);
    let name = program.rsplit('/').next().unwrap_or_default();
    if ["sh", "bash", "dash", "ash", "zsh"].contains(&name) {
        return true;
    }
    let is_getty = name.ends_with("getty");
    let by_word = |word: &str| {
        word.starts_with("--autologin")
            || ["--skip-login", "-n"].contains(&word)
            || (word.starts_with("-a") && !word.starts_with("--"))
    };
    is_getty && words.any(by_word)
}

/// Whether a line of a desktop entry sets `key`, which ends in `=` where any value does.
fn sets(line: &str, key: &str) -> bool {
    let line: String = line.trim().chars().filter(|c| !c.is_whitespace()).collect();
    match key.split_once('=') {
        Some((_, "")) => line.strip_prefix(key).is_some_and(|value| !value.is_empty()),
        _ => line.eq_ignore_ascii_case(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_that_ask_nobody_are_told_from_those_that_ask() {
        for command in [
            "-/sbin/agetty --autologin root --noclear %I $TERM",
            "-/sbin/agetty -o '-p -f root' -a root %I",
            "/sbin/mingetty --autologin=ann tty1",
            "/bin/sh",
            "-/sbin/agetty --skip-login --login-program /x %I",
        ] {
            assert!(logs_in(command), "{command}");
        }
        for command in [
            "-/sbin/agetty -o '-p -- \\\\u' --noclear - $TERM",
            "/sbin/getty 38400 tty1",
            "",
            "/usr/lib/systemd/systemd-sulogin-shell rescue",
        ] {
            assert!(!logs_in(command), "{command}");
        }
    }

    #[test]
    fn settings_of_displays_count_where_they_are_set() {
        assert!(sets("AutomaticLoginEnable = True", "AutomaticLoginEnable=true"));
        assert!(sets("autologin-user=ann", "autologin-user="));
        for (line, key) in [
            ("#AutomaticLoginEnable=true", "AutomaticLoginEnable=true"),
            ("autologin-user=", "autologin-user="),
            ("AutomaticLoginEnable=false", "AutomaticLoginEnable=true"),
        ] {
            assert!(!sets(line, key), "{line}");
        }
        assert!(is_on("systemd.debug_shell=1", "systemd.debug_shell"));
        assert!(!is_on("systemd.debug_shell=0", "systemd.debug_shell"));
    }
}
