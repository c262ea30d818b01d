//! Reads the headers and sections of a PE32+ image, whatever the bytes are.

use std::ops::Range;

use super::format::{
    COFF_LEN, DIRECTORY_CERTIFICATES, DIRECTORY_LEN, DOS_MAGIC, MAX_SECTIONS, PE_MAGIC,
    PE_OFFSET_AT, PE32_PLUS, SECTION_HEADER_LEN, SectionHeader, coff, optional,
};

/// Why bytes are not a PE image that hullwright can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeError {
    /// The first bytes, or those where they point, are no PE image.
    #[error("not a PE image: {0}")]
    NotPe(&'static str),
    /// A structure lies outside the file.
    #[error("PE image ends inside its {0}")]
    Truncated(&'static str),
    /// A field has a value that no valid image has.
    #[error("PE image has {value:#x} in its field {field}")]
    BadField {
        /// Name of the field in the specification.
        field: &'static str,
        /// What was found.
        value: u64,
    },
    /// A section's data lies outside the file.
    #[error("section `{name}` of the PE image lies outside the file")]
    SectionOutside {
        /// The section.
        name: String,
    },
}

/// A parsed PE32+ image, borrowing its bytes. Every section lies inside the file.
#[derive(Debug, Clone)]
pub struct Pe<'a> {
    data: &'a [u8],
    coff_at: usize,
    optional_at: usize,
    section_table_at: usize,
    sections: Vec<SectionHeader>,
    certificates: Option<Range<usize>>,
}

fn array<const N: usize>(data: &[u8], at: usize, what: &'static str) -> Result<[u8; N], PeError> {
    at.checked_add(N)
        .and_then(|end| data.get(at..end))
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(PeError::Truncated(what))
}

fn u16_at(data: &[u8], at: usize, what: &'static str) -> Result<u16, PeError> {
    array(data, at, what).map(u16::from_le_bytes)
}

fn u32_at(data: &[u8], at: usize, what: &'static str) -> Result<u32, PeError> {
    array(data, at, what).map(u32::from_le_bytes)
}

impl<'a> Pe<'a> {
    /// Parses headers and section table.
    ///
    /// # Errors
    /// The bytes are not a PE32+ image, or a structure or section lies outside of them.
    pub fn parse(data: &'a [u8]) -> Result<Self, PeError> {
        if data.get(..2) != Some(&DOS_MAGIC) {
            return Err(PeError::NotPe("it does not begin with `MZ`"));
        }
        let pe_at = u32_at(data, PE_OFFSET_AT, "DOS header")? as usize;
        if array(data, pe_at, "PE signature")? != PE_MAGIC {
            return Err(PeError::NotPe(
                "there is no PE signature where `e_lfanew` points",
            ));
        }
        // Bounded by the slice's length, which the read above has shown to be large enough.
        let coff_at = pe_at + PE_MAGIC.len();
        let optional_at = coff_at + COFF_LEN;
        let optional_len = usize::from(u16_at(data, coff_at + coff::OPTIONAL_LEN, "COFF header")?);
        let section_table_at = optional_at + optional_len;
        if data.len() < section_table_at {
            return Err(PeError::Truncated("optional header"));
        }
        if optional_len < optional::DIRECTORIES {
            return Err(PeError::BadField {
                field: "SizeOfOptionalHeader",
                value: optional_len as u64,
            });
        }
        let magic = u16_at(data, optional_at + optional::MAGIC, "optional header")?;
        if magic != PE32_PLUS {
            return Err(PeError::BadField {
                field: "Magic",
                value: magic.into(),
            });
        }
        let count = u16_at(data, coff_at + coff::NUMBER_OF_SECTIONS, "COFF header")?;
        if count > MAX_SECTIONS {
            return Err(PeError::BadField {
                field: "NumberOfSections",
                value: count.into(),
            });
        }
        let sections = (0..usize::from(count))
            .map(|index| {
                let at = section_table_at + index * SECTION_HEADER_LEN;
                let header = SectionHeader::from_bytes(&array(data, at, "section table")?);
                let end = u64::from(header.raw_pointer) + u64::from(header.raw_size);
                if header.raw_size > 0 && end > data.len() as u64 {
                    return Err(PeError::SectionOutside {
                        name: String::from_utf8_lossy(header.name()).into_owned(),
                    });
                }
                Ok(header)
            })
            .collect::<Result<_, _>>()?;
        let mut pe = Self {
            data,
            coff_at,
            optional_at,
            section_table_at,
            sections,
            certificates: None,
        };
        pe.certificates = pe.certificate_range(optional_len)?;
        Ok(pe)
    }

    fn certificate_range(&self, optional_len: usize) -> Result<Option<Range<usize>>, PeError> {
        let count = self.u32(optional::NUMBER_OF_DIRECTORIES)? as usize;
        let end_of_entry = optional::DIRECTORIES + (DIRECTORY_CERTIFICATES + 1) * DIRECTORY_LEN;
        if count <= DIRECTORY_CERTIFICATES || optional_len < end_of_entry {
            return Ok(None);
        }
        let at = self.certificate_directory_at();
        let start = u32_at(self.data, at, "data directories")?;
        let len = u32_at(self.data, at + 4, "data directories")?;
        if start == 0 && len == 0 {
            return Ok(None);
        }
        let end = u64::from(start) + u64::from(len);
        if end > self.data.len() as u64 {
            return Err(PeError::Truncated("certificate table"));
        }
        Ok(Some(start as usize..end as usize))
    }

    fn u32(&self, field: usize) -> Result<u32, PeError> {
        u32_at(self.data, self.optional_at + field, "optional header")
    }

    fn u16(&self, field: usize) -> Result<u16, PeError> {
        u16_at(self.data, self.optional_at + field, "optional header")
    }

    /// The bytes of the whole file.
    #[must_use]
    pub const fn data(&self) -> &'a [u8] {
        self.data
    }

    /// Offset of the COFF header.
    #[must_use]
    pub const fn coff_at(&self) -> usize {
        self.coff_at
    }

    /// Offset of the optional header.
    #[must_use]
    pub const fn optional_at(&self) -> usize {
        self.optional_at
    }

    /// Offset of the section table.
    #[must_use]
    pub const fn section_table_at(&self) -> usize {
        self.section_table_at
    }

    /// Offset of the certificate table's entry among the data directories.
    #[must_use]
    pub const fn certificate_directory_at(&self) -> usize {
        self.optional_at + optional::DIRECTORIES + DIRECTORY_CERTIFICATES * DIRECTORY_LEN
    }

    /// Whether the header has an entry for a certificate table, used or not.
    #[must_use]
    pub fn has_certificate_directory(&self) -> bool {
        self.certificate_directory_at() + DIRECTORY_LEN <= self.section_table_at
            && self
                .u32(optional::NUMBER_OF_DIRECTORIES)
                .is_ok_and(|count| count as usize > DIRECTORY_CERTIFICATES)
    }

    /// Where the certificate table is; `None` in an unsigned image.
    #[must_use]
    pub fn certificates(&self) -> Option<Range<usize>> {
        self.certificates.clone()
    }

    /// `Machine`.
    ///
    /// # Errors
    /// Never after a successful parse; the signature keeps callers free of assumptions.
    pub fn machine(&self) -> Result<u16, PeError> {
        u16_at(self.data, self.coff_at + coff::MACHINE, "COFF header")
    }

    /// Whether the image can run with memory that is never both writable and executable.
    ///
    /// # Errors
    /// As [`Pe::machine`].
    pub fn nx_compatible(&self) -> Result<bool, PeError> {
        Ok(self.u16(optional::DLL_CHARACTERISTICS)? & super::format::NX_COMPAT != 0)
    }

    /// `SectionAlignment` and `FileAlignment`, both powers of two.
    ///
    /// # Errors
    /// One of them is zero or no power of two.
    pub fn alignments(&self) -> Result<(u32, u32), PeError> {
        let checked = |field, name| match self.u32(field)? {
            value if value.is_power_of_two() => Ok(value),
            value => Err(PeError::BadField {
                field: name,
                value: value.into(),
            }),
        };
        Ok((
            checked(optional::SECTION_ALIGNMENT, "SectionAlignment")?,
            checked(optional::FILE_ALIGNMENT, "FileAlignment")?,
        ))
    }

    /// `SizeOfHeaders`.
    ///
    /// # Errors
    /// It is larger than the file.
    pub fn size_of_headers(&self) -> Result<usize, PeError> {
        let size = self.u32(optional::SIZE_OF_HEADERS)? as usize;
        if size > self.data.len() {
            return Err(PeError::BadField {
                field: "SizeOfHeaders",
                value: size as u64,
            });
        }
        Ok(size)
    }

    /// The section headers, in the order of the table.
    #[must_use]
    pub fn sections(&self) -> &[SectionHeader] {
        &self.sections
    }

    /// The content of `header`'s section: as much as both memory and file hold, without padding.
    #[must_use]
    pub fn content(&self, header: &SectionHeader) -> &'a [u8] {
        let start = header.raw_pointer as usize;
        let len = header.virtual_size.min(header.raw_size) as usize;
        start
            .checked_add(len)
            .and_then(|end| self.data.get(start..end))
            .unwrap_or_default()
    }

    /// The content of the first section called `name`.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<&'a [u8]> {
        let header = self.sections.iter().find(|s| s.name() == name.as_bytes())?;
        Some(self.content(header))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::uki::write::tests::stub;

    #[test]
    fn a_stub_parses_to_its_sections() {
        let bytes = stub();
        let pe = Pe::parse(&bytes).unwrap();
        assert_eq!(pe.machine().unwrap(), 0x8664);
        assert_eq!(
            pe.section(".sdmagic").unwrap(),
            b"#### LoaderInfo: test ####"
        );
        assert_eq!(pe.section(".linux"), None);
        assert_eq!(pe.certificates(), None);
    }

    #[test]
    fn each_kind_of_damage_has_its_error() {
        let good = stub();
        let damage = |at: usize, bytes: &[u8]| {
            let mut bad = good.clone();
            bad[at..at + bytes.len()].copy_from_slice(bytes);
            Pe::parse(&bad).map(|_| ()).unwrap_err()
        };
        assert!(matches!(damage(0, b"ZM"), PeError::NotPe(_)));
        assert!(matches!(damage(0x40, b"NE"), PeError::NotPe(_)));
        assert!(matches!(
            damage(0x3c, &[0xff; 4]),
            PeError::Truncated("PE signature")
        ));
        assert!(matches!(
            damage(0x40 + 4 + 2, &[0xff, 0xff]),
            PeError::BadField {
                field: "NumberOfSections",
                ..
            }
        ));
        assert!(matches!(
            damage(0x58, &[0x0b, 0x01]),
            PeError::BadField { field: "Magic", .. }
        ));
        assert!(matches!(
            damage(0x148 + 16, &[0xff; 4]),
            PeError::SectionOutside { name } if name == ".text"
        ));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
            exercise(&bytes);
        }

        #[test]
        fn no_damaged_image_makes_the_reader_panic(
            changes in proptest::collection::vec((0..0x400_usize, any::<u8>()), 1..16),
            len in 0..=4096_usize,
        ) {
            let mut bytes = stub();
            for (at, value) in changes {
                bytes[at] = value;
            }
            bytes.truncate(len);
            exercise(&bytes);
        }
    }

    fn exercise(bytes: &[u8]) {
        if let Ok(pe) = Pe::parse(bytes) {
            let _ = (
                pe.machine(),
                pe.alignments(),
                pe.size_of_headers(),
                pe.certificates(),
            );
            let _ = (
                pe.has_certificate_directory(),
                pe.nx_compatible(),
                pe.section(".linux"),
            );
            for header in pe.sections() {
                let _ = pe.content(header);
            }
        }
        let _ = crate::sign::authenticode::digest(bytes);
        let _ = crate::uki::assemble(bytes, &[]);
    }
}
