//! `hullwright test`: boots the exact bytes of a finished image and judges from outside.
//!
//! No way in is needed, so it works on release images: the console shows how far the boot came, and
//! the name of the boot entry on the ESP shows that the guest blessed it, which it does only behind
//! `boot-complete.target`.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::firmware::SecureBoot;
use super::junit::Check;
use super::machine::Console;
use super::{Bench, Settings};
use crate::esp::EspReader;
use crate::failure::{Failure, Kind};

/// What a boot showed.
#[derive(Debug)]
pub struct Verdict {
    /// The checks, in the order of a boot.
    pub checks: Vec<Check>,
    /// The whole console.
    pub console: String,
    /// Which accelerator was used.
    pub accelerator: String,
}

impl Verdict {
    /// Whether everything holds.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.failure.is_none())
    }
}

/// Longer than systemd itself waits: 90 s for a service, and twice 90 s for processes that are left.
const POWER_OFF: Duration = Duration::from_secs(300);

/// Console lines that a good boot shows, in their order.
const MARKERS: &[(&str, &str)] = &[
    ("the kernel starts", "Linux version "),
    (
        "the initrd hands over to the image",
        "initrd-switch-root.target",
    ),
    ("the boot is complete", "boot-complete.target"),
];
/// What the kernel's EFI stub says where firmware enforces signatures.
const SECURE_BOOT: (&str, &str) = ("Secure Boot is on", "UEFI Secure Boot is enabled");
/// Console lines that a good boot never shows.
const BAD: &[&str] = &[
    "Kernel panic",
    "[FAILED]",
    "[DEPEND]",
    "is corrupted",
    "emergency mode",
];
/// Emulated boots take minutes on busy machines.
const LIMIT: Duration = Duration::from_secs(900);

/// Boots `image`, whose ESP begins at `esp` bytes, on a throw-away copy.
///
/// # Errors
/// The machine can't be started. What the guest does wrong is in the verdict.
pub fn boot_test(image: &Path, esp: u64, settings: &Settings) -> Result<Verdict> {
    let settings = Settings {
        persist: false,
        ..settings.clone()
    };
    let bench = Bench::set_up(image, &settings)?;
    let log = bench.log();
    let before = boot_entries(&bench.disk, esp)?;
    let Some(entry) = before.iter().max().cloned() else {
        return Err(Failure::new(
            Kind::Usage,
            format!("{} has no boot entry", image.display()),
        )
        .into());
    };
    let blessed_name = blessed(&entry);
    let begun = Instant::now();
    let deadline = begun + settings.timeout.unwrap_or(LIMIT);
    let mut machine = bench.start(Console::File(log.clone()), Vec::new(), None)?;

    // From setup mode too: there the image has to enrol its keys and start again.
    let secure_boot = (settings.secure_boot != SecureBoot::Off).then_some(&SECURE_BOOT);
    let markers: Vec<_> = secure_boot.into_iter().chain(MARKERS).collect();
    let mut seen: Vec<Option<Duration>> = vec![None; markers.len()];
    let mut blessed_after = None;
    let mut bad: Option<(String, Duration)> = None;
    let mut ended = None;
    while blessed_after.is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(500));
        let console = read_console(&log)?;
        for (slot, (_, marker)) in seen.iter_mut().zip(&markers) {
            if slot.is_none() && console.contains(marker) {
                *slot = Some(begun.elapsed());
            }
        }
        bad = bad.or_else(|| bad_line(&console).map(|line| (line, begun.elapsed())));
        // The guest may be in the middle of a rename: not readable now means look again.
        if let Ok(names) = boot_entries(&bench.disk, esp)
            && names.contains(&blessed_name)
        {
            blessed_after = Some(begun.elapsed());
        }
        ended = machine.ended()?;
        // A service that fails may be tried again; a panic decides the boot.
        if ended.is_some() || console.contains("Kernel panic") {
            break;
        }
    }
    let off = blessed_after.is_some() && machine.power_down(POWER_OFF)?;
    let off_after = begun.elapsed();
    machine.stop();
    let console = read_console(&log)?;
    bad = bad.or_else(|| bad_line(&console).map(|line| (line, begun.elapsed())));

    let check = |name: &str, after: Option<Duration>, why: &str| Check {
        name: name.to_owned(),
        after: after.unwrap_or_else(|| begun.elapsed()),
        failure: after.is_none().then(|| why.to_owned()),
    };
    let mut checks: Vec<_> = markers
        .iter()
        .zip(seen)
        .map(|((name, marker), after)| {
            check(name, after, &format!("`{marker}` was not on the console"))
        })
        .collect();
    checks.push(Check {
        name: "nothing fails on the way".into(),
        after: bad
            .as_ref()
            .map_or_else(|| begun.elapsed(), |(_, after)| *after),
        failure: bad.map(|(line, _)| line),
    });
    let why = match ended {
        None if console.contains("Kernel panic") => "the kernel panicked".into(),
        Some(status) => format!("the guest ended by itself ({status})"),
        None => format!("{entry} was not renamed to {blessed_name} in time"),
    };
    checks.push(check("the boot entry is blessed", blessed_after, &why));
    checks.push(check(
        "the power button ends it in order",
        off.then_some(off_after),
        "the guest did not power off",
    ));
    Ok(Verdict {
        checks,
        console,
        accelerator: bench.accelerator(),
    })
}

/// File names in `EFI/Linux`, sorted.
fn boot_entries(disk: &Path, esp: u64) -> Result<Vec<String>> {
    let file = File::open(disk).with_context(|| format!("opening {}", disk.display()))?;
    let mut names: Vec<String> = EspReader::open(file, esp)
        .and_then(|mut esp| esp.list("EFI/Linux"))
        .context("reading the ESP of the guest's disk")?
        .into_iter()
        .map(|entry| entry.name)
        .filter(|name| name.to_ascii_lowercase().ends_with(".efi"))
        .collect();
    names.sort();
    Ok(names)
}

/// The entry's name without its boot counter (`+LEFT[-DONE]`, see UAPI.1, section "Boot counting").
fn blessed(entry: &str) -> String {
    let stem = entry.strip_suffix(".efi").unwrap_or(entry);
    let cut = stem.rfind('+').filter(|&at| {
        let counter = &stem[at + 1..];
        !counter.is_empty() && counter.bytes().all(|b| b.is_ascii_digit() || b == b'-')
    });
    format!("{}.efi", &stem[..cut.unwrap_or(stem.len())])
}

fn bad_line(console: &str) -> Option<String> {
    console
        .lines()
        .find(|line| BAD.iter().any(|bad| plain(line).contains(bad)))
        .map(|line| plain(line).trim().to_owned())
}

/// A console line without terminal control sequences (ECMA-48, section 5.4).
#[must_use]
pub fn plain(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            if chars.next_if_eq(&'[').is_some() {
                while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
            }
        } else if !c.is_control() || c == '\t' {
            out.push(c);
        }
    }
    out
}

fn read_console(log: &Path) -> Result<String> {
    match std::fs::read(log) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error).with_context(|| format!("reading {}", log.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blessed_entry_has_no_counter() {
        for (entry, wanted) in [
            ("hw_1.0.0+3-0.efi", "hw_1.0.0.efi"),
            ("hw_1.0.0+3.efi", "hw_1.0.0.efi"),
            ("hw_1.0.0.efi", "hw_1.0.0.efi"),
            ("hw_1+x.efi", "hw_1+x.efi"),
        ] {
            assert_eq!(blessed(entry), wanted);
        }
    }

    #[test]
    fn failures_are_found_behind_colours() {
        let console = "[  OK  ] a\n[\u{1b}[0;1;31mFAILED\u{1b}[0m] Failed to start x.\n";
        assert_eq!(bad_line(console).unwrap(), "[FAILED] Failed to start x.");
        assert_eq!(bad_line("[  OK  ] Started x.\n"), None);
    }
}
