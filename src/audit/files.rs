//! What programs and libraries of the image say about themselves, read once per package.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use blake3::Hash;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Subject;
use crate::elf::{self, Elf, Identity};
use crate::store::{key_of, remember};
use crate::tree::{Content, Node, Origin, TreePath};

/// How a package's facts are called where they are kept.
const KIND: &str = "program-facts-1";

/// Where files lie that some other processor runs, or that the kernel loads by rules of its own.
const OTHERS: [&str; 2] = ["usr/lib/firmware", "usr/lib/modules"];

/// What one file is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fact {
    /// A program or library of 64 bits, little-endian.
    Elf(Elf),
    /// An ELF file of another kind.
    Foreign(Identity),
    /// An ELF file that cannot be read, and why.
    Broken(String),
    /// A script with its first line behind `#!`.
    Script(String),
    /// Something else.
    Other,
}

impl Fact {
    fn of(bytes: &[u8]) -> Self {
        if let Some(line) = bytes.strip_prefix(b"#!") {
            // The kernel looks at the first 256 bytes (`BINPRM_BUF_SIZE`).
            let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
            let line = line.get(..254).unwrap_or(line);
            return Self::Script(String::from_utf8_lossy(line).trim().to_owned());
        }
        match Identity::of(bytes) {
            None => Self::Other,
            Some(it) if !it.is_64_bit || !it.is_little_endian => Self::Foreign(it),
            Some(_) => match elf::parse(bytes) {
                Ok(Some(elf)) => Self::Elf(elf),
                Ok(None) => Self::Other,
                Err(error) => Self::Broken(format!("{error:#}")),
            },
        }
    }
}

/// The facts about all files that can be run or loaded.
#[derive(Debug)]
pub struct Files {
    facts: BTreeMap<TreePath, Arc<Fact>>,
}

impl Files {
    /// Those of an image.
    ///
    /// # Errors
    /// Content that does not decompress.
    pub fn of<'a>(subject: &'a Subject<'_>) -> Result<&'a Self> {
        subject.shared.files.get(|| Self::read(subject))
    }

    fn read(subject: &Subject<'_>) -> Result<Self> {
        let others = OTHERS.map(TreePath::parse);
        let others = others.into_iter().collect::<Result<Vec<_>, _>>()?;
        let mut groups: BTreeMap<&Origin, Vec<(&TreePath, &Content)>> = BTreeMap::new();
        for (path, node) in subject.tree.iter() {
            if let Some(content) = node.content()
                && may_run(path, node)
                && !others.iter().any(|other| path.starts_with(other))
            {
                groups
                    .entry(&node.origin)
                    .or_default()
                    .push((path, content));
            }
        }
        let groups: Vec<_> = groups.into_values().collect();
        let facts: Vec<_> = groups
            .par_iter()
            .map(|files| read_group(subject, files))
            .collect::<Result<_>>()?;
        Ok(Self {
            facts: facts.into_iter().flatten().collect(),
        })
    }

    /// The fact about the file at `path` of the tree.
    #[must_use]
    pub fn get(&self, path: &TreePath) -> Option<&Fact> {
        self.facts.get(path).map(AsRef::as_ref)
    }

    /// All facts, in the order of paths.
    pub fn iter(&self) -> impl Iterator<Item = (&TreePath, &Fact)> {
        self.facts.iter().map(|(path, fact)| (path, fact.as_ref()))
    }

    /// What is known about ELF files that can be read.
    pub fn elves(&self) -> impl Iterator<Item = (&TreePath, &Elf)> {
        self.iter().filter_map(|(path, fact)| match fact {
            Fact::Elf(elf) => Some((path, elf)),
            _ => None,
        })
    }
}

/// Whether the kernel may be asked to run the file, or ld.so to load it.
fn may_run(path: &TreePath, node: &Node) -> bool {
    node.meta.mode & 0o111 != 0 || path.name().windows(3).any(|part| part == b".so")
}

/// The facts about the files of one package: kept by what these files are, whichever others the package
/// has. What lies in memory, because the profile or hullwright made it, is quickly read.
fn read_group<'a>(
    subject: &Subject<'_>,
    files: &[(&'a TreePath, &'a Content)],
) -> Result<Vec<(TreePath, Arc<Fact>)>> {
    let compiled: BTreeMap<[u8; 32], (&TreePath, &Content)> = files
        .iter()
        .filter(|(_, content)| matches!(content, Content::Blob(_)))
        .map(|&(path, content)| (*content.id().as_bytes(), (path, content)))
        .collect();
    let known: BTreeMap<[u8; 32], Arc<Fact>> = if compiled.is_empty() {
        BTreeMap::new()
    } else {
        let ids: Vec<&[u8]> = compiled.keys().map(<[u8; 32]>::as_slice).collect();
        let key: Hash = key_of(&ids);
        let facts: Vec<Fact> = remember(subject.memo, KIND, &key, || {
            let files: Vec<_> = compiled.values().collect();
            files
                .par_iter()
                .map(|(path, content)| {
                    let bytes = content.read().with_context(|| format!("reading {path}"))?;
                    Ok(Fact::of(&bytes))
                })
                .collect()
        })?;
        let facts = facts.into_iter().map(Arc::new);
        compiled.keys().copied().zip(facts).collect()
    };
    let mut out = Vec::with_capacity(files.len());
    for &(path, content) in files {
        let fact = match content {
            Content::Bytes(bytes) => Arc::new(Fact::of(bytes)),
            Content::Blob(blob) => {
                let fact = known.get(blob.hash().as_bytes());
                Arc::clone(fact.context("a kept list of programs is too short")?)
            }
        };
        out.push((path.clone(), fact));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{Elf, Image, file};
    use crate::erofs::{Blob, Codec, CodecSettings, Tails};
    use crate::store::memo::testing::Kept;

    #[test]
    fn scripts_are_known_by_their_first_line() {
        for (text, wanted) in [
            ("#!/bin/sh -e\nexit", Some("/bin/sh -e")),
            ("#! /usr/bin/env perl\r\n", Some("/usr/bin/env perl")),
            ("# !/bin/sh", None),
            ("", None),
        ] {
            let wanted = wanted.map_or(Fact::Other, |line| Fact::Script(line.to_owned()));
            assert_eq!(Fact::of(text.as_bytes()), wanted, "{text}");
        }
    }

    #[test]
    fn a_package_is_read_once_whatever_the_profile_adds() {
        let settings = CodecSettings {
            codec: Codec::None,
            level: 0,
            chunk: 4096,
            tails: Tails::Own,
        };
        let blob = |text: &str| {
            let blob = Blob::compile(text.as_bytes(), &settings);
            file(0o755, Content::Blob(blob.into()))
        };
        let image = Image::new(&[("usr/share/text", "#!no")])
            .with("usr/bin/a", blob("#!/bin/a"))
            .with("usr/bin/b", blob("#!/bin/b"))
            .with("usr/lib/modules/x/vmlinux", blob("#!/bin/c"));
        let kept = Kept::default();
        let shown = |image: &Image| {
            let subject = Subject {
                memo: &kept,
                ..image.subject()
            };
            let files = Files::of(&subject).unwrap();
            let shown: Vec<_> = files
                .iter()
                .map(|(path, fact)| format!("{path} {fact:?}"))
                .collect();
            (shown, kept.misses().len())
        };
        let a = "/usr/bin/a Script(\"/bin/a\")".to_owned();
        let b = "/usr/bin/b Script(\"/bin/b\")".to_owned();
        assert_eq!(shown(&image), (vec![a.clone(), b.clone()], 1));
        let image = image.with("usr/bin/c", file(0o755, "#!/bin/c"));
        let c = "/usr/bin/c Script(\"/bin/c\")".to_owned();
        assert_eq!(shown(&image), (vec![a, b, c], 0));
    }

    proptest::proptest! {
        #[test]
        fn damaged_programs_never_panic(
            flips in proptest::collection::vec((0.0..1.0_f64, proptest::num::u8::ANY), 1..12),
            cut in 0.5..1.0_f64,
        ) {
            let elf = Elf::program()
                .needs("liba.so")
                .runpath("$ORIGIN")
                .wants("liba.so", "A_1", false)
                .wants("liba.so", "A_2", true)
                .offers("B_1")
                .offers("B_2")
                .opens(r#"[{"soname":["x"]}]"#)
                .file();
            let mut bytes = elf.content().unwrap().read().unwrap().into_owned();
            let place = |part: f64, len: usize| (part * len as f64) as usize;
            for (at, byte) in flips {
                let at = place(at, bytes.len());
                bytes[at] = byte;
            }
            bytes.truncate(place(cut, bytes.len() + 1));
            let _ = Fact::of(&bytes);
        }
    }
}
