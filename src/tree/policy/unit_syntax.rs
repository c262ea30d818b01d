//! The syntax of unit files and their like (systemd.syntax(7)): sections of `Key=value` lines.

/// One assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The section that it stands in, without brackets.
    pub section: String,
    /// Before the `=`.
    pub key: String,
    /// Behind it, with continued lines joined by a blank.
    pub value: String,
    /// The line that it begins on, from 1.
    pub line: usize,
}

/// The assignments of a file, in order. What is none is left out, as systemd does with a warning.
#[must_use]
pub fn settings(text: &str) -> Vec<Setting> {
    let mut section = String::new();
    let mut out = Vec::new();
    for (line, text) in logical_lines(text) {
        if let Some(name) = text.strip_prefix('[') {
            section = name.strip_suffix(']').unwrap_or_default().to_owned();
        } else if let Some((key, value)) = text.split_once('=') {
            out.push(Setting {
                section: section.clone(),
                key: key.trim().to_owned(),
                value: value.trim().to_owned(),
                line,
            });
        }
    }
    out
}

/// Lines by number with continuations joined and comments left out; a comment line between continued
/// lines is skipped.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut out: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (number, line) in (1..).zip(text.lines()) {
        let trimmed = line.trim();
        if trimmed.starts_with(['#', ';']) || (trimmed.is_empty() && !open) {
            continue;
        }
        let (body, continued) = match trimmed.strip_suffix('\\') {
            Some(body) => (body, true),
            None => (trimmed, false),
        };
        match out.last_mut().filter(|_| open) {
            Some((_, last)) => {
                last.push(' ');
                last.push_str(body);
            }
            None => out.push((number, body.to_owned())),
        }
        open = continued;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_have_their_section_and_first_line() {
        let text = "a=b\n[Unit]\n# c=d\nWants=x \\\n; comment\n  y\n\n[Service]\nExecStart = z=1\nnone\n[broken\nq=r\n";
        let found: Vec<_> = settings(text)
            .into_iter()
            .map(|s| format!("{}:{}.{}={}", s.line, s.section, s.key, s.value))
            .collect();
        assert_eq!(
            found,
            [
                "1:.a=b",
                "4:Unit.Wants=x  y",
                "9:Service.ExecStart=z=1",
                "12:.q=r"
            ]
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[ -~\n\\\\]{0,80}") {
            let _ = settings(&text);
        }
    }
}
