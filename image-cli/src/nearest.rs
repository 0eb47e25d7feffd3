//! "Did you mean": the word that a wrong one is nearest to.

/// The one of `known` that a wrong `word` was probably meant to be.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let plain = |word: &str| word.to_lowercase().replace(['_', ' '], "-");
    let word = plain(word);
    let measured = known.into_iter().map(|known| (strsim::damerau_levenshtein(&word, &plain(known)), known));
    let letters = |word: &str| {
        let mut letters: Vec<char> = plain(word).chars().collect();
        letters.sort_unstable();
        letters
    };
    // Of words that are equally near, one of the same letters in another order was rather meant, then one of the same length.
    let unlike = |known: &str| (letters(known) != letters(&word), known.len().abs_diff(word.len()));
    let (distance, nearest) =
        measured.min_by(|a, b| a.0.cmp(&b.0).then_with(|| unlike(a.1).cmp(&unlike(b.1))))?;
    // One letter of three may be wrong.
    let allowed = (nearest.chars().count() / 3).max(1);
    (distance <= allowed && distance < nearest.chars().count()).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_only_when_it_is_near() {
        let keys = ["install", "remove", "copy", "write", "run", "esp-size"];
        assert_eq!(nearest("instal", keys), Some("install"));
        assert_eq!(nearest("ESP_SIZE", keys), Some("esp-size"));
        assert_eq!(nearest("rnu", keys), Some("run"));
        assert_eq!(nearest("delete", keys), None);
        assert_eq!(nearest("htpo", ["htp", "hto", "http", "htop", "htcp"]), Some("htop"));
        assert_eq!(nearest("htpx", ["htp", "htop", "htps"]), Some("htps"));
        assert_eq!(nearest("x", ["y"]), None);
        assert_eq!(nearest("x", []), None);
    }
}
