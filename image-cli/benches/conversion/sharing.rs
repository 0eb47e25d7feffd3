//! A filesystem whose files may share blocks, for as long as this value lives: a file, mounted.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Room beyond what is put in.
const SPARE: u64 = 1 << 30;

/// A mounted filesystem with a copy of an image.
pub(crate) struct Sharing {
    mounted: PathBuf,
    disk: PathBuf,
    /// The copy.
    pub(crate) image: PathBuf,
}

impl Sharing {
    /// Mounts one beneath `folder` and copies `source` to it.
    ///
    /// # Errors
    /// Why that is not possible here, for people.
    pub(crate) fn with(source: &Path, folder: &Path) -> Result<Self, String> {
        let (mounted, disk) = (folder.join("sharing"), folder.join("sharing.disk"));
        let does = |program: &str, arguments: &[&Path]| {
            let status =
                Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
            status.is_ok_and(|status| status.success())
        };
        let word = Path::new;
        does("umount", &[&mounted]);
        let size = fs::metadata(source).map_err(|error| error.to_string())?.len();
        fs::create_dir_all(&mounted).map_err(|error| error.to_string())?;
        File::create(&disk)
            .and_then(|file| file.set_len(2 * size + SPARE))
            .map_err(|error| error.to_string())?;
        if !does("mkfs.xfs", &[word("-q"), word("-f"), &disk])
            && !does("mkfs.btrfs", &[word("-q"), word("-f"), &disk])
        {
            return Err("neither mkfs.xfs nor mkfs.btrfs is here".to_owned());
        }
        let image = mounted.join("image.raw");
        let sharing = Self { mounted, disk, image };
        if !does("mount", &[word("-o"), word("loop"), &sharing.disk, &sharing.mounted]) {
            return Err("mounting a file takes root and a loop device".to_owned());
        }
        if !does("cp", &[word("--sparse=always"), source, &sharing.image]) {
            return Err("there was no room for the image".to_owned());
        }
        Ok(sharing)
    }
}

impl Drop for Sharing {
    fn drop(&mut self) {
        // What is left is removed by the next run.
        let _left = Command::new("umount").arg(&self.mounted).stderr(Stdio::null()).status();
        let _left = fs::remove_file(&self.disk);
    }
}
