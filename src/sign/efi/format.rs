//! Numbers of UEFI 2.10: signature lists (section 32.4.1), authenticated variables (sections 8.2.2
//! and 8.2.6), WIN_CERTIFICATE (section 32.2.4). Everything is little-endian; GUIDs have their first
//! three fields so.

use uuid::{Uuid, uuid};

/// EFI_CERT_X509_GUID: a certificate in DER.
pub const CERT_X509: Uuid = uuid!("a5c059a1-94e4-4aa7-87b5-ab155c2bf072");
/// EFI_CERT_SHA256_GUID: the digest of an image.
pub const CERT_SHA256: Uuid = uuid!("c1c41626-504c-4092-aca9-41f936934328");

/// EFI_GLOBAL_VARIABLE: the vendor of `PK` and `KEK`.
pub const GLOBAL_VARIABLE: Uuid = uuid!("8be4df61-93ca-11d2-aa0d-00e098032b8c");
/// EFI_IMAGE_SECURITY_DATABASE_GUID: the vendor of `db` and `dbx`.
pub const IMAGE_SECURITY_DATABASE: Uuid = uuid!("d719b2cb-3d3a-4596-a3bc-dad00e67656f");

/// EFI_VARIABLE_NON_VOLATILE, _BOOTSERVICE_ACCESS, _RUNTIME_ACCESS and
/// _TIME_BASED_AUTHENTICATED_WRITE_ACCESS: what the four variables are written with.
pub const ATTRIBUTES: u32 = 0x01 | 0x02 | 0x04 | 0x20;
/// EFI_VARIABLE_APPEND_WRITE.
pub const APPEND_WRITE: u32 = 0x40;

/// Length of EFI_SIGNATURE_LIST: type, size of the list, of its header, of one signature.
pub const LIST_HEADER_LEN: usize = 16 + 4 + 4 + 4;
/// Length of a GUID, which stands before each signature and names its owner.
pub const GUID_LEN: usize = 16;

/// Length of EFI_TIME: year (2), month, day, hour, minute, second, padding, nanosecond (4), time
/// zone (2), daylight, padding.
pub const TIME_LEN: usize = 16;
/// Length of WIN_CERTIFICATE_UEFI_GUID: length (4), revision (2), type (2), GUID.
pub const WIN_CERTIFICATE_LEN: usize = 4 + 2 + 2 + GUID_LEN;
/// WIN_CERTIFICATE's revision.
pub const WIN_CERT_REVISION: u16 = 0x0200;
/// WIN_CERT_TYPE_EFI_GUID.
pub const WIN_CERT_TYPE_EFI_GUID: u16 = 0x0ef1;
/// EFI_CERT_TYPE_PKCS7_GUID.
pub const CERT_TYPE_PKCS7: Uuid = uuid!("4aafd29d-68df-49ee-8aa9-347d375665a7");
