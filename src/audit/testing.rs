//! Small images for the tests of rules.

use std::sync::OnceLock;

use super::{Finding, Rule, Shared, Subject};
use crate::kernel::depmod::Modules;
use crate::profile::Profile;
use crate::store::Forgetful;
use crate::tree::{Content, Kind, Meta, Node, Origin, Tree, TreePath};

/// A finished image of a few files, all of a package called `test`.
#[derive(Debug)]
pub struct Image {
    pub tree: Tree,
    pub profile: Profile,
    pub enabled_units: Vec<String>,
    pub outside: Tree,
    modules: OnceLock<Modules>,
}

impl Image {
    /// An image of regular files, mode 0644, and the directories above them.
    pub fn new(files: &[(&str, &str)]) -> Self {
        let profile = crate::profile::parse_bytes(
            b"name: test\nos: {id: t, name: T, version: 1.0.0}\nkernel: {package: linux}\n",
        )
        .unwrap();
        let mut image = Self {
            tree: Tree::new(),
            profile,
            enabled_units: Vec::new(),
            outside: Tree::new(),
            modules: OnceLock::new(),
        };
        for (path, text) in files {
            image = image.with(path, file(0o644, *text));
        }
        image
    }

    /// The same with one more node.
    pub fn with(mut self, path: &str, node: Node) -> Self {
        self.tree.insert(TreePath::parse(path).unwrap(), node);
        self.modules.take();
        self
    }

    /// What rules look at.
    pub fn subject(&self) -> Subject<'_> {
        Subject {
            tree: &self.tree,
            profile: &self.profile,
            enabled_units: &self.enabled_units,
            modules: self
                .modules
                .get_or_init(|| Modules::of(&self.tree, "6.12.0-test").unwrap()),
            outside: &self.outside,
            memo: &Forgetful,
            shared: Shared::default(),
        }
    }

    /// What `rule` finds: `PATH: WHAT`, sorted.
    pub fn findings(&self, rule: &Rule) -> Vec<String> {
        let mut found: Vec<Finding> = (rule.check)(&self.subject()).unwrap();
        found.sort();
        let line = |finding: &Finding| format!("{}: {}", finding.path, finding.what);
        found.iter().map(line).collect()
    }
}

fn node(kind: Kind, mode: u16) -> Node {
    Node {
        meta: Meta::root(mode),
        kind,
        origin: Origin::Package("test".into()),
    }
}

/// A regular file.
pub fn file(mode: u16, content: impl Into<Content>) -> Node {
    let content = content.into();
    node(
        Kind::File {
            content,
            link: None,
        },
        mode,
    )
}

/// A symbolic link.
pub fn link(target: &str) -> Node {
    node(Kind::Symlink(target.into()), 0o777)
}

/// An ELF file for tests: a dynamic section and nothing that runs.
#[derive(Debug, Clone)]
pub struct Elf {
    machine: u16,
    interpreter: Option<&'static str>,
    tags: Vec<(u64, String)>,
    notes: Vec<String>,
    wants: Vec<(String, String, bool)>,
    offers: Vec<String>,
}

impl Elf {
    /// A program with the usual interpreter.
    pub fn program() -> Self {
        Self {
            machine: 62,
            interpreter: Some("/lib64/ld-linux-x86-64.so.2"),
            tags: Vec::new(),
            notes: Vec::new(),
            wants: Vec::new(),
            offers: Vec::new(),
        }
    }

    /// A library of this name.
    pub fn library(soname: &str) -> Self {
        let program = Self {
            interpreter: None,
            ..Self::program()
        };
        program.tag(14, soname)
    }

    fn tag(mut self, tag: u64, value: &str) -> Self {
        self.tags.push((tag, value.to_owned()));
        self
    }

    /// `DT_NEEDED`.
    pub fn needs(self, name: &str) -> Self {
        self.tag(1, name)
    }

    /// `DT_RPATH`.
    pub fn rpath(self, path: &str) -> Self {
        self.tag(15, path)
    }

    /// `DT_RUNPATH`.
    pub fn runpath(self, path: &str) -> Self {
        self.tag(29, path)
    }

    /// For another machine.
    pub fn machine(mut self, machine: u16) -> Self {
        self.machine = machine;
        self
    }

    /// A note about libraries that it opens itself, in JSON.
    pub fn opens(mut self, json: &str) -> Self {
        self.notes.push(json.to_owned());
        self
    }

    /// A version that it wants of a library.
    pub fn wants(mut self, library: &str, version: &str, weak: bool) -> Self {
        self.wants
            .push((library.to_owned(), version.to_owned(), weak));
        self
    }

    /// A version that it offers.
    pub fn offers(mut self, version: &str) -> Self {
        self.offers.push(version.to_owned());
        self
    }

    /// The file.
    pub fn file(&self) -> Node {
        file(0o755, self.bytes())
    }

    fn bytes(&self) -> Vec<u8> {
        let mut strings = vec![0_u8];
        let mut string = |text: &str| {
            let at = strings.len();
            strings.extend_from_slice(text.as_bytes());
            strings.push(0);
            at as u64
        };
        let mut entries: Vec<(u64, u64)> = self
            .tags
            .iter()
            .map(|(tag, value)| (*tag, string(value)))
            .collect();
        let wants = words(self.wants.iter().enumerate().flat_map(
            |(at, (library, version, weak))| {
                let next = if at + 1 == self.wants.len() { 0 } else { 32 };
                let library = string(library) as u32;
                let version = string(version) as u32;
                [
                    1 | 1 << 16,
                    library,
                    16,
                    next,
                    0,
                    u32::from(*weak) * 2,
                    version,
                    0,
                ]
            },
        ));
        let offers = words(self.offers.iter().enumerate().flat_map(|(at, version)| {
            let next = if at + 1 == self.offers.len() { 0 } else { 28 };
            [1, 1 | 1 << 16, 0, 20, next, string(version) as u32, 0]
        }));
        let notes: Vec<u8> = self.notes.iter().flat_map(|json| note(json)).collect();
        let interpreter = self.interpreter.map_or_else(Vec::new, |path| {
            let mut bytes = path.as_bytes().to_vec();
            bytes.push(0);
            bytes
        });
        // Header, four segments, and then the parts one after the other.
        let mut at = 64 + 4 * 56;
        let mut place = |part: &[u8]| {
            let start: u64 = at;
            at += part.len() as u64;
            start
        };
        let strings_at = place(&strings);
        let wants_at = place(&wants);
        let offers_at = place(&offers);
        let notes_at = place(&notes);
        let interpreter_at = place(&interpreter);
        entries.extend([(5, strings_at), (10, strings.len() as u64)]);
        if !self.wants.is_empty() {
            entries.extend([
                (0x6fff_fffe, wants_at),
                (0x6fff_ffff, self.wants.len() as u64),
            ]);
        }
        if !self.offers.is_empty() {
            entries.extend([
                (0x6fff_fffc, offers_at),
                (0x6fff_fffd, self.offers.len() as u64),
            ]);
        }
        entries.push((0, 0));
        let dynamic: Vec<u8> = entries
            .iter()
            .flat_map(|(tag, value)| [tag.to_le_bytes(), value.to_le_bytes()].concat())
            .collect();
        let end = at.next_multiple_of(8) + dynamic.len() as u64;
        let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0".to_vec();
        out.extend(self.machine.to_le_bytes());
        out.extend(1_u32.to_le_bytes());
        for word in [0_u64, 64, 0] {
            out.extend(word.to_le_bytes());
        }
        out.extend(0_u32.to_le_bytes());
        for half in [64_u16, 56, 4, 64, 0, 0] {
            out.extend(half.to_le_bytes());
        }
        let dynamic_at = at.next_multiple_of(8);
        let notes_kind = if notes.is_empty() { 0 } else { 4 };
        let interpreter_kind = if interpreter.is_empty() { 0 } else { 3 };
        for (kind, start, len) in [
            (1_u32, 0, end),
            (2, dynamic_at, dynamic.len() as u64),
            (notes_kind, notes_at, notes.len() as u64),
            (interpreter_kind, interpreter_at, interpreter.len() as u64),
        ] {
            out.extend(kind.to_le_bytes());
            out.extend(4_u32.to_le_bytes());
            for word in [start, start, start, len, len, 4] {
                out.extend(word.to_le_bytes());
            }
        }
        for part in [strings, wants, offers, notes, interpreter] {
            out.extend(part);
        }
        out.resize(dynamic_at as usize, 0);
        out.extend(dynamic);
        out
    }
}

fn words(words: impl Iterator<Item = u32>) -> Vec<u8> {
    words.flat_map(u32::to_le_bytes).collect()
}

/// A note of the uapi-group's specification of dlopen metadata.
fn note(json: &str) -> Vec<u8> {
    let mut out = words([4, json.len() as u32, 0x407c_0c0a].into_iter());
    out.extend(b"FDO\0");
    out.extend(json.as_bytes());
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

/// A kernel module that depends on `udp_tunnel` and asks for firmware.
pub fn module() -> Node {
    let modinfo = b"depends=udp_tunnel\0firmware=tun/one.bin\0firmware=tun/two.bin\0";
    let names = b"\0.modinfo\0.shstrtab\0";
    let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x01\0\x3e\0\x01\0\0\0".to_vec();
    let sections = (64 + modinfo.len() + names.len()).next_multiple_of(8) as u64;
    for word in [0_u64, 0, sections] {
        out.extend(word.to_le_bytes());
    }
    out.extend(0_u32.to_le_bytes());
    for half in [64_u16, 0, 0, 64, 3, 2] {
        out.extend(half.to_le_bytes());
    }
    out.extend(modinfo);
    out.extend(names);
    out.resize(sections as usize, 0);
    let names_at = 64 + modinfo.len() as u64;
    for (name, kind, at, len) in [
        (0_u32, 0_u32, 0_u64, 0_u64),
        (1, 1, 64, modinfo.len() as u64),
        (10, 3, names_at, names.len() as u64),
    ] {
        out.extend(words([name, kind].into_iter()));
        for word in [0, 0, at, len, 0, 1, 0] {
            out.extend(word.to_le_bytes());
        }
    }
    file(0o644, out)
}
