//! The cleartext signature framework of OpenPGP (RFC 9580, section 7), as strictly as an archive
//! needs it: nothing before, between or after the signed text and its signatures.

use pgp::composed::{Deserializable as _, DetachedSignature};
use pgp::packet::Signature;

/// What a clear-signed file consists of.
#[derive(Debug)]
pub struct Cleartext {
    /// The signed text with `\n` line ends, dash escapes undone, spaces at line ends removed.
    pub text: String,
    /// The signatures over it, unchecked.
    pub signatures: Vec<Signature>,
}

impl Cleartext {
    /// The text as it is hashed (RFC 9580, section 7.2): CR LF between lines, none after the last.
    #[must_use]
    pub fn hashed_text(&self) -> String {
        let text = self.text.strip_suffix('\n').unwrap_or(&self.text);
        text.replace('\n', "\r\n")
    }
}

/// Why a file is not one clear-signed message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// Not text at all.
    #[error("it is not UTF-8 text")]
    NotText,
    /// The first line is something else.
    #[error("it does not begin with `{BEGIN}`")]
    NotClearSigned,
    /// An armor header other than `Hash`.
    #[error("line {0}: the only header allowed before the signed text is `Hash`")]
    Header(usize),
    /// A line of the text that begins with `-` without being escaped.
    #[error("line {0}: a line of the signed text begins with an unescaped dash")]
    Dash(usize),
    /// A control character: some count as line ends when a text is hashed, but not when it is read,
    /// so that lines could be hidden.
    #[error("line {0}: the signed text has a control character")]
    Control(usize),
    /// The file ends early.
    #[error("it is cut off: `{0}` is missing")]
    Truncated(&'static str),
    /// Text after the signature.
    #[error("line {0}: there is text outside the signed part")]
    Outside(usize),
    /// The signature's armor or packets.
    #[error("its signature cannot be read: {0}")]
    Signature(String),
}

const BEGIN: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
const END: &str = "-----END PGP SIGNATURE-----";
/// No archive needs more; each costs a verification.
const MAX_SIGNATURES: usize = 32;

/// Takes a clear-signed file apart.
///
/// # Errors
/// Anything but exactly one message that fills the file.
pub fn parse(bytes: &[u8]) -> Result<Cleartext, FormError> {
    let file = std::str::from_utf8(bytes).map_err(|_| FormError::NotText)?;
    let mut lines = file
        .lines()
        .map(|line| line.trim_end_matches([' ', '\t', '\r']))
        .enumerate()
        .map(|(index, line)| (index + 1, line));

    if lines.next().is_none_or(|(_, line)| line != BEGIN) {
        return Err(FormError::NotClearSigned);
    }
    loop {
        match lines.next() {
            None => return Err(FormError::Truncated("the signed text")),
            Some((_, "")) => break,
            Some((_, line)) if line.starts_with("Hash:") => {}
            Some((number, _)) => return Err(FormError::Header(number)),
        }
    }

    let mut text = String::with_capacity(file.len());
    loop {
        match lines.next() {
            None => return Err(FormError::Truncated(SIGNATURE)),
            Some((_, line))
                if line.len() > 1
                    && line != SIGNATURE
                    && SIGNATURE.starts_with(line)
                    && lines.clone().next().is_none() =>
            {
                return Err(FormError::Truncated(SIGNATURE));
            }
            Some((_, SIGNATURE)) => break,
            Some((number, line)) if line.chars().any(|c| c.is_control() && c != '\t') => {
                return Err(FormError::Control(number));
            }
            Some((number, line)) => {
                let line = match line.strip_prefix('-') {
                    // Trailing blanks were trimmed, so an escaped empty line is a lone dash.
                    Some("") => "",
                    Some(rest) => rest.strip_prefix(' ').ok_or(FormError::Dash(number))?,
                    None => line,
                };
                text.push_str(line);
                text.push('\n');
            }
        }
    }

    let mut armor = format!("{SIGNATURE}\n");
    loop {
        match lines.next() {
            None => return Err(FormError::Truncated(END)),
            Some((_, END)) => break,
            Some((_, line)) => {
                armor.push_str(line);
                armor.push('\n');
            }
        }
    }
    armor.push_str(END);
    armor.push('\n');
    if let Some((number, _)) = lines.find(|(_, line)| !line.is_empty()) {
        return Err(FormError::Outside(number));
    }

    let unreadable = |e: pgp::errors::Error| FormError::Signature(e.to_string());
    let (parsed, _) = DetachedSignature::from_string_many(&armor).map_err(unreadable)?;
    let mut signatures = Vec::new();
    for signature in parsed {
        signatures.push(signature.map_err(unreadable)?.signature);
        if signatures.len() > MAX_SIGNATURES {
            return Err(FormError::Signature("too many signatures".into()));
        }
    }
    if signatures.is_empty() {
        return Err(FormError::Signature("there is none".into()));
    }
    Ok(Cleartext { text, signatures })
}
