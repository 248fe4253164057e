//! What reelmill asks of ffmpeg and ffprobe, and nothing else; the only crate that starts a
//! process.
//!
//! Each request is a plain struct with a pure function to an argument vector; [`process::run`] runs
//! them all. [`mp4`] reads and writes the boxes of what ffmpeg made.

pub mod audio;
mod clocks;
pub mod codec;
pub mod decode;
pub mod encode;
pub mod error;
mod ffprobe;
mod graph;
pub mod input;
pub mod interlace;
pub mod layout;
pub mod listen;
mod mend;
pub mod mp4;
pub mod mux;
mod observe;
mod placement;
pub mod probe;
pub mod process;
mod progress;
mod sandbox;
mod scale;
pub mod scan;
pub mod scrambled;
pub mod sizes;
mod tail;
mod timeline;
pub mod tools;

pub use error::MediaError;
pub use input::Input;
pub use tools::Tools;
