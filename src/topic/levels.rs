//! Interned topic levels: each different text once, named by a small id while it is in use.

use super::arena::{Arena, Slot};
use crate::base::table::Table;
use ahash::RandomState;

/// Names the text of one topic level while something uses it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct LevelId(Slot);

impl LevelId {
    /// Not greater than any other.
    pub(super) const MIN: Self = Self(Slot::MIN);
    /// Greater than that of any text.
    pub(super) const MAX: Self = Self(Slot::MAX);
    /// `+` in the place of a text.
    pub(super) const ANY: Self = Self::MAX;

    /// The next greater one, if there can be any.
    pub(super) fn successor(self) -> Option<Self> {
        let number = self.0.number().checked_add(1)?;
        Some(Self(Slot::from_number(number)))
    }
}

/// The texts in use, each with a count. Nothing is kept of a text that nobody uses any more.
#[derive(Debug)]
pub(super) struct Levels {
    hasher: RandomState,
    by_text: Table<Slot>,
    levels: Arena<Level>,
    text_bytes: usize,
}

#[derive(Debug)]
struct Level {
    text: Box<str>,
    use_count: u32,
    /// See [`Levels::hash`].
    hash: u32,
}

const _: () = assert!(size_of::<Option<Level>>() == 24, "memory of a text");

impl Levels {
    pub(super) const fn new(hasher: RandomState) -> Self {
        Self {
            hasher,
            by_text: Table::new(),
            levels: Arena::new(),
            text_bytes: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.levels.len()
    }

    /// Of all texts together.
    pub(super) const fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// The text's id, if anything uses the text.
    pub(super) fn find(&self, text: impl AsRef<[u8]>) -> Option<LevelId> {
        let text = text.as_ref();
        let hash = self.hasher.hash_one(text);
        let is_same = |&slot: &Slot| text_at(&self.levels, slot).as_bytes() == text;
        self.by_text.find(hash, is_same).map(|&slot| LevelId(slot))
    }

    /// Counts one more use of the text.
    pub(super) fn acquire(&mut self, text: &str) -> LevelId {
        if let Some(id) = self.find(text) {
            if let Some(level) = self.levels.get_mut(id.0) {
                level.use_count += 1;
            }
            return id;
        }
        let slot = self.levels.insert(Level {
            text: text.into(),
            use_count: 1,
            hash: self.hash(text.as_bytes()),
        });
        self.text_bytes += text.len();
        let rehash = |&slot: &Slot| self.hasher.hash_one(text_at(&self.levels, slot).as_bytes());
        self.by_text
            .insert_unique(self.hasher.hash_one(text.as_bytes()), slot, rehash);
        LevelId(slot)
    }

    /// Counts one use less; the last one ends the text and its id.
    pub(super) fn release(&mut self, id: LevelId) {
        let Some(level) = self.levels.get_mut(id.0) else {
            return;
        };
        level.use_count -= 1;
        if level.use_count > 0 {
            return;
        }
        self.text_bytes -= level.text.len();
        let hash = self.hasher.hash_one(level.text.as_bytes());
        self.by_text.remove(hash, |&slot| slot == id.0);
        self.levels.remove(id.0);
    }

    /// For tables of what is keyed by text and something else. The half of a hash is enough there,
    /// and is kept for each text in use.
    #[allow(clippy::cast_possible_truncation, reason = "one half")]
    pub(super) fn hash(&self, text: &[u8]) -> u32 {
        self.hasher.hash_one(text) as u32
    }

    /// [`Self::hash`] of the text of a level in use.
    pub(super) fn hash_at(&self, id: LevelId) -> u32 {
        self.levels.get(id.0).map_or(0, |level| level.hash)
    }

    /// The text of a level in use.
    pub(super) fn text(&self, id: LevelId) -> &str {
        text_at(&self.levels, id.0)
    }
}

fn text_at(levels: &Arena<Level>, slot: Slot) -> &str {
    levels.get(slot).map_or("", |level| &level.text)
}
