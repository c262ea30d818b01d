//! `files.txt`: each path of `/usr` on a line, sorted, in fields with one space between.
//!
//! ```text
//! # type mode uid:gid size sha256 xattrs from path
//! d 0755 0:0 - - - base-files /usr
//! f 4755 0:0 84360 1f4c… - passwd /usr/bin/passwd
//! f 0755 0:0 90184 77aa… security.capability=0100000200200000… iputils-ping /usr/bin/ping
//! h 0755 0:0 90184 77aa… - iputils-ping /usr/bin/ping4 -> /usr/bin/ping
//! l 0777 0:0 - - - dash /usr/bin/sh -> dash
//! ```
//!
//! The type is `d`, `f`, `l`, `p`, `c` or `b` (whose size is `MAJOR,MINOR`), or `h` for a further name
//! of the inode at the path behind the arrow. Bytes of names that are no printable ASCII, spaces and
//! backslashes stand as `\xHH`. `from` is a package, `(profile)`, or `(hullwright)` for what it made.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use rayon::prelude::*;

use crate::digest::{Sha256, hex};
use crate::tree::{Kind, LinkGroup, Node, Origin, Tree, TreePath};

/// Where an entry comes from when that is an overlay of the profile.
pub const PROFILE: &str = "(profile)";
/// Where an entry comes from when hullwright has made it.
pub const GENERATED: &str = "(hullwright)";

const HEADER: &str = "# type mode uid:gid size sha256 xattrs from path\n";
const ARROW: &str = " -> ";

/// A path of `/usr`. Texts are escaped as in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Absolute path.
    pub path: String,
    /// Type and content.
    pub kind: EntryKind,
    /// Permission bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Extended attributes, values in hexadecimal.
    pub xattrs: BTreeMap<String, String>,
    /// A package, [`PROFILE`] or [`GENERATED`].
    pub from: String,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Dir,
    /// A regular file.
    File {
        /// Bytes.
        size: u64,
        /// Hash of the bytes.
        sha256: Sha256,
        /// The first path of the same inode, if this is a further one.
        first: Option<String>,
    },
    /// A symbolic link with its target.
    Symlink(String),
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice(u32, u32),
    /// A block device.
    BlockDevice(u32, u32),
}

/// The entries of `/usr` in `tree`.
///
/// # Errors
/// Content that does not decompress.
pub fn of(tree: &Tree) -> Result<Vec<Entry>> {
    let usr = TreePath::parse("usr")?;
    let mut first: BTreeMap<LinkGroup, &TreePath> = BTreeMap::new();
    let nodes: Vec<_> = tree
        .below(&usr)
        .map(|(path, node)| {
            let earlier = match node.kind {
                Kind::File {
                    link: Some(group), ..
                } => Some(*first.entry(group).or_insert(path)).filter(|first| *first != path),
                _ => None,
            };
            (path, node, earlier)
        })
        .collect();
    nodes
        .into_par_iter()
        .map(|(path, node, earlier)| {
            entry(path, node, earlier).with_context(|| format!("reading {path}"))
        })
        .collect()
}

fn entry(path: &TreePath, node: &Node, earlier: Option<&TreePath>) -> Result<Entry> {
    let absolute = |path: &TreePath| format!("/{}", escape(path.as_bytes()));
    Ok(Entry {
        path: absolute(path),
        kind: match &node.kind {
            Kind::Dir => EntryKind::Dir,
            Kind::File { content, .. } => EntryKind::File {
                size: content.len(),
                sha256: Sha256::of(&content.read()?),
                first: earlier.map(absolute),
            },
            Kind::Symlink(target) => EntryKind::Symlink(escape(target)),
            Kind::Fifo => EntryKind::Fifo,
            Kind::CharDevice { major, minor } => EntryKind::CharDevice(*major, *minor),
            Kind::BlockDevice { major, minor } => EntryKind::BlockDevice(*major, *minor),
        },
        mode: node.meta.mode,
        uid: node.meta.uid,
        gid: node.meta.gid,
        xattrs: node
            .meta
            .xattrs
            .iter()
            .map(|(name, value)| (escape(name).replace('=', "\\x3d"), hex(value)))
            .collect(),
        from: match &node.origin {
            Origin::Package(name) => escape(name.as_bytes()),
            Origin::Overlay(_) => PROFILE.into(),
            Origin::Generated(_) => GENERATED.into(),
        },
    })
}

/// Bytes of all regular files; what has several names counts once.
#[must_use]
pub fn bytes(entries: &[Entry]) -> u64 {
    entries
        .iter()
        .map(|entry| match &entry.kind {
            EntryKind::File {
                size, first: None, ..
            } => *size,
            _ => 0,
        })
        .sum()
}

fn escape(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_graphic() && byte != b'\\' {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let dash = || "-".to_owned();
        let (letter, size, hash, target) = match &self.kind {
            EntryKind::Dir => ('d', dash(), dash(), None),
            EntryKind::File {
                size,
                sha256,
                first,
            } => {
                let letter = if first.is_some() { 'h' } else { 'f' };
                let target = first.as_deref();
                (letter, size.to_string(), sha256.to_string(), target)
            }
            EntryKind::Symlink(target) => ('l', dash(), dash(), Some(target.as_str())),
            EntryKind::Fifo => ('p', dash(), dash(), None),
            EntryKind::CharDevice(major, minor) => ('c', format!("{major},{minor}"), dash(), None),
            EntryKind::BlockDevice(major, minor) => ('b', format!("{major},{minor}"), dash(), None),
        };
        let xattrs: Vec<_> = self
            .xattrs
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let xattrs = if xattrs.is_empty() {
            dash()
        } else {
            xattrs.join(",")
        };
        let Self {
            path,
            mode,
            uid,
            gid,
            from,
            ..
        } = self;
        write!(
            f,
            "{letter} {mode:04o} {uid}:{gid} {size} {hash} {xattrs} {from} {path}"
        )?;
        match target {
            Some(target) => write!(f, "{ARROW}{target}"),
            None => Ok(()),
        }
    }
}

/// The text of `files.txt`.
#[must_use]
pub fn to_text(entries: &[Entry]) -> String {
    let mut out = String::from(HEADER);
    for entry in entries {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{entry}");
    }
    out
}

/// A line that is none of `files.txt`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ParseError {
    /// Number of the line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

/// Reads the text of `files.txt`.
///
/// # Errors
/// A line that [`to_text`] would not have written.
pub fn parse(text: &str) -> Result<Vec<Entry>, ParseError> {
    let mut out = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        if text.starts_with('#') {
            continue;
        }
        out.push(parse_line(text).map_err(|what| ParseError { line, what })?);
    }
    Ok(out)
}

fn parse_line(text: &str) -> Result<Entry, &'static str> {
    let mut fields = text.splitn(8, ' ');
    let mut field = || fields.next().ok_or("it has fewer than eight fields");
    let (letter, mode, owner, size, hash, xattrs, from, rest) = (
        field()?,
        field()?,
        field()?,
        field()?,
        field()?,
        field()?,
        field()?,
        field()?,
    );
    let (path, target) = match rest.split_once(ARROW) {
        Some((path, target)) => (path, Some(target.to_owned())),
        None => (rest, None),
    };
    if !path.starts_with('/') || path.contains(' ') {
        return Err("its path is not an absolute one");
    }
    if target.is_some() != matches!(letter, "l" | "h") {
        return Err("only links have a target");
    }
    let device = || -> Option<(u32, u32)> {
        let (major, minor) = size.split_once(',')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    let number = "its size is no number";
    let kind = match letter {
        "d" => EntryKind::Dir,
        "p" => EntryKind::Fifo,
        "l" => EntryKind::Symlink(target.unwrap_or_default()),
        "f" | "h" => EntryKind::File {
            size: size.parse().map_err(|_| number)?,
            sha256: hash.parse().map_err(|_| "its hash is no SHA-256")?,
            first: target,
        },
        "c" => {
            let (major, minor) = device().ok_or(number)?;
            EntryKind::CharDevice(major, minor)
        }
        "b" => {
            let (major, minor) = device().ok_or(number)?;
            EntryKind::BlockDevice(major, minor)
        }
        _ => return Err("its type is unknown"),
    };
    let (uid, gid) = owner
        .split_once(':')
        .and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)))
        .ok_or("its owner is not UID:GID")?;
    let mode = u16::from_str_radix(mode, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777)
        .ok_or("its mode is no octal number of at most 7777")?;
    let xattrs = match xattrs {
        "-" => BTreeMap::new(),
        list => list
            .split(',')
            .map(|item| {
                let (name, value) = item.split_once('=')?;
                Some((name.to_owned(), value.to_owned()))
            })
            .collect::<Option<_>>()
            .ok_or("its extended attributes are not NAME=HEX")?,
    };
    Ok(Entry {
        path: path.to_owned(),
        kind,
        mode,
        uid,
        gid,
        xattrs,
        from: from.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tree::Meta;

    fn put(tree: &mut Tree, path: &[u8], kind: Kind, meta: Meta, origin: Origin) {
        tree.insert(TreePath::parse(path).unwrap(), Node { meta, kind, origin });
    }

    fn small_tree() -> Tree {
        let mut tree = Tree::new();
        let package = |name: &str| Origin::Package(name.into());
        let file = |text: &str, link| Kind::File {
            content: text.into(),
            link,
        };
        put(
            &mut tree,
            b"usr",
            Kind::Dir,
            Meta::root(0o755),
            package("base-files"),
        );
        let setuid = Meta::root(0o4755);
        put(
            &mut tree,
            b"usr/bin/passwd",
            file("elf", None),
            setuid,
            package("passwd"),
        );
        let mut capable = Meta::root(0o755);
        capable
            .xattrs
            .insert(b"security.capability".to_vec(), vec![1, 0, 0, 2]);
        for name in [b"usr/bin/ping".as_slice(), b"usr/bin/ping4"] {
            let kind = file("pong", Some(LinkGroup(7)));
            put(
                &mut tree,
                name,
                kind,
                capable.clone(),
                package("iputils-ping"),
            );
        }
        let link = Kind::Symlink(b"a -> b".to_vec());
        put(
            &mut tree,
            b"usr/lib/odd name\xff\\",
            link,
            Meta::root(0o777),
            Origin::Overlay("files".into()),
        );
        put(
            &mut tree,
            b"usr/lib/null",
            Kind::CharDevice { major: 1, minor: 3 },
            Meta::root(0o666),
            Origin::Generated("depmod".into()),
        );
        put(
            &mut tree,
            b"etc/x",
            Kind::Fifo,
            Meta::root(0o600),
            package("x"),
        );
        tree
    }

    #[test]
    fn the_list_has_every_path_of_usr_and_nothing_else() {
        let entries = of(&small_tree()).unwrap();
        let text = to_text(&entries);
        let elf = Sha256::of(b"elf");
        let pong = Sha256::of(b"pong");
        assert_eq!(
            text,
            format!(
                "{HEADER}d 0755 0:0 - - - base-files /usr\n\
                 d 0755 0:0 - - - passwd /usr/bin\n\
                 f 4755 0:0 3 {elf} - passwd /usr/bin/passwd\n\
                 f 0755 0:0 4 {pong} security.capability=01000002 iputils-ping /usr/bin/ping\n\
                 h 0755 0:0 4 {pong} security.capability=01000002 iputils-ping /usr/bin/ping4 -> /usr/bin/ping\n\
                 d 0755 0:0 - - - (profile) /usr/lib\n\
                 c 0666 0:0 1,3 - - (hullwright) /usr/lib/null\n\
                 l 0777 0:0 - - - (profile) /usr/lib/odd\\x20name\\xff\\x5c -> a\\x20->\\x20b\n"
            )
        );
        assert_eq!(parse(&text).unwrap(), entries);
        assert_eq!(bytes(&entries), 7, "two names of one inode count once");
    }

    #[test]
    fn lines_that_are_none_are_refused_with_their_number() {
        let good = "d 0755 0:0 - - - x /usr";
        for (bad, what) in [
            ("d 0755 0:0 - - - /usr", "fewer"),
            ("d 9 0:0 - - - x /usr", "octal"),
            ("d 17777 0:0 - - - x /usr", "octal"),
            ("d 0755 0 - - - x /usr", "owner"),
            ("d 0755 0:0 - - - x usr", "absolute"),
            ("d 0755 0:0 - - - x /usr -> y", "target"),
            ("l 0777 0:0 - - - x /usr", "target"),
            ("f 0755 0:0 x - - x /usr", "size"),
            ("f 0755 0:0 1 - - x /usr", "SHA-256"),
            ("c 0755 0:0 1 - - x /usr", "size"),
            ("d 0755 0:0 - - a x /usr", "attributes"),
            ("s 0755 0:0 - - - x /usr", "type"),
        ] {
            let error = parse(&format!("{HEADER}{good}\n{bad}\n")).unwrap_err();
            assert_eq!(error.line, 3);
            assert!(error.to_string().contains(what), "{bad}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_name_stays_one_line_and_reads_back(
            name in proptest::collection::vec(any::<u8>(), 1..40),
            target in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut tree = Tree::new();
            let Ok(path) = TreePath::parse("usr").unwrap().join(&name) else { return Ok(()) };
            let kind = Kind::Symlink(target);
            tree.insert(path, Node { meta: Meta::root(0o777), kind, origin: Origin::Package("p".into()) });
            let entries = of(&tree).unwrap();
            let text = to_text(&entries);
            prop_assert_eq!(text.lines().count(), entries.len() + 1);
            prop_assert_eq!(parse(&text).unwrap(), entries);
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,200}") {
            let _ = parse(&text);
        }
    }
}
