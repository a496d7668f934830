//! The filters of one session: a few in place, many in a table.

use crate::base::map::{Set, set};
use smallvec::SmallVec;
use std::hash::Hash;

/// Up to here a filter is found by looking at all of them. Beyond, an UNSUBSCRIBE with as many
/// filters as the session has would otherwise cost their square.
const SCANNED_MAX: usize = 32;

/// Names of filters, each once. Bounded by the subscriptions of one session.
#[derive(Debug)]
pub enum Subscriptions<F> {
    Few(SmallVec<[F; 2]>),
    Many(Box<Set<F>>),
}

impl<F> Default for Subscriptions<F> {
    fn default() -> Self {
        Self::Few(SmallVec::new())
    }
}

impl<F: Copy + Eq + Hash> Subscriptions<F> {
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Few(few) => few.len(),
            Self::Many(many) => many.len(),
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a filter that is not there yet.
    pub fn insert(&mut self, filter: F) {
        if let Self::Few(few) = self
            && few.len() >= SCANNED_MAX
        {
            // The names are the index's own numbers: no seed is needed against flooding.
            let mut many = set(0);
            many.extend(few.iter().copied());
            *self = Self::Many(Box::new(many));
        }
        match self {
            Self::Few(few) => few.push(filter),
            Self::Many(many) => {
                many.insert(filter);
            }
        }
    }

    /// Takes a filter out; false when it is not there.
    pub fn remove(&mut self, filter: F) -> bool {
        match self {
            Self::Few(few) => {
                let Some(position) = few.iter().position(|other| *other == filter) else {
                    return false;
                };
                few.swap_remove(position);
                true
            }
            Self::Many(many) => many.remove(&filter),
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = F> {
        let (few, many) = match self {
            Self::Few(few) => (Some(few), None),
            Self::Many(many) => (None, Some(many)),
        };
        let few = few.into_iter().flatten().copied();
        few.chain(many.into_iter().flat_map(|many| many.iter().copied()))
    }

    /// All of them, when the session ends.
    pub fn drain(&mut self) -> Vec<F> {
        match std::mem::take(self) {
            Self::Few(few) => few.into_vec(),
            Self::Many(many) => many.into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_and_many_behave_alike() {
        let mut subscriptions = Subscriptions::default();
        for filter in 0..100u32 {
            subscriptions.insert(filter);
            assert_eq!(subscriptions.len(), filter as usize + 1);
        }
        for filter in (0..100).filter(|filter| filter % 3 == 0) {
            assert!(subscriptions.remove(filter));
            assert!(!subscriptions.remove(filter));
        }
        let mut left = subscriptions.drain();
        left.sort_unstable();
        assert!(
            left.into_iter()
                .eq((0..100).filter(|filter| filter % 3 != 0))
        );
        assert!(subscriptions.is_empty());
    }
}
