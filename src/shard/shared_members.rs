//! The members of one group of a shared subscription at one shard.

use super::subscription::Subscription;
use crate::topic::subscribers::Subscribers;
use ahash::RandomState;

/// Members of one kind at this shard, in a stable order but for those that leave.
#[derive(Debug, Default)]
pub(super) struct Members(Option<Subscribers<u32, Subscription>>);

impl Members {
    pub(super) fn as_slice(&self) -> &[(u32, Subscription)] {
        self.0.as_ref().map_or(&[], Subscribers::as_slice)
    }

    #[allow(clippy::cast_possible_truncation, reason = "sessions are below 2^32")]
    pub(super) fn len(&self) -> u32 {
        self.as_slice().len() as u32
    }

    pub(super) fn get(&self, session: u32, hasher: &RandomState) -> Option<Subscription> {
        self.0.as_ref()?.get(session, hasher)
    }

    pub(super) fn insert(
        &mut self,
        session: u32,
        subscription: Subscription,
        hasher: &RandomState,
    ) {
        match &mut self.0 {
            Some(members) => {
                members.insert(session, subscription, hasher);
            }
            None => self.0 = Some(Subscribers::new(session, subscription)),
        }
    }

    pub(super) fn remove(&mut self, session: u32, hasher: &RandomState) -> Option<Subscription> {
        let (subscription, last) = self.0.as_mut()?.remove(session, hasher)?;
        if last {
            self.0 = None;
        }
        Some(subscription)
    }
}
