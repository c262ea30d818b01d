//! Packages indices: a streaming scanner for deb822 stanzas.
//!
//! [`parse`] takes arbitrary bytes and never panics: what is no stanza of a package is an error or
//! left out. It is the entry point of the `packages` fuzz target.
//!
//! Format: Debian Policy, section 5.1; <https://wiki.debian.org/DebianRepository/Format>.

use super::Record;
use crate::digest::Sha256;

/// Why an index can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// A line that is neither a field nor its continuation.
    #[error("line {line}: `{text}` is neither a field nor a continuation")]
    Line {
        /// From 1.
        line: u64,
        /// Its beginning.
        text: String,
    },
    /// A field that every package needs.
    #[error("the stanza that ends at line {line} ({package}) has no usable `{field}`")]
    Field {
        /// From 1.
        line: u64,
        /// Its package, or `?`.
        package: String,
        /// Name of the field.
        field: &'static str,
    },
    /// More stanzas than any archive has.
    #[error("more than {MAX_STANZAS} stanzas")]
    TooMany,
}

/// Twenty times Debian's main.
const MAX_STANZAS: usize = 1 << 20;

/// The packages of `architecture` and `all` in an index.
///
/// # Errors
/// The text is no Packages index.
pub fn parse(bytes: &[u8], architecture: &str) -> Result<Vec<Record>, ParseError> {
    let mut records = Vec::new();
    stanzas(bytes, |stanza| {
        if stanza.architecture == architecture.as_bytes() || stanza.architecture == b"all" {
            if records.len() == MAX_STANZAS {
                return Err(ParseError::TooMany);
            }
            records.push(stanza.record()?);
        }
        Ok(())
    })?;
    Ok(records)
}

/// The fields of a stanza as they stand in the text: no copy until a package is wanted.
#[derive(Default)]
struct Stanza<'a> {
    line: u64,
    package: &'a [u8],
    version: &'a [u8],
    architecture: &'a [u8],
    multi_arch: &'a [u8],
    essential: &'a [u8],
    priority: &'a [u8],
    section: &'a [u8],
    pre_depends: &'a [u8],
    depends: &'a [u8],
    recommends: &'a [u8],
    provides: &'a [u8],
    conflicts: &'a [u8],
    breaks: &'a [u8],
    replaces: &'a [u8],
    filename: &'a [u8],
    size: &'a [u8],
    installed_size: &'a [u8],
    sha256: &'a [u8],
}

impl<'a> Stanza<'a> {
    /// Where a field's value goes; fields that nobody asks for have no place.
    fn slot(&mut self, name: &[u8]) -> Option<&mut &'a [u8]> {
        Some(match name {
            b"Package" => &mut self.package,
            b"Version" => &mut self.version,
            b"Architecture" => &mut self.architecture,
            b"Multi-Arch" => &mut self.multi_arch,
            b"Essential" => &mut self.essential,
            b"Priority" => &mut self.priority,
            b"Section" => &mut self.section,
            b"Pre-Depends" => &mut self.pre_depends,
            b"Depends" => &mut self.depends,
            b"Recommends" => &mut self.recommends,
            b"Provides" => &mut self.provides,
            b"Conflicts" => &mut self.conflicts,
            b"Breaks" => &mut self.breaks,
            b"Replaces" => &mut self.replaces,
            b"Filename" => &mut self.filename,
            b"Size" => &mut self.size,
            b"Installed-Size" => &mut self.installed_size,
            b"SHA256" => &mut self.sha256,
            _ => return None,
        })
    }

    fn record(&self) -> Result<Record, ParseError> {
        let missing = |field| ParseError::Field {
            line: self.line,
            package: match self.package {
                b"" => "?".into(),
                name => excerpt(name),
            },
            field,
        };
        let text = |value: &[u8]| match std::str::from_utf8(value) {
            Ok(value) => value.to_owned(),
            Err(_) => String::from_utf8_lossy(value).into_owned(),
        };
        let name = plain(self.package).ok_or_else(|| missing("Package"))?;
        let filename = plain(self.filename)
            .filter(|path| safe_path(path))
            .ok_or_else(|| missing("Filename"))?;
        let sha256 = plain(self.sha256)
            .and_then(|digits| digits.parse::<Sha256>().ok())
            .ok_or_else(|| missing("SHA256"))?;
        Ok(Record {
            name: name.to_owned(),
            version: plain(self.version)
                .ok_or_else(|| missing("Version"))?
                .to_owned(),
            architecture: text(self.architecture),
            multi_arch: text(self.multi_arch),
            essential: self.essential == b"yes",
            priority: text(self.priority),
            section: text(self.section),
            pre_depends: text(self.pre_depends),
            depends: text(self.depends),
            recommends: text(self.recommends),
            provides: text(self.provides),
            conflicts: text(self.conflicts),
            breaks: text(self.breaks),
            replaces: text(self.replaces),
            filename: filename.to_owned(),
            size: number(self.size).ok_or_else(|| missing("Size"))?,
            installed_size: number(self.installed_size).unwrap_or(0),
            sha256: Some(sha256),
            suite: 0,
        })
    }
}

/// A value of one word in printable ASCII.
fn plain(value: &[u8]) -> Option<&str> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    std::str::from_utf8(value).ok()
}

/// Whether a path stays below the archive's base URL.
#[must_use]
pub fn safe_path(path: &str) -> bool {
    !path.starts_with('/')
        && !path.contains("://")
        && path.split('/').all(|part| !matches!(part, "" | ".." | "."))
}

fn number(value: &[u8]) -> Option<u64> {
    plain(value)
        .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
}

fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars()
        .take(60)
        .flat_map(char::escape_default)
        .collect()
}

/// Calls `each` with every stanza that names a package.
fn stanzas<'a>(
    bytes: &'a [u8],
    mut each: impl FnMut(&Stanza<'a>) -> Result<(), ParseError>,
) -> Result<(), ParseError> {
    let mut stanza = Stanza::default();
    let mut filled = false;
    // The value of the field being read may grow by continuation lines: its start is kept, and its
    // end moves.
    let mut open: Option<(&'a [u8], usize)> = None;
    let mut start = 0;
    let mut line_number = 0_u64;
    let ends = memchr::memchr_iter(b'\n', bytes).chain([bytes.len()]);
    for end in ends {
        let line = trim_end(bytes.get(start..end).unwrap_or_default());
        line_number += 1;
        match line.first() {
            None => {
                if filled {
                    stanza.line = line_number;
                    each(&stanza)?;
                    stanza = Stanza::default();
                    filled = false;
                }
                open = None;
            }
            Some(b' ' | b'\t') => {
                let Some((name, from)) = open else {
                    return Err(bad_line(line_number, line));
                };
                if let Some(slot) = stanza.slot(name) {
                    *slot = trim(bytes.get(from..start + line.len()).unwrap_or_default());
                }
            }
            Some(b'#') => {}
            Some(_) => {
                let Some(colon) = memchr::memchr(b':', line).filter(|&at| at > 0) else {
                    return Err(bad_line(line_number, line));
                };
                let (name, value) = line.split_at(colon);
                if let Some(slot) = stanza.slot(name) {
                    *slot = trim(value.get(1..).unwrap_or_default());
                }
                open = Some((name, start + colon + 1));
                filled = true;
            }
        }
        start = end + 1;
    }
    if filled {
        stanza.line = line_number;
        each(&stanza)?;
    }
    Ok(())
}

fn bad_line(line: u64, text: &[u8]) -> ParseError {
    ParseError::Line {
        line,
        text: excerpt(text),
    }
}

fn trim_end(line: &[u8]) -> &[u8] {
    line.trim_ascii_end()
}

fn trim(value: &[u8]) -> &[u8] {
    value.trim_ascii()
}

/// The same index with only the fields that [`Record`] has: less than half the size, so faster to
/// read back.
#[must_use]
pub fn compact(records: &[Record]) -> Vec<u8> {
    let mut out = String::with_capacity(records.len() * 400);
    for record in records {
        let mut field = |name: &str, value: &str| {
            if !value.is_empty() {
                out.push_str(name);
                out.push_str(": ");
                out.push_str(value);
                out.push('\n');
            }
        };
        field("Package", &record.name);
        field("Version", &record.version);
        field("Architecture", &record.architecture);
        field("Multi-Arch", &record.multi_arch);
        field("Essential", if record.essential { "yes" } else { "" });
        field("Priority", &record.priority);
        field("Section", &record.section);
        field("Pre-Depends", &record.pre_depends);
        field("Depends", &record.depends);
        field("Recommends", &record.recommends);
        field("Provides", &record.provides);
        field("Conflicts", &record.conflicts);
        field("Breaks", &record.breaks);
        field("Replaces", &record.replaces);
        field("Filename", &record.filename);
        field("Size", &record.size.to_string());
        field("Installed-Size", &record.installed_size.to_string());
        field(
            "SHA256",
            &record.sha256.map(|s| s.to_string()).unwrap_or_default(),
        );
        out.push('\n');
    }
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHA: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn stanza(name: &str, architecture: &str) -> String {
        format!(
            "Package: {name}\nVersion: 1:2.3-4\nArchitecture: {architecture}\nEssential: yes\n\
             Depends: a (>= 1) | b,\n c [amd64]\nDescription: words: with colons\n more\n .\n\
             Filename: pool/main/x/{name}.deb\nSize: 10\nInstalled-Size: 7\nSHA256: {SHA}\n"
        )
    }

    #[test]
    fn stanzas_of_the_architecture_and_all_are_read() {
        let text = [
            stanza("one", "amd64"),
            stanza("two", "arm64"),
            stanza("three", "all"),
        ]
        .join("\n\n");
        let records = parse(text.as_bytes(), "amd64").unwrap();
        let names: Vec<&str> = records.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["one", "three"]);
        assert_eq!(records[0].depends, "a (>= 1) | b,\n c [amd64]");
        assert!(records[0].essential);
        assert_eq!((records[0].size, records[0].installed_size), (10, 7));
        assert_eq!(parse(&compact(&records), "amd64").unwrap(), records);
        assert!(parse(b"", "amd64").unwrap().is_empty());
    }

    #[test]
    fn an_index_that_could_mislead_is_refused() {
        for (from, to, message) in [
            (
                "Filename: pool/main",
                "Filename: ../../etc",
                "no usable `Filename`",
            ),
            (
                "Filename: pool/main",
                "Filename: /etc",
                "no usable `Filename`",
            ),
            ("Size: 10", "Size: -1", "no usable `Size`"),
            (
                "Size: 10",
                "Size: 99999999999999999999999",
                "no usable `Size`",
            ),
            (SHA, "ba78", "no usable `SHA256`"),
            ("Version: 1:2.3-4", "Version: ", "no usable `Version`"),
            ("Package: one", " one", "line 1: ` one` is neither"),
            ("Package: one", "Package", "line 1: `Package` is neither"),
        ] {
            let text = stanza("one", "amd64").replacen(from, to, 1);
            let error = parse(text.as_bytes(), "amd64").unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let _ = parse(&bytes, "amd64");
        }

        #[test]
        fn no_fields_panic(text in "((Package|Size|SHA256|Depends|X)?:?[ a-z\\n:]{0,5}\\n){0,40}") {
            let _ = parse(text.as_bytes(), "amd64");
        }
    }
}
