//! Gives new objects their names once they are on the disk, behind the back of who made them.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::temp::Temp;

/// Objects that do not have their name yet.
type Pending = Mutex<BTreeMap<PathBuf, Arc<File>>>;

/// A thread that syncs and renames, while there is something to do.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    worker: Mutex<Option<Worker>>,
    pending: Arc<Pending>,
}

#[derive(Debug)]
struct Worker {
    jobs: Sender<(Temp, PathBuf)>,
    thread: JoinHandle<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keeper {
    /// Takes a whole file that is to be named `to`.
    pub fn give(&self, temp: Temp, to: PathBuf, file: Arc<File>) {
        lock(&self.pending).insert(to.clone(), file);
        let mut worker = lock(&self.worker);
        if worker.is_none() {
            *worker = start(&self.pending);
        }
        let job = match worker.as_ref() {
            Some(worker) => worker.jobs.send((temp, to)).map_err(|error| error.0),
            None => Err((temp, to)),
        };
        drop(worker);
        // Without a thread it takes longer, that is all.
        if let Err(job) = job {
            keep(job, &self.pending);
        }
    }

    /// The file that will have that name.
    pub fn pending(&self, path: &Path) -> Option<Arc<File>> {
        lock(&self.pending).get(path).cloned()
    }

    /// Waits until everything has its name.
    pub fn settle(&self) {
        let worker = lock(&self.worker).take();
        if let Some(Worker { jobs, thread }) = worker {
            drop(jobs);
            // It does not panic; if it did, objects would be missing, and are made again.
            let _ = thread.join();
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.settle();
    }
}

fn start(pending: &Arc<Pending>) -> Option<Worker> {
    let (jobs, todo) = channel();
    let pending = Arc::clone(pending);
    let thread = std::thread::Builder::new()
        .name("keep-objects".into())
        .spawn(move || {
            for job in todo {
                keep(job, &pending);
            }
        })
        .ok()?;
    Some(Worker { jobs, thread })
}

fn keep((temp, to): (Temp, PathBuf), pending: &Pending) {
    // Whoever came first has made the same.
    if !to.exists()
        && let Err(error) = temp.persist(&to)
    {
        tracing::warn!("{error:#}; what it holds will be made again");
    }
    lock(pending).remove(&to);
}
