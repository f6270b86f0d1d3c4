//! Files with a content of their own, as the archive that the engine unpacks in a container.

use std::io;

use bytes::Bytes;

use crate::engine::{EngineError, Result};
use crate::model::{FileSource, JobFile};

/// A tar archive with paths from the root; `None` when there is nothing to write.
///
/// # Errors
/// [`EngineError::Invalid`] when a path has no form in an archive.
pub(super) fn of(files: &[JobFile]) -> Result<Option<Bytes>> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut is_empty = true;
    for file in files {
        let JobFile {
            kind: _,
            name,
            target,
            source,
        } = file;
        let FileSource::Content {
            content,
            uid,
            gid,
            mode,
        } = source
        else {
            continue; // A mount of the create request.
        };
        let bytes = content.expose().as_bytes();
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_uid(u64::from(*uid));
        header.set_gid(u64::from(*gid));
        header.set_mode(*mode);
        archive
            .append_data(&mut header, target.trim_start_matches('/'), bytes)
            .map_err(|error| unwritable(name, &error))?;
        is_empty = false;
    }
    let bytes = archive
        .into_inner()
        .map_err(|error| unwritable("the archive", &error))?;
    Ok((!is_empty).then(|| Bytes::from(bytes)))
}

fn unwritable(name: &str, error: &io::Error) -> EngineError {
    EngineError::Invalid(format!("`{name}` cannot be written into the container: {error}"))
}
