//! Where each partition lies. A layout exists only when everything fits.

use uuid::Uuid;

use super::format::SECTOR;
use crate::arch::{Arch, ESP_TYPE};
use crate::failure::{Failure, Kind};
use crate::profile::schema::{Disk, DiskSize, MIB};

/// Partitions begin and end at multiples of this: what erase blocks, RAID stripes and the GPT tools
/// of every system agree on.
pub const ALIGNMENT: u64 = MIB;
/// The least space for root on a disk of fixed size; `SizeMinBytes=` of its repart.d file.
pub const ROOT_MIN: u64 = 512 * MIB;
/// UKIs that the ESP must hold at once: one of each slot, and one being written.
const UKIS: u64 = 3;

/// What a partition is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// EFI system partition.
    Esp,
    /// `/usr` of slot A, the one that an image is installed to.
    UsrA,
    /// dm-verity data of slot A.
    VerityA,
    /// Signature of slot A's root hash.
    SignatureA,
    /// `/usr` of slot B, empty in a new image.
    UsrB,
    /// dm-verity data of slot B.
    VerityB,
    /// Signature of slot B's root hash.
    SignatureB,
}

impl Role {
    /// Every partition in the order of the table.
    pub const ALL: [Self; 7] = [
        Self::Esp,
        Self::UsrA,
        Self::VerityA,
        Self::SignatureA,
        Self::UsrB,
        Self::VerityB,
        Self::SignatureB,
    ];

    /// Name for people, and what the partition's GUID is derived from: never change it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Esp => "esp",
            Self::UsrA => "usr-a",
            Self::VerityA => "usr-verity-a",
            Self::SignatureA => "usr-verity-sig-a",
            Self::UsrB => "usr-b",
            Self::VerityB => "usr-verity-b",
            Self::SignatureB => "usr-verity-sig-b",
        }
    }

    /// DPS type GUID.
    #[must_use]
    pub const fn type_guid(self, arch: Arch) -> Uuid {
        match self {
            Self::Esp => ESP_TYPE,
            Self::UsrA | Self::UsrB => arch.traits().dps_usr,
            Self::VerityA | Self::VerityB => arch.traits().dps_usr_verity,
            Self::SignatureA | Self::SignatureB => arch.traits().dps_usr_verity_sig,
        }
    }

    /// Whether it is mounted read-only.
    #[must_use]
    pub const fn is_read_only(self) -> bool {
        !matches!(self, Self::Esp)
    }
}

/// Bytes of everything that goes into partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ContentSizes {
    /// The erofs image.
    pub usr: u64,
    /// The verity data.
    pub verity: u64,
    /// The signature of the root hash; zero where there is none.
    pub signature: u64,
    /// One UKI, signed.
    pub uki: u64,
    /// What else the ESP needs: its file system, boot loaders, board firmware
    /// (see [`crate::esp::required_bytes`]).
    pub esp_other: u64,
}

/// A partition's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// Number in the table, from 1.
    pub number: u32,
    /// What it is for.
    pub role: Role,
    /// Offset in bytes.
    pub offset: u64,
    /// Length in bytes.
    pub size: u64,
    /// Bytes that will be written; zero for what an image leaves empty.
    pub content: u64,
}

/// The places of all partitions on a disk on which everything fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageLayout {
    arch: Arch,
    disk_size: u64,
    min_grown: u64,
    slack: u64,
    partitions: Vec<Planned>,
    hybrid_mbr: bool,
}

/// What does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// A partition is smaller than its content.
    #[error("{what} needs {needed} bytes, and its partition has {size}")]
    Partition {
        /// What, for people.
        what: &'static str,
        /// The key that sets the size.
        key: &'static str,
        /// Bytes of content.
        needed: u64,
        /// Bytes of the partition.
        size: u64,
    },
    /// The partitions and the least root need more than the disk has.
    #[error(
        "the partitions, `disk.slack` and {ROOT_MIN} bytes for root need {needed} bytes, and the \
         disk has {size}"
    )]
    Disk {
        /// Bytes needed.
        needed: u64,
        /// Bytes of the disk.
        size: u64,
    },
    /// A size is zero or no multiple of a sector.
    #[error("`{key}` is {size} bytes; expected a multiple of {SECTOR} that is not zero")]
    Unusable {
        /// The key.
        key: &'static str,
        /// Its value.
        size: u64,
    },
    /// Sizes add up to more than 64 bits hold.
    #[error("the sizes in `disk` add up to more than any disk has")]
    Overflow,
}

impl From<LayoutError> for Failure {
    fn from(error: LayoutError) -> Self {
        let message = error.to_string();
        match error {
            LayoutError::Partition { key, needed, .. } => {
                let enough = needed.next_multiple_of(ALIGNMENT) / MIB;
                Self::new(Kind::DoesNotFit, message).hint(format!(
                    "raise `{key}` to {enough} MiB or more, or leave out packages"
                ))
            }
            LayoutError::Disk { needed, .. } => {
                let enough = needed.next_multiple_of(ALIGNMENT) / MIB;
                Self::new(Kind::DoesNotFit, message).hint(format!(
                    "raise `disk.size` to {enough} MiB or more, or set it to `auto`"
                ))
            }
            LayoutError::Unusable { .. } | LayoutError::Overflow => Self::new(Kind::Usage, message),
        }
    }
}

impl ImageLayout {
    /// Places the partitions that `disk` asks for.
    ///
    /// # Errors
    /// Content is larger than its partition, or the partitions are larger than the disk.
    pub fn plan(disk: &Disk, arch: Arch, content: ContentSizes) -> Result<Self, LayoutError> {
        let ukis = content.uki.checked_mul(UKIS).ok_or(LayoutError::Overflow)?;
        let esp = content
            .esp_other
            .checked_add(ukis)
            .ok_or(LayoutError::Overflow)?;
        let mut offset = ALIGNMENT;
        let mut partitions = Vec::with_capacity(Role::ALL.len());
        for (number, role) in (1..).zip(Role::ALL) {
            let (what, key, size, needed, written) = match role {
                Role::Esp => (
                    "an ESP with room for three UKIs",
                    "disk.esp",
                    disk.esp,
                    esp,
                    disk.esp.0,
                ),
                Role::UsrA => ("/usr", "disk.usr", disk.usr, content.usr, content.usr),
                Role::VerityA => (
                    "the verity data of /usr",
                    "disk.verity",
                    disk.verity,
                    content.verity,
                    content.verity,
                ),
                Role::SignatureA => (
                    "the signature of /usr",
                    "disk.signature",
                    disk.signature,
                    content.signature,
                    content.signature,
                ),
                Role::UsrB => ("", "disk.usr", disk.usr, 0, 0),
                Role::VerityB => ("", "disk.verity", disk.verity, 0, 0),
                Role::SignatureB => ("", "disk.signature", disk.signature, 0, 0),
            };
            let size = size.0;
            if size == 0 || !size.is_multiple_of(SECTOR) {
                return Err(LayoutError::Unusable { key, size });
            }
            let size = size
                .checked_next_multiple_of(ALIGNMENT)
                .ok_or(LayoutError::Overflow)?;
            if needed > size {
                return Err(LayoutError::Partition {
                    what,
                    key,
                    needed,
                    size,
                });
            }
            partitions.push(Planned {
                number,
                role,
                offset,
                size,
                content: written,
            });
            offset = offset.checked_add(size).ok_or(LayoutError::Overflow)?;
        }
        let slack = disk
            .slack
            .0
            .checked_next_multiple_of(ALIGNMENT)
            .ok_or(LayoutError::Overflow)?;
        // The backup table takes a part of the last MiB, so that lengths are round and systemd-repart,
        // which rounds to 4 KiB, finds all of ROOT_MIN: with less it aborts on an assertion (257).
        let min_grown = [slack, ROOT_MIN, ALIGNMENT]
            .into_iter()
            .try_fold(offset, u64::checked_add)
            .ok_or(LayoutError::Overflow)?;
        let disk_size = match disk.size {
            DiskSize::Auto => offset.checked_add(ALIGNMENT).ok_or(LayoutError::Overflow)?,
            DiskSize::Bytes(size) => {
                let size = size.0;
                if !size.is_multiple_of(SECTOR) {
                    return Err(LayoutError::Unusable {
                        key: "disk.size",
                        size,
                    });
                }
                if min_grown > size {
                    return Err(LayoutError::Disk {
                        needed: min_grown,
                        size,
                    });
                }
                size
            }
        };
        Ok(Self {
            arch,
            disk_size,
            min_grown,
            slack,
            partitions,
            hybrid_mbr: false,
        })
    }

    /// The same layout, with an MBR that lists the EFI system partition or one that does not.
    #[must_use]
    pub fn with_hybrid_mbr(self, hybrid_mbr: bool) -> Self {
        Self { hybrid_mbr, ..self }
    }

    /// Whether the MBR lists the EFI system partition.
    #[must_use]
    pub const fn hybrid_mbr(&self) -> bool {
        self.hybrid_mbr
    }

    /// The architecture whose partition types are used.
    #[must_use]
    pub const fn arch(&self) -> Arch {
        self.arch
    }

    /// Length of the disk in bytes.
    #[must_use]
    pub const fn disk_size(&self) -> u64 {
        self.disk_size
    }

    /// The smallest disk on which a first boot finds room for slack and root: what an `auto` image
    /// must be grown to.
    #[must_use]
    pub const fn min_grown_size(&self) -> u64 {
        self.min_grown
    }

    /// Unused bytes that stay between the last partition and root. A gap looks like free space to
    /// systemd-repart, so its definition of the last partition must claim it: `PaddingMinBytes=` in
    /// the second of two definitions of that type, since they are matched in order. On an `auto` disk
    /// the gap exists once the disk has grown.
    #[must_use]
    pub const fn slack(&self) -> u64 {
        self.slack
    }

    /// The partitions, in the order of the table and of the disk.
    #[must_use]
    pub fn partitions(&self) -> &[Planned] {
        &self.partitions
    }

    /// The partition with `role`; a layout has each once.
    #[must_use]
    pub fn partition(&self, role: Role) -> Option<&Planned> {
        self.partitions.iter().find(|p| p.role == role)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::profile::schema::{ByteSize, GIB};

    pub(crate) const CONTENT: ContentSizes = ContentSizes {
        usr: 135 * MIB,
        verity: 2 * MIB,
        signature: 0,
        uki: 22 * MIB,
        esp_other: 3 * MIB,
    };

    fn plan(change: impl Fn(&mut Disk, &mut ContentSizes)) -> Result<ImageLayout, LayoutError> {
        let (mut disk, mut content) = (Disk::default(), CONTENT);
        change(&mut disk, &mut content);
        ImageLayout::plan(&disk, Arch::X86_64, content)
    }

    #[test]
    fn the_default_disk_has_the_places_of_the_contract() {
        let layout = plan(|_, _| ()).unwrap();
        let places: Vec<_> = layout
            .partitions()
            .iter()
            .map(|p| (p.number, p.role.name(), p.offset / MIB, p.size / MIB))
            .collect();
        assert_eq!(
            places,
            [
                (1, "esp", 1, 1024),
                (2, "usr-a", 1025, 1536),
                (3, "usr-verity-a", 2561, 32),
                (4, "usr-verity-sig-a", 2593, 1),
                (5, "usr-b", 2594, 1536),
                (6, "usr-verity-b", 4130, 32),
                (7, "usr-verity-sig-b", 4162, 1),
            ]
        );
        assert_eq!((layout.disk_size(), layout.slack()), (8 * GIB, GIB));
    }

    #[test]
    fn the_default_esp_holds_three_ukis_of_twice_the_size() {
        assert!(plan(|_, content| content.uki *= 2).is_ok());
    }

    #[test]
    fn auto_is_as_small_as_the_partitions_allow() {
        let layout = plan(|disk, _| disk.size = DiskSize::Auto).unwrap();
        assert_eq!(layout.disk_size(), 4164 * MIB);
        assert_eq!(layout.slack(), GIB);
        assert_eq!(layout.min_grown_size(), 5700 * MIB);
    }

    #[test]
    fn what_does_not_fit_names_the_key_and_the_numbers() {
        type Change = fn(&mut Disk, &mut ContentSizes);
        let table: [(Change, &str, &str); 8] = [
            (
                |_, c| c.usr = 1536 * MIB + 1,
                "/usr needs 1610612737 bytes, and its partition has 1610612736",
                "raise `disk.usr` to 1537 MiB or more, or leave out packages",
            ),
            (
                |_, c| c.verity = 33 * MIB,
                "the verity data",
                "`disk.verity` to 33 MiB",
            ),
            (
                |_, c| c.signature = 2 * MIB,
                "the signature",
                "`disk.signature` to 2 MiB",
            ),
            (
                |_, c| c.uki = 400 * MIB,
                "an ESP with room for three UKIs",
                "`disk.esp` to 1203 MiB",
            ),
            (
                |d, _| d.size = DiskSize::Bytes(ByteSize(5 * GIB)),
                "and the disk has 5368709120",
                "`disk.size` to 5700 MiB",
            ),
            (|d, _| d.usr = ByteSize(0), "`disk.usr` is 0 bytes", ""),
            (
                |d, _| d.esp = ByteSize(MIB + 1),
                "`disk.esp` is 1048577 bytes",
                "",
            ),
            (
                |d, _| d.usr = ByteSize(u64::MAX - 511),
                "more than any disk has",
                "",
            ),
        ];
        for (change, message, hint) in table {
            let failure = Failure::from(plan(change).unwrap_err());
            assert!(failure.message.contains(message), "{}", failure.message);
            assert!(failure.hints.join("").contains(hint), "{:?}", failure.hints);
            let expected = if hint.is_empty() {
                Kind::Usage
            } else {
                Kind::DoesNotFit
            };
            assert_eq!(failure.kind, expected);
        }
    }

    #[test]
    fn the_smallest_fixed_disk_is_the_one_that_the_error_names() {
        let Err(LayoutError::Disk { needed, .. }) =
            plan(|d, _| d.size = DiskSize::Bytes(ByteSize(MIB)))
        else {
            panic!("a disk of 1 MiB holds nothing");
        };
        assert!(plan(|d, _| d.size = DiskSize::Bytes(ByteSize(needed))).is_ok());
        assert!(plan(|d, _| d.size = DiskSize::Bytes(ByteSize(needed - 512))).is_err());
    }
}
