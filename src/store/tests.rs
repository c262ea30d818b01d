use super::*;
use crate::failure::{Kind, kind_of};

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("cache")).unwrap();
    (dir, store)
}

#[test]
fn content_is_found_by_its_hash_and_damage_is_noticed() {
    let (_dir, store) = store();
    let (sha, path) = store.put(b"hello").unwrap();
    assert_eq!(sha, Sha256::of(b"hello"));
    assert_eq!(store.download(&sha), Some(path.clone()));
    assert_eq!(store.verify(&sha).unwrap(), Some(path.clone()));
    fs::write(&path, b"hallo").unwrap();
    assert_eq!(store.download_sized(&sha, 5), Some(path.clone()));
    assert_eq!(store.verify(&sha).unwrap(), None);
    assert!(!path.exists());
    store.put(b"hello").unwrap();
    fs::write(&path, b"hell").unwrap();
    assert_eq!(store.download_sized(&sha, 5), None);
    assert!(!path.exists());
    store.put(b"hello").unwrap();
    assert_eq!(store.download_sized(&sha, 6), None);
    assert!(
        path.exists(),
        "a wrong size in a lock must not cost the content"
    );
}

#[test]
fn temporary_files_of_the_living_stay_and_those_of_the_dead_go() {
    let (_dir, store) = store();
    let temp = store.temp().unwrap();
    let dead = store.folder("tmp").join("1-1");
    fs::write(&dead, b"left behind").unwrap();
    Store::open(store.root()).unwrap();
    assert!(temp.path().exists());
    assert!(!dead.exists());
    let path = temp.path().to_path_buf();
    drop(temp);
    assert!(!path.exists());
}

#[test]
fn many_writers_of_one_content_agree() {
    let (_dir, store) = store();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let own = Store::open(store.root()).unwrap();
                for n in 0..20_u8 {
                    own.put(&[n; 1000]).unwrap();
                }
            });
        }
    });
    for n in 0..20_u8 {
        assert!(store.verify(&Sha256::of(&[n; 1000])).unwrap().is_some());
    }
    assert_eq!(fs::read_dir(store.folder("tmp")).unwrap().count(), 1);
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    // Nobody may make folders in sysfs, not even root.
    let error = Store::open(Path::new("/sys/hullwright-cache")).unwrap_err();
    assert_eq!(kind_of(&error), Kind::Environment);
    assert!(
        error.to_string().contains("/sys/hullwright-cache"),
        "{error}"
    );
}

#[test]
fn a_full_disk_is_told_with_the_path_and_a_way_out() {
    let mut full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let error = io::Write::write_all(&mut full, b"x").unwrap_err();
    let failure = environment("writing", Path::new("/dev/full"), &error);
    assert_eq!(failure.kind, Kind::Environment);
    assert!(failure.message.contains("/dev/full"));
    assert!(failure.hints[0].contains("HULLWRIGHT_CACHE"));
}
