//! A way into the guest: a key handed over as a credential, and OpenSSH's client on a forwarded port.

use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::machine::Machine;
use crate::failure::{Failure, Kind};

/// The credential that systemd's tmpfiles turn into root's `authorized_keys` (tmpfiles.d
/// `provision.conf`).
pub const CREDENTIAL: &str = "ssh.authorized_keys.root";

/// A key pair for one machine.
#[derive(Debug)]
pub struct Key {
    private: PathBuf,
    public: String,
}

impl Key {
    /// Opens the key at `path`, or makes one there.
    ///
    /// # Errors
    /// `ssh-keygen` is not installed, or `path` can't be written.
    pub fn at(path: &Path) -> Result<Self> {
        if !path.exists() {
            let status = Command::new("ssh-keygen")
                .args([
                    "-q",
                    "-t",
                    "ed25519",
                    "-N",
                    "",
                    "-C",
                    "hullwright run",
                    "-f",
                ])
                .arg(path)
                .stdin(Stdio::null())
                .status()
                .map_err(|error| missing_client("ssh-keygen", &error))?;
            if !status.success() {
                return Err(Failure::new(
                    Kind::Environment,
                    format!("ssh-keygen could not make a key at {}", path.display()),
                )
                .into());
            }
        }
        let public_path = path.with_extension("pub");
        let public = std::fs::read_to_string(&public_path)
            .with_context(|| format!("reading {}", public_path.display()))?;
        Ok(Self {
            private: path.to_owned(),
            public,
        })
    }

    /// The line for `authorized_keys`.
    #[must_use]
    pub fn public(&self) -> &str {
        &self.public
    }
}

fn missing_client(program: &str, error: &std::io::Error) -> Failure {
    Failure::new(Kind::Environment, format!("starting {program}: {error}"))
        .hint("install OpenSSH's client: apt install openssh-client")
}

/// An open connection to the guest; commands share it.
#[derive(Debug)]
pub struct Session {
    socket: PathBuf,
    port: u16,
}

impl Session {
    /// Waits until the guest answers on `port` and logs in as root.
    ///
    /// # Errors
    /// The guest ended, or `deadline` has passed.
    pub fn open(
        machine: &mut Machine,
        key: &Key,
        port: u16,
        dir: &Path,
        deadline: Instant,
    ) -> Result<Self> {
        let session = Self {
            socket: dir.join("ssh"),
            port,
        };
        let mut last = "no SSH banner yet".to_owned();
        loop {
            if let Some(status) = machine.ended()? {
                return Err(Failure::new(
                    Kind::Guest,
                    format!("the guest ended before SSH answered ({status})"),
                )
                .into());
            }
            if Instant::now() >= deadline {
                return Err(Failure::new(
                    Kind::TimedOut,
                    format!("the guest did not answer on SSH in time; last: {last}"),
                )
                .hint("give it longer with --timeout SECONDS")
                .into());
            }
            if has_banner(port) {
                match session.master(key) {
                    Ok(()) => return Ok(session),
                    Err(why) => last = why,
                }
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Starts the connection that commands go through.
    fn master(&self, key: &Key) -> Result<(), String> {
        let output = self
            .client()
            .args([
                "-o",
                "ControlMaster=yes",
                "-o",
                "ControlPersist=yes",
                "-N",
                "-f",
                "-i",
            ])
            .arg(&key.private)
            .arg("root@127.0.0.1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // The connection that stays behind would hold a pipe open for ever.
            .stderr(Stdio::null())
            .status()
            .map_err(|error| missing_client("ssh", &error).to_string())?;
        if output.success() {
            Ok(())
        } else {
            Err("SSH refused the login".into())
        }
    }

    fn client(&self) -> Command {
        let mut command = Command::new("ssh");
        command
            .args([
                "-F",
                "none",
                "-o",
                "BatchMode=yes",
                "-o",
                "StrictHostKeyChecking=no",
            ])
            .args(["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"])
            .args(["-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=30", "-o"])
            .arg(format!("ControlPath={}", self.socket.display()))
            .args(["-p", &self.port.to_string()]);
        command
    }

    /// Starts `command` in the guest's shell, standard streams inherited, and waits at most until
    /// `deadline`.
    ///
    /// # Errors
    /// The client does not start, or `deadline` has passed.
    pub fn exec(&self, command: &str, deadline: Instant) -> Result<ExitStatus> {
        let mut child = self
            .client()
            .args(["-o", "ControlMaster=no", "root@127.0.0.1", "--", command])
            .spawn()
            .map_err(|error| missing_client("ssh", &error))?;
        loop {
            if let Some(status) = child.try_wait().context("waiting for ssh")? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                let _ = child.kill();
                let _ = child.wait();
                return Err(Failure::new(
                    Kind::TimedOut,
                    format!("`{command}` did not end in time"),
                )
                .hint("give it longer with --timeout SECONDS")
                .into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// An interactive shell on the terminal.
    ///
    /// # Errors
    /// The client does not start.
    pub fn shell(&self) -> Result<ExitStatus> {
        self.client()
            .args(["-o", "ControlMaster=no", "-t", "root@127.0.0.1"])
            .status()
            .map_err(|error| missing_client("ssh", &error).into())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The guest may be gone already; then there is nothing left to close.
        let _ = self
            .client()
            .args(["-O", "exit", "root@127.0.0.1"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// Whether an SSH server speaks on `port`: QEMU accepts connections itself, long before the guest.
fn has_banner(port: u16) -> bool {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(2)) else {
        return false;
    };
    let mut banner = [0; 4];
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .is_ok()
        && stream.read_exact(&mut banner).is_ok()
        && &banner == b"SSH-"
}
