//! What an image is made of, as data for `--json` and as text for people.

use std::fmt;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::root_hash::{self, DocumentFacts};
use super::subject::{Program, Slot, Subject};
use super::{EspVolume, NodeKind, list};
use crate::arch::{Arch, ESP_TYPE};
use crate::digest::{Sha256, hex};
use crate::disk::usr_partuuids;
use crate::erofs::format::{ALGORITHM_LZ4, ALGORITHM_ZSTD, BLOCK};
use crate::erofs::{Image, ReadAt};
use crate::report::human_size;
use crate::sign::authenticode;
use crate::tree::TreePath;
use crate::uki::Pe;
use crate::verity::{self, SuperBlock};

/// Sections of a UKI whose text is shown (UAPI.5 Unified Kernel Image).
const TEXTS: [&str; 4] = [".osrel", ".cmdline", ".uname", ".profile"];

/// A partition.
#[derive(Debug, Clone, Serialize)]
pub struct Partition {
    /// Number, from 1.
    pub number: u32,
    /// Label.
    pub label: String,
    /// Name of its type, or the type's GUID.
    #[serde(rename = "type")]
    pub type_name: String,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
    /// PARTUUID.
    pub partuuid: String,
}

/// A file on the ESP.
#[derive(Debug, Clone, Serialize)]
pub struct EspEntry {
    /// Path from the ESP's root.
    pub path: String,
    /// Bytes.
    pub size: u64,
}

/// A section of an EFI program.
#[derive(Debug, Clone, Serialize)]
pub struct SectionFacts {
    /// Its name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Its content, where that is text to be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// A certificate that signed a program.
#[derive(Debug, Clone, Serialize)]
pub struct SignatureFacts {
    /// Its subject.
    pub subject: String,
    /// SHA-256 of the certificate.
    pub fingerprint: Sha256,
    /// Whether the signature is over the present bytes, by this certificate's key.
    pub valid: bool,
    /// Why it is not valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// An EFI program.
#[derive(Debug, Clone, Serialize)]
pub struct ProgramFacts {
    /// Where it is.
    pub place: String,
    /// Bytes.
    pub size: u64,
    /// Whether it is a UKI: it has a kernel.
    pub uki: bool,
    /// Its sections.
    pub sections: Vec<SectionFacts>,
    /// Who signed it.
    pub signatures: Vec<SignatureFacts>,
    /// `usrhash=` of its command line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usrhash: Option<Sha256>,
    /// Bytes of the signature of that root hash in its initrd; 0 where the place waits for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_hash_signature: Option<usize>,
}

/// A hash device.
#[derive(Debug, Clone, Serialize)]
pub struct VerityFacts {
    /// UUID.
    pub uuid: String,
    /// Bytes that are hashed.
    pub data_size: u64,
    /// Salt in hexadecimal.
    pub salt: String,
    /// The hash of its top block.
    pub root_hash: Option<Sha256>,
    /// Programs whose command line has this root hash.
    pub trusted_by: Vec<String>,
    /// What the signature partition says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<DocumentFacts>,
    /// Whether the partitions' PARTUUIDs are those that the root hash asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partuuids_match: Option<bool>,
}

/// A `/usr`.
#[derive(Debug, Clone, Serialize)]
pub struct SlotFacts {
    /// `a`, `b` or `file`.
    pub slot: &'static str,
    /// Label or file.
    pub label: String,
    /// Bytes of the image.
    pub size: u64,
    /// Blocks of the image.
    pub blocks: u32,
    /// Inodes.
    pub inodes: u64,
    /// Codecs in use.
    pub codecs: Vec<&'static str>,
    /// UUID of the file system.
    pub uuid: String,
    /// Time of every file, in seconds.
    pub time: u64,
    /// The hash device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verity: Option<VerityFacts>,
}

/// Everything at a glance.
#[derive(Debug, Clone, Serialize)]
pub struct Facts {
    /// What was looked into.
    pub path: String,
    /// Architecture of a disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arch: Option<Arch>,
    /// GUID of the disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_guid: Option<String>,
    /// Whether the primary partition table is damaged.
    pub from_backup: bool,
    /// Partitions.
    pub partitions: Vec<Partition>,
    /// Files of the ESP.
    pub esp: Vec<EspEntry>,
    /// EFI programs.
    pub programs: Vec<ProgramFacts>,
    /// Slots with content.
    pub usr: Vec<SlotFacts>,
}

fn type_name(guid: uuid::Uuid) -> String {
    if guid == ESP_TYPE {
        return "esp".into();
    }
    for arch in [Arch::X86_64, Arch::Arm64] {
        let t = arch.traits();
        for (kind, name) in [
            (t.dps_usr, "usr"),
            (t.dps_usr_verity, "usr-verity"),
            (t.dps_usr_verity_sig, "usr-verity-sig"),
            (t.dps_root, "root"),
        ] {
            if guid == kind {
                return format!("{name} {arch}");
            }
        }
    }
    guid.to_string()
}

/// The root hash that a UKI's command line trusts.
#[must_use]
pub fn root_hash(pe: &Pe<'_>) -> Option<Sha256> {
    let text = String::from_utf8_lossy(pe.section(".cmdline")?);
    text.split_ascii_whitespace()
        .find_map(|word| word.strip_prefix("usrhash="))
        .and_then(|hash| hash.trim_end_matches('\0').parse().ok())
}

/// Who signed `data`, and whether it is still what was signed.
pub(super) fn signatures(data: &[u8]) -> Result<Vec<SignatureFacts>> {
    let certificates = authenticode::certificates(data)?;
    Ok(certificates
        .into_iter()
        .map(|der| {
            let problem = authenticode::verify(data, &der).err();
            SignatureFacts {
                subject: authenticode::subject(&der),
                fingerprint: Sha256::of(&der),
                valid: problem.is_none(),
                problem: problem.map(|error| format!("{error:#}")),
            }
        })
        .collect())
}

fn program_facts(program: &Program) -> Result<ProgramFacts> {
    let pe = Pe::parse(&program.data)?;
    let sections = pe.sections().iter().map(|header| {
        let name = String::from_utf8_lossy(header.name()).into_owned();
        let content = pe.content(header);
        let text = String::from_utf8_lossy(content);
        let text = text.trim_end_matches(['\0', '\n']);
        SectionFacts {
            text: TEXTS.contains(&name.as_str()).then(|| text.to_owned()),
            name,
            size: content.len() as u64,
        }
    });
    Ok(ProgramFacts {
        place: program.place.clone(),
        size: program.data.len() as u64,
        uki: pe.section(".linux").is_some(),
        sections: sections.collect(),
        signatures: signatures(&program.data)?,
        usrhash: root_hash(&pe),
        root_hash_signature: root_hash::of_uki(&pe).map(<[u8]>::len),
    })
}

fn verity_facts(slot: &Slot, programs: &[ProgramFacts]) -> Result<Option<VerityFacts>> {
    let Some(device) = &slot.verity else {
        return Ok(None);
    };
    let mut head = [0; 2 * verity::format::BLOCK];
    device.read_exact_at(0, &mut head)?;
    let superblock = SuperBlock::parse(&head)?;
    let top = &head[verity::format::BLOCK..];
    let root_hash = verity::root_of(&superblock, top);
    let trusted = programs
        .iter()
        .filter(|program| program.usrhash.is_some() && program.usrhash == root_hash);
    Ok(Some(VerityFacts {
        uuid: superblock.uuid.to_string(),
        data_size: superblock.data_blocks.saturating_mul(u64::from(BLOCK)),
        salt: hex(&superblock.salt),
        signature: root_hash::of_slot(slot)
            .context("reading the signature partition")?
            .map(|document| DocumentFacts {
                root_hash: document.root_hash,
                certificate: document.certificate_fingerprint,
            }),
        trusted_by: trusted.map(|program| program.place.clone()).collect(),
        partuuids_match: match (slot.partuuids, root_hash) {
            (Some(ids), Some(hash)) => Some(ids == usr_partuuids(&hash)),
            _ => None,
        },
        root_hash,
    }))
}

fn slot_facts(slot: &Slot, programs: &[ProgramFacts]) -> Result<SlotFacts> {
    let image = Image::open(&slot.usr)?;
    let s = image.super_block();
    let codecs = [(ALGORITHM_LZ4, "lz4"), (ALGORITHM_ZSTD, "zstd")];
    Ok(SlotFacts {
        slot: slot.name,
        label: slot.label.clone(),
        size: u64::from(s.blocks) * u64::from(BLOCK),
        blocks: s.blocks,
        inodes: s.inodes,
        codecs: codecs
            .into_iter()
            .filter(|(bit, _)| s.algorithms >> bit & 1 == 1)
            .map(|(_, name)| name)
            .collect(),
        uuid: uuid::Uuid::from_bytes(s.uuid).to_string(),
        time: s.epoch,
        verity: verity_facts(slot, programs)
            .with_context(|| format!("reading the hash device of {}", slot.label))?,
    })
}

/// Looks at everything but the content of `/usr`.
///
/// # Errors
/// Something can't be read.
pub fn facts(subject: &Subject) -> Result<Facts> {
    let mut programs = Vec::new();
    for place in subject.program_places()? {
        let program = subject.program(place)?;
        programs
            .push(program_facts(&program).with_context(|| format!("reading {}", program.place))?);
    }
    let table = subject.table.as_ref();
    let partitions = table.map_or(&[][..], |table| &table.partitions);
    let esp = match subject.esp()? {
        None => Vec::new(),
        Some(reader) => list(&mut EspVolume(reader), &TreePath::root(), true)?
            .into_iter()
            .filter(|listed| listed.node.kind == NodeKind::File)
            .map(|listed| EspEntry {
                path: listed.path.to_string(),
                size: listed.node.size,
            })
            .collect(),
    };
    Ok(Facts {
        path: subject.path.display().to_string(),
        arch: subject.arch,
        disk_guid: table.map(|table| table.disk_guid.to_string()),
        from_backup: table.is_some_and(|table| table.from_backup),
        partitions: partitions
            .iter()
            .map(|(number, entry)| Partition {
                number: *number,
                label: entry.name.clone(),
                type_name: type_name(entry.type_guid),
                offset: entry.offset(),
                size: entry.len(),
                partuuid: entry.guid.to_string(),
            })
            .collect(),
        esp,
        usr: subject
            .slots
            .iter()
            .map(|slot| {
                slot_facts(slot, &programs)
                    .with_context(|| format!("reading the /usr of {}", slot.label))
            })
            .collect::<Result<_>>()?,
        programs,
    })
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)?;
        if let Some(arch) = self.arch {
            write!(f, "  {arch}")?;
        }
        if let Some(guid) = &self.disk_guid {
            write!(f, "  disk {guid}")?;
        }
        writeln!(f)?;
        if self.from_backup {
            writeln!(
                f,
                "the primary partition table is damaged; this is the backup"
            )?;
        }
        if !self.partitions.is_empty() {
            writeln!(f, "\nPartitions")?;
            for p in &self.partitions {
                writeln!(
                    f,
                    "  {:>2}  {:<36}  {:<22}  {:>9}  {}",
                    p.number,
                    p.label,
                    p.type_name,
                    human_size(p.size),
                    p.partuuid
                )?;
            }
        }
        if !self.esp.is_empty() {
            writeln!(f, "\nESP")?;
            for entry in &self.esp {
                writeln!(f, "  {:>9}  {}", human_size(entry.size), entry.path)?;
            }
        }
        for program in &self.programs {
            write!(f, "\n{program}")?;
        }
        for slot in &self.usr {
            write!(f, "\n{slot}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ProgramFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.uki { "UKI" } else { "EFI program" };
        writeln!(f, "{what} {}  {}", self.place, human_size(self.size))?;
        if self.uki {
            for section in &self.sections {
                writeln!(f, "  {:<9} {:>9}", section.name, human_size(section.size))?;
                for line in section.text.iter().flat_map(|text| text.lines()) {
                    writeln!(f, "    {line}")?;
                }
            }
        }
        for signature in &self.signatures {
            let state = if signature.valid { "good" } else { "BAD" };
            writeln!(f, "  {state} signature by {}", signature.subject)?;
            writeln!(f, "    certificate {}", signature.fingerprint)?;
            if let Some(problem) = &signature.problem {
                writeln!(f, "    {problem}")?;
            }
        }
        if self.signatures.is_empty() {
            writeln!(f, "  not signed")?;
        }
        match self.root_hash_signature {
            Some(0) => writeln!(f, "  a place for the signature of the root hash, empty")?,
            Some(len) => writeln!(
                f,
                "  a signature of the root hash, {}",
                human_size(len as u64)
            )?,
            None => {}
        }
        Ok(())
    }
}

impl fmt::Display for SlotFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "/usr of slot {}  {}", self.slot, self.label)?;
        writeln!(
            f,
            "  EROFS {}: {} blocks, {} inodes, {}",
            human_size(self.size),
            self.blocks,
            self.inodes,
            if self.codecs.is_empty() {
                "not compressed".into()
            } else {
                self.codecs.join(", ")
            }
        )?;
        writeln!(f, "  UUID {}, time {}", self.uuid, self.time)?;
        let Some(verity) = &self.verity else {
            return writeln!(f, "  no verity data");
        };
        writeln!(f, "  verity over {}", human_size(verity.data_size))?;
        if let Some(hash) = verity.root_hash {
            writeln!(f, "    root hash {hash}")?;
        }
        if let Some(signature) = &verity.signature {
            writeln!(f, "    signed by certificate {}", signature.certificate)?;
            if Some(signature.root_hash) != verity.root_hash {
                writeln!(f, "    BUT of another root hash: {}", signature.root_hash)?;
            }
        }
        if verity.trusted_by.is_empty() {
            writeln!(f, "    no UKI has this root hash")?;
        }
        for place in &verity.trusted_by {
            writeln!(f, "    trusted by {place}")?;
        }
        if verity.partuuids_match == Some(false) {
            writeln!(f, "    the PARTUUIDs are not those of the root hash")?;
        }
        Ok(())
    }
}
