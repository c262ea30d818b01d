//! The places for signatures in an image, and `to-sign.json`, which lists them for a machine that has
//! the keys and not the image.

use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use super::image::{DISK, Image};
use crate::base64;
use crate::digest::Sha256;
use crate::esp::EspReader;
use crate::initrd::root_hash_signature;
use crate::inspect;
use crate::report::manifest::SIGNATURE;
use crate::sign::{Role, Signer, Signers, Trust, WithPurpose, authenticode};
use crate::uki::read::Pe;
use crate::verity::signature;

/// How the partition with the signature of the root hash is called.
pub(super) const SIGNATURE_PARTITION: &str = "usr-verity-sig";
/// File name of the list.
pub const TO_SIGN: &str = "to-sign.json";
/// Version of its format.
const VERSION: u32 = 1;

/// One signature, which may stand in several files.
#[derive(Debug)]
pub(super) enum Place {
    /// Of the root hash: in a partition, and in the initrd of UKIs where the kernel asks for it.
    RootHash {
        /// Those UKIs, which are signed themselves afterwards.
        holders: Vec<Holder>,
    },
    /// Of PE images with the same bytes: boot loader, UKI, addons.
    Authenticode {
        /// File name, for people and signers.
        name: String,
        /// Which files.
        holders: Vec<Holder>,
    },
}

/// A file with a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    /// A file of the EFI system partition, by its number.
    Esp(usize),
    /// The UKI beside the disk.
    Uki,
}

/// All places of an image, in the order in which they have to be filled.
pub(super) fn places(image: &Image) -> Vec<Place> {
    let mut groups: Vec<(&Arc<Vec<u8>>, Vec<Holder>)> = Vec::new();
    let mut with_root_hash = Vec::new();
    let files = image.files.iter().enumerate();
    let programs = files
        .map(|(number, file)| (&file.data, Holder::Esp(number)))
        .chain([(&image.uki, Holder::Uki)])
        .filter(|(data, _)| Pe::parse(data).is_ok_and(|pe| authenticode::place(&pe).is_some()));
    for (data, holder) in programs {
        if root_hash_range(data).is_some() {
            with_root_hash.push(holder);
        }
        match groups.iter_mut().find(|(known, _)| *known == data) {
            Some((_, holders)) => holders.push(holder),
            None => groups.push((data, vec![holder])),
        }
    }
    let programs = groups.into_iter().map(|(_, holders)| Place::Authenticode {
        name: name(image, &holders),
        holders,
    });
    let signed = !with_root_hash.is_empty() || image.signature.is_some();
    let root_hash = signed.then_some(Place::RootHash {
        holders: with_root_hash,
    });
    root_hash.into_iter().chain(programs).collect()
}

/// Where in a UKI the signature of the root hash belongs.
pub(super) fn root_hash_range(program: &[u8]) -> Option<Range<usize>> {
    let pe = Pe::parse(program).ok()?;
    let header = pe.sections().iter().find(|s| s.name() == b".initrd")?;
    let inside = root_hash_signature::locate(pe.content(header))?;
    let base = header.raw_pointer as usize;
    Some(base + inside.start..base + inside.end)
}

/// What a build calls the file while it signs it.
fn name(image: &Image, holders: &[Holder]) -> String {
    if holders.contains(&Holder::Uki) {
        return image.uki_name.clone();
    }
    let path = holders.iter().find_map(|holder| match holder {
        Holder::Esp(number) => image.files.get(*number).map(|file| file.path.as_str()),
        Holder::Uki => None,
    });
    let path = path.unwrap_or_default();
    if path.starts_with("EFI/BOOT/") || path.starts_with("EFI/systemd/") {
        return "systemd-boot".into();
    }
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

impl Place {
    /// Whose signature belongs here.
    pub const fn role(&self) -> Role {
        match self {
            Self::Authenticode { .. } => Role::Db,
            Self::RootHash { .. } => Role::Verity,
        }
    }

    /// Signs the place in `image`.
    pub fn fill(&self, image: &mut Image, signers: &Signers) -> Result<()> {
        match self {
            Self::RootHash { holders } => {
                let signer = signers
                    .verity
                    .as_deref()
                    .context("no verity key was opened")?;
                sign_root_hash(image, holders, signer).context("signing the root hash")
            }
            Self::Authenticode { name, holders } => {
                let first = holders.first().context("a place in no file")?;
                let signed: Arc<Vec<u8>> =
                    authenticode::sign_for(image.content(*first).to_vec(), &*signers.db, name)
                        .with_context(|| format!("signing {name}"))?
                        .into();
                for holder in holders {
                    image.replace(*holder, &signed);
                }
                Ok(())
            }
        }
    }
}

/// What the signature of a root hash is for, for signers.
pub const ROOT_HASH: &str = "root hash of /usr";

fn sign_root_hash(image: &mut Image, holders: &[Holder], signer: &dyn Signer) -> Result<()> {
    let root_hash = image.manifest.root_hash;
    for holder in holders {
        let trusted = inspect::facts::root_hash(&Pe::parse(image.content(*holder))?);
        ensure!(
            trusted == Some(root_hash),
            "the manifest has the root hash {root_hash}, and the UKI trusts another"
        );
    }
    let p7s = signature::p7s(&root_hash, &WithPurpose(signer, ROOT_HASH))?;
    let segment = root_hash_signature::segment(Some(&p7s))?;
    for holder in holders {
        let mut uki = image.content(*holder).to_vec();
        root_hash_range(&uki)
            .and_then(|range| uki.get_mut(range))
            .context("the UKI has no place for the signature")?
            .copy_from_slice(&segment);
        image.replace(*holder, &uki.into());
    }
    if let Some(partition) = &mut image.signature {
        let size = partition.content.len();
        partition.content = signature::partition(&root_hash, signer.certificate(), &p7s, size)?;
    }
    Ok(())
}

impl Image {
    fn content(&self, holder: Holder) -> &[u8] {
        match holder {
            Holder::Uki => &self.uki,
            Holder::Esp(number) => self
                .files
                .get(number)
                .map_or(&[], |file| file.data.as_slice()),
        }
    }

    fn replace(&mut self, holder: Holder, data: &Arc<Vec<u8>>) {
        match holder {
            Holder::Uki => self.uki = Arc::clone(data),
            Holder::Esp(number) => {
                if let Some(file) = self.files.get_mut(number) {
                    file.data = Arc::clone(data);
                }
            }
        }
    }
}

/// `to-sign.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToSign {
    /// Version of this format: 1.
    pub to_sign: u32,
    /// `os.id`.
    pub id: String,
    /// `os.version`.
    pub version: String,
    /// What to sign.
    pub places: Vec<ListedPlace>,
}

/// One signature of [`ToSign`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedPlace {
    /// What it is, for people.
    pub name: String,
    /// `root-hash` or `authenticode`.
    pub kind: String,
    /// Which key signs: `db` or `verity`.
    pub key: String,
    /// SHA-256 of the key's certificate.
    pub certificate_sha256: Sha256,
    /// `rsassa-pkcs1-v1_5-sha256`.
    pub algorithm: String,
    /// The SHA-256 that is signed, where it is known: that of a UKI depends on the signature of the
    /// root hash in it.
    pub digest: Option<Sha256>,
    /// What it is the digest of, in base64: the root hash in hexadecimal, or the signed attributes
    /// (DER).
    pub content: Option<String>,
    /// The Authenticode digest, from which the signed attributes are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authenticode_digest: Option<Sha256>,
    /// The place that has to be filled before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Where the signature belongs.
    pub files: Vec<ListedFile>,
}

/// A range of a file in which a signature belongs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedFile {
    /// File of the output directory.
    pub file: String,
    /// Path on its EFI system partition, or the partition's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Byte offset in `file` of the certificate table, the last archive of the initrd, or the
    /// partition.
    pub offset: u64,
    /// Its length.
    pub length: u64,
}

/// What is to be signed in `image` with the keys of `trust`.
pub(super) fn to_sign(image: &Image, trust: &Trust) -> Result<ToSign> {
    let places = places(image)
        .into_iter()
        .map(|place| list(image, &place, trust))
        .collect::<Result<_>>()?;
    Ok(ToSign {
        to_sign: VERSION,
        id: image.manifest.id.clone(),
        version: image.manifest.version.clone(),
        places,
    })
}

fn list(image: &Image, place: &Place, trust: &Trust) -> Result<ListedPlace> {
    let role = place.role();
    let certificate = trust
        .certificate(role)
        .with_context(|| format!("there is no {}", role.certificate_file()))?;
    let listed = ListedPlace {
        name: String::new(),
        kind: String::new(),
        key: role.name().into(),
        certificate_sha256: Sha256::of(certificate),
        algorithm: crate::sign::command::ALGORITHM.into(),
        digest: None,
        content: None,
        authenticode_digest: None,
        after: None,
        files: Vec::new(),
    };
    match place {
        Place::RootHash { holders } => {
            let content = image.manifest.root_hash.to_string();
            let mut files = files(image, holders, root_hash_range)?;
            if let Some(partition) = &image.signature {
                let length = partition.content.len() as u64;
                files.push(ListedFile {
                    file: DISK.into(),
                    path: Some(SIGNATURE_PARTITION.into()),
                    offset: partition.at,
                    length,
                });
                files.extend(image.manifest.artefact(SIGNATURE).map(|file| ListedFile {
                    file: file.name.clone(),
                    path: None,
                    offset: 0,
                    length,
                }));
            }
            Ok(ListedPlace {
                name: ROOT_HASH.into(),
                kind: "root-hash".into(),
                digest: Some(Sha256::of(content.as_bytes())),
                content: Some(base64::encode(content.as_bytes())),
                files,
                ..listed
            })
        }
        Place::Authenticode { name, holders } => {
            let first = image.content(*holders.first().context("a place in no file")?);
            let files = files(image, holders, certificate_table)?;
            let listed = ListedPlace {
                name: name.clone(),
                kind: "authenticode".into(),
                files,
                ..listed
            };
            if root_hash_range(first).is_some() {
                return Ok(ListedPlace {
                    after: Some(ROOT_HASH.into()),
                    ..listed
                });
            }
            let what = authenticode::to_sign(first)?;
            Ok(ListedPlace {
                digest: Some(Sha256(what.attributes_digest)),
                content: Some(base64::encode(&what.attributes)),
                authenticode_digest: Some(Sha256(what.digest)),
                ..listed
            })
        }
    }
}

fn certificate_table(program: &[u8]) -> Option<Range<usize>> {
    let start = authenticode::place(&Pe::parse(program).ok()?)?;
    Some(start..start + authenticode::PLACE)
}

/// Where in the files of the output a range of `holders` is.
fn files(
    image: &Image,
    holders: &[Holder],
    range: fn(&[u8]) -> Option<Range<usize>>,
) -> Result<Vec<ListedFile>> {
    let disk = image.open_disk()?;
    let mut esp = EspReader::open(&disk, image.esp_at)?;
    let mut files = Vec::new();
    for holder in holders {
        let range = range(image.content(*holder)).context("a program without its place")?;
        let (file, path, base) = match holder {
            Holder::Uki => (image.uki_name.clone(), None, 0),
            Holder::Esp(number) => {
                let file = image.files.get(*number).context("no such file")?;
                let (at, _) = esp
                    .location(&file.path)?
                    .with_context(|| format!("{} does not lie in one piece", file.path))?;
                (DISK.into(), Some(file.path.clone()), image.esp_at + at)
            }
        };
        files.push(ListedFile {
            file,
            path,
            offset: base + range.start as u64,
            length: range.len() as u64,
        });
    }
    Ok(files)
}
