//! From a server to verified indices, and every way in which it may go wrong.

use super::super::testing::*;
use super::super::{Releases, refresh};
use crate::digest::Sha256;
use crate::failure::{Kind, kind_of};

fn error(site: &Site) -> String {
    let error = refresh(&site.profile, &site.keyrings, &site.ctx, None).unwrap_err();
    assert_eq!(kind_of(&error), Kind::Archive, "{error:#}");
    assert!(site.left_behind().is_empty(), "{:?}", site.left_behind());
    shown(&error)
}

#[test]
fn a_signed_suite_is_read_and_then_comes_from_the_cache() {
    let mut site = Site::new();
    let suites = refresh(&site.profile, &site.keyrings, &site.ctx, None).unwrap();
    assert_eq!(
        (suites[0].archive.as_str(), suites[0].suite.as_str()),
        ("vendor", "test")
    );
    assert_eq!((suites[0].date, suites[0].expired), (NOW - 86_400, false));
    let names: Vec<&str> = suites[0].records.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, NAMES);
    assert_eq!(
        site.server.log(),
        ["/dists/test/InRelease".to_owned(), site.by_hash()]
    );
    let again = refresh(&site.profile, &site.keyrings, &site.ctx, None).unwrap();
    assert_eq!(again[0].inrelease, suites[0].inrelease);
    assert_eq!(site.server.log().len(), 2, "one Release a run");
    site.ctx.releases = Releases::default();
    let again = refresh(&site.profile, &site.keyrings, &site.ctx, Some(&site.lock())).unwrap();
    assert_eq!(again[0].records, suites[0].records);
    assert_eq!(site.server.log().len(), 3, "the index is cached");
    site.ctx.offline = true;
    let offline = refresh(&site.profile, &site.keyrings, &site.ctx, None).unwrap();
    assert_eq!(offline[0].inrelease, suites[0].inrelease);
    assert_eq!(site.server.log().len(), 3);
}

#[test]
fn an_index_is_found_by_name_where_by_hash_is_missing() {
    let site = Site::new();
    let by_hash = site.by_hash();
    site.server.remove(&by_hash);
    site.server.put(
        "/dists/test/main/binary-amd64/Packages.gz",
        gzip(packages().as_bytes()),
    );
    assert_eq!(
        refresh(&site.profile, &site.keyrings, &site.ctx, None)
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn a_damaged_release_is_refused_and_not_kept() {
    let site = Site::new();
    let path = "/dists/test/InRelease";
    let signed = site.key.sign(&release(FIELDS, &[]));
    for (body, expected) in [
        (signed[..signed.len() / 2].to_owned(), "it is cut off"),
        (
            format!("{signed}Suite: evil\n"),
            "text outside the signed part",
        ),
        (format!("Suite: evil\n{signed}"), "does not begin with"),
        (
            signed.replacen("21 Nov", "22 Nov", 1),
            "the signature does not match the text",
        ),
        (
            TestKey::new().sign(&release(FIELDS, &[])),
            "the key is not in the keyring",
        ),
        ("<html>log in</html>".into(), "does not begin with"),
    ] {
        site.server.put(path, body);
        let message = error(&site);
        assert!(message.contains(expected), "{message}");
        assert!(
            message.contains("suite `test`") && message.contains(path),
            "{message}"
        );
    }
    assert_eq!(site.kept(), 0);
    assert_eq!(
        std::fs::read_dir(site.ctx.store.folder("releases"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn the_wrong_key_is_named_beside_the_right_one() {
    let mut site = Site::new();
    let other = TestKey::new();
    site.profile.archives[0].fingerprints = vec![other.fingerprint().to_uppercase()];
    let message = error(&site);
    assert!(message.contains(&site.key.fingerprint()), "{message}");
    assert!(message.contains(&other.fingerprint()), "{message}");
    assert!(message.contains("not pinned for this suite"), "{message}");
}

#[test]
fn another_suites_release_is_refused() {
    let site = Site::new();
    site.publish(&FIELDS.replace("Codename: test", "Codename: other"), &[]);
    assert!(error(&site).contains("is that of another suite: Suite `stable`, Codename `other`"));
}

#[test]
fn an_expired_release_stops_all_but_development_and_the_flag() {
    let mut site = Site::new();
    site.ctx.now = NOW + 30 * 86_400;
    let message = error(&site);
    assert!(
        message.contains("was valid until 2026-11-28 00:00 UTC"),
        "{message}"
    );
    assert!(message.contains("--allow-expired"), "{message}");
    site.ctx.allow_expired = true;
    assert!(refresh(&site.profile, &site.keyrings, &site.ctx, None).unwrap()[0].expired);
    site.ctx.allow_expired = false;
    site.profile.development = true;
    assert!(refresh(&site.profile, &site.keyrings, &site.ctx, None).unwrap()[0].expired);
}

#[test]
fn a_release_older_than_the_lock_is_refused_even_in_development() {
    let mut site = Site::new();
    site.profile.development = true;
    let mut lock = site.lock();
    lock.suites[0].date = NOW;
    let error = refresh(&site.profile, &site.keyrings, &site.ctx, Some(&lock)).unwrap_err();
    assert_eq!(kind_of(&error), Kind::Archive);
    let message = shown(&error);
    assert!(
        message.contains("is of 2026-11-21 00:00 UTC, older than"),
        "{message}"
    );
}

#[test]
fn a_changed_index_is_fetched_twice_discarded_and_named() {
    let site = Site::new();
    let path = site.by_hash();
    site.server.change(&path, |reply| reply.body[40] ^= 1);
    let message = error(&site);
    assert!(
        message.contains("index test/main/binary-amd64/Packages.gz"),
        "{message}"
    );
    assert!(
        message.contains("expected SHA-256") && message.contains("found"),
        "{message}"
    );
    assert_eq!(site.server.log().len(), 3);
    assert_eq!(site.kept(), 0);
}

#[test]
fn oversize_declarations_are_refused_before_they_cost_anything() {
    let site = Site::new();
    let path = site.by_hash();
    site.server
        .change(&path, |reply| reply.declared = Some(1 << 40));
    let message = error(&site);
    assert!(
        message.contains("the server declares 1099511627776"),
        "{message}"
    );

    let site = Site::new();
    let size = 1_u64 << 40;
    let text = format!("{FIELDS}SHA256:\n {} {size} {INDEX}.gz", Sha256::of(b""));
    site.server
        .put("/dists/test/InRelease", site.key.sign(&text));
    assert!(error(&site).contains(&format!("declares {size} bytes")));

    let site = Site::new();
    let bomb = gzip(&vec![b'\n'; 10_000_000]);
    site.publish(
        FIELDS,
        &[
            (INDEX, b"Package: x\n"),
            ("main/binary-amd64/Packages.gz", &bomb),
        ],
    );
    assert!(error(&site).contains("unpacks to more than the 11 bytes declared"));
}

#[test]
fn an_index_that_is_no_index_names_the_line() {
    let site = Site::new();
    let packed = gzip(b"Package: x\nnonsense\n");
    site.publish(FIELDS, &[("main/binary-amd64/Packages.gz", &packed)]);
    assert!(error(&site).contains("line 2: `nonsense`"));
    let packed = b"no gzip at all";
    site.publish(FIELDS, &[("main/binary-amd64/Packages.gz", packed)]);
    assert!(error(&site).contains("can't be unpacked"));
}

#[test]
fn what_the_archive_does_not_have_is_named() {
    let mut site = Site::new();
    site.profile.archives[0].components = vec!["main".into(), "extra".into()];
    assert!(error(&site).contains("has no component `extra` for amd64"));
    site.profile.archives[0].suites = vec!["tset".into()];
    assert!(error(&site).contains("archive `vendor` has no suite `tset`"));
    site.ctx.offline = true;
    assert!(error(&site).contains("--offline forbids"));
    site.profile.archives[0].keyring = "absent.pgp".into();
    let error = refresh(&site.profile, &site.keyrings, &site.ctx, None).unwrap_err();
    assert_eq!(kind_of(&error), Kind::Usage);
}

#[test]
fn a_damaged_compact_index_is_made_again() {
    let site = Site::new();
    let first = refresh(&site.profile, &site.keyrings, &site.ctx, None).unwrap();
    let folder = site.ctx.store.folder("indices");
    let file = std::fs::read_dir(folder)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let again = refresh(&site.profile, &site.keyrings, &site.ctx, None).unwrap();
    assert_eq!(again[0].records, first[0].records);
}
