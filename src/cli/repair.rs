//! `ringway journal verify --repair`: a journal is made whole again, and what that costs is said.

use super::exit::{print, say};
use super::journal::summary;
use crate::runtime::{
    DiskError, JournalError, Losses, Mending, RecordCounts, Remedy, inspect, random_seed, remedy,
    repair,
};
use std::path::Path;

/// Clients and topics that are named; of the rest the number is said.
const NAMED_MAX: usize = 100;

/// Says what a repair would do.
pub(super) fn announce_remedy(data_dir: &Path, shard: u16) {
    match remedy(data_dir, shard) {
        Ok(Remedy::Nothing) => {}
        Ok(Remedy::Drop(mending)) => {
            let losses = &mending.losses;
            print(format_args!("--repair would drop only {}", sum(losses)));
            print_losses(losses);
        }
        Ok(Remedy::Cut(error)) if error.damage.is_healed_by_cut() => {
            print("--repair would cut the journal there: more than messages is damaged");
        }
        Ok(Remedy::Cut(_)) => print("--repair does not help; a backup does"),
        Err(error) => say(format_args!("ringway: {error}")),
    }
}

/// Makes a shard's journal whole; false: it is not.
pub(super) fn repair_shard(data_dir: &Path, shard: u16) -> bool {
    match try_repair(data_dir, shard) {
        Ok(is_whole) => is_whole,
        Err(error) => {
            say(format_args!("ringway: not repaired: {error}"));
            false
        }
    }
}

fn try_repair(data_dir: &Path, shard: u16) -> Result<bool, DiskError> {
    let mut last_cut = None;
    loop {
        match remedy(data_dir, shard)? {
            Remedy::Nothing => break,
            Remedy::Drop(mending) => {
                let salt = match random_seed() {
                    Ok(salt) => salt,
                    Err(error) => {
                        say(format_args!("ringway: not repaired: {error}"));
                        return Ok(false);
                    }
                };
                drop_messages(data_dir, &mending, salt)?;
                break;
            }
            Remedy::Cut(error) => {
                let place = (error.segment, error.offset);
                // Each cut is in front of the last one, or does not help.
                if last_cut.is_some_and(|last| place >= last) {
                    say("ringway: cutting does not help");
                    return Ok(false);
                }
                if last_cut.is_some() {
                    print(error);
                }
                last_cut = Some(place);
                cut(data_dir, error)?;
            }
        }
    }
    let contents = inspect(data_dir)?;
    let again = contents.iter().find(|it| it.shard == shard);
    again.inspect(|again| print(summary(again)));
    Ok(again.is_some_and(|again| again.state.is_ok()))
}

fn drop_messages(data_dir: &Path, mending: &Mending, salt: u64) -> Result<(), DiskError> {
    let copy = mending.carry_out(data_dir, salt)?;
    print(format_args!(
        "dropped: {}; the damaged segments are kept in {}",
        sum(&mending.losses),
        copy.display()
    ));
    print_losses(&mending.losses);
    Ok(())
}

fn cut(data_dir: &Path, error: JournalError) -> Result<(), DiskError> {
    let cut = repair(data_dir, error)?;
    print(format_args!(
        "cut there; lost: {}; kept in {}",
        records(&cut.records),
        cut.copy.display()
    ));
    Ok(())
}

/// `3 messages of 2 clients, 1 retained message`.
fn sum(losses: &Losses) -> String {
    let mut parts = Vec::new();
    if !losses.sessions.is_empty() {
        let clients = losses.sessions.len() as u64;
        parts.push(format!(
            "{} of {}",
            counted(losses.messages(), "message"),
            counted(clients, "client")
        ));
    }
    if !losses.retained.is_empty() {
        let retained = losses.retained.len() as u64;
        parts.push(counted(retained, "retained message"));
    }
    if losses.forwards > 0 {
        let forwards = counted(losses.forwards, "message");
        parts.push(format!("{forwards} on the way to other cores"));
    }
    if parts.is_empty() {
        // What is damaged had been delivered, or replaced.
        return "messages that nobody needs any more".to_owned();
    }
    parts.join(", ")
}

fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// Whose messages they were, as far as there is room.
fn print_losses(losses: &Losses) {
    let sessions = losses.sessions.iter();
    // Names come from clients: control characters are escaped.
    let sessions = sessions
        .map(|(client_id, count)| format!("  {} of {client_id:?}", counted(*count, "message")));
    let retained = losses
        .retained
        .iter()
        .map(|topic| format!("  retained {topic:?}"));
    sessions.chain(retained).take(NAMED_MAX).for_each(print);
    let left = (losses.sessions.len() + losses.retained.len()).saturating_sub(NAMED_MAX);
    if left > 0 {
        print(format_args!("  and {left} more clients and topics"));
    }
}

/// `3 body, 4 queued`, or `nothing that can be read`.
fn records(counts: &RecordCounts) -> String {
    if counts.is_empty() {
        return "nothing that can be read".to_owned();
    }
    let each = counts
        .iter()
        .map(|(kind, count)| format!("{count} {}", kind.name()));
    each.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_said_in_words() {
        let mut losses = Losses::default();
        assert_eq!(sum(&losses), "messages that nobody needs any more");
        losses.sessions.insert("a".into(), 2);
        losses.sessions.insert("b".into(), 1);
        losses.retained.push("t".into());
        assert_eq!(sum(&losses), "3 messages of 2 clients, 1 retained message");
        losses.sessions.clear();
        losses.forwards = 1;
        assert_eq!(
            sum(&losses),
            "1 retained message, 1 message on the way to other cores"
        );
    }
}
