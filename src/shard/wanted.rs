//! Filters whose retained messages a client is owed once its SUBACK is out.

use super::subscription::Subscription;
use crate::topic::names::FilterKind;

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) filter: &'a str,
    pub(super) kind: FilterKind,
    /// As it was when it asked; its generation tells it from a later one with the same filter.
    pub(super) subscription: Subscription,
}

/// Those of one SUBSCRIBE, in its order. All texts in one piece, so that a hundred thousand are
/// kept, and dropped with their connection, like one. Bounded by the packet.
#[derive(Debug, Default)]
pub(super) struct WantedFilters {
    texts: String,
    entries: Vec<Entry>,
    /// How many of the entries are done.
    done: usize,
}

#[derive(Debug)]
struct Entry {
    /// Where the text begins; a packet, and so the sum of its texts, is below 2^28 bytes.
    text_start: u32,
    kind: FilterKind,
    subscription: Subscription,
}

impl WantedFilters {
    pub(super) fn push(&mut self, wanted: Wanted<'_>) {
        self.entries.push(Entry {
            text_start: u32::try_from(self.texts.len()).unwrap_or(u32::MAX),
            kind: wanted.kind,
            subscription: wanted.subscription,
        });
        self.texts.push_str(wanted.filter);
    }

    pub(super) const fn len(&self) -> usize {
        self.entries.len() - self.done
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn first(&self) -> Option<Wanted<'_>> {
        let entry = self.entries.get(self.done)?;
        let next = self.entries.get(self.done + 1);
        let end = next.map_or(self.texts.len(), |next| next.text_start as usize);
        Some(Wanted {
            filter: self.texts.get(entry.text_start as usize..end)?,
            kind: entry.kind,
            subscription: entry.subscription,
        })
    }

    pub(super) fn pop_first(&mut self) {
        self.done = self.entries.len().min(self.done + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::SubscriptionOptions;

    #[test]
    fn filters_come_in_their_order() {
        let options = SubscriptionOptions::default();
        let texts = ["a", "", "site/+", "$SYS/#"];
        let mut filters = WantedFilters::default();
        for (generation, filter) in (0..).zip(texts) {
            filters.push(Wanted {
                filter,
                kind: FilterKind::Wildcard,
                subscription: Subscription::new(&options, None, generation),
            });
        }
        for (generation, text) in (0..).zip(texts) {
            assert_eq!(filters.len(), texts.len() - generation as usize);
            let first = filters.first().unwrap();
            assert_eq!(first.filter, text);
            assert_eq!(first.subscription.generation(), generation);
            filters.pop_first();
        }
        assert!(filters.is_empty() && filters.first().is_none());
        filters.pop_first();
        assert!(filters.is_empty());
    }
}
