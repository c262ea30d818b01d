//! A guest that is only listened to.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hullwright::run::boot_test::plain;

use crate::support::{good, tool};

/// Emulated boots take minutes on busy machines.
const LIMIT: Duration = Duration::from_secs(900);

/// What the log of a console shows, without what terminals do with it.
pub fn shown(log: &Path) -> String {
    let text = fs::read(log).unwrap();
    let text = String::from_utf8_lossy(&text);
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n")
}

/// Starts `command`, a `hullwright run`, and returns what was on the console when one of `ends` came
/// up, or the guest ended by itself, or time was up.
pub fn listen(command: &mut Command, log: &Path, ends: &[&str]) -> String {
    let output = File::create(log).unwrap();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let read = || shown(log);
    while begun.elapsed() < LIMIT {
        std::thread::sleep(Duration::from_millis(300));
        let console = read();
        if ends.iter().any(|end| console.contains(end)) {
            break;
        }
        if child.try_wait().unwrap().is_some() {
            return read();
        }
    }
    // hullwright ends its guest when it is told to end.
    good(tool("kill").arg(child.id().to_string()));
    child.wait().unwrap();
    println!("listened for {:.0} s", begun.elapsed().as_secs_f64());
    read()
}
