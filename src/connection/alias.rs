//! Topic aliases of one network connection, both ways (sections 3.3.2.3.4 and 3.1.2.11.5).

use crate::codec::{ProtocolError, ReasonCode};
use std::rc::Rc;

/// Aliases set by the client: alias -> topic name. At most Topic Alias Maximum of ours; each holds
/// one topic name that the client has sent.
#[derive(Debug)]
pub struct InboundAliases {
    names: Vec<Option<Rc<str>>>,
    maximum: u16,
}

impl InboundAliases {
    #[must_use]
    pub const fn new(maximum: u16) -> Self {
        Self {
            names: Vec::new(),
            maximum,
        }
    }

    /// Sets an alias that came with a topic name [MQTT-3.3.2-12]. Setting it again to the same
    /// name changes nothing.
    pub fn set(&mut self, alias: u16, topic_name: &str) -> Result<(), ProtocolError> {
        let index = self.index(alias)?;
        if self.names.len() <= index {
            self.names.resize(index + 1, None);
        }
        if self.names[index].as_deref() != Some(topic_name) {
            self.names[index] = Some(topic_name.into());
        }
        Ok(())
    }

    /// The topic name behind an alias that came without one.
    pub fn resolve(&self, alias: u16) -> Result<Rc<str>, ProtocolError> {
        let index = self.index(alias)?;
        self.names
            .get(index)
            .cloned()
            .flatten()
            .ok_or(ProtocolError {
                reason_code: ReasonCode::ProtocolError,
                context: "topic alias was never set",
            })
    }

    /// 0 and values above the announced maximum are refused [MQTT-3.3.2-8], [MQTT-3.3.2-9].
    fn index(&self, alias: u16) -> Result<usize, ProtocolError> {
        if alias == 0 || alias > self.maximum {
            return Err(ProtocolError {
                reason_code: ReasonCode::TopicAliasInvalid,
                context: "topic alias out of range",
            });
        }
        Ok(usize::from(alias) - 1)
    }
}

/// How one PUBLISH to the client names its topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OutboundAlias {
    /// By name, no alias.
    None,
    /// By name, and the client shall remember the alias.
    Set(u16),
    /// By alias alone.
    Use(u16),
}

/// Aliases that we set towards the client. The first topics get one; later ones take the place of
/// those that came less often. The number is small, so a linear search over hashes is the whole
/// index.
#[derive(Debug)]
pub struct OutboundAliases {
    names: Vec<Named>,
    maximum: u16,
    /// The alias that the next topic without one tries to take.
    hand: usize,
}

#[derive(Debug)]
struct Named {
    hash: u64,
    name: Vec<u8>,
    /// Uses that have not been set off against other topics, at most [`USES_MAX`].
    uses: u8,
}

/// How many messages of other topics, per alias, a topic outlives that was hot and is not any more.
const USES_MAX: u8 = 15;

impl OutboundAliases {
    /// `maximum`: the smaller of the client's Topic Alias Maximum [MQTT-3.1.2-26] and our own.
    #[must_use]
    pub const fn new(maximum: u16) -> Self {
        Self {
            names: Vec::new(),
            maximum,
            hand: 0,
        }
    }

    /// Chooses for a topic name with the given hash; the PUBLISH must then really be sent.
    /// `may_set`: a new alias, which makes the packet longer, still fits.
    pub fn choose(&mut self, hash: u64, topic_name: &[u8], may_set: bool) -> OutboundAlias {
        let known = |named: &Named| named.hash == hash && *named.name == *topic_name;
        if let Some(index) = self.names.iter().position(known) {
            let uses = &mut self.names[index].uses;
            *uses = USES_MAX.min(*uses + 1);
            return OutboundAlias::Use(Self::alias(index));
        }
        if !may_set {
            return OutboundAlias::None;
        }
        if self.names.len() < usize::from(self.maximum) {
            self.names.push(Named {
                hash,
                name: topic_name.to_vec(),
                uses: 1,
            });
            return OutboundAlias::Set(Self::alias(self.names.len() - 1));
        }
        self.take_place(hash, topic_name)
    }

    /// A topic without an alias sets one use of another topic off, and takes its alias when there
    /// is none left. So a topic keeps its alias if it has more than its share of the messages, and
    /// a name that comes once rarely costs the bytes of an alias.
    fn take_place(&mut self, hash: u64, topic_name: &[u8]) -> OutboundAlias {
        let index = self.hand;
        let Some(named) = self.names.get_mut(index) else {
            return OutboundAlias::None;
        };
        self.hand = (index + 1) % usize::from(self.maximum);
        if named.uses > 0 {
            named.uses -= 1;
            return OutboundAlias::None;
        }
        named.hash = hash;
        named.name.clear();
        named.name.extend_from_slice(topic_name);
        named.uses = 1;
        OutboundAlias::Set(Self::alias(index))
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "index is below maximum, a u16"
    )]
    const fn alias(index: usize) -> u16 {
        index as u16 + 1
    }
}
