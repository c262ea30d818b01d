//! Ctrl-C and SIGTERM: transfers are asked to stop, so that their errors go the usual way and all
//! destructors run; what does not listen is cut off after a moment. Neither leaves a half output,
//! and partial downloads are resumed by the next run.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::output;
use crate::failure::{Failure, Kind};
use crate::run::machine;
use crate::sign::command;
use crate::staging;

/// How long a clean stop may take.
const GRACE: Duration = Duration::from_millis(700);

static FLAG: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);
static TOLD: AtomicBool = AtomicBool::new(false);

/// Set when the user wants an end.
pub fn flag() -> Arc<AtomicBool> {
    Arc::clone(&FLAG)
}

/// Installs the handlers.
///
/// # Errors
/// The kernel refuses, which it does not on Linux.
pub fn install(json: bool) -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::spawn(move || {
        let mut signals = signals.forever();
        if signals.next().is_none() {
            return;
        }
        FLAG.store(true, Ordering::Relaxed);
        std::thread::spawn(move || {
            std::thread::sleep(GRACE);
            end(json);
        });
        // Who asks twice does not want to wait.
        if signals.next().is_some() {
            end(json);
        }
    });
    Ok(())
}

/// The status of an interrupted program, once it has come back by itself; `None` without a signal.
pub fn status(json: bool) -> Option<u8> {
    FLAG.load(Ordering::Relaxed).then(|| tell(json))
}

fn tell(json: bool) -> u8 {
    if !TOLD.swap(true, Ordering::Relaxed) {
        let failure = Failure::new(Kind::Interrupted, "interrupted")
            .hint("what was downloaded is kept, and the next run goes on from there");
        output::error(&failure.into(), json);
    }
    Kind::Interrupted.exit_code()
}

fn end(json: bool) -> ! {
    machine::stop_all();
    command::stop_all();
    staging::abandon_all();
    std::process::exit(tell(json).into())
}
