//! Which of the core's rings takes new connections, accepted here or sent by other cores.

use super::Net;
use super::socket::SocketName;
use crate::base::time::Instant;
use crate::runtime::bell::Arrivals;
use crate::shard::interface::ConnectionOrigin;
use tracing::{info, warn};

/// A ring with less room than this part of its table is left for another one: what other cores
/// have sent meanwhile must still fit.
const MARGIN_PART: u32 = 16;

/// The first ring with room; the other cores are told when it changes.
#[derive(Debug, Default)]
pub(super) struct Filling {
    ring: usize,
    /// A socket came or went since the last choice.
    stale: bool,
    announced: usize,
}

impl Filling {
    pub(super) const fn ring(&self) -> usize {
        self.ring
    }

    pub(super) const fn on_change(&mut self) {
        self.stale = true;
    }
}

impl Net {
    /// The kernel has put a socket into `slot`.
    pub(super) fn occupy(&mut self, slot: u32, origin: ConnectionOrigin) -> SocketName {
        self.filling.on_change();
        self.sockets.occupy(slot, origin)
    }

    /// Once per turn.
    pub(super) fn choose_filling(&mut self, now: Instant) {
        if !std::mem::take(&mut self.filling.stale) {
            return;
        }
        let margin = self.rings.slots_per_ring() / MARGIN_PART;
        let rings = 0..self.rings.count();
        let roomy = rings.clone().find(|ring| self.accepts_room(*ring) > margin);
        let chosen = roomy
            .or_else(|| self.grow(now))
            .or_else(|| rings.clone().find(|ring| self.accepts_room(*ring) > 0));
        self.filling.ring = chosen.unwrap_or(self.filling.ring);
    }

    /// One more ring, if the core may have one.
    fn grow(&mut self, now: Instant) -> Option<usize> {
        if !self.rings.can_grow() {
            return None;
        }
        match self.rings.grow() {
            Ok(()) => {
                let rings = self.rings.count();
                info!(rings, sockets = self.sockets.count(), "one more ring");
                Some(rings - 1)
            }
            Err(error) => {
                warn!(%error, "no further ring for connections");
                self.filling.stale = true;
                self.pause_accepting(now, "no further ring for connections");
                None
            }
        }
    }

    /// Where other cores send connections from now on; `None`: as before.
    pub(crate) fn poll_arrivals(&mut self) -> Option<Arrivals> {
        let ring = self.filling.ring;
        let before = std::mem::replace(&mut self.filling.announced, ring);
        (ring != before).then(|| self.arrivals())
    }

    /// Where other cores send connections now.
    pub(crate) fn arrivals(&self) -> Arrivals {
        let ring = self.filling.ring;
        Arrivals {
            ring,
            descriptor: self.rings.descriptor(ring),
        }
    }
}
