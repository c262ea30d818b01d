//! Releases of one product, good and bad, cut by `hullwright release` into a folder that is served.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::server::Server;
use crate::support::{good, shipped};
use crate::trust::keys;

/// A file of a release's overlay: path, mode, content.
pub type File<'a> = (&'a str, u32, &'a str);

/// What a release has over the base.
#[derive(Clone, Copy)]
pub struct Variant<'a> {
    pub files: &'a [File<'a>],
    /// Lines of the profile.
    pub more: &'a str,
    /// `health.timeout`, in seconds; the grace is a third of it.
    pub timeout: u32,
}

impl Default for Variant<'_> {
    fn default() -> Self {
        Self {
            files: &[],
            more: "",
            timeout: 360,
        }
    }
}

/// What the machines of a fleet are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Machines {
    /// x86_64 with firmware that checks signatures.
    SecureBoot,
    /// arm64 with U-Boot, which checks and counts nothing. They run no containers, which take a third of
    /// the time of a boot here.
    UBoot,
}

/// A product with its keys, its releases and their server.
pub struct Fleet {
    pub state: PathBuf,
    pub keys: PathBuf,
    /// The release tree.
    pub tree: PathBuf,
    pub server: Server,
    pub machines: Machines,
    cut: std::cell::Cell<u64>,
}

/// Later than any Release file of the suites: each cut takes the next second.
const STAMP: u64 = 1_900_000_000;

impl Fleet {
    pub fn new(name: &str) -> Self {
        Self::of(name, Machines::SecureBoot)
    }

    pub fn of(name: &str, machines: Machines) -> Self {
        // Not a temporary folder: it outlives the test, for a look at what went wrong.
        let state = crate::support::repository()
            .join("target/test-updates")
            .join(name);
        if state.exists() {
            fs::remove_dir_all(&state).unwrap();
        }
        fs::create_dir_all(&state).unwrap();
        let tree = state.join("releases");
        Self {
            keys: keys::make(&state, "keys", "release"),
            server: Server::start(&tree),
            tree,
            state,
            machines,
            cut: std::cell::Cell::new(0),
        }
    }

    fn profile(&self, version: &str, variant: &Variant<'_>) -> PathBuf {
        let Variant {
            files,
            more,
            timeout,
        } = *variant;
        let overlay = self.state.join("files");
        let _ = fs::remove_dir_all(&overlay);
        let agent = "\
[Unit]
Description=Voice of the test
[Service]
ExecStart=/usr/lib/hwtest/agent
Restart=always
RestartSec=1
[Install]
WantedBy=multi-user.target
";
        let script = include_str!("agent.sh");
        let release = format!("{version}\n");
        let own: [File<'_>; 3] = [
            ("usr/lib/systemd/system/hwtest-agent.service", 0o644, agent),
            ("usr/lib/hwtest/agent", 0o755, script),
            ("etc/hwtest-release", 0o644, &release),
        ];
        let mut enabled = vec!["hwtest-agent.service"];
        for (path, mode, text) in own.iter().chain(files) {
            let to = overlay.join(path);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::write(&to, text).unwrap();
            fs::set_permissions(&to, fs::Permissions::from_mode(*mode)).unwrap();
        }
        for (path, _, text) in files {
            if path.starts_with("usr/lib/systemd/system/") && text.contains("[Install]") {
                enabled.push(path.rsplit('/').next().unwrap());
            }
        }
        let text = format!(
            "\
name: fleet
extends: container-host
os:
  id: hwfleet
  name: Fleet Test
  version: 0.0.1
  channel: stable
update:
  url: http://10.0.2.2:{port}
  reboot: off
  windows: [{{start: \"*:0/3\", duration: 30s}}]
health:
  timeout: {timeout}
  grace: {grace}
root:
  overlay: [files]
  units:
    enable: [{enabled}]
{machines}
{more}",
            machines = match self.machines {
                Machines::SecureBoot => "boot:\n  verity_signature: require",
                Machines::UBoot => "    disable: [containerd.service]\nboot:\n  tries: 2",
            },
            port = self.server.port,
            grace = timeout / 3,
            enabled = enabled.join(", "),
        );
        let path = self.state.join("fleet.yaml");
        fs::write(&path, text).unwrap();
        path
    }

    /// Cuts `version` into the channel stable.
    pub fn cut_with(&self, version: &str, variant: &Variant<'_>) {
        let profile = self.profile(version, variant);
        self.cut.set(self.cut.get() + 1);
        good(
            shipped(&self.state)
                .args(["release", "cut"])
                .arg(profile)
                .args(["--channel", "stable", "--version", version, "--to"])
                .arg(&self.tree)
                .arg("--keys")
                .arg(&self.keys)
                .args(["--arch", self.arch()])
                // A version with Debian's larger kernel follows one with the cloud's.
                .args(["--max-growth", "100"])
                .args(["--stamp", &(STAMP + self.cut.get()).to_string()])
                // A mirror may lag by weeks; that is not what is judged here.
                .arg("--allow-expired"),
        );
    }

    /// Cuts `version` with `files` over the base.
    pub fn cut(&self, version: &str, files: &[File<'_>]) {
        let variant = Variant {
            files,
            ..Variant::default()
        };
        self.cut_with(version, &variant);
    }

    pub const fn arch(&self) -> &'static str {
        match self.machines {
            Machines::SecureBoot => "x86_64",
            Machines::UBoot => "arm64",
        }
    }

    /// The folder that nodes read.
    pub fn folder(&self) -> PathBuf {
        self.tree.join("stable").join(self.arch())
    }

    /// A copy of the tree as it is now, with hard links.
    pub fn snapshot(&self, name: &str) -> PathBuf {
        let to = self.state.join(name);
        good(
            crate::support::tool("cp")
                .arg("-al")
                .arg(&self.tree)
                .arg(&to),
        );
        to
    }

    /// The installable image of `version`, unpacked.
    pub fn image(&self, version: &str) -> PathBuf {
        let to = self.state.join(format!("{version}.raw"));
        let from = self
            .folder()
            .join(format!("hwfleet_{version}.disk.raw.zst"));
        good(
            crate::support::tool("zstd")
                .args(["-d", "-q", "-f", "--sparse"])
                .arg(from)
                .arg("-o")
                .arg(&to),
        );
        to
    }
}

/// Bytes of all files of `version` that a node downloads.
pub fn payload(folder: &Path, version: &str) -> u64 {
    let mark = format!("hwfleet_{version}");
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| {
            let name = entry.file_name().into_string().unwrap();
            name.starts_with(&mark)
                && (name.ends_with(".usr.raw")
                    || name.ends_with(".vty.raw")
                    || name.ends_with(".sig.raw")
                    || name == format!("{mark}.efi"))
        })
        .map(|entry| entry.metadata().unwrap().len())
        .sum()
}
