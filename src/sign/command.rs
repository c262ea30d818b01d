//! A program that signs: for a cloud's key service, a remote machine, or a person with a smart card.
//!
//! The protocol is in `docs/signers.md`. Besides `run`, this is the one place that starts a program,
//! and only one that the user named.

use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use serde::{Deserialize, Serialize};

use super::{Role, Signer};
use crate::base64;
use crate::digest::{Sha256, hex};
use crate::failure::{Failure, Kind};

/// Version of the protocol.
const VERSION: u32 = 1;
/// The one algorithm of version 1: RFC 8017, section 8.2, over a digest that is given.
pub const ALGORITHM: &str = "rsassa-pkcs1-v1_5-sha256";
/// The longest answer that is read.
const MOST_ANSWER: u64 = 64 << 10;
/// How often the program is looked at.
const GLANCE: Duration = Duration::from_millis(10);

/// Process groups that a signal handler has to end, because nothing is dropped when a process exits.
static RUNNING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// Ends every signing program; for the signal handler, just before the process exits.
pub fn stop_all() {
    let Ok(list) = RUNNING.lock() else {
        return;
    };
    for group in list.iter() {
        let _ = rustix::process::kill_process_group(*group, Signal::KILL);
    }
    // Whoever would start another one waits here for the end.
    std::mem::forget(list);
}

/// What the program reads on stdin.
#[derive(Debug, Serialize)]
struct Request<'a> {
    hullwright_signer: u32,
    key: &'a str,
    algorithm: &'a str,
    digest: String,
    certificate_sha256: Sha256,
    purpose: &'a str,
}

/// What it writes on stdout. Unknown keys are for later versions.
#[derive(Debug, Deserialize)]
struct Answer {
    signature: String,
}

/// A key that a program signs with.
#[derive(Debug)]
pub struct CommandSigner {
    words: Vec<String>,
    certificate: Vec<u8>,
    role: Role,
    limit: Duration,
}

impl CommandSigner {
    /// A signer that runs `words`, program first, for every signature by the key of `certificate`
    /// (DER).
    #[must_use]
    pub const fn new(
        words: Vec<String>,
        certificate: Vec<u8>,
        role: Role,
        limit: Duration,
    ) -> Self {
        Self {
            words,
            certificate,
            role,
            limit,
        }
    }

    fn failure(&self, what: impl std::fmt::Display) -> Failure {
        let program = self.words.first().map_or("", String::as_str);
        Failure::new(
            Kind::Keys,
            format!("the signing program `{program}` {what}"),
        )
    }

    fn start(&self) -> Result<Running> {
        let (program, arguments) = self.words.split_first().context("no program was named")?;
        // Under the lock, so that an interrupt finds the program or keeps it from being started.
        let mut list = RUNNING
            .lock()
            .map_err(|_| anyhow::anyhow!("a thread panicked while it started a program"))?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| {
                self.failure(format!("can't be started: {error}"))
                    .hint("a program without `/` is looked for in PATH")
            })?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let group = group.context("a process without a number")?;
        list.push(group);
        Ok(Running { child, group })
    }

    fn ask(&self, request: &str) -> Result<Vec<u8>> {
        let deadline = Instant::now() + self.limit;
        let mut running = self.start()?;
        let answer = running.exchange(request)?;
        let too_late = || {
            self.failure(format!(
                "gave no answer within {} s and was ended",
                self.limit.as_secs_f64()
            ))
            .hint("HULLWRIGHT_SIGNER_TIMEOUT sets the limit in seconds")
        };
        while !running.ended()? {
            if Instant::now() >= deadline {
                return Err(too_late().into());
            }
            std::thread::sleep(GLANCE);
        }
        let status = running.end()?;
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(answer) = answer.recv_timeout(left.max(Duration::from_secs(1))) else {
            return Err(too_late().into());
        };
        let answer = answer.with_context(|| self.failure("could not be read from"))?;
        // One that is not read to its end fails for that reason.
        if !status.success() && answer.len() as u64 <= MOST_ANSWER {
            return Err(self.failure(format!("failed ({status})")).into());
        }
        Ok(answer)
    }

    fn parse(&self, answer: &[u8]) -> Result<Vec<u8>> {
        if answer.is_empty() {
            return Err(self.failure("ended without an answer").into());
        }
        let expected = "expected one JSON object: {\"signature\": BASE64}";
        if answer.len() as u64 > MOST_ANSWER {
            return Err(self
                .failure(format!(
                    "answered more than {MOST_ANSWER} bytes; {expected}"
                ))
                .into());
        }
        let parsed: Answer = serde_json::from_slice(answer).map_err(|error| {
            self.failure(format!("gave a wrong answer ({error}); {expected}"))
                .hint(format!("it wrote: {}", excerpt(answer)))
        })?;
        base64::decode(&parsed.signature).ok_or_else(|| {
            self.failure("gave a signature that is not base64 (RFC 4648, section 4)")
                .into()
        })
    }
}

/// The beginning of what a program wrote, safe for a terminal.
fn excerpt(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.get(..200).unwrap_or(bytes))
        .escape_debug()
        .to_string()
}

impl Signer for CommandSigner {
    fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    fn sign_sha256(&self, digest: &[u8; 32]) -> Result<Vec<u8>> {
        self.sign_for(digest, "")
    }

    fn sign_for(&self, digest: &[u8; 32], purpose: &str) -> Result<Vec<u8>> {
        let mut request = serde_json::to_string(&Request {
            hullwright_signer: VERSION,
            key: self.role.name(),
            algorithm: ALGORITHM,
            digest: hex(digest),
            certificate_sha256: Sha256::of(&self.certificate),
            purpose,
        })
        .context("writing a request for the signing program")?;
        request.push('\n');
        self.parse(&self.ask(&request)?)
    }
}

/// A started program; ended with everything in its process group when dropped.
struct Running {
    child: Child,
    group: Pid,
}

impl Running {
    /// Gives the program its request, and reads what it answers. Neither waits: a program may do
    /// nothing of what is expected.
    fn exchange(&mut self, request: &str) -> Result<Receiver<std::io::Result<Vec<u8>>>> {
        let mut stdin = self.child.stdin.take().context("a program without stdin")?;
        let stdout = self.child.stdout.take().context("no stdout")?;
        let request = request.to_owned();
        std::thread::spawn(move || {
            // A program that knows what to sign need not read it.
            let _ = stdin.write_all(request.as_bytes());
        });
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let read = stdout.take(MOST_ANSWER + 1).read_to_end(&mut bytes);
            let _ = sender.send(read.map(|_| bytes));
        });
        Ok(receiver)
    }

    /// Whether the program has ended; it is left to be waited for, so that its number stays taken.
    fn ended(&self) -> Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        rustix::process::waitid(WaitId::Pid(self.group), options)
            .map(|status| status.is_some())
            .context("waiting for the signing program")
    }

    /// Ends what is left of the process group, and gives the program's status.
    fn end(&mut self) -> Result<std::process::ExitStatus> {
        let _ = rustix::process::kill_process_group(self.group, Signal::KILL);
        let status = self.child.wait().context("waiting for the signing program");
        if let Ok(mut list) = RUNNING.lock() {
            list.retain(|group| *group != self.group);
        }
        status
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let known = RUNNING.lock().is_ok_and(|list| list.contains(&self.group));
        if known {
            let _ = self.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::failure_of;
    use crate::sign::keys::tests::development_keys;

    fn signer(script: &str, limit: u64) -> CommandSigner {
        let words = ["sh", "-c", script].map(str::to_owned).to_vec();
        let certificate = development_keys().certificate().to_vec();
        CommandSigner::new(words, certificate, Role::Db, Duration::from_millis(limit))
    }

    #[test]
    fn the_request_is_one_line_of_json_and_the_answer_is_decoded() {
        let dir = tempfile::tempdir().unwrap();
        let seen = dir.path().join("seen");
        let script = format!(
            "cat >'{}'; echo '{{\"signature\":\"AQID\",\"new\":1}}'",
            seen.display()
        );
        let signature = signer(&script, 10_000)
            .sign_for(&[0xab; 32], "a UKI")
            .unwrap();
        assert_eq!(signature, [1, 2, 3]);
        let text = std::fs::read_to_string(seen).unwrap();
        assert_eq!(text.matches('\n').count(), 1);
        let fingerprint = Sha256::of(development_keys().certificate());
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            serde_json::json!({
                "hullwright_signer": 1,
                "key": "db",
                "algorithm": "rsassa-pkcs1-v1_5-sha256",
                "digest": "ab".repeat(32),
                "certificate_sha256": fingerprint,
                "purpose": "a UKI",
            })
        );
    }

    #[test]
    fn what_a_program_does_wrong_is_said() {
        for (script, limit, expected) in [
            ("exit 3", 10_000, "failed (exit status: 3)"),
            ("kill -9 $$", 10_000, "failed (signal: 9"),
            ("true", 10_000, "ended without an answer"),
            ("echo hello", 10_000, "gave a wrong answer"),
            ("echo '{}'", 10_000, "missing field `signature`"),
            ("echo '{\"signature\":\"!!\"}'", 10_000, "is not base64"),
            (
                "echo '{\"signature\":\"AQID\"} and more'",
                10_000,
                "gave a wrong answer",
            ),
            (
                "head -c 70000 /dev/zero",
                10_000,
                "answered more than 65536 bytes",
            ),
            ("sleep 60", 100, "gave no answer within 0.1 s"),
            (
                "sleep 60 & echo '{}'; wait",
                100,
                "gave no answer within 0.1 s",
            ),
            ("exec >&-; sleep 60", 100, "gave no answer within 0.1 s"),
        ] {
            let begun = Instant::now();
            let error = signer(script, limit).sign_sha256(&[1; 32]).unwrap_err();
            let failure = failure_of(&error).unwrap();
            assert_eq!(failure.kind, Kind::Keys);
            assert!(failure.message.contains("program `sh`"), "{failure}");
            assert!(failure.message.contains(expected), "{script}: {failure}");
            assert!(begun.elapsed() < Duration::from_secs(30), "{script}");
        }
        let words = vec!["hullwright-no-such-program".to_owned()];
        let limit = Duration::from_secs(1);
        let missing = CommandSigner::new(words, Vec::new(), Role::Db, limit);
        let error = missing.sign_sha256(&[1; 32]).unwrap_err();
        assert!(error.to_string().contains("can't be started"), "{error}");
    }

    #[test]
    fn what_a_program_started_ends_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        for (script, limit) in [
            ("sleep 60 & echo $! >FILE; wait", 300),
            (
                "sleep 60 & echo $! >FILE; echo '{\"signature\":\"AQID\"}'",
                10_000,
            ),
        ] {
            let script = script.replace("FILE", &file.display().to_string());
            let signed = signer(&script, limit).sign_sha256(&[1; 32]);
            assert_eq!(signed.is_ok(), limit == 10_000, "{signed:?}");
            let pid = std::fs::read_to_string(&file).unwrap();
            let gone = || {
                let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
                stat.map_or(true, |stat| stat.contains(") Z"))
            };
            for _ in 0..100 {
                if gone() {
                    break;
                }
                std::thread::sleep(GLANCE);
            }
            assert!(gone(), "{script}");
        }
    }
}
