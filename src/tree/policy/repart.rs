//! Definitions that keep systemd-repart from putting root into the slack.

use anyhow::Result;

use super::edit::Editor;
use crate::disk::repart::slack_definitions;
use crate::profile::schema::Disk;
use crate::tree::Tree;

/// Writes them to `/usr/lib/repart.d`, where repart in the initrd reads them.
///
/// # Errors
/// None in practice: the paths are the tool's own.
pub fn write(tree: &mut Tree, disk: &Disk) -> Result<()> {
    let mut edit = Editor::new(tree, "disk layout");
    for (name, text) in slack_definitions(disk) {
        edit.write(&format!("usr/lib/repart.d/{name}"), 0o644, text.as_str())?;
    }
    Ok(())
}
