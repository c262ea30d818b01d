//! Proves an image whole: `/usr` against its hash tree and the root hash that the UKI trusts, EFI
//! programs against their signatures.

use std::io::{self, Read};

use anyhow::{Context as _, Result, anyhow};
use serde::Serialize;

use super::facts::{root_hash, signatures};
use super::subject::{Slot, Subject};
use crate::digest::Sha256;
use crate::disk::usr_partuuids;
use crate::erofs::ReadAt;
use crate::failure::{Failure, Kind};
use crate::uki::Pe;
use crate::verity::format::{BLOCK, SUPER_SIZE, levels};
use crate::verity::{self, SuperBlock};

/// Hash trees are read into memory; this is one for 128 GiB.
const MAX_TREE: u64 = 1 << 30;

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// What.
    pub what: String,
    /// Why it is not whole; nothing when it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Reads a source from start to end.
struct Sequential<'a> {
    source: &'a dyn ReadAt,
    at: u64,
    end: u64,
}

impl Read for Sequential<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = (self.end - self.at).min(buffer.len() as u64) as usize;
        self.source.read_exact_at(self.at, &mut buffer[..len])?;
        self.at += len as u64;
        Ok(len)
    }
}

/// Checks a slot against the root hash `expected`; returns how many bytes it covers.
fn check_slot(slot: &Slot, expected: &Sha256) -> Result<u64> {
    let device = slot
        .verity
        .as_ref()
        .context("there is no usr.verity beside it")?;
    let mut head = [0; SUPER_SIZE];
    device
        .read_exact_at(0, &mut head)
        .context("reading the hash device")?;
    let superblock = SuperBlock::parse(&head)?;
    let needed = levels(superblock.data_blocks)
        .iter()
        .sum::<u64>()
        .saturating_add(1)
        .saturating_mul(BLOCK as u64);
    let tree_len = needed.min(device.size()?);
    if tree_len > MAX_TREE {
        return Err(anyhow!("its hash tree claims {needed} bytes"));
    }
    let mut tree = vec![0; tree_len as usize];
    device
        .read_exact_at(0, &mut tree)
        .context("reading the hash device")?;
    let covered = superblock.data_blocks.saturating_mul(BLOCK as u64);
    let size = slot.usr.size()?;
    // A partition is larger than what it holds; a file ends where its tree does.
    let end = if slot.partuuids.is_some() {
        covered.min(size)
    } else {
        size
    };
    let mut image = Sequential {
        source: &slot.usr,
        at: 0,
        end,
    };
    verity::verify(&mut image, &tree, expected)?;
    if let Some(ids) = slot.partuuids
        && ids != usr_partuuids(expected)
    {
        return Err(anyhow!("its PARTUUIDs are not the halves of the root hash"));
    }
    Ok(covered)
}

/// Checks everything that can be checked. With `expected`, that root hash instead of the UKI's.
///
/// # Errors
/// There is nothing to check against, or something can't be read; what is damaged is in the list.
pub fn check(subject: &Subject, expected: Option<Sha256>) -> Result<Vec<Checked>> {
    let mut out = Vec::new();
    let mut roots = Vec::new();
    let mut root_signatures = Vec::new();
    for place in subject.program_places()? {
        let program = match subject.program(place.clone()) {
            Ok(program) => program,
            Err(error) => {
                let problem = Some(format!("{error:#}"));
                let what = place;
                out.push(Checked { what, problem });
                continue;
            }
        };
        let problem = match signatures(&program.data) {
            Err(error) => Some(format!("{error:#}")),
            Ok(list) if list.is_empty() => Some("it is not signed".into()),
            // Any one signature lets firmware start it.
            Ok(list) if list.iter().any(|signature| signature.valid) => None,
            Ok(list) => list.into_iter().find_map(|signature| signature.problem),
        };
        if problem.is_none()
            && let Ok(pe) = Pe::parse(&program.data)
            && let Some(hash) = root_hash(&pe)
        {
            roots.push(hash);
            if let Err(error) = super::root_hash::check_uki(&pe) {
                let what = format!("root hash's signature in {place}");
                let problem = Some(format!("{error:#}"));
                out.push(Checked { what, problem });
            }
            if let Some(p7s) = super::root_hash::of_uki(&pe) {
                root_signatures.push((hash, p7s.to_vec()));
            }
        }
        let what = format!("signature of {place}");
        out.push(Checked { what, problem });
    }
    for slot in &subject.slots {
        let what = format!("/usr of slot {} ({})", slot.name, slot.label);
        let wanted = expected.or_else(|| {
            let named = |hash: &&Sha256| slot.partuuids.is_none_or(|p| p == usr_partuuids(hash));
            roots.iter().find(named).or(roots.first()).copied()
        });
        let problem = match wanted {
            None => Some("no UKI with a good signature names a root hash; see --root-hash".into()),
            Some(wanted) => check_slot(slot, &wanted)
                .and_then(|_| super::root_hash::check_slot(slot, &wanted, &root_signatures))
                .err()
                .map(|error| format!("{error:#}")),
        };
        out.push(Checked { what, problem });
    }
    if let Some(table) = &subject.table {
        out.push(Checked {
            what: "partition table".into(),
            problem: table
                .from_backup
                .then(|| "the primary table is damaged, its backup is good".into()),
        });
    }
    if out.is_empty() {
        let path = subject.path.display();
        return Err(Failure::new(Kind::Usage, format!("{path} has nothing to verify")).into());
    }
    Ok(out)
}
