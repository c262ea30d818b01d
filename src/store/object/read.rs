//! Reading an object file: positioned reads, each checked.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::format::{HEADER, Header, PIECE, kind_bytes, take};

/// An object whose bytes are not those that were written. Whoever finds one throws it away and makes
/// it again ([`Store::discard_damaged`](crate::store::Store::discard_damaged)).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} in {} is damaged: {problem}", path.display())]
pub struct DamagedObject {
    /// Where it lies.
    pub path: PathBuf,
    /// What it is of, for people.
    pub what: String,
    /// What is wrong.
    pub problem: String,
}

/// What a process has found to be damaged.
pub type DamageList = Mutex<Vec<DamagedObject>>;

/// An open object. It stays readable when its name goes.
#[derive(Debug)]
pub struct ObjectFile {
    file: Arc<File>,
    path: PathBuf,
    what: String,
    data_at: u64,
    /// End and BLAKE3 of each piece of the data.
    pieces: Vec<(u64, [u8; 32])>,
    damage: Arc<DamageList>,
}

/// Something that is wrong with a file, before it is known which.
type Problem = String;

impl ObjectFile {
    /// Opens the object of `kind` under `key` whose name is, or will be, `path`; `what` names it to
    /// people. Returns it with its head.
    ///
    /// # Errors
    /// The file is damaged, or cannot be read.
    pub fn open(
        file: Arc<File>,
        path: &Path,
        what: &str,
        (kind, key): (&str, &blake3::Hash),
        damage: &Arc<DamageList>,
    ) -> Result<(Arc<Self>, Vec<u8>), DamagedObject> {
        match front(&file, kind, key) {
            Ok((header, head, pieces)) => {
                let object = Self {
                    file,
                    path: path.to_owned(),
                    what: what.to_owned(),
                    data_at: header.data_at().unwrap_or(u64::MAX),
                    pieces,
                    damage: Arc::clone(damage),
                };
                Ok((Arc::new(object), head))
            }
            Err(problem) => Err(DamagedObject {
                path: path.to_owned(),
                what: what.to_owned(),
                problem,
            }),
        }
    }

    /// Length of the data.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.pieces.last().map_or(0, |piece| piece.0)
    }

    /// Whether there is no data.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The file, and where in it the data begins: for copies that do not pass through memory. They
    /// are not checked.
    #[must_use]
    pub fn raw(&self) -> (&File, u64) {
        (&self.file, self.data_at)
    }

    /// Remembers that the object is damaged, for its user to throw it away.
    pub fn damaged(&self, problem: impl Into<String>) -> DamagedObject {
        let damaged = DamagedObject {
            path: self.path.clone(),
            what: self.what.clone(),
            problem: problem.into(),
        };
        self.damage
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(damaged.clone());
        damaged
    }

    /// The bytes `range` of the data, as they were written.
    ///
    /// # Errors
    /// They no longer are.
    pub fn read(&self, range: Range<u64>) -> Result<Vec<u8>, DamagedObject> {
        let mut bytes = Vec::new();
        let wanted = self.read_into(range, &mut bytes)?;
        bytes.truncate(wanted.end);
        bytes.drain(..wanted.start);
        Ok(bytes)
    }

    /// As [`Self::read`], into `buffer`, where they have the range that is returned. Whoever reads
    /// much takes the same buffer again: the kernel need not give and take its memory each time.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_into(
        &self,
        range: Range<u64>,
        buffer: &mut Vec<u8>,
    ) -> Result<Range<usize>, DamagedObject> {
        if range.start >= range.end {
            return Ok(0..0);
        }
        if range.end > self.len() {
            return Err(self.damaged("its head speaks of data that it does not have"));
        }
        let first = self.pieces.partition_point(|piece| piece.0 <= range.start);
        let start = match first.checked_sub(1).and_then(|n| self.pieces.get(n)) {
            Some(before) => before.0,
            None => 0,
        };
        let last = self.pieces.partition_point(|piece| piece.0 < range.end);
        let covering = self.pieces.get(first..=last).unwrap_or_default();
        let end = covering.last().map_or(start, |piece| piece.0);
        let len = (end - start) as usize;
        if buffer.len() < len {
            buffer.resize(len, 0);
        }
        let bytes = &mut buffer[..len];
        if let Err(error) = self
            .file
            .read_exact_at(bytes, self.data_at.saturating_add(start))
        {
            return Err(self.damaged(unreadable(&error)));
        }
        let mut at = start;
        for (end, sum) in covering {
            let piece = bytes
                .get((at - start) as usize..(end - start) as usize)
                .unwrap_or_default();
            if blake3::hash(piece).as_bytes() != sum {
                return Err(self.damaged(format!(
                    "the checksum of bytes {at} to {end} of its data does not match"
                )));
            }
            at = *end;
        }
        Ok((range.start - start) as usize..(range.end - start) as usize)
    }

    /// A checksum of the bytes `range` of the data, from those of the pieces in it.
    #[must_use]
    pub fn sum(&self, range: Range<u64>) -> blake3::Hash {
        let first = self.pieces.partition_point(|piece| piece.0 <= range.start);
        let last = self.pieces.partition_point(|piece| piece.0 <= range.end);
        let mut hash = blake3::Hasher::new();
        for (end, sum) in self.pieces.get(first..last).unwrap_or_default() {
            hash.update(&(end - range.start).to_le_bytes()).update(sum);
        }
        hash.update(&(range.end - range.start).to_le_bytes());
        hash.finalize()
    }

    /// Reads and checks all the data.
    ///
    /// # Errors
    /// Some of it is not what was written.
    pub fn check(&self) -> Result<(), DamagedObject> {
        let mut start = 0;
        for (end, _) in &self.pieces {
            self.read(start..*end)?;
            start = *end;
        }
        Ok(())
    }
}

fn unreadable(error: &io::Error) -> Problem {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "it is cut short".into(),
        _ => format!("it can't be read ({error})"),
    }
}

/// Header, head and piece table, all checked.
#[expect(
    clippy::type_complexity,
    reason = "taken apart at once by the one caller"
)]
fn front(
    file: &File,
    kind: &str,
    key: &blake3::Hash,
) -> Result<(Header, Vec<u8>, Vec<(u64, [u8; 32])>), Problem> {
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, 0)
        .map_err(|error| unreadable(&error))?;
    let header = Header::decode(&header)?;
    if header.kind != kind_bytes(kind) {
        return Err(format!("it is not of the kind `{kind}`"));
    }
    if header.key != *key.as_bytes() {
        return Err("it lies under the name of another".into());
    }
    let found = file.metadata().map_err(|error| unreadable(&error))?.len();
    // The file is that long, so its lengths can be trusted with memory.
    let (Some(front_len), true) = (header.front_len(), header.file_len() == Some(found)) else {
        return Err(format!(
            "it has {found} bytes, and its header tells of others"
        ));
    };
    let mut head = vec![0; front_len as usize];
    file.read_exact_at(&mut head, HEADER as u64)
        .map_err(|error| unreadable(&error))?;
    if *blake3::hash(&head).as_bytes() != header.head_sum {
        return Err("the checksum of its head does not match".into());
    }
    let table = head.split_off(header.head_len as usize);
    let mut rest = table.as_slice();
    let mut pieces = Vec::with_capacity(header.pieces as usize);
    let mut end = 0_u64;
    while let (Some(len), Some(sum)) = (take(&mut rest), take(&mut rest)) {
        let len = u64::from(u32::from_le_bytes(len));
        if len == 0 || len > PIECE {
            return Err(format!("a piece of its data has {len} bytes"));
        }
        end += len;
        pieces.push((end, sum));
    }
    if end != header.data_len {
        return Err("its pieces do not add up to its data".into());
    }
    Ok((header, head, pieces))
}
