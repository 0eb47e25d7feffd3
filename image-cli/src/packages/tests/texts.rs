//! The databases that are texts: of dpkg, apk and pacman.

use super::Files;

const STATUS: &str = "/var/lib/dpkg/status";

#[test]
fn packages_of_dpkg_have_their_files() {
    let mut text = Vec::new();
    for (name, status) in [
        ("a", "install ok installed"),
        ("b", "install ok half-configured"),
        ("c", "hold  reinstreq\tunpacked"),
        ("d", "install ok triggers-awaited"),
        ("e", "Install OK Triggers-Pending"),
        ("f", "deinstall ok config-files"),
        ("g", "purge ok not-installed"),
        ("h", "install reinstreq half-installed"),
    ] {
        text.extend(
            format!("Package: {name}\nStatus: {status}\nArchitecture: amd64\nVersion: 1:2~3-4\n\n").bytes(),
        );
    }
    text.extend(
        b"Package: z\xff\nVersion:5\nDescription: a\n Package: no\n .\n\t\nStatus:install ok installed",
    );
    let files = Files::default().with(STATUS, text);
    let mut told: Vec<_> = ["a", "b", "c", "d", "e"].map(|name| format!("{name} 1:2~3-4 amd64")).into();
    told.push("z\u{fffd} 5 ".to_owned());
    assert_eq!(files.told(), told);
    files.survive(300, 2);
}

#[test]
fn updates_replace_what_status_says() {
    let stanza = |name: &str, state: &str, version: &str| {
        format!("Package: {name}\nStatus: install ok {state}\nArchitecture: all\nVersion: {version}\n\n")
    };
    let status = [stanza("a", "installed", "1"), stanza("b", "installed", "1"), stanza("c", "unpacked", "1")];
    let files = Files::default()
        .with(STATUS, status.concat())
        .with("/var/lib/dpkg/updates/0000", stanza("a", "unpacked", "2"))
        .with("/var/lib/dpkg/updates/0001", stanza("a", "installed", "3") + &stanza("b", "config-files", "1"))
        .with("/var/lib/dpkg/updates/tmp.i", "half of a st");
    assert_eq!(files.told(), ["a 3 all", "c 1 all"]);
}

#[test]
fn pieces_are_installed_without_a_status() {
    let files = Files::default()
        .with("/var/lib/dpkg/status.d/base", "Package: base-files\nVersion: 12.4\nArchitecture: amd64\n")
        .with("/var/lib/dpkg/status.d/base.md5sums", "d41d8cd98f00b204e9800998ecf8427e  etc/x\n")
        .with(STATUS, "Package: said-nothing\nVersion: 1\n");
    assert_eq!(files.told(), ["base-files 12.4 amd64"]);
}

#[test]
fn stanzas_that_are_no_packages_are_told() {
    for (text, line) in [
        ("\nVersion: 1\nStatus: install ok installed\n", "line 2 begins a package without a name"),
        ("Package: a\nStatus: install ok installed\n", "line 1 begins a package without a version"),
        ("Package: a\nVersion: 1\nStatus: install ok\n", "line 1 begins a package of an unknown status"),
        ("Package: a\nVersion: 1\nStatus: install ok new\n", "line 1 begins a package of an unknown status"),
        ("Package: a\nVersion: 1\nVersion: 2\n", "line 3 has a field for the second time"),
        ("Package: a\n\0\0\0", "line 2 has a field without a colon"),
    ] {
        assert_eq!(Files::default().with(STATUS, text).error(), format!("reading {STATUS}: {line}"));
    }
}

#[test]
fn packages_of_apk_have_names_of_one_letter() {
    let text = "C:Q1=\nP:musl\nV:1.2.4-r2\nA:x86_64\nT:the c library\np:so:libc.musl=1\na:x\nF:lib\nR:ld.so\nZ:Q1=\n\n\
                P:busybox\nV:1.36.1-r15\nA:x86_64\n\n";
    let files = Files::default().with("/lib/apk/db/installed", text);
    assert_eq!(files.told(), ["busybox 1.36.1-r15 x86_64", "musl 1.2.4-r2 x86_64"]);
    files.survive(300, 2);
    // Where it is elsewhere, the other is a link or was left.
    let files = files.with("/usr/lib/apk/db/installed", "P:a\nV:1\n");
    assert_eq!(files.told(), ["a 1 "]);
    let files = files.with("/usr/lib/apk/db/installed", "P:a\n\nV:1\n");
    assert_eq!(files.error(), "reading /usr/lib/apk/db/installed: line 1 begins a package without a version");
}

#[test]
fn packages_of_pacman_have_a_directory_each() {
    let desc =
        "%NAME%\nbash\n\n%VERSION%\n1:5.2.026-2\n\n%DESC%\n%ARCH% is no section here\n\n%ARCH%\nx86_64\n\n";
    let files = Files::default()
        .with("/var/lib/pacman/local/ALPM_DB_VERSION", "9\n")
        .with("/var/lib/pacman/local/stray", "")
        .with("/var/lib/pacman/local/bash-1:5.2.026-2/desc", desc)
        .with("/var/lib/pacman/local/bash-1:5.2.026-2/files", "%FILES%\n");
    assert_eq!(files.told(), ["bash 1:5.2.026-2 x86_64"]);
    files.survive(300, 2);
    let files = files.with("/var/lib/pacman/local/zlib-1-1/files", "");
    assert_eq!(files.error(), "reading /var/lib/pacman/local/zlib-1-1/desc: it is missing");
    let files = files.with("/var/lib/pacman/local/a-1-1/desc", "%NAME%\na\n");
    assert!(
        files.error().ends_with("a-1-1/desc: line 3 ends a package without a version"),
        "{}",
        files.error()
    );
}

#[test]
fn a_name_of_many_bytes_is_told() {
    let text = format!("P:{}\nV:1\n", "a".repeat(513));
    let files = Files::default().with("/lib/apk/db/installed", text);
    let expected =
        "reading /lib/apk/db/installed: it has a field of 513 bytes, and no more than 512 are read";
    assert_eq!(files.error(), expected);
}
