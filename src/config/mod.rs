//! Raw values -> validated settings -> the limits that the core works with.
//!
//! Pure: the texts of the files, the environment and the flags come in as data ([`load::Sources`]),
//! a [`settings::Settings`] or the list of everything that is wrong with them comes out. Every key
//! stands once, in [`key`] and [`listener_key`], with its range and its meaning. Used before the
//! cores start, and never after.
#![forbid(unsafe_code)]

pub mod address;
pub mod fuzz;
pub mod key;
pub mod limits;
mod listener;
pub mod listener_key;
pub mod load;
pub mod memory;
pub mod problem;
pub mod quantity;
mod raw;
pub mod settings;
pub mod show;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;
