//! Words of a line as systemd's configuration files split them: blanks separate, quotes join,
//! backslashes escape (`extract_first_word` with `EXTRACT_UNQUOTE | EXTRACT_CUNESCAPE_RELAX`).

/// Splits `line`; `None` when a quote is not closed.
#[must_use]
pub fn split(line: &str) -> Option<Vec<String>> {
    split_some(line, usize::MAX).map(|(words, _)| words)
}

/// Splits off at most `most` words; with them comes what is behind them, as it stands. `None` when a
/// quote of theirs is not closed.
#[must_use]
pub fn split_some(line: &str, most: usize) -> Option<(Vec<String>, &str)> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = line.chars();
    loop {
        if words.len() == most {
            return Some((words, chars.as_str().trim()));
        }
        let Some(c) = chars.next() else {
            break;
        };
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (_, '\\') => {
                let escaped = chars.next()?;
                let word = word.get_or_insert_default();
                match escaped {
                    'n' => word.push('\n'),
                    't' => word.push('\t'),
                    's' => word.push(' '),
                    '\\' | '"' | '\'' | ' ' => word.push(escaped),
                    other => {
                        word.push('\\');
                        word.push(other);
                    }
                }
            }
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_ascii_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return None;
    }
    words.extend(word);
    Some((words, ""))
}

#[cfg(test)]
mod tests {
    #[test]
    fn words_are_split_as_systemd_does() {
        for (line, expected) in [
            ("a  b\tc", Some(vec!["a", "b", "c"])),
            (
                "u x - \"A B\" /run",
                Some(vec!["u", "x", "-", "A B", "/run"]),
            ),
            ("a '' b", Some(vec!["a", "", "b"])),
            (r#"a\ b "c\"d""#, Some(vec!["a b", "c\"d"])),
            ("pre\"fix ed\"", Some(vec!["prefix ed"])),
            ("\"open", None),
            ("", Some(vec![])),
        ] {
            let expected = expected.map(|w| w.into_iter().map(String::from).collect::<Vec<_>>());
            assert_eq!(super::split(line), expected, "{line}");
        }
    }

    #[test]
    fn what_is_behind_the_words_stays_as_it_is() {
        for (line, words, rest) in [
            ("f \"/a b\" - it's \"so\"", 3, Some((3, "it's \"so\""))),
            ("f /a", 3, Some((2, ""))),
            ("f it's", 2, None),
        ] {
            let found = super::split_some(line, words).map(|(words, rest)| (words.len(), rest));
            assert_eq!(found, rest, "{line}");
        }
    }
}
