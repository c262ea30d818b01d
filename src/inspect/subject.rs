//! What a person pointed at: a disk, a folder of a build, a `usr.erofs`, an `.efi`.

use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::arch::{Arch, ESP_TYPE};
use crate::disk::GptTable;
use crate::disk::table::EMPTY_LABEL;
use crate::erofs::format::{SUPER_MAGIC, SUPER_OFFSET};
use crate::erofs::{Part, ReadAt as _};
use crate::esp::EspReader;
use crate::failure::{Failure, Kind};
use crate::tree::TreePath;
use crate::uki::Pe;

/// Bytes that tell what a file is: a GPT header in the second sector, a superblock at 1024.
const HEAD: u64 = 2048;
/// Longest UKI file that is read into memory.
const MAX_PROGRAM: u64 = 1 << 30;

/// A `/usr` and its verity data.
#[derive(Debug)]
pub struct Slot {
    /// `a` or `b` on a disk; `file` otherwise.
    pub name: &'static str,
    /// Label or file name.
    pub label: String,
    /// The image of `/usr`.
    pub usr: Part<File>,
    /// Its hash device.
    pub verity: Option<Part<File>>,
    /// The partition for the signature of its root hash.
    pub signature: Option<Part<File>>,
    /// PARTUUIDs of `/usr` and hash device.
    pub partuuids: Option<(uuid::Uuid, uuid::Uuid)>,
}

/// An EFI program.
#[derive(Debug)]
pub struct Program {
    /// Where it is: `esp:/…`, or a file's path.
    pub place: String,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// A path inside a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Of the running system: `/usr/…`, `/etc/…`.
    System(TreePath),
    /// Of the ESP: `esp:/…`.
    Esp(TreePath),
    /// Of the UKI's initrd: `initrd:/…`.
    Initrd(TreePath),
}

impl std::str::FromStr for Place {
    type Err = crate::tree::PathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.split_once(':') {
            Some(("esp", path)) => Self::Esp(TreePath::parse(path)?),
            Some(("initrd", path)) => Self::Initrd(TreePath::parse(path)?),
            _ => Self::System(TreePath::parse(text)?),
        })
    }
}

/// Something to look into.
#[derive(Debug)]
pub struct Subject {
    /// What the person named, or the `disk.raw` in it.
    pub path: PathBuf,
    /// The partition table of a disk.
    pub table: Option<GptTable>,
    /// Architecture of a disk.
    pub arch: Option<Arch>,
    /// Slots that hold a `/usr`.
    pub slots: Vec<Slot>,
    esp: Option<(u64, u64)>,
    loose: Vec<PathBuf>,
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| {
        Failure::new(Kind::Usage, format!("{}: {error}", path.display()))
            .hint("give the folder of a build, a disk.raw, a usr.erofs or an .efi")
            .into()
    })
}

fn whole(path: &Path) -> Result<Part<File>> {
    let file = open(path)?;
    let len = file.size().with_context(|| path.display().to_string())?;
    Ok(Part::new(file, 0, len))
}

/// The `.efi` files in `folder`, by name.
fn programs_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let context = || format!("listing {}", folder.display());
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(context)? {
        let path = entry.with_context(context)?.path();
        if path.extension().is_some_and(|extension| extension == "efi") {
            out.push(path);
        }
    }
    out.sort();
    Ok(out)
}

impl Subject {
    /// Finds out what `path` is and opens it.
    ///
    /// # Errors
    /// It can't be read, or is nothing that hullwright makes.
    pub fn open(path: &Path) -> Result<Self> {
        if path.is_dir() {
            let disk = path.join("disk.raw");
            if disk.exists() {
                return Self::disk(&disk);
            }
            let usr = path.join("usr.erofs");
            if usr.exists() {
                return Self::usr(&usr);
            }
            let found = programs_in(path)?;
            if found.is_empty() {
                let message = format!(
                    "{} has no disk.raw, no usr.erofs and no .efi",
                    path.display()
                );
                return Err(Failure::new(Kind::Usage, message)
                    .hint("give the folder that `hullwright build` made")
                    .into());
            }
            return Ok(Self::bare(path, found));
        }
        let mut head = Vec::new();
        open(path)?
            .take(HEAD)
            .read_to_end(&mut head)
            .with_context(|| format!("reading {}", path.display()))?;
        let has = |at: usize, bytes: &[u8]| head.get(at..).is_some_and(|h| h.starts_with(bytes));
        if has(512, b"EFI PART") {
            Self::disk(path)
        } else if has(SUPER_OFFSET as usize, &SUPER_MAGIC.to_le_bytes()) {
            Self::usr(path)
        } else if has(0, b"MZ") {
            Ok(Self::bare(path, vec![path.to_owned()]))
        } else {
            // The primary table may be damaged; the backup stands in, or tells why not.
            Self::disk(path).map_err(|error| {
                Failure::new(
                    Kind::Usage,
                    format!(
                        "{} is no disk image, no EROFS image and no EFI program ({error:#})",
                        path.display()
                    ),
                )
                .hint("give the folder of a build, a disk.raw, a usr.erofs or an .efi")
                .into()
            })
        }
    }

    fn bare(path: &Path, loose: Vec<PathBuf>) -> Self {
        Self {
            path: path.to_owned(),
            table: None,
            arch: None,
            slots: Vec::new(),
            esp: None,
            loose,
        }
    }

    /// A `usr.erofs`, with the `usr.verity` and the UKI beside it.
    fn usr(path: &Path) -> Result<Self> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let verity = folder.join("usr.verity");
        let slot = Slot {
            name: "file",
            label: path.display().to_string(),
            usr: whole(path)?,
            verity: verity.exists().then(|| whole(&verity)).transpose()?,
            signature: None,
            partuuids: None,
        };
        Ok(Self {
            slots: vec![slot],
            ..Self::bare(path, programs_in(folder)?)
        })
    }

    fn disk(path: &Path) -> Result<Self> {
        let file = open(path)?;
        let table = GptTable::read(&mut BufReader::new(&file))
            .with_context(|| format!("reading the partition table of {}", path.display()))?;
        let arch = [Arch::X86_64, Arch::Arm64]
            .into_iter()
            .find(|arch| table.by_type(arch.traits().dps_usr).is_some());
        let mut slots = Vec::new();
        if let Some(arch) = arch {
            let of = |kind| {
                table
                    .partitions
                    .iter()
                    .filter(move |(_, e)| e.type_guid == kind)
            };
            let usrs = of(arch.traits().dps_usr);
            let mut verities = of(arch.traits().dps_usr_verity);
            let mut signatures = of(arch.traits().dps_usr_verity_sig);
            for (name, (_, usr)) in ["a", "b"].into_iter().zip(usrs) {
                let verity = verities.next().map(|(_, entry)| entry);
                let signature = signatures.next().map(|(_, entry)| entry);
                if usr.name == EMPTY_LABEL {
                    continue;
                }
                let part = |e: &crate::disk::format::Entry| -> Result<Part<File>> {
                    Ok(Part::new(open(path)?, e.offset(), e.len()))
                };
                slots.push(Slot {
                    name,
                    label: usr.name.clone(),
                    usr: part(usr)?,
                    verity: verity.map(part).transpose()?,
                    signature: signature
                        .filter(|entry| entry.name != EMPTY_LABEL)
                        .map(part)
                        .transpose()?,
                    partuuids: verity.map(|verity| (usr.guid, verity.guid)),
                });
            }
        }
        Ok(Self {
            esp: table.by_type(ESP_TYPE).map(|e| (e.offset(), e.len())),
            table: Some(table),
            arch,
            slots,
            ..Self::bare(path, Vec::new())
        })
    }

    /// The slot called `name`, or the first that holds something.
    ///
    /// # Errors
    /// There is none.
    pub fn slot(&self, name: Option<&str>) -> Result<&Slot> {
        let found = match name {
            None => self.slots.first(),
            Some(name) => self.slots.iter().find(|slot| slot.name == name),
        };
        found.ok_or_else(|| {
            let which = name.map_or_else(String::new, |name| format!(" in slot {name}"));
            let path = self.path.display();
            let failure = Failure::new(Kind::Usage, format!("{path} has no /usr{which}"));
            let names: Vec<_> = self.slots.iter().map(|slot| slot.name).collect();
            if names.is_empty() {
                failure
            } else {
                failure.hint(format!("it has slot {}", names.join(", ")))
            }
            .into()
        })
    }

    /// The ESP, if this is a disk that has one.
    ///
    /// # Errors
    /// It is not FAT32.
    pub fn esp(&self) -> Result<Option<EspReader<BufReader<File>>>> {
        let Some((offset, _)) = self.esp else {
            return Ok(None);
        };
        let file = BufReader::new(open(&self.path)?);
        Ok(Some(EspReader::open(file, offset)?))
    }

    /// The ESP.
    ///
    /// # Errors
    /// There is none; it is not FAT32.
    pub fn expect_esp(&self) -> Result<EspReader<BufReader<File>>> {
        self.esp()?.ok_or_else(|| {
            let path = self.path.display();
            Failure::new(Kind::Usage, format!("{path} has no ESP"))
                .hint("give a disk.raw or the folder with it")
                .into()
        })
    }

    /// Where the EFI programs are: those of the ESP, or files.
    ///
    /// # Errors
    /// The ESP is damaged.
    pub fn program_places(&self) -> Result<Vec<String>> {
        let Some(esp) = self.esp()? else {
            let places = self.loose.iter().map(|path| path.display().to_string());
            return Ok(places.collect());
        };
        let mut volume = super::EspVolume(esp);
        let found = super::list(&mut volume, &TreePath::root(), true)?;
        Ok(found
            .into_iter()
            .map(|listed| listed.path.to_string())
            .filter(|path| path.to_lowercase().ends_with(".efi"))
            .map(|path| format!("esp:{path}"))
            .collect())
    }

    /// Reads an EFI program from where [`Self::program_places`] has seen it.
    ///
    /// # Errors
    /// It can't be read, or is larger than any program is.
    pub fn program(&self, place: String) -> Result<Program> {
        let data = match place.strip_prefix("esp:") {
            Some(path) if self.esp.is_some() => self.expect_esp()?.read(path)?,
            _ => {
                let mut file = open(Path::new(&place))?;
                let context = || format!("reading {place}");
                let len = file.seek(SeekFrom::End(0)).with_context(context)?;
                if len > MAX_PROGRAM {
                    let message = format!("{place} has {len} bytes, too many for an EFI program");
                    return Err(Failure::new(Kind::Usage, message).into());
                }
                file.rewind().with_context(context)?;
                let mut data = Vec::new();
                file.read_to_end(&mut data).with_context(context)?;
                data
            }
        };
        Ok(Program { place, data })
    }

    /// The UKI that starts `slot`: the one whose root hash names the slot's partitions, else the first.
    ///
    /// # Errors
    /// There is no UKI; one can't be read.
    pub fn uki(&self, slot: Option<&str>) -> Result<Program> {
        let wanted = self.slot(slot).ok().and_then(|slot| slot.partuuids);
        let mut first = None;
        for place in self.program_places()? {
            let program = self.program(place)?;
            let Ok(pe) = Pe::parse(&program.data) else {
                continue;
            };
            if pe.section(".linux").is_none() {
                continue;
            }
            let ids = super::facts::root_hash(&pe).map(|hash| crate::disk::usr_partuuids(&hash));
            if wanted.is_none() || ids == wanted {
                return Ok(program);
            }
            first = first.or(Some(program));
        }
        first.filter(|_| slot.is_none()).ok_or_else(|| {
            let path = self.path.display();
            let which = slot.map_or_else(String::new, |name| format!(" for slot {name}"));
            Failure::new(Kind::Usage, format!("{path} has no UKI{which}")).into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_say_which_file_system() {
        let path = |p| TreePath::parse(p).unwrap();
        for (text, place) in [
            ("/usr/lib", Place::System(path("usr/lib"))),
            ("esp:/EFI", Place::Esp(path("EFI"))),
            ("esp:", Place::Esp(TreePath::root())),
            ("initrd:/etc", Place::Initrd(path("etc"))),
            ("/etc/a:b", Place::System(path("etc/a:b"))),
        ] {
            assert_eq!(text.parse::<Place>().unwrap(), place);
        }
        assert!("/usr/../..".parse::<Place>().is_err());
    }

    #[test]
    fn what_is_no_image_is_said_to_be_none() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("notes");
        std::fs::write(&file, "just words").unwrap();
        for path in [dir.path(), &file, &dir.path().join("absent")] {
            let error = Subject::open(path).unwrap_err();
            assert_eq!(crate::failure::kind_of(&error), Kind::Usage, "{error:#}");
        }
    }
}
