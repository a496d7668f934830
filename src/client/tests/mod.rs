//! The client against scripted brokers on loopback sockets.

mod broker;
mod publish;
mod subscribe;
