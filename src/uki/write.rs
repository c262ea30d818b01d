//! Appends sections to systemd-stub.
//!
//! The stub finds its payload by section name and takes `VirtualSize` for the length, so that field
//! is exact. Sections of the stub stay where they are, and so do its time stamp and image base; only
//! `.sbat` is rewritten in place, with the kernel's lines merged in.

use super::format::{
    NX_COMPAT, SECTION_HEADER_LEN, SectionHeader, characteristics, coff, optional,
};
use super::read::{Pe, PeError};
use super::sbat;

/// A section to append.
#[derive(Debug, Clone, Copy)]
pub struct Section<'a> {
    /// Name with its dot, eight bytes at most.
    pub name: &'a str,
    /// Content.
    pub data: &'a [u8],
}

/// Why no image could be assembled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssembleError {
    /// The stub is no PE image.
    #[error("reading the stub: {0}")]
    Stub(PeError),
    /// The kernel is no PE image, so the stub could not start it.
    #[error("reading the kernel in `.linux`: {0}")]
    Kernel(PeError),
    /// Kernel and stub are for different machines.
    #[error("the kernel is for PE machine {kernel:#06x}, the stub for {stub:#06x}")]
    Machine {
        /// `Machine` of the kernel.
        kernel: u16,
        /// `Machine` of the stub.
        stub: u16,
    },
    /// The stub has a certificate table, which appended sections would invalidate.
    #[error("the stub is signed; the unsigned one from systemd-boot-efi is needed")]
    SignedStub,
    /// The stub has data behind its last section, such as symbols that were not stripped.
    #[error("the stub has {0} bytes that belong to no section")]
    TrailingData(usize),
    /// A section's name is empty, longer than eight bytes, or already taken.
    #[error("a section can't be called `{0}`")]
    BadName(String),
    /// The header has no room for another section.
    #[error("the stub's header has room for {room} more sections, but {needed} are needed")]
    HeaderFull {
        /// Sections that fit.
        room: usize,
        /// Sections to append.
        needed: usize,
    },
    /// The merged SBAT is longer than the stub's section.
    #[error("the merged .sbat has {needed} bytes, the stub's section {room}")]
    SbatFull {
        /// Bytes in the stub's section.
        room: usize,
        /// Bytes of the merged text.
        needed: usize,
    },
    /// Offsets are 32 bits wide.
    #[error("the image would be larger than 4 GiB")]
    TooLarge,
}

/// Sections that may occur more than once.
const REPEATABLE: &str = ".dtbauto";

/// The stub with `sections` appended in their order, unsigned, `CheckSum` zero.
///
/// # Errors
/// The stub or the kernel is unusable, or something does not fit; see [`AssembleError`].
pub fn assemble(stub: &[u8], sections: &[Section<'_>]) -> Result<Vec<u8>, AssembleError> {
    let pe = Pe::parse(stub).map_err(AssembleError::Stub)?;
    if pe.certificates().is_some() {
        return Err(AssembleError::SignedStub);
    }
    let (section_alignment, file_alignment) = pe.alignments().map_err(AssembleError::Stub)?;
    let headers = pe.size_of_headers().map_err(AssembleError::Stub)?;
    check_names(&pe, sections)?;
    check_header_room(&pe, headers, sections.len())?;
    check_end(&pe, headers)?;

    let total: usize = sections
        .iter()
        .map(|s| s.data.len() + file_alignment as usize)
        .sum();
    let mut out = Vec::with_capacity(stub.len() + total);
    out.extend_from_slice(stub);

    let kernel = sections.iter().find(|s| s.name == ".linux").map(|s| s.data);
    if let Some(kernel) = kernel {
        let kernel = Pe::parse(kernel).map_err(AssembleError::Kernel)?;
        check_machine(&pe, &kernel)?;
        if !kernel.nx_compatible().map_err(AssembleError::Kernel)? {
            clear_nx(&mut out, &pe);
        }
        merge_sbat(&mut out, &pe, kernel.section(".sbat"))?;
    }

    let mut next_address = pe
        .sections()
        .iter()
        .map(|s| u64::from(s.virtual_address) + u64::from(s.virtual_size))
        .max()
        .unwrap_or(headers as u64)
        .next_multiple_of(section_alignment.into());
    let mut initialized = read_u32(&out, pe.optional_at() + optional::SIZE_OF_INITIALIZED_DATA);
    let mut header_at = pe.section_table_at() + pe.sections().len() * SECTION_HEADER_LEN;
    for section in sections {
        let header = append(&mut out, section, next_address, file_alignment)?;
        next_address =
            (next_address + section.data.len() as u64).next_multiple_of(section_alignment.into());
        initialized = initialized
            .checked_add(header.virtual_size)
            .ok_or(AssembleError::TooLarge)?;
        put(&mut out, header_at, &header.to_bytes());
        header_at += SECTION_HEADER_LEN;
    }

    let count = (pe.sections().len() + sections.len()) as u16;
    let image = u32::try_from(next_address).map_err(|_| AssembleError::TooLarge)?;
    let optional_at = pe.optional_at();
    put(
        &mut out,
        pe.coff_at() + coff::NUMBER_OF_SECTIONS,
        &count.to_le_bytes(),
    );
    put(
        &mut out,
        optional_at + optional::SIZE_OF_INITIALIZED_DATA,
        &initialized.to_le_bytes(),
    );
    put(
        &mut out,
        optional_at + optional::SIZE_OF_IMAGE,
        &image.to_le_bytes(),
    );
    put(&mut out, optional_at + optional::CHECKSUM, &[0; 4]);
    Ok(out)
}

/// Appends the content of `section` to `out`, padded, and returns its header.
fn append(
    out: &mut Vec<u8>,
    section: &Section<'_>,
    address: u64,
    file_alignment: u32,
) -> Result<SectionHeader, AssembleError> {
    let narrow = |value: u64| u32::try_from(value).map_err(|_| AssembleError::TooLarge);
    let start = out.len().next_multiple_of(file_alignment as usize);
    let raw_size = section.data.len().next_multiple_of(file_alignment as usize);
    let mut name = [0; 8];
    name.iter_mut()
        .zip(section.name.bytes())
        .for_each(|(to, from)| *to = from);
    let header = SectionHeader {
        name,
        virtual_size: narrow(section.data.len() as u64)?,
        virtual_address: narrow(address)?,
        raw_size: narrow(raw_size as u64)?,
        raw_pointer: narrow(start as u64)?,
        // Kernels that the stub starts by the EFI handover protocol run where they lie.
        characteristics: characteristics::READ
            | if section.name == ".linux" {
                characteristics::CODE
            } else {
                characteristics::INITIALIZED_DATA
            },
    };
    out.resize(start, 0);
    out.extend_from_slice(section.data);
    out.resize(start + raw_size, 0);
    Ok(header)
}

fn check_names(pe: &Pe<'_>, sections: &[Section<'_>]) -> Result<(), AssembleError> {
    for (index, section) in sections.iter().enumerate() {
        let name = section.name;
        let bad_length = name.is_empty() || name.len() > 8;
        let taken = name != REPEATABLE
            && (pe.sections().iter().any(|s| s.name() == name.as_bytes())
                || sections.iter().take(index).any(|s| s.name == name));
        if bad_length || taken {
            return Err(AssembleError::BadName(name.into()));
        }
    }
    Ok(())
}

fn check_header_room(pe: &Pe<'_>, headers: usize, needed: usize) -> Result<(), AssembleError> {
    let used = pe.section_table_at() + pe.sections().len() * SECTION_HEADER_LEN;
    // Section data may begin before SizeOfHeaders in an image that lies about it.
    let first_data = pe
        .sections()
        .iter()
        .filter(|s| s.raw_size > 0)
        .map(|s| s.raw_pointer as usize)
        .min()
        .unwrap_or(headers);
    let by_bytes = headers.min(first_data).saturating_sub(used) / SECTION_HEADER_LEN;
    let by_count = usize::from(super::format::MAX_SECTIONS) - pe.sections().len();
    let room = by_bytes.min(by_count);
    if needed > room {
        return Err(AssembleError::HeaderFull { room, needed });
    }
    Ok(())
}

fn check_end(pe: &Pe<'_>, headers: usize) -> Result<(), AssembleError> {
    let end = pe
        .sections()
        .iter()
        .filter(|s| s.raw_size > 0)
        .map(|s| s.raw_pointer as usize + s.raw_size as usize)
        .max()
        .unwrap_or(headers);
    match pe.data().len().saturating_sub(end) {
        0 => Ok(()),
        extra => Err(AssembleError::TrailingData(extra)),
    }
}

fn check_machine(stub: &Pe<'_>, kernel: &Pe<'_>) -> Result<(), AssembleError> {
    let stub = stub.machine().map_err(AssembleError::Stub)?;
    let kernel = kernel.machine().map_err(AssembleError::Kernel)?;
    if stub == kernel {
        return Ok(());
    }
    Err(AssembleError::Machine { kernel, stub })
}

/// Firmware that enforces NX must see the same promise on the UKI as on the kernel in it.
fn clear_nx(out: &mut [u8], pe: &Pe<'_>) {
    let at = pe.optional_at() + optional::DLL_CHARACTERISTICS;
    if let Some(field) = out.get_mut(at..at + 2) {
        let flags = u16::from_le_bytes([field[0], field[1]]) & !NX_COMPAT;
        field.copy_from_slice(&flags.to_le_bytes());
    }
}

/// Rewrites the stub's `.sbat`, which has room to spare; a stub without one stays without.
fn merge_sbat(out: &mut [u8], pe: &Pe<'_>, of_kernel: Option<&[u8]>) -> Result<(), AssembleError> {
    let Some(index) = pe.sections().iter().position(|s| s.name() == b".sbat") else {
        return Ok(());
    };
    let header = pe.sections()[index];
    let merged = sbat::merge(&[pe.content(&header), of_kernel.unwrap_or_default()]);
    let room = header.raw_size as usize;
    // The next section's address bounds it in memory too.
    let next_address = pe
        .sections()
        .iter()
        .map(|s| s.virtual_address)
        .filter(|address| *address > header.virtual_address)
        .min();
    let room_in_memory = next_address.map_or(room, |next| (next - header.virtual_address) as usize);
    let room = room.min(room_in_memory);
    if merged.len() > room {
        return Err(AssembleError::SbatFull {
            room,
            needed: merged.len(),
        });
    }
    let start = header.raw_pointer as usize;
    if let Some(slot) = out.get_mut(start..start + header.raw_size as usize) {
        slot.fill(0);
    }
    put(out, start, &merged);
    let header_at = pe.section_table_at() + index * SECTION_HEADER_LEN;
    let header = SectionHeader {
        virtual_size: merged.len() as u32,
        ..header
    };
    put(out, header_at, &header.to_bytes());
    Ok(())
}

/// Copies `bytes` to `at`, which the parser has shown to be inside.
fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(slot) = out.get_mut(at..at + bytes.len()) {
        slot.copy_from_slice(bytes);
    }
}

fn read_u32(data: &[u8], at: usize) -> u32 {
    data.get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A PE image with the stub's shape: `.text`, `.sbat` with room, `.sdmagic`.
    pub(crate) fn stub() -> Vec<u8> {
        image(
            0x8664,
            0x0160,
            &[
                (".text", b"\x90\xc3"),
                (".sbat", b"sbat,1,x\nsystemd-stub,1,s\n"),
                (".sdmagic", b"#### LoaderInfo: test ####"),
            ],
        )
    }

    /// A minimal PE32+ image with 0x600 bytes of headers.
    pub(crate) fn image(machine: u16, dll: u16, sections: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = vec![0; 0x600];
        put(&mut out, 0, b"MZ");
        put(&mut out, 0x3c, &0x40_u32.to_le_bytes());
        put(&mut out, 0x40, b"PE\0\0");
        put(&mut out, 0x44, &machine.to_le_bytes());
        put(&mut out, 0x46, &(sections.len() as u16).to_le_bytes());
        put(&mut out, 0x48, &0x69dd_461d_u32.to_le_bytes());
        put(&mut out, 0x44 + 16, &0xf0_u16.to_le_bytes());
        let optional_at = 0x58;
        put(&mut out, optional_at, &0x20b_u16.to_le_bytes());
        for (field, value) in [
            (optional::SECTION_ALIGNMENT, 0x1000_u32),
            (optional::FILE_ALIGNMENT, 0x200),
            (optional::SIZE_OF_HEADERS, 0x600),
            (optional::CHECKSUM, 0xdead_beef),
            (optional::NUMBER_OF_DIRECTORIES, 16),
        ] {
            put(&mut out, optional_at + field, &value.to_le_bytes());
        }
        put(
            &mut out,
            optional_at + optional::DLL_CHARACTERISTICS,
            &dll.to_le_bytes(),
        );
        for (index, (name, data)) in sections.iter().enumerate() {
            let section = Section { name, data };
            let address = 0x1000 * (index as u64 + 1);
            let header = append(&mut out, &section, address, 0x200).unwrap();
            put(&mut out, 0x148 + index * 40, &header.to_bytes());
        }
        out
    }

    pub(crate) fn kernel() -> Vec<u8> {
        image(
            0x8664,
            0x0100,
            &[
                (".text", b"kernel"),
                (".sbat", b"sbat,1,x\nlinux.debian,1,k\n"),
            ],
        )
    }

    #[test]
    fn sections_follow_the_rules_that_firmware_and_stub_rely_on() {
        let stub = stub();
        let kernel = kernel();
        let long = vec![7; 0x1234];
        let out = assemble(
            &stub,
            &[
                Section {
                    name: ".osrel",
                    data: b"ID=x\n",
                },
                Section {
                    name: ".dtbauto",
                    data: b"one",
                },
                Section {
                    name: ".dtbauto",
                    data: b"two",
                },
                Section {
                    name: ".linux",
                    data: &kernel,
                },
                Section {
                    name: ".initrd",
                    data: &long,
                },
            ],
        )
        .unwrap();
        let pe = Pe::parse(&out).unwrap();
        let table: Vec<_> = pe
            .sections()
            .iter()
            .map(|s| {
                (
                    s.virtual_address,
                    s.virtual_size,
                    s.raw_pointer,
                    s.raw_size,
                    s.characteristics,
                )
            })
            .collect();
        assert_eq!(
            table[3..],
            [
                (0x4000, 5, 0xc00, 0x200, 0x4000_0040),
                (0x5000, 3, 0xe00, 0x200, 0x4000_0040),
                (0x6000, 3, 0x1000, 0x200, 0x4000_0040),
                (0x7000, 0xa00, 0x1200, 0xa00, 0x4000_0020),
                (0x8000, 0x1234, 0x1c00, 0x1400, 0x4000_0040),
            ]
        );
        assert_eq!(pe.section(".initrd").unwrap(), long);
        assert_eq!(out.len(), 0x3000);
        assert_eq!(read_u32(&out, 0x58 + optional::SIZE_OF_IMAGE), 0xa000);
        assert_eq!(read_u32(&out, 0x58 + optional::CHECKSUM), 0);
        assert_eq!(
            read_u32(&out, 0x58 + optional::SIZE_OF_INITIALIZED_DATA),
            5 + 3 + 3 + 0xa00 + 0x1234
        );
        assert_eq!(
            read_u32(&out, 0x48),
            0x69dd_461d,
            "the stub's time stamp stays"
        );
        assert!(pe.nx_compatible().unwrap());
        let sbat = String::from_utf8(pe.section(".sbat").unwrap().to_vec()).unwrap();
        let names: Vec<_> = sbat.lines().map(|l| l.split(',').next().unwrap()).collect();
        assert_eq!(names, ["sbat", "systemd-stub", "linux.debian", "uki", "\0"]);
    }

    #[test]
    fn a_kernel_without_nx_takes_the_promise_from_the_image() {
        let kernel = image(0x8664, 0, &[(".text", b"old")]);
        let out = assemble(
            &stub(),
            &[Section {
                name: ".linux",
                data: &kernel,
            }],
        )
        .unwrap();
        assert!(!Pe::parse(&out).unwrap().nx_compatible().unwrap());
    }

    #[test]
    fn unusable_inputs_are_refused_by_name() {
        let stub = stub();
        let kernel = kernel();
        let arm = image(0xaa64, 0, &[(".text", b"arm")]);
        let long = image(0x8664, 0, &[(".sbat", &[b'a'; 0x300])]);
        let mut long_sbat = long.clone();
        put(&mut long_sbat, 0x600, b"sbat,1,x\n");
        let mut signed = stub.clone();
        let at = Pe::parse(&stub).unwrap().certificate_directory_at();
        put(&mut signed, at, &[0, 6, 0, 0, 8, 0, 0, 0]);
        let mut trailing = stub.clone();
        trailing.push(1);
        let linux = |data| Section {
            name: ".linux",
            data,
        };
        let many = vec![
            Section {
                name: ".dtbauto",
                data: b""
            };
            40
        ];
        type Check = fn(&AssembleError) -> bool;
        let table: [(&[u8], &[Section<'_>], Check); 9] = [
            (&stub, &[linux(b"junk")], |e| {
                matches!(e, AssembleError::Kernel(_))
            }),
            (&stub, &[linux(&arm)], |e| {
                matches!(e, AssembleError::Machine { .. })
            }),
            (&stub, &[linux(&long_sbat)], |e| {
                matches!(e, AssembleError::SbatFull { .. })
            }),
            (&stub, &[linux(&kernel), linux(&kernel)], |e| {
                matches!(e, AssembleError::BadName(_))
            }),
            (
                &stub,
                &[Section {
                    name: ".text",
                    data: b"",
                }],
                |e| matches!(e, AssembleError::BadName(_)),
            ),
            (&stub, &many, |e| {
                matches!(e, AssembleError::HeaderFull { .. })
            }),
            (&signed, &[], |e| matches!(e, AssembleError::SignedStub)),
            (&trailing, &[], |e| {
                matches!(e, AssembleError::TrailingData(1))
            }),
            (b"MZ", &[], |e| matches!(e, AssembleError::Stub(_))),
        ];
        for (index, (stub, sections, check)) in table.iter().enumerate() {
            let error = assemble(stub, sections).unwrap_err();
            assert!(check(&error), "case {index}: {error:?}");
        }
    }
}
