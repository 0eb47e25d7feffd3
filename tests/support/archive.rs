//! Archives of packages that a test makes: a few packages, their index, and a signature by a key of its own.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

/// An archive in a folder.
pub(crate) struct Archive {
    folder: PathBuf,
    keyring: PathBuf,
}

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().expect("a program of packages/test.txt");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Makes the package `name` in `folder`: its control fields, files and maintainer scripts, each a path and a text.
pub(crate) fn package(folder: &Path, name: &str, fields: &str, files: &[(&str, &str)]) -> PathBuf {
    let root = tempfile::tempdir().expect("a folder");
    let write = |path: &str, content: &str| {
        use std::os::unix::fs::PermissionsExt;
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, content).expect("a file");
        let mode = if content.starts_with("#!") { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
    };
    let usual =
        "Version: 1.0\nArchitecture: all\nMaintainer: A Test <test@example.org>\nDescription: for a test\n";
    write("DEBIAN/control", &format!("Package: {name}\n{usual}{fields}"));
    files.iter().for_each(|(path, content)| write(path, content));
    fs::create_dir_all(folder).expect("a folder");
    let file = folder.join(format!("{name}_1.0_all.deb"));
    run(Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(root.path()).arg(&file));
    file
}

impl Archive {
    /// Makes the archive of these packages in `folder`, signed with a new key: the suite `stable` with the component `main`.
    pub(crate) fn new(folder: &Path, packages: &[PathBuf]) -> Self {
        Self::with_suites(folder, &["stable"], &["main"], packages)
    }

    /// The same with these suites; all have these components, and the packages are in the first of each.
    pub(crate) fn with_suites(
        folder: &Path,
        suites: &[&str],
        components: &[&str],
        packages: &[PathBuf],
    ) -> Self {
        let archive = Self { folder: folder.to_owned(), keyring: folder.with_extension("gnupg") };
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new().mode(0o700).create(&archive.keyring).expect("a folder");
        fs::create_dir_all(folder.join("pool")).expect("a folder");
        let index: String = packages.iter().map(|package| archive.entry(package)).collect();
        let generate =
            ["--quick-generate-key", "--batch", "--passphrase", "", "archive@example.org", "ed25519", "sign"];
        run(archive.gpg().args(generate));
        for suite in suites {
            archive.suite(suite, components, &index);
        }
        archive
    }

    fn suite(&self, suite: &str, components: &[&str], index: &str) {
        let own = self.folder.join("dists").join(suite);
        let mut release = format!(
            "Origin: Test\nSuite: {suite}\nCodename: {suite}\nArchitectures: amd64\nComponents: {}\n\
             Date: Thu, 09 Oct 2025 08:53:20 UTC\nSHA256:\n",
            components.join(" ")
        );
        for (number, component) in components.iter().enumerate() {
            let name = format!("{component}/binary-amd64/Packages");
            let content = if number == 0 { index } else { "" };
            fs::create_dir_all(own.join(&name).parent().expect("a folder")).expect("a folder");
            fs::write(own.join(&name), content).expect("an index");
            release.push_str(&format!(" {} {} {name}\n", sha256(&own.join(&name)), content.len()));
        }
        fs::write(own.join("Release"), release).expect("a release");
        run(self
            .gpg()
            .args(["--batch", "--clearsign", "--output"])
            .arg(own.join("InRelease"))
            .arg(own.join("Release")));
    }

    fn gpg(&self) -> Command {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(&self.keyring).arg("--quiet");
        command
    }

    fn entry(&self, package: &Path) -> String {
        let name = package.file_name().expect("a name").to_string_lossy().into_owned();
        fs::copy(package, self.folder.join("pool").join(&name)).expect("a package");
        let control =
            String::from_utf8(run(Command::new("dpkg-deb").arg("--field").arg(package))).expect("UTF-8");
        let size = package.metadata().expect("a package").len();
        format!(
            "{}\nFilename: pool/{name}\nSize: {size}\nSHA256: {}\n\n",
            control.trim_end(),
            sha256(package)
        )
    }

    /// Writes the archive's public key to `path`, armored or not.
    pub(crate) fn export(&self, path: &Path, armored: bool) {
        let mut command = self.gpg();
        command.args(armored.then_some("--armor")).arg("--export");
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, run(&mut command)).expect("a file of keys");
    }
}

/// The agent that gpg started for the key.
impl Drop for Archive {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").arg("--homedir").arg(&self.keyring).args(["--kill", "all"]).output();
    }
}

fn sha256(path: &Path) -> String {
    let said = String::from_utf8(run(Command::new("sha256sum").arg(path))).expect("UTF-8");
    said.split_whitespace().next().expect("a digest").to_owned()
}

/// Serves the files beneath `folder` on a port of loopback to whoever says this (`name:password` in base64), to the end of
/// the test program. Answers with the port.
pub(crate) fn serve(folder: &Path, authorization: &'static str) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("its number").port();
    let folder = folder.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let folder = folder.clone();
            std::thread::spawn(move || answer(&stream, &folder, authorization));
        }
    });
    port
}

/// One request of a connection, and the end.
fn answer(mut stream: &TcpStream, folder: &Path, authorization: &str) {
    use std::io::{BufRead, BufReader, Write};
    let lines = BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    let lines: Vec<String> = lines.collect();
    let path = lines.first().and_then(|line| line.split(' ').nth(1)).unwrap_or("/");
    let known = format!("Authorization: Basic {authorization}");
    let (status, body) = match fs::read(folder.join(path.trim_start_matches('/'))) {
        _ if !lines.contains(&known) => ("401 Unauthorized", Vec::new()),
        Ok(body) => ("200 OK", body),
        Err(_) => ("404 Not Found", Vec::new()),
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
}
