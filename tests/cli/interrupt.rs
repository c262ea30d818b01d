//! Ctrl-C in the middle of a transfer.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::deb::{Deb, deb};
use crate::home::Home;
use crate::site::{FIELDS, Site, packages};

/// Bytes of the slow package's content.
const SIZE: u32 = 400_000;

fn large() -> Deb {
    // Noise, so that it stays large when packed.
    let mut state = 1_u32;
    let noise: Vec<u8> = (0..SIZE)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_le_bytes()[0]
        })
        .collect();
    deb("beta", "1.0-1", "").with("./usr/share/doc/noise", None, &noise)
}

/// A site whose `beta` takes twenty seconds, and a user with a lock.
fn slow() -> (Site, Home) {
    let site = Site::new();
    let mut debs = packages();
    debs[1] = large();
    site.publish(FIELDS, &debs);
    let home = site.home();
    home.good(&["lock", "p.yaml", "--quiet"]);
    site.server.change("pool/main/beta", |reply| {
        reply.pause = Duration::from_millis(200);
    });
    (site, home)
}

/// Starts a command and waits until a part of `beta` has arrived.
fn begin(home: &Home, arguments: &[&str]) -> Child {
    let mut command = home.command(arguments);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    while partial(home) < 8192 {
        assert!(Instant::now() < end, "nothing arrives");
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

fn partial(home: &Home) -> u64 {
    let folder = home.cache().join("partial");
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries
        .filter_map(|e| e.unwrap().metadata().ok())
        .map(|data| data.len())
        .max()
        .unwrap_or(0)
}

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// What is there after an end in the middle: the partial file, and nothing else that is unfinished.
fn resumes(site: &Site, home: &Home) {
    home.no_temporaries();
    assert!(!home.path("out").exists());
    assert_eq!(home.cached("tmp"), Vec::<String>::new());
    assert!(partial(home) >= 8192);
    site.server
        .change("pool/main/beta", |reply| reply.pause = Duration::ZERO);
    site.server.requests();
    home.good(&["fetch", "p.yaml", "--quiet"]);
    let requests = site.server.requests();
    let beta = requests.iter().find(|r| r.contains("beta")).unwrap();
    assert!(beta.ends_with('-'), "not resumed: {beta}");
    assert_eq!(home.kept(), 4);
}

#[test]
fn a_transfer_stops_cleanly_and_goes_on_later() {
    for (signal, command) in [(Signal::INT, "fetch"), (Signal::TERM, "build")] {
        let (site, home) = slow();
        let before = home.project();
        let child = begin(&home, &[command, "p.yaml", "--json"]);
        let sent = Instant::now();
        send(&child, signal);
        let ran = home.shown(&child.wait_with_output().unwrap());
        assert!(
            sent.elapsed() < Duration::from_secs(5),
            "{:?}",
            sent.elapsed()
        );
        assert_eq!(ran.status, 130, "{ran}");
        assert_eq!(ran.last()["kind"], "interrupted", "{ran}");
        assert!(ran.stderr.ends_with(
            "error: interrupted\nhint: what was downloaded is kept, and the next run goes on from there\n"
        ), "{ran}");
        assert_eq!(home.project(), before);
        resumes(&site, &home);
    }
}

#[test]
fn a_killed_transfer_goes_on_later() {
    let (site, home) = slow();
    let mut child = begin(&home, &["fetch", "p.yaml"]);
    send(&child, Signal::KILL);
    child.wait().unwrap();
    resumes(&site, &home);
}

#[test]
fn who_asks_twice_does_not_wait() {
    let (site, home) = slow();
    let child = begin(&home, &["fetch", "p.yaml"]);
    send(&child, Signal::INT);
    send(&child, Signal::INT);
    assert_eq!(home.shown(&child.wait_with_output().unwrap()).status, 130);
    resumes(&site, &home);
}
