//! Progress of long work and the timings of its stages.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Receives what a build is doing. Cheap to clone, usable from every thread.
#[derive(Clone, Default)]
pub struct Progress(Arc<Shared>);

#[derive(Default)]
struct Shared {
    finished: Mutex<Vec<StageTime>>,
}

/// What a stage took.
#[derive(Debug, Clone, serde::Serialize)]
pub struct StageTime {
    /// Name.
    pub stage: String,
    /// Wall time.
    pub wall: Duration,
    /// Bytes it went through.
    pub bytes: u64,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Progress")
    }
}

impl Progress {
    /// Says nothing; still takes times.
    #[must_use]
    pub fn quiet() -> Self {
        Self::default()
    }

    /// Opens a stage; it ends when the value is dropped.
    #[must_use]
    pub fn stage(&self, name: &str, total_bytes: Option<u64>) -> Stage {
        let _ = total_bytes;
        Stage {
            shared: self.0.clone(),
            name: name.into(),
            begun: Instant::now(),
            bytes: 0.into(),
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

/// A stage under way. Shared by reference between the threads that work on it.
#[derive(Debug)]
pub struct Stage {
    shared: Arc<Shared>,
    name: String,
    begun: Instant,
    bytes: std::sync::atomic::AtomicU64,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

impl Stage {
    /// `bytes` more are done.
    pub fn add(&self, bytes: u64) {
        self.bytes
            .fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
    }

    /// What is being worked on now.
    pub fn item(&self, _name: &str) {}
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Ok(mut list) = self.shared.finished.lock() {
            list.push(StageTime {
                stage: std::mem::take(&mut self.name),
                wall: self.begun.elapsed(),
                bytes: *self.bytes.get_mut(),
            });
        }
    }
}
