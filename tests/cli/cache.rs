//! Compiled packages and downloads: kept, checked, evicted, carried elsewhere.

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::home::{Home, Ran, sha256};
use crate::site::{FIELDS, Site, packages};

/// What the packages of the site cannot be: a system. All of them are compiled before that shows.
const NO_SYSTEM: &str = "no package ships a kernel";

/// A user whose cache has the three packages of the site, downloaded and compiled.
fn compiled() -> (Site, Home) {
    let site = Site::new();
    site.publish(FIELDS, &packages());
    let home = site.home();
    home.good(&["lock", "p.yaml", "--quiet"]);
    build(&home, &[]);
    assert_eq!(objects(&home).len(), 3);
    (site, home)
}

/// Builds as far as it goes.
fn build(home: &Home, more: &[&str]) -> Ran {
    let ran = home.run(&[&["build", "p.yaml"], more].concat());
    assert_ne!(ran.status, 0, "{ran}");
    assert!(ran.stderr.contains(NO_SYSTEM), "{ran}");
    ran
}

fn objects(home: &Home) -> Vec<String> {
    let mut names = home.cached("objects");
    names.sort();
    names
}

fn object(home: &Home, name: &str) -> PathBuf {
    home.cache().join("objects").join(&name[..2]).join(name)
}

fn downloads(home: &Home) -> PathBuf {
    home.cache().join("downloads")
}

#[test]
fn compiled_packages_need_no_download_any_more() {
    let (site, home) = compiled();
    std::fs::remove_dir_all(downloads(&home)).unwrap();
    drop(site);
    let before = objects(&home);
    build(&home, &["--locked", "--offline"]);
    assert_eq!(objects(&home), before);
    std::fs::remove_file(object(&home, &before[0])).unwrap();
    let error = home.bad(&["build", "p.yaml", "--locked", "--offline"], 4);
    assert!(error.contains("1 of 3 locked packages"), "{error}");
}

#[test]
fn a_damaged_object_is_named_and_made_again() {
    let (_site, home) = compiled();
    let whole: Vec<_> = objects(&home)
        .iter()
        .map(|name| std::fs::read(object(&home, name)).unwrap())
        .collect();
    // Each in another way: header, head, length.
    for (name, bytes) in objects(&home).iter().zip(&whole) {
        let mut bytes = bytes.clone();
        match name {
            name if *name == objects(&home)[0] => bytes[20] ^= 1,
            name if *name == objects(&home)[1] => bytes[140] ^= 1,
            _ => bytes.truncate(200),
        }
        std::fs::write(object(&home, name), bytes).unwrap();
    }
    let ran = build(&home, &["--locked", "--offline"]);
    for package in ["alpha", "beta", "linux"] {
        let words = format!("the object of {package} ");
        assert!(ran.stderr.contains(&words), "{ran}");
    }
    assert!(ran.stderr.contains("is damaged"), "{ran}");
    for (name, bytes) in objects(&home).iter().zip(&whole) {
        assert!(std::fs::read(object(&home, name)).unwrap() == *bytes);
    }
    assert!(
        !build(&home, &["--locked", "--offline"])
            .stderr
            .contains("damaged")
    );
}

#[test]
fn verify_finds_what_is_damaged() {
    let (_site, home) = compiled();
    let said = home.good(&["cache", "verify"]);
    assert!(said.contains("files are whole"), "{said}");
    let name = objects(&home).remove(0);
    let path = object(&home, &name);
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let ran = home.run(&["cache", "verify", "--json"]);
    assert_eq!(ran.status, 4, "{ran}");
    let result = ran.last();
    assert_eq!(result["event"], "result");
    let damaged = result["damaged"].as_array().unwrap();
    assert_eq!(damaged.len(), 1, "{ran}");
    assert!(damaged[0]["path"].as_str().unwrap().ends_with(&name));
    assert!(!path.exists());
    home.good(&["cache", "verify"]);
    assert_eq!(home.kept(), home.kept());
}

#[test]
fn info_counts_what_is_there() {
    let (_site, home) = compiled();
    let info = |home: &Home| home.run(&["cache", "info", "--json"]).last().clone();
    let before = info(&home);
    assert_eq!(before["limit"], 10_u64 << 30);
    let folders = before["folders"].as_array().unwrap();
    let held = |name: &str| {
        let folder = folders.iter().find(|f| f["folder"] == name).unwrap();
        (
            folder["files"].as_u64().unwrap(),
            folder["bytes"].as_u64().unwrap(),
        )
    };
    assert_eq!(held("objects").0, 3);
    assert!(held("downloads").0 >= 3 && held("downloads").1 > 0);
    let said = home.good(&["cache", "info"]);
    assert!(
        said.contains("objects") && said.contains("of 10.0 GiB"),
        "{said}"
    );
    let path = home.good(&["cache", "path"]);
    assert!(
        path.trim_end().ends_with("home/.cache/hullwright"),
        "{path}"
    );
}

#[test]
fn what_was_not_used_for_longest_goes_first() {
    let (_site, home) = compiled();
    let names = objects(&home);
    let ago = |hours: u64| SystemTime::now() - Duration::from_secs(hours * 3600);
    for (name, hours) in names.iter().zip([30, 50, 40]) {
        let file = File::options()
            .write(true)
            .open(object(&home, name))
            .unwrap();
        file.set_modified(ago(hours)).unwrap();
    }
    let total = home.run(&["cache", "info", "--json"]).last()["bytes"]
        .as_u64()
        .unwrap();
    let limit = (total - 1).to_string();
    let ran = home.run(&["cache", "gc", "--limit", &limit, "--json"]);
    assert_eq!(ran.last()["removed"]["files"], 1, "{ran}");
    assert_eq!(objects(&home), [names[0].clone(), names[2].clone()]);
    // What a build uses is young again.
    build(&home, &["--locked", "--offline"]);
    for name in &names {
        let used = File::open(object(&home, name)).unwrap().metadata().unwrap();
        assert!(used.modified().unwrap() > ago(1), "{name}");
    }

    let mut command = home.command(&["build", "p.yaml", "--locked"]);
    std::fs::remove_file(object(&home, &names[0])).unwrap();
    let ran = home.finish(command.env("HULLWRIGHT_CACHE_LIMIT", "1 KiB"));
    assert!(ran.stderr.contains(NO_SYSTEM), "{ran}");
    assert!(objects(&home).is_empty(), "builds keep to the limit");
    build(&home, &["--locked"]);
    let said = home.good(&["cache", "gc", "--limit", "0"]);
    assert!(said.starts_with("removed "), "{said}");
    assert_eq!(
        (objects(&home).len(), home.cached("downloads").len()),
        (0, 0)
    );

    let mut command = home.command(&["cache", "info"]);
    let ran = home.finish(command.env("HULLWRIGHT_CACHE_LIMIT", "lots"));
    assert_eq!(ran.status, 2);
    assert!(
        ran.stderr.contains("HULLWRIGHT_CACHE_LIMIT is `lots`"),
        "{ran}"
    );
}

#[test]
fn a_bundle_carries_compiled_packages_to_another_machine() {
    let (site, home) = compiled();
    home.good(&["cache", "export", "a.tar.zst"]);
    home.good(&["cache", "export", "b.tar.zst"]);
    let bundle = std::fs::read(home.path("a.tar.zst")).unwrap();
    let again = std::fs::read(home.path("b.tar.zst")).unwrap();
    assert_eq!(sha256(&bundle), sha256(&again));

    let other = site.home();
    other.write("a.tar.zst", &bundle);
    other.write("p.x86_64.lock", home.read("p.x86_64.lock"));
    let ran = other.run(&["cache", "import", "a.tar.zst", "--json"]);
    assert_eq!((ran.status, &ran.last()["known"]), (0, &0.into()), "{ran}");
    assert_eq!(objects(&other), objects(&home));
    drop(site);
    build(&other, &["--locked", "--offline"]);
    let ran = other.run(&["cache", "import", "a.tar.zst", "--json"]);
    assert_eq!(ran.last()["files"], 0, "{ran}");
    other.good(&["cache", "verify"]);

    home.good(&["cache", "export", "c.tar.zst", "--packages"]);
    let third = Home::new();
    third.write("c.tar.zst", std::fs::read(home.path("c.tar.zst")).unwrap());
    third.good(&["cache", "import", "c.tar.zst"]);
    assert_eq!(third.kept(), home.kept());
}

/// A bundle of any members.
fn bundle(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = tar::Builder::new(Vec::new());
    for (name, data) in members {
        let mut header = tar::Header::new_old();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        out.append(&header, *data).unwrap();
    }
    zstd::encode_all(out.into_inner().unwrap().as_slice(), 1).unwrap()
}

#[test]
fn bundles_are_not_believed() {
    const MARK: (&str, &[u8]) = ("hullwright-cache", b"1\n");
    let (_site, home) = compiled();
    let name = objects(&home).remove(0);
    let bytes = std::fs::read(object(&home, &name)).unwrap();
    let mut damaged = bytes.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let own = format!("objects/{}/{name}", &name[..2]);
    let foreign = format!("objects/00/00{}", &name[2..]);
    let download = format!("downloads/ab/ab{}", "0".repeat(62));
    let other = Home::new();
    for (file, words) in [
        (b"nonsense".to_vec(), "no whole bundle"),
        (bundle(&[]), "it is empty"),
        (bundle(&[(&own, &bytes)]), "does not begin with"),
        (
            bundle(&[("hullwright-cache", b"2\n")]),
            "does not begin with",
        ),
        (bundle(&[MARK, ("../x", b"")]), "no file of a cache"),
        (
            bundle(&[MARK, ("objects/aa/../x", b"")]),
            "no file of a cache",
        ),
        (bundle(&[MARK, ("/etc/passwd", b"")]), "no file of a cache"),
        (
            bundle(&[MARK, ("releases/aa/x", b"")]),
            "no file of a cache",
        ),
        (bundle(&[MARK, (&own, &damaged)]), "checksum"),
        (bundle(&[MARK, (&foreign, &bytes)]), "name of another"),
        (bundle(&[MARK, (&download, b"x")]), "its SHA-256 is"),
        (
            bundle(&[MARK, (&own, &bytes)])[..400].to_vec(),
            "no whole bundle",
        ),
    ] {
        other.write("x.tar.zst", file);
        let error = other.bad(&["cache", "import", "x.tar.zst"], 4);
        assert!(error.contains(words), "{words}: {error}");
    }
    assert_eq!(other.kept(), 0);
    assert!(objects(&other).is_empty());
    assert!(other.cached("tmp").is_empty());
    other.bad(&["cache", "import", "absent"], 2);
    other.write("x.tar.zst", bundle(&[MARK, (&own, &bytes)]));
    other.good(&["cache", "import", "x.tar.zst"]);
    assert_eq!(objects(&other), [name]);
}
