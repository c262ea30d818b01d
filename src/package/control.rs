//! The `control` and `conffiles` files of a package.

use super::object::Control;
use crate::tree::TreePath;

/// What is wrong with the control archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// No `control` file.
    #[error("there is no `control` file")]
    Missing,
    /// A field that every package must have.
    #[error("`control` has no `{0}` field")]
    NoField(&'static str),
    /// Text that is not a deb822 stanza.
    #[error("`control`, line {line}: {what}")]
    Syntax {
        /// From 1.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// A line of `conffiles`.
    #[error("`conffiles`, line {line}: {what}")]
    Conffile {
        /// From 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
}

/// Parses the first stanza of `control` (deb-control(5)) and `conffiles` (deb-conffiles(5)).
///
/// # Errors
/// See [`ControlError`].
pub fn parse(control: &[u8], conffiles: &[u8]) -> Result<Control, ControlError> {
    let text = String::from_utf8_lossy(control);
    let mut fields: Vec<(String, String)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line_number = number + 1;
        if line.trim().is_empty() {
            if fields.is_empty() {
                continue;
            }
            break;
        }
        if line.starts_with('#') {
            continue;
        }
        if line.starts_with([' ', '\t']) {
            let (_, value) = fields.last_mut().ok_or(ControlError::Syntax {
                line: line_number,
                what: "a continuation line before the first field",
            })?;
            value.push('\n');
            value.push_str(line.trim());
            continue;
        }
        let (name, value) = line.split_once(':').ok_or(ControlError::Syntax {
            line: line_number,
            what: "expected `Field: value`",
        })?;
        let name = name.trim_end().to_ascii_lowercase();
        if fields.iter().any(|(n, _)| *n == name) {
            return Err(ControlError::Syntax {
                line: line_number,
                what: "the field stands here twice",
            });
        }
        fields.push((name, value.trim().to_owned()));
    }
    let get = |name: &str| {
        fields
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.clone())
            .filter(|v| !v.is_empty())
    };
    Ok(Control {
        name: get("package").ok_or(ControlError::NoField("Package"))?,
        version: get("version").ok_or(ControlError::NoField("Version"))?,
        architecture: get("architecture").ok_or(ControlError::NoField("Architecture"))?,
        replaces: get("replaces").unwrap_or_default(),
        conffiles: parse_conffiles(conffiles)?,
    })
}

fn parse_conffiles(bytes: &[u8]) -> Result<Vec<TreePath>, ControlError> {
    let mut out = Vec::new();
    for (number, line) in bytes.split(|&b| b == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        // `remove-on-upgrade /path` names a file that is not shipped any more.
        if line.starts_with(b"remove-on-upgrade") {
            continue;
        }
        let wrong = |what: String| ControlError::Conffile {
            line: number + 1,
            what,
        };
        if line.first() != Some(&b'/') {
            let shown = String::from_utf8_lossy(line.get(..80).unwrap_or(line));
            return Err(wrong(format!("`{shown}` is not an absolute path")));
        }
        out.push(TreePath::parse(line).map_err(|error| wrong(error.to_string()))?);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_whatever_their_case_and_continuation() {
        let control = b"Package: x\nversion: 1:2-3\nArchitecture: all\nReplaces: a (<< 2),\n b\n\
            Description: words\n more: words\n .\n";
        let parsed = parse(control, b"/etc/a\n\nremove-on-upgrade /etc/b\n/etc/c d\n").unwrap();
        assert_eq!(parsed.name, "x");
        assert_eq!(parsed.version, "1:2-3");
        assert_eq!(parsed.replaces, "a (<< 2),\nb");
        let shown: Vec<_> = parsed.conffiles.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["/etc/a", "/etc/c d"]);
    }

    #[test]
    fn what_is_missing_or_malformed_is_named() {
        for (control, conffiles, wanted) in [
            ("", "", "no `Package`"),
            ("Package: x\nArchitecture: all\n", "", "no `Version`"),
            ("Package: x\nPackage: y\n", "", "line 2"),
            (" x", "", "line 1"),
            ("Package\n", "", "Field: value"),
            (
                "Package: x\nVersion: 1\nArchitecture: all\n",
                "\netc/x\n",
                "line 2",
            ),
            (
                "Package: x\nVersion: 1\nArchitecture: all\n",
                "/../x\n",
                "climbs",
            ),
        ] {
            let error = parse(control.as_bytes(), conffiles.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(wanted), "{error}");
        }
    }
}
