//! The loop of the stages with toy handlers on the embedded queue, ledger and store.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod emptied;
mod ends;
mod faults;
mod handing_back;
mod housekeeping;
mod lifecycle;
mod lines;
mod toy;
mod watching;
