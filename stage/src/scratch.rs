//! What every handler does on this machine beside its stage's own work.

use std::path::Path;

use tempfile::TempDir;

use crate::StageError;

/// A folder for one attempt, named after its task and gone when dropped.
///
/// # Errors
/// [`StageError`] when `root` cannot be written to.
pub fn scratch_folder(root: &Path, name: &str) -> Result<TempDir, StageError> {
    tempfile::Builder::new()
        .prefix(&format!("{name}-"))
        .tempdir_in(root)
        .map_err(|error| StageError::scratch("cannot work in", root, &error))
}

/// Runs what blocks on a thread for that.
///
/// # Errors
/// [`StageError`] when it panics or the runtime ends; another attempt may succeed.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StageError> {
    // What it logs belongs to the task as well.
    let span = tracing::Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work))
        .await
        .map_err(|error| StageError::passing("interrupted", error.to_string()))
}
