//! The format: a firmware volume with one variable store in it, whose variables follow each other at
//! multiples of four. Behind the store lie the journal of interrupted writes and a spare area, which
//! firmware makes by itself.

use uuid::{Uuid, uuid};

/// `EFI_SYSTEM_NV_DATA_FV_GUID`, `FileSystemGuid` of the volume.
pub const NV_DATA_VOLUME: Uuid = uuid!("fff12b8d-7696-4c8b-a985-2747075b4f50");
/// `gEfiAuthenticatedVariableGuid`, `Signature` of a store whose variables have time stamps.
pub const AUTHENTICATED_STORE: Uuid = uuid!("aaf32c78-947b-439a-a180-2e144ec37792");
/// `gEfiVariableGuid`, `Signature` of a store of firmware without Secure Boot.
pub const PLAIN_STORE: Uuid = uuid!("ddcf3616-3275-4164-98b6-fe85707ffe7d");

/// `gEfiSecureBootEnableDisableGuid`: vendor of EDK2's switch `SecureBootEnable`.
pub const SECURE_BOOT_ENABLE: Uuid = uuid!("f0a30bc7-af08-4556-99c4-001009c93a44");

/// Attributes of variables (UEFI 2.10, section 8.2.1).
pub const NON_VOLATILE: u32 = 0x01;
/// Readable until `ExitBootServices`.
pub const BOOT_SERVICE: u32 = 0x02;
/// `EFI_FIRMWARE_VOLUME_HEADER.Signature`.
pub const VOLUME_SIGNATURE: &[u8; 4] = b"_FVH";
/// `EFI_FIRMWARE_VOLUME_HEADER` with one block map entry and the terminator.
pub const VOLUME_HEADER: usize = 72;
/// Offsets in `EFI_FIRMWARE_VOLUME_HEADER`.
pub mod volume {
    /// `FileSystemGuid`
    pub const FILE_SYSTEM: usize = 16;
    /// `FvLength`
    pub const LENGTH: usize = 32;
    /// `Signature`
    pub const SIGNATURE: usize = 40;
    /// `Attributes`
    pub const ATTRIBUTES: usize = 44;
    /// `HeaderLength`
    pub const HEADER_LENGTH: usize = 48;
    /// `Checksum`: all 16-bit words of the header add up to zero.
    pub const CHECKSUM: usize = 50;
    /// `Revision`
    pub const REVISION: usize = 55;
    /// `BlockMap[0]`: number of blocks, bytes of a block.
    pub const BLOCK_MAP: usize = 56;
}

/// `VARIABLE_STORE_HEADER`: `Signature`, `Size` with this header, `Format`, `State`, 6 reserved bytes.
pub const STORE_HEADER: usize = 28;
/// `VARIABLE_STORE_FORMATTED`
pub const FORMATTED: u8 = 0x5a;
/// `VARIABLE_STORE_HEALTHY`
pub const HEALTHY: u8 = 0xfe;

/// `AUTHENTICATED_VARIABLE_HEADER`
pub const VARIABLE_HEADER: usize = 60;
/// `VARIABLE_DATA`, the `StartId` of a variable.
pub const START_ID: u16 = 0x55aa;
/// State of a variable that is in force (`VAR_ADDED`).
pub const ADDED: u8 = 0x3f;
/// `VAR_ADDED & VAR_IN_DELETED_TRANSITION`: in force unless a newer one was written completely.
pub const BEING_REPLACED: u8 = 0x3e;
/// What erased flash reads as.
pub const ERASED: u8 = 0xff;
/// Headers begin at multiples of this.
pub const ALIGNMENT: usize = 4;

/// Where QEMU's `virt` machine for arm64 has its variables, as AAVMF formats an erased flash
/// (EDK2, `ArmVirtPkg/ArmVirtQemu.dsc` and `OvmfPkg/VirtNorFlashDxe`).
pub mod virt {
    /// `FvLength`: store, journal and spare of one erase block each.
    pub const LENGTH: u64 = 3 * BLOCK as u64;
    /// Bytes that are erased at once.
    pub const BLOCK: u32 = 0x4_0000;
    /// `Attributes`: readable, writable, memory mapped, sticky, erased to ones.
    pub const ATTRIBUTES: u32 = 0x0e36;
}

/// A variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Name space of the name.
    pub vendor: Uuid,
    /// Name.
    pub name: String,
    /// [`NON_VOLATILE`] and the others.
    pub attributes: u32,
    /// `EFI_TIME` of the last signed write; zero where there was none.
    pub timestamp: [u8; 16],
    /// `MonotonicCount`, of a way to sign that nobody uses any more.
    pub monotonic_count: u64,
    /// `PubKeyIndex`, likewise.
    pub public_key_index: u32,
    /// Value.
    pub data: Vec<u8>,
}

impl Variable {
    /// A variable that was written without a signature.
    #[must_use]
    pub fn new(vendor: Uuid, name: &str, attributes: u32, data: &[u8]) -> Self {
        Self {
            vendor,
            name: name.to_owned(),
            attributes,
            timestamp: [0; 16],
            monotonic_count: 0,
            public_key_index: 0,
            data: data.to_vec(),
        }
    }

    /// Whether this is the variable `name` of `vendor`.
    #[must_use]
    pub fn is(&self, vendor: Uuid, name: &str) -> bool {
        self.vendor == vendor && self.name == name
    }
}
