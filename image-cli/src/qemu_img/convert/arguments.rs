//! What `convert` is asked for.

use image_core::convert::{DiskSink, NonSparseSink, Sink};

use crate::qemu_img::failure::Failure;
use crate::qemu_img::format_options::Lists;
use crate::qemu_img::node::Wanted;
use crate::qemu_img::options::{Given, Opt, flag, long_flag, long_valued, valued};
use crate::qemu_img::{size, snapshot_disk};

pub(in crate::qemu_img) const OPTIONS: &[Opt] = &[
    flag('h', "help"),
    flag('q', "quiet"),
    long_valued("object"),
    long_flag("image-opts"),
    long_flag("source-image-opts"),
    valued('f', "source-format"),
    valued('T', "source-cache"),
    valued('l', "snapshot"),
    valued('S', "sparse-size"),
    valued('O', "output-format"),
    valued('o', "options"),
    valued('t', "output-cache"),
    valued('B', "backing"),
    valued('F', "backing-format"),
    flag('U', "force-share"),
    long_flag("target-image-opts"),
    long_flag("salvage"),
    long_flag("target-is-zero"),
    long_flag("bitmaps"),
    long_flag("skip-broken-bitmaps"),
    valued('r', "rate"),
    valued('m', "parallel"),
    flag('W', "oob-writes"),
    flag('C', "copy-range-offloading"),
    flag('p', "progress").only_in_full(),
    flag('c', "compress").only_in_full(),
    flag('n', "no-create").only_in_full(),
    long_valued("source-snapshot").only_in_full(),
    long_valued("target-format").only_in_full(),
    long_valued("target-options").only_in_full(),
    long_valued("target-cache").only_in_full(),
];

/// The longest run of zeroes that can be looked for, in bytes.
const MAX_SPARSE: u64 = 16 << 20;

/// What is asked for.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) wanted: Wanted,
    pub(super) source_cache: Option<String>,
    pub(super) target_cache: Option<String>,
    pub(super) snapshot: Option<snapshot_disk::Wanted>,
    pub(super) target_format: Option<String>,
    pub(super) target_image_opts: bool,
    pub(super) lists: Lists,
    pub(super) backing: Option<String>,
    pub(super) backing_format: Option<String>,
    pub(super) compress: bool,
    pub(super) no_create: bool,
    pub(super) target_is_zero: bool,
    /// Bytes; 0: nothing stays a hole.
    pub(super) sparse: Option<u64>,
    pub(super) progress: bool,
    pub(super) quiet: bool,
    /// The source's bitmaps are wanted too.
    pub(super) bitmaps: bool,
    /// But not those that were not saved properly.
    pub(super) skip_broken_bitmaps: bool,
    /// What cannot be read becomes zeroes.
    pub(super) salvage: bool,
    /// Bytes that are read in a second at most; 0: as many as can be.
    pub(super) rate: u64,
    copy_range: bool,
}

impl Asked {
    /// Takes an option.
    pub(super) fn take(&mut self, option: Given) -> Result<(), Failure> {
        let value = option.value;
        match option.name {
            "source-format" => self.wanted.format = Some(value),
            "image-opts" | "source-image-opts" => self.wanted.image_opts = true,
            "force-share" => self.wanted.force_share = true,
            "source-cache" => self.source_cache = Some(value),
            "output-cache" | "target-cache" => self.target_cache = Some(value),
            "snapshot" | "source-snapshot" => self.snapshot = Some(snapshot_disk::Wanted::parse(&value)?),
            "output-format" | "target-format" => self.target_format = Some(value),
            "target-image-opts" => self.target_image_opts = true,
            "options" | "target-options" => self.lists.add(value)?,
            "backing" => self.backing = Some(value),
            "backing-format" => self.backing_format = Some(value),
            "compress" => self.compress = true,
            "no-create" => self.no_create = true,
            "target-is-zero" => self.target_is_zero = true,
            "sparse-size" => self.sparse = Some(sparse(&value)?),
            "progress" => self.progress = true,
            "quiet" => self.quiet = true,
            "copy-range-offloading" => self.copy_range = true,
            "bitmaps" => self.bitmaps = true,
            "skip-broken-bitmaps" => self.skip_broken_bitmaps = true,
            "salvage" => self.salvage = true,
            "parallel" => drop(size::integer("number of coroutines", &value, 1, 16)?),
            "rate" => {
                self.rate = size::argument("rate limit", &value)?;
            }
            // Writes are out of order anyway.
            _ => {}
        }
        Ok(())
    }

    /// The cache mode of what is written.
    pub(super) fn target_cache(&self) -> &str {
        self.target_cache.as_deref().unwrap_or("unsafe")
    }

    /// What cannot go together.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let contradictions = [
            (self.target_image_opts && !self.no_create, "--target-image-opts requires use of -n flag"),
            (self.no_create && !self.lists.is_empty(), "-o has no effect when skipping image creation"),
            (
                self.target_image_opts && self.target_format.is_some()
                    || self.wanted.image_opts && self.wanted.format.is_some(),
                "--image-opts and --format are mutually exclusive",
            ),
            (self.copy_range && self.sparse.is_some(), "Cannot enable copy offloading when -S is used"),
            (self.copy_range && self.compress, "Cannot enable copy offloading when -c is used"),
            (self.skip_broken_bitmaps && !self.bitmaps, "Use of --skip-broken-bitmaps requires --bitmaps"),
            (self.target_is_zero && !self.no_create, "--target-is-zero requires use of -n flag"),
        ];
        if let Some((_, message)) = contradictions.into_iter().find(|(wrong, _)| *wrong) {
            return Err(Failure::new(message));
        }
        Ok(())
    }

    /// Where nothing is to stay a hole, with all zeroes as bytes.
    pub(super) fn filled<'a>(&self, sink: impl Sink + 'a) -> image_core::Result<Box<dyn Sink + 'a>> {
        Ok(match self.sparse {
            Some(0) => Box::new(NonSparseSink::new(sink)?),
            _ => Box::new(sink),
        })
    }

    /// With the shortest run of zeroes that was asked for.
    pub(super) fn sparse_sink<D: image_core::block::BlockWrite>(
        &self,
        sink: DiskSink<D>,
    ) -> image_core::Result<DiskSink<D>> {
        match self.sparse {
            None | Some(0) => Ok(sink),
            Some(bytes) => sink.with_sparse_unit(1 << bytes.ilog2().clamp(9, 21)),
        }
    }
}

fn sparse(text: &str) -> Result<u64, Failure> {
    let bytes = size::argument("buffer size for sparse output", text)?;
    if bytes % 512 != 0 || bytes > MAX_SPARSE {
        return Err(Failure::new(format!(
            "Invalid buffer size for sparse output specified. Valid sizes are multiples of 512 up to {MAX_SPARSE}. \
             Select 0 to disable sparse detection (fully allocates output)."
        )));
    }
    Ok(bytes)
}
