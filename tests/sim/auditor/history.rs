//! The connections of one client in their order, and what follows from them: whether its session
//! still exists, and what becomes of its wills.
//!
//! The simulator sees both ends of a connection, so it knows when and why the broker ended it.
//! What it cannot know is when a CONNECT took effect whose CONNACK never came.

use crate::model::Fate;
use ringway::base::time::Instant;
use ringway::shard::interface::CloseCause;
use std::time::Duration;

/// How late a deadline may take effect: the timer's granularity, late timers, the way to a peer.
pub(crate) const SLACK: Duration = Duration::from_millis(300);

/// One CONNECT.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) connection: usize,
    pub(crate) sent: Instant,
    pub(crate) clean_start: bool,
    /// Session Expiry Interval after the broker's cap.
    pub(crate) expiry_s: u32,
    pub(crate) will: Option<WillFacts>,
    /// When CONNACK came.
    pub(crate) confirmed: Option<Instant>,
    /// DISCONNECT that the client sent: reason code, changed expiry.
    pub(crate) disconnect: Option<(u8, Option<u32>)>,
    /// When and why the broker's end was closed.
    pub(crate) ended: Option<(Instant, CloseCause)>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct WillFacts {
    pub(crate) message: u32,
    pub(crate) delay_s: u32,
}

impl Attempt {
    /// The broker never took it for a session's connection.
    fn failed(&self) -> bool {
        let cause = self.ended.map(|(_, cause)| cause);
        matches!(
            cause,
            Some(CloseCause::ConnectTimeout | CloseCause::ConnectRefused(_))
        )
    }

    fn was_disconnected(&self) -> bool {
        matches!(self.ended, Some((_, CloseCause::ClientDisconnected)))
    }

    /// The expiry that counts at the connection's end.
    fn final_expiry(&self) -> Duration {
        let changed = self.disconnect.and_then(|(_, expiry_s)| expiry_s);
        let expiry_s = changed
            .filter(|_| self.was_disconnected())
            .unwrap_or(self.expiry_s);
        if expiry_s == u32::MAX {
            Duration::MAX
        } else {
            Duration::from_secs(expiry_s.into())
        }
    }

    /// When the session that it left ends; None: not before it ends itself.
    fn session_end(&self) -> Option<Instant> {
        Some(later(self.ended?.0, self.final_expiry()))
    }

    /// The session exists for at least so long after the connection's end, even if the broker
    /// forgets what DISCONNECT changed.
    fn least_expiry(&self) -> Duration {
        let unchanged = Self {
            disconnect: None,
            ..self.clone()
        };
        self.final_expiry().min(unchanged.final_expiry())
    }
}

fn later(time: Instant, by: Duration) -> Instant {
    if by == Duration::MAX {
        Instant::from_micros(u64::MAX)
    } else {
        time + by
    }
}

#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) attempts: Vec<Attempt>,
    /// When the broker's process ended.
    pub(crate) crashes: Vec<Instant>,
    /// The last of them that may have undone what was acknowledged.
    pub(super) undone_at: Option<Instant>,
}

impl History {
    pub(crate) fn of(&mut self, connection: usize) -> Option<&mut Attempt> {
        self.attempts
            .iter_mut()
            .rev()
            .find(|attempt| attempt.connection == connection)
    }

    /// Attempts before `limit` that may hold the session: the last confirmed one and those later.
    fn holders(&self, limit: usize) -> impl Iterator<Item = &Attempt> {
        let confirmed = |attempt: &Attempt| attempt.confirmed.is_some();
        let first = self.attempts[..limit]
            .iter()
            .rposition(confirmed)
            .unwrap_or(0);
        self.attempts[first..limit]
            .iter()
            .filter(|attempt| !attempt.failed())
    }

    /// The client cannot know whose session it would resume, so it must start clean.
    pub(crate) fn is_uncertain(&self, now: Instant) -> bool {
        let margin = now + Duration::from_secs(20);
        let all = self.attempts.len();
        let unconfirmed = |attempt: &&Attempt| attempt.confirmed.is_none();
        let mut open = self.holders(all).filter(unconfirmed);
        let may_be_clean = self
            .holders(all)
            .filter(unconfirmed)
            .any(|it| it.clean_start);
        open.next().is_some() && (may_be_clean || self.alive_until(all, now) <= margin)
    }

    /// A 3.1 client is not told whether its session is present: it may resume only what surely
    /// exists.
    pub(crate) fn may_be_gone(&self, now: Instant) -> bool {
        let all = self.attempts.len();
        let margin = now + Duration::from_secs(20);
        self.holders(all).next().is_some() && self.alive_until(all, now) <= margin
    }

    /// What a 3.1 client concludes for the attempt that is confirmed now.
    pub(crate) fn is_present(&self, connection: usize, now: Instant) -> bool {
        let index = self
            .attempts
            .iter()
            .rposition(|it| it.connection == connection);
        index.is_some_and(|index| {
            !self.attempts[index].clean_start && self.alive_until(index, now) > now
        })
    }

    /// The session surely exists until this time. A connection that has not ended leaves a session
    /// that exists for at least its expiry from `now` on.
    fn alive_until(&self, limit: usize, now: Instant) -> Instant {
        let mut confirmed = self.attempts[..limit].iter().rev();
        let confirmed = confirmed.find(|attempt| attempt.confirmed.is_some());
        // A session that began before such a crash may never have been.
        if confirmed.is_none_or(|attempt| self.is_undone(attempt)) {
            return Instant::ZERO;
        }
        let end = |it: &Attempt| match it.ended {
            None => later(now, it.final_expiry()),
            Some((ended, _)) if self.has_crashed_since(ended) => later(ended, it.least_expiry()),
            Some((ended, _)) => later(ended, it.final_expiry()),
        };
        self.holders(limit).map(end).min().unwrap_or(Instant::ZERO)
    }

    /// The session may have ended by now, by its expiry or by DISCONNECT.
    pub(super) fn may_be_over(&self, now: Instant) -> bool {
        let all = self.attempts.len();
        let end = |it: &Attempt| it.session_end().is_some_and(|end| end <= now);
        self.holders(all).any(end)
    }

    /// The session surely does not exist after this time.
    fn dead_after(&self, limit: usize) -> Instant {
        let end = |it: &Attempt| it.session_end().unwrap_or(Instant::from_micros(u64::MAX));
        self.holders(limit).map(end).max().unwrap_or(Instant::ZERO)
    }

    /// Is this Session Present right for the attempt that is confirmed now? [MQTT-3.2.2-3]
    pub(crate) fn check_session_present(
        &self,
        connection: usize,
        now: Instant,
        session_present: bool,
    ) -> Result<(), String> {
        let index = self
            .attempts
            .iter()
            .rposition(|it| it.connection == connection);
        let index = index.ok_or("CONNACK without CONNECT")?;
        let attempt = &self.attempts[index];
        if attempt.clean_start {
            // [MQTT-3.2.2-2]
            return if session_present {
                Err("session present after clean start".into())
            } else {
                Ok(())
            };
        }
        let alive_until = self.alive_until(index, now);
        let dead_after = self.dead_after(index);
        if !session_present && alive_until > now {
            return Err(format!(
                "session lost: it should exist until {alive_until:?}"
            ));
        }
        let undone = |it: &Attempt| it.ended.is_some_and(|(end, _)| self.has_crashed_since(end));
        let is_undone = self.holders(index).any(undone);
        if session_present
            && !is_undone
            && dead_after.as_micros() < attempt.sent.as_micros()
            && dead_after + SLACK < attempt.sent
        {
            return Err(format!(
                "session present: it should have ended at {dead_after:?}"
            ));
        }
        Ok(())
    }

    /// When a will may be published at the earliest, as far as is known now. None: not yet.
    pub(crate) fn will_not_before(&self, message: u32) -> Option<Instant> {
        let index = self.will_index(message)?;
        let attempt = &self.attempts[index];
        let (end, _) = attempt.ended?;
        // A newer CONNECT may have ended the session.
        let superseded = self.attempts.len() > index + 1;
        let delay = Duration::from_secs(attempt.will?.delay_s.into());
        Some(if superseded {
            end
        } else {
            end + delay.min(attempt.final_expiry())
        })
    }

    fn will_index(&self, message: u32) -> Option<usize> {
        let carries = |it: &Attempt| it.will.is_some_and(|will| will.message == message);
        self.attempts.iter().position(carries)
    }

    /// What must have become of a will by now (section 3.1.2.5).
    pub(crate) fn will_fate(&self, message: u32, now: Instant) -> Fate {
        let Some(index) = self.will_index(message) else {
            return Fate::MustNot;
        };
        let attempt = &self.attempts[index];
        let Some((end, _)) = attempt.ended else {
            return Fate::MustNot;
        };
        if attempt.failed() {
            return Fate::MustNot;
        }
        if attempt.confirmed.is_none() {
            return Fate::May;
        }
        let normal = attempt.disconnect.is_some_and(|(code, _)| code == 0);
        if attempt.was_disconnected() && normal {
            // [MQTT-3.14.4-3]
            return Fate::MustNot;
        }
        let delay = attempt.will.map_or(0, |will| will.delay_s);
        let delay = Duration::from_secs(delay.into()).min(attempt.final_expiry());
        if delay.is_zero() {
            return Fate::Must;
        }
        let due = end + delay;
        let settled = due + SLACK;
        match self.attempts.get(index + 1) {
            None if settled < now => Fate::Must,
            None => Fate::May,
            Some(next) if settled < next.sent => Fate::Must,
            Some(next) => match next.confirmed {
                None => Fate::May,
                // The session ends with the clean start [MQTT-3.1.2-8].
                Some(_) if next.clean_start => Fate::Must,
                // [MQTT-3.1.3-9]
                Some(at) if at < due => Fate::MustNot,
                Some(_) => Fate::May,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    fn attempt(connection: usize, sent: u64, expiry_s: u32) -> Attempt {
        Attempt {
            connection,
            sent: at(sent),
            clean_start: false,
            expiry_s,
            will: Some(WillFacts {
                message: 1 + connection as u32,
                delay_s: 5,
            }),
            confirmed: Some(at(sent)),
            disconnect: None,
            ended: None,
        }
    }

    #[test]
    fn session_present_is_judged_by_the_expiry() {
        let mut first = attempt(0, 1, 10);
        first.ended = Some((at(2), CloseCause::NetworkClosed));
        for (reconnect, present, expected) in [
            (5, true, true),
            (5, false, false),
            (20, true, false),
            (20, false, true),
        ] {
            let second = attempt(1, reconnect, 10);
            let history = History {
                attempts: vec![first.clone(), second],
                ..History::default()
            };
            let verdict = history.check_session_present(1, at(reconnect), present);
            assert_eq!(verdict.is_ok(), expected, "{reconnect} {present}");
        }
    }

    #[test]
    fn will_follows_the_end_of_its_connection() {
        let ended = |cause| {
            let mut attempt = attempt(0, 1, 100);
            attempt.ended = Some((at(2), cause));
            attempt
        };
        let lost = ended(CloseCause::NetworkClosed);
        let mut left = ended(CloseCause::ClientDisconnected);
        left.disconnect = Some((0, None));
        let fate = |attempts: &[Attempt]| {
            History {
                attempts: attempts.to_vec(),
                ..History::default()
            }
            .will_fate(1, at(60))
        };
        assert_eq!(fate(std::slice::from_ref(&lost)), Fate::Must);
        assert_eq!(fate(&[left]), Fate::MustNot);
        assert_eq!(fate(&[lost.clone(), attempt(1, 4, 0)]), Fate::MustNot);
        assert_eq!(fate(&[lost.clone(), attempt(1, 30, 0)]), Fate::Must);
        let mut clean = attempt(1, 4, 0);
        clean.clean_start = true;
        assert_eq!(fate(&[lost, clean]), Fate::Must);
    }
}
