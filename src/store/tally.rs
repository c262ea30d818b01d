//! What the cache takes, without looking at all of its files.
//!
//! The file `size` of the cache holds decimal numbers, a line each: the bytes that were there when all
//! files were counted last, then what each process has added. What processes evict meanwhile or write
//! twice makes the sum too high, and a line that is lost because somebody counts at that moment makes it
//! too low; so it serves to tell when to count, and is not believed for long.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Result;

use super::Store;

/// At most so many processes add to a count before the next one counts again.
const TRUSTED: usize = 64;

fn file(store: &Store) -> PathBuf {
    store.root().join("size")
}

/// Begins with `bytes`, which were counted. Failing to only costs another count.
pub(super) fn begin(store: &Store, bytes: u64) {
    let _ = replace(store, bytes);
}

fn replace(store: &Store, bytes: u64) -> Result<()> {
    let mut temp = store.temp()?;
    temp.write_all(format!("{bytes}\n").as_bytes())?;
    temp.rename(&file(store))
}

/// Adds `bytes`, and returns what the cache takes now; nothing where it has to be counted.
pub(super) fn add(store: &Store, bytes: u64) -> Option<u64> {
    let path = file(store);
    let mut known = OpenOptions::new().append(true).open(&path).ok()?;
    // In one piece, which no other process's gets into (open(2), O_APPEND).
    known.write_all(format!("{bytes}\n").as_bytes()).ok()?;
    let text = fs::read_to_string(&path).ok()?;
    if text.lines().count() > TRUSTED {
        return None;
    }
    text.lines()
        .map(|line| line.parse::<u64>().ok())
        .try_fold(0_u64, |sum, line| sum.checked_add(line?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_add_up_until_they_are_to_be_counted_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let names = || fs::read_dir(dir.path()).unwrap().count();
        let folders = names();
        assert_eq!(add(&store, 5), None);
        begin(&store, 100);
        assert_eq!(add(&store, 5), Some(105));
        assert_eq!(add(&store, 7), Some(112));
        begin(&store, 3);
        for number in 1..TRUSTED as u64 {
            assert_eq!(add(&store, 1), Some(3 + number));
        }
        assert_eq!(add(&store, 1), None);
        for damaged in [
            "",
            "x\n",
            "9999999999999999999999\n",
            "18446744073709551615\n",
        ] {
            fs::write(file(&store), damaged).unwrap();
            let sum = add(&store, 1);
            // An empty file is one from before the first count.
            assert!(sum.is_none() || damaged.is_empty(), "{damaged:?}: {sum:?}");
        }
        assert_eq!(names(), folders + 1);
        let left = fs::read_dir(dir.path().join("tmp")).unwrap().flatten();
        assert_eq!(
            left.filter(|file| file.file_name() != super::super::temp::LOCK)
                .count(),
            0
        );
    }
}
