//! What two boots of one image must not share: they are different servers.

use super::super::login::public_keys;
use super::super::report::Report;
use super::check::{Check, check};

/// What one boot says of itself.
#[derive(Debug)]
pub(in crate::trial) struct Clone<'a> {
    pub(in crate::trial) report: &'a Report,
    /// What it calls itself when it asks for addresses; one without a network asks for none.
    pub(in crate::trial) identities: Option<&'a [String]>,
}

/// Compares the boots. Of fewer than two, or of one that did not say, nothing is known.
pub(in crate::trial) fn judge_clones(clones: &[Clone<'_>]) -> Vec<Check> {
    let compare = |name: &'static str, of: fn(&Clone<'_>) -> Option<Vec<String>>| {
        let said: Vec<_> = clones.iter().filter_map(of).collect();
        let mut seen = Vec::new();
        for value in said.iter().flatten() {
            if seen.contains(&value) {
                return check(name, Some(Err(format!("two boots have the same: {value}"))));
            }
            seen.push(value);
        }
        match said.len() < 2 || said.iter().any(Vec::is_empty) {
            true => check(name, None),
            false => {
                let first = said.iter().flatten().next().map_or("", String::as_str);
                check(name, Some(Ok(format!("all different in {} boots, one has {first}", said.len()))))
            }
        }
    };
    let mut checks = vec![
        compare("clones-machine-id", |clone| {
            let id = Some(clone.report.text("machine-id").to_owned()).filter(|id| !id.is_empty());
            Some(id.into_iter().collect())
        }),
        compare("clones-host-keys", |clone| Some(public_keys(clone.report).collect())),
    ];
    // Where the others have no network, one boot that asks for an address can be nobody's double.
    let asking = clones.iter().filter(|clone| clone.identities.is_some()).count();
    if asking > 1 || asking == clones.len() {
        checks.push(compare("clones-duid", |clone| clone.identities.map(<[String]>::to_vec)));
    }
    checks
}
