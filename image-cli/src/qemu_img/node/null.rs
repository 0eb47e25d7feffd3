//! A disk that is not there, as QEMU's drivers null-co and null-aio are told of it: by a name, or by options.

use std::collections::BTreeMap;
use std::time::Duration;

use image_core::block::NullDisk;
use image_core::format::{NullDriver, ProtocolNode};

use crate::qemu_img::failure::Failure;
use crate::qemu_img::size;

/// Options of the drivers.
const OPTIONS: [&str; 3] = ["size", "latency-ns", "read-zeroes"];

/// Those that are shown.
pub(super) const SHOWN: [&str; 2] = ["size", "read-zeroes"];

/// The disk, and which of the drivers is meant: they differ in nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Null {
    driver: NullDriver,
    disk: NullDisk,
}

impl Null {
    /// The driver of this name.
    pub(super) fn driver(name: &str) -> Option<NullDriver> {
        [NullDriver::Co, NullDriver::Aio].into_iter().find(|driver| driver.name() == name)
    }

    /// What `name` means, if it is for one of the drivers.
    pub(super) fn parse(name: &str) -> Option<Result<Self, Failure>> {
        let (scheme, _) = name.split_once(':').filter(|(scheme, _)| !scheme.contains('/'))?;
        Self::driver(scheme).map(|driver| Self::named(driver, name))
    }

    /// What `driver` makes of a file's name.
    pub(super) fn named(driver: NullDriver, name: &str) -> Result<Self, Failure> {
        let only = driver.file_name();
        match name == only {
            true => Ok(Self { driver, disk: NullDisk::default() }),
            false => Err(Failure::new(format!("The only allowed filename for this driver is '{only}'"))),
        }
    }

    /// What the driver's options mean.
    pub(super) fn from_options(
        driver: NullDriver,
        options: &BTreeMap<&str, String>,
    ) -> Result<Self, Failure> {
        let option = |key: &str| options.get(key).map(String::as_str);
        let size = option("size").map(|text| size::of_parameter("size", text)).transpose()?;
        let latency = match option("latency-ns") {
            None => Duration::ZERO,
            Some(text) => {
                let number: i64 =
                    text.parse().map_err(|_| Failure::new("Parameter 'latency-ns' expects a number"))?;
                let nanoseconds = u64::try_from(number).map_err(|_| Failure::new("latency-ns is invalid"))?;
                Duration::from_nanos(nanoseconds)
            }
        };
        let known_zeroes = match option("read-zeroes") {
            None | Some("off" | "false" | "no" | "n") => false,
            Some("on" | "true" | "yes" | "y") => true,
            Some(_) => return Err(Failure::new("Parameter 'read-zeroes' expects 'on' or 'off'")),
        };
        let size = size.unwrap_or(NullDisk::DEFAULT_SIZE);
        if i64::try_from(size).is_err() {
            return Err(Failure::new(format!("Value '{size}' is out of range for parameter 'size'")));
        }
        Ok(Self { driver, disk: NullDisk::new(size, latency, known_zeroes) })
    }

    /// The name of an option that the drivers do not have.
    pub(super) fn unknown<'a>(mut options: impl Iterator<Item = &'a str>) -> Option<&'a str> {
        options.find(|key| !OPTIONS.contains(key))
    }

    /// The disk, which is called `name`.
    pub(super) fn medium(&self, name: &str) -> ProtocolNode {
        ProtocolNode::null(self.driver, self.disk.clone(), name)
    }
}
