//! Signatures by files, a token and a program, before other people's judges; signing later and again.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use hullwright::sign::keys::{self, KeyProfile};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::compare::{assert_same_output, each_block, names, sparse_digest};
use crate::fixture::{Fixture, fixture, now, timed};
use crate::support::{bad, good, hullwright, repository, tool};

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const PIN: &str = "1234";

/// The fixture's image, built without a private key in sight.
fn later() -> &'static Path {
    static LATER: OnceLock<PathBuf> = OnceLock::new();
    LATER.get_or_init(|| {
        let fixture = fixture();
        let dir = fixture.folder("later");
        let trace = dir.join("trace");
        let mut build = tool("strace");
        build
            .args([
                "-f",
                "-qq",
                "--seccomp-bpf",
                "-e",
                "trace=open,openat,openat2,creat",
            ])
            .arg("-o")
            .arg(&trace);
        let mut plain = fixture.build_warm(&dir);
        plain.args(["--sign", "later", "-o", "out"]);
        build.arg(plain.get_program()).args(plain.get_args());
        build.current_dir(&dir);
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => build.env(name, value),
                None => build.env_remove(name),
            };
        }
        timed("signed later, traced", || good(&mut build));
        let trace = fs::read_to_string(trace).unwrap();
        let opened = |what: &str| trace.lines().filter(|line| line.contains(what)).count();
        assert!(opened("/db.crt\"") > 0, "the trace shows what is opened");
        assert_eq!(opened(".key\""), 0, "a private key was opened");
        dir.join("out")
    })
}

/// A copy of an image to sign, in a folder of its own.
fn copy(of: &Path, name: &str) -> PathBuf {
    let dir = fixture().root.join(name);
    fs::create_dir(&dir).unwrap();
    let to = dir.join("image");
    let mut copy = tool("cp");
    copy.args(["-r", "--sparse=always", "--reflink=auto"]);
    good(copy.arg(of).arg(&to));
    to
}

fn sign(image: &Path, keys: &Path, more: &[&str]) -> Command {
    let mut command = hullwright(&fixture().root);
    command
        .arg("sign")
        .arg(image)
        .arg("--keys")
        .arg(keys)
        .args(more);
    command
}

/// A folder with the public half of the fixture's keys.
fn certificates() -> PathBuf {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let to = fixture().root.join("certificates");
        good(tool("cp").arg("-r").arg(&fixture().keys).arg(&to));
        for name in names(&to).iter().filter(|name| name.ends_with(".key")) {
            fs::remove_file(to.join(name)).unwrap();
        }
        let _ = fs::remove_dir_all(to.join("owner"));
        to
    })
    .clone()
}

/// A program as `docs/signers.md` has it, and the option that names it.
fn program(name: &str, script: &str) -> String {
    let path = fixture().root.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    format!("command:{}", path.display())
}

/// A token with the fixture's keys, `db` as `os-db`; gives SoftHSM's configuration.
fn token(fixture: &Fixture) -> PathBuf {
    let dir = fixture.root.join("softhsm");
    fs::create_dir_all(dir.join("tokens")).unwrap();
    let conf = dir.join("softhsm2.conf");
    let tokens = dir.join("tokens");
    let text = format!(
        "directories.tokendir = {}\nlog.level = ERROR\n",
        tokens.display()
    );
    fs::write(&conf, text).unwrap();
    let util = || {
        let mut util = tool("softhsm2-util");
        util.env("SOFTHSM2_CONF", &conf);
        util
    };
    good(util().args([
        "--init-token",
        "--free",
        "--label",
        "hull",
        "--so-pin",
        "5678",
        "--pin",
        PIN,
    ]));
    for (label, id, key) in [("os-db", "01", "db.key"), ("os-verity", "02", "verity.key")] {
        let words = [
            "--token", "hull", "--pin", PIN, "--label", label, "--id", id,
        ];
        let mut import = util();
        good(
            import
                .args(words)
                .arg("--import")
                .arg(fixture.keys.join(key)),
        );
    }
    conf
}

const OPENSSL: &str = r#"request=$(cat)
field() { printf %s "$request" | sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }
[ "$(field algorithm)" = rsassa-pkcs1-v1_5-sha256 ] || exit 1
echo "signing $(field purpose)" >&2
signature=$(perl -e 'print pack "H*", shift' "$(field digest)" |
    openssl pkeyutl -sign -inkey "$KEYS/$(field key).key" -pkeyopt rsa_padding_mode:pkcs1 \
        -pkeyopt digest:sha256 | openssl base64 -A)
printf '{"signature":"%s"}' "$signature""#;

#[test]
fn later_through_a_token_or_a_program_is_the_same_as_at_once() {
    let fixture = fixture();
    let certificates = certificates();
    let conf = token(fixture);
    let uri = format!("pkcs11:token=hull;object=os-{{key}}?module-path={MODULE}");
    let openssl = program("openssl-signer", OPENSSL);

    let hsm = copy(later(), "by-token");
    let text = good(
        sign(&hsm, &certificates, &["--signer", &uri])
            .env("SOFTHSM2_CONF", &conf)
            .env("HULLWRIGHT_PIN", PIN),
    );
    assert!(text.contains("to-sign.json: removed"), "{text}");
    assert_same_output(&fixture.out, &hsm);

    let service = copy(later(), "by-program");
    let output = sign(
        &service.join("disk.raw"),
        &certificates,
        &["--signer", &openssl],
    )
    .env("KEYS", &fixture.keys)
    .output()
    .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    for purpose in [
        "systemd-boot",
        "hullwright_0.0.0-dev.efi",
        "root hash of /usr",
    ] {
        assert_eq!(
            stderr.matches(&format!("signing {purpose}")).count(),
            1,
            "{stderr}"
        );
    }
    assert_same_output(&fixture.out, &service);

    // What a token can do wrong, on an image that stays as it is.
    let before = sparse_digest(&hsm.join("disk.raw"));
    let cases = [
        ("pkcs11:token=hull;object=os-{key}?M", None, "needs a PIN"),
        (
            "pkcs11:token=hull;object=os-{key}?M",
            Some("4321"),
            "the PIN is wrong",
        ),
        ("pkcs11:token=other?M", Some(PIN), "has no such token"),
        (
            "pkcs11:token=hull?M",
            Some(PIN),
            "no private key called `verity`",
        ),
        (
            "pkcs11:?module-path=/no/such.so",
            Some(PIN),
            "loading the PKCS #11 module",
        ),
    ];
    for (uri, pin, expected) in cases {
        let uri = uri.replace('M', &format!("module-path={MODULE}"));
        let mut command = sign(&hsm, &certificates, &["--signer", &uri]);
        command.env("SOFTHSM2_CONF", &conf);
        if let Some(pin) = pin {
            command.env("HULLWRIGHT_PIN", pin);
        }
        let stderr = bad(&mut command, 8);
        assert!(stderr.contains(expected), "{uri}: {stderr}");
    }
    assert_eq!(sparse_digest(&hsm.join("disk.raw")), before);
    fs::remove_dir_all(hsm).unwrap();
    fs::remove_dir_all(service).unwrap();
}

/// A module that never answers, as one does whose token waits for a finger.
const HANGING: &str =
    "#include <unistd.h>\nlong C_GetFunctionList(void **list) { for (;;) pause(); }\n";

#[test]
fn a_token_that_hangs_and_a_program_that_loads_none_are_told_of() {
    let certificates = certificates();
    let dir = fixture().root.join("hanging");
    fs::create_dir(&dir).unwrap();
    let (source, module) = (dir.join("hanging.c"), dir.join("hanging.so"));
    fs::write(&source, HANGING).unwrap();
    good(
        tool("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(&module)
            .arg(&source),
    );
    let before = sparse_digest(&later().join("disk.raw"));
    let uri = format!("pkcs11:?module-path={}&pin-value=1", module.display());
    let mut command = sign(later(), &certificates, &["--signer", &uri]);
    let stderr = bad(command.env("HULLWRIGHT_SIGNER_TIMEOUT", "1"), 8);
    assert!(stderr.contains("gave no answer within 1 s"), "{stderr}");

    // `cargo xtask dist` makes it.
    let program = format!("target/dist/hullwright-{}", std::env::consts::ARCH);
    let program = repository().join(program);
    if program.exists() {
        let uri = format!("pkcs11:token=hull?module-path={MODULE}&pin-value={PIN}");
        let mut command = Command::new(program);
        command.arg("sign").arg(later()).arg("--keys");
        let stderr = bad(command.arg(&certificates).args(["--signer", &uri]), 8);
        assert!(stderr.contains("is statically linked"), "{stderr}");
        assert!(stderr.contains("command:PROGRAM"), "{stderr}");
    }
    assert_eq!(sparse_digest(&later().join("disk.raw")), before);
}

/// Every byte of both disks against the list of what was changed.
fn assert_listed(before: &Path, after: &Path, changes: &Value) {
    let listed: Vec<(u64, u64)> = changes
        .as_array()
        .unwrap()
        .iter()
        .filter(|change| change["file"] == "disk.raw")
        .map(|change| {
            let what = change["what"].as_str().unwrap();
            let known = [": signature", ": checksum", ": root hash signature"];
            assert!(known.iter().any(|end| what.ends_with(end)), "{what}");
            let at = change["offset"].as_u64().unwrap();
            (at, at + change["bytes"].as_u64().unwrap())
        })
        .collect();
    assert!(!listed.is_empty());
    let (old, new) = (before.join("disk.raw"), after.join("disk.raw"));
    for (one, other) in [(&old, &new), (&new, &old)] {
        let other = File::open(other).unwrap();
        let mut buffer = vec![0; 4096];
        each_block(one, |offset, block| {
            other
                .read_exact_at(&mut buffer[..block.len()], offset)
                .unwrap();
            if buffer[..block.len()] == *block {
                return;
            }
            for (i, (a, b)) in block.iter().zip(&buffer).enumerate() {
                let at = offset + i as u64;
                assert!(
                    a == b
                        || listed
                            .iter()
                            .any(|(begin, end)| (*begin..*end).contains(&at)),
                    "byte {at} is not in the list"
                );
            }
        });
    }
}

#[test]
fn only_signatures_and_checksums_change() {
    let fixture = fixture();
    let image = copy(later(), "changes");
    let signed = good(&mut sign(&image, &fixture.keys, &["--json"]));
    let result: Value = serde_json::from_str(signed.lines().last().unwrap()).unwrap();
    assert_listed(later(), &image, &result["changes"]);
    assert_same_output(&fixture.out, &image);

    let others = fixture.root.join("other-keys");
    keys::generate(&others, KeyProfile::Development, now()).unwrap();
    let signed = good(&mut sign(&image, &others, &["--json"]));
    let result: Value = serde_json::from_str(signed.lines().last().unwrap()).unwrap();
    assert_listed(&fixture.out, &image, &result["changes"]);
    judge(&image, &others);
    good(&mut sign(&image, &fixture.keys, &[]));
    assert_same_output(&fixture.out, &image);
    let nothing = good(&mut sign(&image, &fixture.keys, &[]));
    assert!(nothing.contains("nothing changed"), "{nothing}");
    fs::remove_dir_all(image).unwrap();
}

fn uki(image: &Path) -> PathBuf {
    let name = names(image).into_iter().find(|name| name.ends_with(".efi"));
    image.join(name.unwrap())
}

/// sbverify and osslsigncode on the UKI.
fn judge(image: &Path, keys: &Path) {
    let certificate = keys.join("db.crt");
    let verdict = good(
        tool("sbverify")
            .arg("--cert")
            .arg(&certificate)
            .arg(uki(image)),
    );
    assert!(verdict.contains("Signature verification OK"), "{verdict}");
    let mut verify = tool("osslsigncode");
    verify.arg("verify").arg("-CAfile").arg(&certificate);
    let verdict = good(verify.arg("-in").arg(uki(image)));
    assert!(
        verdict.contains("Number of verified signatures: 1"),
        "{verdict}"
    );
}

#[test]
fn the_judges_agree_on_signed_unsigned_and_changed_programs() {
    let fixture = fixture();
    judge(&fixture.out, &fixture.keys);
    let certificate = fixture.keys.join("db.crt");
    let refused = |file: &Path| {
        bad(
            tool("sbverify").arg("--cert").arg(&certificate).arg(file),
            1,
        );
        let mut verify = tool("osslsigncode");
        verify.arg("verify").arg("-CAfile").arg(&certificate);
        bad(verify.arg("-in").arg(file), 1);
        let folder = file.parent().unwrap();
        let file = file.file_name().unwrap();
        bad(hullwright(folder).arg("inspect").arg(file).arg("verify"), 4);
    };
    let copy = fixture.root.join("judged.efi");
    fs::copy(uki(later()), &copy).unwrap();
    refused(&copy);
    let mut bytes = fs::read(uki(&fixture.out)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&copy, bytes).unwrap();
    refused(&copy);
    fs::remove_file(copy).unwrap();
}

#[test]
fn a_program_that_fails_leaves_the_image_as_it_was() {
    let certificates = certificates();
    let image = copy(later(), "unsigned");
    let before = sparse_digest(&image.join("disk.raw"));
    let listed = names(&image);
    let untouched = |what: &str| {
        assert_eq!(sparse_digest(&image.join("disk.raw")), before, "{what}");
        assert_eq!(names(&image), listed, "{what}");
        assert_eq!(names(image.parent().unwrap()), ["image"], "{what}");
    };
    for (script, expected) in [
        ("exit 9", "failed (exit status: 9)"),
        ("echo garbage", "gave a wrong answer"),
        (
            "echo '{\"signature\":\"AAAA\"}'",
            "gave a signature of 3 bytes",
        ),
        ("exec sleep 600", "gave no answer within 1 s"),
    ] {
        let signer = program("bad-signer", script);
        let mut command = sign(&image, &certificates, &["--signer", &signer]);
        let stderr = bad(command.env("HULLWRIGHT_SIGNER_TIMEOUT", "1"), 8);
        assert!(
            stderr.contains(expected) && stderr.contains("bad-signer"),
            "{stderr}"
        );
        untouched(script);
    }
    let stderr = bad(&mut sign(&image, &certificates, &[]), 8);
    assert!(stderr.contains("db.key"), "{stderr}");
    untouched("without a key");

    // Ctrl-C, once the program runs; it ends as well.
    let pid = fixture().root.join("slow-pid");
    let signer = program(
        "slow-signer",
        &format!("echo $$ >'{}'\nexec sleep 600", pid.display()),
    );
    let mut child = sign(&image, &certificates, &["--signer", &signer])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    while fs::read_to_string(&pid).map_or(true, |text| text.is_empty()) {
        assert!(Instant::now() < end, "the program was not started");
        std::thread::sleep(Duration::from_millis(20));
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let program = fs::read_to_string(&pid).unwrap();
    let proc = PathBuf::from(format!("/proc/{}", program.trim()));
    let gone = || fs::read_to_string(proc.join("stat")).map_or(true, |s| s.contains(") Z"));
    for _ in 0..100 {
        if gone() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(gone(), "the signing program outlived the interrupt");
    untouched("interrupted");
    fs::remove_dir_all(image).unwrap();
}
