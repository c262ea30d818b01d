//! Every key of a board; see [`crate::profile::table`].

use super::super::checks;
use super::super::table::{Field, Record, Shape, field, text};

/// A board.
pub static BOARD: Record = Record {
    identity: None,
    required: &["name", "arch"],
    fields: &[
        text(
            "name",
            checks::name,
            "Name of the board: what profiles call it.",
        ),
        text("description", checks::line, "One line for people."),
        field(
            "arch",
            Shape::Choice(&["x86_64", "arm64"]),
            "The only architecture that it runs; `arch` of a profile with this board when absent.",
        ),
        text(
            "serial",
            checks::serial,
            "Its serial console (`ttyS1`), which `{serial}` stands for; absent: the architecture's.",
        ),
        field(
            "profile",
            Shape::BoardProfile,
            "Keys of a profile that the board needs, merged like a profile that is extended: \
             `archives`, `packages`, `kernel`, `root`, `disk`, `boot`, `health`.",
        ),
        field(
            "artefacts",
            Shape::List(&Shape::Record(&ARTEFACT)),
            "What firmware files are taken from: fetched by SHA-256, never installed in `/usr`.",
        ),
        field(
            "esp",
            Shape::Record(&ESP),
            "The EFI system partition. It is always the first one, and FAT32 with at least 65,525 \
             clusters.",
        ),
        field(
            "devicetrees",
            Shape::List(&Shape::Record(&DEVICETREE)),
            "Device trees in every UKI, so that they change with the kernel. systemd-stub takes the \
             one whose first `compatible` is that of the firmware's.",
        ),
        field(
            "partitions",
            Shape::Record(&PARTITIONS),
            "The partition table.",
        ),
    ],
};

const NAME: Field = text(
    "name",
    checks::name,
    "What `from` calls it; not `kernel`, which is the image's own kernel package.",
);

static ARTEFACT: Record = Record {
    identity: Some("name"),
    required: &["name", "version", "path", "size", "sha256"],
    fields: &[
        NAME,
        text(
            "package",
            checks::package_name,
            "Debian's name of the package; absent: the same as `name`.",
        ),
        text(
            "suite",
            checks::suite,
            "Suite in which `hullwright board update` looks for a newer one; absent: it stays.",
        ),
        text("component", checks::suite, "Component of that suite."),
        field(
            "tree",
            Shape::Choice(&["debian", "debian-security"]),
            "Which of the mirror's trees, where `url` is absent.",
        ),
        text(
            "url",
            checks::url,
            "Base URL of what is not in Debian. Absent: the mirror.",
        ),
        text(
            "version",
            checks::version,
            "Version, for people and the manifest.",
        ),
        text(
            "path",
            checks::pool_path,
            "Path below the base URL. A `.deb` has files; anything else is one file itself.",
        ),
        field(
            "size",
            Shape::Integer {
                least: 1,
                most: 1 << 31,
            },
            "Its bytes.",
        ),
        field("sha256", Shape::Sha256, "Its SHA-256, the root of trust."),
        text(
            "snapshot",
            checks::snapshot_time,
            "A moment at which the archive had it, such as `20260912T075541Z`: where the mirror has \
             it no more, it is taken from Debian's snapshot service.",
        ),
    ],
};

static ESP: Record = Record {
    identity: None,
    required: &[],
    fields: &[field(
        "files",
        Shape::List(&Shape::Record(&FILE)),
        "Files beside hullwright's own.",
    )],
};

static FILE: Record = Record {
    identity: Some("to"),
    required: &["to"],
    fields: &[
        text(
            "to",
            checks::esp_path,
            "Where it goes, from the partition's root; not in `EFI/Linux`, `EFI/BOOT`, \
             `EFI/systemd`, `loader` and `hullwright`.",
        ),
        text(
            "from",
            checks::name,
            "The name of an artefact, or `kernel`: the image's own kernel package, below \
             `usr/lib/linux-image-VERSION`.",
        ),
        text(
            "path",
            checks::file_path,
            "Which file of it. Absent: the artefact itself, where it is no `.deb`.",
        ),
        text(
            "text",
            checks::document,
            "The content, where it is not taken from anything.",
        ),
    ],
};

static DEVICETREE: Record = Record {
    identity: Some("path"),
    required: &["path"],
    fields: &[
        text(
            "from",
            checks::name,
            "The name of an artefact, or `kernel`.",
        ),
        text("path", checks::file_path, "Which file of it."),
    ],
};

static PARTITIONS: Record = Record {
    identity: None,
    required: &[],
    fields: &[field(
        "hybrid_mbr",
        Shape::Bool,
        "Whether the MBR lists the EFI system partition beside the GPT, for firmware that knows no \
         GPT.",
    )],
};
