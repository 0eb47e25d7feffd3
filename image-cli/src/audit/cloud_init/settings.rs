//! cloud-init's settings, as it merges them.

use serde_json::Value;

use super::super::view::View;
use super::merge::merged;
use crate::error::err;

pub(super) const SETTINGS: &str = "/etc/cloud/cloud.cfg";
/// Where its settings are, in the order in which they count.
pub(in crate::audit) const FILES: [&str; 2] = [SETTINGS, "/etc/cloud/cloud.cfg.d/*.cfg"];

/// cloud-init's settings, merged.
#[derive(Debug, Default)]
pub(in crate::audit) struct Settings(pub(super) Value);

impl Settings {
    /// Those of `view`.
    ///
    /// # Errors
    /// If a file of them is not YAML.
    pub(in crate::audit) fn read(view: &View) -> crate::Result<Self> {
        let mut fragments = Vec::new();
        for pattern in FILES {
            for path in view.matches(pattern)? {
                let text = view.text(&path)?.unwrap_or_default();
                let said: Option<Value> = serde_saphyr::from_str(&text)
                    .map_err(|error| err!("{} is no YAML: {error}", path.display()))?;
                // Whatever else is no settings.
                if let Some(said @ Value::Object(_)) = said {
                    fragments.push(said);
                }
            }
        }
        Ok(Self(merged(fragments)))
    }

    /// The words of the list `name`, if it is set. A module may be a list itself: its name, and how often it runs.
    pub(in crate::audit) fn strings(&self, name: &str) -> Option<Vec<&str>> {
        let list = self.0.get(name)?.as_array()?;
        let words = list.iter().filter_map(|value| value.get(0).unwrap_or(value).as_str());
        Some(words.collect())
    }

    /// Whether a stage runs the module `name`.
    pub(in crate::audit) fn runs(&self, name: &str) -> bool {
        let stages = ["cloud_init_modules", "cloud_config_modules", "cloud_final_modules"];
        let same = |module: &str| module.replace('-', "_") == name;
        stages.iter().filter_map(|stage| self.strings(stage)).flatten().any(same)
    }

    /// Whether it leaves the network alone.
    pub(in crate::audit) fn network_is_disabled(&self) -> bool {
        self.0.pointer("/network/config").and_then(Value::as_str) == Some("disabled")
    }

    /// Whether it turns logins by password on or off; `None` where it leaves that alone.
    pub(in crate::audit) fn password_logins(&self) -> Option<bool> {
        let value = self.0.get("ssh_pwauth")?;
        let on = match value {
            _ if is_off(value) => return Some(false),
            Value::Bool(_) | Value::Number(_) => true,
            Value::String(word) => ["yes", "true", "on", "1"].contains(&word.to_ascii_lowercase().as_str()),
            _ => false,
        };
        on.then_some(true)
    }

    /// Whether root logs in with the cloud's key.
    pub(in crate::audit) fn root_is_let_in(&self) -> bool {
        self.0.get("disable_root").is_some_and(is_off)
    }
}

/// Whether a setting is off, as cloud-init reads it.
pub(in crate::audit) fn is_off(value: &Value) -> bool {
    match value {
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_u64() == Some(0),
        Value::String(word) => ["no", "false", "off", "0"].contains(&word.to_ascii_lowercase().as_str()),
        _ => false,
    }
}

/// Whether a setting is on, as cloud-init reads it.
pub(super) fn is_on(value: &Value) -> bool {
    match value {
        Value::Bool(on) => *on,
        Value::Number(number) => number.as_u64() == Some(1),
        Value::String(word) => ["yes", "true", "on", "1"].contains(&word.to_ascii_lowercase().as_str()),
        _ => false,
    }
}
