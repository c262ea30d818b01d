//! When a file of the cache was last used: its modification time.

use std::fs::{File, Metadata};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use rustix::time::ClockId;

/// Uses within this time of each other count as one, so that reading does not keep writing inodes.
const GRAIN: Duration = Duration::from_secs(3600);

/// Whether a file that was last noted as `data` says is to be noted as used.
fn is_due(data: &Metadata) -> bool {
    let Ok(modified) = data.modified() else {
        return false;
    };
    // The clock decides what is thrown away first, and never a byte of an image.
    let now = rustix::time::clock_gettime(ClockId::Realtime);
    let now = Duration::from_secs(u64::try_from(now.tv_sec).unwrap_or(0));
    let used = modified
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    now.abs_diff(used) >= GRAIN
}

const NOW: Timestamps = Timestamps {
    last_access: Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_OMIT,
    },
    last_modification: Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_NOW,
    },
};

/// Notes that `file` is used. Where that is not allowed it goes earlier than it might.
pub(super) fn touch(file: &File) {
    if file.metadata().is_ok_and(|data| is_due(&data)) {
        let _ = rustix::fs::futimens(file, &NOW);
    }
}

/// As [`touch`], for a file that is not open.
pub(super) fn touch_path(path: &Path, data: &Metadata) {
    if is_due(data) {
        let _ = rustix::fs::utimensat(CWD, path, &NOW, AtFlags::empty());
    }
}
