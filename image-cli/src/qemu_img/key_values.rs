//! `key=value,key=value`: what `-o`, `--image-opts` and `--object` take.
//!
//! A comma in a value is doubled. A key alone is on, with "no" in front of it off; where a first key may be left out,
//! the first word is its value.

use super::say;

/// The pairs of `text`, in order. The first word without "=" is the value of `implied`, where there is such a key.
pub(super) fn parse(text: &str, implied: Option<&str>) -> Vec<(String, String)> {
    parse_telling(text, implied, &|_, _, _| ())
}

/// The same; tells of each key without a value: the word, the key, and the value that it means.
fn parse_telling(
    text: &str,
    implied: Option<&str>,
    tell: &dyn Fn(&str, &str, &str),
) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(['=', ',']).unwrap_or(rest.len());
        let word = &rest[..end];
        if rest[end..].starts_with('=') {
            let (value, after) = take_value(&rest[end + 1..]);
            pairs.push((word.to_owned(), value));
            rest = after;
            continue;
        }
        let first = pairs.is_empty();
        match implied.filter(|_| first) {
            Some(key) => {
                let (value, after) = take_value(rest);
                pairs.push((key.to_owned(), value));
                rest = after;
            }
            None => {
                let (key, value) = match word.strip_prefix("no") {
                    Some(key) => (key, "off"),
                    None => (word, "on"),
                };
                tell(word, key, value);
                pairs.push((key.to_owned(), value.to_owned()));
                rest = rest.get(end + 1..).unwrap_or_default();
            }
        }
    }
    pairs
}

/// The same; each key without a value is complained of, on standard error.
pub(super) fn parse_noisily(text: &str, implied: Option<&str>) -> Vec<(String, String)> {
    let complain = |word: &str, key: &str, value: &str| {
        say(&format!(
            "qemu-img: warning: short-form boolean option '{word}' deprecated\nPlease use {key}={value} instead\n"
        ));
    };
    parse_telling(text, implied, &complain)
}

/// A value up to a comma that is not doubled, and what stands behind it.
fn take_value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut rest = text;
    loop {
        match rest.split_once(',') {
            None => {
                value.push_str(rest);
                return (value, "");
            }
            Some((part, after)) => {
                value.push_str(part);
                match after.strip_prefix(',') {
                    Some(more) => {
                        value.push(',');
                        rest = more;
                    }
                    None => return (value, after),
                }
            }
        }
    }
}

/// Whether help is asked for among the pairs: the word "help" or "?" by itself.
pub(super) fn asks_for_help(text: &str) -> bool {
    let mut rest = text;
    while !rest.is_empty() {
        let (word, after) = take_value(rest);
        if word == "help" || word == "?" {
            return true;
        }
        rest = after;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, implied: Option<&str>) -> Vec<String> {
        parse(text, implied).into_iter().map(|(key, value)| format!("{key}={value}")).collect()
    }

    #[test]
    fn pairs_are_read_as_qemu_reads_them() {
        assert_eq!(shown("a=1,b=x,,y,c", None), ["a=1", "b=x,y", "c=on"]);
        assert_eq!(shown("nolock,a==b,", None), ["lock=off", "a==b"]);
        assert_eq!(shown("secret,id=s", Some("qom-type")), ["qom-type=secret", "id=s"]);
        assert_eq!(shown("a,,b", Some("name")), ["name=a,b"]);
        assert!(shown("", None).is_empty());
        assert!(asks_for_help("a=1,help") && asks_for_help("?") && !asks_for_help("a=help"));
    }
}
