//! Which signer is meant: `file`, `command:PROGRAM [ARG…]` or a PKCS #11 URI.

use std::fmt;
use std::str::FromStr;

use super::pkcs11::Uri;

/// A signer by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Choice {
    /// Private keys in files beside the certificates.
    #[default]
    File,
    /// A program that signs (`docs/signers.md`).
    Command(Vec<String>),
    /// A key in a PKCS #11 token.
    Pkcs11(Uri),
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "file" {
            Ok(Self::File)
        } else if let Some(rest) = text.strip_prefix("command:") {
            words(rest).map(Self::Command)
        } else if text.starts_with(Uri::SCHEME) {
            text.parse().map(Self::Pkcs11)
        } else {
            Err("`file`, `command:PROGRAM [ARG…]` or a URI that begins with `pkcs11:`".into())
        }
    }
}

impl fmt::Display for Choice {
    /// Without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("file"),
            Self::Command(words) => write!(f, "command:{}", words.join(" ")),
            Self::Pkcs11(uri) => write!(f, "{uri}"),
        }
    }
}

/// Words as a shell has them: blanks separate; `'…'`, `"…"` and `\` quote. Nothing is expanded.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(end), _) if letter == end => quote = None,
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => match letters.next() {
                Some(escaped) => word.get_or_insert_default().push(escaped),
                None => return Err("a command that does not end in `\\`".into()),
            },
            (None, ' ' | '\t') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    if let Some(quote) = quote {
        return Err(format!("a command in which every {quote} is closed"));
    }
    words.extend(word);
    if words.first().is_none_or(String::is_empty) {
        return Err("a program behind `command:`".into());
    }
    if text.chars().any(char::is_control) {
        return Err("a command without control characters".into());
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signer_is_named_by_its_first_word() {
        let command = |words: &[&str]| {
            Ok(Choice::Command(
                words.iter().map(|w| (*w).to_owned()).collect(),
            ))
        };
        for (text, expected) in [
            ("file", Ok(Choice::File)),
            ("command:sign", command(&["sign"])),
            ("command: a  b ", command(&["a", "b"])),
            (
                r#"command:a 'b c' "d \" e" f\ g ''"#,
                command(&["a", "b c", "d \" e", "f g", ""]),
            ),
        ] {
            assert_eq!(text.parse::<Choice>(), expected, "{text}");
        }
        for text in [
            "",
            "files",
            "command:",
            "command:  ",
            "command:''",
            "command:'a",
            "command:a\\",
            "command:a\nb",
            "pkcs11",
            "pkcs11:object",
        ] {
            assert!(text.parse::<Choice>().is_err(), "{text}");
        }
    }
}
