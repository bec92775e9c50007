//! Files with tokens, which only their owner may read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::exit::{Failure, tell};

/// The owner may read and write it, and nobody else.
const OWNERS: u32 = 0o600;

/// A file that a token is going to be written to. What it held stays until then.
#[derive(Debug)]
pub(crate) enum TokenFile {
    /// A new one, which takes the place of the one that may be there: whoever has that one open does not see the token.
    New { file: File, path: PathBuf, place: PathBuf },
    /// A pipe or the like; or a file in a folder that is not ours to write to.
    There { file: File, is_regular: bool },
}

impl TokenFile {
    /// Sees to it that a token can be written to this path.
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        Self::try_create(path).map_err(|error| {
            Failure::ours(format!("{} cannot be written: {error}", path.display().to_string().escape_debug()))
        })
    }

    fn try_create(path: &Path) -> io::Result<Self> {
        let there = match fs::metadata(path) {
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if there.as_ref().is_some_and(|there| !there.is_file()) {
            return Ok(Self::There { file: OpenOptions::new().write(true).open(path)?, is_regular: false });
        }
        // A link stays one.
        let place = if there.is_some() { fs::canonicalize(path)? } else { path.to_owned() };
        let Some(name) = place.file_name() else { return Err(ErrorKind::InvalidInput.into()) };
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}", std::process::id()));
        let new = place.with_file_name(hidden);
        match OpenOptions::new().write(true).create_new(true).mode(OWNERS).open(&new) {
            Ok(file) => Ok(Self::New { file, path: new, place }),
            Err(error) if error.kind() == ErrorKind::PermissionDenied && there.is_some() => {
                let file = OpenOptions::new().write(true).open(&place)?;
                file.set_permissions(fs::Permissions::from_mode(OWNERS))?;
                Ok(Self::There { file, is_regular: true })
            }
            Err(error) => Err(error),
        }
    }

    /// Writes it; then it is there as a whole.
    pub(crate) fn write(mut self, text: &[u8]) -> io::Result<()> {
        match &mut self {
            Self::New { file, path, place } => {
                file.write_all(text)?;
                file.sync_all()?;
                fs::rename(path, place)
            }
            Self::There { file, is_regular } => {
                file.write_all(text)?;
                if *is_regular {
                    file.set_len(u64::try_from(text.len()).unwrap_or(u64::MAX))?;
                }
                Ok(())
            }
        }
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        if let Self::New { path, .. } = self {
            // Once it is written it is not there under this name.
            let _ = fs::remove_file(path);
        }
    }
}

/// Says so if others may read this file, which is open.
pub(crate) fn tell_if_others_may_read(path: &Path, file: &File) {
    let is_open_to_others = file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o044 != 0);
    if is_open_to_others {
        let path = path.display().to_string();
        tell(format_args!(
            "others may read the token in {0}; keep it from them with: chmod 600 {0}",
            path.escape_debug()
        ));
    }
}
