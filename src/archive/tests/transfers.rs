//! Packages of a lock: resumed, retried, replaced, refused.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use super::super::testing::*;
use super::super::{Context, export, fetch_packages};
use crate::failure::{Kind, kind_of};
use crate::store::Store;

fn fetch(site: &Site, ctx: &Context) -> anyhow::Result<usize> {
    let ready = Mutex::new(Vec::new());
    let on_ready = |index: usize, path: &Path| {
        assert_eq!(std::fs::read(path).unwrap(), deb(NAMES[index]));
        ready.lock().unwrap().push(index);
    };
    let paths = fetch_packages(&site.lock(), &site.profile, &site.keyrings, ctx, &on_ready)?;
    assert!(paths.iter().all(Option::is_some));
    let mut ready = ready.into_inner().unwrap();
    ready.sort_unstable();
    assert_eq!(ready, [0, 1, 2], "each exactly once");
    assert!(site.left_behind().is_empty(), "{:?}", site.left_behind());
    Ok(site.kept())
}

fn error(site: &Site, ctx: &Context) -> String {
    let error = fetch(site, ctx).unwrap_err();
    assert_eq!(kind_of(&error), Kind::Archive, "{error:#}");
    site.kept();
    shown(&error)
}

#[test]
fn packages_are_fetched_once_and_then_come_from_the_cache() {
    let mut site = Site::new();
    assert_eq!(fetch(&site, &site.ctx).unwrap(), 3);
    assert_eq!(site.server.log().len(), 3);
    site.ctx.offline = true;
    assert_eq!(fetch(&site, &site.ctx).unwrap(), 3);
    assert_eq!(site.server.log().len(), 3);
}

#[test]
fn a_local_file_is_the_callers() {
    let site = Site::new();
    let mut lock = site.lock();
    lock.packages[1].archive = String::new();
    let paths =
        fetch_packages(&lock, &site.profile, &site.keyrings, &site.ctx, &|_, _| {}).unwrap();
    assert!(paths[0].is_some() && paths[1].is_none() && paths[2].is_some());
}

#[test]
fn a_cut_transfer_goes_on_where_it_stopped() {
    let site = Site::new();
    let path = format!("/{}", pool("beta"));
    site.server.change(&path, |reply| reply.cuts = 2);
    fetch(&site, &site.ctx).unwrap();
    let log: Vec<String> = site
        .server
        .log()
        .into_iter()
        .filter(|l| l.starts_with(&path))
        .collect();
    assert_eq!(
        log,
        [
            path.clone(),
            format!("{path} 150000-"),
            format!("{path} 225000-")
        ]
    );
}

#[test]
fn a_killed_download_goes_on_in_the_next_run() {
    let site = Site::new();
    let path = format!("/{}", pool("beta"));
    site.server.change(&path, |reply| reply.cuts = 5);
    assert!(error(&site, &site.ctx).contains("failed 5 times"));
    let partial = site.ctx.store.folder("partial");
    assert!(std::fs::read_dir(partial).unwrap().count() > 0);
    fetch(&site, &site.ctx).unwrap();
    let last = site
        .server
        .log()
        .into_iter()
        .rfind(|l| l.starts_with(&path))
        .unwrap();
    assert!(last.ends_with('-'), "{last}");
}

#[test]
fn a_file_that_was_replaced_meanwhile_is_fetched_from_the_start() {
    let site = Site::new();
    let path = format!("/{}", pool("beta"));
    site.server.change(&path, |reply| reply.cuts = 5);
    error(&site, &site.ctx);
    site.server.change(&path, |reply| reply.version = 1);
    let before = site.server.log().len();
    fetch(&site, &site.ctx).unwrap();
    let log = &site.server.log()[before..];
    // Only If-Range makes one request enough: the answer is the whole new file.
    assert_eq!(log.iter().filter(|l| l.starts_with(&path)).count(), 1);
}

#[test]
fn a_busy_server_is_asked_again_and_a_wrong_start_is_forgotten() {
    let site = Site::new();
    site.server
        .change(&format!("/{}", pool("alpha")), |reply| reply.errors = 3);
    // What is left of another file is resumed once, found wrong, and fetched from the start.
    let lock = site.lock();
    let partial = site
        .ctx
        .store
        .folder("partial")
        .join(lock.packages[2].sha256.to_string());
    std::fs::write(&partial, vec![0; 1000]).unwrap();
    let url = format!("{}/{}\n\"v0\"", site.server.url, pool("gamma"));
    std::fs::write(partial.with_extension("from"), url).unwrap();
    fetch(&site, &site.ctx).unwrap();
    let log = site.server.log();
    assert_eq!(log.iter().filter(|l| l.contains("alpha")).count(), 4);
    assert_eq!(log.iter().filter(|l| l.contains("gamma")).count(), 2);
}

#[test]
fn a_flipped_byte_is_found_and_nothing_of_it_stays() {
    let site = Site::new();
    let path = format!("/{}", pool("beta"));
    site.server.change(&path, |reply| reply.body[1234] ^= 1);
    let message = error(&site, &site.ctx);
    let expected = site.lock().packages[1].sha256.to_string();
    for part in ["package beta 1.0-1", &path, &expected, "found"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(site.left_behind().is_empty());
    assert!(
        site.ctx
            .store
            .download(&site.lock().packages[1].sha256)
            .is_none()
    );
}

#[test]
fn a_longer_file_is_refused_at_once() {
    for declared in [None, Some(300_000)] {
        let site = Site::new();
        let path = format!("/{}", pool("beta"));
        site.server.change(&path, |reply| {
            reply.body.extend([0; 100]);
            reply.declared = declared;
        });
        let result = fetch(&site, &site.ctx);
        match declared {
            None => assert!(shown(&result.unwrap_err()).contains("declares 300100")),
            // What comes after the declared length is not read.
            Some(_) => assert_eq!(result.unwrap(), 3),
        }
    }
}

#[test]
fn a_superseded_package_comes_from_the_snapshot() {
    let site = Site::new();
    site.server.remove(&format!("/{}", pool("beta")));
    let snapshot = format!("/snapshot/20261121T000000Z/{}", pool("beta"));
    site.server.put(&snapshot, deb("beta"));
    assert_eq!(fetch(&site, &site.ctx).unwrap(), 3);
    assert!(site.server.log().contains(&snapshot));
}

#[test]
fn a_package_that_is_gone_everywhere_says_what_to_do() {
    let site = Site::new();
    site.server.remove(&format!("/{}", pool("beta")));
    let newer = gzip(
        packages()
            .replacen("beta\nVersion: 1.0-1", "beta\nVersion: 1.0-2", 1)
            .as_bytes(),
    );
    site.publish(FIELDS, &[("main/binary-amd64/Packages.gz", &newer)]);
    let message = error(&site, &site.ctx);
    for part in [
        "package beta 1.0-1 (amd64) is gone from the archive `vendor`",
        "/snapshot/20261121T000000Z/",
        "the version now on offer is 1.0-2",
        "`hullwright lock p --upgrade beta`",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn offline_names_what_is_missing() {
    let mut site = Site::new();
    site.ctx.offline = true;
    let message = error(&site, &site.ctx);
    assert!(message.contains("3 of 3 locked packages"), "{message}");
    assert!(
        message.contains("alpha 1.0-1, beta 1.0-1, gamma 1.0-1"),
        "{message}"
    );
    assert!(site.server.log().is_empty());
}

#[test]
fn an_exported_folder_feeds_another_cache_without_network() {
    let site = Site::new();
    let folder = site.dir.path().join("inputs");
    let exported = export(
        &site.lock(),
        &site.profile,
        &site.keyrings,
        &site.ctx,
        &folder,
    );
    let exported = exported.unwrap();
    assert_eq!((exported.len(), exported.values().sum()), (3, 900_000_u64));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 3);
    let requests = site.server.log().len();

    let mut ctx = site.ctx.clone();
    ctx.store = Store::open(&site.dir.path().join("second")).unwrap();
    ctx.from = Some(folder.clone());
    ctx.offline = true;
    fetch(&site, &ctx).unwrap();
    assert_eq!(site.server.log().len(), requests);

    let damaged = folder.join(site.lock().packages[1].sha256.to_string());
    std::fs::write(&damaged, b"other").unwrap();
    ctx.store = Store::open(&site.dir.path().join("third")).unwrap();
    let message = error(&site, &ctx);
    assert!(
        message.contains("package beta") && message.contains("wrong content"),
        "{message}"
    );
    std::fs::remove_file(&damaged).unwrap();
    assert!(error(&site, &ctx).contains("package beta 1.0-1 (amd64) is not in"));
}

#[test]
fn two_builds_on_one_cache_share_the_downloads() {
    let site = Site::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut ctx = site.ctx.clone();
                ctx.store = Store::open(site.ctx.store.root()).unwrap();
                let paths = fetch_packages(
                    &site.lock(),
                    &site.profile,
                    &site.keyrings,
                    &ctx,
                    &|_, _| {},
                );
                assert!(paths.unwrap().iter().all(Option::is_some));
            });
        }
    });
    assert_eq!(site.kept(), 3);
    assert_eq!(site.server.log().len(), 3, "each was transferred once");
    assert!(site.left_behind().is_empty(), "{:?}", site.left_behind());
}

#[test]
fn file_urls_are_verified_too() {
    let mut site = Site::new();
    let tree = site.dir.path().join("tree");
    std::fs::create_dir_all(tree.join("pool/main")).unwrap();
    for name in NAMES {
        std::fs::write(tree.join(pool(name)), deb(name)).unwrap();
    }
    site.profile.archives[0].url = Some(format!("file://{}", tree.display()));
    fetch(&site, &site.ctx).unwrap();
    assert!(site.server.log().is_empty());
    site.ctx.store = Store::open(&site.dir.path().join("second")).unwrap();
    std::fs::write(tree.join(pool("beta")), [0; 300_000]).unwrap();
    assert!(error(&site, &site.ctx).contains("wrong content"));
}

#[test]
fn an_interrupt_stops_the_transfers() {
    let site = Site::new();
    site.ctx.cancel.store(true, Ordering::Relaxed);
    let error = fetch(&site, &site.ctx).unwrap_err();
    assert_eq!(kind_of(&error), Kind::Interrupted);
}

#[test]
fn a_lock_with_a_path_outside_the_archive_is_refused() {
    let site = Site::new();
    let mut lock = site.lock();
    lock.packages[0].path = "pool/../../etc/passwd".into();
    let error = fetch_packages(&lock, &site.profile, &site.keyrings, &site.ctx, &|_, _| {});
    assert_eq!(kind_of(&error.unwrap_err()), Kind::Usage);
}
