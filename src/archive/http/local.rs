//! Verified content from and to plain folders, for machines without network.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::Digest as _;

use super::{BUFFER, Fetcher, Wanted};
use crate::digest::Sha256;
use crate::failure::{Failure, Kind};
use crate::store::{environment, hash_file};

impl Fetcher {
    /// Takes content of known hash from `folder`, where it is named by its hash.
    ///
    /// # Errors
    /// Missing there, or damaged.
    pub fn take_from(&self, folder: &Path, wanted: &Wanted<'_>) -> Result<PathBuf> {
        let path = folder.join(wanted.sha256.to_string());
        let mut file = File::open(&path).map_err(|e| {
            Failure::new(
                Kind::Archive,
                format!("{} is not in {}: {e}", wanted.what, folder.display()),
            )
            .hint(format!("expected {}", path.display()))
            .hint("`hullwright fetch PROFILE --to DIR` writes all inputs of a lock")
        })?;
        let mut temp = self.store.temp()?;
        let mut hash = sha2::Sha256::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            self.check_cancel()?;
            let n = file
                .read(&mut buffer)
                .map_err(|e| environment("reading", &path, &e))?;
            if n == 0 {
                break;
            }
            let bytes = buffer.get(..n).unwrap_or_default();
            hash.update(bytes);
            temp.write_all(bytes)?;
        }
        let found = Sha256(hash.finalize().into());
        if found != wanted.sha256 {
            return Err(Failure::new(
                Kind::Archive,
                format!(
                    "{} in {} has the wrong content: expected SHA-256 {}, found {found}",
                    wanted.what,
                    path.display(),
                    wanted.sha256
                ),
            )
            .hint("write the folder anew with `hullwright fetch PROFILE --to DIR`")
            .into());
        }
        let to = self.store.download_path(&wanted.sha256);
        temp.persist(&to)?;
        Ok(to)
    }
}

/// Copies verified content to `folder`, under its hash; what is there already with that content
/// stays.
///
/// # Errors
/// The machine's, naming the path.
pub(in crate::archive) fn copy_out(from: &Path, folder: &Path, sha256: &Sha256) -> Result<()> {
    let to = folder.join(sha256.to_string());
    if hash_file(&to).is_ok_and(|found| found == *sha256) {
        return Ok(());
    }
    let mut input = File::open(from).map_err(|e| environment("opening", from, &e))?;
    // As readable as the umask lets any new file be: the folder is made to be passed on.
    let mut temp = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666))
        .tempfile_in(folder)
        .map_err(|e| environment("making a temporary file in", folder, &e))?;
    io::copy(&mut input, &mut temp).map_err(|e| environment("writing", &to, &e))?;
    temp.as_file()
        .sync_data()
        .map_err(|e| environment("syncing", &to, &e))?;
    let found = hash_file(temp.path()).map_err(|e| environment("reading", temp.path(), &e))?;
    if found != *sha256 {
        return Err(Failure::new(
            Kind::Archive,
            format!("{} in the cache is damaged: found {found}", from.display()),
        )
        .hint("remove that file and fetch again")
        .into());
    }
    temp.persist(&to)
        .map_err(|e| e.error)
        .with_context(|| format!("naming {}", to.display()))?;
    Ok(())
}
