//! Tokens and passwords in texts, told by how their issuers write them.
//!
//! A report is shown to others: what is told is what kind of secret it is, and never the secret.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

/// How a token is found.
pub(super) struct Mark {
    /// How it begins.
    pub(super) start: &'static str,
    /// So many letters follow, at least.
    length: usize,
    /// What it is.
    what: &'static str,
}

const fn mark(start: &'static str, length: usize, what: &'static str) -> Mark {
    Mark { start, length, what }
}

/// By the issuers' documentation.
pub(super) const MARKS: &[Mark] = &[
    mark("ghp_", 36, "a token of GitHub"),
    mark("gho_", 36, "a token of GitHub"),
    mark("ghu_", 36, "a token of GitHub"),
    mark("ghs_", 36, "a token of GitHub"),
    mark("ghr_", 36, "a token of GitHub"),
    mark("github_pat_", 40, "a token of GitHub"),
    mark("glpat-", 20, "a token of GitLab"),
    mark("gldt-", 20, "a deploy token of GitLab"),
    mark("glrt-", 20, "a runner's token of GitLab"),
    mark("glptt-", 40, "a trigger's token of GitLab"),
    mark("AKIA", 16, "an access key of AWS"),
    mark("ASIA", 16, "a temporary access key of AWS"),
    mark("AIza", 35, "a key of Google's APIs"),
    mark("ya29.", 30, "an access token of Google"),
    mark("GOCSPX-", 28, "a client secret of Google"),
    mark("xoxb-", 24, "a token of Slack"),
    mark("xoxp-", 24, "a token of Slack"),
    mark("xoxa-", 24, "a token of Slack"),
    mark("xapp-", 24, "a token of Slack"),
    mark("hooks.slack.com/services/T", 20, "a webhook of Slack"),
    mark("hvs.", 24, "a token of Vault"),
    mark("hvb.", 24, "a token of Vault"),
    mark("dop_v1_", 40, "a token of DigitalOcean"),
    mark("npm_", 36, "a token of npm"),
    mark("_authToken=", 20, "a token of an npm registry"),
    mark("pypi-AgEI", 40, "a token of PyPI"),
    mark("rubygems_", 48, "a key of RubyGems"),
    mark("dckr_pat_", 24, "a token of Docker Hub"),
    mark("tskey-", 20, "a key of Tailscale"),
    mark("hf_", 34, "a token of Hugging Face"),
    mark("sk-ant-", 40, "a key of Anthropic"),
    mark("sk-proj-", 40, "a key of OpenAI"),
    mark("sk_live_", 24, "a key of Stripe"),
    mark("rk_live_", 24, "a key of Stripe"),
    mark("SG.", 60, "a key of SendGrid"),
    mark("glsa_", 36, "a token of Grafana"),
    mark("ATATT3", 60, "a token of Atlassian"),
    mark("NRAK-", 27, "a key of New Relic"),
    mark("dp.pt.", 40, "a token of Doppler"),
    mark("pul-", 40, "a token of Pulumi"),
    mark("shpat_", 32, "a token of Shopify"),
    mark("AccountKey=", 86, "a key of Azure storage"),
    mark("aws_secret_access_key", 40, "a secret key of AWS"),
    mark("eyJhbGciOi", 80, "a JSON Web Token"),
];

/// Where an address has its password.
pub(super) const ADDRESS: &str = "://";

/// Whether what begins with the mark `index`, behind `before`, is a token.
pub(super) fn token(index: usize, before: &[u8], text: &[u8]) -> Option<&'static str> {
    let mark = MARKS.get(index)?;
    let rest = text.get(mark.start.len()..)?;
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let is_alone =
        !before.last().is_some_and(is_word) || mark.start.starts_with(|c: char| !c.is_ascii_alphanumeric());
    let (rest, is_part): (&[u8], fn(&u8) -> bool) = match mark.start {
        // Of several parts, or in base64.
        "SG." | "eyJhbGciOi" | "hvs." | "hvb." | "ya29." | "pypi-AgEI" => {
            (rest, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
        }
        "AccountKey=" | "hooks.slack.com/services/T" => {
            (rest, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'+' | b'='))
        }
        // Capitals and digits, and so many of them.
        "AKIA" | "ASIA" => {
            let is_capital = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
            let count = rest.iter().take_while(|byte| is_word(byte)).count();
            let fits = count == mark.length && rest.iter().take(count).all(is_capital);
            return (is_alone && fits).then_some(mark.what);
        }
        "aws_secret_access_key" => {
            let value = rest.trim_ascii_start();
            let value = value.strip_prefix(b"=").or_else(|| value.strip_prefix(b":"))?.trim_ascii_start();
            (value, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'+' | b'='))
        }
        _ => (rest, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')),
    };
    let token = rest.split(|byte| !is_part(byte)).next().unwrap_or_default();
    // What stands for a token, in examples, is one letter over and over.
    let is_example = token.iter().all(|byte| Some(byte) == token.first());
    (is_alone && token.len() >= mark.length && !is_example).then_some(mark.what)
}

/// Whether an address, `text` from its `://` on, has a password: `scheme://user:password@host`.
pub(super) fn has_password(before: &[u8], text: &[u8]) -> bool {
    let Some(rest) = text.strip_prefix(ADDRESS.as_bytes()) else { return false };
    if !before.last().is_some_and(u8::is_ascii_alphanumeric) {
        return false;
    }
    let ends =
        |byte: &u8| matches!(byte, b'/' | b'"' | b'\'' | b'<' | b'>' | b'`') || byte.is_ascii_whitespace();
    let authority = rest.split(ends).next().unwrap_or_default();
    let authority = String::from_utf8_lossy(authority.get(..512).unwrap_or(authority));
    let Some((login, host)) = authority.rsplit_once('@') else { return false };
    let Some((user, password)) = login.split_once(':') else { return false };
    // What stands for a password is none.
    let is_any = |word: &str, names: &[&str]| names.iter().any(|name| word.eq_ignore_ascii_case(name));
    let stands = password.starts_with(['$', '%', '{', '*', '(', '['])
        || is_any(user, &["user", "username", "login", "name"])
            && is_any(password, &["password", "pass", "passwd", "pw", "secret"]);
    !host.is_empty() && !password.is_empty() && !stands
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Option<&'static str> {
        (0..MARKS.len()).find_map(|index| {
            text.match_indices(MARKS[index].start).find_map(|(at, _)| {
                let (before, rest) = text.split_at(at);
                token(index, before.as_bytes(), rest.as_bytes())
            })
        })
    }

    /// Letters that are none of anybody's.
    fn letters(count: usize) -> String {
        "g0Ld1mg".chars().cycle().take(count).collect()
    }

    #[test]
    fn tokens_are_told_from_what_looks_like_them() {
        for mark in MARKS {
            let (equals, capitals) =
                (mark.start.ends_with("key"), mark.start.len() == 4 && mark.start.ends_with("IA"));
            let value = if capitals { letters(mark.length).to_uppercase() } else { letters(mark.length) };
            let text = format!("{}{}{value}", mark.start, if equals { " = " } else { "" });
            assert_eq!(told(&text), Some(mark.what), "{text}");
            assert_eq!(told(&format!("x = \"{text}\"\n")), Some(mark.what), "{text}");
            let short = text.get(..text.len() - 1).unwrap();
            assert_eq!(told(short), None, "{short}");
        }
        for text in [
            format!("xghp_{}", letters(36)),
            "ghp_short".into(),
            format!("ghp_{}", "x".repeat(36)),
            format!("AKIA{}", "A1".repeat(10)),
            format!("ASIA{}", letters(16)),
        ] {
            assert_eq!(told(&text), None, "{text}");
        }
    }

    #[test]
    fn an_address_with_a_password_is_told() {
        let has = |text: &str| {
            text.match_indices(ADDRESS).any(|(at, _)| {
                let (before, rest) = text.split_at(at);
                has_password(before.as_bytes(), rest.as_bytes())
            })
        };
        assert!(has("deb https://ann:hunter2@example.com/debian x main"));
        assert!(has("see http://x/ and http://ann:hunter2@[::1]:3142/"));
        for text in [
            "deb https://example.com/debian x main",
            "https://user@example.com/",
            "http://user:$PASSWORD@example.com",
            "http://user:password@example.com",
            "see https://example.com/a:b@c",
            "mail://a:@example.com",
            "://a:b@c",
        ] {
            assert!(!has(text), "{text}");
        }
    }
}
