//! The places for signatures in an image, and `to-sign.json`, which lists them for a machine that has
//! the keys and not the image.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use base64ct::{Base64, Encoding as _};
use serde::{Deserialize, Serialize};

use super::image::{DISK, Image};
use crate::digest::Sha256;
use crate::esp::EspReader;
use crate::sign::{Role, Signers, Trust, authenticode};
use crate::uki::read::Pe;

/// File name of the list.
pub const TO_SIGN: &str = "to-sign.json";
/// Version of its format.
const VERSION: u32 = 1;

/// One signature, which may stand in several files.
#[derive(Debug)]
pub(super) enum Place {
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
    let mut groups: Vec<(&Arc<[u8]>, Vec<Holder>)> = Vec::new();
    let files = image.files.iter().enumerate();
    let programs = files
        .map(|(number, file)| (&file.data, Holder::Esp(number)))
        .chain([(&image.uki, Holder::Uki)])
        .filter(|(data, _)| Pe::parse(data).is_ok_and(|pe| authenticode::place(&pe).is_some()));
    for (data, holder) in programs {
        match groups.iter_mut().find(|(known, _)| *known == data) {
            Some((_, holders)) => holders.push(holder),
            None => groups.push((data, vec![holder])),
        }
    }
    groups
        .into_iter()
        .map(|(_, holders)| Place::Authenticode {
            name: name(image, &holders),
            holders,
        })
        .collect()
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
        }
    }

    /// Signs the place in `image`.
    pub fn fill(&self, image: &mut Image, signers: &Signers) -> Result<()> {
        match self {
            Self::Authenticode { name, holders } => {
                let first = holders.first().context("a place in no file")?;
                let signed: Arc<[u8]> =
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

impl Image {
    fn content(&self, holder: Holder) -> &[u8] {
        match holder {
            Holder::Uki => &self.uki,
            Holder::Esp(number) => self.files.get(number).map_or(&[], |file| &file.data),
        }
    }

    fn replace(&mut self, holder: Holder, data: &Arc<[u8]>) {
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
    /// `authenticode`.
    pub kind: String,
    /// Which key signs: `db` or `verity`.
    pub key: String,
    /// SHA-256 of the key's certificate.
    pub certificate_sha256: Sha256,
    /// `rsassa-pkcs1-v1_5-sha256`.
    pub algorithm: String,
    /// The SHA-256 that is signed.
    pub digest: Sha256,
    /// What it is the digest of: the signed attributes, DER in base64.
    pub signed_attributes: String,
    /// The Authenticode digest that the signed attributes hold the hash of the hash of.
    pub authenticode_digest: Sha256,
    /// Where the signature belongs.
    pub files: Vec<ListedFile>,
}

/// A range of a file in which a signature belongs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedFile {
    /// File of the output directory.
    pub file: String,
    /// Path on its EFI system partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Byte offset of the certificate table in `file`.
    pub offset: u64,
    /// Its length.
    pub length: u64,
}

/// What is to be signed in `image` with the keys of `trust`.
pub(super) fn to_sign(image: &Image, trust: &Trust) -> Result<ToSign> {
    let disk = image.open_disk()?;
    let mut esp = EspReader::open(&disk, image.esp_at)?;
    let mut listed = Vec::new();
    for place in places(image) {
        let role = place.role();
        let Place::Authenticode { name, holders } = place;
        let first = holders.first().context("a place in no file")?;
        let content = image.content(*first);
        let what = authenticode::to_sign(content)?;
        let inside = authenticode::place(&Pe::parse(content)?).unwrap_or_default() as u64;
        let mut files = Vec::new();
        for holder in &holders {
            files.push(match holder {
                Holder::Uki => ListedFile {
                    file: image.uki_name.clone(),
                    path: None,
                    offset: inside,
                    length: authenticode::PLACE as u64,
                },
                Holder::Esp(number) => {
                    let file = image.files.get(*number).context("no such file")?;
                    let (at, _) = esp
                        .location(&file.path)?
                        .with_context(|| format!("{} does not lie in one piece", file.path))?;
                    ListedFile {
                        file: DISK.into(),
                        path: Some(file.path.clone()),
                        offset: image.esp_at + at + inside,
                        length: authenticode::PLACE as u64,
                    }
                }
            });
        }
        listed.push(ListedPlace {
            name,
            kind: "authenticode".into(),
            key: role.name().into(),
            certificate_sha256: trust.fingerprint(),
            algorithm: crate::sign::command::ALGORITHM.into(),
            digest: Sha256(what.attributes_digest),
            signed_attributes: Base64::encode_string(&what.attributes),
            authenticode_digest: Sha256(what.digest),
            files,
        });
    }
    Ok(ToSign {
        to_sign: VERSION,
        id: image.manifest.id.clone(),
        version: image.manifest.version.clone(),
        places: listed,
    })
}
