//! Ctrl-C and SIGTERM: remove what is unfinished, then end with the contract's status.

use crate::failure::Kind;
use crate::staging;

/// Installs the handlers.
///
/// # Errors
/// The kernel refuses, which it does not on Linux.
pub fn install() -> anyhow::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            staging::abandon_all();
            std::process::exit(Kind::Interrupted.exit_code().into());
        }
    });
    Ok(())
}
