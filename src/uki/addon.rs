//! UKI addons (UAPI specification "Unified Kernel Image", "PE Addons"): signed PE files from which
//! systemd-stub takes words for the end of the command line.
//!
//! The stub has the firmware load an addon, which checks its signature, and reads the sections
//! without ever starting it. So the image is as small as a valid one can be; its entry point returns
//! `EFI_UNSUPPORTED` to whoever starts it all the same.

use super::format::{
    COFF_LEN, DIRECTORY_LEN, DOS_MAGIC, NX_COMPAT, PE_MAGIC, PE_OFFSET_AT, PE32_PLUS,
    SECTION_HEADER_LEN, SectionHeader, characteristics, coff, optional,
};
use super::sbat;
use crate::arch::Arch;

/// What an addon says.
#[derive(Debug, Clone, Copy)]
pub struct Addon<'a> {
    /// Architecture of the machines that are to take it: firmware loads no other.
    pub arch: Arch,
    /// Words for the end of the command line.
    pub cmdline: &'a str,
    /// The only kernel version, as `uname -r` prints it, whose UKI takes it.
    pub uname: Option<&'a str>,
}

const SECTION_ALIGNMENT: u32 = 0x1000;
const FILE_ALIGNMENT: u32 = 0x200;
const DIRECTORIES: usize = 16;
const OPTIONAL_LEN: usize = optional::DIRECTORIES + DIRECTORIES * DIRECTORY_LEN;
const PE_AT: usize = 0x40;
/// Room for four section headers.
const HEADERS: u32 = 0x200;
/// `IMAGE_SUBSYSTEM_EFI_APPLICATION`.
const EFI_APPLICATION: u16 = 10;
/// As the images of systemd: executable, large addresses, no line numbers, symbols or debug data. Not
/// "relocations stripped": the code runs wherever it is loaded.
const CHARACTERISTICS: u16 = 0x022e;
/// `IMAGE_SCN_MEM_EXECUTE`.
const EXECUTE: u32 = 0x2000_0000;

/// `return EFI_UNSUPPORTED` (0x8000_0000_0000_0003).
const fn code(arch: Arch) -> &'static [u8] {
    match arch {
        // mov rax, imm64; ret
        Arch::X86_64 => &[0x48, 0xb8, 3, 0, 0, 0, 0, 0, 0, 0x80, 0xc3],
        // movz x0, #3; movk x0, #0x8000, lsl #48; ret
        Arch::Arm64 => &[
            0x60, 0x00, 0x80, 0xd2, 0x00, 0x00, 0xf0, 0xf2, 0xc0, 0x03, 0x5f, 0xd6,
        ],
    }
}

/// The unsigned image.
#[must_use]
pub fn build(addon: &Addon<'_>) -> Vec<u8> {
    let sbat = sbat::of_addon();
    let data = characteristics::INITIALIZED_DATA | characteristics::READ;
    let mut sections = vec![
        (
            ".text",
            code(addon.arch),
            characteristics::CODE | characteristics::READ | EXECUTE,
        ),
        (".sbat", sbat.as_slice(), data),
        (".cmdline", addon.cmdline.as_bytes(), data),
    ];
    if let Some(uname) = addon.uname {
        sections.push((".uname", uname.as_bytes(), data));
    }

    let mut out = vec![0; HEADERS as usize];
    let mut address = SECTION_ALIGNMENT;
    let mut headers = Vec::new();
    for (name, content, flags) in &sections {
        let len = content.len() as u32;
        let mut padded = [0; 8];
        padded[..name.len()].copy_from_slice(name.as_bytes());
        let header = SectionHeader {
            name: padded,
            virtual_size: len,
            virtual_address: address,
            raw_size: len.next_multiple_of(FILE_ALIGNMENT),
            raw_pointer: out.len() as u32,
            characteristics: *flags,
        };
        out.extend_from_slice(content);
        out.resize((header.raw_pointer + header.raw_size) as usize, 0);
        address = (address + len).next_multiple_of(SECTION_ALIGNMENT);
        headers.push(header);
    }

    let coff_at = PE_AT + PE_MAGIC.len();
    let optional_at = coff_at + COFF_LEN;
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &DOS_MAGIC);
    put(PE_OFFSET_AT, &(PE_AT as u32).to_le_bytes());
    put(PE_AT, &PE_MAGIC);
    for (field, value) in [
        (coff::MACHINE, addon.arch.traits().pe_machine),
        (coff::NUMBER_OF_SECTIONS, headers.len() as u16),
        (coff::OPTIONAL_LEN, OPTIONAL_LEN as u16),
        (coff::CHARACTERISTICS, CHARACTERISTICS),
    ] {
        put(coff_at + field, &value.to_le_bytes());
    }
    for (field, value) in [
        (optional::MAGIC, PE32_PLUS),
        (optional::SUBSYSTEM, EFI_APPLICATION),
        (optional::DLL_CHARACTERISTICS, NX_COMPAT),
    ] {
        put(optional_at + field, &value.to_le_bytes());
    }
    let of_data: u32 = headers.iter().skip(1).map(|h| h.raw_size).sum();
    for (field, value) in [
        (optional::SIZE_OF_CODE, FILE_ALIGNMENT),
        (optional::SIZE_OF_INITIALIZED_DATA, of_data),
        (optional::ENTRY_POINT, SECTION_ALIGNMENT),
        (optional::BASE_OF_CODE, SECTION_ALIGNMENT),
        (optional::SECTION_ALIGNMENT, SECTION_ALIGNMENT),
        (optional::FILE_ALIGNMENT, FILE_ALIGNMENT),
        (optional::SIZE_OF_IMAGE, address),
        (optional::SIZE_OF_HEADERS, HEADERS),
        (optional::NUMBER_OF_DIRECTORIES, DIRECTORIES as u32),
    ] {
        put(optional_at + field, &value.to_le_bytes());
    }
    for (index, header) in headers.iter().enumerate() {
        let at = optional_at + OPTIONAL_LEN + index * SECTION_HEADER_LEN;
        put(at, &header.to_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::authenticode;
    use crate::sign::keys::tests::development_keys;
    use crate::uki::Pe;

    const HERE: Addon<'_> = Addon {
        arch: Arch::X86_64,
        cmdline: "console=ttyS1 quiet",
        uname: Some("6.12.1-cloud"),
    };

    #[test]
    fn an_addon_has_its_words_and_no_kernel() {
        for arch in [Arch::X86_64, Arch::Arm64] {
            let bytes = build(&Addon { arch, ..HERE });
            let pe = Pe::parse(&bytes).unwrap();
            assert_eq!(pe.machine().unwrap(), arch.traits().pe_machine);
            assert_eq!(pe.section(".cmdline").unwrap(), HERE.cmdline.as_bytes());
            assert_eq!(pe.section(".uname").unwrap(), b"6.12.1-cloud");
            assert_eq!(pe.section(".text").unwrap(), code(arch));
            assert!(pe.section(".linux").is_none());
            assert!(pe.nx_compatible().unwrap());
            let sbat = String::from_utf8(pe.section(".sbat").unwrap().to_vec()).unwrap();
            let names: Vec<_> = sbat.lines().map(|l| l.split(',').next().unwrap()).collect();
            assert_eq!(names, ["sbat", "uki-addon", "\0"]);
        }
        let bytes = build(&Addon {
            uname: None,
            ..HERE
        });
        assert!(Pe::parse(&bytes).unwrap().section(".uname").is_none());
    }

    #[test]
    fn firmware_finds_every_field_as_it_checks_it() {
        // EDK2, MdePkg/Library/BasePeCoffLib/BasePeCoff.c, PeCoffLoaderGetPeHeader.
        let bytes = build(&HERE);
        let pe = Pe::parse(&bytes).unwrap();
        assert_eq!(pe.alignments().unwrap(), (0x1000, 0x200));
        assert!(pe.has_certificate_directory());
        let headers = pe.size_of_headers().unwrap();
        let used = pe.section_table_at() + pe.sections().len() * SECTION_HEADER_LEN;
        assert!(used <= headers, "{used} bytes of headers");
        let mut end = SECTION_ALIGNMENT;
        for section in pe.sections() {
            assert!(section.raw_pointer as usize >= headers);
            assert_eq!(section.virtual_address, end);
            assert_eq!(section.raw_pointer % FILE_ALIGNMENT, 0);
            end = (end + section.virtual_size).next_multiple_of(SECTION_ALIGNMENT);
        }
        let at = pe.optional_at() + optional::SIZE_OF_IMAGE;
        assert_eq!(bytes[at..at + 4], end.to_le_bytes());
        assert_eq!(bytes.len() % 8, 0, "the certificate table follows at once");
    }

    #[test]
    fn a_long_line_gets_the_pages_it_needs() {
        let cmdline = "x=".to_owned() + &"y".repeat(5000);
        let bytes = build(&Addon {
            cmdline: &cmdline,
            ..HERE
        });
        let pe = Pe::parse(&bytes).unwrap();
        assert_eq!(pe.section(".cmdline").unwrap(), cmdline.as_bytes());
        assert_eq!(pe.section(".uname").unwrap(), b"6.12.1-cloud");
    }

    #[test]
    fn it_can_be_signed_and_the_signature_covers_the_words() {
        let keys = development_keys();
        let mut signed = authenticode::sign(build(&HERE), keys).unwrap();
        let certificate = crate::sign::Signer::certificate(keys);
        authenticode::verify(&signed, certificate).unwrap();
        let at = signed
            .windows(7)
            .position(|bytes| bytes == b"console")
            .unwrap();
        signed[at] ^= 1;
        authenticode::verify(&signed, certificate).unwrap_err();
    }
}
