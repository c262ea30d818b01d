//! Progress of long work, and what each stage took.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Receives what a build is doing. Cheap to clone, usable from every thread.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    form: Form,
    finished: Mutex<Vec<StageTime>>,
}

/// Who is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// Nobody.
    #[default]
    Quiet,
    /// A person at a terminal: a bar with bytes and time left.
    Terminal,
    /// A log: a line when a stage ends.
    Lines,
    /// A program: an event when a stage ends, as a JSON line on stdout.
    Json,
}

/// What a stage took.
#[derive(Debug, Clone, serde::Serialize)]
pub struct StageTime {
    /// Name.
    pub stage: String,
    /// Wall time in seconds.
    pub wall: f64,
    /// Processor time of the whole process meanwhile, in seconds.
    pub cpu: f64,
    /// Bytes it went through.
    pub bytes: u64,
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

impl Progress {
    /// Says nothing; still takes times.
    #[must_use]
    pub fn quiet() -> Self {
        Self::default()
    }

    /// Tells in `form`.
    #[must_use]
    pub fn new(form: Form) -> Self {
        Self(Arc::new(Shared {
            form,
            finished: Mutex::default(),
        }))
    }

    /// A bar on a terminal, lines otherwise.
    #[must_use]
    pub fn for_people() -> Self {
        Self::new(if std::io::stderr().is_terminal() {
            Form::Terminal
        } else {
            Form::Lines
        })
    }

    /// Opens a stage; it ends when the value is dropped.
    #[must_use]
    pub fn stage(&self, name: &str, total_bytes: Option<u64>) -> Stage {
        let bar = (self.0.form == Form::Terminal).then(|| bar(name, total_bytes));
        Stage {
            shared: Arc::clone(&self.0),
            name: name.into(),
            begun: Instant::now(),
            cpu: cpu_time(),
            bytes: AtomicU64::new(0),
            bar,
        }
    }

    /// The stages that have ended.
    #[must_use]
    pub fn finished(&self) -> Vec<StageTime> {
        self.0
            .finished
            .lock()
            .map(|list| list.clone())
            .unwrap_or_default()
    }
}

fn bar(name: &str, total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (
            ProgressBar::new(total),
            "{prefix:>10} {bar:30} {bytes:>10}/{total_bytes} {eta:>4} {wide_msg}",
        ),
        None => (
            ProgressBar::new_spinner(),
            "{prefix:>10} {spinner} {bytes:>10} {wide_msg}",
        ),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_prefix(name.to_owned());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// A stage under way. Shared by reference between the threads that work on it.
#[derive(Debug)]
pub struct Stage {
    shared: Arc<Shared>,
    name: String,
    begun: Instant,
    cpu: Duration,
    bytes: AtomicU64,
    bar: Option<ProgressBar>,
}

impl Stage {
    /// `bytes` more are done.
    pub fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
    }

    /// What is being worked on now.
    pub fn item(&self, name: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(name.to_owned());
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let time = StageTime {
            stage: std::mem::take(&mut self.name),
            wall: self.begun.elapsed().as_secs_f64(),
            cpu: cpu_time().saturating_sub(self.cpu).as_secs_f64(),
            bytes: *self.bytes.get_mut(),
        };
        match self.shared.form {
            Form::Quiet => {}
            Form::Terminal | Form::Lines => {
                // In one write: others write there, too. A log that nobody reads any more is no reason
                // to fail.
                let bytes = match time.bytes {
                    0 => String::new(),
                    bytes => super::human_size(bytes),
                };
                let line = format!(
                    "{:>10}  {:7.2} s  {:7.2} s cpu  {bytes:>10}\n",
                    time.stage, time.wall, time.cpu
                );
                let _ = std::io::stderr().write_all(line.as_bytes());
            }
            Form::Json => {
                let line = serde_json::json!({
                    "v": 1, "event": "stage", "stage": time.stage,
                    "wall": time.wall, "cpu": time.cpu, "bytes": time.bytes,
                });
                let _ = writeln!(std::io::stdout().lock(), "{line}");
            }
        }
        if let Ok(mut list) = self.shared.finished.lock() {
            list.push(time);
        }
    }
}

/// The most memory that this process ever held, in bytes; 0 where the kernel does not tell.
#[must_use]
pub fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|value| value.trim().strip_suffix("kB"))
        .and_then(|kib| kib.trim().parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_recorded_when_it_ends() {
        let progress = Progress::quiet();
        let stage = progress.stage("fetch", Some(10));
        stage.add(4);
        stage.add(6);
        assert!(progress.finished().is_empty());
        drop(stage);
        let finished = progress.finished();
        assert_eq!(
            (finished[0].stage.as_str(), finished[0].bytes),
            ("fetch", 10)
        );
        assert!(peak_memory() > 1 << 20);
    }
}
