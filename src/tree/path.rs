//! Paths inside the image: bytes, relative to the root, normalised, unable to leave it.

use std::cmp::Ordering;
use std::fmt;

/// A normalised path inside the image, without leading or trailing slash; the empty path is the root.
///
/// Ordered by components, so that everything below a directory is one contiguous range of a map.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct TreePath(Vec<u8>);

/// Why a name from outside is not a path inside the image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A `..` component.
    #[error("`{0}` climbs out with `..`")]
    Climbs(String),
    /// A NUL byte, which no file system can store.
    #[error("`{0}` contains a NUL byte")]
    Nul(String),
    /// Longer than `PATH_MAX` (4096 bytes) or with a component over 255 bytes.
    #[error("`{0}…` is longer than Linux allows")]
    TooLong(String),
    /// An absolute path where the format demands a relative one.
    #[error("`{0}` is absolute")]
    Absolute(String),
}

/// Bytes that are compared at once.
const WORD: usize = 16;

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(120)]).into_owned()
}

impl TreePath {
    /// The root.
    #[must_use]
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// Parses a path of a profile or of the tool itself; a leading slash is allowed and means the
    /// image's root.
    ///
    /// # Errors
    /// See [`PathError`].
    pub fn parse(path: impl AsRef<[u8]>) -> Result<Self, PathError> {
        let bytes = path.as_ref();
        let mut out = Vec::with_capacity(bytes.len());
        if bytes.len() >= 4096 {
            return Err(PathError::TooLong(shown(bytes)));
        }
        for component in bytes.split(|&b| b == b'/') {
            match component {
                b"" | b"." => {}
                b".." => return Err(PathError::Climbs(shown(bytes))),
                name if name.contains(&0) => return Err(PathError::Nul(shown(bytes))),
                name if name.len() > 255 => return Err(PathError::TooLong(shown(bytes))),
                name => {
                    if !out.is_empty() {
                        out.push(b'/');
                    }
                    out.extend_from_slice(name);
                }
            }
        }
        Ok(Self(out))
    }

    /// Parses a member name of an archive, where a leading slash is an attack or a mistake.
    ///
    /// # Errors
    /// See [`PathError`].
    pub fn from_archive(name: &[u8]) -> Result<Self, PathError> {
        if name.first() == Some(&b'/') {
            return Err(PathError::Absolute(shown(name)));
        }
        Self::parse(name)
    }

    /// The bytes, without leading slash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the root.
    #[must_use]
    pub const fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The last component; empty for the root.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.0.rsplit(|&b| b == b'/').next().unwrap_or(&[])
    }

    /// The containing directory; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let cut = self.0.iter().rposition(|&b| b == b'/').unwrap_or(0);
        Some(Self(self.0[..cut].to_vec()))
    }

    /// The components, outermost first.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/').filter(|c| !c.is_empty())
    }

    /// This path with `rest` below it.
    ///
    /// # Errors
    /// See [`PathError`].
    pub fn join(&self, rest: impl AsRef<[u8]>) -> Result<Self, PathError> {
        let mut bytes = self.0.clone();
        bytes.push(b'/');
        bytes.extend_from_slice(rest.as_ref());
        Self::parse(bytes)
    }

    /// Whether this path is `dir` or lies below it.
    #[must_use]
    pub fn starts_with(&self, dir: &Self) -> bool {
        dir.is_root()
            || (self.0.starts_with(&dir.0)
                && (self.0.len() == dir.0.len() || self.0[dir.0.len()] == b'/'))
    }

    /// This path relative to `dir`, if it is `dir` or lies below it.
    #[must_use]
    pub fn strip_prefix(&self, dir: &Self) -> Option<Self> {
        if !self.starts_with(dir) {
            return None;
        }
        let rest = &self.0[dir.0.len()..];
        Some(Self(rest.strip_prefix(b"/").unwrap_or(rest).to_vec()))
    }
}

impl Ord for TreePath {
    /// By components: the separator counts as less than any byte of a name. No name has a NUL, so it
    /// is as good as one. Whole words are skipped at once: most paths share most of their beginning.
    fn cmp(&self, other: &Self) -> Ordering {
        let (one, two) = (self.0.as_slice(), other.0.as_slice());
        let words = one.as_chunks::<WORD>().0.iter().zip(two.as_chunks().0);
        let equal = WORD * words.take_while(|(a, b)| a == b).count();
        // What ends first is less, as `None` is.
        let weight =
            |path: &[u8], at: usize| path.get(at).map(|&byte| byte * u8::from(byte != b'/'));
        let mut at = equal;
        while at < one.len() && one.get(at) == two.get(at) {
            at += 1;
        }
        weight(one, at).cmp(&weight(two, at))
    }
}

impl PartialOrd for TreePath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_from_archives_are_normalised_or_refused() {
        for (name, wanted) in [
            ("./usr/bin/", "usr/bin"),
            ("usr//lib/./x", "usr/lib/x"),
            ("./", ""),
            ("a/b", "a/b"),
        ] {
            assert_eq!(
                TreePath::from_archive(name.as_bytes()).unwrap().as_bytes(),
                wanted.as_bytes()
            );
        }
        for name in ["/etc/passwd", "../x", "usr/../../x", "a/\0b"] {
            assert!(TreePath::from_archive(name.as_bytes()).is_err(), "{name}");
        }
        assert!(TreePath::parse("a".repeat(256)).is_err());
    }

    #[test]
    fn everything_below_a_directory_is_contiguous() {
        let mut paths: Vec<_> = ["a-b", "a/b", "a", "a.b", "a/b/c", "b"]
            .map(|p| TreePath::parse(p).unwrap())
            .into();
        paths.sort();
        let shown: Vec<_> = paths.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["/a", "/a/b", "/a/b/c", "/a-b", "/a.b", "/b"]);
    }

    proptest! {
        #[test]
        fn the_order_is_that_of_components(
            prefix in "[a/]{0,40}",
            one in "[a-c./!~-]{0,20}",
            two in "[a-c./!~-]{0,20}",
        ) {
            let path = |rest: &str| TreePath::parse(format!("{prefix}{}", rest.replace("..", "")));
            let (one, two) = (path(&one).unwrap(), path(&two).unwrap());
            prop_assert_eq!(one.cmp(&two), one.components().cmp(two.components()));
        }
    }
}
