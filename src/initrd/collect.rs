//! Copies files of the image into the initrd, with the symbolic links that lead to them.

use anyhow::Result;

use crate::failure::{Failure, Kind as FailureKind};
use crate::tree::{Content, Kind, Meta, Node, Origin, Tree, TreePath};

/// Directories of the root that are links into `usr`.
const MERGED: [&[u8]; 4] = [b"bin", b"sbin", b"lib", b"lib64"];

/// The initrd under construction.
#[derive(Debug)]
pub(super) struct Collector<'a> {
    image: &'a Tree,
    out: Tree,
    /// Regular files that have been taken since [`Collector::new_files`] was asked last.
    fresh: Vec<TreePath>,
}

impl<'a> Collector<'a> {
    pub(super) fn new(image: &'a Tree) -> Self {
        Self {
            image,
            out: Tree::new(),
            fresh: Vec::new(),
        }
    }

    pub(super) fn finish(self) -> Tree {
        self.out
    }

    /// The file at `path` of the initrd.
    pub(super) fn content(&self, path: &TreePath) -> Option<&Content> {
        self.out.get(path)?.content()
    }

    /// Replaces the bytes of a file by the same bytes in memory, so that they are decompressed once.
    pub(super) fn keep_bytes(&mut self, path: &TreePath, bytes: Vec<u8>) {
        if let Some(Node {
            kind: Kind::File { content, .. },
            ..
        }) = self.out.get_mut(path)
        {
            *content = bytes.into();
        }
    }

    /// The regular files taken since the last call.
    pub(super) fn new_files(&mut self) -> Vec<TreePath> {
        std::mem::take(&mut self.fresh)
    }

    pub(super) fn make_directory(&mut self, path: TreePath, mode: u16) {
        self.make(path, mode, Kind::Dir);
    }

    pub(super) fn make_link(&mut self, path: TreePath, target: &str) {
        self.make(path, 0o777, Kind::Symlink(target.as_bytes().to_vec()));
    }

    pub(super) fn make_file(&mut self, path: TreePath, mode: u16, text: &str) {
        let content = Content::from(text);
        self.make(
            path,
            mode,
            Kind::File {
                content,
                link: None,
            },
        );
    }

    fn make(&mut self, path: TreePath, mode: u16, kind: Kind) {
        let node = Node {
            meta: Meta::root(mode),
            kind,
            origin: Origin::Generated(super::OWN.into()),
        };
        self.out.insert(path, node);
    }

    /// `bin`, `sbin`, `lib` and, where the image has one, `lib64` as links into `usr`.
    pub(super) fn link_merged_directories(&mut self) -> Result<()> {
        for name in MERGED {
            let inside = TreePath::parse("usr")?.join(name)?;
            if self.image.get(&inside).is_some_and(Node::is_dir) {
                let target = format!("usr/{}", name.escape_ascii());
                self.make_link(TreePath::parse(name)?, &target);
            }
        }
        Ok(())
    }

    /// Takes `path` and every link on the way; a directory with all below it. Returns where the
    /// links end. `by` is who needs it.
    pub(super) fn take(&mut self, path: &TreePath, by: &str) -> Result<TreePath> {
        let (links, end) = self.follow(path).ok_or_else(|| absent(path, by))?;
        for link in links {
            self.copy(&link, &link);
        }
        let below: Vec<TreePath> = self.image.below(&end).map(|(p, _)| p.clone()).collect();
        for path in below {
            self.copy(&path, &path);
        }
        Ok(end)
    }

    /// Takes `path` if the image has it.
    pub(super) fn take_if_present(&mut self, path: &TreePath, by: &str) -> Result<()> {
        match self.follow(path) {
            Some(_) => self.take(path, by).map(drop),
            None => Ok(()),
        }
    }

    /// Copies the file `from` of the image to another path of the initrd.
    pub(super) fn copy_to(&mut self, from: &TreePath, to: TreePath, by: &str) -> Result<()> {
        let (_, end) = self.follow(from).ok_or_else(|| absent(from, by))?;
        self.copy(&end, &to);
        Ok(())
    }

    /// Whether the image has a regular file at `path`, links followed.
    pub(super) fn is_file(&self, path: &TreePath) -> bool {
        self.follow(path)
            .and_then(|(_, end)| self.image.get(&end)?.content())
            .is_some()
    }

    fn copy(&mut self, from: &TreePath, to: &TreePath) {
        if self.out.get(to).is_some() {
            return;
        }
        let Some(node) = self.image.get(from) else {
            return;
        };
        let mut node = node.clone();
        // Nobody but root exists here, and cpio has no room for extended attributes.
        node.meta.mode &= 0o1777;
        node.meta.xattrs.clear();
        if node.content().is_some() {
            self.fresh.push(to.clone());
        }
        self.out.insert(to.clone(), node);
    }

    /// The links on the way to `path`, and what is at its end. As [`Tree::resolve`], but the image
    /// has no `/lib` or `/bin`: it is mounted on `/usr`.
    fn follow(&self, path: &TreePath) -> Option<(Vec<TreePath>, TreePath)> {
        let mut links = Vec::new();
        let mut at = TreePath::root();
        let mut todo: Vec<Vec<u8>> = path.components().map(<[u8]>::to_vec).collect();
        todo.reverse();
        while let Some(part) = todo.pop() {
            match part.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    at = at.parent().unwrap_or_default();
                    continue;
                }
                name if at.is_root() && MERGED.contains(&name) => at = at.join("usr").ok()?,
                _ => {}
            }
            let next = at.join(&part).ok()?;
            if let Kind::Symlink(target) = &self.image.get(&next)?.kind {
                if target.first() == Some(&b'/') {
                    at = TreePath::root();
                }
                todo.extend(target.split(|&b| b == b'/').rev().map(<[u8]>::to_vec));
                links.push(next);
                if links.len() > 40 {
                    return None;
                }
            } else {
                at = next;
            }
        }
        self.image.get(&at)?;
        Some((links, at))
    }
}

fn absent(path: &TreePath, by: &str) -> anyhow::Error {
    Failure::new(
        FailureKind::Audit,
        format!("the initrd needs {path}, which is not in the image; {by} asks for it"),
    )
    .hint("add the package that ships it to packages.include, or keep it in root.prune")
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Tree {
        let mut tree = Tree::new();
        let mut put = |path: &str, kind: Kind| {
            let node = Node {
                meta: Meta::root(0o4755),
                kind,
                origin: Origin::Generated("test".into()),
            };
            tree.insert(TreePath::parse(path).unwrap(), node);
        };
        let file = || Kind::File {
            content: "x".into(),
            link: None,
        };
        put("usr/lib/triplet/ld-1.so", file());
        put(
            "usr/lib64/ld.so",
            Kind::Symlink(b"../lib/triplet/ld.so".to_vec()),
        );
        put(
            "usr/lib/triplet/ld.so",
            Kind::Symlink(b"/lib/triplet/ld-1.so".to_vec()),
        );
        put("usr/lib/loop", Kind::Symlink(b"loop".to_vec()));
        put("usr/lib/d/a/b", file());
        tree
    }

    fn paths(tree: &Tree) -> Vec<String> {
        tree.iter().map(|(path, _)| path.to_string()).collect()
    }

    #[test]
    fn links_are_taken_with_what_they_lead_to() {
        let image = image();
        let mut collector = Collector::new(&image);
        let end = collector
            .take(&TreePath::parse("/lib64/ld.so").unwrap(), "test")
            .unwrap();
        assert_eq!(end.to_string(), "/usr/lib/triplet/ld-1.so");
        assert_eq!(collector.new_files(), std::slice::from_ref(&end));
        let out = collector.finish();
        assert_eq!(
            paths(&out),
            [
                "/",
                "/usr",
                "/usr/lib",
                "/usr/lib/triplet",
                "/usr/lib/triplet/ld-1.so",
                "/usr/lib/triplet/ld.so",
                "/usr/lib64",
                "/usr/lib64/ld.so",
            ]
        );
        assert_eq!(out.get(&end).unwrap().meta.mode, 0o755);
    }

    #[test]
    fn directories_come_with_all_below_them() {
        let image = image();
        let mut collector = Collector::new(&image);
        collector
            .take(&TreePath::parse("usr/lib/d").unwrap(), "test")
            .unwrap();
        assert!(paths(&collector.finish()).contains(&"/usr/lib/d/a/b".to_owned()));
    }

    #[test]
    fn what_is_absent_is_an_error_that_says_who_needs_it() {
        let image = image();
        let mut collector = Collector::new(&image);
        for path in ["usr/bin/none", "usr/lib/loop"] {
            let path = TreePath::parse(path).unwrap();
            let error = collector.take(&path, "the tester").unwrap_err().to_string();
            assert!(
                error.contains(&path.to_string()) && error.contains("the tester"),
                "{error}"
            );
        }
    }
}
