//! One real build that the tests share, and the means to repeat it under other conditions.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use hullwright::archive::{self, Mirrors};
use hullwright::sign::keys::{self, KeyProfile};
use hullwright::stamp::Stamp;
use hullwright::store::Store;

use crate::support::{build, cache, good, hullwright, tool};

const PREFIX: &str = "hullwright-judges-";

/// A build of the `qemu` profile with everything that went into it.
pub struct Fixture {
    /// A folder that every user may enter; unlike a checkout, which may lie in somebody's home.
    pub root: PathBuf,
    /// The output.
    pub out: PathBuf,
    /// Signing keys.
    pub keys: PathBuf,
    /// The locked packages by SHA-256, as `fetch --to` keeps them.
    pub inputs: PathBuf,
    /// The lock.
    pub lock: PathBuf,
}

impl Fixture {
    /// What a build of the library is given to read its packages from: the inputs alone, no network.
    pub fn archive(&self, cache: &Path) -> archive::Context {
        let mirrors = Mirrors {
            flag: None,
            environment: None,
            apt: Vec::new(),
        };
        let store = Store::open(cache).unwrap();
        let mut context = archive::Context::new(store, mirrors, now().seconds());
        context.offline = true;
        context.from = Some(self.inputs.clone());
        context
    }
}

/// The build, made on first use.
pub fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let root = fresh_root();
        let keys = root.join("keys");
        keys::generate(&keys, KeyProfile::Development, now()).unwrap();
        let out = root.join("out");
        timed("a build, locking included", || {
            build(&root, "qemu", &out, &["--keys", keys.to_str().unwrap()]);
        });
        let inputs = root.join("inputs");
        timed("fetch --to", || {
            let mut fetch = hullwright(&root);
            good(
                fetch
                    .args(["fetch", "qemu", "--offline", "--to"])
                    .arg(&inputs),
            );
        });
        Fixture {
            lock: root.join("qemu.x86_64.lock"),
            out,
            keys,
            inputs,
            root,
        }
    })
}

/// The time now.
pub fn now() -> Stamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Stamp::from_seconds(now.as_secs())
}

/// A folder of this process; those of processes that are gone are removed.
fn fresh_root() -> PathBuf {
    let parent = std::env::temp_dir();
    for entry in fs::read_dir(&parent).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(pid) = name.strip_prefix(PREFIX)
            && !Path::new("/proc").join(pid).exists()
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let root = parent.join(format!("{PREFIX}{}", std::process::id()));
    fs::create_dir(&root).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
    root
}

/// Runs `work` and prints what it took.
pub fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let value = work();
    println!("{:>7.1} s  {what}", begun.elapsed().as_secs_f64());
    value
}

impl Fixture {
    /// A new folder with the lock in it, to run in.
    pub fn folder(&self, name: &str) -> PathBuf {
        let dir = self.root.join(name);
        fs::create_dir(&dir).unwrap();
        fs::copy(&self.lock, dir.join("qemu.x86_64.lock")).unwrap();
        dir
    }

    /// `hullwright build qemu` in `dir`, from the kept inputs only, with a cache of its own in
    /// `dir/cache` that is empty at first.
    pub fn build(&self, dir: &Path) -> Command {
        let mut command = hullwright(dir);
        command.env("HULLWRIGHT_CACHE", dir.join("cache"));
        self.arguments(&mut command);
        command
    }

    /// The same, with the cache that all tests share.
    pub fn build_warm(&self, dir: &Path) -> Command {
        let mut command = self.build(dir);
        command.env("HULLWRIGHT_CACHE", cache());
        command
    }

    /// Arguments of a build that can't but repeat the first one.
    pub fn arguments(&self, command: &mut Command) {
        command
            .args(["build", "qemu", "--locked", "--offline", "--keys"])
            .arg(&self.keys)
            .arg("--from")
            .arg(&self.inputs);
    }

    /// A copy of the program and the keys in `dir` that `uid` may use; returns both.
    pub fn for_user(&self, dir: &Path, uid: u32) -> (PathBuf, PathBuf) {
        let program = dir.join("hullwright");
        fs::copy(env!("CARGO_BIN_EXE_hullwright"), &program).unwrap();
        good(tool("cp").arg("-r").arg(&self.keys).arg(dir.join("keys")));
        give(dir, uid);
        (program, dir.join("keys"))
    }
}

/// Makes `uid` the owner of `dir` and everything in it.
pub fn give(dir: &Path, uid: u32) {
    good(tool("chown").arg("-R").arg(format!("{uid}:{uid}")).arg(dir));
}
