//! Where a record stands.

use std::fmt;
use std::num::NonZeroU64;

/// Segment and offset of a record's first byte. Segments count from 1, so `Option<Place>` takes
/// no more room.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(NonZeroU64);

impl Place {
    /// `None` for segment 0, which does not exist.
    #[must_use]
    pub fn new(segment: u32, offset: u32) -> Option<Self> {
        if segment == 0 {
            return None;
        }
        Self::from_u64(u64::from(segment) << 32 | u64::from(offset))
    }

    #[must_use]
    pub fn from_u64(value: u64) -> Option<Self> {
        let place = Self(NonZeroU64::new(value)?);
        (place.segment() != 0).then_some(place)
    }

    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0.get()
    }

    #[must_use]
    pub const fn segment(self) -> u32 {
        #[allow(clippy::cast_possible_truncation, reason = "the upper half")]
        let segment = (self.0.get() >> 32) as u32;
        segment
    }

    /// Bytes from the beginning of the segment.
    #[must_use]
    pub const fn offset(self) -> u32 {
        #[allow(clippy::cast_possible_truncation, reason = "the lower half")]
        let offset = self.0.get() as u32;
        offset
    }
}

impl From<Place> for NonZeroU64 {
    fn from(place: Place) -> Self {
        place.0
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.segment(), self.offset())
    }
}
