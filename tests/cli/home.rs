//! A user of one's own: home, project folder, temporary folder and environment of each test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use sha2::Digest as _;

pub struct Home {
    dir: tempfile::TempDir,
}

/// How a program ended and what it said.
pub struct Ran {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Home {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["home", "project", "tmp"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self { dir }
    }

    /// A path in the project, which is the working directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("project").join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn cache(&self) -> PathBuf {
        self.dir.path().join("home/.cache/hullwright")
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hullwright"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.dir.path().join("home"))
            .env("TMPDIR", self.dir.path().join("tmp"))
            .env("HULLWRIGHT_KEYS", keys())
            .current_dir(self.path(""))
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.finish(&mut self.command(arguments))
    }

    pub fn finish(&self, command: &mut Command) -> Ran {
        self.shown(&command.output().unwrap())
    }

    /// Texts with the paths of this test taken out.
    pub fn shown(&self, output: &Output) -> Ran {
        let text = |bytes: &[u8]| {
            String::from_utf8(bytes.to_vec())
                .unwrap()
                .replace(&self.dir.path().display().to_string(), "[DIR]")
        };
        Ran {
            status: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// Runs what must succeed; its stdout.
    pub fn good(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.status, 0, "{arguments:?}\n{ran}");
        ran.stdout
    }

    /// Runs what must fail with `status`; its stderr.
    pub fn bad(&self, arguments: &[&str], status: i32) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.status, status, "{arguments:?}\n{ran}");
        ran.judge_error();
        ran.stderr
    }

    /// All files of the project with their hashes.
    pub fn project(&self) -> BTreeMap<String, String> {
        let mut out = BTreeMap::new();
        walk(&self.path(""), &mut |path| {
            let name = path.strip_prefix(self.path("")).unwrap();
            let hash = std::fs::read(path).map_or_else(|_| "folder".into(), |b| sha256(&b));
            out.insert(name.display().to_string(), hash);
        });
        out
    }

    /// What the cache holds; everything in it must be verified, and nothing be half done.
    pub fn kept(&self) -> usize {
        let mut count = 0;
        walk(&self.cache(), &mut |path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() || name == ".lock" {
                return;
            }
            let below = path.strip_prefix(self.cache()).unwrap();
            let folder = below.components().next().unwrap().as_os_str();
            match folder.to_str().unwrap() {
                "downloads" => {
                    assert_eq!(sha256(&std::fs::read(path).unwrap()), name, "unverified");
                    count += 1;
                }
                "indices" | "releases" | "objects" | "derived" | "size" => {}
                _ => panic!("left behind: {}", below.display()),
            }
        });
        count
    }

    /// Names in a folder of the cache.
    pub fn cached(&self, folder: &str) -> Vec<String> {
        let mut names = Vec::new();
        walk(&self.cache().join(folder), &mut |path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_file() && name != ".lock" {
                names.push(name.to_owned());
            }
        });
        names
    }

    /// Fails when temporary files were left behind.
    pub fn no_temporaries(&self) {
        let left: Vec<_> = std::fs::read_dir(self.dir.path().join("tmp"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert!(left.is_empty(), "left in TMPDIR: {left:?}");
        for name in self.project().keys() {
            assert!(!name.contains(".hullwright-"), "left behind: {name}");
            assert!(!name.contains(".lock-"), "left behind: {name}");
        }
    }
}

impl Ran {
    /// What holds for every error: it is on stderr, fits on a screen, and is no panic.
    pub fn judge_error(&self) {
        assert!(self.stderr.contains("error: "), "{self}");
        assert!(!self.stderr.contains("panicked"), "{self}");
        assert!(!self.stderr.contains("defect in hullwright"), "{self}");
        assert!(self.stderr.lines().count() <= 24, "{self}");
    }

    /// The lines of `--json`, each with version and event.
    pub fn events(&self) -> Vec<serde_json::Value> {
        let events: Vec<serde_json::Value> = self
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect();
        for event in &events {
            assert_eq!(event["v"], 1, "{event}");
            assert!(event["event"].is_string(), "{event}");
        }
        let (last, before) = events.split_last().unwrap_or_else(|| panic!("{self}"));
        let end = |event: &serde_json::Value| {
            ["result", "error"].contains(&event["event"].as_str().unwrap())
        };
        assert!(end(last), "{self}");
        assert!(!before.iter().any(end), "{self}");
        events
    }

    /// The last of them.
    pub fn last(&self) -> serde_json::Value {
        self.events().pop().unwrap()
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "status {}", self.status)?;
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.is_empty() {
                write!(f, "--- {name}\n{text}")?;
            }
        }
        Ok(())
    }
}

/// What differs from run to run as words: hashes and fingerprints that come from keys of the test,
/// the clock, names of temporary folders. Stages with their times go.
pub fn stable(text: &str) -> String {
    let stage = |line: &&str| !line.contains(" s cpu");
    let mut text: String = text.split_inclusive('\n').filter(stage).collect();
    for (before, after, word) in [
        (" and it is ", " now", "[NOW]"),
        ("/.hullwright-", "\"", "[RANDOM]"),
        (".auth is of ", ",", "[TODAY]"),
    ] {
        if let Some(start) = text.find(before).map(|at| at + before.len())
            && let Some(length) = text[start..].find(after)
        {
            text.replace_range(start..start + length, word);
        }
    }
    let mut out = String::new();
    let mut word = String::new();
    for c in text.chars().chain(['\0']) {
        if c.is_ascii_hexdigit() {
            word.push(c);
            continue;
        }
        match word.len() {
            64 => out.push_str("[SHA256]"),
            40 => out.push_str("[FINGERPRINT]"),
            _ => out.push_str(&word),
        }
        word.clear();
        if c != '\0' {
            out.push(c);
        }
    }
    out
}

pub fn sha256(bytes: &[u8]) -> String {
    sha2::Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn walk(folder: &Path, visit: &mut dyn FnMut(&Path)) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        visit(&path);
        if path.is_dir() && !path.is_symlink() {
            walk(&path, visit);
        }
    }
}

/// Signing keys for builds: made once, for they cost a second.
pub fn keys() -> PathBuf {
    static KEYS: OnceLock<PathBuf> = OnceLock::new();
    KEYS.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let keys = target.join("cli-key-set");
        if !keys.is_dir() {
            let new = tempfile::tempdir_in(target).unwrap();
            let made = Command::new(env!("CARGO_BIN_EXE_hullwright"))
                .args(["--quiet", "keys", "new"])
                .arg(new.path().join("keys"))
                .stdout(Stdio::null())
                .status()
                .unwrap();
            assert!(made.success());
            // Another process may have been faster.
            let _ = std::fs::rename(new.path().join("keys"), &keys);
        }
        keys
    })
    .clone()
}
