//! Files with tokens, which only their owner may read.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
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
    /// The file that stdout or stderr is written to already, by others too: the token comes behind what is there.
    Stream(Stream),
}

/// A stream of this process.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    /// What it leads to.
    fn metadata(self) -> io::Result<Metadata> {
        let descriptor = match self {
            Self::Stdout => io::stdout().as_fd().try_clone_to_owned(),
            Self::Stderr => io::stderr().as_fd().try_clone_to_owned(),
        };
        File::from(descriptor?).metadata()
    }

    fn write(self, text: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(text).and_then(|()| stdout.flush())
            }
            Self::Stderr => io::stderr().write_all(text),
        }
    }
}

/// Where a token goes that goes nowhere: a stream that is closed is this, too.
const NOWHERE: &str = "/dev/null";

fn is_nowhere(there: &Metadata) -> bool {
    let is_it = |nowhere: Metadata| nowhere.file_type().is_char_device() && nowhere.rdev() == there.rdev();
    there.file_type().is_char_device() && fs::metadata(NOWHERE).is_ok_and(is_it)
}

/// Whether this path names a descriptor of a process, and no file.
fn is_descriptor(path: &Path) -> bool {
    let mut path = path.to_owned();
    // As many links as Linux follows.
    for _ in 0..40 {
        let (Some(name), Some(folder)) = (path.file_name(), path.parent()) else { return false };
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let Ok(folder) = fs::canonicalize(folder) else { return false };
        let is_of_descriptors = folder.file_name().is_some_and(|name| name == "fd");
        if is_of_descriptors && (folder.starts_with("/proc") || folder.starts_with("/dev")) {
            return true;
        }
        let here = folder.join(name);
        let Ok(leads_to) = fs::read_link(&here) else { return false };
        path = folder.join(leads_to);
    }
    false
}

impl TokenFile {
    /// Sees to it that a token can be written to this path, or without one to stdout.
    pub(crate) fn create(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else { return Self::stdout() };
        let is_nothing = fs::metadata(path).is_ok_and(|there| is_nowhere(&there));
        let is_shared = Self::stream_at(path).is_none() && path.is_file() && is_descriptor(path);
        if is_nothing {
            return Err(Failure::ours(
                "--token-file leads to /dev/null, so that nobody could release the lock; name a file",
            ));
        }
        if is_shared {
            let path = path.display().to_string();
            return Err(Failure::ours(format!(
                "--token-file {} is a file that others write to through the same descriptor, and what is there would be lost; omit it and \
                 redirect stdout there (>&N), or name a file",
                path.escape_debug()
            )));
        }
        Self::try_create(path).map_err(|error| {
            Failure::ours(format!("{} cannot be written: {error}", path.display().to_string().escape_debug()))
        })
    }

    /// Without a place of its own.
    fn stdout() -> Result<Self, Failure> {
        if Stream::Stdout.metadata().is_ok_and(|there| is_nowhere(&there)) {
            return Err(Failure::ours(
                "stdout is closed or /dev/null, so that nobody would have the token and could release the lock; read it \
                 (token=$(redlock acquire …)), or write it to a file with --token-file",
            ));
        }
        Ok(Self::Stream(Stream::Stdout))
    }

    /// Which of our streams is written to the file at this path.
    fn stream_at(path: &Path) -> Option<Stream> {
        let there = fs::metadata(path).ok()?;
        let is_there = |stream: &Stream| {
            let leads_to = stream.metadata();
            leads_to.is_ok_and(|leads_to| (leads_to.dev(), leads_to.ino()) == (there.dev(), there.ino()))
        };
        [Stream::Stdout, Stream::Stderr].into_iter().find(is_there)
    }

    fn try_create(path: &Path) -> io::Result<Self> {
        if let Some(stream) = Self::stream_at(path) {
            return Ok(Self::Stream(stream));
        }
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
            Self::Stream(stream) => stream.write(text),
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
