//! The few words of QEMU's machine protocol that a run needs.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// A connection to QEMU's control socket.
#[derive(Debug)]
pub struct Qmp {
    stream: UnixStream,
    reader: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects and leaves the negotiation mode.
    ///
    /// # Errors
    /// No socket yet, or QEMU is gone.
    pub fn connect(path: &Path) -> Result<Self> {
        let stream = UnixStream::connect(path)
            .with_context(|| format!("connecting to QEMU at {}", path.display()))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let reader = BufReader::new(stream.try_clone()?);
        let mut qmp = Self { stream, reader };
        qmp.line()?;
        qmp.command("qmp_capabilities")?;
        Ok(qmp)
    }

    fn line(&mut self) -> Result<serde_json::Value> {
        let mut line = String::new();
        if self
            .reader
            .read_line(&mut line)
            .context("reading from QEMU")?
            == 0
        {
            bail!("QEMU closed its control socket");
        }
        serde_json::from_str(&line).context("parsing QEMU's answer")
    }

    /// Runs a command without arguments and waits for its answer, past any events.
    ///
    /// # Errors
    /// QEMU refuses or is gone.
    pub fn command(&mut self, name: &str) -> Result<()> {
        writeln!(self.stream, "{{\"execute\":\"{name}\"}}").context("writing to QEMU")?;
        loop {
            let answer = self.line()?;
            if answer.get("return").is_some() {
                return Ok(());
            }
            if let Some(error) = answer.get("error") {
                bail!("QEMU refused {name}: {error}");
            }
        }
    }
}
