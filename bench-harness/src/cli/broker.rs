//! What the commands say about the broker under load, and `ringway-bench agent`.

use std::process::ExitCode;

use clap::Args;

use super::output;
use crate::observe::agent::Agent;
use crate::observe::{AgentProbe, ProcessProbe};
use crate::result::BrokerProbe;

#[derive(Args)]
pub(super) struct BrokerArguments {
    /// Observe the broker's process on this host, and what it started: CPU time, context switches,
    /// memory
    #[arg(long, value_name = "PID", conflicts_with = "broker_agent")]
    broker_pid: Option<u32>,
    /// Observe it through `ringway-bench agent` on the broker's host
    #[arg(long, value_name = "HOST:PORT")]
    broker_agent: Option<String>,
    /// What the result calls the broker, as in "mosquitto 2.0.21"
    #[arg(long, value_name = "TEXT")]
    pub(super) broker_version: Option<String>,
}

impl BrokerArguments {
    /// Where the broker's cost is read from, if that is wanted.
    pub(super) fn probe(&self) -> Result<Option<Box<dyn BrokerProbe>>, String> {
        if let Some(pid) = self.broker_pid {
            return Ok(Some(Box::new(ProcessProbe::new(pid)?)));
        }
        match &self.broker_agent {
            Some(address) => Ok(Some(Box::new(AgentProbe::connect(address)?))),
            None => Ok(None),
        }
    }
}

/// Arguments of `ringway-bench agent`. It answers one generator at a time, and anybody who can
/// reach it: listen where only the generator can.
#[derive(Args)]
pub(super) struct AgentArguments {
    /// Port 0 picks a free one, which the line `ready` names
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:18840")]
    listen: String,
    /// The broker's process
    #[arg(long)]
    pid: u32,
}

pub(super) fn agent(arguments: &AgentArguments) -> ExitCode {
    let agent = match Agent::bind(&arguments.listen, arguments.pid) {
        Ok(agent) => agent,
        Err(error) => return output::fail(&error),
    };
    let served = agent.address().and_then(|address| {
        output::ready(address);
        agent.serve()
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::fail(&format!("{}: {error}", arguments.listen)),
    }
}
