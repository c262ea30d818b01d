//! A node of the fleet: a virtual machine with firmware that checks signatures, and a voice.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use hullwright::base64;

use crate::support::{good, hullwright, tool, u_boot};

/// What a boot may take here, where everything is emulated and CI has two cores.
pub const BOOT: Duration = Duration::from_secs(600);

/// What Linux says of a processor whose timer no longer fires (kernel/rcu/tree_stall.h).
const TIMER_LOST: &str = "kthread timer wakeup didn't happen";

/// A boot that came so far that it could speak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    pub id: String,
    pub version: String,
}

enum Said {
    Hello(Boot),
    Answer(String, i32, String),
}

/// What a script did in the guest.
#[derive(Debug)]
pub struct Answer {
    pub status: i32,
    pub output: String,
}

/// A disk with its firmware's variables, running or not.
pub struct Node {
    state: PathBuf,
    firmware: Vec<std::ffi::OsString>,
    pub disk: PathBuf,
    extra: Vec<String>,
    running: Option<Running>,
    asked: u32,
    /// The boots that spoke, in order.
    pub boots: Vec<Boot>,
}

struct Running {
    program: Child,
    monitor: PathBuf,
    agent: UnixStream,
    heard: Receiver<Said>,
}

impl Node {
    /// A node with Secure Boot whose disk is a copy of `image`.
    pub fn install(state: &Path, keys: &Path, image: &Path, name: &str) -> Self {
        let firmware = vec!["--secure-boot".into(), "--keys".into(), keys.into()];
        Self::with_firmware(state, firmware, image, name)
    }

    /// A node with U-Boot.
    pub fn under_u_boot(state: &Path, image: &Path, name: &str) -> Self {
        let firmware = vec!["--firmware".into(), u_boot().into()];
        Self::with_firmware(state, firmware, image, name)
    }

    fn with_firmware(
        state: &Path,
        firmware: Vec<std::ffi::OsString>,
        image: &Path,
        name: &str,
    ) -> Self {
        let disk = state.join(format!("{name}.raw"));
        let _ = fs::remove_file(&disk);
        let _ = fs::remove_dir_all(state.join(format!("{name}.raw.state")));
        good(tool("cp").arg("--sparse=always").arg(image).arg(&disk));
        Self {
            state: state.into(),
            firmware,
            disk,
            extra: Vec::new(),
            running: None,
            asked: 0,
            boots: Vec::new(),
        }
    }

    pub fn console(&self) -> PathBuf {
        self.disk.with_extension("console.log")
    }

    /// What the console of the present power cycle shows.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.console()).unwrap_or_default()).into_owned()
    }

    /// Switches it on.
    pub fn start(&mut self) {
        assert!(self.running.is_none());
        let agent = self.disk.with_extension("agent");
        let monitor = self.disk.with_extension("monitor");
        let _ = fs::remove_file(&agent);
        let _ = fs::remove_file(&monitor);
        let mut command = hullwright(&self.state);
        command
            .args(["run", "--persist", "--timeout", "7200"])
            .args(&self.firmware);
        let chardev = format!(
            "socket,id=agent,path={},server=on,wait=off",
            agent.display()
        );
        let qmp = format!("unix:{},server=on,wait=off", monitor.display());
        let arguments = [
            "-device",
            "virtio-serial-pci",
            "-chardev",
            &chardev,
            "-device",
            "virtserialport,chardev=agent,name=hwtest.agent",
            "-qmp",
            &qmp,
        ];
        for argument in arguments
            .into_iter()
            .chain(self.extra.iter().map(String::as_str))
        {
            command.arg("--qemu-arg").arg(argument);
        }
        let log = fs::File::create(self.console()).unwrap();
        let program = command
            .arg(&self.disk)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let stream = connect(&agent);
        let (send, heard) = channel();
        let listening = stream.try_clone().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(listening).lines() {
                let Ok(line) = line else { return };
                if let Some(said) = parse(&line)
                    && send.send(said).is_err()
                {
                    return;
                }
            }
        });
        self.running = Some(Running {
            program,
            monitor,
            agent: stream,
            heard,
        });
    }

    /// Waits for the next boot that speaks, which may be after one more power cut: see
    /// [`Self::lost_a_timer`].
    pub fn next_boot(&mut self, patience: Duration) -> Boot {
        let mut deadline = Instant::now() + patience;
        let mut has_lost = false;
        loop {
            let rest = deadline.saturating_duration_since(Instant::now());
            if let Some(boot) = self.boot_within(rest.min(Duration::from_secs(30))) {
                return boot;
            }
            if !has_lost && self.lost_a_timer() {
                eprintln!("QEMU lost the timer of a processor:\n{}", self.tail());
                has_lost = true;
                self.cut();
                self.start();
                deadline = Instant::now() + patience;
            }
            assert!(
                Instant::now() < deadline,
                "no boot spoke within {patience:?}\n{}",
                self.tail()
            );
        }
    }

    /// Whether the emulator has failed: once in many hundred boots QEMU's x86 loses a processor's timer
    /// for good, before there is an init. No watchdog is armed then, and who stands before such a
    /// machine switches it off and on.
    fn lost_a_timer(&self) -> bool {
        let shown = self.shown();
        let boot = shown.rsplit("Linux version ").next().unwrap_or_default();
        boot.contains(TIMER_LOST) && !boot.contains("systemd[1]")
    }

    fn boot_within(&mut self, patience: Duration) -> Option<Boot> {
        let deadline = Instant::now() + patience;
        loop {
            let rest = deadline.saturating_duration_since(Instant::now());
            let running = self.running.as_ref().unwrap();
            match running.heard.recv_timeout(rest) {
                Ok(Said::Hello(boot)) => {
                    self.boots.push(boot.clone());
                    return Some(boot);
                }
                Ok(Said::Answer(..)) => {}
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("the machine is gone\n{}", self.tail())
                }
            }
        }
    }

    /// Waits until `version` speaks; other versions may come up (and fail) before. Returns how many
    /// boots of others spoke.
    pub fn wait_for(&mut self, version: &str, patience: Duration) -> usize {
        let deadline = Instant::now() + patience;
        let mut others = 0;
        while self
            .next_boot(deadline.saturating_duration_since(Instant::now()))
            .version
            != version
        {
            others += 1;
        }
        others
    }

    /// Has the guest run `script`, and returns the name that its answer will have. One that ends the
    /// guest may go down with it before it answers.
    fn tell(&mut self, script: &str) -> String {
        self.asked += 1;
        let id = format!("q{}", self.asked);
        let line = format!("{id} {}\n", base64::encode(script.as_bytes()));
        let running = self.running.as_mut().unwrap();
        running.agent.write_all(line.as_bytes()).unwrap();
        id
    }

    /// Runs `script` in the guest. `None`: the guest went away, by a reboot it was asked for.
    pub fn try_ask(&mut self, script: &str, patience: Duration) -> Option<Answer> {
        let id = self.tell(script);
        let running = self.running.as_mut().unwrap();
        let deadline = Instant::now() + patience;
        loop {
            let rest = deadline.saturating_duration_since(Instant::now());
            match running.heard.recv_timeout(rest) {
                Ok(Said::Answer(of, status, output)) if of == id => {
                    return Some(Answer { status, output });
                }
                Ok(Said::Answer(..)) => {}
                Ok(Said::Hello(boot)) => {
                    self.boots.push(boot);
                    return None;
                }
                Err(_) => panic!("no answer to `{script}`\n{}", self.tail()),
            }
        }
    }

    /// Runs `script`, whatever its status.
    pub fn ask(&mut self, script: &str) -> Answer {
        self.try_ask(script, Duration::from_secs(1200))
            .unwrap_or_else(|| panic!("the guest restarted during `{script}`"))
    }

    /// Runs `script`, which must succeed.
    pub fn good(&mut self, script: &str) -> String {
        let answer = self.ask(script);
        assert_eq!(
            answer.status,
            0,
            "{script}\n{}\n{}",
            answer.output,
            self.tail()
        );
        answer.output
    }

    /// Has the guest run what restarts it. Whoever asked for an answer might hear the next boot in
    /// place of it.
    pub fn restart_by(&mut self, script: &str) {
        self.tell(script);
    }

    /// Restarts the guest in an orderly way.
    pub fn reboot(&mut self) {
        self.restart_by("systemctl --no-block reboot");
    }

    /// Cuts the power: nothing that the guest has not handed to its disk survives.
    pub fn cut(&mut self) {
        let Some(mut running) = self.running.take() else {
            return;
        };
        if let Ok(mut stream) = UnixStream::connect(&running.monitor) {
            // It ends before it answers.
            let _ = stream.write_all(b"{\"execute\":\"qmp_capabilities\"}{\"execute\":\"quit\"}\n");
            let deadline = Instant::now() + Duration::from_secs(20);
            while Instant::now() < deadline {
                if running.program.try_wait().unwrap().is_some() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        let _ = running.program.kill();
        let _ = running.program.wait();
    }

    /// Switches it off as an operator does.
    pub fn stop(&mut self) {
        self.tell("sync; systemctl --no-block poweroff");
        let mut running = self.running.take().unwrap();
        let deadline = Instant::now() + BOOT;
        while running.program.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "{}", self.tail());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn tail(&self) -> String {
        let shown = self.shown();
        let lines: Vec<&str> = shown.lines().collect();
        format!(
            "boots so far: {:?}\n{}",
            self.boots,
            lines[lines.len().saturating_sub(60)..].join("\n")
        )
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.cut();
    }
}

fn connect(socket: &Path) -> UnixStream {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < deadline, "{}: {error}", socket.display()),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn parse(line: &str) -> Option<Said> {
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        ["HELLO", id, version] => Some(Said::Hello(Boot {
            id: (*id).into(),
            version: (*version).into(),
        })),
        [id, status, output] => Some(Said::Answer(
            (*id).into(),
            status.parse().ok()?,
            if output.is_empty() {
                String::new()
            } else {
                String::from_utf8_lossy(&base64::decode(output)?).into_owned()
            },
        )),
        _ => None,
    }
}
