//! The man pages: what the command line says of itself, in the sections that man-pages(7) names.
//!
//! clap_mangen knows options; it runs the lines of examples together, so what stands below the help is laid out here.

use std::io;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// What `goldimg`'s own page says besides its command line: sections, and in each what is explained, with the words.
const SECTIONS: [(&str, &[(&str, &str)]); 3] = [
    (
        "EXIT STATUS",
        &[
            ("0", "Done; of a check, an audit or a trial: nothing was found."),
            ("1", "It failed, or something was found. No output is left half written."),
            ("2, 3, 4, 63", "Of check and compare, as qemu-img has them: their pages."),
            ("64", "Wrong usage, or a recipe with mistakes. Nothing was begun."),
            ("129, 130, 143", "Stopped by SIGHUP, SIGINT (Ctrl-C) or SIGTERM; what was begun is removed."),
        ],
    ),
    (
        "ENVIRONMENT",
        &[
            ("SOURCE_DATE_EPOCH", "The time of a build, in seconds since 1970: the same bytes every time."),
            ("XDG_CACHE_HOME", "Where builds keep packages, beneath goldimg; else ~/.cache."),
            ("TMPDIR", "Where temporary files lie; else /tmp."),
            ("NO_COLOR", "Set to anything: no colours."),
            ("OS_CLOUD, OS_…", "The cloud of upload and images, as OpenStack's own client reads them."),
            (
                "GOLDIMG_ALLOW_BACKING",
                "Started as qemu-img: anywhere lets an image name files of other folders.",
            ),
        ],
    ),
    (
        "FILES",
        &[
            (
                "DIR/NAME-VERSION.log",
                "Beside the image that is built: every command of it, and all that it said.",
            ),
            ("/etc/subuid, /etc/subgid", "The ids that a build without root gives to the files of an image."),
            ("clouds.yaml", "Here, in ~/.config/openstack or in /etc/openstack: the clouds to upload to."),
        ],
    ),
];

/// What each part of a page begins with: how groff and others write an apostrophe.
const PREAMBLE: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";

/// The page of `command`, with what every subcommand has in common on the page of `goldimg`.
pub(super) fn page(command: &Command) -> io::Result<String> {
    let man = Man::new(command.clone());
    let mut parts = Vec::new();
    let out = &mut parts;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    if command.has_subcommands() {
        man.render_subcommands_section(out)?;
    }
    let mut roff = Roff::new();
    if let Some(help) = command.get_after_help() {
        below_the_help(&mut roff, &help.to_string());
    }
    match command.has_subcommands() {
        true => common(&mut roff),
        false => {
            roff.control("SH", ["SEE ALSO"]);
            roff.text([bold("goldimg"), roman("(1): what all subcommands have in common")]);
        }
    }
    roff.to_writer(out)?;
    // Two breaks around an empty line are one space, and mandoc warns of them.
    let parts = String::from_utf8_lossy(&parts).replace(PREAMBLE, "").replace(".br\n\n.br\n", ".sp\n");
    // clap_mangen leaves out a date that is empty, and what follows would be taken for it.
    let (title, version) = (name(command).to_uppercase(), env!("CARGO_PKG_VERSION"));
    Ok(format!("{PREAMBLE}.TH {title} 1 \"\" \"goldimg {version}\" goldimg\n{parts}"))
}

/// The name of the page: `goldimg-build`.
pub(super) fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or(command.get_name())
}

/// Lists (a line that ends in a colon, and indented ones) keep their lines, what is said of exit codes has its section,
/// and the rest are notes.
fn below_the_help(roff: &mut Roff, text: &str) {
    let mut notes = Vec::new();
    let mut codes = None;
    for paragraph in text.split("\n\n") {
        if let Some((heading, lines)) = paragraph.split_once(":\n  ") {
            roff.control("SH", [heading.to_uppercase().as_str()]);
            roff.control("nf", []);
            for line in lines.split("\n  ") {
                roff.text([roman(line)]);
            }
            roff.control("fi", []);
            continue;
        }
        let (note, code) = match paragraph.find("Exit code") {
            Some(place) => paragraph.split_at(place),
            None => (paragraph, ""),
        };
        notes.extend(Some(note.trim()).filter(|note| !note.is_empty()));
        codes = codes.or(Some(code).filter(|code| !code.is_empty()));
    }
    for (index, note) in notes.into_iter().enumerate() {
        match index {
            0 => roff.control("SH", ["NOTES"]),
            _ => roff.control("PP", []),
        };
        roff.text([roman(note)]);
    }
    if let Some(codes) = codes {
        roff.control("SH", ["EXIT STATUS"]);
        roff.text([roman(codes)]);
    }
}

fn common(roff: &mut Roff) {
    for (heading, entries) in SECTIONS {
        roff.control("SH", [heading]);
        for (term, words) in entries {
            roff.control("TP", []);
            roff.text([bold(*term)]);
            roff.text([roman(*words)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_keep_their_lines_and_exit_codes_have_their_section() {
        let command = Command::new("seal").display_name("goldimg-seal").about("Removes it").after_help(
            "Examples:\n  goldimg seal a   what\n  .hidden\n\nIt stays.\n\nReally so. Exit code: 0 or 1.",
        );
        let text = page(&command).unwrap();
        let part = text.split_once(".SH EXAMPLES\n").unwrap().1;
        assert_eq!(
            part,
            ".nf\ngoldimg seal a   what\n\\&.hidden\n.fi\n.SH NOTES\nIt stays.\n.PP\nReally so.\n\
             .SH \"EXIT STATUS\"\nExit code: 0 or 1.\n\
             .SH \"SEE ALSO\"\n\\fBgoldimg\\fR(1): what all subcommands have in common\n"
        );
        assert_eq!(text.matches(".TH GOLDIMG-SEAL 1 \"\" \"goldimg ").count(), 1, "{text}");
        assert_eq!(text.matches(PREAMBLE).count(), 1, "{text}");
    }
}
