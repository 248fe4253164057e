//! Nasty media, and the comparison of what reelmill makes of it with one plain ffmpeg run.
//!
//! Nothing here is shipped. [`cases`] makes small files that have each one property known to
//! break transcoders, [`oracle`] asks plain ffmpeg what is in a file, [`compare`] holds a job's
//! output against that, and [`exactness`] does so for many files and prints a table. [`mod@bench`]
//! times reelmill against plain ffmpeg. [`viewer`] asks of every profile what a viewer would see and
//! hear.

pub mod bench;
pub mod cases;
pub mod compare;
pub mod exactness;
pub mod facts;
pub mod ffmpeg;
pub mod oracle;
pub mod run;
pub mod sound;
pub mod table;
pub mod tags;
pub mod viewer;
