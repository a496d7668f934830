//! What a packet says more than once, and what a server passes on as it came: views of a validated
//! property section, or of a caller's list when a packet is to be encoded.

use super::property::PropertyId;
use super::property_section::{Value, next_property, skip_property};
use super::reader::Reader;

/// Name and value pairs in their order.
#[derive(Clone, Copy)]
pub enum UserProperties<'a> {
    /// Those of a decoded property section.
    Received(ReceivedProperties<'a>),
    /// Those of a packet to be encoded.
    Pairs(&'a [(&'a str, &'a str)]),
}

impl Default for UserProperties<'_> {
    fn default() -> Self {
        Self::Pairs(&[])
    }
}

impl<'a> UserProperties<'a> {
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let (section, pairs) = match *self {
            Self::Received(received) => (received, &[][..]),
            Self::Pairs(pairs) => (ReceivedProperties::default(), pairs),
        };
        let received = section.iter().filter_map(|(_, value)| value?.text_pair());
        received.chain(pairs.iter().copied())
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            // Asked for every acknowledgement; most have no properties at all.
            Self::Received(received) if received.bytes().is_empty() => true,
            Self::Received(_) => self.iter().next().is_none(),
            Self::Pairs(pairs) => pairs.is_empty(),
        }
    }
}

impl PartialEq for UserProperties<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for UserProperties<'_> {}

impl std::fmt::Debug for UserProperties<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

/// The Subscription Identifiers of one PUBLISH.
#[derive(Clone, Copy)]
pub enum SubscriptionIdentifiers<'a> {
    /// Those of a decoded property section.
    Received(ReceivedProperties<'a>),
    /// Those of a packet to be encoded: 1 to [`super::VARIABLE_INTEGER_MAX`].
    List(&'a [u32]),
}

impl Default for SubscriptionIdentifiers<'_> {
    fn default() -> Self {
        Self::List(&[])
    }
}

impl<'a> SubscriptionIdentifiers<'a> {
    pub fn iter(&self) -> impl Iterator<Item = u32> + use<'a> {
        let (section, list) = match *self {
            Self::Received(received) => (received, &[][..]),
            Self::List(list) => (ReceivedProperties::default(), list),
        };
        let received = section.iter().filter_map(|(_, value)| value?.u32());
        received.chain(list.iter().copied())
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl PartialEq for SubscriptionIdentifiers<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for SubscriptionIdentifiers<'_> {}

impl std::fmt::Debug for SubscriptionIdentifiers<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

/// The bytes of a validated property section, without its length; empty in a view that was made
/// to be encoded.
///
/// Always equal to another one: packets are equal when their typed fields are, in whatever order
/// the properties came.
#[derive(Clone, Copy, Default)]
pub struct ReceivedProperties<'a>(&'a [u8]);

impl<'a> ReceivedProperties<'a> {
    /// `section` must have passed [`super::property_section::decode_section`]; iteration over
    /// anything else ends early.
    pub(super) const fn new(section: &'a [u8]) -> Self {
        Self(section)
    }

    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.0
    }

    fn iter(self) -> impl Iterator<Item = (PropertyId, Option<Value<'a>>)> {
        let mut properties = Reader::new(self.0);
        std::iter::from_fn(move || next_property(&mut properties))
    }

    /// What a server passes on unaltered, in the received order.
    #[must_use]
    pub const fn forwardable(&self) -> ForwardableRuns<'a> {
        ForwardableRuns {
            rest: self.0,
            is_one_run: false,
        }
    }
}

impl PartialEq for ReceivedProperties<'_> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for ReceivedProperties<'_> {}

impl std::fmt::Debug for ReceivedProperties<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} bytes", self.0.len())
    }
}

/// The properties of an application message that a server forwards unaltered (Payload Format
/// Indicator, Content Type, Response Topic, Correlation Data, User Properties), as raw bytes in the
/// received order, each item as long as possible.
#[derive(Clone, Debug, Default)]
pub struct ForwardableRuns<'a> {
    rest: &'a [u8],
    is_one_run: bool,
}

impl<'a> ForwardableRuns<'a> {
    /// From bytes that are forwardable properties and nothing else, as `Message::properties` has.
    #[must_use]
    pub const fn of_forwardable(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            is_one_run: true,
        }
    }

    /// Certainly none; false says nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Sum of the lengths of all runs.
    #[must_use]
    pub fn bytes(&self) -> usize {
        if self.is_one_run || self.rest.is_empty() {
            return self.rest.len();
        }
        self.clone().map(<[u8]>::len).sum()
    }
}

impl<'a> Iterator for ForwardableRuns<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        if self.is_one_run {
            return Some(std::mem::take(&mut self.rest));
        }
        let mut properties = Reader::new(self.rest);
        while !skip_property(&mut properties)? {
            self.rest = properties.rest();
        }
        let start = self.rest;
        while !properties.is_empty() {
            let mut ahead = properties;
            if skip_property(&mut ahead) != Some(true) {
                break;
            }
            properties = ahead;
        }
        self.rest = properties.rest();
        Some(&start[..start.len() - self.rest.len()])
    }
}
