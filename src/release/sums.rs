//! `SHA256SUMS`: every other file of an architecture's folder, as coreutils' `sha256sum --check` and
//! systemd-sysupdate read it. One encoding only: sorted, each name once, two spaces, one line feed.

use std::collections::BTreeMap;

use crate::digest::Sha256;

/// More bytes than any list that this program makes.
pub const MAX_SUMS: u64 = 4 << 20;

/// File names with their hashes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sums(pub BTreeMap<String, Sha256>);

/// A line that is not as we write it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct SumsError {
    /// Which, from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: &'static str,
}

impl Sums {
    /// Reads the text.
    ///
    /// # Errors
    /// The first line that is not as [`Self::to_text`] writes it.
    pub fn parse(text: &[u8]) -> Result<Self, SumsError> {
        let bad = |line, problem| SumsError { line, problem };
        let text = std::str::from_utf8(text).map_err(|_| bad(1, "it is not text"))?;
        let mut sums = BTreeMap::new();
        let mut last = "";
        for (number, line) in (1..).zip(text.split_inclusive('\n')) {
            let line = line
                .strip_suffix('\n')
                .ok_or_else(|| bad(number, "it does not end in a line feed"))?;
            let (hash, name) = line
                .split_once("  ")
                .ok_or_else(|| bad(number, "expected a hash, two spaces and a file name"))?;
            if !hash
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            {
                return Err(bad(number, "the hash is not in lower-case hexadecimal"));
            }
            let hash = hash
                .parse()
                .map_err(|_| bad(number, "the hash has not 64 digits"))?;
            if !is_file_name(name) {
                return Err(bad(number, "the file name is not one of a release"));
            }
            if name <= last {
                return Err(bad(
                    number,
                    "the names are not in order, or one is there twice",
                ));
            }
            last = name;
            sums.insert(name.to_owned(), hash);
        }
        Ok(Self(sums))
    }

    /// The text of the file.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.0
            .iter()
            .map(|(name, hash)| format!("{hash}  {name}\n"))
            .collect()
    }
}

/// A plain file name: no folder, nothing hidden, nothing that a terminal or URL would take for more.
#[must_use]
pub fn is_file_name(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && !name.starts_with(['.', '-'])
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._~-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sums_read_as_they_are_written() {
        let mut sums = Sums::default();
        assert_eq!(Sums::parse(b"").unwrap(), sums);
        for name in ["os_1.0.efi", "channel.txt", "os_1.0~rc1.lock"] {
            sums.0.insert(name.into(), Sha256::of(name.as_bytes()));
        }
        assert_eq!(Sums::parse(sums.to_text().as_bytes()).unwrap(), sums);
    }

    #[test]
    fn lines_of_another_form_are_refused() {
        let hash = Sha256::of(b"");
        let good = format!("{hash}  b\n");
        for bad in [
            format!("{hash}  b"),
            format!("{hash} *b\n"),
            format!("{hash}  b\n\n"),
            format!("{hash}  b\r\n"),
            format!("{hash}  ../b\n"),
            format!("{hash}  .b\n"),
            format!("{good}{good}"),
            format!("{good}{hash}  a\n"),
            format!("{}  b\n", hash.to_string().to_uppercase()),
            format!("{}  b\n", &hash.to_string()[1..]),
            format!("{hash}  {}\n", "a".repeat(256)),
        ] {
            assert!(Sums::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(Sums::parse(good.as_bytes()).unwrap().to_text(), good);
        assert!(Sums::parse(b"\xff\n").is_err());
    }

    proptest! {
        #[test]
        fn what_parses_is_what_would_be_written(text in "([0-9a-f]{64}  [a-c.]{1,3}\n?){0,4}") {
            if let Ok(sums) = Sums::parse(text.as_bytes()) {
                prop_assert_eq!(sums.to_text(), text);
            }
        }
    }
}
