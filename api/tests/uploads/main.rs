//! Uploads in every form, cut off at every place, on the real embedded backends.
#![cfg(test)]

mod forms;
mod harness;
mod keys;
mod limits;
mod resuming;
mod tus;
