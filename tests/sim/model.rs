//! What was published and subscribed, as the clients know it: plain facts, no judgement.

use ringway::base::time::Instant;

/// An application message, named in its own payload.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) publisher: usize,
    pub(crate) topic: String,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// Payload bytes; 0 for one that clears the retained message.
    pub(crate) bytes: usize,
    pub(crate) expiry_s: Option<u32>,
    pub(crate) will: Option<Fate>,
    /// Before this time it cannot have been routed. For a will: when it was due.
    pub(crate) first_sent: Instant,
    /// Times that the broker may have taken it for a new message.
    pub(crate) transmissions: u32,
    /// It went out more than once, at any QoS.
    pub(crate) resent: bool,
    /// When the publisher knew that the broker has it (PUBACK, PUBREC).
    pub(crate) accepted: Option<Instant>,
    /// Its publisher would hear that some session's queue has no room for it: not in 3.x, and not
    /// of a will.
    pub(crate) hears_refusal: bool,
    /// PUBACK or PUBREC said so.
    pub(crate) refused: bool,
    /// QoS 0: the broker answered something that was sent later on the same connection.
    pub(crate) processed: bool,
    /// A crash may have taken it from the broker again, although it was accepted.
    pub(crate) undone: bool,
    /// Its publisher's listener says it is accepted before it is: `durability_ack = none`.
    pub(crate) is_weak: bool,
}

/// Is a will to be published?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// The connection that carries it still exists.
    Pending,
    /// Due at a time that still lies ahead, unless the client comes back before.
    Waiting,
    Must,
    May,
    MustNot,
}

impl Message {
    /// Sent once, without RETAIN, and nothing is known yet of what became of it.
    pub(crate) fn new(
        publisher: usize,
        topic: String,
        qos: u8,
        bytes: usize,
        first_sent: Instant,
    ) -> Self {
        Self {
            publisher,
            topic,
            qos,
            retain: false,
            bytes,
            expiry_s: None,
            will: None,
            first_sent,
            transmissions: 1,
            resent: false,
            accepted: None,
            hears_refusal: false,
            refused: false,
            processed: false,
            undone: false,
            is_weak: false,
        }
    }

    pub(crate) const fn is_clear(&self) -> bool {
        self.bytes == 0
    }

    /// The broker has it for sure.
    pub(crate) fn is_certain(&self) -> bool {
        match self.will {
            Some(fate) => fate == Fate::Must,
            None => (self.accepted.is_some() || self.processed) && !self.undone,
        }
    }
}

/// Shortest payload that can name its message.
pub(crate) const PAYLOAD_BYTES_MIN: usize = 6;

/// The payload of message `id`: its name and a pattern in which every damage shows.
pub(crate) fn payload(id: u32, bytes: usize) -> Vec<u8> {
    if bytes == 0 {
        return Vec::new();
    }
    let mut payload = b"RW".to_vec();
    payload.extend(id.to_be_bytes());
    payload.extend((PAYLOAD_BYTES_MIN..bytes).map(|index| (id as usize * 7 + index) as u8));
    payload
}

/// The message that a payload names.
pub(crate) fn payload_id(payload: &[u8]) -> Option<u32> {
    let rest = payload.strip_prefix(b"RW")?;
    Some(u32::from_be_bytes(rest.get(..4)?.try_into().ok()?))
}

/// One filter of one SUBSCRIBE packet, for what may be delivered.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub(crate) filter: String,
    pub(crate) qos: u8,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    pub(crate) retain_handling: u8,
    pub(crate) identifier: Option<u32>,
    pub(crate) acked: Option<Instant>,
    /// From here on it may be over: UNSUBSCRIBE or a replacing SUBSCRIBE was sent.
    pub(crate) leaving: Option<Instant>,
    /// From here on it is over.
    pub(crate) left: Option<Instant>,
    /// By another SUBSCRIBE with the same filter, not by UNSUBSCRIBE: the retained messages asked
    /// for with these options may still come.
    pub(crate) replaced: bool,
}

/// One filter of a session, for what must be delivered: unbroken from the first SUBACK on, however
/// often it was replaced.
#[derive(Clone, Debug)]
pub(crate) struct Coverage {
    pub(crate) since: Option<Instant>,
    pub(crate) qos_min: u8,
    pub(crate) no_local: bool,
}

/// A shared subscription, and a topic that nobody gets by any other.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) filter: &'static str,
    pub(crate) topic: &'static str,
    /// Of all its members.
    pub(crate) qos: u8,
}

pub(crate) const GROUPS: &[Group] = &[
    Group {
        filter: "$share/one/$group/0",
        topic: "$group/0",
        qos: 1,
    },
    Group {
        filter: "$share/two/$group/1/+",
        topic: "$group/1/a",
        qos: 2,
    },
    Group {
        filter: "$share/one/$group/2/#",
        topic: "$group/2",
        qos: 1,
    },
];

pub(crate) fn group_of(topic: &str) -> Option<&'static Group> {
    GROUPS.iter().find(|group| group.topic == topic)
}

/// What stands behind `$share/NAME/`, or the filter itself.
pub(crate) fn unshared(filter: &str) -> &str {
    let shared = filter.strip_prefix("$share/");
    let behind = shared.and_then(|it| it.split_once('/'));
    behind.map_or(filter, |(_, behind)| behind)
}

/// The specification's matching (section 4.7), as plainly as can be.
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut topic = topic.split('/');
    for level in filter.split('/') {
        match (level, topic.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (level, Some(name)) if level == name => {}
            _ => return false,
        }
    }
    topic.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_specified() {
        for (filter, topic, expected) in [
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/+", "a/b", true),
            ("a/+", "a", false),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("#", "a/b", true),
            ("#", "$own/a", false),
            ("+/a", "$own/a", false),
            ("$own/#", "$own/a", true),
            ("+", "a/", false),
            ("+/+", "a/", true),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn payload_names_its_message() {
        assert_eq!(payload_id(&payload(77, 40)), Some(77));
        assert_eq!(payload_id(&payload(1, PAYLOAD_BYTES_MIN)), Some(1));
        assert_eq!(payload_id(b""), None);
    }
}
