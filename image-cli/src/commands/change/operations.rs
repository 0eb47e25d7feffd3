//! Changes as the commands of their names take them.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use goldimg::change::{CopyInOptions, Editor, ModeChange, Substitution, WriteOptions};
use goldimg::size::Size;
use image_core::fs::Time;

use super::super::find::moment_of;
use super::super::inside::known;
use crate::failure::{Advise, USAGE};
use crate::interrupt;
use crate::ui::Ui;

/// A change that can be made.
pub(crate) trait Perform {
    /// Makes it.
    fn perform(&self, editor: &mut Editor, ui: &Ui) -> anyhow::Result<()>;

    /// Whether somebody edits while it is made.
    fn is_by_hand(&self) -> bool {
        false
    }
}

/// Arguments of `copy-in`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  goldimg copy-in server.qcow2 nginx.conf /etc/nginx
  goldimg copy-in --owner www-data:www-data server.qcow2 site /var/www

What is new belongs to root, with the modes 0755 for what is executed and 0644 for all else, whatever umask it was made with. Files that \
are there are written over and keep owner and mode; so do directories.")]
pub(crate) struct CopyIn {
    /// Files and folders, and the directory of the image that they come into
    #[arg(value_name = "FILE|DIR", required = true, num_args = 2..)]
    paths: Vec<PathBuf>,
    /// Whose they become: names of the image's, or numbers
    #[arg(long, value_name = "USER[:GROUP]")]
    owner: Option<String>,
    /// Keep all permissions and times
    #[arg(short, long)]
    preserve: bool,
}

impl Perform for CopyIn {
    fn perform(&self, editor: &mut Editor, ui: &Ui) -> anyhow::Result<()> {
        let Some((folder, sources)) = self.paths.split_last() else { return Ok(()) };
        let mut options = CopyInOptions::new();
        options.owner = self.owner.as_deref().map(|name| owner(editor, name)).transpose()?;
        options.modes = self.preserve;
        options.times = self.preserve;
        for source in sources {
            editor.copy_in(source, folder, options, ui.monitor().cancel())?;
        }
        Ok(())
    }
}

/// Arguments of `tar-in`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  goldimg tar-in server.qcow2 site.tar /srv/www
  zstd -dc tree.tar.zst | goldimg tar-in server.qcow2 - /

Owners (as numbers), modes, times, attributes, access control lists, holes, links and devices are those of the archive. Files that are \
there are replaced.")]
pub(crate) struct TarIn {
    /// The archive, not compressed; - is standard input
    #[arg(value_name = "FILE")]
    archive: PathBuf,
    /// The directory of the image that it is unpacked into
    #[arg(value_name = "DIR", default_value = "/")]
    folder: PathBuf,
}

impl TarIn {
    /// Whether the archive is standard input.
    pub(super) fn reads_input(&self) -> bool {
        self.archive == Path::new("-")
    }
}

impl Perform for TarIn {
    fn perform(&self, editor: &mut Editor, ui: &Ui) -> anyhow::Result<()> {
        let doing = || format!("reading {}", self.archive.display());
        let monitor = ui.monitor();
        let count = match self.reads_input() {
            true => editor.tar_in(&mut std::io::stdin().lock(), &self.folder, monitor.cancel())?,
            false => {
                let file = std::fs::File::open(&self.archive).with_context(doing)?;
                let mut archive = std::io::BufReader::with_capacity(1 << 20, file);
                editor.tar_in(&mut archive, &self.folder, monitor.cancel()).with_context(doing)?
            }
        };
        ui.note(&format!("{count} files unpacked"));
        Ok(())
    }
}

/// Arguments of `write`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  echo 'server 10.0.0.1' | goldimg write server.qcow2 /etc/chrony/sources.d/here.sources
  goldimg write --append --content 'kernel.panic = 10' server.qcow2 /etc/sysctl.d/90-here.conf

A file that is there keeps owner and mode; a new one belongs to root, with the mode 0644.")]
pub(crate) struct Write {
    /// The file
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Behind what is there
    #[arg(short, long)]
    append: bool,
    /// This line, in place of standard input
    #[arg(long, value_name = "TEXT")]
    content: Option<String>,
    /// Its permissions: octal digits
    #[arg(short, long, value_name = "MODE", value_parser = octal)]
    mode: Option<u16>,
    /// Whose it becomes: names of the image's, or numbers
    #[arg(long, value_name = "USER[:GROUP]")]
    owner: Option<String>,
}

impl Write {
    /// Whether its content is standard input.
    pub(super) fn reads_input(&self) -> bool {
        self.content.is_none()
    }
}

impl Perform for Write {
    fn perform(&self, editor: &mut Editor, _ui: &Ui) -> anyhow::Result<()> {
        let mut options = WriteOptions::new();
        options.append = self.append;
        options.mode = self.mode;
        options.owner = self.owner.as_deref().map(|name| owner(editor, name)).transpose()?;
        match &self.content {
            Some(text) => Ok(editor.write(&self.path, &mut format!("{text}\n").as_bytes(), options)?),
            None => Ok(editor.write(&self.path, &mut std::io::stdin().lock(), options)?),
        }
    }
}

/// Arguments of `edit`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  goldimg edit server.qcow2 /etc/ssh/sshd_config -e 's/^#?PermitRootLogin .*/PermitRootLogin no/'
  EDITOR=vi goldimg edit server.qcow2 /etc/fstab

Substitutions are those of sed -E: g for every match of a line, i whatever the case, & and \\1 in the replacement. Without any, \
$VISUAL or $EDITOR is started with the text.")]
pub(crate) struct Edit {
    /// The file
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// A substitution (may be given more than once)
    #[arg(short, long, value_name = "s/PATTERN/REPLACEMENT/")]
    expression: Vec<String>,
}

impl Perform for Edit {
    fn is_by_hand(&self) -> bool {
        self.expression.is_empty()
    }

    fn perform(&self, editor: &mut Editor, ui: &Ui) -> anyhow::Result<()> {
        let substitutions: Vec<Substitution> =
            self.expression.iter().map(|text| text.parse()).collect::<Result<_, _>>().exit_code(USAGE)?;
        if self.is_by_hand() {
            return by_hand(editor, &self.path);
        }
        if !editor.edit(&self.path, &substitutions)? {
            ui.note(&format!("{}: nothing fits, and nothing is changed", self.path.display()));
        }
        Ok(())
    }
}

/// Has the caller's editor change the text of `path`.
fn by_hand(editor: &mut Editor, path: &Path) -> anyhow::Result<()> {
    let program =
        ["VISUAL", "EDITOR"].iter().find_map(std::env::var_os).filter(|program| !program.is_empty());
    let program = program
        .with_context(|| format!("no editor for {}", path.display()))
        .hint(|| "set EDITOR, or give substitutions: -e 's/PATTERN/REPLACEMENT/'")
        .exit_code(USAGE)?;
    let old = editor.read(path)?;
    let name = path.file_name().unwrap_or_default();
    let folder = tempfile::Builder::new().prefix("goldimg-edit-").tempdir().context("making a folder")?;
    let file = folder.path().join(name);
    std::fs::write(&file, &old).with_context(|| format!("writing {}", file.display()))?;
    // As git does it: the variable may have arguments.
    let status = std::process::Command::new("sh")
        .args(["-c", "exec $0 \"$@\""])
        .arg(&program)
        .arg(&file)
        .status()
        .context("starting the editor")?;
    if !status.success() {
        return Err(anyhow!("the editor ended with {status}: nothing is changed"));
    }
    interrupt::check()?;
    let new = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
    match new == old {
        true => Ok(()),
        false => Ok(editor.write(path, &mut new.as_slice(), WriteOptions::new())?),
    }
}

/// Arguments of `rm`.
#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
    /// What goes
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Directories too, with all that is in them
    #[arg(short, long)]
    recursive: bool,
    /// What is not there is no failure
    #[arg(short = 'f', long)]
    ignore_absent: bool,
}

impl Perform for Remove {
    fn perform(&self, editor: &mut Editor, _ui: &Ui) -> anyhow::Result<()> {
        for path in &self.paths {
            editor.remove(path, self.recursive, self.ignore_absent)?;
        }
        Ok(())
    }
}

/// Arguments of `mkdir`.
#[derive(Debug, clap::Args)]
pub(crate) struct MakeDirectory {
    /// The directories
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// With those above them; one that is there is no failure
    #[arg(short, long)]
    parents: bool,
    /// Their permissions: octal digits
    #[arg(short, long, value_name = "MODE", value_parser = octal)]
    mode: Option<u16>,
}

impl Perform for MakeDirectory {
    fn perform(&self, editor: &mut Editor, _ui: &Ui) -> anyhow::Result<()> {
        for path in &self.paths {
            editor.make_directory(path, self.mode, self.parents)?;
        }
        Ok(())
    }
}

/// Arguments of `mv`.
#[derive(Debug, clap::Args)]
pub(crate) struct Move {
    /// What is moved, and its new name or the directory that it goes into
    #[arg(value_name = "FROM|TO", required = true, num_args = 2..)]
    paths: Vec<PathBuf>,
}

impl Perform for Move {
    fn perform(&self, editor: &mut Editor, _ui: &Ui) -> anyhow::Result<()> {
        let Some((to, sources)) = self.paths.split_last() else { return Ok(()) };
        for from in sources {
            editor.rename(from, to)?;
        }
        Ok(())
    }
}

/// Arguments of `ln`.
#[derive(Debug, clap::Args)]
pub(crate) struct Link {
    /// What the link points to
    #[arg(value_name = "TARGET")]
    link_target: PathBuf,
    /// The link
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// A symbolic link: TARGET as it is, whether or not it is there
    #[arg(short, long)]
    symbolic: bool,
    /// Replace a file or link that is there
    #[arg(short = 'f', long)]
    replace: bool,
}

impl Perform for Link {
    fn perform(&self, editor: &mut Editor, _ui: &Ui) -> anyhow::Result<()> {
        match self.symbolic {
            true => {
                editor.symbolic_link(self.link_target.as_os_str().as_bytes(), &self.path, self.replace)?;
            }
            false => editor.hard_link(&self.link_target, &self.path, self.replace)?,
        }
        Ok(())
    }
}

/// Arguments of `chmod`.
#[derive(Debug, clap::Args)]
pub(crate) struct Chmod {
    /// Octal digits, or like u+x,go-w
    #[arg(value_name = "MODE", allow_hyphen_values = true)]
    change: ModeChange,
    /// The files
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// And all that is in directories
    #[arg(short = 'R', long)]
    recursive: bool,
}

impl Perform for Chmod {
    fn perform(&self, editor: &mut Editor, _ui: &Ui) -> anyhow::Result<()> {
        for path in &self.paths {
            editor.set_mode(path, &self.change, self.recursive)?;
        }
        Ok(())
    }
}

/// Arguments of `chown`.
#[derive(Debug, clap::Args)]
pub(crate) struct Chown {
    /// Names of the image's, or numbers; :GROUP for the group alone
    #[arg(value_name = "USER[:GROUP]")]
    owner: String,
    /// The files
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// And all that is in directories
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Links themselves, not what they point to
    #[arg(short = 'P', long)]
    no_dereference: bool,
}

impl Perform for Chown {
    fn perform(&self, editor: &mut Editor, _ui: &Ui) -> anyhow::Result<()> {
        let owner = owner(editor, &self.owner)?;
        for path in &self.paths {
            editor.set_owner(path, owner, self.recursive, self.no_dereference)?;
        }
        Ok(())
    }
}

/// Arguments of `touch`.
#[derive(Debug, clap::Args)]
pub(crate) struct Touch {
    /// The files
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// When they were changed: a date, or a moment (RFC 3339) [default: now]
    #[arg(short, long, value_name = "TIME", value_parser = moment_of)]
    date: Option<Time>,
    /// Make no new files
    #[arg(short = 'c', long)]
    no_create: bool,
}

impl Perform for Touch {
    fn perform(&self, editor: &mut Editor, _ui: &Ui) -> anyhow::Result<()> {
        let time = self.date.unwrap_or_else(|| editor.time());
        for path in &self.paths {
            editor.touch(path, time, self.no_create)?;
        }
        Ok(())
    }
}

/// Arguments of `truncate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Truncate {
    /// The files
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// How long they become
    #[arg(short, long, value_name = "SIZE")]
    size: Size,
}

impl Perform for Truncate {
    fn perform(&self, editor: &mut Editor, _ui: &Ui) -> anyhow::Result<()> {
        for path in &self.paths {
            editor.truncate(path, self.size.0)?;
        }
        Ok(())
    }
}

/// User and group by the image's own names.
fn owner(editor: &Editor, text: &str) -> anyhow::Result<(Option<u32>, Option<u32>)> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, group),
        None => (text, ""),
    };
    let owners = editor.owners();
    let given = |name: &'_ str| !name.is_empty();
    let uid = given(user).then(|| known("user", user, owners.uid(user))).transpose()?;
    let gid = given(group).then(|| known("group", group, owners.gid(group))).transpose()?;
    Ok((uid, gid))
}

fn octal(text: &str) -> Result<u16, String> {
    let mode = u16::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
    mode.ok_or_else(|| "write permissions as up to four octal digits, like 0644".to_owned())
}
