//! What is kept of a build: every path of `/usr` with its origin and its share of the image, and the
//! parts of the UKI.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::erofs::Account;
use crate::tree::{self, Kind, Origin, Tree, TreePath};
use crate::uki::{Pe, PeError};

/// Where the bytes of an image go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// Who put files there; [`File::maker`] counts in here.
    pub makers: Vec<Maker>,
    /// Every path of `/usr`, in order.
    pub files: Vec<File>,
    /// What of `usr.erofs` belongs to no file.
    pub rest: Vec<Part>,
    /// Bytes of `usr.erofs`.
    pub usr: u64,
    /// File name of the UKI.
    pub uki_name: String,
    /// The parts of the UKI, in their order.
    pub uki: Vec<Part>,
    /// The parts of the initrd, compressed, and what stands between them in the UKI's `.initrd`.
    pub initrd: Vec<Part>,
    /// Bytes of `usr.verity`.
    pub verity: u64,
    /// The package that the kernel comes from.
    pub kernel_package: Option<String>,
}

/// Some bytes with a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What they are.
    pub name: String,
    /// How many.
    pub bytes: u64,
}

impl Part {
    /// `bytes` called `name`.
    #[must_use]
    pub fn new(name: impl Into<String>, bytes: u64) -> Self {
        Self {
            name: name.into(),
            bytes,
        }
    }
}

/// Who put a file into the image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Maker {
    /// A package.
    Package(String),
    /// A directory of `root.overlay`, as the profile writes it.
    Overlay(String),
    /// hullwright itself; the text says what of it.
    Generated(String),
}

impl From<&Origin> for Maker {
    fn from(origin: &Origin) -> Self {
        match origin {
            Origin::Package(name) => Self::Package(name.as_ref().to_owned()),
            Origin::Overlay(path) => Self::Overlay(path.as_ref().to_owned()),
            Origin::Generated(by) => Self::Generated(by.as_ref().to_owned()),
        }
    }
}

/// What a path of the image is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileKind {
    /// A regular file.
    File,
    /// One more name of a file that comes before it.
    Link,
    /// A directory.
    Dir,
    /// A symbolic link and its target.
    Symlink(String),
    /// A device or a named pipe.
    Special,
}

/// A path of the image and its share of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Absolute path.
    pub path: String,
    /// Who put it there, in [`Sizes::makers`].
    pub maker: u32,
    /// What it is.
    pub kind: FileKind,
    /// Bytes of content before compression; none for further names of a file.
    pub installed: u64,
    /// Bytes of inode, attributes and indexes.
    pub metadata: u64,
    /// Bytes of content behind the inode.
    pub inline: u64,
    /// Bytes of content in blocks of its own.
    pub data: u64,
    /// Bytes in packs of the ends of files.
    pub packed: u64,
    /// Bytes left over in its blocks.
    pub padding: u64,
}

impl File {
    /// All that it takes of `usr.erofs`.
    #[must_use]
    pub const fn stored(&self) -> u64 {
        self.metadata + self.inline + self.data + self.packed + self.padding
    }
}

/// What the bytes of `usr.erofs` are, whosever they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// Content of files in blocks of their own.
    Data,
    /// Content in packs of the ends of files.
    Packed,
    /// Content behind inodes.
    Inline,
    /// Inodes, attributes and indexes.
    Metadata,
    /// Names in directories, as far as they don't stand behind inodes.
    Directories,
    /// Blocks that are not full.
    Padding,
}

impl Form {
    /// All, in the order of the report.
    pub const ALL: [Self; 6] = [
        Self::Data,
        Self::Packed,
        Self::Inline,
        Self::Metadata,
        Self::Directories,
        Self::Padding,
    ];

    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Data => "data blocks",
            Self::Packed => "packed ends of files",
            Self::Inline => "inline tails",
            Self::Metadata => "inodes and indexes",
            Self::Directories => "directory blocks",
            Self::Padding => "padding",
        }
    }
}

/// Names of what belongs to no file.
mod rest {
    pub const SUPERBLOCK: &str = "superblock";
    pub const PACKS: &str = "packed inode";
    pub const GAPS: &str = "gaps between inodes";
    pub const PACK_PADDING: &str = "padding of packs";
}

/// Sections that hullwright appends to the stub, and how they are called.
const SECTIONS: [(&str, &str); 6] = [
    (".linux", "kernel"),
    (".initrd", "initrd"),
    (".dtbauto", "device trees"),
    (".osrel", "os-release"),
    (".cmdline", "command line"),
    (".uname", "kernel version"),
];

impl Sizes {
    /// The account of `/usr` of `tree`; the rest is still empty.
    #[must_use]
    pub fn of_usr(tree: &Tree, account: &Account) -> Self {
        let mut makers = Vec::new();
        let mut numbers: BTreeMap<&Origin, u32> = BTreeMap::new();
        let mut shares = account.shares.iter().peekable();
        let usr = TreePath::parse("usr").unwrap_or_default();
        let mut files = Vec::new();
        for (path, node) in tree.below(&usr) {
            let maker = *numbers.entry(&node.origin).or_insert_with(|| {
                makers.push(Maker::from(&node.origin));
                makers.len() as u32 - 1
            });
            let inside = path.strip_prefix(&usr).unwrap_or_default();
            // Both are in order, and of the names of an inode only the first has a share.
            let share = shares.next_if(|share| share.path == inside);
            let kind = match &node.kind {
                Kind::Dir => FileKind::Dir,
                Kind::File { .. } if share.is_none() => FileKind::Link,
                Kind::File { .. } => FileKind::File,
                Kind::Symlink(target) => {
                    FileKind::Symlink(String::from_utf8_lossy(target).into_owned())
                }
                Kind::CharDevice { .. } | Kind::BlockDevice { .. } | Kind::Fifo => {
                    FileKind::Special
                }
            };
            let content = node.content().map_or(0, tree::Content::len);
            let of = |get: fn(&crate::erofs::Share) -> u64| share.map_or(0, get);
            files.push(File {
                path: path.to_string(),
                maker,
                installed: share.map_or(0, |_| content),
                kind,
                metadata: of(|share| share.metadata),
                inline: of(|share| share.inline),
                data: of(|share| share.data),
                packed: of(|share| share.packed),
                padding: of(|share| share.padding),
            });
        }
        Self {
            makers,
            files,
            rest: vec![
                Part::new(rest::SUPERBLOCK, account.superblock),
                Part::new(rest::PACKS, account.packs),
                Part::new(rest::GAPS, account.gaps),
                Part::new(rest::PACK_PADDING, account.pack_padding),
            ],
            usr: account.total(),
            uki_name: String::new(),
            uki: Vec::new(),
            initrd: Vec::new(),
            verity: 0,
            kernel_package: None,
        }
    }

    /// Adds the parts of the UKI `pe`, called `name`, whose initrd has the parts `initrd`.
    ///
    /// # Errors
    /// It is no PE image.
    pub fn add_uki(&mut self, name: &str, pe: &[u8], initrd: &[Part]) -> Result<(), PeError> {
        let pe = Pe::parse(pe)?;
        let mut parts: Vec<Part> = SECTIONS
            .iter()
            .map(|(_, name)| Part::new(*name, 0))
            .collect();
        let mut padding = 0;
        for header in pe.sections() {
            let known = SECTIONS
                .iter()
                .position(|(section, _)| section.as_bytes() == header.name());
            let Some(part) = known.and_then(|at| parts.get_mut(at)) else {
                continue;
            };
            let content = pe.content(header).len() as u64;
            part.bytes += content;
            padding += u64::from(header.raw_size).saturating_sub(content);
        }
        let signature = pe.certificates().map_or(0, |range| range.len() as u64);
        parts.push(Part::new("padding", padding));
        parts.push(Part::new("signature", signature));
        let rest: u64 = parts.iter().map(|part| part.bytes).sum();
        let stub = pe.data().len() as u64 - rest.min(pe.data().len() as u64);
        parts.insert(0, Part::new("stub", stub));
        parts.retain(|part| part.bytes > 0);
        name.clone_into(&mut self.uki_name);
        self.initrd = initrd.to_vec();
        self.uki = parts;
        Ok(())
    }

    /// Bytes of the UKI's file.
    #[must_use]
    pub fn uki_bytes(&self) -> u64 {
        self.uki.iter().map(|part| part.bytes).sum()
    }

    /// What counts against a budget: `usr.erofs` and the UKI, signed, without what partitions have
    /// beyond them.
    #[must_use]
    pub fn counted(&self) -> u64 {
        self.usr + self.uki_bytes()
    }

    /// What the bytes of `usr.erofs` are; together with [`Self::rest`] all of them.
    #[must_use]
    pub fn forms(&self) -> Vec<(Form, u64)> {
        let sum = |form: Form| -> u64 {
            let of = |file: &File| match (form, &file.kind) {
                (Form::Directories, FileKind::Dir) => file.data,
                (Form::Directories, _) | (Form::Data, FileKind::Dir) => 0,
                (Form::Data, _) => file.data,
                (Form::Packed, _) => file.packed,
                (Form::Inline, _) => file.inline,
                (Form::Metadata, _) => file.metadata,
                (Form::Padding, _) => file.padding,
            };
            self.files.iter().map(of).sum()
        };
        Form::ALL
            .into_iter()
            .map(|form| (form, sum(form)))
            .collect()
    }

    /// Who put a file there.
    #[must_use]
    pub fn maker(&self, file: &File) -> Option<&Maker> {
        self.makers.get(file.maker as usize)
    }

    /// What has the path `path`, which is absolute and has no links in it.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }
}
