//! `goldimg customize`: steps done to the system in an image that is there.
//!
//! ```text
//! options that do something, in their order ─► steps (customize/options.rs) ─┐
//! IMAGE, where to, what may be reached ──────► Request ──────────────────────┴─► golden::customize::customize
//! ```

mod options;
mod script;
mod values;

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::anyhow;
use clap::{ArgMatches, Command, FromArgMatches};
use goldimg::Variables;
use goldimg::golden::Asked;
use goldimg::golden::customize::{NewSize, Request, Target, customize};
use goldimg::golden::recipe::{Access, Step};
use image_core::format::Format;

use super::build::cache;
use super::resize::Change;
use crate::failure::{Advise, USAGE};
use crate::interrupt;
use crate::ui::Ui;

/// The command line of `goldimg customize`.
#[derive(Debug)]
pub(crate) struct Args {
    plain: Plain,
    /// What is to be done, as it was written.
    asked: Vec<options::Asked>,
}

impl clap::Args for Args {
    fn augment_args(command: Command) -> Command {
        options::augment(Plain::augment_args(command))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Args {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self { plain: Plain::from_arg_matches(matches)?, asked: options::asked(matches) })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// What has no place in the order.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  goldimg customize debian.qcow2 -o web.qcow2 --install nginx-light --copy-in site:/var/www
  goldimg customize server.raw --in-place --update --no-kernel-update --timezone Europe/Berlin
  goldimg customize base.qcow2 -o lab.qcow2 --size +10G --grow-root --user ann \\
      --ssh-inject ann:file:ann.pub --root-password file:password.txt
  goldimg customize base.qcow2 -o own.qcow2 --steps own.toml --run-command 'systemctl enable own'

What is done is done in the order it is written in, as root of the image, in a sandbox that sees nothing of this machine. \
The image is replaced, or the new one is there, when all of it was done; else nothing has changed.

A password is never an argument, which everybody on this machine could read: SPEC is file:FILE, secret:NAME (of --secret), \
hash:HASH as crypt(5) has it, locked or disabled. What is put there by name stays when the image is sealed.

--commands-from-file takes one option a line, without the dashes; what is behind # is a comment. \
--steps takes the [[steps]] of a recipe (recipes/README.md), which can say more.")]
struct Plain {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// Its format: raw or qcow2 [default: what it looks like]
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Leave the image as it is, and make this a changed one
    #[arg(
        short,
        long,
        value_name = "NEW",
        required_unless_present = "in_place",
        conflicts_with = "in_place"
    )]
    output: Option<PathBuf>,
    /// Change the image itself, when all is done
    #[arg(long)]
    in_place: bool,
    /// Replace NEW if it is there
    #[arg(long, conflicts_with = "in_place")]
    force: bool,
    /// The format of NEW: raw or qcow2 [default: that of IMAGE]
    #[arg(short = 'O', long, value_name = "FORMAT", conflicts_with = "in_place")]
    output_format: Option<Format>,
    /// Compress NEW
    #[arg(short, long, conflicts_with = "in_place")]
    compress: bool,
    /// Give the disk this size, or so much more: 20G, +10G
    #[arg(long, value_name = "SIZE")]
    size: Option<Growth>,
    /// Make the root filesystem as large as the disk allows
    #[arg(long)]
    grow_root: bool,
    /// Leave what must not be cloned as it is: ids, host keys, logs
    #[arg(long)]
    no_seal: bool,
    /// Do not compare what the steps left alone with the image at the end
    #[arg(long)]
    no_verify: bool,
    /// What scripts, those of packages too, may reach
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    network: Network,
    /// Show the content of FILE, or of the variable NAME, to the steps that ask for it, and nowhere else
    #[arg(long, value_name = "NAME[=FILE]")]
    secret: Vec<Asked>,
    /// Open a shell in the image after the steps, or after one that failed
    #[arg(long)]
    shell: bool,
    /// Keep the work directory, and say where it is
    #[arg(long)]
    keep: bool,
    /// Work in a new directory here, not in memory or /var/tmp
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,
    /// Keep packages here, not in $XDG_CACHE_HOME/goldimg
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
}

/// What may be reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Network {
    /// Everything that this machine reaches
    #[default]
    Full,
    /// The archives that packages come from
    Packages,
    /// Nothing
    None,
}

impl From<Network> for Access {
    fn from(network: Network) -> Self {
        match network {
            Network::Full => Self::Full,
            Network::Packages => Self::Packages,
            Network::None => Self::None,
        }
    }
}

/// A size, or a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Growth(NewSize);

impl FromStr for Growth {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text.parse()? {
            Change::To(size) => Ok(Self(NewSize::To(size))),
            Change::By(difference) => match u64::try_from(difference) {
                Ok(more) if !text.starts_with('-') => Ok(Self(NewSize::By(more))),
                _ => Err(anyhow!(
                    "a disk is not made smaller: goldimg resize --shrink does that to an empty end"
                )),
            },
        }
    }
}

pub(crate) fn run(args: Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    interrupt::listen()?;
    let variables: Variables = std::env::vars_os().collect();
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let (steps, secrets) = options::steps(&args.asked, home.as_deref(), ui.monitor())?;
    let request = request(args.plain, steps, secrets, variables)?;
    customize(&request, ui.monitor())?;
    Ok(ExitCode::SUCCESS)
}

fn request(
    args: Plain,
    steps: Vec<Step>,
    secrets: Vec<Asked>,
    variables: Variables,
) -> anyhow::Result<Request> {
    let changes = !steps.is_empty() || args.shell || args.size.is_some() || args.grow_root;
    if !changes && args.no_seal {
        return Err(anyhow!("nothing is to be done to {}", args.image.display()))
            .hint(|| "goldimg customize --help lists what can be done")
            .exit_code(USAGE);
    }
    let target = match args.output {
        Some(path) => {
            Target::New { path, format: args.output_format, compress: args.compress, force: args.force }
        }
        None => Target::InPlace,
    };
    let mut request = Request::new(args.image, target, steps, cache(args.cache_dir)?, variables);
    request.format = args.format;
    request.network = args.network.into();
    request.secrets = args.secret.into_iter().chain(secrets).collect();
    request.seal = !args.no_seal;
    request.verify = !args.no_verify;
    request.size = args.size.map(|Growth(size)| size);
    request.grow_root = args.grow_root;
    request.shell = args.shell;
    request.keep = args.keep;
    request.work_parent = args.work_dir;
    Ok(request)
}

#[cfg(test)]
mod tests {
    use clap::Args as _;

    use super::*;

    fn parsed(words: &[&str]) -> Result<Args, clap::Error> {
        let command = Args::augment_args(Command::new("customize").no_binary_name(true));
        Args::from_arg_matches(&command.try_get_matches_from(words)?)
    }

    fn asked_for(words: &[&str]) -> anyhow::Result<Request> {
        let variables = Variables::default();
        request(
            parsed(&[words, &["--cache-dir", "/cache"]].concat())?.plain,
            Vec::new(),
            Vec::new(),
            variables,
        )
    }

    #[test]
    fn the_image_goes_into_its_place_or_beside_it() {
        let new = asked_for(&["a.qcow2", "-o", "b.raw", "-O", "raw", "--force"]).unwrap();
        let target =
            Target::New { path: "b.raw".into(), format: Some(Format::Raw), compress: false, force: true };
        assert_eq!((new.target, new.seal, new.verify), (target, true, true));
        assert_eq!((new.network, new.folder), (Access::Full, PathBuf::from("/")));
        let same = asked_for(&["a.qcow2", "--in-place", "--no-verify", "--network", "packages", "-f", "raw"])
            .unwrap();
        assert_eq!((same.target, same.verify, same.network), (Target::InPlace, false, Access::Packages));
        assert_eq!(same.format, Some(Format::Raw));
        for wrong in
            [&["a.qcow2"][..], &["a.qcow2", "--in-place", "-o", "b"], &["a.qcow2", "--in-place", "-c"]]
        {
            assert!(parsed(wrong).is_err(), "{wrong:?}");
        }
        let nothing = asked_for(&["a.qcow2", "--in-place", "--no-seal"]).unwrap_err();
        assert!(crate::failure::render(&nothing).contains("nothing is to be done to a.qcow2"));
    }

    #[test]
    fn a_disk_grows_to_a_size_or_by_one() {
        let size = |text: &str| asked_for(&["a", "--in-place", "--size", text]).map(|request| request.size);
        assert_eq!(size("20G").unwrap(), Some(NewSize::To(20 << 30)));
        assert_eq!(size("+512M").unwrap(), Some(NewSize::By(512 << 20)));
        assert!(parsed(&["a", "--in-place", "--size=-1G"]).is_err());
        assert!(size("x").is_err());
    }
}
