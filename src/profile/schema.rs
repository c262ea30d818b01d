//! The merged, typed profile. Field names are the keys of the YAML.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::board::Board;
use super::optimize::Optimize;
use crate::arch::Arch;
use crate::digest::Sha256;
use crate::erofs::{Codec, CodecSettings, PackBy, Tails};

/// A profile after `extends` was merged, defaults were filled in and every value was validated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Name of the profile: `[a-z0-9][a-z0-9-]*`; the first part of the output directory's name.
    pub name: String,
    /// One line for people.
    #[serde(default)]
    pub description: String,
    /// Whether the image carries what only development may have. Inherited, can't be unset.
    #[serde(default)]
    pub development: bool,
    /// What the image is made for, where time and size are at odds.
    #[serde(default)]
    pub optimize: Optimize,
    /// Identity of the operating system.
    pub os: Os,
    /// Target architecture.
    #[serde(default = "default_arch")]
    pub arch: Arch,
    /// The hardware, where it needs files of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub board: Option<Board>,
    /// Where packages come from, in order.
    #[serde(default)]
    pub archives: Vec<ArchiveSource>,
    /// What to install.
    #[serde(default)]
    pub packages: Packages,
    /// Kernel and initrd.
    pub kernel: Kernel,
    /// The file tree.
    #[serde(default)]
    pub root: Root,
    /// Container images that the image carries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<ContainerArchive>,
    /// Partition sizes.
    #[serde(default)]
    pub disk: Disk,
    /// Boot loader.
    #[serde(default)]
    pub boot: Boot,
    /// Where nodes get their updates.
    #[serde(default)]
    pub update: Update,
    /// What a good boot is.
    #[serde(default)]
    pub health: Health,
    /// Folder with signing keys, relative to the profile.
    #[serde(default)]
    pub keys: Option<PathBuf>,
    /// Who signs: `file`, `command:PROGRAM [ARG…]` or a `pkcs11:` URI; absent: `file`.
    #[serde(default)]
    pub signer: Option<String>,
    /// When the image is signed.
    #[serde(default)]
    pub sign: SignTime,
    /// The most bytes that `usr.erofs` and the UKI may have together.
    #[serde(default)]
    pub budget: Option<Budget>,
    /// Findings of the audit that are as they should be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Allow>,
}

/// Findings of the audit that are as they should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allow {
    /// Name of the rule.
    pub rule: String,
    /// The file that a finding is about, or a glob of files.
    pub path: String,
    /// What is missing or wrong there; absent: whatever it is.
    #[serde(default)]
    pub what: Option<String>,
    /// Why that is fine.
    pub reason: String,
}

/// When an image is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignTime {
    /// While it is built.
    #[default]
    Now,
    /// By `hullwright sign`; the build sees certificates only.
    Later,
}

const fn default_arch() -> Arch {
    Arch::X86_64
}

/// Identity of the operating system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Os {
    /// `[a-z0-9-]{1,10}`: the `ID` of file names, labels and os-release.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// `[0-9][0-9A-Za-z.~-]{0,19}`; `0.0.0-dev` where absent in development profiles.
    pub version: String,
    /// The stream of releases; never inside `/usr`, the UKI or os-release.
    #[serde(default)]
    pub channel: Option<String>,
}

/// The channel of images whose profile names none.
pub const DEFAULT_CHANNEL: &str = "stable";

impl Os {
    /// The channel that a node of this image follows.
    #[must_use]
    pub fn channel(&self) -> &str {
        self.channel.as_deref().unwrap_or(DEFAULT_CHANNEL)
    }
}

/// A Debian archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveSource {
    /// Name in messages and in `packages.include` pins.
    pub name: String,
    /// Base URL; absent: the mirror (flag, environment, host's apt sources, built-in default).
    #[serde(default)]
    pub url: Option<String>,
    /// Which of the mirror's trees, where `url` is absent.
    #[serde(default)]
    pub tree: MirrorTree,
    /// Suites (`trixie`).
    pub suites: Vec<String>,
    /// Components.
    #[serde(default = "default_components")]
    pub components: Vec<String>,
    /// Keyring: a built-in name (`debian`) or a file relative to the profile.
    #[serde(default = "default_keyring")]
    pub keyring: String,
    /// Fingerprints, 40 hexadecimal digits, any one of which must have signed; empty: any key of the
    /// keyring that Debian uses for the suite.
    #[serde(default)]
    pub fingerprints: Vec<String>,
    /// Whether all packages of these suites may be chosen (highest version wins); otherwise only
    /// those that name the archive in `only`.
    #[serde(default = "yes")]
    pub pocket: bool,
    /// Higher wins before version is looked at; default 500.
    #[serde(default = "default_priority")]
    pub priority: i32,
    /// The only packages (shell globs) it may serve; empty: all.
    #[serde(default)]
    pub only: Vec<String>,
    /// URL template of a snapshot service for superseded versions: `{timestamp}` and `{path}`.
    #[serde(default)]
    pub snapshot: Option<String>,
}

fn default_components() -> Vec<String> {
    vec!["main".into()]
}
fn default_keyring() -> String {
    "debian".into()
}
const fn yes() -> bool {
    true
}
const fn default_priority() -> i32 {
    500
}

/// The trees of a Debian mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MirrorTree {
    /// `…/debian`.
    #[default]
    Debian,
    /// `…/debian-security`.
    DebianSecurity,
}

/// What to install.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Packages {
    /// Packages asked for: `name`, `name=version`, `name/archive`.
    pub include: Vec<String>,
    /// Packages that must not be installed.
    pub exclude: Vec<String>,
    /// Whether `Recommends` are followed.
    pub recommends: bool,
    /// Script-only dependencies (design, idea 1) to install all the same.
    pub keep: Vec<String>,
    /// Local `.deb` files.
    pub files: Vec<LocalDeb>,
}

/// A local `.deb`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalDeb {
    /// Relative to the profile.
    pub path: PathBuf,
    /// Checked when given; always written to the lock.
    #[serde(default)]
    pub sha256: Option<Sha256>,
}

/// A container image in an archive, carried in `/usr` and imported by the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerArchive {
    /// Relative to the profile: an OCI layout or a `docker save`, as a tar.
    pub archive: PathBuf,
    /// What it must hash to: its root of trust.
    pub sha256: Sha256,
}

/// Kernel and initrd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// Package with the kernel image, or a metapackage that depends on exactly one; `{arch}` stands
    /// for Debian's name of the architecture.
    pub package: String,
    /// Modules for the initrd, with their closure; names that are built in are fine.
    #[serde(default)]
    pub initrd_modules: Vec<String>,
    /// Modules that stay in `/usr`: `all`, sets, names, globs of names, paths; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<String>,
    /// Files of firmware that stay in `/usr`: `all`, `modules`, globs; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub firmware: Vec<String>,
    /// Topics of the contract with the kernel's configuration, beside those that every image asks for.
    #[serde(default)]
    pub contract: Vec<String>,
    /// Words of the command line, after `usrhash=`; `{serial}` is the architecture's serial console.
    #[serde(default)]
    pub cmdline: Vec<String>,
}

/// The file tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Root {
    /// Parts of packages to leave out, by name.
    pub parts: Parts,
    /// Paths to leave out: globs from the image's root (`/usr/share/man/**`); a leading `!` keeps.
    pub prune: Vec<String>,
    /// Paths that only the initrd takes, as globs; `/usr` does not have them.
    pub initrd_only: Vec<String>,
    /// Directories laid over the tree, relative to the profile.
    pub overlay: Vec<PathBuf>,
    /// Accounts.
    pub users: Vec<User>,
    /// Groups.
    pub groups: Vec<Group>,
    /// systemd units.
    pub units: Units,
    /// Lines for tmpfiles.d.
    pub tmpfiles: Vec<String>,
    /// Kernel parameters.
    pub sysctl: BTreeMap<String, String>,
    /// How `/usr` is compressed.
    pub compression: Compression,
    /// Locale of the system.
    pub locale: String,
    /// Time zone.
    pub timezone: String,
    /// Host name when none is given at run time; absent: `os.id`.
    pub hostname: Option<String>,
    /// Cap of the persistent journal, as systemd writes sizes.
    pub journal_max: String,
}

/// Parts of packages by the names of `profiles/parts.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parts {
    /// Left out.
    pub drop: Vec<String>,
    /// Stay, whatever a base profile drops.
    pub keep: Vec<String>,
}

impl Default for Root {
    fn default() -> Self {
        Self {
            parts: Parts::default(),
            prune: Vec::new(),
            initrd_only: Vec::new(),
            overlay: Vec::new(),
            users: Vec::new(),
            groups: Vec::new(),
            units: Units::default(),
            tmpfiles: Vec::new(),
            sysctl: BTreeMap::new(),
            compression: Optimize::default().compression(Codec::Zstd),
            locale: "C.UTF-8".into(),
            timezone: "Etc/UTC".into(),
            hostname: None,
            journal_max: "256M".into(),
        }
    }
}

/// How `/usr` is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compression {
    /// Which codec.
    pub codec: Codec,
    /// Its level.
    pub level: i32,
    /// Bytes of input to a chunk.
    pub chunk: u32,
    /// Whose ends of files are compressed together.
    pub packing: Packing,
}

/// Whose ends of files are compressed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Packing {
    /// Each end is compressed on its own.
    None,
    /// Those of one package.
    Package,
    /// Those of all files.
    Image,
}

impl Compression {
    /// How blobs are compiled.
    #[must_use]
    pub const fn settings(self) -> CodecSettings {
        CodecSettings {
            codec: self.codec,
            level: self.level,
            chunk: self.chunk,
            tails: match self.packing {
                Packing::None => Tails::Own,
                Packing::Package | Packing::Image => Tails::Packed,
            },
        }
    }

    /// How an image packs what blobs leave to it.
    #[must_use]
    pub const fn packs(self) -> PackBy {
        match self.packing {
            Packing::Package => PackBy::Package,
            Packing::None | Packing::Image => PackBy::Image,
        }
    }
}

/// An account made at build time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Login name.
    pub name: String,
    /// Fixed number; absent: from the id table.
    #[serde(default)]
    pub uid: Option<u32>,
    /// Primary group; absent: one of the same name and number.
    #[serde(default)]
    pub group: Option<String>,
    /// Supplementary groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// GECOS.
    #[serde(default)]
    pub comment: String,
    /// Home; absent: `/home/NAME`.
    #[serde(default)]
    pub home: Option<String>,
    /// Shell; absent: `/bin/bash`.
    #[serde(default)]
    pub shell: Option<String>,
    /// A crypt(5) hash; absent: locked.
    #[serde(default)]
    pub password_hash: Option<String>,
    /// Lines of authorized_keys.
    #[serde(default)]
    pub ssh_authorized_keys: Vec<String>,
}

/// A group made at build time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Name.
    pub name: String,
    /// Fixed number; absent: from the id table.
    #[serde(default)]
    pub gid: Option<u32>,
}

/// systemd units; everything that is not enabled stays disabled (`disable *`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Units {
    /// Enabled as `systemctl enable` would (`[Install]`, aliases, templates).
    pub enable: Vec<String>,
    /// Disabled, whatever a base profile says.
    pub disable: Vec<String>,
    /// Linked to `/dev/null`.
    pub mask: Vec<String>,
}

/// A size in bytes; in YAML a number or `512 MiB`, `1.5 GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

/// The most bytes that an image may have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Budget {
    /// Whatever it is made for.
    Any(ByteSize),
    /// By what it is made for: each limit that is for the image counts.
    Each(Vec<Limit>),
}

/// The most bytes that some images may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// The most bytes.
    pub limit: ByteSize,
    /// Only for images that are optimised for this; absent: for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimize: Option<Optimize>,
    /// Only for images for this architecture; absent: for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<Arch>,
}

impl Profile {
    /// The most bytes that `usr.erofs` and the UKI may have together.
    #[must_use]
    pub fn limit(&self) -> Option<u64> {
        Some(self.limit_at()?.0)
    }

    /// [`Self::limit`], and where in the list of limits it is.
    pub(super) fn limit_at(&self) -> Option<(u64, Option<usize>)> {
        match self.budget.as_ref()? {
            Budget::Any(limit) => Some((limit.0, None)),
            Budget::Each(limits) => {
                let ours = limits.iter().enumerate().filter(|(_, limit)| {
                    limit.optimize.is_none_or(|word| word == self.optimize)
                        && limit.arch.is_none_or(|arch| arch == self.arch)
                });
                ours.map(|(index, limit)| (limit.limit.0, Some(index)))
                    .min()
            }
        }
    }
}

/// Size of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskSize {
    /// As small as the partitions allow, with no space for root: it grows on the first boot.
    Auto,
    /// Exactly so many bytes.
    #[serde(untagged)]
    Bytes(ByteSize),
}

/// Partition sizes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Disk {
    /// The whole disk.
    pub size: DiskSize,
    /// EFI system partition.
    pub esp: ByteSize,
    /// One usr slot.
    pub usr: ByteSize,
    /// One usr-verity slot.
    pub verity: ByteSize,
    /// One usr-verity-sig slot.
    pub signature: ByteSize,
    /// Unused space between the slots and root.
    pub slack: ByteSize,
}

/// One mebibyte.
pub const MIB: u64 = 1 << 20;
/// One gibibyte.
pub const GIB: u64 = 1 << 30;

impl Default for Disk {
    fn default() -> Self {
        Self {
            size: DiskSize::Bytes(ByteSize(8 * GIB)),
            esp: ByteSize(GIB),
            usr: ByteSize(1536 * MIB),
            verity: ByteSize(32 * MIB),
            signature: ByteSize(MIB),
            slack: ByteSize(GIB),
        }
    }
}

/// Boot loader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Boot {
    /// Seconds that the menu is shown.
    pub timeout: u32,
    /// Tries before a new UKI is given up.
    pub tries: u32,
    /// Whether systemd-boot enrols the keys of the ESP in firmware that has none.
    pub secure_boot_enroll: SecureBootEnroll,
    /// Whether the kernel asks for a signature of the root hash of `/usr`.
    pub verity_signature: VeritySignature,
}

/// `secure-boot-enroll` of loader.conf(5): what systemd-boot does where firmware is in setup mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecureBootEnroll {
    /// Nothing; the ESP carries no keys.
    #[default]
    Off,
    /// A menu entry enrols.
    Manual,
    /// Enrols by itself in a virtual machine, elsewhere by a menu entry.
    IfSafe,
    /// Enrols by itself, after a countdown on hardware.
    Force,
}

impl SecureBootEnroll {
    /// The word in `loader.conf`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Manual => "manual",
            Self::IfSafe => "if-safe",
            Self::Force => "force",
        }
    }
}

/// What the kernel asks for besides the root hash in the signed command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VeritySignature {
    /// Nothing more.
    #[default]
    Off,
    /// A PKCS#7 signature of every root hash, by a certificate in firmware's `db`.
    Require,
}

impl Default for Boot {
    fn default() -> Self {
        Self {
            timeout: 0,
            tries: 3,
            secure_boot_enroll: SecureBootEnroll::Off,
            verity_signature: VeritySignature::Off,
        }
    }
}

/// Where nodes get their updates, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Update {
    /// Base URL of the release tree; absent: nothing is fetched by itself.
    pub url: Option<String>,
    /// More keys that may sign releases, relative to the profile.
    pub keyring: Option<PathBuf>,
    /// When nodes look for an update: a calendar expression (systemd.time(7)).
    pub interval: String,
    /// By how much the nodes of a fleet are spread, each by its own fixed share of it.
    pub delay: String,
    /// What follows an update.
    pub reboot: Reboot,
    /// When a node may reboot by itself, with `reboot: window`.
    pub windows: Vec<Window>,
}

impl Default for Update {
    fn default() -> Self {
        Self {
            url: None,
            keyring: None,
            interval: "hourly".into(),
            delay: "1h".into(),
            reboot: Reboot::Off,
            windows: Vec::new(),
        }
    }
}

/// What a node does once an update is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reboot {
    /// It waits for somebody to reboot it.
    #[default]
    Off,
    /// It reboots at once.
    Immediate,
    /// It reboots in the next maintenance window.
    Window,
}

impl Reboot {
    /// The word in `update.conf`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Immediate => "immediate",
            Self::Window => "window",
        }
    }
}

/// A maintenance window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Calendar expression (systemd.time(7)).
    pub start: String,
    /// How long it is open.
    pub duration: String,
}

/// What a good boot is, and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// Seconds from the start of the kernel in which a trial boot must have become good.
    pub timeout: u32,
    /// Seconds, once everything has started, in which checks that fail are repeated.
    pub grace: u32,
    /// Whether a good boot needs the network.
    pub network: HealthNetwork,
    /// Units that must be active.
    pub units: Vec<String>,
    /// Units, or globs of them, that may fail.
    pub allow_failed: Vec<String>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            timeout: 600,
            grace: 120,
            network: HealthNetwork::Auto,
            units: Vec::new(),
            allow_failed: Vec::new(),
        }
    }
}

/// Whether a good boot needs the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthNetwork {
    /// Where a configured link has a carrier.
    #[default]
    Auto,
    /// Always.
    Require,
    /// Never.
    Off,
}

impl HealthNetwork {
    /// The word in the profile and for the scripts.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Require => "require",
            Self::Off => "off",
        }
    }
}
