//! When a file of the cache was last used: its modification time.

use std::fs::File;
use std::time::Duration;

use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use rustix::time::ClockId;

/// Uses within this time of each other count as one, so that reading does not keep writing inodes.
const GRAIN: Duration = Duration::from_secs(3600);

/// Notes that `file` is used. Where that is not allowed it goes earlier than it might.
pub(super) fn touch(file: &File) {
    let Ok(modified) = file.metadata().and_then(|data| data.modified()) else {
        return;
    };
    // The clock decides what is thrown away first, and never a byte of an image.
    let now = rustix::time::clock_gettime(ClockId::Realtime);
    let now = Duration::from_secs(u64::try_from(now.tv_sec).unwrap_or(0));
    let used = modified
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    if now.abs_diff(used) < GRAIN {
        return;
    }
    let time = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    let _ = rustix::fs::futimens(
        file,
        &Timestamps {
            last_access: time(UTIME_OMIT),
            last_modification: time(UTIME_NOW),
        },
    );
}
