//! The topics of the contract, and which of them an image's kernel is held against.

use super::fragment::{Rule, about, rules};
use crate::arch::Arch;
use crate::erofs::Codec;

/// A fragment with its name.
#[derive(Debug, PartialEq, Eq)]
pub struct Topic {
    /// Name, as in `kernel.contract` and `--topic`.
    pub name: &'static str,
    /// Which images ask for it.
    pub asked: Asked,
    text: &'static str,
}

/// Which images ask for a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// All.
    Always,
    /// Those of an architecture.
    For(Arch),
    /// Those that compress files of `/usr`.
    Compressed,
    /// Those that compress files of `/usr` with zstd.
    Zstd,
    /// Those whose modules are compressed files.
    CompressedModules,
    /// Those that are not for development.
    LockedDown,
    /// Those whose kernel checks a signature of the root hash.
    SignedRootHash,
    /// Those whose profile or board names it.
    ByName,
}

macro_rules! topics {
    ($($name:literal $asked:expr,)*) => {
        /// All topics, in the order in which they are checked and documented.
        pub static TOPICS: &[Topic] = &[$(Topic {
            name: $name,
            asked: $asked,
            text: include_str!(concat!("../../../kernel-configs/", $name, ".config")),
        }),*];
    };
}

topics! {
    "base" Asked::Always,
    "verity" Asked::Always,
    "filesystems" Asked::Always,
    "erofs-compressed" Asked::Compressed,
    "erofs-zstd" Asked::Zstd,
    "modules-compressed" Asked::CompressedModules,
    "lockdown" Asked::LockedDown,
    "verity-signature" Asked::SignedRootHash,
    "x86_64" Asked::For(Arch::X86_64),
    "arm64" Asked::For(Arch::Arm64),
    "containers" Asked::ByName,
    "networking" Asked::ByName,
    "hardening" Asked::ByName,
    "virt" Asked::ByName,
    "cloud" Asked::ByName,
    "raspberry-pi-4" Asked::ByName,
}

/// Topics that a profile can name.
pub const BY_NAME: &[&str] = &[
    "containers",
    "networking",
    "hardening",
    "virt",
    "cloud",
    "raspberry-pi-4",
];

impl Topic {
    /// What it is about.
    #[must_use]
    pub fn about(&self) -> String {
        about(self.text)
    }

    /// Its options, in the order of the fragment.
    #[must_use]
    pub fn rules(&self) -> Vec<Rule> {
        rules(self.text)
    }
}

/// What differs from image to image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs<'a> {
    /// The architecture.
    pub arch: Arch,
    /// How files of `/usr` are compressed.
    pub codec: Codec,
    /// Whether modules in `/usr` are compressed files.
    pub compressed_modules: bool,
    /// Whether the image is for production.
    pub locked_down: bool,
    /// Whether the kernel is to check a signature of the root hash.
    pub signed_root_hash: bool,
    /// Topics that the profile names.
    pub topics: &'a [String],
}

impl Needs<'_> {
    /// The topics that the image asks for.
    #[must_use]
    pub fn asked(self) -> Vec<&'static Topic> {
        let asks = |topic: &&Topic| match topic.asked {
            Asked::Always => true,
            Asked::For(arch) => arch == self.arch,
            Asked::Compressed => self.codec != Codec::None,
            Asked::Zstd => self.codec == Codec::Zstd,
            Asked::CompressedModules => self.compressed_modules,
            Asked::LockedDown => self.locked_down,
            Asked::SignedRootHash => self.signed_root_hash,
            Asked::ByName => self.topics.iter().any(|name| name == topic.name),
        };
        TOPICS.iter().filter(asks).collect()
    }
}

/// The topic called `name`.
#[must_use]
pub fn named(name: &str) -> Option<&'static Topic> {
    TOPICS.iter().find(|topic| topic.name == name)
}
