//! Shell globs for paths of the tree, compiled once.
//!
//! `*` and `?` match within a component, `[...]` one byte of a set (`[!…]` or `[^…]` negates),
//! `**` as a whole component any number of components, none included; at the end (`/**`) at least
//! one. A backslash takes the next byte literally. Bytes are compared, not characters.

use super::TreePath;

/// Why a pattern is not a glob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// Patterns begin at the image's root.
    #[error("it must begin with `/`")]
    Relative,
    /// `[` without `]`.
    #[error("a `[` is not closed")]
    Set,
    /// `**` beside other characters.
    #[error("`**` must be a whole component, as in `/usr/**/x`")]
    DoubleStar,
    /// A backslash at the end.
    #[error("it ends in a backslash")]
    Escape,
    /// `.` or `..`.
    #[error("it has a `.` or `..` component")]
    Dots,
    /// Nothing but slashes.
    #[error("it names nothing but the root")]
    Root,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Literal(u8),
    Any,
    Star,
    Set {
        negated: bool,
        ranges: Vec<(u8, u8)>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Component {
    /// No wildcard in it.
    Literal(Vec<u8>),
    Pattern(Vec<Token>),
    DoubleStar,
}

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Vec<Component>);

impl Glob {
    /// Compiles a pattern such as `/usr/share/man/**`.
    ///
    /// # Errors
    /// See [`GlobError`].
    pub fn new(pattern: &str) -> Result<Self, GlobError> {
        let rest = pattern.strip_prefix('/').ok_or(GlobError::Relative)?;
        let parts = rest.as_bytes().split(|&b| b == b'/');
        let components = parts
            .filter(|part| !part.is_empty())
            .map(component)
            .collect::<Result<Vec<_>, _>>()?;
        if components.is_empty() {
            return Err(GlobError::Root);
        }
        Ok(Self(components))
    }

    /// This pattern with `first` as a literal component before it.
    #[must_use]
    pub(super) fn below(mut self, first: &str) -> Self {
        self.0.insert(0, Component::Literal(first.into()));
        self
    }

    /// The first component, if it is literal and others follow.
    pub(super) fn top(&self) -> Option<&[u8]> {
        match self.0.as_slice() {
            [Component::Literal(name), _, ..] => Some(name),
            _ => None,
        }
    }

    /// Whether the pattern may match something below the directory of these components.
    #[must_use]
    pub(super) fn reaches_below(&self, directory: &[&[u8]]) -> bool {
        let mut components = self.0.iter();
        for name in directory {
            let fitting = match components.next() {
                Some(Component::DoubleStar) => return true,
                Some(Component::Literal(wanted)) => wanted == name,
                Some(Component::Pattern(tokens)) => fits(tokens, name),
                None => false,
            };
            if !fitting {
                return false;
            }
        }
        components.next().is_some()
    }

    /// Whether the pattern matches `path`.
    #[must_use]
    pub fn matches(&self, path: &TreePath) -> bool {
        let components: Vec<&[u8]> = path.components().collect();
        self.matches_components(&components)
    }

    /// Whether the pattern matches the path of these components.
    #[must_use]
    pub fn matches_components(&self, path: &[&[u8]]) -> bool {
        // The classic walk with one point of return: what a later `**` matches can only be more
        // than what an earlier one has left.
        let (mut p, mut c) = (0, 0);
        let mut back: Option<(usize, usize)> = None;
        loop {
            match (self.0.get(p), path.get(c)) {
                (None, None) => return true,
                (Some(Component::DoubleStar), here) => {
                    if p + 1 == self.0.len() {
                        return here.is_some();
                    }
                    back = Some((p + 1, c));
                    p += 1;
                    continue;
                }
                (Some(Component::Literal(name)), Some(found)) if name == found => {
                    (p, c) = (p + 1, c + 1);
                    continue;
                }
                (Some(Component::Pattern(tokens)), Some(found)) if fits(tokens, found) => {
                    (p, c) = (p + 1, c + 1);
                    continue;
                }
                _ => {}
            }
            match back {
                Some((after, from)) if from < path.len() => {
                    back = Some((after, from + 1));
                    (p, c) = (after, from + 1);
                }
                _ => return false,
            }
        }
    }
}

fn component(text: &[u8]) -> Result<Component, GlobError> {
    match text {
        b"**" => return Ok(Component::DoubleStar),
        b"." | b".." => return Err(GlobError::Dots),
        _ => {}
    }
    let mut tokens = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        tokens.push(match byte {
            b'*' if rest.peek() == Some(&b'*') => return Err(GlobError::DoubleStar),
            b'*' => Token::Star,
            b'?' => Token::Any,
            b'\\' => Token::Literal(rest.next().ok_or(GlobError::Escape)?),
            b'[' => set(&mut rest)?,
            other => Token::Literal(other),
        });
    }
    let literal: Option<Vec<u8>> = tokens
        .iter()
        .map(|token| match token {
            Token::Literal(byte) => Some(*byte),
            _ => None,
        })
        .collect();
    Ok(literal.map_or(Component::Pattern(tokens), Component::Literal))
}

fn set(rest: &mut std::iter::Peekable<impl Iterator<Item = u8>>) -> Result<Token, GlobError> {
    let negated = rest.next_if(|b| matches!(b, b'!' | b'^')).is_some();
    let mut ranges = Vec::new();
    let mut first = true;
    loop {
        let low = match rest.next().ok_or(GlobError::Set)? {
            b']' if !first => return Ok(Token::Set { negated, ranges }),
            b'\\' => rest.next().ok_or(GlobError::Escape)?,
            byte => byte,
        };
        first = false;
        if rest.next_if_eq(&b'-').is_none() {
            ranges.push((low, low));
            continue;
        }
        match rest.peek() {
            // A hyphen at the end stands for itself.
            Some(b']') => ranges.extend([(low, low), (b'-', b'-')]),
            Some(&high) => {
                rest.next();
                ranges.push((low, high));
            }
            None => return Err(GlobError::Set),
        }
    }
}

fn fits(tokens: &[Token], name: &[u8]) -> bool {
    let (mut t, mut n) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    loop {
        let hit = match (tokens.get(t), name.get(n)) {
            (None, None) => return true,
            (Some(Token::Star), _) => {
                back = Some((t + 1, n));
                t += 1;
                continue;
            }
            (Some(Token::Any), Some(_)) => true,
            (Some(Token::Literal(wanted)), Some(found)) => wanted == found,
            (Some(Token::Set { negated, ranges }), Some(found)) => {
                ranges
                    .iter()
                    .any(|(low, high)| (low..=high).contains(&found))
                    != *negated
            }
            _ => false,
        };
        if hit {
            (t, n) = (t + 1, n + 1);
            continue;
        }
        match back {
            Some((after, from)) if from < name.len() => {
                back = Some((after, from + 1));
                (t, n) = (after, from + 1);
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_documented() {
        for (pattern, matching, other) in [
            ("/a/b", &["a/b"][..], &["a", "a/b/c", "b"][..]),
            ("/a/*", &["a/b", "a/.b"], &["a", "a/b/c"]),
            ("/a/**", &["a/b", "a/b/c"], &["a", "ab"]),
            ("/**", &["a", "a/b"], &[""]),
            ("/**/x", &["x", "a/x", "a/b/x"], &["xx", "a/x/b"]),
            (
                "/a/**/b/*.c",
                &["a/b/x.c", "a/q/b/b/.c"],
                &["a/b/c", "a/x.c"],
            ),
            ("/a/**/b/**/c", &["a/b/c", "a/b/x/b/y/c"], &["a/c/b"]),
            (
                "/l?b*.so.[0-9]",
                &["libx.so.1", "lab.so.0"],
                &["libx.so.x", "lb.so.1"],
            ),
            ("/[!a-c-]*", &["d", "dd"], &["a", "-x", "cc"]),
            ("/[]x]", &["]", "x"], &["y"]),
            ("/\\*x\\[", &["*x["], &["ax["]),
            ("/a*b*c", &["abc", "aXbXbc"], &["ab", "acb"]),
        ] {
            let glob = Glob::new(pattern).unwrap();
            for path in matching {
                let path = TreePath::parse(path).unwrap();
                assert!(glob.matches(&path), "{pattern} {path}");
                let components: Vec<&[u8]> = path.components().collect();
                for depth in 0..components.len() {
                    assert!(glob.reaches_below(&components[..depth]), "{pattern} {path}");
                }
            }
            for path in other {
                assert!(
                    !glob.matches(&TreePath::parse(path).unwrap()),
                    "{pattern} {path}"
                );
            }
        }
    }

    #[test]
    fn a_pattern_is_not_sought_where_it_cannot_match() {
        for (pattern, within, without) in [
            ("/a/b", &["", "a"][..], &["b", "a/b", "a/b/c"][..]),
            ("/a*/[bc]/d", &["ax", "ax/b"], &["b", "ax/d", "ax/b/d"]),
            ("/a/**", &["", "a", "a/b/c"], &["b", "b/a"]),
            ("/a/**/c", &["a", "a/c", "a/b/c"], &["c"]),
        ] {
            let glob = Glob::new(pattern).unwrap();
            let reaches = |path: &str| {
                let path = TreePath::parse(path).unwrap();
                glob.reaches_below(&path.components().collect::<Vec<_>>())
            };
            assert!(within.iter().all(|path| reaches(path)), "{pattern}");
            assert!(!without.iter().any(|path| reaches(path)), "{pattern}");
        }
    }

    #[test]
    fn bad_patterns_are_refused() {
        for (pattern, error) in [
            ("usr", GlobError::Relative),
            ("/[a", GlobError::Set),
            ("/[]", GlobError::Set),
            ("/a**", GlobError::DoubleStar),
            ("/a\\", GlobError::Escape),
            ("/a/../b", GlobError::Dots),
            ("/", GlobError::Root),
        ] {
            assert_eq!(Glob::new(pattern), Err(error), "{pattern}");
        }
    }
}
