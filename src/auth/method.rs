//! Methods of enhanced authentication and the registry that finds them by name.

use std::fmt::Debug;
use std::sync::Arc;

/// A way to authenticate, named in CONNECT by the Authentication Method. One for all connections
/// of all cores, so it holds no state of an exchange.
pub trait Method: Debug + Send + Sync {
    fn name(&self) -> &str;

    /// A new exchange: for a CONNECT, or for a client that authenticates again.
    fn begin(&self) -> Box<dyn Exchange>;
}

/// One client's exchange. Dropped when it is over, or with the connection.
pub trait Exchange: Debug {
    /// Answers the client's Authentication Data; `None`: the packet had none. Runs on a data core:
    /// what takes more than some microseconds does not belong here.
    fn step(&mut self, data: Option<&[u8]>) -> Step;
}

/// What an exchange makes of the client's data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// The client has to answer this.
    Continue(Vec<u8>),
    /// The client is who it says; this is sent along if it is not empty.
    Done(Vec<u8>),
    /// It is not.
    Refused,
}

/// The methods that a broker offers; none by default.
#[derive(Clone, Default, Debug)]
pub struct Methods {
    methods: Arc<[Arc<dyn Method>]>,
}

impl Methods {
    #[must_use]
    pub fn new(methods: Vec<Arc<dyn Method>>) -> Self {
        Self {
            methods: methods.into(),
        }
    }

    /// Compared byte by byte, as UTF-8 strings of the protocol are.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&dyn Method> {
        let found = self.methods.iter().find(|method| method.name() == name);
        found.map(|method| &**method)
    }
}
