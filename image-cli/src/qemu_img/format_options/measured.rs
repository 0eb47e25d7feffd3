//! From options to what a new image's size depends on. QEMU looks at fewer of them here than where it makes the image, and
//! has other words for some.

use image_core::block::Preallocation;
use image_core::measure::Target;
use image_core::qcow2::Geometry;

use super::FormatOptions;
use super::image::{CLUSTER_SIZE, EXTENDED_L2, Fault, REFCOUNT_BITS, number};
use crate::qemu_img::words;

impl FormatOptions {
    /// What is measured, and whether it can have bitmaps.
    pub(in crate::qemu_img) fn measured(&self) -> Result<(Target, bool), Fault> {
        if self.text("encrypt.format") == Some("luks") {
            return Err(match self.text("encrypt.key-secret") {
                None => "Parameter 'encrypt.key-secret' is required for cipher".to_owned(),
                Some(_) => "encrypted images are not made by goldimg".to_owned(),
            });
        }
        let cluster_size = self.size("cluster_size").unwrap_or(65536);
        if !cluster_size.is_power_of_two() || !(512..=2 << 20).contains(&cluster_size) {
            return Err(CLUSTER_SIZE.to_owned());
        }
        let extended = self.is_on("extended_l2");
        if extended && cluster_size < 16384 {
            return Err(EXTENDED_L2.to_owned());
        }
        let old = match self.text("compat") {
            None | Some("1.1") => false,
            Some("0.10") => true,
            Some(other) => return Err(format!("Invalid compatibility level: '{other}'")),
        };
        let bits = self.text("refcount_bits").map_or(Some(16), number);
        let bits = bits.filter(|bits| bits.is_power_of_two() && *bits <= 64).ok_or(REFCOUNT_BITS)?;
        if old && bits != 16 {
            return Err("Different refcount widths than 16 bits require compatibility level 1.1 or above \
                        (use compat=1.1 or greater)"
                .to_owned());
        }
        let mode = self.text("preallocation").unwrap_or("off");
        let preallocation: Preallocation =
            mode.parse().map_err(|_| format!("invalid parameter value: {mode}"))?;
        let geometry = Geometry::new(cluster_size.ilog2(), bits.ilog2(), extended);
        let target = Target {
            geometry: geometry.map_err(|error| words::of_opening(&error))?,
            preallocated: preallocation > Preallocation::Metadata,
            backed: self.text("backing_file").is_some(),
        };
        Ok((target, !old))
    }
}
