//! Every key of a profile: its type, its check, and what the reference says about it.
//!
//! Typing, suggestions, `profile show` and the generated reference read this one table; a test
//! holds it against the fields of [`super::schema`]. Defaults are not here: they are the schema's.

use super::checks::{self, Check};

/// A mapping with known keys.
#[derive(Debug)]
pub struct Record {
    /// Keys in the order of the reference.
    pub fields: &'static [Field],
    /// The key that names an entry of a list of these.
    pub identity: Option<&'static str>,
    /// Keys without which there is nothing to build.
    pub required: &'static [&'static str],
}

/// One key.
#[derive(Debug)]
pub struct Field {
    /// Key.
    pub key: &'static str,
    /// Type.
    pub shape: Shape,
    /// For the reference: one or two sentences.
    pub doc: &'static str,
}

/// The type of a value.
#[derive(Debug)]
pub enum Shape {
    /// Text.
    Text(Check),
    /// `true` or `false`.
    Bool,
    /// A whole number in bounds.
    Integer {
        /// Least.
        least: i64,
        /// Most.
        most: i64,
    },
    /// A size in whole MiB.
    Size,
    /// A size in whole MiB, or nothing at all.
    SizeOrZero,
    /// The size of the disk: whole MiB or `auto`.
    DiskSize,
    /// A limit for the size of an image: also in powers of 1000.
    Budget,
    /// One such limit, or a list of limits for some images each.
    Budgets,
    /// A chunk's size: a power of two from 4 KiB to 1 MiB.
    ChunkSize,
    /// One of some words.
    Choice(&'static [&'static str]),
    /// A list.
    List(&'static Self),
    /// A list of texts, of which a single one may stand alone.
    Texts(Check),
    /// A mapping with known keys.
    Record(&'static Record),
    /// A mapping with free keys.
    TextMap {
        /// Check of the keys.
        key: Check,
        /// Check of the values.
        value: Check,
    },
    /// `extends`: a text or a list of texts.
    Extends,
    /// 64 hexadecimal digits.
    Sha256,
    /// A board: a name or path, which loading replaces by the mapping.
    Board,
    /// The part of a board that is merged as a profile; loading takes it out.
    BoardProfile,
}

impl Shape {
    /// The type's name in messages and in the reference.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Text(_) => "text".into(),
            Self::Bool => "`true` or `false`".into(),
            Self::Integer { least, most } => format!("whole number, {least} to {most}"),
            Self::Size => "size in whole MiB".into(),
            Self::SizeOrZero => "size in whole MiB, or 0".into(),
            Self::DiskSize => "size in whole MiB, or `auto`".into(),
            Self::Budget => "size, also in `MB`".into(),
            Self::Budgets => "size, also in `MB`, or list of mappings".into(),
            Self::ChunkSize => "size: a power of two, 4 KiB to 1 MiB".into(),
            Self::Choice(words) => {
                let words: Vec<_> = words.iter().map(|w| format!("`{w}`")).collect();
                words.join(", ")
            }
            Self::List(of) => match of {
                Self::Record(_) => "list of mappings".into(),
                _ => "list of texts".into(),
            },
            Self::Texts(_) => "text, or list of texts".into(),
            Self::Record(_) => "mapping".into(),
            Self::TextMap { .. } => "mapping of texts".into(),
            Self::Extends => "name, path, or list of them".into(),
            Self::Sha256 => "64 hexadecimal digits".into(),
            Self::Board => "name, path, or mapping".into(),
            Self::BoardProfile => "mapping: keys of a profile".into(),
        }
    }

    /// Whether values of this type are merged or taken away from, rather than replaced.
    #[must_use]
    pub const fn is_collection(&self) -> bool {
        matches!(self, Self::List(_) | Self::Texts(_) | Self::TextMap { .. })
    }
}

impl Record {
    /// The field of a key.
    #[must_use]
    pub fn field(&self, key: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.key == key)
    }
}

/// A key whose value is a text.
pub const fn text(key: &'static str, check: Check, doc: &'static str) -> Field {
    field(key, Shape::Text(check), doc)
}

/// A key.
pub const fn field(key: &'static str, shape: Shape, doc: &'static str) -> Field {
    Field { key, shape, doc }
}

const SUITES: Shape = Shape::Text(checks::suite);
const UNITS: Shape = Shape::Text(checks::unit);
const PACKAGE_NAMES: Shape = Shape::Text(checks::package_name);
const PATHS: Shape = Shape::Text(checks::path);

/// The whole profile.
pub static PROFILE: Record = Record {
    identity: None,
    required: &["name"],
    fields: &[
        text(
            "name",
            checks::name,
            "Name of the profile, the first part of the output directory's and the lock's name. \
             Not inherited; absent: the file's name without `.yaml`.",
        ),
        text(
            "description",
            checks::line,
            "One line for people. Not inherited.",
        ),
        field(
            "extends",
            Shape::Extends,
            "The profiles this one builds on, in order: names of built-in profiles, or paths \
             relative to this file. A file of that name in the same directory wins over a built-in \
             profile. A profile that is reached twice counts once.",
        ),
        field(
            "development",
            Shape::Bool,
            "Whether the image carries what only development may have: console login, credentials \
             from the hypervisor, debug generators. Inherited, and can't be unset.",
        ),
        field(
            "optimize",
            Shape::Choice(&["speed", "balanced", "size"]),
            "What the image is made for: being built often (`speed`, the default where \
             `development` is set), being downloaded (`balanced`), or as few bytes as possible \
             (`size`). It sets what `root.compression` leaves open, and how the initrd is \
             compressed.",
        ),
        field(
            "os",
            Shape::Record(&OS),
            "Identity of the operating system.",
        ),
        field(
            "arch",
            Shape::Choice(&["x86_64", "arm64"]),
            "Target architecture; `--arch` overrides it.",
        ),
        field(
            "board",
            Shape::Board,
            "Hardware that needs files on the EFI system partition: the name of a built-in board, a \
             path relative to this file, or a mapping. What the board says of packages, kernel and \
             disk is merged before this profile, after what it extends. See [boards](boards.md).",
        ),
        field(
            "archives",
            Shape::List(&Shape::Record(&ARCHIVE)),
            "Debian archives, in order.",
        ),
        field("packages", Shape::Record(&PACKAGES), "What to install."),
        field("kernel", Shape::Record(&KERNEL), "Kernel and initrd."),
        field("root", Shape::Record(&ROOT), "The file tree."),
        field(
            "containers",
            Shape::List(&Shape::Record(&CONTAINER)),
            "Container images that are part of the image. The node imports them when a version with \
             others first starts, without a registry; see [profiles](profiles.md#containers).",
        ),
        field("disk", Shape::Record(&DISK), "Partition sizes."),
        field("boot", Shape::Record(&BOOT), "Boot loader."),
        field(
            "update",
            Shape::Record(&UPDATE),
            "Where nodes get their updates. See [updates](updates.md).",
        ),
        field(
            "health",
            Shape::Record(&HEALTH),
            "What a good boot is; see [failure modes](failure-modes.md).",
        ),
        text(
            "keys",
            checks::path,
            "Folder with the signing keys. `--keys` and `HULLWRIGHT_KEYS` come first; without any \
             of them a development key is made on first use.",
        ),
        text(
            "signer",
            checks::signer,
            "Who signs: `file` (the default: private keys beside the certificates), \
             `command:PROGRAM [ARG…]`, or a `pkcs11:` URI; `--signer` comes first. A PROGRAM with a \
             `/` that is not absolute is relative to this file. See [signers](signers.md).",
        ),
        field(
            "sign",
            Shape::Choice(&["now", "later"]),
            "`later`: the build opens no private key and reserves places for the signatures, which \
             `hullwright sign` fills. `--sign` comes first.",
        ),
        field(
            "budget",
            Shape::Budgets,
            "The most that `usr.erofs` and the file of the UKI may have together; what partitions have \
             beyond them does not count, nor does the hash tree. An image that exceeds it is not built. \
             `MB` is 1000000 bytes. In a list, each limit is for images of its `optimize` and `arch`. \
             Absent: no limit. Not inherited. See [sizes](sizes.md).",
        ),
        field(
            "allow",
            Shape::List(&Shape::Record(&ALLOW)),
            "Findings of the audit that are as they should be, each with the reason. Any other one \
             ends the build. See [the audit](audit.md).",
        ),
    ],
};

/// An entry of a list of limits.
pub(super) static BUDGET: Record = Record {
    identity: None,
    required: &["limit"],
    fields: &[
        field("limit", Shape::Budget, "The limit."),
        field(
            "optimize",
            Shape::Choice(&["speed", "balanced", "size"]),
            "Only with this word. Absent: with any.",
        ),
        field(
            "arch",
            Shape::Choice(&["x86_64", "arm64"]),
            "Only for this architecture. Absent: for any.",
        ),
    ],
};

static ALLOW: Record = Record {
    identity: Some("path"),
    required: &["rule", "path", "reason"],
    fields: &[
        text(
            "rule",
            checks::audit_rule,
            "The rule whose findings are meant; see [the audit](audit.md) for all of them.",
        ),
        text(
            "path",
            checks::image_glob,
            "The file that a finding is about, or a glob of files, as `prune` has them. What the running \
             system has in `/etc` may also be written as that.",
        ),
        text(
            "what",
            checks::finding,
            "What is missing or wrong there, exactly as the finding names it. Absent: whatever it is.",
        ),
        text(
            "reason",
            checks::reason,
            "Why that is fine, for whoever reads the profile next.",
        ),
    ],
};

static OS: Record = Record {
    identity: None,
    required: &["id", "name", "version"],
    fields: &[
        text(
            "id",
            checks::os_id,
            "Short name in file names, partition labels and os-release: 1 to 10 of `a-z`, `0-9`, \
             `-`.",
        ),
        text("name", checks::os_name, "Name for people."),
        text(
            "version",
            checks::os_version,
            "A digit, then up to 19 of `0-9`, `A-Z`, `a-z`, `.`, `~`, `-`. Required unless \
             `development`, where it is `0.0.0-dev` when absent.",
        ),
        text(
            "channel",
            checks::channel,
            "The stream of releases that nodes follow; `stable` when absent. It never becomes part of \
             `/usr`, the UKI or os-release.",
        ),
    ],
};

static ARCHIVE: Record = Record {
    identity: Some("name"),
    required: &["name", "suites"],
    fields: &[
        text("name", checks::archive_name, "Name in messages and pins."),
        text(
            "url",
            checks::url,
            "Base URL. Absent: the mirror (`--mirror`, `HULLWRIGHT_MIRROR`, the machine's own apt \
             sources, then the built-in default).",
        ),
        field(
            "tree",
            Shape::Choice(&["debian", "debian-security"]),
            "Which of the mirror's trees, where `url` is absent.",
        ),
        field("suites", Shape::List(&SUITES), "Suites such as `trixie`."),
        field(
            "components",
            Shape::List(&SUITES),
            "Components such as `main`.",
        ),
        text(
            "keyring",
            checks::keyring,
            "OpenPGP keys that may sign: a built-in name (`debian`), or a file relative to this \
             one, recognised by a `/` or a `.` in it.",
        ),
        field(
            "fingerprints",
            Shape::List(&Shape::Text(checks::fingerprint)),
            "Primary keys, 40 hexadecimal digits, one of which must have signed. Empty: any key of \
             the keyring that is used for the suite.",
        ),
        field(
            "pocket",
            Shape::Bool,
            "Whether all its packages compete by version. `false`: it serves only packages that \
             name it (`name/archive` or `only`).",
        ),
        field(
            "priority",
            Shape::Integer {
                least: -1000,
                most: 1000,
            },
            "Higher wins before versions are compared.",
        ),
        field(
            "only",
            Shape::List(&Shape::Text(checks::package_glob)),
            "The only packages it may serve, as globs. Empty: all.",
        ),
        text(
            "snapshot",
            checks::snapshot,
            "URL template of a snapshot service for superseded versions, with `{timestamp}` and \
             `{path}`.",
        ),
    ],
};

static PACKAGES: Record = Record {
    identity: None,
    required: &[],
    fields: &[
        field(
            "include",
            Shape::List(&Shape::Text(checks::package)),
            "Packages to install: `name`, `name=version` or `name/archive`.",
        ),
        field(
            "exclude",
            Shape::List(&PACKAGE_NAMES),
            "Packages that must not be installed.",
        ),
        field(
            "recommends",
            Shape::Bool,
            "Whether `Recommends` are followed.",
        ),
        field(
            "keep",
            Shape::List(&PACKAGE_NAMES),
            "Script-only dependencies to install all the same. Maintainer scripts never run, so \
             packages that only they need are dropped.",
        ),
        field(
            "files",
            Shape::List(&Shape::Record(&LOCAL_DEB)),
            "Local `.deb` files, locked by hash.",
        ),
    ],
};

static LOCAL_DEB: Record = Record {
    identity: Some("path"),
    required: &["path"],
    fields: &[
        text("path", checks::path, "The file, relative to this one."),
        field(
            "sha256",
            Shape::Sha256,
            "Checked when given; always written to the lock.",
        ),
    ],
};

static CONTAINER: Record = Record {
    identity: Some("archive"),
    required: &["archive", "sha256"],
    fields: &[
        text(
            "archive",
            checks::path,
            "The file, relative to this one: a tar of an OCI image layout, or what `docker save` \
             and `podman save` write. A tar that is not compressed makes the smaller image.",
        ),
        field(
            "sha256",
            Shape::Sha256,
            "Its SHA-256. The name of the container image is the one that the archive gives it.",
        ),
    ],
};

static KERNEL: Record = Record {
    identity: None,
    required: &["package"],
    fields: &[
        text(
            "package",
            checks::kernel_package,
            "Package with the kernel, or a metapackage that depends on exactly one. `{arch}` stands \
             for Debian's name of the architecture.",
        ),
        field(
            "initrd_modules",
            Shape::List(&Shape::Text(checks::module)),
            "Modules of the initrd; what they depend on follows. Built-in ones are fine.",
        ),
        field(
            "modules",
            Shape::Texts(checks::modules),
            "Modules of the kernel's package that stay in `/usr`, with what they depend on and what \
             the initrd has: `all`, a set (`container-host`), names, globs of names (`nft_*`), or \
             paths (`kernel/drivers/net/ethernet/**`); `!` in front takes away. Empty: all. See [sizes](sizes.md#modules).",
        ),
        field(
            "firmware",
            Shape::Texts(checks::firmware),
            "Files below `/usr/lib/firmware` that stay, with their licences: `all`, `modules` (what \
             the modules that stay say they ask for), or globs (`rtl_nic/**`). Empty: all. See \
             [sizes](sizes.md#firmware).",
        ),
        field(
            "contract",
            Shape::List(&Shape::Choice(crate::kernel::contract::BY_NAME)),
            "Topics of options that the kernel's configuration must have, beside those that every \
             image needs. See [the kernel](kernel.md).",
        ),
        field(
            "cmdline",
            Shape::List(&Shape::Text(checks::cmdline)),
            "Words of the kernel's command line, behind `usrhash=`. `{serial}` stands for the \
             architecture's serial console.",
        ),
    ],
};

static ROOT: Record = Record {
    identity: None,
    required: &[],
    fields: &[
        field(
            "parts",
            Shape::Record(&PARTS),
            "Parts of packages to leave out, by name; see [sizes](sizes.md) for all of them.",
        ),
        field(
            "prune",
            Shape::List(&Shape::Text(checks::prune)),
            "Paths to leave out, as globs from the image's root (`/usr/share/man/**`); `!` in front \
             keeps. With a package in front (`gpg:/usr/bin/gpgconf`) only files of that package are \
             meant. These rules come after those of `parts`, and the last one that speaks about a path \
             decides.",
        ),
        field(
            "initrd_only",
            Shape::List(&Shape::Text(checks::prune)),
            "Paths that the initrd takes and `/usr` does not have, as in `prune`: what only the start \
             of the machine needs.",
        ),
        field(
            "overlay",
            Shape::List(&PATHS),
            "Directories laid over the tree, later ones over earlier ones. Files become 0644, or \
             0755 when executable, owned by root; symbolic links are kept.",
        ),
        field("users", Shape::List(&Shape::Record(&USER)), "Accounts."),
        field("groups", Shape::List(&Shape::Record(&GROUP)), "Groups."),
        field(
            "units",
            Shape::Record(&UNIT_LISTS),
            "systemd units. What is not enabled stays disabled.",
        ),
        field(
            "tmpfiles",
            Shape::List(&Shape::Text(checks::tmpfiles)),
            "Lines of tmpfiles.d(5).",
        ),
        field(
            "sysctl",
            Shape::TextMap {
                key: checks::sysctl_key,
                value: checks::sysctl_value,
            },
            "Kernel parameters.",
        ),
        field(
            "compression",
            Shape::Record(&COMPRESSION),
            "How `/usr` is compressed.",
        ),
        text("locale", checks::locale, "Locale of the system."),
        text("timezone", checks::timezone, "Time zone."),
        text(
            "hostname",
            checks::hostname,
            "Host name when none is given at run time. Absent: `os.id`.",
        ),
        text(
            "journal_max",
            checks::systemd_size,
            "Cap of the persistent journal, as systemd writes sizes.",
        ),
    ],
};

static PARTS: Record = Record {
    identity: None,
    required: &[],
    fields: &[
        field(
            "drop",
            Shape::List(&Shape::Text(checks::part)),
            "Parts that are left out, such as `man` or `locales`.",
        ),
        field(
            "keep",
            Shape::List(&Shape::Text(checks::part)),
            "Parts that stay, whatever a base profile drops.",
        ),
    ],
};

static COMPRESSION: Record = Record {
    identity: None,
    required: &[],
    fields: &[
        field(
            "codec",
            Shape::Choice(&["none", "zstd", "lz4hc"]),
            "`zstd` needs kernel 6.10.",
        ),
        field(
            "level",
            Shape::Integer { least: 0, most: 22 },
            "Level of the codec: zstd 1 to 22, lz4hc 1 to 12. With zstd `optimize: speed` means 3, \
             `balanced` 9, `size` 19.",
        ),
        field(
            "chunk",
            Shape::ChunkSize,
            "Input that is compressed on its own. `optimize: size` means 512 KiB.",
        ),
        field(
            "packing",
            Shape::Choice(&["none", "package", "image"]),
            "Whose ends of files are compressed together, behind the last full chunk: nobody's, \
             those of one package, or of all files. More of them make a smaller image; fewer are \
             compressed anew when a package changes. `optimize: size` means `image`.",
        ),
    ],
};

static USER: Record = Record {
    identity: Some("name"),
    required: &["name"],
    fields: &[
        text("name", checks::account, "Login name."),
        field(
            "uid",
            Shape::Integer {
                least: 0,
                most: 60000,
            },
            "Fixed number. Absent: from the table of ids.",
        ),
        text(
            "group",
            checks::account,
            "Primary group. Absent: one of the same name and number.",
        ),
        field(
            "groups",
            Shape::List(&Shape::Text(checks::account)),
            "Supplementary groups.",
        ),
        text("comment", checks::gecos, "Full name."),
        text(
            "home",
            checks::image_path,
            "Home directory. Absent: `/home/NAME`.",
        ),
        text(
            "shell",
            checks::image_path,
            "Login shell. Absent: `/bin/bash`.",
        ),
        text(
            "password_hash",
            checks::password_hash,
            "A crypt(5) hash (`mkpasswd -m yescrypt`). Absent: locked. An empty text means no \
             password and is for development only, as is any password of root.",
        ),
        field(
            "ssh_authorized_keys",
            Shape::List(&Shape::Text(checks::ssh_key)),
            "Public keys, each `TYPE BASE64 COMMENT`.",
        ),
    ],
};

static GROUP: Record = Record {
    identity: Some("name"),
    required: &["name"],
    fields: &[
        text("name", checks::account, "Name."),
        field(
            "gid",
            Shape::Integer {
                least: 0,
                most: 60000,
            },
            "Fixed number. Absent: from the table of ids.",
        ),
    ],
};

static UNIT_LISTS: Record = Record {
    identity: None,
    required: &[],
    fields: &[
        field(
            "enable",
            Shape::List(&UNITS),
            "Enabled as `systemctl enable` would.",
        ),
        field(
            "disable",
            Shape::List(&UNITS),
            "Disabled, whatever a base profile says.",
        ),
        field("mask", Shape::List(&UNITS), "Linked to `/dev/null`."),
    ],
};

static DISK: Record = Record {
    identity: None,
    required: &[],
    fields: &[
        field(
            "size",
            Shape::DiskSize,
            "The whole disk. `auto`: as small as the partitions allow; root is made when the disk \
             has grown.",
        ),
        field("esp", Shape::Size, "EFI system partition, at least 64 MiB."),
        field("usr", Shape::Size, "One usr slot; there are two."),
        field("verity", Shape::Size, "One usr-verity slot; there are two."),
        field(
            "signature",
            Shape::Size,
            "One usr-verity-sig slot; there are two.",
        ),
        field(
            "slack",
            Shape::SizeOrZero,
            "Unused space between the slots and root.",
        ),
    ],
};

static BOOT: Record = Record {
    identity: None,
    required: &[],
    fields: &[
        field(
            "timeout",
            Shape::Integer {
                least: 0,
                most: 3600,
            },
            "Seconds that the menu is shown.",
        ),
        field(
            "tries",
            Shape::Integer { least: 1, most: 99 },
            "Boots after which a UKI that never came up healthy is given up.",
        ),
        field(
            "secure_boot_enroll",
            Shape::Choice(&["off", "manual", "if-safe", "force"]),
            "What systemd-boot does with the key set's signed variables where firmware is in setup \
             mode: nothing, offer a menu entry, enrol by itself in a virtual machine, or enrol by \
             itself everywhere. With `off` the ESP does not carry them.",
        ),
        field(
            "verity_signature",
            Shape::Choice(&["off", "require"]),
            "`require`: the kernel takes no verity device whose root hash is not signed by a key in \
             firmware's `db`, so the image boots with Secure Boot on or not at all.",
        ),
    ],
};

static UPDATE: Record = Record {
    identity: None,
    required: &[],
    fields: &[
        text(
            "url",
            checks::update_url,
            "Where the release tree is served; nodes read `URL/CHANNEL/ARCH/`. Absent: nothing is \
             fetched by itself.",
        ),
        text(
            "keyring",
            checks::path,
            "A file with more OpenPGP public keys (armoured or not) that may sign releases, besides \
             that of the signing keys.",
        ),
        text(
            "interval",
            checks::calendar,
            "When nodes look for an update: a calendar expression of systemd.time(7).",
        ),
        text(
            "delay",
            checks::duration,
            "By how much nodes are spread behind `interval`; each has its own fixed share.",
        ),
        field(
            "reboot",
            Shape::Choice(&["off", "immediate", "window"]),
            "What follows an update: waiting for a reboot, one at once, or one in the next window.",
        ),
        field(
            "windows",
            Shape::List(&Shape::Record(&WINDOW)),
            "Maintenance windows, for `reboot: window`.",
        ),
    ],
};

static WINDOW: Record = Record {
    identity: None,
    required: &["start", "duration"],
    fields: &[
        text(
            "start",
            checks::calendar,
            "When it opens: a calendar expression such as `Sun 02:00`.",
        ),
        text(
            "duration",
            checks::duration,
            "How long it is open, such as `2h`; nodes reboot spread over it.",
        ),
    ],
};

static HEALTH: Record = Record {
    identity: None,
    required: &[],
    fields: &[
        field(
            "timeout",
            Shape::Integer {
                least: 60,
                most: 86400,
            },
            "Seconds from the start of the kernel in which a version on trial must have become \
             good; then it is rebooted.",
        ),
        field(
            "grace",
            Shape::Integer {
                least: 0,
                most: 3600,
            },
            "Seconds, once everything has started, in which checks that fail are repeated. Less \
             than `timeout`.",
        ),
        field(
            "network",
            Shape::Choice(&["auto", "require", "off"]),
            "`auto`: where links that networkd configures have a carrier, one must be routable. \
             `require`: one must be, always.",
        ),
        field(
            "units",
            Shape::List(&UNITS),
            "Units that must be active, beside those of `/usr/lib/hullwright/health.d/*.units` and \
             `/etc/hullwright/health.d/*.units`.",
        ),
        field(
            "allow_failed",
            Shape::List(&Shape::Text(checks::unit_glob)),
            "Units, or globs of them, that may fail in a good boot.",
        ),
    ],
};
