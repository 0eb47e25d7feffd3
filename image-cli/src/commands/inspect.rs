//! `goldimg inspect`: what is in an image.

use std::process::ExitCode;

use goldimg::inspect::{Inspection, OperatingSystem, Table};
use goldimg::printable::printable;

use super::image::human_size;
use super::inside::Inside;
use super::listing::Listing;
use crate::ui::Ui;

#[derive(Debug, clap::Args)]
#[command(mut_arg("snapshot", |snapshot| snapshot.short('l')))]
#[command(after_help = "\
Examples:
  goldimg inspect debian-12.qcow2
  goldimg inspect --packages debian-12.qcow2 | grep -i ssl
  goldimg inspect --json debian-12.qcow2 | jq -r '.system.packages[].name'

Partitions and filesystems, and of the system in them: distribution, processor, kernels, boot loaders, accounts, packages (dpkg, rpm, \
apk, pacman). Nothing of the image is run, mounted or changed.")]
pub(crate) struct Args {
    #[command(flatten)]
    image: Inside,
    /// List the installed packages
    #[arg(long)]
    packages: bool,
    /// Print JSON, with all packages
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    let system = args.image.open_whatever(ui)?;
    let found = Inspection::of(&system)?;
    if args.json {
        ui.json(&found)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut listing = Listing::new(ui);
    if let Some(table) = &found.table {
        show_table(table, &mut listing)?;
    }
    show_volumes(&found, &mut listing)?;
    if let Some(system) = &found.system {
        show_system(system, &mut listing)?;
        if args.packages {
            listing.push(&format!("\npackages: {}\n", system.packages.len()))?;
            let row = |package: &goldimg::packages::Package| {
                [&package.name, &package.version, &package.architecture].map(|text| printable(text)).to_vec()
            };
            listing.rows(&system.packages.iter().map(row).collect::<Vec<_>>())?;
        }
    }
    for why in &found.unread {
        ui.warning(&format!("not read: {}", printable(why)));
    }
    listing.end()
}

fn show_table(table: &Table, listing: &mut Listing<'_>) -> anyhow::Result<()> {
    let (scheme, id) = (table.scheme.to_ascii_uppercase(), &table.id);
    listing.push(&format!("{scheme} {id}, sectors of {} bytes\n", table.sector_size))?;
    let mut rows = vec![["number", ">start", ">size", "type", "name"].map(str::to_owned).to_vec()];
    for partition in &table.partitions {
        rows.push(vec![
            partition.number.to_string(),
            format!(">{}", partition.start),
            format!(">{}", human_size(partition.size)),
            partition.type_name.map_or_else(|| partition.kind.clone(), str::to_owned),
            printable(&partition.name),
        ]);
    }
    listing.rows(&rows)?;
    for defect in &table.defects {
        listing.push(&format!("defect: {defect}\n"))?;
    }
    listing.push("\n")
}

fn show_volumes(found: &Inspection, listing: &mut Listing<'_>) -> anyhow::Result<()> {
    if found.volumes.is_empty() {
        return listing.push("nothing that is known here is on it\n");
    }
    let mut rows =
        vec![["volume", "type", ">size", ">used", "mounted", "label", "UUID"].map(str::to_owned).to_vec()];
    for volume in &found.volumes {
        rows.push(vec![
            printable(&volume.name),
            volume.kind.clone(),
            format!(">{}", human_size(volume.size)),
            format!(">{}", volume.used.map_or_else(|| "-".to_owned(), human_size)),
            volume.mounted.as_deref().map_or_else(|| "-".to_owned(), printable),
            if volume.label.is_empty() { "-".to_owned() } else { printable(&volume.label) },
            volume.uuid.as_deref().map_or_else(|| "-".to_owned(), printable),
        ]);
    }
    listing.rows(&rows)
}

fn show_system(system: &OperatingSystem, listing: &mut Listing<'_>) -> anyhow::Result<()> {
    listing.push("\n")?;
    let release = system.release.as_ref();
    let pretty = release.and_then(|own| own.pretty_name.clone().or_else(|| own.id.clone()));
    let users = system.users.iter().map(|user| format!("{} ({}, {})", user.name, user.uid, user.shell));
    let lines = [
        ("system", pretty.unwrap_or_else(|| "unknown".to_owned())),
        ("processor", system.architecture.unwrap_or("unknown").to_owned()),
        ("hostname", system.hostname.clone().unwrap_or_default()),
        ("init", system.init.clone().unwrap_or_default()),
        ("kernels", system.kernels.join(", ")),
        ("modules", system.modules.join(", ")),
        ("boot loaders", system.boot_loaders.join(", ")),
        ("cloud-init", system.cloud_init.clone().unwrap_or_default()),
        ("users", users.collect::<Vec<_>>().join(", ")),
        ("packages", system.packages.len().to_string()),
    ];
    for (name, value) in lines {
        let value = if value.is_empty() { "-".to_owned() } else { printable(&value) };
        listing.push(&format!("{name:>12}: {value}\n"))?;
    }
    Ok(())
}
