//! One subscription as the index holds it.

use crate::codec::{QosLevel, SubscriptionOptions};
use crate::journal::SubscriptionFields;

const IDENTIFIER_SHIFT: u32 = 4;
const RETAIN_AS_PUBLISHED: u32 = 0b1000;
const NO_LOCAL: u32 = 0b0100;
const QOS: u32 = 0b0011;

/// Options, Subscription Identifier and generation in 8 bytes: there are millions of these.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Subscription {
    /// The identifier has 28 bits (section 3.8.2.1.2), 0: none; the options the other four.
    packed: u32,
    generation: u32,
}

impl Subscription {
    /// `generation` tells this subscription from an earlier one with the same filter that was
    /// ended by UNSUBSCRIBE; a SUBSCRIBE that replaces a subscription keeps it.
    pub(super) const fn new(
        options: &SubscriptionOptions,
        identifier: Option<u32>,
        generation: u32,
    ) -> Self {
        let identifier = match identifier {
            Some(identifier) => identifier,
            None => 0,
        };
        let mut packed = identifier << IDENTIFIER_SHIFT | options.qos as u32;
        if options.no_local {
            packed |= NO_LOCAL;
        }
        if options.retain_as_published {
            packed |= RETAIN_AS_PUBLISHED;
        }
        Self { packed, generation }
    }

    /// What the journal keeps of it: options as in SUBSCRIBE (section 3.8.3.1).
    pub(super) fn fields(self) -> SubscriptionFields {
        let options = self.packed & (QOS | NO_LOCAL | RETAIN_AS_PUBLISHED);
        SubscriptionFields {
            options: options.to_le_bytes()[0],
            identifier: self.identifier(),
        }
    }

    pub(super) fn of_fields(fields: SubscriptionFields, generation: u32) -> Self {
        let options = u32::from(fields.options) & (QOS | NO_LOCAL | RETAIN_AS_PUBLISHED);
        let identifier = fields.identifier.unwrap_or(0);
        Self {
            packed: identifier << IDENTIFIER_SHIFT | options,
            generation,
        }
    }

    pub(super) const fn qos(self) -> QosLevel {
        match self.packed & QOS {
            0 => QosLevel::AtMostOnce,
            1 => QosLevel::AtLeastOnce,
            _ => QosLevel::ExactlyOnce,
        }
    }

    pub(super) const fn no_local(self) -> bool {
        self.packed & NO_LOCAL != 0
    }

    pub(super) const fn retain_as_published(self) -> bool {
        self.packed & RETAIN_AS_PUBLISHED != 0
    }

    pub(super) fn identifier(self) -> Option<u32> {
        let identifier = self.packed >> IDENTIFIER_SHIFT;
        (identifier != 0).then_some(identifier)
    }

    pub(super) const fn generation(self) -> u32 {
        self.generation
    }
}

// The index holds one per subscriber and filter; the memory budget counts on it.
const _: () = assert!(size_of::<Subscription>() == 8);
