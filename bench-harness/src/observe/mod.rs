//! What the broker uses, seen from outside: CPU time, context switches and memory of its processes.
//!
//! Read from `/proc` of this host by [`ProcessProbe`], or of another host through an [`agent`]
//! that runs beside the broker.

pub mod agent;
mod process;

pub use agent::AgentProbe;
pub use process::ProcessProbe;
