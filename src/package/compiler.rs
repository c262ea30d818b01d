//! Compiles many packages on every core, in bounded memory, while downloads still run.
//!
//! Each worker is a thread of its own that takes the largest package in waiting; what can be split
//! further (blocks of an xz file, chunks of a blob) goes to rayon's pool. Workers may wait for the
//! pool, the pool never waits for a worker, so that nothing can wait for itself. A package is begun
//! only when its estimate fits into what is left of [`COMPILE_MEMORY`], or when it is alone.
//!
//! With a store, each object is kept there, and its content is read from there from then on: memory
//! holds what is under way, and not what is done.
//!
//! The pool is rayon's global one, and so is the number of threads.

use std::collections::BTreeMap;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::compile::{DebId, Vanished, compile_open};
use super::limits::{COMPILE_FACTOR, COMPILE_MEMORY, COMPILE_OVERHEAD};
use super::object::PackageObject;
use super::stored;
use crate::erofs::CodecSettings;
use crate::report::Progress;
use crate::report::progress::Stage;
use crate::store::Store;

struct Job {
    index: usize,
    id: DebId,
    /// Open, so that it can be read even if another process makes room in the cache.
    file: File,
    path: PathBuf,
    size: u64,
}

impl Job {
    fn memory(&self) -> u64 {
        self.size
            .saturating_mul(COMPILE_FACTOR)
            .saturating_add(COMPILE_OVERHEAD)
    }
}

#[derive(Default)]
struct State {
    /// Waiting jobs; the last is the largest, ties go to the lower index.
    waiting: BTreeMap<(u64, std::cmp::Reverse<usize>), Job>,
    done: BTreeMap<usize, Arc<PackageObject>>,
    errors: BTreeMap<usize, anyhow::Error>,
    submitted: usize,
    under_way: usize,
    memory: u64,
    closed: bool,
}

impl State {
    /// The largest job that fits beside those under way.
    fn next_job(&mut self) -> Option<Job> {
        let left = COMPILE_MEMORY.saturating_sub(self.memory);
        let alone = self.under_way == 0;
        let key = self
            .waiting
            .iter()
            .rev()
            .find(|(_, job)| alone || job.memory() <= left)
            .map(|(key, _)| *key)?;
        self.waiting.remove(&key)
    }
}

struct Shared {
    settings: CodecSettings,
    store: Option<Store>,
    /// Objects could not be kept, and it was said.
    refused: AtomicBool,
    stage: Stage,
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut state = self.lock();
        loop {
            let failed = !state.errors.is_empty();
            if failed {
                state.waiting.clear();
            }
            let Some(job) = state.next_job() else {
                if state.waiting.is_empty() && (state.closed || failed) {
                    return;
                }
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.under_way += 1;
            let memory = job.memory();
            state.memory = state.memory.saturating_add(memory);
            drop(state);
            let Job {
                index,
                id,
                file,
                path,
                size,
            } = job;
            self.stage.item(&id.name);
            // A worker that died would leave the others waiting for the memory it has taken.
            let result = catch_unwind(AssertUnwindSafe(|| {
                compile_open(file, &path, &id, &self.settings).map(|object| self.keep(&id, object))
            }))
            .unwrap_or_else(|_| Err(anyhow::anyhow!("compiling {} panicked", id.name)));
            self.stage.add(size);
            state = self.lock();
            state.under_way -= 1;
            state.memory = state.memory.saturating_sub(memory);
            match result {
                Ok(object) => {
                    state.done.insert(index, Arc::new(object));
                }
                Err(error) => {
                    state.errors.insert(index, error);
                }
            }
            self.changed.notify_all();
        }
    }
}

impl Shared {
    /// The object as it is in the store. Where it can't be kept it stays in memory: a full disk
    /// under the cache costs the next build time, and this one nothing.
    fn keep(&self, id: &DebId, object: PackageObject) -> PackageObject {
        let Some(store) = self.store.as_ref() else {
            return object;
        };
        if self.refused.load(Ordering::Relaxed) {
            return object;
        }
        stored::keep(store, id, &self.settings, &object).unwrap_or_else(|error| {
            if !self.refused.swap(true, Ordering::Relaxed) {
                tracing::warn!("compiled packages are not kept in the cache: {error:#}");
            }
            object
        })
    }
}

/// Compiles packages as they come in. Submit from any thread, then [`Compiler::finish`].
pub struct Compiler {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Compiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiler")
            .field("workers", &self.workers.len())
            .finish_non_exhaustive()
    }
}

impl Compiler {
    /// Starts as many workers as rayon's pool has threads. Objects are kept in `store`. `total` is the size of all packages, for
    /// the progress display, where it is known.
    ///
    /// # Errors
    /// The machine refuses to start a thread.
    pub fn new(
        settings: CodecSettings,
        store: Option<&Store>,
        progress: &Progress,
        total: Option<u64>,
    ) -> anyhow::Result<Self> {
        let mut compiler = Self {
            shared: Arc::new(Shared {
                settings,
                store: store.cloned(),
                refused: AtomicBool::new(false),
                stage: progress.stage("compile", total),
                state: Mutex::default(),
                changed: Condvar::new(),
            }),
            workers: Vec::new(),
        };
        for number in 0..rayon::current_num_threads() {
            let shared = compiler.shared.clone();
            let worker = std::thread::Builder::new()
                .name(format!("compile-{number}"))
                .spawn(move || shared.work())?;
            compiler.workers.push(worker);
        }
        Ok(compiler)
    }

    /// Hands in the package `id` at `path`, which will stand at `index` of the result. Never waits.
    ///
    /// # Errors
    /// The file can't be opened.
    pub fn submit(&self, index: usize, id: DebId, path: &Path) -> anyhow::Result<()> {
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (size, file) = opened.map_err(|error| Vanished::or(error, path, &id))?;
        let mut state = self.shared.lock();
        state.submitted += 1;
        let path = path.to_owned();
        let job = Job {
            index,
            id,
            file,
            path,
            size,
        };
        state.waiting.insert((size, std::cmp::Reverse(index)), job);
        drop(state);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Takes a package that is compiled already, to stand at `index` of the result.
    pub fn adopt(&self, index: usize, object: Arc<PackageObject>) {
        let mut state = self.shared.lock();
        state.submitted += 1;
        state.done.insert(index, object);
    }

    fn join(&mut self) -> anyhow::Result<()> {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        let mut whole = true;
        for worker in self.workers.drain(..) {
            // Called from a thread of the pool, it helps: workers wait for the pool.
            while rayon::current_thread_index().is_some() && !worker.is_finished() {
                if rayon::yield_now() != Some(rayon::Yield::Executed) {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
            }
            whole &= worker.join().is_ok();
        }
        anyhow::ensure!(whole, "a thread that compiles packages has panicked");
        Ok(())
    }

    /// Waits for all packages and returns them by index.
    ///
    /// # Errors
    /// Of the packages that failed, the error of the one with the lowest index.
    pub fn finish(mut self) -> anyhow::Result<Vec<Arc<PackageObject>>> {
        self.join()?;
        let mut state = std::mem::take(&mut *self.shared.lock());
        if let Some((_, error)) = state.errors.pop_first() {
            return Err(error);
        }
        anyhow::ensure!(
            state.done.len() == state.submitted,
            "two packages were submitted under one index"
        );
        Ok(state.done.into_values().collect())
    }
}

impl Drop for Compiler {
    fn drop(&mut self) {
        // Given up before `finish`: what waits is dropped, what is under way is waited for.
        self.shared.lock().waiting.clear();
        let _ = self.join();
    }
}

/// Compiles `debs`; the result is in their order.
///
/// # Errors
/// See [`compile`].
pub fn compile_all(
    debs: &[(DebId, PathBuf)],
    settings: CodecSettings,
    progress: &Progress,
) -> anyhow::Result<Vec<Arc<PackageObject>>> {
    let compiler = Compiler::new(settings, None, progress, None)?;
    for (index, (id, path)) in debs.iter().enumerate() {
        compiler.submit(index, id.clone(), path)?;
    }
    compiler.finish()
}
