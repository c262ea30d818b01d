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

fn flip_last_byte(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn an_object_is_there_at_once_and_has_its_name_when_the_store_has_settled() {
    let (_dir, store) = store();
    let key = key_of(&[b"a"]);
    assert!(store.object(PACKAGE, &key, "x").unwrap().is_none());
    let mut data = NewData::default();
    let range = data.add(&b"content"[..]);
    let made = store
        .keep_object(PACKAGE, &key, "x", b"head", &data)
        .unwrap();
    assert_eq!(made.read(range.clone()).unwrap(), b"content");
    let (found, head) = store.object(PACKAGE, &key, "x").unwrap().unwrap();
    assert_eq!(found.read(range.clone()).unwrap(), b"content");
    assert_eq!(head, b"head");
    store.settle();
    let path = store.object_path(PACKAGE, &key);
    assert!(path.is_file());
    let again = Store::open(store.root()).unwrap();
    assert!(again.object(PACKAGE, &key, "x").unwrap().is_some());
    assert!(again.object("other", &key, "x").unwrap().is_none());
    // Eviction does not disturb who reads.
    fs::remove_file(&path).unwrap();
    assert_eq!(found.read(range).unwrap(), b"content");
    assert!(again.object(PACKAGE, &key, "x").unwrap().is_none());
    assert!(store.keep_object("no/kind", &key, "x", b"", &data).is_err());
}

#[test]
fn a_dropped_store_has_kept_its_objects() {
    let (_dir, store) = store();
    let (key, root) = (key_of(&[b"a"]), store.root().to_owned());
    store
        .keep_object(PACKAGE, &key, "x", b"head", &NewData::default())
        .unwrap();
    let path = store.object_path(PACKAGE, &key);
    drop(store);
    assert!(path.is_file());
    assert_eq!(fs::read_dir(root.join("tmp")).unwrap().count(), 1);
}

#[test]
fn results_are_kept_and_damaged_ones_are_missing() {
    let (_dir, store) = store();
    let key = key_of(&[b"k", b"l"]);
    assert_ne!(key, key_of(&[b"kl"]));
    assert_eq!(store.derived("leaves", &key).unwrap(), None);
    store.keep_derived("leaves", &key, b"hashes").unwrap();
    assert_eq!(store.derived("leaves", &key).unwrap().unwrap(), b"hashes");
    assert_eq!(store.derived("index", &key).unwrap(), None);
    let path = store.object_path("leaves", &key);
    let mut bytes = fs::read(&path).unwrap();
    bytes[130] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(store.derived("leaves", &key).unwrap(), None);
    assert!(!path.exists());
}

#[test]
fn blobs_are_read_from_their_files_and_damage_is_told_and_mended() {
    use crate::erofs::Blob;
    let (_dir, store) = store();
    let key = key_of(&[b"pack"]);
    let plain: Vec<u8> = (0..90_000_u32).flat_map(u32::to_le_bytes).collect();
    let settings = crate::profile::schema::Root::default()
        .compression
        .settings();
    let blob = Blob::compile(&plain, &settings);
    assert!(store.derived_blob("pack", &key).unwrap().is_none());
    let kept = store.keep_derived_blob("pack", &key, &blob).unwrap();
    let found = store.derived_blob("pack", &key).unwrap().unwrap();
    for stored in [&kept, &found] {
        assert!(stored.data().stored().is_some());
        assert_eq!(stored.read().unwrap(), plain);
        assert_eq!(stored.hash(), blob.hash());
        assert_eq!(stored.chunks(), blob.chunks());
        assert_eq!(stored.data().read().unwrap(), blob.data().read().unwrap());
    }
    assert_eq!(store.discard_damaged(), 0);

    flip_last_byte(&store.object_path("pack", &key));
    let found = store.derived_blob("pack", &key).unwrap().unwrap();
    let error = found.read().unwrap_err();
    assert!(error.is::<DamagedObject>(), "{error:#}");
    assert_eq!(store.discard_damaged(), 1);
    assert!(store.derived_blob("pack", &key).unwrap().is_none());

    // From now on nothing is taken on trust.
    store.keep_derived_blob("pack", &key, &blob).unwrap();
    assert!(store.derived_blob("pack", &key).unwrap().is_some());
    flip_last_byte(&store.object_path("pack", &key));
    assert!(store.derived_blob("pack", &key).unwrap().is_none());
}

#[test]
fn writers_of_the_same_object_agree() {
    let (_dir, store) = store();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let own = Store::open(store.root()).unwrap();
                for n in 0..10_u8 {
                    let key = key_of(&[&[n]]);
                    let mut data = NewData::default();
                    data.add(vec![n; 10_000]);
                    own.keep_object(PACKAGE, &key, "x", b"", &data).unwrap();
                    own.keep_derived("leaves", &key, &[n; 100]).unwrap();
                }
            });
        }
    });
    for n in 0..10_u8 {
        let key = key_of(&[&[n]]);
        let (object, _) = store.object(PACKAGE, &key, "x").unwrap().unwrap();
        object.check().unwrap();
        assert_eq!(store.derived("leaves", &key).unwrap().unwrap(), [n; 100]);
    }
    assert_eq!(fs::read_dir(store.folder("tmp")).unwrap().count(), 1);
}

#[test]
fn room_is_made_for_what_is_used() {
    let (_dir, store) = store();
    let used = |path: &Path, hours: u64| {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        let time = fs::metadata(store.root()).unwrap().modified().unwrap();
        file.set_modified(time - std::time::Duration::from_secs(hours * 3600))
            .unwrap();
    };
    let age = |path: &Path| {
        let of = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        of(store.root())
            .duration_since(of(path))
            .unwrap_or_default()
            .as_secs()
            / 3600
    };
    let keys: Vec<_> = (0..4_u8).map(|n| key_of(&[&[n]])).collect();
    let paths: Vec<_> = keys
        .iter()
        .map(|key| store.object_path("test", key))
        .collect();
    for (key, (path, hours)) in keys.iter().zip(paths.iter().zip([5, 9, 7, 0])) {
        store.keep_derived("test", key, &[1; 9000]).unwrap();
        used(path, hours);
    }
    let release = store.folder("releases").join("x");
    fs::write(&release, "x").unwrap();
    used(&release, 99);
    let usage = store.usage().unwrap();
    assert_eq!(usage.derived["test"].files, 4);
    assert_eq!(store.make_room(usage.total.bytes).unwrap().removed.files, 0);

    // Used again.
    store.derived("test", &keys[1]).unwrap().unwrap();
    assert_eq!((age(&paths[1]), age(&paths[2])), (0, 7));
    let evicted = store.make_room(usage.total.bytes - 1).unwrap();
    assert_eq!(evicted.removed.files, 1);
    assert!(!paths[2].exists() && paths[0].exists() && paths[1].exists());

    store.set_limit(0);
    store.tidy();
    assert!(paths.iter().all(|path| !path.exists()));
    assert!(release.exists(), "it says how old an archive must not be");
    let (_, path) = store.put(b"download").unwrap();
    used(&path, 3);
    store.download(&Sha256::of(b"download")).unwrap();
    assert_eq!(age(&path), 0);
}
