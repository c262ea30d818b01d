//! Releases: a real cut, judged by gpg, gpgv, coreutils and systemd-pull, and by itself after damage.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use hullwright::release::version::compare;
use hullwright::sign::keys::{self, KeyProfile};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use crate::fixture::{now, timed};
use crate::support::{bad, good, shipped, tool, trixie, trixie_tool};

/// A release engineer's folder: `keys`, `host.yaml` with its lock, and `site` with a first release.
struct Project {
    dir: tempfile::TempDir,
}

const PROFILE: &str = "name: host\nextends: container-host\nos: {id: judged, name: Judged}\n\
    update: {url: \"https://updates.example.org/os\"}\n";

/// Partitions that the first release fills to just below 80 %.
const SMALL: [&str; 2] = ["--set", "disk.usr=184 MiB"];

impl Project {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = shipped(self.dir.path());
        command.args(words).args(["--quiet"]);
        command
    }

    /// `release cut` into `to`.
    fn cut(&self, to: &str, channel: &str, version: &str, more: &[&str]) -> Command {
        let mut command = self.command(&["release", "cut", "host.yaml", "--keys", "keys"]);
        command.args(["--to", to, "--channel", channel, "--version", version]);
        command.args(more);
        command
    }

    fn verify(&self, tree: &str) -> Command {
        self.command(&["release", "verify", tree, "--key", "keys/release.asc"])
    }

    fn folder(&self) -> PathBuf {
        self.path("site/beta/x86_64")
    }
}

fn project() -> &'static Project {
    static PROJECT: OnceLock<Project> = OnceLock::new();
    PROJECT.get_or_init(|| {
        let dir = tempfile::Builder::new()
            .prefix("hullwright-release-")
            .tempdir()
            .unwrap();
        let project = Project { dir };
        keys::generate(&project.path("keys"), KeyProfile::Release, now()).unwrap();
        fs::write(project.path("host.yaml"), PROFILE).unwrap();
        timed("a cut, locking included", || {
            good(&mut project.cut("site", "beta", "1.0.0", &SMALL));
        });
        project
    })
}

/// Every file below `dir` by its path there.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_owned();
                found.push((name, fs::read(path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn cut_twice_from_one_lock_the_bytes_are_the_same_signatures_included() {
    let project = project();
    timed("the same cut again", || {
        let more = [&SMALL[..], &["--locked", "--offline", "--threads", "1"]].concat();
        good(&mut project.cut("again", "beta", "1.0.0", &more));
    });
    let (first, second) = (files(&project.path("site")), files(&project.path("again")));
    let names = |files: &[(PathBuf, Vec<u8>)]| -> Vec<PathBuf> {
        files.iter().map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(names(&first), names(&second));
    for ((name, a), (_, b)) in first.iter().zip(&second) {
        assert!(a == b, "{} differs", name.display());
    }
    assert!(first.len() >= 20, "{:?}", names(&first));
}

/// A keyring of the public key for gpgv and systemd-pull, made once.
fn keyring(project: &Project) -> &'static Path {
    static RING: OnceLock<PathBuf> = OnceLock::new();
    RING.get_or_init(|| {
        let home = project.path("gnupg");
        fs::create_dir(&home).unwrap();
        good(tool("chmod").arg("700").arg(&home));
        let key = project.path("site/release.asc");
        good(gpg(project).args(["--quiet", "--import"]).arg(key));
        let ring = project.path("ring.gpg");
        good(gpg(project).arg("--output").arg(&ring).arg("--export"));
        ring
    })
}

fn gpg(project: &Project) -> Command {
    let mut command = tool("gpg");
    command.arg("--homedir").arg(project.path("gnupg"));
    command.args(["--batch", "--no-autostart"]);
    command
}

#[test]
fn gpg_and_gpgv_accept_what_is_signed_and_nothing_else() {
    let project = project();
    let ring = keyring(project);
    for name in ["site/beta/index.json", "site/beta/x86_64/SHA256SUMS"] {
        let file = project.path(name);
        let signature = project.path(&format!("{name}.gpg"));
        good(gpg(project).arg("--verify").args([&signature, &file]));
        let gpgv = |file: &Path| {
            let mut command = tool("gpgv");
            command.arg("--keyring").arg(ring).arg(&signature).arg(file);
            command
        };
        good(&mut gpgv(&file));
        let changed = project.path("changed");
        let mut bytes = fs::read(&file).unwrap();
        bytes[10] ^= 1;
        fs::write(&changed, bytes).unwrap();
        bad(&mut gpgv(&changed), 1);
    }
    let mut sums = tool("sha256sum");
    good(
        sums.args(["--check", "--strict", "--quiet", "SHA256SUMS"])
            .current_dir(project.folder()),
    );
}

/// Serves the files of a folder on the loopback; the URL.
fn serve(dir: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let dir = dir.clone();
            std::thread::spawn(move || answer(stream, &dir));
        }
    });
    url
}

fn answer(mut stream: TcpStream, dir: &Path) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let request = lines.next().unwrap().unwrap();
    while lines
        .next()
        .is_some_and(|line| line.is_ok_and(|l| !l.is_empty()))
    {}
    let path = request.split(' ').nth(1).unwrap().trim_start_matches('/');
    let (status, body) = match fs::read(dir.join(path)) {
        Ok(body) => ("200 OK", body),
        Err(_) => ("404 Not Found", Vec::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(&body));
}

#[test]
fn systemd_pull_takes_a_file_by_the_signed_sums() {
    let project = project();
    // Where an administrator's keyring goes; it wins over the distribution's.
    let place = trixie().join("etc/systemd/import-pubring.gpg");
    let target = trixie().join("tmp/hullwright-pulled");
    fs::copy(keyring(project), &place).unwrap();
    let uki = "judged_1.0.0.efi";
    let pull = |url: &str| {
        let _ = fs::remove_file(&target);
        let mut command = trixie_tool("/usr/lib/systemd/systemd-pull");
        command
            .args(["raw", "--direct", "--sync=no", "--verify=signature"])
            .arg(format!("{url}/{uki}"))
            .arg("/tmp/hullwright-pulled");
        command
    };
    good(&mut pull(&serve(project.folder())));
    let file = project.folder().join(uki);
    assert!(fs::read(&target).unwrap() == fs::read(&file).unwrap());
    let bad_folder = project.path("pulled-from");
    fs::create_dir(&bad_folder).unwrap();
    for name in ["SHA256SUMS", "SHA256SUMS.gpg", uki] {
        fs::copy(project.folder().join(name), bad_folder.join(name)).unwrap();
    }
    let sums = bad_folder.join("SHA256SUMS");
    let text = fs::read_to_string(&sums).unwrap().replacen('a', "b", 1);
    fs::write(&sums, text).unwrap();
    let refused = pull(&serve(bad_folder)).output().unwrap();
    let _ = fs::remove_file(&place);
    let _ = fs::remove_file(&target);
    assert!(!refused.status.success());
    let words = String::from_utf8_lossy(&refused.stderr);
    assert!(words.contains("Signature verification failed"), "{words}");
}

#[test]
fn damage_to_a_real_tree_is_found_in_a_folder_and_over_http() {
    let project = project();
    timed("verify", || good(&mut project.verify("site")));
    let copy = project.path("damaged");
    good(tool("cp").arg("-r").arg(project.path("site")).arg(&copy));
    let names: Vec<PathBuf> = files(&copy).into_iter().map(|(name, _)| name).collect();
    let url = serve(copy.clone());
    timed("verify over HTTP", || {
        good(&mut project.verify(&url));
    });
    let mut seed: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as usize
    };
    // The large ones once each, and the rest by chance.
    let large = ["usr.raw", "disk.raw.zst", "0.efi", "vty.raw"];
    let chosen: Vec<PathBuf> = large
        .iter()
        .map(|end| {
            let found = names
                .iter()
                .find(|n| n.display().to_string().ends_with(end));
            found.unwrap().clone()
        })
        .chain((0..4).map(|_| names[random() % names.len()].clone()))
        .collect();
    for name in chosen {
        let path = copy.join(&name);
        let mut bytes = fs::read(&path).unwrap();
        let at = random() % bytes.len();
        bytes[at] ^= 1 << (random() % 8);
        fs::write(&path, &bytes).unwrap();
        let output = project.verify("damaged").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let expected = name.display().to_string().replace(".gpg", "");
        assert_eq!(output.status.code(), Some(4), "{at} of {expected}: {said}");
        assert!(said.contains(&format!("bad  {expected}: ")), "{said}");
        fs::copy(project.path("site").join(&name), &path).unwrap();
    }
    fs::remove_file(copy.join("beta/x86_64/judged_1.0.0.lock")).unwrap();
    fs::write(copy.join("beta/x86_64/judged_1.0.1.efi"), b"MZ").unwrap();
    let output = project.verify("damaged").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said.lines().count(), 2, "{said}");
    fs::remove_dir_all(copy).unwrap();
}

#[test]
fn releases_that_do_not_fit_are_refused_with_the_numbers() {
    let project = project();
    good(
        tool("cp")
            .args(["-r", "site", "fit"])
            .current_dir(project.dir.path()),
    );
    // 48 MiB that no codec makes smaller.
    let overlay = project.path("more/usr/lib/more");
    fs::create_dir_all(overlay.parent().unwrap()).unwrap();
    let mut noise = fs::File::open("/dev/urandom").unwrap().take(48 << 20);
    std::io::copy(&mut noise, &mut fs::File::create(&overlay).unwrap()).unwrap();
    let later = (now().seconds() + 1000).to_string();
    let stamp = ["--stamp", &later];
    let more = ["--set", "root.overlay=[./more]"];
    let tree = || files(&project.path("fit"));
    let before = tree();

    // Every machine that runs 1.0.0 has slots of 184 MiB, whatever the next image has.
    let words = [&stamp[..], &more].concat();
    let error = bad(&mut project.cut("fit", "beta", "1.1.0", &words), 6);
    assert!(
        error.contains("80 % of the 192937984 bytes that machines installed with version 1.0.0"),
        "{error}"
    );
    assert!(error.contains("the budget is 10 %"), "{error}");
    let words = [&stamp[..], &["--set", "disk.esp=72 MiB"]].concat();
    let error = bad(&mut project.cut("fit", "small", "1.1.0", &words), 6);
    assert!(error.contains("an ESP with three UKIs"), "{error}");
    // The same version with other bytes in another channel.
    let words = [&stamp[..], &more].concat();
    let error = bad(&mut project.cut("fit", "stable", "1.0.0", &words), 2);
    assert!(
        error.contains("hullwright release promote 1.0.0 --from beta"),
        "{error}"
    );
    assert_eq!(tree().len(), before.len());
    assert!(tree() == before);

    // An ordinary next release, killed on its way, is as if it had never begun; then it succeeds.
    let mut killed = project.cut("fit", "beta", "1.1.0", &stamp).spawn().unwrap();
    let work = |at: &Path| {
        let entries = fs::read_dir(at).unwrap().flatten();
        let mut names = entries.map(|entry| entry.file_name());
        names.any(|name| name.to_string_lossy().starts_with(".hullwright-"))
    };
    while !work(project.dir.path()) && !work(&project.path("fit")) {
        assert!(killed.try_wait().unwrap().is_none(), "nothing to interrupt");
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(500));
    assert!(killed.try_wait().unwrap().is_none(), "nothing to interrupt");
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(tree() == before);
    good(&mut project.cut("fit", "beta", "1.1.0", &stamp));
    good(&mut project.verify("fit"));
    let diff = fs::read_to_string(project.path("fit/beta/x86_64/judged_1.1.0.diff.md")).unwrap();
    assert!(diff.contains("1.1.0"), "{diff}");
    let leftovers = fs::read_dir(project.dir.path()).unwrap().flatten();
    let names: Vec<_> = leftovers.map(|e| e.file_name()).collect();
    assert!(
        names
            .iter()
            .all(|n| !n.to_string_lossy().starts_with(".hullwright-")),
        "{names:?}"
    );
}

/// Pairs compared; one process each.
const PAIRS: usize = 2000;

/// Reads `a b` lines and prints the operator between them.
const LOOP: &str = r#"while read -r a b; do systemd-analyze compare-versions "$a" "$b"; done"#;

#[test]
fn versions_compare_as_systemd_compares_them() {
    let version = "[0-9][019ab.~-]{0,5}";
    let strategy = (version, version, any::<prop::sample::Index>(), 0..4_u8);
    let mut runner = TestRunner::deterministic();
    let mut input = String::new();
    let mut expected = Vec::new();
    for _ in 0..PAIRS {
        let (a, mut b, place, kind) = strategy.new_tree(&mut runner).unwrap().current();
        if kind < 3 {
            // The other one differs by a character only.
            b.clone_from(&a);
            let extra = ['0', '~', '-'][usize::from(kind)];
            b.insert(1 + place.index(b.len()), extra);
        }
        let sign = match compare(&a, &b) {
            std::cmp::Ordering::Less => '<',
            std::cmp::Ordering::Equal => '=',
            std::cmp::Ordering::Greater => '>',
        };
        expected.push(format!("{a} {sign} {b}"));
        input += &format!("{a} {b}\n");
    }
    let script = trixie().join("tmp/hullwright-versions");
    fs::write(&script, input).unwrap();
    let mut command = trixie_tool("sh");
    // The last comparison's status is not the loop's.
    let output = command
        .args(["-c", &format!("{LOOP} < /tmp/hullwright-versions")])
        .output()
        .unwrap();
    fs::remove_file(script).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines.len(),
        PAIRS,
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for (line, expected) in lines.iter().zip(&expected) {
        // It prints `==` for equal ones.
        assert_eq!(line.replace("==", "="), *expected);
    }
}
