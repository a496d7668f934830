//! Client identifier -> session: 4 bytes an entry, the text stays in the session.

use crate::base::ids::ConnectionId;
use crate::base::map::hasher;
use crate::base::slab::Slab;
use crate::base::table::Table;
use crate::session::Session;
use crate::topic::index::FilterId;
use ahash::RandomState;

/// Bounded by the number of sessions.
#[derive(Debug)]
pub(super) struct Directory {
    table: Table<u32>,
    state: RandomState,
}

type Sessions = Slab<Session<ConnectionId, FilterId>>;

impl Directory {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            table: Table::new(),
            state: hasher(seed),
        }
    }

    pub(super) fn find(&self, sessions: &Sessions, client_id: &str) -> Option<u32> {
        let hash = self.state.hash_one(client_id);
        let is_it = |index: &u32| has_client_id(sessions, *index, client_id);
        self.table.find(hash, is_it).copied()
    }

    /// There will be so many more.
    pub(super) fn reserve(&mut self, sessions: &Sessions, additional: usize) {
        let hash_of = |index: &u32| hash_of(&self.state, sessions, *index);
        self.table.reserve(additional, hash_of);
    }

    pub(super) fn insert(&mut self, sessions: &Sessions, index: u32) {
        let state = &self.state;
        let hash_of = |index: &u32| hash_of(state, sessions, *index);
        self.table.insert_unique(hash_of(&index), index, hash_of);
    }

    pub(super) fn remove(&mut self, index: u32, client_id: &str) {
        let hash = self.state.hash_one(client_id);
        self.table.remove(hash, |other| *other == index);
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }
}

fn hash_of(state: &RandomState, sessions: &Sessions, index: u32) -> u64 {
    let session = sessions.get(index);
    session.map_or(0, |session| state.hash_one(&*session.client_id))
}

fn has_client_id(sessions: &Sessions, index: u32, client_id: &str) -> bool {
    sessions
        .get(index)
        .is_some_and(|session| *session.client_id == *client_id)
}
