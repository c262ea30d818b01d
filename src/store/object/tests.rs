use std::fs::{self, File};
use std::path::PathBuf;

use super::format::{ALIGN, PIECE};
use super::*;

const KIND: &str = "test";

struct Made {
    _dir: tempfile::TempDir,
    path: PathBuf,
    key: blake3::Hash,
    parts: Vec<Vec<u8>>,
    ranges: Vec<Range<u64>>,
}

fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

fn made(lengths: &[usize]) -> Made {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("object");
    let key = blake3::hash(b"key");
    let parts: Vec<_> = lengths.iter().map(|&len| noise(len)).collect();
    let mut data = NewData::default();
    let ranges = parts.iter().map(|part| data.add(part)).collect();
    let file = File::create(&path).unwrap();
    let len = write(&file, KIND, &key, b"head", &data).unwrap();
    assert_eq!(len, fs::metadata(&path).unwrap().len());
    Made {
        _dir: dir,
        path,
        key,
        parts,
        ranges,
    }
}

impl Made {
    fn open_as(&self, kind: &str, key: &blake3::Hash) -> Result<Arc<ObjectFile>, DamagedObject> {
        let file = Arc::new(File::open(&self.path).unwrap());
        let damage = Arc::default();
        let (object, head) = ObjectFile::open(file, &self.path, "the test", (kind, key), &damage)?;
        assert_eq!(head, b"head");
        Ok(object)
    }

    fn open(&self) -> Result<Arc<ObjectFile>, DamagedObject> {
        self.open_as(KIND, &self.key)
    }
}

#[test]
fn parts_come_back_whole_and_in_pieces() {
    let piece = PIECE as usize;
    let made = made(&[4096, 0, 3 * piece + 8192, 100, piece + 1]);
    let object = made.open().unwrap();
    assert_eq!(object.raw().1 % ALIGN, 0);
    object.check().unwrap();
    for (part, range) in made.parts.iter().zip(&made.ranges) {
        let stored = StoredData::new(&object, range.clone()).unwrap();
        let len = part.len() as u64;
        assert_eq!(stored.len(), len);
        for (from, to) in [
            (0, len),
            (0, len + 1),
            (len.saturating_sub(4096), len),
            (len / 3, len / 2),
            (PIECE - 1, PIECE + 1),
            (len, len),
        ] {
            let wanted = part.get(from as usize..to.min(len) as usize);
            assert_eq!(stored.read(from..to).unwrap(), wanted.unwrap_or_default());
        }
    }
    let beyond = object.len()..object.len() + 1;
    StoredData::new(&object, beyond).unwrap_err();
}

#[test]
fn objects_without_data_are_objects() {
    let made = made(&[]);
    let object = made.open().unwrap();
    assert!(object.is_empty());
    assert_eq!(object.read(0..0).unwrap(), b"");
    object.read(0..1).unwrap_err();
}

#[test]
fn a_flipped_bit_anywhere_is_found_when_it_is_read_and_not_before() {
    let made = made(&[8192, 5000]);
    let whole = fs::read(&made.path).unwrap();
    let data_at = made.open().unwrap().raw().1 as usize;
    for at in (0..whole.len()).filter(|at| at % 37 == 0 || *at < 160) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&made.path, bytes).unwrap();
        let opened = made.open();
        if at >= data_at {
            let object = opened.unwrap();
            let read = |part: usize| object.read(made.ranges[part].clone());
            assert_eq!(read(0).is_ok(), at - data_at >= 8192, "byte {at}");
            assert_eq!(read(1).is_ok(), at - data_at < 8192, "byte {at}");
            object.check().unwrap_err();
        } else {
            // Only the zeros between the piece table and the data are nobody's.
            let front = format::HEADER + b"head".len() + 4 * format::TABLE_ENTRY;
            assert_eq!(opened.is_ok(), at >= front, "byte {at}");
        }
    }
}

#[test]
fn what_is_cut_longer_or_of_another_name_is_refused() {
    let made = made(&[4096]);
    for (kind, key) in [("other", made.key), (KIND, blake3::hash(b"other"))] {
        made.open_as(kind, &key).unwrap_err();
    }
    let whole = fs::read(&made.path).unwrap();
    for len in [0, 1, 127, 128, 131, 4096, whole.len() - 1] {
        fs::write(&made.path, &whole[..len]).unwrap();
        made.open().unwrap_err();
    }
    fs::write(&made.path, [whole.as_slice(), b"x"].concat()).unwrap();
    let error = made.open().unwrap_err();
    assert!(error.to_string().contains("the test in"), "{error}");
    // Cut while it is open.
    fs::write(&made.path, &whole).unwrap();
    let object = made.open().unwrap();
    fs::write(&made.path, &whole[..whole.len() - 1]).unwrap();
    let error = object.read(0..4096).unwrap_err();
    assert!(error.problem.contains("cut short"), "{error}");
}
