//! Raw values -> validated settings -> the limits that the core works with.

pub mod limits;
