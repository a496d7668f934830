//! Shards, disks that tear, and clients that remember: the process ends at any moment, over and
//! over, and nothing that was acknowledged is lost.

mod client;
mod disk;
mod overflow;
mod scenarios;
mod world;
