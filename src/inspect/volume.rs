//! A file system of an image, whichever it is: paths, links, listings, content.

use std::io::Write;

use anyhow::{Result, bail};

use crate::failure::{Failure, Kind};
use crate::tree::TreePath;
use crate::words::nearest;

/// Links that are followed before it must be a circle; the kernel's limit.
const MAX_LINKS: usize = 40;

/// What a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeKind {
    /// Regular file.
    File,
    /// Directory.
    Dir,
    /// Symbolic link.
    Symlink,
    /// Device, pipe or socket.
    Special,
}

/// A path's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Permission bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of a file.
    pub size: u64,
    /// Target of a link.
    pub target: Option<Vec<u8>>,
}

impl Node {
    /// A directory of root's.
    pub(super) const fn dir() -> Self {
        Self {
            kind: NodeKind::Dir,
            mode: 0o755,
            uid: 0,
            gid: 0,
            size: 0,
            target: None,
        }
    }
}

/// A path and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The path from the volume's root.
    pub path: TreePath,
    /// What it is.
    pub node: Node,
}

/// A file system.
pub trait Volume {
    /// What a person writes before a path of it: nothing, `esp:`, `initrd:`.
    fn prefix(&self) -> &'static str;

    /// What is at `path`, links not followed; `None` when nothing is.
    ///
    /// # Errors
    /// Damage.
    fn node(&mut self, path: &TreePath) -> Result<Option<Node>>;

    /// Names in a directory, in order.
    ///
    /// # Errors
    /// Damage.
    fn names(&mut self, dir: &TreePath) -> Result<Vec<Vec<u8>>>;

    /// Writes the content of a regular file.
    ///
    /// # Errors
    /// Damage; what `out` returns.
    fn copy(&mut self, path: &TreePath, out: &mut dyn Write) -> Result<()>;

    /// Why a path that is not there can't be there, where there is a reason.
    fn explain(&self, _path: &TreePath) -> Option<String> {
        None
    }
}

/// How a person would write a path of `volume`.
fn shown(volume: &dyn Volume, path: &TreePath) -> String {
    let path = path.to_string();
    format!("{}/{}", volume.prefix(), path.trim_start_matches('/'))
}

/// `path` with every link in it followed; its last component only if `last`.
fn follow(volume: &mut dyn Volume, path: &TreePath, last: bool) -> Result<(TreePath, Node)> {
    let mut todo: Vec<Vec<u8>> = path.components().map(<[u8]>::to_vec).collect();
    todo.reverse();
    let mut done = TreePath::root();
    let mut node = Node::dir();
    let mut links = 0;
    while let Some(name) = todo.pop() {
        match name.as_slice() {
            b"" | b"." => continue,
            b".." => {
                done = done.parent().unwrap_or_default();
                node = Node::dir();
                continue;
            }
            _ => {}
        }
        let at = done.join(&name)?;
        let found = match node.kind {
            NodeKind::Dir => volume.node(&at)?,
            _ => None,
        };
        let Some(found) = found else {
            return Err(missing(volume, path, &done, &name).into());
        };
        match &found.target {
            Some(target) if last || !todo.is_empty() => {
                links += 1;
                if links > MAX_LINKS {
                    let path = shown(volume, path);
                    bail!(Failure::new(
                        Kind::Usage,
                        format!("the links of {path} lead in a circle")
                    ));
                }
                if target.first() == Some(&b'/') {
                    done = TreePath::root();
                    node = Node::dir();
                }
                todo.extend(target.split(|b| *b == b'/').rev().map(<[u8]>::to_vec));
            }
            _ => {
                done = at;
                node = found;
            }
        }
    }
    Ok((done, node))
}

/// The error for a name that is not in `dir`, with the nearest one that is.
fn missing(volume: &mut dyn Volume, path: &TreePath, dir: &TreePath, name: &[u8]) -> Failure {
    let wanted = shown(volume, path);
    let mut failure = Failure::new(Kind::Usage, format!("{wanted} is not in the image"));
    if let Some(reason) = volume.explain(path) {
        return failure.hint(reason);
    }
    let name = String::from_utf8_lossy(name).into_owned();
    // A directory that does not read says so when it is asked for.
    let others: Vec<String> = volume
        .names(dir)
        .unwrap_or_default()
        .iter()
        .map(|other| String::from_utf8_lossy(other).into_owned())
        .collect();
    let others = || others.iter().map(String::as_str);
    let near = nearest(&name, others()).or_else(|| others().find(|other| other.starts_with(&name)));
    if let Some(near) = near
        && let Ok(near) = dir.join(near)
    {
        failure = failure.hint(format!("did you mean {}?", shown(volume, &near)));
    }
    let dir = shown(volume, dir);
    failure.hint(format!("`ls {dir}` shows what is there"))
}

/// What is at `path`: the entries of a directory, or the path itself.
///
/// # Errors
/// There is no such path; damage.
pub fn list(volume: &mut dyn Volume, path: &TreePath, recursive: bool) -> Result<Vec<Listed>> {
    let (at, node) = follow(volume, path, false)?;
    let (at, node) = match follow(volume, path, true) {
        Ok((target, to)) if to.kind == NodeKind::Dir => (target, to),
        _ => (at, node),
    };
    if node.kind != NodeKind::Dir {
        return Ok(vec![Listed { path: at, node }]);
    }
    let mut out = Vec::new();
    let mut todo = vec![at];
    while let Some(dir) = todo.pop() {
        let mut below = Vec::new();
        for name in volume.names(&dir)? {
            let path = dir.join(&name)?;
            // A name that is listed and can't be looked up is damage that `verify` tells of.
            let Some(node) = volume.node(&path)? else {
                continue;
            };
            if recursive && node.kind == NodeKind::Dir {
                below.push(path.clone());
            }
            out.push(Listed { path, node });
        }
        todo.extend(below.into_iter().rev());
    }
    if recursive {
        out.sort_by(|a, b| a.path.cmp(&b.path));
    }
    Ok(out)
}

/// Writes the file at `path`, links followed, to `out`.
///
/// # Errors
/// There is no such file; damage; what `out` returns.
pub fn copy(volume: &mut dyn Volume, path: &TreePath, out: &mut dyn Write) -> Result<()> {
    let (at, node) = follow(volume, path, true)?;
    let what = match node.kind {
        NodeKind::File => return volume.copy(&at, out),
        NodeKind::Dir => "a folder",
        _ => "not a regular file",
    };
    let shown = shown(volume, &at);
    Err(Failure::new(Kind::Usage, format!("{shown} is {what}"))
        .hint(format!("`ls {shown}` shows it"))
        .into())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::failure::failure_of;

    /// Paths with a content, a link's target after `->`, or `/` for a directory.
    struct Fake(BTreeMap<TreePath, &'static str>);

    impl Volume for Fake {
        fn prefix(&self) -> &'static str {
            "x:"
        }
        fn node(&mut self, path: &TreePath) -> Result<Option<Node>> {
            Ok(self.0.get(path).map(|text| match text.strip_prefix("->") {
                _ if *text == "/" => Node::dir(),
                Some(target) => Node {
                    kind: NodeKind::Symlink,
                    target: Some(target.into()),
                    ..Node::dir()
                },
                None => Node {
                    kind: NodeKind::File,
                    size: text.len() as u64,
                    ..Node::dir()
                },
            }))
        }
        fn names(&mut self, dir: &TreePath) -> Result<Vec<Vec<u8>>> {
            let below = self
                .0
                .keys()
                .filter(|p| p.parent().as_ref() == Some(dir))
                .map(|p| p.name().to_vec());
            Ok(below.collect())
        }
        fn copy(&mut self, path: &TreePath, out: &mut dyn Write) -> Result<()> {
            Ok(out.write_all(self.0[path].as_bytes())?)
        }
    }

    fn fake() -> Fake {
        let entries = [
            ("usr", "/"),
            ("usr/lib", "/"),
            ("usr/lib/os-release", "text"),
            ("usr/lib/up", "->../lib/os-release"),
            ("usr/lib/out", "->/usr/lib/os-release"),
            ("usr/lib/round", "->round"),
            ("lib", "->usr/lib"),
        ];
        let path = |p| TreePath::parse(p).unwrap();
        Fake(entries.into_iter().map(|(p, c)| (path(p), c)).collect())
    }

    fn read(path: &str) -> Result<String> {
        let mut out = Vec::new();
        copy(&mut fake(), &TreePath::parse(path)?, &mut out)?;
        Ok(String::from_utf8(out)?)
    }

    #[test]
    fn links_are_followed_wherever_they_stand() {
        for path in ["usr/lib/os-release", "lib/up", "lib/out", "usr/lib/up"] {
            assert_eq!(read(path).unwrap(), "text", "{path}");
        }
    }

    #[test]
    fn what_is_not_there_is_told_with_what_is() {
        let error = read("lib/os-relaese").unwrap_err();
        let failure = failure_of(&error).unwrap();
        assert_eq!(failure.kind, Kind::Usage);
        assert_eq!(failure.message, "x:/lib/os-relaese is not in the image");
        assert_eq!(
            failure.hints,
            [
                "did you mean x:/usr/lib/os-release?",
                "`ls x:/usr/lib` shows what is there"
            ]
        );
        for (path, words) in [
            ("lib/round", "lead in a circle"),
            ("lib", "x:/usr/lib is a folder"),
            ("lib/os-release/x", "is not in the image"),
        ] {
            assert!(
                read(path).unwrap_err().to_string().contains(words),
                "{path}"
            );
        }
    }

    #[test]
    fn a_link_to_a_folder_lists_the_folder_and_one_to_a_file_itself() {
        let list = |path: &str, recursive| -> Vec<String> {
            list(&mut fake(), &TreePath::parse(path).unwrap(), recursive)
                .unwrap()
                .iter()
                .map(|l| l.path.to_string())
                .collect()
        };
        assert_eq!(list("", false).len(), 2);
        assert_eq!(list("lib", false).len(), 4);
        assert_eq!(list("lib/up", false).len(), 1);
        assert_eq!(list("", true).len(), 7);
    }
}
