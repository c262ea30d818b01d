//! PKCS #11 URIs (RFC 7512), as far as they can name a private key.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Stands for the key's name (`db`, `verity`) in the label of an object.
const KEY: &str = "{key}";

/// Where a private key is, and how to reach it. Absent parts match everything.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Uri {
    /// Label of the token.
    pub token: Option<String>,
    /// Its manufacturer.
    pub manufacturer: Option<String>,
    /// Its model.
    pub model: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// Number of the slot it is in.
    pub slot: Option<u64>,
    /// Label of the key, with `{key}` for the key's name.
    pub object: Option<String>,
    /// `CKA_ID` of the key.
    pub id: Option<Vec<u8>>,
    /// The shared library to load.
    pub module: PathBuf,
    /// Where the PIN is.
    pub pin: Pin,
}

/// Where the PIN of a token comes from.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Pin {
    /// From the environment, if at all.
    #[default]
    Outside,
    /// From the first line of a file.
    File(PathBuf),
    /// From the URI itself.
    Value(String),
}

impl Uri {
    /// What it begins with.
    pub const SCHEME: &str = "pkcs11:";

    /// The label of the object that is the key `name`: absent, it is the name itself.
    #[must_use]
    pub fn label(&self, name: &str) -> String {
        self.object
            .as_deref()
            .map_or_else(|| name.to_owned(), |label| label.replace(KEY, name))
    }
}

impl FromStr for Uri {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text
            .strip_prefix(Self::SCHEME)
            .ok_or("a URI that begins with `pkcs11:`")?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut uri = Self::default();
        let mut seen = Vec::new();
        for part in path.split(';').filter(|part| !part.is_empty()) {
            let (name, value) = attribute(part, &mut seen)?;
            uri.path_attribute(name, value)?;
        }
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = attribute(part, &mut seen)?;
            uri.query_attribute(name, value)?;
        }
        if uri.module.as_os_str().is_empty() {
            return Err(
                "the module to load in the PKCS #11 URI: `?module-path=/usr/lib/….so`".into(),
            );
        }
        Ok(uri)
    }
}

impl Uri {
    fn path_attribute(&mut self, name: &str, value: Vec<u8>) -> Result<(), String> {
        match name {
            "token" => self.token = Some(text(name, value)?),
            "manufacturer" => self.manufacturer = Some(text(name, value)?),
            "model" => self.model = Some(text(name, value)?),
            "serial" => self.serial = Some(text(name, value)?),
            "slot-id" => {
                let digits = text(name, value)?;
                self.slot = Some(digits.parse().map_err(|_| {
                    format!("a decimal number as `slot-id` of the PKCS #11 URI, not `{digits}`")
                })?);
            }
            "object" => self.object = Some(text(name, value)?),
            "id" => self.id = Some(value),
            "type" if value == b"private" => {}
            "type" => return Err("`type=private` in the PKCS #11 URI, or no type".into()),
            _ => {
                return Err(format!(
                    "no `{name}` in the path of the PKCS #11 URI: known are token, manufacturer, \
                     model, serial, slot-id, object, id and type"
                ));
            }
        }
        Ok(())
    }

    fn query_attribute(&mut self, name: &str, value: Vec<u8>) -> Result<(), String> {
        match name {
            "module-path" => {
                let path = PathBuf::from(text(name, value)?);
                if !path.is_absolute() {
                    return Err("an absolute path as `module-path` of the PKCS #11 URI".into());
                }
                self.module = path;
            }
            "pin-value" | "pin-source" if self.pin != Pin::Outside => {
                return Err("either `pin-value` or `pin-source` in the PKCS #11 URI".into());
            }
            "pin-value" => self.pin = Pin::Value(text(name, value)?),
            "pin-source" => {
                let source = text(name, value)?;
                let path = source.strip_prefix("file:").unwrap_or(&source);
                let path = path.strip_prefix("//").unwrap_or(path);
                if !path.starts_with('/') {
                    return Err(
                        "`pin-source=file:` with an absolute path in the PKCS #11 URI".into(),
                    );
                }
                self.pin = Pin::File(PathBuf::from(path));
            }
            _ => {
                return Err(format!(
                    "no `{name}` in the query of the PKCS #11 URI: known are module-path, pin-source \
                     and pin-value"
                ));
            }
        }
        Ok(())
    }
}

fn attribute<'a>(part: &'a str, seen: &mut Vec<&'a str>) -> Result<(&'a str, Vec<u8>), String> {
    let (name, value) = part
        .split_once('=')
        .ok_or_else(|| format!("`NAME=VALUE` in the PKCS #11 URI, not `{part}`"))?;
    // RFC 7512, section 2.3: no attribute occurs twice.
    if seen.contains(&name) {
        return Err(format!("`{name}` only once in the PKCS #11 URI"));
    }
    seen.push(name);
    Ok((name, decode(value)?))
}

/// Percent-encoding (RFC 3986, section 2.1).
fn decode(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|b| (b as char).to_digit(16));
        match (digit(), digit()) {
            (Some(high), Some(low)) => out.push((high << 4 | low) as u8),
            _ => return Err("two hexadecimal digits behind every `%` of the PKCS #11 URI".into()),
        }
    }
    Ok(out)
}

fn text(name: &str, value: Vec<u8>) -> Result<String, String> {
    match String::from_utf8(value) {
        Ok(text) if !text.is_empty() && !text.contains('\0') => Ok(text),
        _ => Err(format!("text as `{name}` of the PKCS #11 URI")),
    }
}

fn encode(value: &[u8]) -> String {
    let mut out = String::new();
    for byte in value {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'{' | b'}' => {
                out.push(*byte as char);
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

impl fmt::Display for Uri {
    /// The path: what tells keys apart. Nothing secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        for (name, value) in [
            ("token", &self.token),
            ("manufacturer", &self.manufacturer),
            ("model", &self.model),
            ("serial", &self.serial),
            ("object", &self.object),
        ] {
            if let Some(value) = value {
                parts.push(format!("{name}={}", encode(value.as_bytes())));
            }
        }
        if let Some(slot) = self.slot {
            parts.push(format!("slot-id={slot}"));
        }
        if let Some(id) = &self.id {
            let digits: String = id.iter().map(|byte| format!("%{byte:02X}")).collect();
            parts.push(format!("id={digits}"));
        }
        write!(f, "{}{}", Self::SCHEME, parts.join(";"))
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MODULE: &str = "module-path=/usr/lib/p.so";

    #[test]
    fn a_uri_says_which_key_and_how_to_reach_it() {
        let uri: Uri = "pkcs11:token=My%20Token;object=os-{key};id=%01%aB;slot-id=7;type=private\
                        ?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/run/pin"
            .parse()
            .unwrap();
        assert_eq!(uri.token.as_deref(), Some("My Token"));
        assert_eq!(uri.label("db"), "os-db");
        assert_eq!(uri.id.as_deref(), Some(&[1, 0xab][..]));
        assert_eq!(uri.slot, Some(7));
        assert_eq!(uri.pin, Pin::File("/run/pin".into()));
        assert_eq!(
            uri.to_string(),
            "pkcs11:token=My%20Token;object=os-{key};slot-id=7;id=%01%AB"
        );
        let plain: Uri = format!("pkcs11:?{MODULE}&pin-value=12%2634")
            .parse()
            .unwrap();
        assert_eq!(plain.label("verity"), "verity");
        assert_eq!(plain.pin, Pin::Value("12&34".into()));
        assert!(
            !format!("{plain:?} {plain}").contains("34"),
            "the PIN is secret"
        );
        let encoded: Uri = format!("pkcs11:object=x-%7Bkey%7D?{MODULE}")
            .parse()
            .unwrap();
        assert_eq!(encoded.label("db"), "x-db");
    }

    #[test]
    fn a_uri_that_can_not_be_followed_is_refused() {
        for (text, expected) in [
            ("pkcs12:x", "begins with `pkcs11:`"),
            ("pkcs11:token=x", "the module to load"),
            ("pkcs11:token?M", "`NAME=VALUE`"),
            ("pkcs11:token=?M", "text as `token`"),
            ("pkcs11:token=a;token=b?M", "only once"),
            ("pkcs11:token=%4?M", "two hexadecimal digits"),
            ("pkcs11:token=%ff?M", "text as `token`"),
            ("pkcs11:tokn=a?M", "no `tokn` in the path"),
            ("pkcs11:type=cert?M", "`type=private`"),
            ("pkcs11:slot-id=x?M", "a decimal number"),
            ("pkcs11:?module-path=p.so", "an absolute path"),
            ("pkcs11:?M&module-name=p", "no `module-name` in the query"),
            ("pkcs11:?M&pin-source=pin", "with an absolute path"),
            ("pkcs11:?M&pin-source=file:/p&pin-value=1", "either"),
        ] {
            let error = text.replace('M', MODULE).parse::<Uri>().unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn labels_survive_encoding_and_nothing_panics(label in "\\PC{1,20}", noise in "\\PC*") {
            let text = format!("pkcs11:token={}?{MODULE}", encode(label.as_bytes()));
            prop_assert_eq!(text.parse::<Uri>().unwrap().token, Some(label));
            let _ = format!("pkcs11:{noise}").parse::<Uri>();
        }
    }
}
