//! Lines of tmpfiles.d(5).

use super::words;

/// One line. A field that is left out or `-` is absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The letter of its type.
    pub kind: char,
    /// Absolute, perhaps with specifiers, and a glob for some types.
    pub path: String,
    /// User, by name or number.
    pub user: Option<String>,
    /// Group, by name or number.
    pub group: Option<String>,
    /// The rest of the line as it stands.
    pub argument: Option<String>,
}

/// Parses a line; nothing where it is blank or a comment.
///
/// # Errors
/// What is wrong with it.
pub fn parse_line(line: &str) -> Result<Option<Line>, String> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (words, rest) = words::split_some(line, 6).ok_or("a quote is not closed")?;
    let field = |index: usize| {
        words
            .get(index)
            .map(String::as_str)
            .filter(|word| !word.is_empty() && *word != "-")
    };
    let word = words.first().map_or("", String::as_str);
    let mut letters = word.chars();
    let kind = letters
        .next()
        .filter(|kind| "fwdDevqQpLcbCxXrRzZtThHaA".contains(*kind))
        .ok_or_else(|| format!("`{word}` is not a type"))?;
    if let Some(other) = letters.find(|letter| !"+!-=~^$?".contains(*letter)) {
        return Err(format!("`{other}` in `{word}` is not a modifier"));
    }
    let path = field(1).unwrap_or_default();
    if !(path.starts_with('/') || path.starts_with('%')) {
        return Err(format!("`{path}` is not an absolute path"));
    }
    if let Some(mode) = field(2) {
        let digits = mode.trim_start_matches(['~', ':']);
        if !u32::from_str_radix(digits, 8).is_ok_and(|mode| mode <= 0o7777) {
            return Err(format!("`{mode}` is not a mode; expected octal digits"));
        }
    }
    // A leading colon: only for what the line makes anew.
    let owner = |index| field(index).map(|name| name.trim_start_matches(':').to_owned());
    Ok(Some(Line {
        kind,
        path: path.to_owned(),
        user: owner(3),
        group: owner(4),
        argument: Some(rest.to_owned()).filter(|rest| !rest.is_empty() && rest != "-"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_debian_parse() {
        for (line, wanted) in [
            (
                "d /var/lib/x 0750 root :adm -",
                ('d', "/var/lib/x", Some("root"), Some("adm"), None),
            ),
            (
                "f+! /run/nologin 0644 - - - \"It's early.\"",
                ('f', "/run/nologin", None, None, Some("\"It's early.\"")),
            ),
            (
                "L /var/run - - - - ../run",
                ('L', "/var/run", None, None, Some("../run")),
            ),
            (
                "Z /run/log/journal/%m ~2750 root systemd-journal - -",
                (
                    'Z',
                    "/run/log/journal/%m",
                    Some("root"),
                    Some("systemd-journal"),
                    None,
                ),
            ),
            ("q /tmp", ('q', "/tmp", None, None, None)),
        ] {
            let found = parse_line(line).unwrap().unwrap();
            let found = (
                found.kind,
                found.path.as_str(),
                found.user.as_deref(),
                found.group.as_deref(),
                found.argument.as_deref(),
            );
            assert_eq!(found, wanted, "{line}");
        }
        assert_eq!(parse_line(" # comment"), Ok(None));
    }

    #[test]
    fn malformed_lines_are_refused_with_the_reason() {
        for (line, reason) in [
            ("/var/lib/x d", "not a type"),
            ("dx /var", "modifier"),
            ("d var/lib/x", "absolute"),
            ("d", "absolute"),
            ("d /x 0999", "octal"),
            ("d \"/x", "quote"),
        ] {
            let message = parse_line(line).unwrap_err();
            assert!(message.contains(reason), "{line}: {message}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_line_panics(line in "[dLfZ+!]{0,2} ?[ -~]{0,60}") {
            let _ = parse_line(&line);
        }
    }
}
