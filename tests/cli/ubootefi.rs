//! U-Boot's file of variables as its source has it (`lib/efi_loader/efi_var_file.c`), written without a
//! look at the scripts that are judged by it.

/// `EFI_VAR_FILE_MAGIC`.
const MAGIC: u64 = 0x0161_5669_6645_6255;
/// systemd's vendor of boot loader variables.
const LOADER: [u8; 16] = [
    0x82, 0xb0, 0x67, 0x4a, 0x4c, 0x0a, 0xcf, 0x41, 0xb6, 0xc7, 0x44, 0x0b, 0x29, 0xbb, 0x8c, 0x4f,
];
/// The vendor of what EFI itself defines.
const GLOBAL: [u8; 16] = [
    0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c,
];

/// One variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    pub vendor: [u8; 16],
    pub name: String,
    pub attributes: u32,
    pub time: u64,
    pub data: Vec<u8>,
}

impl Variable {
    /// `LoaderEntryOneShot=entry`.
    pub fn oneshot(entry: &str) -> Self {
        Self::loader("LoaderEntryOneShot", &utf16(entry))
    }

    /// A variable of systemd-boot.
    pub fn loader(name: &str, data: &[u8]) -> Self {
        Self {
            vendor: LOADER,
            name: name.into(),
            attributes: 7,
            time: 0,
            data: data.into(),
        }
    }

    /// One of those that U-Boot makes at its first boot.
    pub fn global(name: &str, data: &[u8]) -> Self {
        Self {
            vendor: GLOBAL,
            ..Self::loader(name, data)
        }
    }
}

/// With a final zero.
pub fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect()
}

pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 * (crc & 1))
        })
    })
}

/// The file with `variables`.
pub fn write(variables: &[Variable]) -> Vec<u8> {
    let mut body = Vec::new();
    for variable in variables {
        body.extend(u32::try_from(variable.data.len()).unwrap().to_le_bytes());
        body.extend(variable.attributes.to_le_bytes());
        body.extend(variable.time.to_le_bytes());
        body.extend(variable.vendor);
        body.extend(utf16(&variable.name));
        body.extend(&variable.data);
        body.resize(body.len().next_multiple_of(8), 0);
    }
    let mut file = vec![0; 8];
    file.extend(MAGIC.to_le_bytes());
    file.extend(u32::try_from(24 + body.len()).unwrap().to_le_bytes());
    file.extend(crc32(&body).to_le_bytes());
    file.extend(body);
    file
}

/// What U-Boot would take from `file`; nothing where it refuses the file.
pub fn read(file: &[u8]) -> Option<Vec<Variable>> {
    let u32_at = |at: usize| Some(u32::from_le_bytes(file.get(at..at + 4)?.try_into().ok()?));
    let u64_at = |at: usize| Some(u64::from_le_bytes(file.get(at..at + 8)?.try_into().ok()?));
    let good = u64_at(0)? == 0
        && u64_at(8)? == MAGIC
        && u32_at(16)? as usize == file.len()
        && u32_at(20)? == crc32(&file[24..]);
    if !good {
        return None;
    }
    let mut variables = Vec::new();
    let mut at = 24;
    while at < file.len() {
        let size = u32_at(at)? as usize;
        let mut name = Vec::new();
        let mut end = at + 32;
        loop {
            let unit = u16::from_le_bytes(file.get(end..end + 2)?.try_into().ok()?);
            end += 2;
            if unit == 0 {
                break;
            }
            name.push(unit);
        }
        variables.push(Variable {
            vendor: file[at + 16..at + 32].try_into().ok()?,
            name: String::from_utf16(&name).ok()?,
            attributes: u32_at(at + 4)?,
            time: u64_at(at + 8)?,
            data: file.get(end..end + size)?.into(),
        });
        at = (end + size).next_multiple_of(8);
    }
    Some(variables)
}

#[test]
fn the_checksum_is_the_common_one_and_what_is_written_is_read() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    let variables = [
        Variable::global("BootOrder", &[0, 0]),
        Variable::oneshot("hw_2.efi"),
    ];
    assert_eq!(read(&write(&variables)).unwrap(), variables);
    assert_eq!(read(&write(&[])).unwrap(), []);
    let mut bad = write(&variables);
    bad[30] ^= 1;
    assert_eq!(read(&bad), None);
}
