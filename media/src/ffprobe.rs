//! What all runs of ffprobe over a source have in common.

use std::ffi::OsString;
use std::path::Path;

use crate::input::Input;
use crate::process::{Invocation, Limits};
use crate::tools::Tools;

/// The arguments of a run that shows something and opens a source by `open`.
pub(crate) fn args(shows: &[&str], open: Vec<OsString>) -> Vec<OsString> {
    let quiet = ["-hide_banner", "-loglevel", "repeat+level+error"];
    let mut args: Vec<OsString> = quiet.iter().chain(shows).map(OsString::from).collect();
    args.extend(open);
    args
}

/// A run over a source in `dir`; `action` completes "cannot …".
pub(crate) fn invocation(
    tools: &Tools,
    action: &'static str,
    args: Vec<OsString>,
    input: &Input,
    dir: &Path,
    limits: Limits,
) -> Invocation {
    Invocation {
        action,
        program: tools.ffprobe.clone(),
        args,
        dir: dir.to_path_buf(),
        reads: input.reads(),
        connects: input.connects(),
        limits,
    }
}
