//! `ringway journal`: looking at, repairing and copying what a broker has stored.

use super::exit::{DONE, failed, print};
use super::repair::{announce_remedy, repair_shard};
use crate::node::data_dir::DataDir;
use crate::runtime::{ShardContents, backup, inspect};
use clap::{Args, Subcommand};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Look at, repair and copy what a broker has stored
#[derive(Debug, Args)]
pub(super) struct JournalArguments {
    #[command(subcommand)]
    command: JournalCommand,
}

#[derive(Debug, Subcommand)]
enum JournalCommand {
    Verify(VerifyArguments),
    Inspect(InspectArguments),
    Backup(BackupArguments),
}

/// Check the journals of a data directory whose broker does not run
///
/// Reads everything as a start would and prints each damage with shard, segment and offset. Exit
/// status: 0 when all is well, 1 when something is damaged.
#[derive(Debug, Args)]
struct VerifyArguments {
    #[arg(value_name = "DIR")]
    data_dir: PathBuf,

    /// Make a damaged journal whole again, with the smallest loss that is safe
    ///
    /// Where the damage lies only in messages, only these are dropped, and it says whose they were;
    /// the damaged segments are kept in DIR/damaged-TIME. Else the journal is cut at its first
    /// damage: what stood behind it is lost to the broker, and is kept in DIR/cut-TIME. Without
    /// this option it says which of the two it would be.
    #[arg(long)]
    repair: bool,
}

/// Say what a data directory holds whose broker does not run
#[derive(Debug, Args)]
struct InspectArguments {
    #[arg(value_name = "DIR")]
    data_dir: PathBuf,

    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Copy a data directory, also of a running broker
///
/// The copy has everything that was acknowledged before the command began. Restore it by starting
/// a broker on it (--data-dir). TO must be empty or not exist.
#[derive(Debug, Args)]
struct BackupArguments {
    #[arg(value_name = "DIR")]
    data_dir: PathBuf,

    #[arg(value_name = "TO")]
    to: PathBuf,
}

pub(super) fn main(arguments: &JournalArguments) -> ExitCode {
    match &arguments.command {
        JournalCommand::Verify(arguments) => verify_main(arguments),
        JournalCommand::Inspect(arguments) => inspect_main(arguments),
        JournalCommand::Backup(arguments) => backup_main(arguments),
    }
}

/// What the journals of a directory hold that nobody else has open.
fn contents(data_dir: &Path) -> Result<(DataDir, Vec<ShardContents>), String> {
    let held = DataDir::open_existing(data_dir).map_err(|error| error.to_string())?;
    let contents = inspect(data_dir).map_err(|error| error.to_string())?;
    Ok((held, contents))
}

fn verify_main(arguments: &VerifyArguments) -> ExitCode {
    let (_held, contents) = match contents(&arguments.data_dir) {
        Ok(contents) => contents,
        Err(why) => return failed(why),
    };
    let mut is_well = true;
    for shard in &contents {
        match (&shard.state, arguments.repair) {
            (Ok(_), _) => print(summary(shard)),
            (Err(error), false) => {
                print(error);
                announce_remedy(&arguments.data_dir, shard.shard);
                is_well = false;
            }
            (Err(error), true) => {
                print(error);
                is_well &= repair_shard(&arguments.data_dir, shard.shard);
            }
        }
    }
    if is_well { DONE } else { ExitCode::from(1) }
}

fn inspect_main(arguments: &InspectArguments) -> ExitCode {
    let (_held, contents) = match contents(&arguments.data_dir) {
        Ok(contents) => contents,
        Err(why) => return failed(why),
    };
    if arguments.json {
        print(json(&contents));
    } else {
        for shard in &contents {
            print(summary(shard));
            for (kind, count) in &shard.records {
                print(format_args!("  {count:>12} {}", kind.name()));
            }
        }
    }
    DONE
}

pub(super) fn summary(shard: &ShardContents) -> String {
    let ShardContents {
        shard: number,
        segments,
        bytes,
        state,
        ..
    } = shard;
    let files = format!("shard {number}: {segments} segments, {bytes} bytes");
    match state {
        Ok(stored) => format!(
            "{files}; {} sessions, {} queued messages, {} retained",
            stored.sessions, stored.queued_messages, stored.retained
        ),
        Err(error) => format!("{files}; damaged: {error}"),
    }
}

fn json(contents: &[ShardContents]) -> String {
    let mut text = String::from("{\"shards\":[");
    for (index, shard) in contents.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "{{\"shard\":{},\"segments\":{},\"bytes\":{}",
            shard.shard, shard.segments, shard.bytes
        );
        let _ = match &shard.state {
            Ok(stored) => write!(
                text,
                ",\"sessions\":{},\"queued_messages\":{},\"retained\":{},\"damage\":null",
                stored.sessions, stored.queued_messages, stored.retained
            ),
            // Plain text without control characters: Rust's quoting is JSON's.
            Err(error) => write!(text, ",\"damage\":{:?}", error.to_string()),
        };
        let each = shard
            .records
            .iter()
            .map(|(kind, count)| format!("\"{}\":{count}", kind.name()));
        let _ = write!(
            text,
            ",\"records\":{{{}}}}}",
            each.collect::<Vec<_>>().join(",")
        );
    }
    text.push_str("]}");
    text
}

fn backup_main(arguments: &BackupArguments) -> ExitCode {
    match backup(&arguments.data_dir, &arguments.to) {
        Ok(summary) => {
            print(format_args!(
                "{} segments of {} shards, {} bytes",
                summary.segments, summary.shards, summary.bytes
            ));
            DONE
        }
        Err(error) => failed(error),
    }
}
