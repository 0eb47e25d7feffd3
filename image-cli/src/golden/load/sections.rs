//! The sections of a recipe, each read into its part of the schema.

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::base::base;
use super::fields::{Fields, Value, Walk, choice, flag, number, size, texts};
use super::problem::Problem;
use super::remark::Role;
use super::steps::{access, steps};
use super::{cloud, existing, keys, rules};
use crate::golden::recipe::{
    Base, Boot, Build, CloudInit, Compression, Disk, DiskSize, Firmware, Initramfs, OpenStack, Output,
    OutputFormat, Recipe, Seal,
};
use crate::properties;
use crate::size::Size;

const MIB: u64 = 1 << 20;
/// The largest disk: what ext4 with blocks of 4 KiB holds without the 64-bit feature, and more than any cloud's flavor.
const LARGEST: u64 = 16 << 40;
/// The smallest EFI system partition: FAT32 has at least 65,525 clusters of 512 bytes (FAT specification, 3.5) and its tables.
const SMALLEST_ESP: u64 = 33 * MIB;
/// What a disk holds besides the EFI system partition, at least: tables at both ends, boot code, a root filesystem.
const AROUND: u64 = 72 * MIB;

/// The whole recipe.
pub(super) fn recipe(mut fields: Fields<'_, '_>) -> Option<Recipe> {
    let name = fields.required("name", "`name = \"…\"`: the files are called after it", rules::image_name);
    let version = fields.optional("version", rules::version);
    let description = fields.optional("description", rules::line);
    let base = fields.required("base", "a section `[base]` with `distribution` and `release`", base);
    if base.as_ref().is_some_and(Base::is_image) {
        existing::refuse_of_packages(&fields);
    }
    let build = fields.optional("build", build);
    let steps = fields.optional("steps", steps);
    let cloud_init = fields.optional("cloud-init", cloud_init_section);
    let boot = fields.optional("boot", boot);
    let disk = fields.optional("disk", disk);
    let seal = fields.optional("seal", seal);
    let openstack = fields.optional("openstack", openstack);
    let output = fields.optional("output", output);
    fields.finish(|key| keys::home(key, ""));
    let recipe = Recipe {
        name: name?,
        version,
        description,
        base: base?,
        build: build.unwrap_or_default(),
        steps: steps.unwrap_or_default(),
        cloud_init: cloud_init.unwrap_or_default(),
        boot: boot.unwrap_or_default(),
        disk: disk.unwrap_or_default(),
        seal: seal.unwrap_or_default(),
        openstack: openstack.unwrap_or_default(),
        output: output.unwrap_or_default(),
    };
    Some(recipe)
}

fn build(walk: &Walk<'_>, value: &Value<'_>) -> Option<Build> {
    let mut fields = Fields::of(walk, value, "[build]")?;
    let network = fields.optional("network", access);
    fields.finish(|key| keys::home(key, "[build]"));
    Some(Build { network: network.unwrap_or_default() })
}

fn cloud_init_section(walk: &Walk<'_>, value: &Value<'_>) -> Option<CloudInit> {
    let usual = CloudInit::default();
    let mut fields = Fields::of(walk, value, "[cloud-init]")?;
    let datasources = fields.optional("datasources", cloud::datasources);
    let default_user = fields.optional("default-user", rules::account);
    let config = fields.optional("config", cloud::fragments);
    fields.finish(|key| keys::home(key, "[cloud-init]"));
    Some(CloudInit {
        datasources: datasources.unwrap_or(usual.datasources),
        default_user,
        config: config.unwrap_or_default(),
    })
}

fn boot(walk: &Walk<'_>, value: &Value<'_>) -> Option<Boot> {
    let usual = Boot::default();
    let mut fields = Fields::of(walk, value, "[boot]")?;
    let kernel = fields.optional("kernel", |walk, value| {
        rules::of_own_architecture(walk, value, rules::package(walk, value)?)
    });
    let initramfs = fields.optional("initramfs", |walk, value| {
        choice(walk, value, &[("initramfs-tools", Initramfs::InitramfsTools), ("dracut", Initramfs::Dracut)])
    });
    let firmware = fields.optional("firmware", |walk, value| {
        let known = [("bios", Firmware::Bios), ("uefi", Firmware::Uefi)];
        let firmware = texts(walk, value, |walk, value| choice(walk, value, &known))?;
        match firmware.is_empty() {
            true => walk.refuse(
                Problem::error(value.span(), "no firmware could boot this image")
                    .help("write \"bios\", \"uefi\" or both"),
            ),
            false => Some(firmware),
        }
    });
    let console = fields.optional("console", |walk, value| {
        let console = texts(walk, value, rules::console)?;
        if !console.iter().any(|console| console.starts_with("ttyS") || console.starts_with("hvc")) {
            let doubt =
                Problem::warning(value.span(), "no serial console: a cloud shows no boot log of this image");
            walk.add(doubt.help("add \"ttyS0,115200n8\" as the last one"));
        }
        Some(console)
    });
    let command_line = fields.optional("command-line", |walk, value| texts(walk, value, rules::kernel_word));
    let timeout = fields.optional("timeout", |walk, value| number(walk, value, 0..=3600, "seconds"));
    fields.finish(|key| keys::home(key, "[boot]"));
    Some(Boot {
        kernel,
        initramfs: initramfs.unwrap_or_default(),
        firmware: firmware.unwrap_or(usual.firmware),
        console: console.unwrap_or(usual.console),
        command_line: command_line.unwrap_or_default(),
        timeout: timeout.unwrap_or(usual.timeout),
    })
}

/// A size in whole MiB within these bounds.
fn whole_mib(walk: &Walk<'_>, value: &Value<'_>, smallest: u64) -> Option<Size> {
    let size = size(walk, value)?;
    if !(smallest..=LARGEST).contains(&size.0) {
        let bounds = format!("write a size from {} to {}", Size(smallest), Size(LARGEST));
        return walk.refuse(Problem::error(value.span(), format!("{size} is out of range")).help(bounds));
    }
    if !size.0.is_multiple_of(MIB) {
        let below = size.0 / MIB;
        let nearby = format!("write \"{}M\" or \"{}M\"", below.max(smallest / MIB), below.saturating_add(1));
        return walk
            .refuse(Problem::error(value.span(), format!("{} bytes are no whole MiB", size.0)).help(nearby));
    }
    Some(size)
}

fn disk(walk: &Walk<'_>, value: &Value<'_>) -> Option<Disk> {
    let usual = Disk::default();
    let mut fields = Fields::of(walk, value, "[disk]")?;
    let esp_size = fields.optional("esp-size", |walk, value| whole_mib(walk, value, SMALLEST_ESP));
    let around = esp_size.unwrap_or(usual.esp_size).0.saturating_add(AROUND);
    // An image is as large as it is, and is made larger only.
    let smallest = if walk.any_system { MIB } else { around };
    for (key, place) in ["free", "esp-size"].iter().filter_map(|key| Some((key, fields.place_of(key)?))) {
        if walk.any_system {
            walk.add(existing::of_packages(
                place,
                &format!("`{key}`"),
                "`size` makes the disk and its root filesystem larger",
            ));
        }
    }
    let has_free = fields.place_of("free");
    let size = fields.optional("size", |walk, value| {
        walk.note(Role::DiskSize, "", value);
        if matches!(value.get_ref(), DeValue::String(word) if word.as_ref() == "fit") {
            return Some(DiskSize::Fit);
        }
        if let DeValue::String(word) = value.get_ref()
            && word.starts_with(char::is_alphabetic)
        {
            let problem = Problem::error(value.span(), format!("{word:?} is not a size"));
            return walk.refuse(problem.help("write a size such as \"10G\", or \"fit\""));
        }
        let size = whole_mib(walk, value, smallest)?;
        if let Some(free) = has_free.filter(|_| !walk.any_system) {
            let doubt = Problem::warning(free, "`free` says nothing about a disk of a given size");
            walk.add(doubt.help("leave out `free`, or write `size = \"fit\"`"));
        }
        Some(DiskSize::Bytes(size))
    });
    let free = fields.optional("free", |walk, value| whole_mib(walk, value, 0));
    fields.finish(|key| keys::home(key, "[disk]"));
    Some(Disk {
        size: size.unwrap_or(usual.size),
        free: free.unwrap_or(usual.free),
        esp_size: esp_size.unwrap_or(usual.esp_size),
    })
}

fn seal(walk: &Walk<'_>, value: &Value<'_>) -> Option<Seal> {
    let mut fields = Fields::of(walk, value, "[seal]")?;
    let keep = fields.optional("keep", |walk, value| texts(walk, value, rules::path_in_image));
    let keep_passwords = fields.optional("keep-passwords", flag);
    fields.finish(|key| keys::home(key, "[seal]"));
    Some(Seal { keep: keep.unwrap_or_default(), keep_passwords: keep_passwords.unwrap_or_default() })
}

fn openstack(walk: &Walk<'_>, value: &Value<'_>) -> Option<OpenStack> {
    let mut fields = Fields::of(walk, value, "[openstack]")?;
    let all = fields.optional("properties", image_properties);
    fields.finish(|key| keys::home(key, "[openstack]"));
    Some(OpenStack { properties: all.unwrap_or_default() })
}

/// Image properties: name → value. What Glance or Nova would refuse is a mistake, what they would not know a doubt.
fn image_properties(walk: &Walk<'_>, value: &Value<'_>) -> Option<BTreeMap<String, String>> {
    let DeValue::Table(table) = value.get_ref() else {
        let problem = Problem::error(value.span(), "expected a table of properties and their values");
        return walk
            .refuse(problem.help("write `[openstack.properties]`, and below it `hw_disk_bus = \"scsi\"`"));
    };
    let mut all = BTreeMap::new();
    for (name, value) in table {
        let DeValue::String(text) = value.get_ref() else {
            let problem = Problem::error(value.span(), "a property's value is a text");
            walk.add(problem.help("in quotes, such as \"yes\" or \"2\""));
            continue;
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.:-".contains(c);
        if !name.get_ref().starts_with(|c: char| c.is_ascii_alphanumeric())
            || !name.get_ref().chars().all(plain)
        {
            let problem = Problem::error(name.span(), "this is not the name of a property");
            walk.add(problem.help("letters, digits, `_`, `.`, `:` and `-`, such as \"hw_disk_bus\""));
            continue;
        }
        // An empty one takes a default away: there is nothing to judge.
        match properties::judge(name.get_ref(), text).filter(|_| !text.is_empty()) {
            Some(finding) if finding.fatal => walk.add(Problem::error(value.span(), finding.text)),
            Some(finding) => walk.add(Problem::warning(name.span(), finding.text)),
            None => {}
        }
        all.insert(name.get_ref().to_string(), text.to_string());
    }
    Some(all)
}

fn output(walk: &Walk<'_>, value: &Value<'_>) -> Option<Output> {
    let usual = Output::default();
    let mut fields = Fields::of(walk, value, "[output]")?;
    let formats = fields.optional("formats", |walk, value| {
        let known = [("qcow2", OutputFormat::Qcow2), ("raw", OutputFormat::Raw)];
        let formats = texts(walk, value, |walk, value| choice(walk, value, &known))?;
        match formats.is_empty() {
            true => walk.refuse(
                Problem::error(value.span(), "nothing would be written").help("write \"qcow2\" or \"raw\""),
            ),
            false => Some(formats),
        }
    });
    let packings =
        [("none", Compression::None), ("deflate", Compression::Deflate), ("zstd", Compression::Zstd)];
    let compression = fields.optional("compression", |walk, value| choice(walk, value, &packings));
    // A wrong compression is told by itself; then any level may be right.
    let codec = if compression.is_none() && fields.has("compression") {
        None
    } else {
        Some(compression.unwrap_or(usual.compression))
    };
    let level = fields.optional("level", |walk, value| level(walk, value, codec));
    let cluster_size = fields.optional("cluster-size", |walk, value| cluster_size(walk, value, codec));
    let min_ram_mib = fields.optional("min-ram-mib", |walk, value| number(walk, value, 0..=1 << 24, "MiB"));
    if formats.as_ref().is_some_and(|formats| !formats.contains(&OutputFormat::Qcow2)) {
        for key in ["compression", "level", "cluster-size"] {
            let doubt =
                |place| Problem::warning(place, format!("`{key}` is about qcow2, which is not written"));
            fields
                .place_of(key)
                .into_iter()
                .for_each(|place| walk.add(doubt(place).help("add \"qcow2\" to `formats`")));
        }
    }
    fields.finish(|key| keys::home(key, "[output]"));
    Some(Output {
        formats: formats.unwrap_or(usual.formats),
        compression: compression.unwrap_or(usual.compression),
        level,
        cluster_size: cluster_size.unwrap_or(usual.cluster_size),
        min_ram_mib: min_ram_mib.unwrap_or(usual.min_ram_mib),
    })
}

fn level(walk: &Walk<'_>, value: &Value<'_>, codec: Option<Compression>) -> Option<u8> {
    let highest = match codec {
        Some(Compression::None) => {
            let problem = Problem::error(value.span(), "a level without compression");
            return walk
                .refuse(problem.help("leave out `level`, or write `compression = \"deflate\"` or \"zstd\""));
        }
        Some(Compression::Deflate) => 9,
        Some(Compression::Zstd) | None => 19,
    };
    number(walk, value, 1..=highest, "").and_then(|level| u8::try_from(level).ok())
}

fn cluster_size(walk: &Walk<'_>, value: &Value<'_>, codec: Option<Compression>) -> Option<Size> {
    let size = size(walk, value)?;
    if !size.0.is_power_of_two() || !(512..=2 * MIB).contains(&size.0) {
        let problem = Problem::error(value.span(), format!("a cluster cannot have {} bytes", size.0));
        return walk
            .refuse(problem.help("write a power of two from 512 to \"2M\"; \"64K\" suits nearly everyone"));
    }
    if codec == Some(Compression::Zstd) && size.0 > 128 << 10 {
        let doubt =
            Problem::warning(value.span(), "not every hypervisor reads zstd clusters of more than 128 KiB");
        walk.add(doubt.help("write \"64K\" or \"128K\""));
    }
    Some(size)
}
