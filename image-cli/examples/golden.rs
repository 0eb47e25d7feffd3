//! Builds an image from a recipe made by calls, holds it against a rule of its own, and uploads it:
//!
//! ```text
//! cargo run --release --package image-cli --example golden -- OUTPUT-FOLDER CLOUD
//! ```

use std::io::Write;
use std::process::ExitCode;

use goldimg::audit::{Audit, Judgement, OwnRule, Profile};
use goldimg::glance::{Environment, clouds};
use goldimg::golden::recipe::{Distribution, Recipe, Run, Step};
use goldimg::golden::{Loaded, Request, build};
use goldimg::{CancellationToken, Error, Event, Monitor, Reporter, Variables, upload};

/// Tells of stages and warnings, a line each.
struct Lines;

impl Reporter for Lines {
    fn report(&self, event: &Event<'_>) {
        let _ = match event {
            Event::StageEnded { stage, took, .. } => writeln!(std::io::stderr(), "{stage}: {took:.1?}"),
            Event::Warning(text) => writeln!(std::io::stderr(), "warning: {text}"),
            Event::Mistake(mistake) => writeln!(std::io::stderr(), "{}", mistake.rendered),
            _ => Ok(()),
        };
    }
}

fn main() -> goldimg::Result<ExitCode> {
    if let Some(code) = goldimg::run_as_helper() {
        return Ok(code);
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, cloud] = arguments.as_slice() else {
        return Err(Error::failed("a folder and the name of a cloud, please"));
    };
    let folder = std::path::absolute(folder)?;
    let variables: Variables = std::env::vars_os().collect();
    let cancel = CancellationToken::new();
    let monitor = Monitor::new(&Lines, &cancel);

    let notice = "echo 'Property of Example Ltd' > /etc/issue";
    let recipe = Recipe::new("web", Distribution::Debian, "bookworm")
        .step(Step::Install(vec!["nginx-light".into()]))
        .step(Step::Run(Run { script: notice.into(), ..Run::default() }));
    let loaded = Loaded::new(&recipe, ".".as_ref(), monitor)?;
    let request = Request::new(&folder, folder.join("cache"), variables.clone())?;
    let image = build(&loaded, &request, monitor)?.files.swap_remove(0);

    let rule = OwnRule::must("notice", "whoever logs in is told whose machine this is", |image| {
        Ok(match image.text("/etc/issue")? {
            Some(text) if text.contains("Example Ltd") => Judgement::kept("it names Example Ltd"),
            _ => Judgement::broken("/etc/issue", "it does not name Example Ltd", "write it in a step"),
        })
    });
    if !Audit::new(Profile::Openstack).rule(rule).image(&image, monitor)?.passed {
        return Ok(ExitCode::FAILURE);
    }
    let environment = Environment::new(&variables, std::env::current_dir()?, std::env::home_dir());
    let found = clouds::find(Some(cloud), &environment)?;
    let outcome = upload::run(&upload::Request::new(image), &found.cloud, monitor)?;
    writeln!(std::io::stdout(), "{}", outcome.image.id)?;
    Ok(ExitCode::SUCCESS)
}
