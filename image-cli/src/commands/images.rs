//! `goldimg images`: what a cloud has.

use std::process::ExitCode;

use goldimg::glance::{self, Filter, Image, clouds};
use goldimg::size::Size;

use super::upload::environment;
use crate::ui::Ui;

/// Arguments of `goldimg images`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  goldimg images --cloud mycloud                        the images of your project
  goldimg images --cloud mycloud --name 'Debian 12'     every generation of a name, hidden ones too
  goldimg images --cloud mycloud --all --json           everything you may see")]
pub(crate) struct Args {
    /// The cloud's name in clouds.yaml [default: OS_CLOUD, the OS_* variables, or the only cloud there is]
    #[arg(long, value_name = "NAME")]
    cloud: Option<String>,
    /// Only images that have this name, or had it before they were replaced
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Only images with this tag
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Images of other projects as well
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    let found = clouds::find(args.cloud.as_deref(), &environment()?)?;
    found.warnings.iter().for_each(|warning| ui.warning(warning));
    let filter = Filter { name: args.name.clone(), tag: args.tag.clone(), of_all_projects: args.all };
    let images = glance::images(&found.cloud, &filter, ui.monitor())?;
    if args.json {
        ui.json(&images)?;
    } else {
        ui.data(table(&images).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One line an image, in columns as wide as their widest cell.
fn table(images: &[Image]) -> String {
    let mut rows =
        vec![["ID", "NAME", "STATUS", "VISIBILITY", "FORMAT", "SIZE", "CREATED"].map(String::from)];
    rows.extend(images.iter().map(row));
    let mut widths = [0; 7];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn row(image: &Image) -> [String; 7] {
    // What a server calls an image must not move the cursor.
    let plain = |text: &str| text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let mut visibility = image.visibility.name().to_owned();
    if image.os_hidden {
        visibility.push_str(", hidden");
    }
    if image.protected {
        visibility.push_str(", protected");
    }
    [
        plain(&image.id),
        plain(image.name.as_deref().unwrap_or_default()),
        plain(&image.status.name()),
        visibility,
        plain(image.disk_format.as_deref().unwrap_or("-")),
        image.size.map_or("-".to_owned(), |size| Size(size).to_string()),
        plain(&image.created_at),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_is_aligned_and_harmless() {
        let image = |name: &str| -> Image {
            serde_json::from_value(json!({ "id": "1", "name": name, "status": "active", "visibility": "private",
                "os_hidden": true, "size": 65536, "disk_format": "qcow2", "created_at": "2026-11-23T05:00:00Z" }))
            .unwrap()
        };
        let text = table(&[image("grün"), image("\u{1b}[31mred\n")]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(!text.contains('\u{1b}'));
        let column = |line: &str| line.chars().take_while(|c| *c != 'q').count();
        assert_eq!(column(lines[1]), column(lines[2]));
        assert!(lines[1].contains("private, hidden  qcow2   64.0 KiB"), "{text}");
    }
}
